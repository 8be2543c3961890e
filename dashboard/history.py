"""The history page: the last 24 hours of each account."""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from dashboard.cards import standing
from dashboard.headline import AT_MOST
from dashboard.strip import Strip, draw
from dashboard.times import span
from integrations import telling
from integrations.addresses import address
from integrations.base import Assessment
from integrations.levels import Level
from integrations.models import Incident, IntegrationStatus
from integrations.registry import all_integrations, get_integration
from integrations.silences import pause_url
from integrations.times import clock

TICKS = 4
SHOWN = dt.timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Spell:
    """A row of the table."""

    when: str
    level: Level
    title: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """An incident, and the page that tells its story."""

    url: str
    text: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One account: its strip with times below it, its spells and incidents, newest first."""

    assessment: Assessment
    strip: Strip | None
    ticks: Sequence[str]
    spells: Sequence[Spell]
    incidents: Sequence[Trouble]
    pause_url: str


def of_everything(assessments: Sequence[Assessment], now: dt.datetime) -> list[Record]:
    """The worst accounts of every integration that keeps a history."""
    records = _told(assessments, now)
    return [record for record in records if record.strip or record.spells or record.incidents]


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
    return _told(standing(found, now), now)


def _told(assessments: Sequence[Assessment], now: dt.datetime) -> list[Record]:
    incidents = _incidents(assessments, now)
    return [
        _record(assessment, incidents[assessment.integration, assessment.account], now)
        for assessment in assessments
    ]


def _record(assessment: Assessment, incidents: Sequence[Incident], now: dt.datetime) -> Record:
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
        incidents=[
            Trouble(
                url=address("integrations:incident", str(incident.pk)),
                text=f"{telling.when(incident, now)}: {telling.title(incident, now)}",
                note=telling.how_it_ended(incident),
            )
            for incident in incidents
        ],
        pause_url=pause_url(assessment.integration, assessment.account),
    )


def _incidents(
    assessments: Sequence[Assessment], now: dt.datetime
) -> defaultdict[tuple[str, str], list[Incident]]:
    """Those of the last 24 hours, newest first. One query."""
    rows = Incident.objects.filter(
        Q(ended_at=None) | Q(ended_at__gt=now - SHOWN),
        integration__in={assessment.integration for assessment in assessments},
        account__in={assessment.account for assessment in assessments},
        shared=False,
    )
    found = defaultdict(list)
    for row in rows:
        found[row.integration, row.account].append(row)
    return found


def _ticks(assessment: Assessment, now: dt.datetime) -> list[str]:
    """Times from the left edge of the strip to now, evenly spaced."""
    if not assessment.strip:
        return []
    start = assessment.strip[0].starts_at
    step = (now - start) / TICKS
    return [*(clock(start + step * tick) for tick in range(TICKS)), "now"]
