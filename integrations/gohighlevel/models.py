"""What is stored of GoHighLevel: ids, times, hashes and counts, and nothing that names a person."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

ID_LENGTH = 64


class Location(models.Model):
    """The location as far as it is known, and the lock of all that writes its contacts.

    Whoever writes contacts of a location locks this row first: then two deliveries about one
    address are matched one after the other. `mapped`, `unmatched` and `ambiguous` count the
    contacts, so that a card counts nothing. Times are of our clock, but `uninstalled_at` and
    `installed_at`, which are the vendor's where it told them.
    """

    location_id = models.CharField(max_length=ID_LENGTH, unique=True)
    name = models.CharField(max_length=200, blank=True)
    installed_at = models.DateTimeField(null=True)
    uninstalled_at = models.DateTimeField(null=True)
    # X-RateLimit-Limit-Daily-Remaining of the newest answer.
    calls_left = models.PositiveIntegerField("calls left today", null=True)
    calls_left_at = models.DateTimeField(null=True)
    # The vendor asked us not to call before this.
    rest_until = models.DateTimeField(null=True)
    # A probe is under way; whoever runs it may take this long.
    probing_until = models.DateTimeField(null=True)
    mapped = models.PositiveIntegerField(default=0)
    unmatched = models.PositiveIntegerField(default=0)
    ambiguous = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.name or self.location_id


class Trigger(models.TextChoices):
    DASHBOARD = "dashboard", "dashboard"
    COMMAND = "command", "command"


class LocationCheck(models.Model):
    """One probe of the location. Written once, never edited.

    `state` is `ok` or a code of the contract; `message` is in our own words.
    """

    location_id = models.CharField(max_length=ID_LENGTH)
    checked_at = models.DateTimeField()
    ok = models.BooleanField()
    state = models.CharField(max_length=20)
    http_status = models.PositiveSmallIntegerField(null=True)
    message = models.CharField(max_length=200, blank=True)
    latency_ms = models.PositiveIntegerField(null=True)
    trigger = models.CharField(max_length=10, choices=Trigger.choices)

    class Meta:
        verbose_name = "location check"
        ordering: ClassVar = ["-checked_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["-checked_at", "-id"], name="ghl_check_newest"),
            models.Index(fields=["location_id", "checked_at", "id"], name="ghl_check_by_location"),
            models.Index(fields=["location_id", "ok", "checked_at"], name="ghl_check_by_result"),
        ]

    def __str__(self) -> str:
        return f"{self.location_id} {self.checked_at:%Y-%m-%d %H:%M:%S}"


class Result(models.TextChoices):
    OK = "ok", "OK"
    PARTIAL = "partial", "in part"
    FAILED = "failed", "failed"


class SyncRun(models.Model):
    """One pull of all contacts; a run that died or was stopped goes on in the same row.

    Its process proves itself by `owner`: every write asks for it, so a process that was thought
    dead and has been replaced stops at its next page. `cursor` is the `searchAfter` behind the
    last page that was stored; None at the beginning and after the end. `announced` is the total
    of the first answer. `state` is `ok` or a code of the contract, `why` the words for it;
    `in_probe`: it was the probe that failed, so that a later good probe disproves it.
    """

    location_id = models.CharField(max_length=ID_LENGTH)
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    result = models.CharField(max_length=10, choices=Result.choices, blank=True)
    state = models.CharField(max_length=20, blank=True)
    why = models.CharField(max_length=200, blank=True)
    in_probe = models.BooleanField("failed in its probe", default=False)
    owner = models.CharField(max_length=32)
    resumed = models.PositiveIntegerField(default=0)
    cursor = models.JSONField(null=True)
    pages = models.PositiveIntegerField(default=0)
    announced = models.PositiveIntegerField("contacts announced", null=True)
    seen = models.PositiveIntegerField(default=0)
    created = models.PositiveIntegerField(default=0)
    updated = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField("without a usable id", default=0)
    contacts = models.PositiveIntegerField(null=True)
    mapped = models.PositiveIntegerField(null=True)
    unmatched = models.PositiveIntegerField(null=True)
    ambiguous = models.PositiveIntegerField(null=True)

    class Meta:
        verbose_name = "sync run"
        ordering: ClassVar = ["-started_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["location_id"], condition=Q(finished_at=None), name="ghl_one_run_at_a_time"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["-started_at", "-id"], name="ghl_run_newest"),
            models.Index(fields=["location_id", "finished_at"], name="ghl_run_by_end"),
        ]

    def __str__(self) -> str:
        return f"{self.location_id} {self.started_at:%Y-%m-%d %H:%M:%S}"


class Mapping(models.TextChoices):
    """`NEW`: seen by a run that has not ended, and not counted yet."""

    NEW = "", "not counted yet"
    MAPPED = "mapped", "mapped"
    UNMATCHED = "unmatched", "unmatched"
    AMBIGUOUS = "ambiguous", "ambiguous"
    GONE = "gone", "gone"


class Rule(models.TextChoices):
    NONE = "", "none"
    EXTERNAL_ID = "external_id", "person's id"
    EMAIL = "email", "e-mail"


class ContactMapping(models.Model):
    """A contact and the Jane person it belongs to, by ids alone.

    `external_id` is the person's id as the contact has it, `email_hash` a keyed hash: no name
    and no address is ever stored. `rule` is the one that matched or, for an ambiguous contact,
    the one that matched too much. `contact_updated_at` is the vendor's clock of what is known;
    `heard_at` is when a webhook last told something (our clock).
    """

    location_id = models.CharField(max_length=ID_LENGTH)
    contact_id = models.CharField(max_length=ID_LENGTH)
    external_id = models.CharField("person's id there", max_length=ID_LENGTH, blank=True)
    email_hash = models.CharField(max_length=64, blank=True)
    contact_updated_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=10, choices=Mapping.choices, blank=True)
    rule = models.CharField(max_length=12, choices=Rule.choices, blank=True)
    person_id = models.CharField("Jane person", max_length=ID_LENGTH, blank=True)
    first_seen_at = models.DateTimeField()
    heard_at = models.DateTimeField(null=True)
    gone_at = models.DateTimeField(null=True)
    seen_in = models.ForeignKey(SyncRun, null=True, on_delete=models.SET_NULL)

    class Meta:
        verbose_name = "contact mapping"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["location_id", "contact_id"], name="ghl_one_contact")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["location_id", "external_id"],
                name="ghl_contact_by_person",
                condition=~Q(external_id=""),
            ),
            models.Index(
                fields=["location_id", "email_hash"],
                name="ghl_contact_by_email",
                condition=~Q(email_hash=""),
            ),
            models.Index(fields=["location_id", "state"], name="ghl_contact_by_state"),
            models.Index(fields=["contact_id"], name="ghl_contact_by_id"),
            models.Index(
                fields=["person_id"], name="ghl_mapped_person", condition=~Q(person_id="")
            ),
            models.Index(fields=["location_id", "contact_updated_at"], name="ghl_contact_moved"),
            models.Index(
                fields=["location_id", "heard_at"],
                name="ghl_contact_heard",
                condition=Q(heard_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.contact_id
