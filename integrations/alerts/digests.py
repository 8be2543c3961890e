"""One message instead of many: what fails alike, recovers alike or ends alike."""

import datetime as dt
from collections.abc import Sequence

from django.conf import settings

from integrations import telling, times
from integrations.addresses import address
from integrations.alerts.facts import Facts
from integrations.alerts.letters import Letter, Link, dashboard, thing_of
from integrations.levels import Level, worst
from integrations.models import Alert, Incident
from integrations.registry import get_integration

# Nobody reads a thousand names in a mail.
NAMED = 20

Kind = Alert.Kind


def of_incidents(kind: str, incidents: Sequence[Incident], now: dt.datetime) -> Letter:
    """Many that fail alike, or recovered alike: the worst and oldest first."""
    ordered = sorted(incidents, key=lambda one: (-one.get_level.severity, one.started_at))
    first = ordered[0]
    about = f"{len(ordered):,} companies"
    oldest = min(one.started_at for one in ordered)
    page = settings.SITE_URL + address("integrations:incidents")
    if kind == Kind.RECOVERED:
        title = f"{thing_of(first)} works again"
        return Letter(
            subject=f"{about}: {title}",
            level=Level.HEALTHY,
            about=about,
            title=title,
            when=f"What it was: {telling.title(first, now)}",
            next_step="Each incident's page says what happened meanwhile.",
            button=Link("See the incidents", page),
            lines_title="Working again",
            lines=_capped([_ended(one, now) for one in ordered]),
        )
    # Of no account: texts that name one company would be wrong for all others.
    integration = get_integration(first.integration)
    found = telling.explain(first, now)
    if integration is not None:
        found = integration.explain("", first.cause, since=oldest, now=now)
    length = times.length(now - oldest)
    reminding = kind == Kind.REMINDER
    acts = telling.needs_a_person(first)
    return Letter(
        subject=f"{'Reminder: ' if reminding else ''}{about}: {found.title}",
        level=worst([one.get_level for one in ordered]),
        about=about,
        title=found.title,
        when=f"The first since {times.since_when(oldest, now)}, for {length} now",
        paragraphs=[found.impact],
        next_step=found.next_step,
        button=Link("Fix them" if acts else "See how they stand", found.fix_url or page),
        lines_title="Concerned",
        lines=_capped(
            [f"{one.name}, since {times.moment(one.started_at, now)}" for one in ordered]
        ),
        links=[Link("All incidents", page)],
    )


def of_facts(facts: Sequence[Facts]) -> Letter:
    """Several that have the same title."""
    first = facts[0]
    return Letter(
        subject=f"{len(facts):,} times: {first.title}",
        level=Level.WARNING,
        about="Several companies",
        title=first.title,
        paragraphs=[first.impact],
        next_step=first.next_step,
        button=Link("Open the dashboard", dashboard()),
        lines_title="Concerned",
        lines=_capped([one.subject for one in facts]),
    )


def _capped(lines: list[str]) -> list[str]:
    more = len(lines) - NAMED
    return lines if more <= 0 else [*lines[:NAMED], f"and {more:,} more"]


def _ended(incident: Incident, now: dt.datetime) -> str:
    by = f", fixed by {incident.fixed_by}" if incident.fixed_by else ""
    return f"{incident.name}, after {telling.how_long(incident, now)}{by}"
