"""Reminders: after four hours, then on the clinic's days, until somebody answers."""

import datetime as dt

from django.db import transaction
from django.db.models import Q

from integrations import attention
from integrations.alerts import outbox, pausing
from integrations.silences import next_opening

MOST = 7


def remind(now: dt.datetime) -> int:
    """Queue what is due, and say when the next one is; how many alerts were queued.

    Nothing of what is paused. Raises `DatabaseError`.
    """
    due = attention.due_for_reminder(now).filter(
        Q(snoozed_until=None) | Q(snoozed_until__lte=now), ~pausing.paused(now), reminders__lt=MOST
    )
    queued = 0
    for incident in due:
        number = incident.reminders + 1
        next_at = next_opening(now) if number < MOST else None
        with transaction.atomic():
            if attention.count_reminder(incident, next_at):
                queued += outbox.reminder(incident, number, now)
    return queued
