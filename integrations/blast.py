"""What happened elsewhere while the books could not be written: it may not be in them.

Amounts are not known here and not guessed.
"""

import datetime as dt
from collections.abc import Sequence

from integrations import times
from integrations.base import Change, Integration
from integrations.models import Incident
from integrations.registry import all_integrations

# What one membership did, and what several did.
_HAPPENED = {
    "begun": ("began", "began"),
    "renewed": ("was renewed", "were renewed"),
    "ended": ("ended", "ended"),
}


def summary(incident: Incident, now: dt.datetime) -> str:
    """ "7 memberships began, 3 were renewed and 1 ended in Jane since then and may not be in the
    books. …". Empty when nothing happened that is known of, or no books are concerned.

    One statement for each integration that watches such things, at most one more for a shared
    incident.
    """
    books = _books(incident)
    if books is None:
        return ""
    begin, end = incident.started_at, incident.ended_at or now
    when = "meanwhile" if incident.ended_at else "since then"
    total, told = 0, []
    for other in _others():
        counts = other.count_changes(begin, end)
        if sum(counts.values()):
            total += sum(counts.values())
            told.append(f"{_counted(counts)} in {other.short_name or other.name}")
    if not told:
        return ""
    they = "it is" if total == 1 else "they are"
    return (
        f"{_listed(told)} {when} and may not be in the books. "
        f"Check by hand that {they} in {books.name}."
    )


def listing(incident: Incident, now: dt.datetime, limit: int) -> list[str]:
    """What to look for by hand, newest first: "November 17, 10:12 am: began, 82000020"."""
    if _books(incident) is None:
        return []
    found: list[Change] = []
    for other in _others():
        found += other.changes(incident.started_at, incident.ended_at or now)
    found.sort(key=lambda change: change.at, reverse=True)
    return [_line(change) for change in found[:limit]]


def _books(incident: Incident) -> Integration | None:
    """The integration that keeps the books and is down; None when books are not concerned."""
    slugs = {incident.integration}
    if incident.shared:
        slugs = set(incident.parts.values_list("integration", flat=True))
    keepers = [i for slug, i in all_integrations().items() if slug in slugs and i.keeps_the_books]
    return keepers[0] if keepers else None


def _others() -> list[Integration]:
    return [i for i in all_integrations().values() if not i.keeps_the_books]


def _counted(counts: dict[str, int]) -> str:
    """ "7 memberships began, 3 were renewed and 1 ended"."""
    parts: list[str] = []
    for what, (one, several) in _HAPPENED.items():
        if number := counts.get(what, 0):
            noun = ""
            if not parts:
                noun = " membership" if number == 1 else " memberships"
            parts.append(f"{number:,}{noun} {one if number == 1 else several}")
    return _listed(parts)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _line(change: Change) -> str:
    happened = _HAPPENED[change.what][0]
    return (
        f"{times.calendar_day(change.at)}, {times.clock(change.at)}: {happened}, {change.reference}"
    )
