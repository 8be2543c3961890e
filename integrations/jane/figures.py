"""The card's questions, in SQL; what is active is decided by `activity` alone.

Memberships come from the database in a few groups of one status and one side of their end, so
the rule needs no second version in SQL.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from integrations import sql
from integrations.deliveries import Traffic
from integrations.jane.activity import REMOVED, is_active, is_unknown
from integrations.levels import Level
from integrations.models import Outcome

SLUG = "jane"
DAY = dt.timedelta(hours=24)
COMPARED = dt.timedelta(days=30)
# The first snapshots bring what was there before; changes count from the day after.
FIRST_FILL = dt.timedelta(days=1)
_BEGINNING = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)

# Which side of its end a membership is on: 1 ahead, 0 passed, null without an end.
_SIDE = "CASE WHEN ends_on IS NULL THEN NULL WHEN ends_on < {day} THEN 0 ELSE 1 END"


@dataclass(frozen=True, kw_only=True)
class Memberships:
    """How many there are. `total` is all that are not removed."""

    active: int
    unknown: int
    removed: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Known:
    """Memberships, the last delivery's traits, and when the trouble at the door began.

    `before`: the memberships 30 days ago. `watched_from`: when the first one was seen.
    `healthy_since`: as `check_integrations` wrote it down.
    """

    memberships: Memberships
    before: Memberships
    watched_from: dt.datetime | None
    scheme: str
    fingerprint: str
    error: str
    refusal: str
    unreadable_from: dt.datetime | None
    refused_from: dt.datetime | None
    healthy_since: dt.datetime | None


_MINE = "FROM integrations_webhookdelivery WHERE integration = %(slug)s AND NOT is_test"
_UNREADABLE = f"outcome = '{Outcome.UNREADABLE}'"
# What a membership was then is told by its last change before; one that has not changed since is
# as it was, but for the days that have passed.
_PAST = f"""
    SELECT 1 AS past, status, {_SIDE.format(day="%(day_then)s")} AS side, COUNT(*) AS count
    FROM (
        SELECT status, ends_on FROM jane_membership WHERE changed_at <= %(then)s
        UNION ALL
        SELECT c.status, c.ends_on FROM jane_membership m JOIN jane_membershipchange c
            ON c.id = (SELECT id FROM jane_membershipchange
                       WHERE membership_id = m.id AND at <= %(then)s
                       ORDER BY at DESC, id DESC LIMIT 1)
        WHERE m.changed_at > %(then)s
    ) AS earlier GROUP BY 2, 3
"""  # noqa: S608  # names of our own; values travel as parameters
_KNOWN = f"""
    WITH newest AS (
        SELECT scheme, fingerprint {_MINE} AND last_received_at >= %(last_at)s
        ORDER BY last_received_at DESC LIMIT 1
    ), refusals AS NOT MATERIALIZED (
        SELECT minute, reason, last_at FROM integrations_webhookrefusal
        WHERE integration = %(slug)s AND minute > %(day_ago)s
    ), traits AS (
        SELECT (SELECT scheme FROM newest) AS scheme,
            (SELECT fingerprint FROM newest) AS fingerprint,
            (SELECT error {_MINE} AND {_UNREADABLE} AND received_at > %(day_ago)s
             ORDER BY received_at DESC LIMIT 1) AS error,
            (SELECT reason FROM refusals ORDER BY minute DESC LIMIT 1) AS refusal,
            (SELECT received_at {_MINE} AND {_UNREADABLE} AND received_at > %(good_at)s
             ORDER BY received_at LIMIT 1) AS unreadable_from,
            (SELECT MIN(minute) FROM refusals WHERE last_at > %(last_at)s) AS refused_from,
            (SELECT since FROM integrations_integrationstatus WHERE integration = %(slug)s
             AND account = '' AND level = '{Level.HEALTHY.value}') AS healthy_since,
            (SELECT MIN(first_seen_at) FROM jane_membership) AS watched_from
    ), counts AS (
        SELECT 0 AS past, status, {_SIDE.format(day="%(today)s")} AS side, COUNT(*) AS count
        FROM jane_membership GROUP BY 2, 3
        UNION ALL
        {_PAST}
    )
    SELECT traits.*, counts.* FROM traits LEFT JOIN counts ON TRUE
"""  # noqa: S608  # names of our own; values travel as parameters


def known(traffic: Traffic, now: dt.datetime) -> Known:
    """One statement; the times of the traffic spare it most of the table."""
    today, then = timezone.localdate(now), now - COMPARED
    found = sql.rows(
        _KNOWN,
        {
            "slug": SLUG,
            "day_ago": now - DAY,
            "last_at": traffic.last_at or _BEGINNING,
            "good_at": traffic.good_at or _BEGINNING,
            "today": today.isoformat(),
            **_moment_then(then),
        },
    )
    scheme, fingerprint, error, refusal, *times = found[0][:8]
    unreadable_from, refused_from, healthy_since, watched_from = map(sql.moment, times)
    groups = [row[8:] for row in found if row[8] is not None]
    return Known(
        memberships=_counted((group[1:] for group in groups if not group[0]), today),
        before=_counted((group[1:] for group in groups if group[0]), timezone.localdate(then)),
        watched_from=watched_from,
        scheme=scheme or "",
        fingerprint=fingerprint or "",
        error=error or "",
        refusal=refusal or "",
        unreadable_from=unreadable_from,
        refused_from=refused_from,
        healthy_since=healthy_since,
    )


def change(known: Known, now: dt.datetime) -> tuple[int, dt.datetime] | None:
    """How many more are active than 30 days ago or, in the first month, than a day after the
    first; and when that was. None while there is nothing to compare. At most one statement.
    """
    if known.watched_from is None:
        return None
    then, before = now - COMPARED, known.before
    if known.watched_from + FIRST_FILL > then:
        then = known.watched_from + FIRST_FILL
        if then > now:
            return None
        groups = sql.rows(_PAST, _moment_then(then))
        before = _counted((group[1:] for group in groups), timezone.localdate(then))
    return known.memberships.active - before.active, then


def _moment_then(then: dt.datetime) -> dict[str, Any]:
    return {"then": then, "day_then": timezone.localdate(then).isoformat()}


def _counted(groups: Iterable[tuple[str, int | None, int]], today: dt.date) -> Memberships:
    active = unknown = removed = total = 0
    for status, side, count in groups:
        # Any day on the same side of today stands for all of them.
        ends_on: dt.date | None = None
        if side is not None:
            ends_on = today if side else today - dt.timedelta(days=1)
        active += count * is_active(status, ends_on, today)
        unknown += count * is_unknown(status, ends_on, today)
        removed += count * (status == REMOVED)
        total += count * (status != REMOVED)
    return Memberships(active=active, unknown=unknown, removed=removed, total=total)


def last_good(now: dt.datetime) -> dt.datetime | None:
    """When something with a meaning came last, repeats included."""
    found: list[Any] = sql.rows(
        f"SELECT last_received_at {_MINE} AND outcome = '{Outcome.STORED}' "
        "AND last_received_at <= %(now)s ORDER BY last_received_at DESC LIMIT 1",
        {"slug": SLUG, "now": now},
    )
    return sql.moment(found[0][0]) if found else None
