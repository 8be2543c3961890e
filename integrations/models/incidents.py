"""Incidents: from the first failure to the first success of the recovery, one row each."""

from typing import ClassVar

from django.db import models

from integrations.levels import Level


class Incident(models.Model):
    """Trouble of one account, or of several that fail alike (`shared`, of no account).

    Written by `integrations.incidents` alone. `cause`, `level` and `who_acts` are the present
    ones; the cause may change while the incident stays the same. `started_at` is the first
    failure, `confirmed_at` when it was no blip any more, `ended_at` the first success of the
    recovery, `closed_at` when that was sure. `alerted_at`: when people were first to be told.
    `fixed_by`: the person who mended it, empty if it healed by itself. `part_of`: the incident
    that speaks for this one.
    """

    integration = models.CharField(max_length=40, blank=True)
    account = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=200)
    cause = models.CharField(max_length=40)
    level = models.CharField(max_length=10)
    who_acts = models.CharField(max_length=20)
    shared = models.BooleanField(default=False)
    part_of = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="parts"
    )

    started_at = models.DateTimeField()
    confirmed_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    fixed_by = models.CharField(max_length=150, blank=True)

    alerted_at = models.DateTimeField(null=True)
    reminders = models.PositiveSmallIntegerField(default=0)
    next_reminder_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    snoozed_until = models.DateTimeField(null=True)
    snooze_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering: ClassVar = ["-started_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["integration", "account", "shared"],
                condition=models.Q(ended_at__isnull=True),
                name="one_open_incident_an_account",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["-started_at", "-id"], name="incident_newest"),
            models.Index(fields=["integration", "account", "-started_at"], name="incident_account"),
            models.Index(
                fields=["next_reminder_at"],
                name="incident_to_remind",
                condition=models.Q(next_reminder_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.cause.replace('_', ' ')}"

    @property
    def get_level(self) -> Level:
        return Level(self.level)


class IncidentNote(models.Model):
    """A receipt: what happened to an incident, or was done about it, and when."""

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="notes")
    at = models.DateTimeField()
    text = models.CharField(max_length=300)

    class Meta:
        ordering: ClassVar = ["at", "id"]

    def __str__(self) -> str:
        return self.text
