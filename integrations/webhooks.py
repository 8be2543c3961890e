"""receive(): the one way in for what vendors send of their own accord.

size cap → raw bytes → authentication → replay window → event key → insert → answer. The row of
a delivery and its effect are one transaction: a server that dies leaves both or neither, and a
sender that got no 200 sends again. Of the body only what the vendor's folder projects is kept.
"""

import datetime as dt
import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.core.signing import BadSignature, TimestampSigner
from django.db import Error as AnyDatabaseError
from django.db import InterfaceError, InternalError, OperationalError, transaction
from django.http import HttpRequest, JsonResponse

from integrations import inbox
from integrations.models import Outcome, WebhookDelivery
from integrations.signatures import BODY_ONLY, Message, Refused, Scheme, authenticate

log = logging.getLogger(__name__)

SIZE_CAP = 1024 * 1024
RETRY_AFTER_SECONDS = 60
# Signed with SECRET_KEY by the set-up page; an outsider can mark nothing as a test.
TEST_HEADER = "X-Monitor-Test"
TEST_SIGNER = TimestampSigner(salt="test delivery")
TEST_SECONDS = 120
# A sender's own repeats of what it got no answer to come within minutes.
REPEAT_SECONDS = 600


class Unreadable(Exception):
    """Authenticated, but without a meaning that we know. Its text is one of our own codes."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a delivery means.

    `id`: the vendor's own id of the event, empty where there is none. `projection`: all that
    is used of the body, in types of JSON; an event without an id is recognised by it. `meaning`:
    the same as `apply` wants it. `wanted` is False for what is acknowledged and has no effect.
    `at` is the vendor's clock.
    """

    kind: str
    id: str = ""
    at: dt.datetime | None = None
    projection: Mapping[str, Any]
    meaning: object = None
    wanted: bool = True


class Webhook(ABC):
    """One vendor's side of `receive`."""

    slug: ClassVar[str]
    # What a sender is told while nothing can be stored, so that it sends again.
    busy_status: ClassVar[int] = 503

    @abstractmethod
    def schemes(self) -> Mapping[str, Scheme]:
        """The ways to prove oneself that are set up, by name; none: everything is refused."""

    @abstractmethod
    def read(self, document: Any, message: Message, scheme: str) -> Event:
        """Make sense of parsed JSON. Raises `Unreadable`, and `Refused` for a signed old time."""

    @abstractmethod
    def apply(self, event: Event, now: dt.datetime) -> None:
        """Put an event into effect, inside of the transaction; safe to repeat."""

    def test_message(self, now: dt.datetime) -> tuple[bytes, dict[str, str]] | None:
        """Body and headers of a harmless delivery; None where the settings can sign none."""
        return None


class _TooLarge(Exception):
    pass


class _CutOff(Exception):
    pass


def receive(request: HttpRequest, webhook: Webhook, now: dt.datetime) -> JsonResponse:
    """Take one delivery in, or say why not. The answers are those that the vendors act on."""
    try:
        body = _read(request)
    except _TooLarge:
        return _answer(413, "too large")
    except _CutOff:
        return _answer(400, "incomplete")
    return accept(Message(headers=request.headers, body=body, now=now), webhook)


def accept(message: Message, webhook: Webhook) -> JsonResponse:
    """`receive` from the authentication on: for a message that was read already."""
    try:
        scheme = authenticate(message, webhook.schemes())
        event, row = _understand(webhook, message, scheme)
    except Refused as refusal:
        if not _is_test(webhook.slug, message):
            inbox.count_refusal(webhook.slug, refusal.reason, message.now)
        return _answer(401, "refused", reason=refusal.reason.words)
    try:
        return _answer(200, _store(webhook, event, row))
    except AnyDatabaseError as error:
        log.error("%s: a delivery could not be stored (%s)", webhook.slug, type(error).__name__)
        response = _answer(webhook.busy_status, "busy")
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response


def _read(request: HttpRequest) -> bytes:
    told = request.META.get("CONTENT_LENGTH") or ""
    length = int(told) if told.isdecimal() else None
    if length and length > SIZE_CAP:
        raise _TooLarge
    # Django reads no body without a length; gunicorn can tell where a chunked one ends.
    chunked = length is None and request.META.get("wsgi.input_terminated")
    source = request.META["wsgi.input"] if chunked else request
    try:
        body: bytes = source.read(SIZE_CAP + 1)
    except Exception:  # every server has errors of its own for a body that is cut off or malformed
        raise _CutOff from None
    if len(body) > SIZE_CAP:
        raise _TooLarge
    if length is not None and len(body) < length:
        raise _CutOff
    return body


def _understand(
    webhook: Webhook, message: Message, scheme: str
) -> tuple[Event | None, WebhookDelivery]:
    """The event, None for what has no meaning, and the row that the delivery leaves."""
    row = WebhookDelivery(
        integration=webhook.slug,
        received_at=message.now,
        scheme=scheme,
        size=len(message.body),
        outcome=Outcome.UNREADABLE,
        is_test=_is_test(webhook.slug, message),
    )
    event: Event | None = None
    try:
        document = _parse(message.body)
        row.fingerprint = _fingerprint(document)
        event = webhook.read(document, message, scheme)
    except Unreadable as trouble:
        row.error = str(trouble)
        # A sender that keeps failing in the same way keeps being counted, once a minute.
        row.event_key = _hashed(f"{message.now:%Y%m%d%H%M}", message.body)
        return None, row
    row.event_type, row.event_at = event.kind, event.at
    row.outcome = Outcome.STORED if event.wanted else Outcome.IGNORED
    row.event_key = _event_key(event, message, scheme)
    return event, row


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    # A hostile body can also be too deep, or a number too long.
    except (ValueError, RecursionError):
        raise Unreadable("not JSON") from None


def _fingerprint(document: Any) -> str:
    keys = sorted(document) if isinstance(document, dict) else [type(document).__name__]
    return _digest("\n".join(keys).encode("utf-8", "replace"))[:16]


def _event_key(event: Event, message: Message, scheme: str) -> str:
    """The id that the sender gave the event, else a hash of what is used of it.

    The header's id counts before the body's, unless a signature covers the body alone: then
    anybody could make a recorded delivery a new one.
    """
    given = message.header("webhook-id")
    if event.id and scheme in BODY_ONLY:
        given = None
    if given:
        return _hashed("header", given)
    if event.id:
        return _hashed("id", event.id.encode("utf-8", "replace"))
    projection = dict(event.projection)
    if event.at is None:
        # Without a clock of the vendor's, the same state some time later is news again: only
        # what comes in the same slot is taken for a repeat.
        slot = int(message.now.timestamp()) // REPEAT_SECONDS
        projection["received in slot"] = slot
    canonical = json.dumps([event.kind, projection], sort_keys=True, default=str)
    return _hashed("state", canonical.encode())


def _hashed(kind: str, value: bytes) -> str:
    # Hashed, whatever it is: an id that a sender makes up may be an address, or very long.
    return f"{kind}:{_digest(value)}"


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _is_test(slug: str, message: Message) -> bool:
    given = message.headers.get(TEST_HEADER)
    if given is None:
        return False
    try:
        return TEST_SIGNER.unsign(given, max_age=TEST_SECONDS) == slug
    except BadSignature:
        return False


def _store(webhook: Webhook, event: Event | None, row: WebhookDelivery) -> str:
    """The row and its effect, or neither. A word for the sender. Raises `DatabaseError`."""
    try:
        with transaction.atomic():
            fresh = inbox.insert(row)
            if fresh and event and event.wanted and not row.is_test:
                webhook.apply(event, row.received_at)
            inbox.count(row, fresh)
        return str(row.outcome) if fresh else "duplicate"
    except (OperationalError, InterfaceError, InternalError):
        raise  # the database's trouble, such as a deadlock or a standby: the sender sends again
    except Exception as error:
        # A fault of ours. Its text may repeat values, so only its kind is told. The delivery is
        # kept as one that could not be read, and the next snapshot brings its content again.
        log.error("%s: a delivery has no effect (%s)", webhook.slug, type(error).__name__)
        row.outcome, row.error = Outcome.UNREADABLE, f"not processed: {type(error).__name__}"[:60]
        row.event_type, row.event_at = "", None  # these may be what the database refused
        with transaction.atomic():
            inbox.count(row, inbox.insert(row))
        return str(row.outcome)


def _answer(status: int, word: str, **more: str) -> JsonResponse:
    return JsonResponse({"status": word, **more}, status=status)
