"""What is stored for every integration alike."""

from typing import ClassVar

from django.db import models

from integrations.levels import Level


class IntegrationStatus(models.Model):
    """The present status of one account of one integration.

    Written by `integrations.status.commit` alone. Lists read this table, never the history.
    """

    integration = models.CharField(max_length=40)
    account = models.CharField(max_length=64, blank=True)
    name = models.CharField(max_length=200)
    level = models.CharField(max_length=10)
    severity = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=40)
    needs_person = models.BooleanField(default=False)
    spell = models.CharField(max_length=10, editable=False)
    since = models.DateTimeField()
    checked_at = models.DateTimeField()

    class Meta:
        verbose_name = "integration status"
        verbose_name_plural = "integration statuses"
        ordering: ClassVar = ["-severity", "integration", "name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["integration", "account"], name="one_status_an_account")
        ]
        indexes: ClassVar = [
            models.Index(fields=["integration", "-severity", "name"], name="status_worst_first")
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.get_level.label}"

    @property
    def get_level(self) -> Level:
        return Level(self.level)
