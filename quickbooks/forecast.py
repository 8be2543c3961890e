"""When a person must authorize again, over the three clocks of a grant; and renewals at risk.

Each renewal winds up the 100 days, so they run out only where renewing fails. The five years
begin with the authorization, and nothing winds them up. The hour of the access token counts when
there is nothing left to renew it with.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from django.utils import timezone

from integrations import times
from integrations.base import Explanation, Forecast
from quickbooks import figures, links, tokens, words
from quickbooks.models import OAuthToken, RefreshOutcome, TokenRefresh

# Nobody can do much about what is further away.
AHEAD = dt.timedelta(days=30)
# Intuit rounds both clocks to a second, and the rolling one never shows more than the hard one.
TOGETHER = dt.timedelta(days=1)

ROLLING = (
    "QuickBooks asks for a new sign-in after 100 days in which renewing did not work",
    "Until then the connection can still come back by itself.",
)
HARD = (
    "QuickBooks asks for a new sign-in every five years",
    "Payment tracking works until then, and stops if nobody has signed in.",
)


@dataclass(frozen=True, kw_only=True)
class End:
    """The last moment for a new authorization, why then, and what that means for payments."""

    by: dt.datetime
    reason: str
    impact: str


def expires_soonest(row: OAuthToken) -> dt.datetime | None:
    """When a person must authorize again at the latest, over the two long clocks."""
    clocks = [at for at in (row.refresh_expires_at, row.hard_expires_at) if at is not None]
    return min(clocks, default=None)


def end_of(row: OAuthToken, now: dt.datetime) -> End | None:
    """None where it is not foreseeable: Intuit named no date, or the grant is no use (any more)."""
    by = expires_soonest(row)
    if by is None or tokens.standing_verdict(row) is not None:
        return None
    hard = row.hard_expires_at
    reason, impact = HARD if hard and hard - by <= TOGETHER else ROLLING
    if by <= now:
        if row.access_expires_at is None or row.access_expires_at <= now:
            return None  # the next check finds out what is left of it
        by = row.access_expires_at
    return End(by=by, reason=reason, impact=impact)


def forecasts(now: dt.datetime) -> list[Forecast]:
    """What is foreseen for the next 30 days. One statement, and one more for each risk."""
    return [found for row in figures.ending(now + AHEAD) for found in _of(row, now)]


def _of(row: OAuthToken, now: dt.datetime) -> Iterator[Forecast]:
    if tokens.standing_verdict(row) is not None:
        return
    if row.renewing_fails:  # type: ignore[attr-defined]
        yield _risk(row, now)
    end = end_of(row, now)
    if end is not None and end.by - now <= AHEAD:
        yield Forecast(
            account=row.realm_id,
            name=str(row),
            by=end.by,
            reason=end.reason,
            explanation=Explanation(
                title=f"QuickBooks needs a new sign-in by {_date(end.by, now)}",
                impact=end.impact,
                next_step="Sign in as a QuickBooks administrator and choose "
                f"{row}. About two minutes, on any day before.",
                fix_url=links.fix_url(row.realm_id),
            ),
        )


def _risk(row: OAuthToken, now: dt.datetime) -> Forecast:
    texts = words.renewing_fails(row.last_success_at or now)
    failures = TokenRefresh.objects.filter(
        realm_id=row.realm_id, generation=row.generation, purpose=TokenRefresh.Purpose.REFRESH
    ).exclude(outcome="")
    newest = failures.order_by("-started_at", "-id").first()
    outcome = RefreshOutcome(newest.outcome).label if newest else ""
    return Forecast(
        account=row.realm_id,
        name=str(row),
        by=row.access_expires_at or now,
        reason=f"The last three renewals failed ({outcome})",
        # All of them have presented the token of this generation.
        spell=f"renewing-{row.generation}",
        who_acts=texts.who_acts,
        explanation=Explanation(
            title="QuickBooks works today, but renewing fails",
            impact=texts.impact,
            next_step=texts.next_step,
            fix_url=links.fix_url(row.realm_id),
            reference=newest.intuit_tid if newest else "",
        ),
    )


def notice(row: OAuthToken, now: dt.datetime) -> str:
    """The line of the card, empty while there is nothing to do for the next 30 days."""
    end = end_of(row, now)
    if end is None or end.by - now > AHEAD:
        return ""
    return f"A person must sign in again by {_day(end.by, now)}"


def _day(by: dt.datetime, now: dt.datetime) -> str:
    """ "December 21, in 12 days"; on the last day with the hour: "3:12 pm today"."""
    days = (timezone.localdate(by) - timezone.localdate(now)).days
    if days <= 1:
        return f"{times.clock(by)} {'tomorrow' if days else 'today'}"
    return f"{times.calendar_day(by)}, in {days} days"


def _date(by: dt.datetime, now: dt.datetime) -> str:
    """The same for a message, which may be read tomorrow: "Monday, December 21"."""
    if by - now <= dt.timedelta(days=2):
        return times.since_when(by, now)
    return f"{timezone.localtime(by):%A}, {times.calendar_day(by)}"
