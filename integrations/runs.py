"""The runs of the schedule: written down by `config.jobs`, so that a standstill is noticed."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction

from config.schedule import ALERTS, CHECKER, Job
from integrations.models import ScheduledRun
from integrations.sql import moment, rows

DAY = dt.timedelta(hours=24)
KEPT = dt.timedelta(hours=48)
BATCH = 100
# A run that starts with its minute is under way a little later, on a machine that is busy too.
GRACE = dt.timedelta(minutes=2)
# After these, somebody should look.
LATE = 3 * CHECKER.interval
ALERTS_LATE = dt.timedelta(minutes=20)
# `timeout` has ended a run by then (settings.CRONTAB_COMMAND_PREFIX).
LONGEST = dt.timedelta(minutes=11)


class WorkNotDone(SystemExit):
    """A command's exit that says: not a verdict, the work itself could not be done.

    For monitoring plugins it is an exit code like any other.
    """


def begin(job: str, now: dt.datetime) -> ScheduledRun:
    """A run starts. Raises `DatabaseError`."""
    return ScheduledRun.objects.create(job=job, started_at=now)


def finish(run: ScheduledRun, now: dt.datetime, *, ok: bool) -> None:
    """It is over; what is older than two days is forgotten a few at a time. Raises
    `DatabaseError`.

    What stays of the old ones is the last before a long standstill, and the last good one.
    """
    of_job = ScheduledRun.objects.filter(job=run.job).order_by("-started_at", "-pk")
    good = of_job.filter(ok=True).values("pk")[:1]
    with transaction.atomic():
        ScheduledRun.objects.filter(pk=run.pk).update(finished_at=now, ok=ok)
        old = of_job.filter(started_at__lt=now - KEPT).exclude(pk__in=good)
        forgotten = list(old.values_list("pk", flat=True)[1 : BATCH + 1])
        if forgotten:
            ScheduledRun.objects.filter(pk__in=forgotten).delete()


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as it is stored."""

    started_at: dt.datetime
    finished_at: dt.datetime | None
    ok: bool


@dataclass(frozen=True, kw_only=True)
class Review:
    """How the checker's runs went: when the first and the last that are known started, and the
    last that did its work (`good`).

    `missed`, `failed`, `killed`: of the last 24 hours, and of the time since the first run.
    `alerts_at`: when alerts were last seen to; None: never, as far as is known.
    """

    first: dt.datetime
    last: dt.datetime
    good: dt.datetime | None
    missed: int
    failed: int
    killed: int
    alerts_at: dt.datetime | None


def review(now: dt.datetime) -> Review | None:
    """One statement. None: the schedule has never started the checker."""
    # Two days of the checker at most: what is older has been forgotten, but for one.
    found = rows(
        """
        SELECT * FROM (
            SELECT 1 AS checker, started_at, finished_at, ok FROM integrations_scheduledrun
            WHERE job = %s ORDER BY started_at DESC LIMIT 250
        ) AS checks
        UNION ALL
        SELECT * FROM (
            SELECT 0 AS checker, started_at, finished_at, ok FROM integrations_scheduledrun
            WHERE job = %s ORDER BY started_at DESC LIMIT 1
        ) AS alerts
        """,
        [CHECKER.name, ALERTS.name],
    )
    runs = [
        (checker, Run(started_at=_moment(started), finished_at=moment(finished), ok=bool(ok)))
        for checker, started, finished, ok in found
    ]
    alerts = [run.started_at for checker, run in runs if not checker]
    return reviewed([run for checker, run in runs if checker], max(alerts, default=None), now)


def reviewed(
    checks: Sequence[Run], alerts_at: dt.datetime | None, now: dt.datetime
) -> Review | None:
    """Pure."""
    if not checks:
        return None
    started = [run.started_at for run in checks]
    recent = [run for run in checks if run.started_at > now - DAY]
    return Review(
        first=min(started),
        last=max(started),
        good=max((run.started_at for run in checks if run.ok), default=None),
        missed=missed(CHECKER, started, now),
        failed=sum(run.finished_at is not None and not run.ok for run in recent),
        killed=sum(_was_killed(run, max(started), now) for run in recent),
        alerts_at=alerts_at,
    )


def missed(job: Job, started: Iterable[dt.datetime], now: dt.datetime) -> int:
    """How many runs should have started in the last 24 hours and did not.

    Nothing is missed before the first run that is known: there was no schedule yet.
    """
    ran = {job.slot(at) for at in started}
    if not ran:
        return 0
    expected = job.slots(max(min(ran), now - DAY), now - GRACE)
    return len(set(expected) - ran)


def _was_killed(run: Run, last: dt.datetime, now: dt.datetime) -> bool:
    """It never finished, and it is not the one that is running now."""
    over = run.started_at != last or now - run.started_at > LONGEST
    return run.finished_at is None and over


def _moment(value: object) -> dt.datetime:
    """Of a column that is never empty."""
    found = moment(value)
    assert found is not None
    return found
