"""The last 24 hours: silences that were alarms, and the spells of arriving between them."""

import datetime as dt

from django.db import connection

from integrations import sql
from integrations.base import Event
from integrations.hours import Hours
from integrations.jane import words
from integrations.jane.figures import DAY, SLUG
from integrations.jane.silence import LATE_AFTER, STALE_AFTER, alarms
from integrations.levels import Level
from integrations.models import Outcome

_SECONDS = {
    "postgresql": "EXTRACT(EPOCH FROM at - previous)",
    "sqlite": "(JULIANDAY(at) - JULIANDAY(previous)) * 86400",
}
# Only what can have been an alarm leaves the database: on a busy day, next to nothing. The
# last sign of life before the day is where its first silence began.
_GAPS = """
    WITH good AS NOT MATERIALIZED (
        SELECT received_at, last_received_at, repeats FROM integrations_webhookdelivery
        WHERE integration = %(slug)s AND NOT is_test AND outcome = %(stored)s
    ), earlier AS (
        SELECT last_received_at AS at FROM good WHERE last_received_at <= %(day_ago)s
        ORDER BY last_received_at DESC LIMIT 1
    ), signs AS (
        SELECT at FROM earlier
        UNION ALL
        SELECT received_at FROM good WHERE received_at > %(day_ago)s AND received_at <= %(now)s
        UNION ALL
        SELECT last_received_at FROM good WHERE last_received_at > %(day_ago)s
            AND last_received_at <= %(now)s AND repeats > 0
    ), gaps AS (
        SELECT LAG(at) OVER (ORDER BY at) AS previous, at,
            ROW_NUMBER() OVER (ORDER BY at DESC) AS from_last
        FROM signs
    )
    SELECT previous, at FROM gaps
    WHERE previous IS NULL OR from_last = 1 OR {seconds} >= %(long)s ORDER BY at
"""


def last_day(now: dt.datetime, hours: Hours) -> list[Event]:
    """Newest first."""
    signs = _signs(now)
    if not signs:
        return []
    events = []
    _, begins = signs[0]
    for previous, at in [*signs, (signs[-1][1], now)]:
        trouble = _trouble(previous, at, now - DAY, hours) if previous else None
        if previous and trouble:
            events += [_arriving(begins, previous), trouble]
            begins = at
    if begins <= signs[-1][1]:
        events.append(_arriving(begins, signs[-1][1]))
    return [event for event in reversed(events) if event.ends_at > now - DAY]


def _signs(now: dt.datetime) -> list[tuple[dt.datetime | None, dt.datetime]]:
    """(the one before, the delivery) of the first, the last, and those after a long silence."""
    found = sql.rows(
        _GAPS.format(seconds=_SECONDS[connection.vendor]),
        {
            "slug": SLUG,
            "stored": Outcome.STORED.value,
            "day_ago": now - DAY,
            "now": now,
            # A second less, for the fractions that SQLite's arithmetic loses.
            "long": int(LATE_AFTER.total_seconds()) - 1,
        },
    )
    times = [(sql.moment(previous), sql.moment(at)) for previous, at in found]
    return [(previous, at) for previous, at in times if at]


def _trouble(
    last_at: dt.datetime, until: dt.datetime, window: dt.datetime, hours: Hours
) -> Event | None:
    """The silence between two deliveries, if it was an alarm in the window."""
    spells = [spell for spell in alarms(last_at, until, hours) if spell[1] > window]
    if not spells:
        return None
    silence = hours.open_between(last_at, spells[-1][1])
    return Event(
        starts_at=last_at,
        ends_at=until,
        level=Level.CRITICAL if silence >= STALE_AFTER else Level.WARNING,
        title=f"Nothing for {words.duration(silence)} of opening time",
    )


def _arriving(first: dt.datetime, last: dt.datetime) -> Event:
    return Event(starts_at=first, ends_at=last, level=Level.HEALTHY, title="Arriving")
