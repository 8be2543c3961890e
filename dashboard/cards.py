"""Assessments as cards: what to show of each, to whom, and when the card asks again."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from dashboard.strip import Strip, draw
from integrations.addresses import address
from integrations.base import Action, Assessment
from integrations.levels import Level
from integrations.registry import assess_all
from integrations.standing import stand
from integrations.times import moment

NO_ACCOUNT = "-"  # stands for the empty account in a URL
PAIR = '<div><dt>{}</dt><dd class="pick">{}</dd></div>'


class Asking(Enum):
    """When a card fetches itself again, and whether that asks the vendor."""

    LIVE_AT_ONCE = ("load", False)
    STORED_SOON = ("load delay:2s", True)
    STORED_EVERY_MINUTE = ("every 60s", True)

    def __init__(self, trigger: str, stored: bool) -> None:
        self.trigger = trigger
        self.stored = stored


@dataclass(frozen=True, kw_only=True)
class Card:
    """One assessment, ready for the template.

    `refused`: there is an action, but this person may not take it. `folded`: on a phone it is
    one line until it is opened.
    """

    id: str
    assessment: Assessment
    url: str
    trigger: str
    title: str
    since: str
    action: Action | None
    refused: bool
    links: Sequence[Action]
    strip: Strip | None
    history_url: str
    facts: SafeString
    support: SafeString
    folded: bool


def worst_first(assessments: Sequence[Assessment]) -> list[Assessment]:
    """Trouble in front, what a person can mend before the rest; otherwise as the settings say."""
    return sorted(assessments, key=_rank)


def stored(now: dt.datetime) -> list[Assessment]:
    """What is stored about everything, worst first."""
    return standing(assess_all(now), now)


def standing(assessments: Sequence[Assessment], now: dt.datetime) -> list[Assessment]:
    """With what their statuses and incidents add, worst first."""
    return worst_first(stand(assessments, now))


def card(
    assessment: Assessment, *, now: dt.datetime, may: Callable[[str], bool], asking: Asking
) -> Card:
    """`may` says whether the person at the screen has a permission."""
    account = assessment.account or NO_ACCOUNT
    url = address("dashboard:card", assessment.integration, account)
    action = assessment.action
    allowed = action is not None and _allowed(action, may)
    level = assessment.level
    return Card(
        id=f"card-{assessment.integration}-{assessment.account}",
        assessment=assessment,
        url=f"{url}?stored=1" if asking.stored else url,
        trigger=asking.trigger,
        title=_title(assessment),
        since=_since(assessment, now),
        action=action if allowed else None,
        refused=action is not None and not allowed,
        links=[link for link in assessment.links if _allowed(link, may)],
        strip=draw(assessment.strip),
        history_url=history_url(assessment.account) if assessment.strip else "",
        # Long and plain lists: a template takes several times as long for them.
        facts=format_html_join("", "<p>{}</p>", ((fact,) for fact in assessment.facts)),
        support=format_html_join("", PAIR, assessment.support),
        folded=level is Level.HEALTHY or (level is Level.UNKNOWN and action is None),
    )


def history_url(account: str = "") -> str:
    url = address("dashboard:history")
    return f"{url}?account={account}" if account else url


def asking_next(assessment: Assessment) -> Asking:
    """How a card goes on after it was shown once."""
    return Asking.STORED_SOON if assessment.checking else Asking.STORED_EVERY_MINUTE


def _rank(assessment: Assessment) -> tuple[bool, int]:
    # What is not set up is no trouble, and keeps its place among the healthy.
    severity = assessment.level.severity if assessment.in_trouble else 0
    return not assessment.needs_a_person, -severity


def _allowed(action: Action, may: Callable[[str], bool]) -> bool:
    return not action.permission or may(action.permission)


def _title(assessment: Assessment) -> str:
    """What of the title the headline above it has not said."""
    title, said = assessment.title, assessment.headline
    if said and title.lower().endswith(said.lower()):
        return ""
    return title.removeprefix(f"{said}. ") if said else title


def _since(assessment: Assessment, now: dt.datetime) -> str:
    word = assessment.spell
    if assessment.since is None or (assessment.level is Level.UNKNOWN and not word):
        return ""
    if not word:
        # A warning that needs nobody must not be said to need a look.
        warning = assessment.level is Level.WARNING
        word = "trouble" if warning else assessment.level.label.lower()
    return f"{word} since {moment(assessment.since, now)}"
