"""What the explanations of all integrations have in common."""

import datetime as dt

from django.conf import settings

from integrations import times
from integrations.addresses import address
from integrations.base import Explanation


def card_url(slug: str, account: str = "") -> str:
    """The absolute address of a card on the dashboard."""
    return f"{settings.SITE_URL}{address('dashboard:index')}#card-{slug}-{account}"


def set_up_url(slug: str) -> str:
    """The absolute address of the page that tells what to enter where."""
    return settings.SITE_URL + address("integrations:set_up", slug)


def unexplained(
    name: str, state: str, *, since: dt.datetime, now: dt.datetime, fix_url: str
) -> Explanation:
    """For a state that there are no words for (any more): an old incident may still name it."""
    return Explanation(
        title=f"{name}: {state.replace('_', ' ')}",
        impact=f"It has been like this since {times.since_when(since, now)}.",
        next_step="Open the page below; it says what is known now.",
        fix_url=fix_url,
    )
