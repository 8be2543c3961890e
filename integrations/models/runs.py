"""The runs of the schedule, so that a stopped one is noticed."""

from typing import ClassVar

from django.db import models


class ScheduledRun(models.Model):
    """One run of one scheduled job. Written by `config.jobs` through `integrations.runs`.

    `finished_at` is empty while it runs, and for one that was killed. `ok`: it did its work,
    whatever it found.
    """

    job = models.CharField(max_length=40)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    ok = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["-started_at", "-id"]
        indexes: ClassVar = [models.Index(fields=["job", "-started_at"], name="run_of_job")]

    def __str__(self) -> str:
        return f"{self.job} {self.started_at:%Y-%m-%d %H:%M}"
