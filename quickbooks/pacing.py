"""The budget: how often a healthy company is read, so that watching never exhausts the app.

Successful reads in production count against a monthly allowance that all companies of the app
share. A thousand of them read every quarter of an hour would have used half a million calls on the
sixth day, and everybody would be blocked for the rest of the month. Failed calls are free, so
whatever is broken is asked at the full rate.
"""

import datetime as dt
from calendar import monthrange
from collections.abc import Mapping, Sequence
from math import ceil

from django.conf import settings

from config.schedule import CHECKER
from integrations.http import POOL_SIZE
from integrations.levels import Level
from integrations.models import IntegrationStatus
from quickbooks.models import GrantState, OAuthToken

FULL_RATE = CHECKER.interval
# The rest is for people who look, and for the clinic's other programs.
SHARE = 0.6
# A run starts a moment earlier or later after its minute than the last one did.
JITTER = dt.timedelta(minutes=1)


def interval(companies: int, now: dt.datetime) -> dt.timedelta:
    """How often each of so many healthy companies is read in the month of `now`. Pure."""
    days = monthrange(now.year, now.month)[1]
    calls = SHARE * settings.QUICKBOOKS_MONTHLY_ALLOWANCE
    return max(FULL_RATE, companies * dt.timedelta(days=days) / calls)


def stale_after(companies: int, now: dt.datetime, *, healthy: bool) -> dt.timedelta:
    """Two intervals without a check, and nothing is known of a company."""
    return 2 * (interval(companies, now) if healthy else FULL_RATE)


def due(realm_ids: Sequence[str], now: dt.datetime) -> list[str]:
    """Which of the companies a run of the schedule asks. One statement; none at the full rate."""
    every = interval(len(realm_ids), now)
    if every == FULL_RATE:
        return list(realm_ids)
    # A healthy status is not enough: the grant may have been rejected since, by a renewal.
    alive = OAuthToken.objects.filter(state=GrantState.LIVE, in_doubt_since=None)
    healthy = IntegrationStatus.objects.filter(
        integration="quickbooks",
        account__in=alive.values("realm_id"),
        raw_level=Level.HEALTHY.value,
        failing_since=None,
    )
    return choose(realm_ids, dict(healthy.values_list("account", "checked_at")), every, now)


def choose(
    realm_ids: Sequence[str],
    healthy: Mapping[str, dt.datetime],
    every: dt.timedelta,
    now: dt.datetime,
) -> list[str]:
    """All that are not healthy, and of the others those whose interval has passed. Pure.

    `healthy`: when each was last checked. Where all of them fall due at once, as after their
    first check, the longest unseen go first and the others follow in the next runs.
    """
    waiting = [realm_id for realm_id in realm_ids if realm_id in healthy]
    # A run that starts early may round an interval of whole slots, and no other.
    passed_after = min(every, ceil(every / FULL_RATE) * FULL_RATE - JITTER)
    passed = [r for r in waiting if now - healthy[r] >= passed_after]
    at_once = max(POOL_SIZE, ceil(2 * len(waiting) * (FULL_RATE / every)))
    chosen = set(sorted(passed, key=lambda realm_id: healthy[realm_id])[:at_once])
    return [r for r in realm_ids if r not in healthy or r in chosen]


def told(every: dt.timedelta) -> str:
    """ "15 min", "2 h 24 min"."""
    minutes = round(every.total_seconds() / 60)
    hours, rest = divmod(minutes, 60)
    return " ".join(filter(None, [f"{hours} h" if hours else "", f"{rest} min" if rest else ""]))


def why(companies: int, now: dt.datetime) -> str:
    """What the card says of an interval that is longer than the schedule's; empty at that."""
    every = interval(companies, now)
    if every == FULL_RATE:
        return ""
    share = "1 company has" if companies == 1 else f"{companies:,} companies share"
    allowance = f"{settings.QUICKBOOKS_MONTHLY_ALLOWANCE:,}"
    return f"Checked every {told(every)}: {share} this month's {allowance} calls."
