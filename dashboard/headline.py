"""The one sentence at the top of the dashboard, and in the title of its browser tab."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.times import duration
from integrations.base import Assessment
from integrations.levels import Level
from integrations.registry import get_integration
from integrations.times import clock

# An integration judges at most this many of its accounts; beyond it there may be more.
AT_MOST = 12


@dataclass(frozen=True, kw_only=True)
class Headline:
    """`checked` is the time of the newest check, `clock` the time of this very judgement."""

    level: Level
    sentence: str
    checked: str
    clock: str


def headline(assessments: Sequence[Assessment], now: dt.datetime) -> Headline:
    """Sum up all assessments, which come worst first."""
    level, sentence = _sum_up(assessments, now)
    newest = max((a.checked_at for a in assessments if a.checked_at), default=None)
    return Headline(
        level=level,
        sentence=sentence,
        checked=clock(newest) if newest else "",
        clock=clock(now),
    )


def is_set_up(assessment: Assessment) -> bool:
    """An integration that is not has one assessment, of no account, of unknown level, and no
    cause for alarm."""
    return assessment.level is not Level.UNKNOWN or bool(assessment.account) or assessment.alarming


def _sum_up(assessments: Sequence[Assessment], now: dt.datetime) -> tuple[Level, str]:
    if waiting := [a for a in assessments if a.needs_a_person]:
        worst, count = waiting[0], len(waiting)
        age = duration(now - worst.since) if worst.since else ""
        what = _what(worst, assessments, age)
        if count == 1:
            return worst.level, f"1 thing needs you: {what}"
        least = "At least " if max(_counts(waiting).values()) >= AT_MOST else ""
        return worst.level, f"{least}{count} things need you. First: {what}"

    if troubled := [a for a in assessments if a.in_trouble]:
        what = _what(troubled[0], assessments)
        more = _more(what, len(troubled) - 1)
        return troubled[0].level, f"{what}{more}. Nothing for you to do."

    set_up = [a for a in assessments if is_set_up(a)]
    watched = [a for a in set_up if not a.paused]
    if unknown := [a for a in watched if a.level is Level.UNKNOWN]:
        return Level.UNKNOWN, _what(unknown[0], assessments)
    if watched:
        return Level.HEALTHY, _all_well([a for a in set_up if a.paused], assessments)
    if set_up:
        return Level.UNKNOWN, "Everything is paused"
    return Level.UNKNOWN, "Nothing is set up yet"


def _all_well(paused: Sequence[Assessment], assessments: Sequence[Assessment]) -> str:
    if not paused:
        return "Everything works"
    first = paused[0]
    integration = get_integration(first.integration)
    alone = integration is not None and _counts(assessments)[first.integration] == 1
    name = integration.name if integration and alone else first.name
    told = f"{name} is paused" if len(paused) == 1 else f"{len(paused)} are paused"
    return f"{told}. Everything else works"


def _more(what: str, count: int) -> str:
    """How many others are in trouble, in the same sentence or, where there are two, in another."""
    if not count:
        return ""
    if ". " not in what:
        return f", and {count} more"
    return f". {count} more {'has' if count == 1 else 'have'} trouble, too"


def _counts(assessments: Sequence[Assessment]) -> Counter[str]:
    return Counter(a.integration for a in assessments)


def _what(assessment: Assessment, assessments: Sequence[Assessment], age: str = "") -> str:
    """The title, with the company where there are several, and for how long."""
    company = ""
    if _counts(assessments)[assessment.integration] > 1:
        integration = get_integration(assessment.integration)
        vendor = f"{integration.name} · " if integration else ""
        company = assessment.name.removeprefix(vendor)
    notes = ", ".join(filter(None, (company, age)))
    title = assessment.title.removesuffix(".")
    return f"{title} ({notes})" if notes else title
