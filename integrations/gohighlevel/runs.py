"""Who may sync: one process at a time, and the next one goes on where a dead one stopped."""

import datetime as dt
import uuid

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from integrations.gohighlevel.models import Result, SyncRun
from integrations.gohighlevel.states import State

# A run without a sign of life for so long is dead.
ALIVE = dt.timedelta(minutes=2)
# What was seen longer ago says nothing about what is there now. From when the run began: every
# take-over is a sign of life, and would keep a run that cannot end alive for ever.
RESUMABLE = dt.timedelta(hours=24)


def claim(location_id: str, now: dt.datetime) -> SyncRun | None:
    """The run to go on with, an old one or a new one; None while somebody else's is alive."""
    runs = SyncRun.objects.filter(location_id=location_id)
    running = runs.filter(finished_at=None).first()
    if running is not None:
        if running.heartbeat_at > now - ALIVE:
            return None
        if running.started_at > now - RESUMABLE:
            return take_over(running, now)
        _same(running).update(
            finished_at=now, result=Result.FAILED, why="it died and was too old to go on with"
        )
        return _begin(location_id, now)
    stopped = runs.exclude(finished_at=None).order_by("-finished_at", "-id").first()
    if stopped is not None and _resumable(stopped, now):
        return take_over(stopped, now)
    return _begin(location_id, now)


def mine(run: SyncRun) -> QuerySet[SyncRun]:
    """The run's row, as long as it is this process's and not finished."""
    return SyncRun.objects.filter(pk=run.pk, owner=run.owner, finished_at=None)


def _resumable(run: SyncRun, now: dt.datetime) -> bool:
    return (
        run.result == Result.FAILED
        and run.state in {State.THROTTLED, State.UNAVAILABLE}
        and run.cursor is not None
        and run.started_at > now - RESUMABLE
    )


def _same(run: SyncRun) -> QuerySet[SyncRun]:
    """The row if nobody has touched it since it was read."""
    return SyncRun.objects.filter(
        pk=run.pk, owner=run.owner, heartbeat_at=run.heartbeat_at, finished_at=run.finished_at
    )


def take_over(run: SyncRun, now: dt.datetime) -> SyncRun | None:
    """The run as this process's own; None if somebody touched it since it was read."""
    owner = uuid.uuid4().hex
    try:
        with transaction.atomic():
            taken = _same(run).update(
                owner=owner,
                heartbeat_at=now,
                finished_at=None,
                result="",
                state="",
                why="",
                in_probe=False,
                resumed=F("resumed") + 1,
            )
    except IntegrityError:
        return None  # another one has begun meanwhile
    return SyncRun.objects.get(pk=run.pk, owner=owner) if taken else None


def _begin(location_id: str, now: dt.datetime) -> SyncRun | None:
    try:
        with transaction.atomic():
            return SyncRun.objects.create(
                location_id=location_id, started_at=now, heartbeat_at=now, owner=uuid.uuid4().hex
            )
    except IntegrityError:
        return None
