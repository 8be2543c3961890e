"""What is to be told, written in the transaction of what it tells of. Nothing is sent here.

One row for each recipient and occasion; the unique key makes sure that nobody is told twice.
`integrations.alerts.delivery` sends what is due.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from integrations.alerts import quiet, recipients
from integrations.levels import Level
from integrations.models import Alert, Incident, Recipient

Kind, State = Alert.Kind, Alert.State


def opened(incident: Incident, now: dt.datetime) -> int:
    """The first message of an incident; how many had not been told yet.

    Quiet hours hold it unless the incident is critical. What was withdrawn, because it was over
    or another incident spoke for it, is told after all.
    """
    held = Level(incident.level) is not Level.CRITICAL
    told, key = recipients.concerned(incident), f"incident:{incident.pk}:opened"
    due_at = quiet.over(now) if held else now
    withdrawn = Alert.objects.filter(key=key, recipient__in=told, state=State.WITHDRAWN)
    again = withdrawn.update(state=State.QUEUED, queued_at=now, due_at=due_at)
    return again + _queue(
        told, kind=Kind.OPENED, key=key, now=now, due_at=due_at, incident=incident
    )


def hurry(incident: Incident, now: dt.datetime) -> None:
    """It has become critical: what quiet hours hold goes out now."""
    queued(incident, Kind.OPENED).filter(due_at__gt=now, attempts=0).update(due_at=now)


def anew(incident: Incident, now: dt.datetime) -> int:
    """Its cause is another one, for those who have read of the first; once for each cause."""
    read = Alert.objects.filter(incident=incident, kind=Kind.OPENED, state=State.SENT)
    have = set(read.values_list("recipient", flat=True))
    return _queue(
        [recipient for recipient in recipients.concerned(incident) if recipient.pk in have],
        kind=Kind.REMINDER,
        key=f"incident:{incident.pk}:cause:{incident.cause}",
        now=now,
        due_at=quiet.over(now),
        incident=incident,
        facts={"anew": True},
    )


def reminder(incident: Incident, number: int, now: dt.datetime) -> int:
    return _queue(
        _told(incident),
        kind=Kind.REMINDER,
        key=f"incident:{incident.pk}:reminder:{number}",
        now=now,
        due_at=quiet.over(now),
        incident=incident,
        facts={"number": number},
    )


def recovered(incident: Incident, now: dt.datetime, *, due_at: dt.datetime) -> int:
    """The last message, for those who got the first, or are about to get it.

    Whom quiet hours have kept from hearing of it does not hear of it any more; who has heard of
    the incident that speaks for it, hears of the end of that.
    """
    queued(incident, Kind.OPENED).filter(due_at__gt=now, attempts=0, claimed_by="").update(
        state=State.WITHDRAWN
    )
    speaker = incident.part_of
    spoken_to = _told(speaker) if speaker and speaker.ended_at is None else []
    return _queue(
        [recipient for recipient in _told(incident) if recipient not in spoken_to],
        kind=Kind.RECOVERED,
        key=f"incident:{incident.pk}:recovered",
        now=now,
        due_at=quiet.over(due_at),
        incident=incident,
    )


def withdraw_recovery(incident: Incident) -> bool:
    """The recovery was premature. False when somebody has been told of it, or may have been."""
    told = Alert.objects.filter(incident=incident, kind=Kind.RECOVERED)
    untold = {"state": State.QUEUED, "claimed_by": "", "attempts": 0}
    if told.exclude(**untold).exists():
        return False
    return told.count() == told.filter(**untold).delete()[0]


def withdraw_reminders(incident: Incident) -> None:
    queued(incident, Kind.REMINDER).filter(claimed_by="").update(state=State.WITHDRAWN)


def withdraw_all(incidents: Iterable[Incident]) -> None:
    Alert.objects.filter(incident__in=incidents, state=State.QUEUED, claimed_by="").update(
        state=State.WITHDRAWN
    )


def forecast(told: Iterable[Recipient], key: str, facts: dict[str, Any], now: dt.datetime) -> int:
    """Something that will happen unless a person acts."""
    return _queue(told, kind=Kind.FORECAST, key=key, now=now, due_at=quiet.over(now), facts=facts)


def watcher(key: str, facts: dict[str, Any], now: dt.datetime) -> int:
    """The schedule stood still: nobody was watching."""
    told = [r for r in recipients.active() if r.wants != Recipient.Wants.CLINIC]
    return _queue(told, kind=Kind.WATCHER, key=key, now=now, due_at=quiet.over(now), facts=facts)


def test(recipient: Recipient, key: str, now: dt.datetime) -> int:
    """A test alert, which a person asked for: at once."""
    return _queue([recipient], kind=Kind.TEST, key=key, now=now, due_at=now)


def queued(incident: Incident, kind: str) -> QuerySet[Alert]:
    return Alert.objects.filter(incident=incident, kind=kind, state=State.QUEUED)


def _told(incident: Incident) -> list[Recipient]:
    """Who has the first message, or will have it."""
    rows = Alert.objects.filter(incident=incident, kind=Kind.OPENED)
    wanted = rows.exclude(state=State.WITHDRAWN).values("recipient")
    return list(Recipient.objects.filter(active=True, pk__in=wanted))


def _queue(
    told: Iterable[Recipient],
    *,
    kind: str,
    key: str,
    now: dt.datetime,
    due_at: dt.datetime,
    incident: Incident | None = None,
    facts: dict[str, Any] | None = None,
) -> int:
    rows = [
        Alert(
            recipient=recipient,
            incident=incident,
            kind=kind,
            key=key,
            facts=facts or {},
            queued_at=now,
            due_at=due_at,
        )
        for recipient in told
    ]
    known = set(
        Alert.objects.filter(key=key, recipient__in=[row.recipient for row in rows]).values_list(
            "recipient", flat=True
        )
    )
    fresh = [row for row in rows if row.recipient_id not in known]
    Alert.objects.bulk_create(fresh, ignore_conflicts=True)
    return len(fresh)
