"""What an integration's deliveries come to, for its card. Test deliveries count nowhere."""

import datetime as dt
from dataclasses import dataclass

from django.utils import timezone

from integrations import sql
from integrations.models import Outcome

DAY = dt.timedelta(hours=24)
# Strangers knock at every open address; only a sender that keeps being refused is news.
SEVERAL = 3


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """`last_at`: the last authenticated delivery, repeats included; `good_at`: the last one with
    a meaning. Counts are of the last 24 hours, but `today`, which began at the clinic's midnight.
    `unreadable_since_good` came after `good_at`, `refused_since_last` after `last_at`.
    """

    last_at: dt.datetime | None
    good_at: dt.datetime | None
    accepted: int
    today: int
    unreadable: int
    refused: int
    unreadable_since_good: int
    refused_since_last: int
    new_shape_at: dt.datetime | None

    @property
    def auth_failing(self) -> bool:
        """Somebody keeps trying in vain, and nobody gets in."""
        return self.refused_since_last >= (SEVERAL if self.last_at else 1)

    @property
    def parse_failing(self) -> bool:
        return self.unreadable_since_good >= (SEVERAL if self.good_at else 1)


_TRAFFIC = f"""
    WITH mine AS NOT MATERIALIZED (
        SELECT received_at, last_received_at, outcome, new_shape FROM integrations_webhookdelivery
        WHERE integration = %(slug)s AND NOT is_test
    ), newest AS (
        SELECT last_received_at AS at FROM mine ORDER BY last_received_at DESC LIMIT 1
    ), good AS (
        SELECT last_received_at AS at FROM mine WHERE outcome <> '{Outcome.UNREADABLE}'
        ORDER BY last_received_at DESC LIMIT 1
    ), recent AS (
        SELECT * FROM mine WHERE received_at > %(day_ago)s AND received_at <= %(now)s
    ), refusals AS (
        SELECT minute, count FROM integrations_webhookrefusal
        WHERE integration = %(slug)s AND minute > %(day_ago)s AND minute <= %(now)s
    )
    SELECT
        (SELECT at FROM newest),
        (SELECT at FROM good),
        (SELECT COUNT(*) FROM recent WHERE outcome <> '{Outcome.UNREADABLE}'),
        (SELECT COUNT(*) FROM recent
         WHERE outcome <> '{Outcome.UNREADABLE}' AND received_at >= %(midnight)s),
        (SELECT COUNT(*) FROM recent WHERE outcome = '{Outcome.UNREADABLE}'),
        (SELECT COALESCE(SUM(count), 0) FROM refusals),
        (SELECT COUNT(*) FROM recent WHERE outcome = '{Outcome.UNREADABLE}'
         AND received_at > COALESCE((SELECT at FROM good), %(day_ago)s)),
        (SELECT COALESCE(SUM(count), 0) FROM refusals
         WHERE minute > COALESCE((SELECT at FROM newest), %(day_ago)s)),
        (SELECT received_at FROM mine WHERE new_shape AND received_at > %(week_ago)s
         ORDER BY received_at DESC LIMIT 1)
"""  # noqa: S608  # names of our own; values travel as parameters


def traffic(slug: str, now: dt.datetime) -> Traffic:
    """One statement, whatever the length of the past."""
    local = timezone.localtime(now)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = {
        "slug": slug,
        "now": now,
        "day_ago": now - DAY,
        "week_ago": now - 7 * DAY,
        # On the day of a change of clocks, midnight was not now minus the hour that it is.
        "midnight": timezone.make_aware(midnight.replace(tzinfo=None)),
    }
    (found,) = sql.rows(_TRAFFIC, bounds)
    last_at, good_at, *counts, new_shape_at = found
    accepted, today, unreadable, refused, unreadable_since, refused_since = map(int, counts)
    return Traffic(
        last_at=sql.moment(last_at),
        good_at=sql.moment(good_at),
        accepted=accepted,
        today=today,
        unreadable=unreadable,
        refused=refused,
        unreadable_since_good=unreadable_since,
        refused_since_last=refused_since,
        new_shape_at=sql.moment(new_shape_at),
    )
