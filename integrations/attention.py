"""Who looks after an incident: that somebody is on it, wants to be left alone, or is reminded."""

import datetime as dt

from django.db.models import F, QuerySet

from integrations import times
from integrations.alerts import outbox
from integrations.incidents import PEOPLE, add_note
from integrations.models import Incident


def acknowledge(incident: Incident, by: str, now: dt.datetime) -> bool:
    """Somebody is on it: no more reminders. False when it is over or was acknowledged before."""
    done = Incident.objects.filter(pk=incident.pk, ended_at=None, acknowledged_at=None).update(
        acknowledged_at=now, acknowledged_by=by[:150], next_reminder_at=None
    )
    if done:
        outbox.withdraw_reminders(incident)
        add_note(incident, now, f"{by} is on it.")
    return bool(done)


def snooze(incident: Incident, until: dt.datetime, reason: str, by: str, now: dt.datetime) -> bool:
    """No reminder until then, with a reason. False when it is over."""
    done = Incident.objects.filter(pk=incident.pk, ended_at=None).update(
        snoozed_until=until, snooze_reason=reason[:200], next_reminder_at=until
    )
    if done:
        outbox.withdraw_reminders(incident)
        end = f"{times.calendar_day(until)}, {times.clock(until)}"
        add_note(incident, now, f"{by} asked for quiet until {end}: {reason}")
    return bool(done)


def due_for_reminder(now: dt.datetime) -> QuerySet[Incident]:
    """Open, told, unanswered, and somebody can do something about it."""
    return Incident.objects.filter(
        ended_at=None,
        acknowledged_at=None,
        part_of=None,
        who_acts__in=PEOPLE,
        next_reminder_at__lte=now,
    )


def count_reminder(incident: Incident, next_at: dt.datetime | None) -> bool:
    """One more reminder goes out; False when somebody else has just seen to it."""
    return bool(
        Incident.objects.filter(
            pk=incident.pk, reminders=incident.reminders, acknowledged_at=None, ended_at=None
        ).update(reminders=F("reminders") + 1, next_reminder_at=next_at)
    )
