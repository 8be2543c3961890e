"""The watcher is watched: a schedule that stands still tells nobody by itself.

`send_alerts` looks every minute whether the checks still run, and whether everything stood still
before it ran again. What stands still altogether, only somebody outside can notice (HEARTBEAT_URL).
"""

import datetime as dt
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.db.models import Max, Min, Q

from config.schedule import ALERTS, CHECKER
from integrations.addresses import address
from integrations.alerts import outbox
from integrations.models import ScheduledRun
from integrations.runs import GRACE, LATE
from integrations.times import length, moment, since_when

# Nothing ran at all for so long: whoever relied on being watched should know it.
STANDSTILL = dt.timedelta(hours=1)
# A shorter one still excuses the checker: it can only run when the machine does.
PAUSE = dt.timedelta(minutes=20)


def watch(now: dt.datetime) -> int:
    """Queue what people have to know about the watching itself: how many messages.

    Two statements when all is well. Raises `DatabaseError`.
    """
    edge = now - LATE
    runs = ScheduledRun.objects.filter(job__in=[CHECKER.name, ALERTS.name])
    checks = Q(job=CHECKER.name)
    known = runs.aggregate(
        good=Max("started_at", filter=checks & Q(ok=True)),
        first=Min("started_at", filter=checks),
        before=Max("started_at", filter=Q(started_at__lte=edge)),
    )
    recent = runs.filter(started_at__gt=edge, started_at__lte=now).order_by("started_at")
    starts = list(recent.values_list("started_at", flat=True))
    queued = 0
    resumed_at = None
    for stopped, started in _gaps([known["before"], *starts]):
        resumed_at = started
        if started - stopped > STANDSTILL:
            queued += outbox.watcher(
                f"stood_still:{_key(stopped)}", _stood_still(stopped, started, now), now
            )
    good = known["good"]
    reference = max(filter(None, [good or known["first"], resumed_at]), default=now)
    if known["first"] is not None and now - reference > LATE + GRACE:
        key = f"not_checking:{_key(good) if good else 'never'}"
        queued += outbox.watcher(key, _not_checking(good, now), now)
    return queued


def _gaps(
    starts: list[dt.datetime | None],
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """The pauses between starts, which are given oldest first: (last before, first after)."""
    known = [at for at in starts if at is not None]
    for before, after in pairwise(known):
        if after - before > PAUSE:
            yield before, after


def _key(at: dt.datetime) -> str:
    return f"{at:%Y%m%dT%H%M%SZ}"


def _stood_still(stopped: dt.datetime, started: dt.datetime, now: dt.datetime) -> dict[str, Any]:
    between = f"between {moment(stopped, now)} and {moment(started, now)}"
    return _facts(
        subject=f"Nothing was watched {between}",
        title=f"Nothing was watched for {length(started - stopped)}",
        impact=f"Nothing was checked {between}, and nobody would have been alerted: this server "
        "was off, or its schedule stood still. The checks run again.",
        next_step="Nothing to do if somebody switched the server off. Otherwise ask your IT "
        "person what happened.",
        lines=[_utc("Last run before", stopped), _utc("First run after", started)],
    )


def _not_checking(good: dt.datetime | None, now: dt.datetime) -> dict[str, Any]:
    since = f" since {moment(good, now)}" if good else ""
    known = (
        f"The last good check was on {since_when(good, now)}." if good else "No check was good yet."
    )
    return _facts(
        subject=f"The connections have not been checked{since}",
        title="The connections are not being checked",
        impact=f"{known} Payment tracking may be fine, but nobody would notice if it stopped.",
        next_step=f"Ask your IT person why the scheduled job {CHECKER.name} does not come to its "
        f"end on this server. It should run every {CHECKER.every} minutes.",
        lines=[
            f"Job: {' '.join([CHECKER.name, *CHECKER.options])}",
            *([_utc("Last good run", good)] if good else []),
        ],
    )


def _facts(**facts: Any) -> dict[str, Any]:
    return {**facts, "url": settings.SITE_URL + address("dashboard:index")}


def _utc(label: str, at: dt.datetime) -> str:
    return f"{label}: {at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
