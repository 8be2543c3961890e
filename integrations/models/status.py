"""The present status of each account."""

from typing import ClassVar

from django.db import models

from integrations.levels import Level


class IntegrationStatus(models.Model):
    """The present status of one account of one integration.

    Written by `integrations.status` alone. Lists read this table, never the history.

    `level` and `state` are what we stand by; `raw_level` and `raw_state` are what the newest
    evidence said by itself. `failing_since`: the first failure of the present trouble, which is
    `confirmed` or may still turn out to be a blip. `recovering_since`: the first success after
    confirmed trouble, while we make sure. `scheduled_failure_at`: the first scheduled check of
    this trouble that failed. `success_at`: the newest answer as it should be. `symptom`: see
    `integrations.base.Symptom`. `version` grows with
    every change, and every change is conditional on it.
    """

    integration = models.CharField(max_length=40)
    account = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=200)
    level = models.CharField(max_length=10)
    severity = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=40)
    needs_person = models.BooleanField(default=False)
    since = models.DateTimeField()
    checked_at = models.DateTimeField()

    raw_level = models.CharField(max_length=10, editable=False, default="")
    raw_state = models.CharField(max_length=40, editable=False, default="")
    symptom = models.CharField(max_length=12, editable=False, default="")
    failing_since = models.DateTimeField(null=True, editable=False)
    confirmed = models.BooleanField(default=False, editable=False)
    recovering_since = models.DateTimeField(null=True, editable=False)
    scheduled_failure_at = models.DateTimeField(null=True, editable=False)
    success_at = models.DateTimeField(null=True, editable=False)
    version = models.PositiveIntegerField(default=0, editable=False)

    # Set by a person: no incident is opened and nobody is alerted until then.
    paused_until = models.DateTimeField(null=True)
    pause_reason = models.CharField(max_length=200, blank=True)
    paused_by = models.CharField(max_length=150, blank=True)

    class Meta:
        verbose_name = "integration status"
        verbose_name_plural = "integration statuses"
        ordering: ClassVar = ["-severity", "integration", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["integration", "account"], name="one_status_an_account")
        ]
        indexes: ClassVar = [
            models.Index(fields=["integration", "-severity", "name"], name="status_worst_first"),
            models.Index(
                fields=["failing_since"],
                name="status_failing",
                condition=models.Q(failing_since__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.get_level.label}"

    @property
    def get_level(self) -> Level:
        return Level(self.level)
