"""Deliveries of vendors, and the people that they speak of."""

from typing import ClassVar

from django.db import models


class Outcome(models.TextChoices):
    """What became of an authenticated delivery."""

    STORED = "stored", "in effect"
    IGNORED = "ignored", "not wanted"
    UNREADABLE = "unreadable", "unreadable"


class WebhookDelivery(models.Model):
    """An authenticated delivery: that it came, when and how it looked, never what was in it.

    Written by `integrations.webhooks.receive` alone. `fingerprint` is a hash of the body's
    top-level keys, `new_shape` says that it was the first of its kind to have these keys.
    `is_test`: sent by the button of the set-up page, and left out of every count.
    """

    integration = models.CharField(max_length=40)
    event_key = models.CharField(max_length=80)
    event_type = models.CharField(max_length=60, blank=True)
    event_at = models.DateTimeField(null=True)
    received_at = models.DateTimeField()
    last_received_at = models.DateTimeField()
    repeats = models.PositiveIntegerField(default=0)
    scheme = models.CharField("authenticated by", max_length=30)
    size = models.PositiveIntegerField()
    fingerprint = models.CharField(max_length=16, blank=True)
    new_shape = models.BooleanField(default=False)
    outcome = models.CharField(max_length=10, choices=Outcome.choices)
    error = models.CharField(max_length=60, blank=True)
    is_test = models.BooleanField("test", default=False)

    class Meta:
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        ordering: ClassVar = ["-received_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["integration", "event_key"], name="one_effect_an_event")
        ]
        indexes: ClassVar = [
            models.Index(fields=["-received_at", "-id"], name="delivery_newest"),
            models.Index(fields=["integration", "received_at"], name="delivery_by_time"),
            models.Index(fields=["integration", "last_received_at"], name="delivery_last"),
            models.Index(
                fields=["integration", "event_type", "fingerprint"], name="delivery_shape"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.integration} {self.event_type} {self.received_at:%Y-%m-%d %H:%M:%S}"


class WebhookRefusal(models.Model):
    """How many deliveries were refused in one minute, why, and when the last of them came.

    Nothing of them is kept.
    """

    integration = models.CharField(max_length=40)
    minute = models.DateTimeField()
    reason = models.CharField(max_length=10)
    count = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["integration", "minute", "reason"], name="one_count_a_minute"
            )
        ]


class DeliveryCount(models.Model):
    """How many deliveries of an integration ever came to what, tests left out.

    For Prometheus, whose counters never go down. `outcome`: an `Outcome`, `repeated` or `refused`.
    A count is the sum of its slots: with a single row, deliveries that come at the same time
    would have to wait for each other's commit.
    """

    SLOTS = 16
    REPEATED = "repeated"
    REFUSED = "refused"

    integration = models.CharField(max_length=40)
    outcome = models.CharField(max_length=10)
    slot = models.PositiveSmallIntegerField(default=0)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["integration", "outcome", "slot"], name="one_count_an_outcome"
            )
        ]


class Person(models.Model):
    """A person as the system knows them that a clinic books with: by an id, never by name.

    `email_hash` is `integrations.matching.email_hash` of the address, empty where that rule is
    off; `known_at` is the source's own clock of what is known.
    """

    source = models.CharField(max_length=40)
    person_id = models.CharField(max_length=64)
    email_hash = models.CharField(max_length=64, blank=True)
    known_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["source", "person_id"], name="one_person_a_source")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["email_hash"], name="person_email", condition=~models.Q(email_hash="")
            ),
            models.Index(fields=["person_id"], name="person_by_id"),
        ]
