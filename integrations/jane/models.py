"""What is known of memberships, and when it changed. No names, no addresses, no notes, no money."""

from typing import ClassVar

from django.db import models


class Membership(models.Model):
    """A membership of one person, as the newest snapshot that told of it has it.

    Written by `integrations.jane.webhook` alone. `key` is the vendor's id, or one derived from
    the plan where there is none. `status` is the vendor's own text, case-folded; `unknown` where
    it gave none, `removed` when the membership vanished from a newer list.
    """

    person_id = models.CharField(max_length=64)
    key = models.CharField(max_length=130)
    vendor_id = models.CharField("membership id", max_length=64, blank=True)
    plan = models.CharField(max_length=120, blank=True)
    status = models.CharField(max_length=40)
    starts_on = models.DateField(null=True)
    ends_on = models.DateField(null=True)
    changed_at = models.DateTimeField()
    first_seen_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-changed_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["person_id", "key"], name="one_membership_a_key")
        ]
        indexes: ClassVar = [
            models.Index(fields=["status", "ends_on"], name="membership_state"),
            models.Index(fields=["-changed_at", "-id"], name="membership_changed"),
            models.Index(fields=["vendor_id"], name="membership_vendor_id"),
        ]

    def __str__(self) -> str:
        return self.vendor_id or self.key


class Kind(models.TextChoices):
    """What happened to a membership. Expiry at its known end is no news, and leaves no row."""

    APPEARED = "appeared", "appeared"
    RENEWED = "renewed", "renewed"
    CHANGED = "changed", "changed"
    ENDED = "ended", "ended"
    REMOVED = "removed", "removed"


class MembershipChange(models.Model):
    """A real change of a membership, with what it was afterwards. Rows are only ever added."""

    # The index below begins with it.
    membership = models.ForeignKey(
        Membership, models.CASCADE, related_name="changes", db_index=False
    )
    at = models.DateTimeField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    status = models.CharField(max_length=40)
    ends_on = models.DateField(null=True)

    class Meta:
        ordering: ClassVar = ["-at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["membership", "at", "id"], name="change_of_membership"),
            models.Index(fields=["-at", "-id"], name="change_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.at:%Y-%m-%d %H:%M:%S}"
