"""Incidents in words: what, whose, since when, who acts, how it ended."""

import datetime as dt

from integrations import outages, times
from integrations.base import Explanation
from integrations.explanations import unexplained
from integrations.models import Incident, IntegrationStatus
from integrations.registry import get_integration

WHO_ACTS = {
    "clinic": "Somebody at the clinic",
    "administrator": "Your IT person",
    "intuit": "QuickBooks itself",
    "vendor": "The vendor",
}
NOBODY = "Nobody. It should come right by itself, and is being watched."


def explain(incident: Incident, now: dt.datetime) -> Explanation:
    """What it is, what it means, what helps. A handful of queries."""
    if incident.shared:
        return outages.explain(incident, now)
    since, integration = incident.started_at, get_integration(incident.integration)
    if integration is None:
        return unexplained(incident.name, incident.cause, since=since, now=now, fix_url="")
    return integration.explain(incident.account, incident.cause, since=since, now=now)


def title(incident: Incident, now: dt.datetime) -> str:
    """What it is, without asking the database: for lists."""
    if incident.shared:
        return outages.explain(incident, now).title
    integration = get_integration(incident.integration)
    return integration.title_of(incident.cause) if integration else str(incident)


def whose(entry: Incident | IntegrationStatus) -> str:
    """ "QuickBooks · Harbour Physio"."""
    integration = get_integration(entry.integration)
    if integration is None or entry.name.startswith(integration.name):
        return entry.name
    return f"{integration.name} · {entry.name}"


def who_acts(incident: Incident) -> str:
    integration = get_integration(incident.integration)
    if incident.who_acts == "vendor" and integration:
        return f"{integration.name} itself"
    return WHO_ACTS.get(incident.who_acts, NOBODY)


def works_again(incident: Incident) -> bool:
    """It recovered, and was not closed because nobody wants it to work any more."""
    dropped = incident.closed_at == incident.ended_at and not incident.fixed_by
    return incident.ended_at is not None and not dropped


def how_it_ended(incident: Incident) -> str:
    """ "mended by Ana"; empty while it lasts."""
    if incident.ended_at is None:
        return ""
    if not works_again(incident):
        return "closed"
    return f"mended by {incident.fixed_by}" if incident.fixed_by else "healed by itself"


def when(incident: Incident, now: dt.datetime) -> str:
    """ "Since Tuesday at 9:45 am", "Tuesday at 9:45 am to 11:10 am"."""
    began, ended = incident.started_at, incident.ended_at
    if ended is None:
        return f"Since {times.since_when(began, now)}"
    same_day = times.calendar_day(began) == times.calendar_day(ended)
    until = times.clock(ended) if same_day else times.since_when(ended, now)
    return f"{times.since_when(began, now)} to {until}"


def how_long(incident: Incident, now: dt.datetime) -> str:
    return times.length((incident.ended_at or now) - incident.started_at)


def on_it(incident: Incident, now: dt.datetime) -> str:
    """ "Ana has been on it since 9:50 am", or until when nobody is to be reminded; empty for
    neither, and when it is over."""
    if incident.ended_at:
        return ""
    if incident.acknowledged_at:
        since = times.moment(incident.acknowledged_at, now)
        return f"{incident.acknowledged_by} has been on it since {since}"
    if incident.snoozed_until and incident.snoozed_until > now:
        until = times.moment(incident.snoozed_until, now)
        return f"No reminder until {until}: {incident.snooze_reason}"
    return ""


def needs_a_person(incident: Incident) -> bool:
    """It is open and somebody can do something about it."""
    return incident.ended_at is None and incident.who_acts in {"clinic", "administrator"}


def speaker(incident: Incident) -> Incident:
    """The incident that speaks for it: the shared one that it is part of, or itself."""
    shared = incident.part_of
    return shared if shared and shared.ended_at is None else incident
