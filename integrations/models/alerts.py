"""Who is told, and the outbox of what they are told."""

from typing import ClassVar

from django.db import models

from integrations.crypto import EncryptedTextField


class Recipient(models.Model):
    """Somebody who hears of incidents: by e-mail, or through Apprise by a URL.

    `url` may hold a secret and is stored encrypted; `key` identifies what was seeded from the
    settings (a hash), so that editing or switching it off in the admin lasts. `integrations`
    and `accounts` narrow what is told; empty means all. `failing_since` and `error` are of the
    channel: set by a failed delivery, cleared by the next that succeeds.
    """

    class Wants(models.TextChoices):
        CLINIC = "clinic", "what the clinic must do"
        ADMINISTRATOR = "administrator", "what the administrator must do"
        EVERYTHING = "everything", "everything"

    name = models.CharField(max_length=100)
    key = models.CharField(max_length=64, unique=True, editable=False)
    email = models.EmailField("e-mail address", blank=True)
    url = EncryptedTextField("Apprise URL", bound_to="key", blank=True, default="")
    wants = models.CharField(
        "hears of", max_length=15, choices=Wants.choices, default=Wants.EVERYTHING
    )
    integrations = models.JSONField(default=list, blank=True)
    accounts = models.JSONField("companies", default=list, blank=True)
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    failing_since = models.DateTimeField(null=True, editable=False)
    error = models.CharField(max_length=200, blank=True, editable=False)
    last_sent_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering: ClassVar = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """One message to one recipient, written in the transaction of what it tells of.

    `key` names the occasion, so that nobody is told twice. `due_at`: not to be sent before,
    because of quiet hours or a failed attempt. A claim (`claimed_by`, `claimed_until`) runs out
    by itself. `facts`: what the message says beyond its incident.
    """

    class Kind(models.TextChoices):
        OPENED = "opened", "opened"
        REMINDER = "reminder", "reminder"
        RECOVERED = "recovered", "recovered"
        FORECAST = "forecast", "forecast"
        WATCHER = "watcher", "watcher"
        TEST = "test", "test"

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        SENT = "sent", "sent"
        WITHDRAWN = "withdrawn", "withdrawn"

    recipient = models.ForeignKey(Recipient, models.PROTECT, related_name="alerts")
    incident = models.ForeignKey("integrations.Incident", models.CASCADE, null=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    key = models.CharField(max_length=120)
    facts = models.JSONField(default=dict)
    queued_at = models.DateTimeField()
    due_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    claimed_by = models.CharField(max_length=64, blank=True, default="")
    claimed_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=200, blank=True, default="")
    sent_at = models.DateTimeField(null=True)
    message_id = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["-queued_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["recipient", "key"], name="one_alert_an_occasion")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["due_at", "id"],
                name="alert_due",
                condition=models.Q(state="queued"),
            ),
            models.Index(fields=["-queued_at", "-id"], name="alert_newest"),
            models.Index(fields=["incident", "kind"], name="alert_of_incident"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.recipient}"
