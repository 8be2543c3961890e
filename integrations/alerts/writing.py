"""From rows of the outbox to a letter."""

import datetime as dt
from collections.abc import Sequence

from integrations import answers, blast, telling, times
from integrations.alerts import digests
from integrations.alerts.facts import Facts
from integrations.alerts.letters import (
    Letter,
    Link,
    dashboard,
    in_short,
    named,
    page_of,
    thing_of,
)
from integrations.alerts.reminders import MOST
from integrations.levels import Level
from integrations.models import Alert, Incident, Recipient

# Of what happened meanwhile; the page of the incident has all of it.
LISTED = 20
MEANWHILE = "What happened meanwhile"

Kind = Alert.Kind


def write(rows: Sequence[Alert], now: dt.datetime) -> Letter:
    """One letter to one recipient, from rows of one kind: about one thing, or a digest of many."""
    first = rows[0]
    incidents = list({row.incident_id: row.incident for row in rows if row.incident}.values())
    if len(incidents) > 1:
        return digests.of_incidents(first.kind, incidents, now)
    if incidents:
        return _about(first.kind, incidents[0], first.recipient, now, rows)
    if first.kind == Kind.TEST:
        return _test()
    if len(rows) > 1:
        return digests.of_facts([Facts.of(row.facts) for row in rows])
    return _told(Facts.of(first.facts))


def bare(rows: Sequence[Alert], now: dt.datetime) -> Letter:
    """When the words cannot be found: that something is wrong, whose, and where to look."""
    incident = rows[0].incident
    title = incident.cause.replace("_", " ") if incident else "Something needs a look"
    return Letter(
        subject=named(in_short(incident.name), title)
        if incident
        else "The connection monitor has something to tell",
        level=incident.get_level if incident else Level.WARNING,
        about=incident.name if incident else "",
        title=title,
        when=telling.when(incident, now) if incident else "",
        next_step="The page below says what is known now.",
        button=Link("Open", page_of(incident) if incident else dashboard()),
    )


def _about(
    kind: str, incident: Incident, recipient: Recipient, now: dt.datetime, rows: Sequence[Alert]
) -> Letter:
    if kind == Kind.RECOVERED:
        return _recovered(incident, now)
    found = telling.explain(incident, now)
    length = telling.how_long(incident, now)
    told = named(in_short(incident.name), found.title)
    since = times.moment(incident.started_at, now)
    paragraphs = [found.impact]
    if missed := blast.summary(incident, now):
        paragraphs.append(missed)
    number = max(row.facts.get("number", 0) for row in rows)
    if number:
        subject = f"Reminder: {told}, for {length} now"
        paragraphs.append(
            f"Nobody has answered yet. This is reminder {number} of at most {MOST}; "
            "they stop when somebody is on it, and when it works again."
        )
    else:
        subject = f"{told}, since {since}"
        if kind == Kind.REMINDER:
            paragraphs.append("The cause is another one than before, so you hear of it again.")
    when = f"Since {times.since_when(incident.started_at, now)}, for {length} now"
    if incident.ended_at:
        # Held up on its way: what it tells of is over, and the next message says so.
        when = f"{telling.when(incident, now)}, {length} in all"
        paragraphs.append(f"It has worked again since {times.moment(incident.ended_at, now)}.")
    if being_seen_to := telling.on_it(incident, now):
        paragraphs.append(f"{being_seen_to}.")
    acts = telling.needs_a_person(incident)
    links = []
    if acts and not incident.acknowledged_at:
        answer = answers.answer_url(incident, recipient)
        links = [Link("I’m on it", answer), Link("Remind me later", f"{answer}#later")]
    return Letter(
        subject=subject,
        level=incident.get_level,
        about=incident.name,
        title=found.title,
        when=when,
        paragraphs=paragraphs,
        next_step=found.next_step,
        button=Link("Fix it" if acts else "See how it stands", found.fix_url or page_of(incident)),
        lines_title=MEANWHILE,
        lines=_meanwhile(incident, now),
        links=[*links, Link("All about this incident", page_of(incident))],
        reference=found.reference,
    )


def _recovered(incident: Incident, now: dt.datetime) -> Letter:
    thing, length = thing_of(incident), telling.how_long(incident, now)
    title = f"{thing} works again"
    how = f"Fixed by {incident.fixed_by}" if incident.fixed_by else "It came back by itself"
    listed = _meanwhile(incident, now)
    what = telling.title(incident, now)
    return Letter(
        subject=f"{named(in_short(incident.name), title)}, after {length}",
        level=Level.HEALTHY,
        about=incident.name,
        title=title,
        when=f"{telling.when(incident, now)}, {length} in all. {how}",
        paragraphs=[f"What it was: {what}.", *filter(None, [blast.summary(incident, now)])],
        next_step="Check by hand what is listed below." if listed else "Nothing to do.",
        button=Link("See what happened", page_of(incident)),
        lines_title=MEANWHILE,
        lines=listed,
    )


def _meanwhile(incident: Incident, now: dt.datetime) -> list[str]:
    listed = blast.listing(incident, now, LISTED + 1)
    if len(listed) > LISTED:
        listed[LISTED:] = ["and more, on the page of the incident"]
    return listed


def _told(facts: Facts) -> Letter:
    return Letter(
        subject=facts.subject,
        level=Level.WARNING,
        about="",
        title=facts.title,
        paragraphs=[facts.impact],
        next_step=facts.next_step,
        button=Link("See what to do", facts.url),
        lines=facts.lines,
    )


def _test() -> Letter:
    return Letter(
        subject="Test alert: it reaches you",
        level=Level.HEALTHY,
        about="",
        title="This is a test alert",
        paragraphs=["Somebody asked for it in the admin. Alerts reach you here."],
        next_step="Nothing to do.",
        button=Link("Open the dashboard", dashboard()),
    )
