"""QuickBooks' own facts: the grant, the journal of what was done with it, and every check."""

import datetime as dt
from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models

from integrations.crypto import EncryptedTextField, Sealed

# Realm ids are digits; they appear in URLs, file names and requests.
REALM_PATTERN = r"^[0-9]{1,32}$"
validate_realm = RegexValidator(REALM_PATTERN, "A QuickBooks company id is made of digits.")


class GrantState(models.TextChoices):
    """What is known of the grant. Only evidence moves it away from LIVE."""

    PENDING = "pending", "being connected"
    LIVE = "live", "live"
    REJECTED = "rejected", "rejected by Intuit"
    LOST = "lost", "lost with an answer"
    DISCONNECTED = "disconnected", "disconnected here"


class OAuthToken(models.Model):
    """The grant of one QuickBooks company, one row per realm.

    Written by `quickbooks.tokens` and `quickbooks.lease` alone, and only by conditional
    UPDATEs on `generation`, which grows with every new pair of tokens. `access_token` and
    `refresh_token` decrypt when read; only the refresher may read the latter.
    """

    realm_id = models.CharField(
        "company id", max_length=32, unique=True, validators=[validate_realm]
    )
    company_name = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=12, choices=GrantState.choices, default=GrantState.PENDING)
    generation = models.PositiveIntegerField(default=0)

    access_token = EncryptedTextField(bound_to="realm_id", blank=True, default="")
    refresh_token = EncryptedTextField(bound_to="realm_id", blank=True, default="")
    # The three clocks. The hard one is absent when Intuit did not say: unknown, not zero.
    access_expires_at = models.DateTimeField(null=True)
    refresh_expires_at = models.DateTimeField(null=True)
    hard_expires_at = models.DateTimeField(null=True)
    minted_at = models.DateTimeField("access token renewed", null=True)
    last_rotated_at = models.DateTimeField("refresh token changed", null=True)
    last_success_at = models.DateTimeField("last good read", null=True)
    # The generation whose access token Intuit has accepted at least once.
    accepted_generation = models.PositiveIntegerField(null=True)

    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True)
    # A refresh was sent and its answer is not known. Survives a crash.
    in_doubt_since = models.DateTimeField(null=True)

    # Whose grant this is: other settings must not present these tokens.
    client_id = models.CharField(max_length=200, blank=True)
    environment = models.CharField(max_length=12, blank=True)
    site_url = models.CharField("site of the grant", max_length=300, blank=True)

    connected_at = models.DateTimeField(null=True)
    connected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    disconnected_at = models.DateTimeField(null=True)
    disconnected_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    revocation_error = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        verbose_name = "QuickBooks company"
        verbose_name_plural = "QuickBooks companies"
        ordering: ClassVar = ["company_name", "realm_id"]
        permissions: ClassVar = [("manage_connection", "Can connect and disconnect QuickBooks")]

    def __str__(self) -> str:
        return self.company_name or f"Company {self.realm_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("an existing grant is changed by conditional UPDATEs only")
        super().save(*args, **kwargs)

    @classmethod
    def seal(cls, field: str, realm_id: str, value: str) -> Sealed:
        """The ciphertext of a token for the row of `realm_id`."""
        column = cls._meta.get_field(field)
        assert isinstance(column, EncryptedTextField)
        return column.seal_for(realm_id, value)


class RefreshOutcome(models.TextChoices):
    """How an exchange with Intuit's token endpoint ended. Empty: not known, it may be at work."""

    SAME = "same", "new access token"
    ROTATED = "rotated", "new access and refresh token"
    REJECTED = "rejected", "rejected"
    APP_REJECTED = "app_rejected", "app keys rejected"
    UNKNOWN = "unknown", "no readable verdict"
    NOT_SENT = "not_sent", "not sent"
    REVOKED = "revoked", "revoked"


# An access token with more time left than this is used as it is.
FRESH_ENOUGH = dt.timedelta(seconds=120)
EXPIRED, REFUSED = "access token expired", "access token refused"


class TokenRefresh(models.Model):
    """The journal: one row for everything that was done with a grant at Intuit.

    Opened before the call and closed after it, so that a crash in between leaves a trace.
    """

    class Purpose(models.TextChoices):
        REFRESH = "refresh"
        CONNECT = "connect"
        DISCONNECT = "disconnect"

    realm_id = models.CharField("company id", max_length=32)
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    generation = models.PositiveIntegerField()
    owner = models.CharField(max_length=64)
    trigger = models.CharField(max_length=10)
    reason = models.CharField(max_length=40, blank=True)
    # When the lease was taken: the evidence that nothing was renewed before its time.
    access_seconds_left = models.IntegerField("access token had left (s)", null=True)
    in_doubt = models.BooleanField("was in doubt before", default=False)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(
        max_length=12, choices=RefreshOutcome.choices, blank=True, default=""
    )
    superseded = models.BooleanField("came too late", default=False)
    detail = models.CharField(max_length=200, blank=True)
    intuit_tid = models.CharField(max_length=100, blank=True)
    # A pair that came when its generation was gone already: kept, never used by itself.
    late_pair = EncryptedTextField(bound_to="realm_id", blank=True, default="")

    class Meta:
        verbose_name = "token refresh"
        verbose_name_plural = "token refreshes"
        ordering: ClassVar = ["-started_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["realm_id", "-started_at"], name="refresh_realm"),
            models.Index(fields=["-started_at"], name="refresh_time"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} of {self.realm_id}, generation {self.generation}"

    @classmethod
    def seal_late_pair(cls, realm_id: str, pair: str) -> Sealed:
        """The ciphertext of a pair for a row of `realm_id`."""
        column = cls._meta.get_field("late_pair")
        assert isinstance(column, EncryptedTextField)
        return column.seal_for(realm_id, pair)

    @property
    def was_early(self) -> bool:
        """Renewed though the access token had time left and had not been refused: never."""
        return (
            self.reason == EXPIRED
            and self.access_seconds_left is not None
            and self.access_seconds_left > FRESH_ENOUGH.total_seconds()
        )


class AuthorizationRequest(models.Model):
    """The OAuth `state`: who set out to connect which company. Consumed once by a DELETE.

    Either a person of the staff (`user`), or whoever has a hand-over link (`hand_over`).
    """

    LIFETIME = dt.timedelta(minutes=30)

    state_hash = models.CharField(max_length=64, unique=True)
    session_hash = models.CharField(max_length=64)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True)
    hand_over = models.ForeignKey("HandOver", models.CASCADE, null=True)
    realm_id = models.CharField(max_length=32, blank=True)
    created_at = models.DateTimeField()


class HandOver(models.Model):
    """A link by which somebody without an account reconnects exactly one company.

    It ends with the incident that it was made for, when it is revoked, and when it was used.
    `attempts`: how often somebody has set out with it; there is a limit.
    """

    MOST_ATTEMPTS = 20

    incident = models.ForeignKey("integrations.Incident", models.CASCADE)
    realm_id = models.CharField("company id", max_length=32)
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    opened_at = models.DateTimeField("first tried", null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "hand-over link"
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [models.Index(fields=["realm_id"], name="hand_over_of_company")]

    def __str__(self) -> str:
        return f"hand-over of {self.realm_id}"


class ProbeClaim(models.Model):
    """Somebody is probing this company now. Gone with the probe, or free when it expires."""

    realm_id = models.CharField(max_length=32, unique=True)
    owner = models.CharField(max_length=64)
    started_at = models.DateTimeField()
    expires_at = models.DateTimeField()


class DiscoveryDocument(models.Model):
    """The last good discovery document of a URL; an outage there must not stop refreshes."""

    url = models.CharField(max_length=300, unique=True)
    document = models.JSONField()
    fetched_at = models.DateTimeField()


class MeteredCalls(models.Model):
    """Calls that count against the app's monthly allowance: successful reads in production."""

    client_id = models.CharField(max_length=200)
    month = models.DateField()
    count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["client_id", "month"], name="one_count_a_month")
        ]


class Trigger(models.TextChoices):
    """What made a check happen."""

    DASHBOARD = "dashboard", "Dashboard"
    COMMAND = "command", "Command"
    API = "api", "API"
    ADMIN = "admin", "Admin"
    CONNECT = "connect", "Connecting"
    HINT = "hint", "Intuit's disconnect page"


class ConnectionHealthCheck(models.Model):
    """One probe of one company and what came of it. Inserted once, never edited.

    `latency_ms` is the wall-clock time of the read in milliseconds, null where none was made.
    `diagnosis` is a `quickbooks.diagnosis.Code`.
    """

    realm_id = models.CharField("company id", max_length=32)
    checked_at = models.DateTimeField("time")
    ok = models.BooleanField("result")
    diagnosis = models.CharField(max_length=40)
    http_status = models.PositiveSmallIntegerField("HTTP status", null=True)
    fault_type = models.CharField(max_length=60, blank=True)
    fault_code = models.CharField(max_length=20, blank=True)
    message = models.CharField(max_length=500, blank=True)
    intuit_tid = models.CharField("intuit_tid", max_length=100, blank=True)
    latency_ms = models.PositiveIntegerField("latency (ms)", null=True)
    trigger = models.CharField(max_length=10, choices=Trigger.choices)
    refreshed = models.BooleanField("had to refresh", default=False)
    generation = models.PositiveIntegerField("token generation", default=0)
    confirming = models.BooleanField("only confirms another", default=False)

    class Meta:
        db_table = "quickbooks_connection_health"
        verbose_name = "health check"
        verbose_name_plural = "check history"
        ordering: ClassVar = ["-checked_at", "-id"]
        indexes: ClassVar = [
            models.Index(
                fields=["realm_id", "checked_at"],
                include=["ok", "confirming"],
                name="health_company_time",
            ),
            models.Index(fields=["-checked_at", "-id"], name="health_time"),
            models.Index(
                fields=["intuit_tid"], condition=~models.Q(intuit_tid=""), name="health_intuit_tid"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.realm_id}: {self.diagnosis}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("a health check is never edited")
        super().save(*args, **kwargs)


class CheckCount(models.Model):
    """How many counted checks of a company ever ended with a diagnosis, by latency.

    For Prometheus, whose counters never go down: the history itself is pruned, and counting a
    long one takes seconds. `bucket` is the index of the latency's upper bound in
    `quickbooks.counts.BOUNDS`, -1 for a check without an answer.
    """

    realm_id = models.CharField(max_length=32)
    diagnosis = models.CharField(max_length=40)
    bucket = models.SmallIntegerField()
    count = models.PositiveBigIntegerField(default=0)
    latency_ms = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["realm_id", "diagnosis", "bucket"], name="one_count_a_kind"
            )
        ]
