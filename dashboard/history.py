"""The history page: the last 24 hours of each account."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from dashboard.cards import worst_first
from dashboard.headline import AT_MOST
from dashboard.strip import Strip, draw
from dashboard.times import span
from integrations.base import Assessment
from integrations.levels import Level
from integrations.models import IntegrationStatus
from integrations.registry import all_integrations, get_integration
from integrations.times import clock

TICKS = 4


@dataclass(frozen=True, kw_only=True)
class Spell:
    """A row of the table."""

    when: str
    level: Level
    title: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One account: its strip with times below it, and its spells, newest first."""

    assessment: Assessment
    strip: Strip | None
    ticks: Sequence[str]
    spells: Sequence[Spell]


def of_everything(assessments: Sequence[Assessment], now: dt.datetime) -> list[Record]:
    """The worst accounts of every integration that keeps a history."""
    records = (_record(assessment, now) for assessment in assessments)
    return [record for record in records if record.strip or record.spells]


def of_account(account: str, now: dt.datetime) -> list[Record]:
    """One account, whichever integration it belongs to."""
    return _records({slug: [account] for slug in all_integrations()}, now)


def search(text: str, now: dt.datetime) -> list[Record]:
    """Accounts with this text in their name, or with this very id."""
    wanted: dict[str, list[str]] = {slug: [text] for slug in all_integrations()}
    rows = IntegrationStatus.objects.filter(Q(name__icontains=text) | Q(account=text))
    for slug, account in rows.values_list("integration", "account")[:AT_MOST]:
        if slug in wanted and account not in wanted[slug]:
            wanted[slug].append(account)
    return _records(wanted, now)


def _records(wanted: dict[str, list[str]], now: dt.datetime) -> list[Record]:
    found = [
        assessment
        for slug, accounts in wanted.items()
        for assessment in all_integrations()[slug].assess(now, accounts)
        if assessment.account in accounts
    ]
    return [_record(assessment, now) for assessment in worst_first(found)]


def _record(assessment: Assessment, now: dt.datetime) -> Record:
    integration = get_integration(assessment.integration)
    events = integration.history(assessment.account, now) if integration else []
    return Record(
        assessment=assessment,
        strip=draw(assessment.strip, told=True),
        ticks=_ticks(assessment, now),
        spells=[
            Spell(
                when=span(event.starts_at, event.ends_at, now),
                level=event.level,
                title=event.title,
                note=event.note,
            )
            for event in events
        ],
    )


def _ticks(assessment: Assessment, now: dt.datetime) -> list[str]:
    """Times from the left edge of the strip to now, evenly spaced."""
    if not assessment.strip:
        return []
    start = assessment.strip[0].starts_at
    step = (now - start) / TICKS
    return [*(clock(start + step * tick) for tick in range(TICKS)), "now"]
