"""What an integration's deliveries come to, for its card. Test deliveries count nowhere."""

import datetime as dt
from dataclasses import dataclass

from django.utils import timezone

from integrations import sql
from integrations.models import Outcome
from integrations.signatures import Reason

DAY = dt.timedelta(hours=24)
# Strangers knock at every open address; only a sender that keeps being refused is news.
SEVERAL = 3


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """`last_at`: the last authenticated delivery, repeats included; `good_at`: the last one that
    shows that the vendor is alive. Counts are of the last 24 hours, but `today`, which began at
    the clinic's midnight. `unreadable_since_good` came after `good_at`, `refused_since_last`
    after `last_at`; what came before there was any secret does not count as that.
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
        SELECT event_type, received_at, last_received_at, outcome, new_shape
        FROM integrations_webhookdelivery WHERE integration = %(slug)s AND NOT is_test
    ), newest AS (
        SELECT last_received_at AS at FROM mine ORDER BY last_received_at DESC LIMIT 1
    ), good AS (
        SELECT COALESCE(
            (SELECT last_received_at FROM mine
             WHERE outcome = '{Outcome.STORED}' AND event_type = %(vital)s
             ORDER BY last_received_at DESC LIMIT 1),
            (SELECT last_received_at FROM mine WHERE outcome = '{Outcome.STORED}'
             ORDER BY last_received_at DESC LIMIT 1)) AS at
    ), recent AS (
        SELECT * FROM mine WHERE received_at > %(since)s AND received_at <= %(now)s
    ), refusals AS (
        SELECT reason, count, last_at FROM integrations_webhookrefusal
        WHERE integration = %(slug)s AND minute > %(day_ago)s AND minute <= %(now)s
    )
    SELECT
        (SELECT at FROM newest),
        (SELECT at FROM good),
        (SELECT COUNT(*) FROM recent
         WHERE outcome <> '{Outcome.UNREADABLE}' AND received_at > %(day_ago)s),
        (SELECT COUNT(*) FROM recent
         WHERE outcome <> '{Outcome.UNREADABLE}' AND received_at >= %(midnight)s),
        (SELECT COUNT(*) FROM recent
         WHERE outcome = '{Outcome.UNREADABLE}' AND received_at > %(day_ago)s),
        (SELECT COALESCE(SUM(count), 0) FROM refusals),
        (SELECT COUNT(*) FROM recent
         WHERE outcome = '{Outcome.UNREADABLE}' AND received_at > %(day_ago)s
            AND received_at > COALESCE((SELECT at FROM good), %(day_ago)s)),
        (SELECT COALESCE(SUM(count), 0) FROM refusals
         WHERE reason <> '{Reason.CLOSED}'
            AND last_at > COALESCE((SELECT at FROM newest), %(day_ago)s)),
        (SELECT received_at FROM mine WHERE new_shape AND received_at > %(week_ago)s
         ORDER BY received_at DESC LIMIT 1)
"""  # noqa: S608  # names of our own; values travel as parameters


def traffic(slug: str, now: dt.datetime, vital: str = "") -> Traffic:
    """One statement, whatever the length of the past.

    `vital`: the kind of event whose arrival counts as a sign of life, once one has been seen;
    empty for any.
    """
    local = timezone.localtime(now)
    midnight = timezone.make_aware(dt.datetime.combine(local.date(), dt.time()))
    bounds = {
        "slug": slug,
        "vital": vital,
        "now": now,
        "day_ago": now - DAY,
        "week_ago": now - 7 * DAY,
        # A day on which the clocks go back is longer than 24 hours.
        "since": min(now - DAY, midnight - dt.timedelta(microseconds=1)),
        "midnight": midnight,
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
