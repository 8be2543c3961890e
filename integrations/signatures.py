"""How a webhook proves whose it is. Each scheme works on the raw bytes, in constant time.

A scheme is a function of a `Message` that returns None where the message does not use it, and
otherwise whether it holds. Hostile headers are an answer of False, never an exception.
"""

import base64
import binascii
import datetime as dt
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
TOLERANCE = dt.timedelta(minutes=5)
STANDARD_PREFIX = "whsec_"
# The names under which vendors file schemes that sign the body and no header.
BODY_ONLY = frozenset({"ed25519", "hmac"})


class Reason(StrEnum):
    """Why a delivery was refused."""

    CLOSED = "closed"
    MISSING = "missing"
    WRONG = "wrong"
    STALE = "stale"

    @property
    def words(self) -> str:
        return {
            Reason.CLOSED: "no secret is set up here",
            Reason.MISSING: "it came without a key or signature",
            Reason.WRONG: "its key or signature is wrong",
            Reason.STALE: "its signature is too old",
        }[self]


class Refused(Exception):
    """Not authenticated: answered with 401, and nothing of it is kept."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.words)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Message:
    """What came in. `headers` are looked up regardless of case; `now` is when it arrived."""

    headers: Mapping[str, str]
    body: bytes
    now: dt.datetime

    def header(self, name: str) -> bytes | None:
        """The header as it was sent; None where there is none."""
        value = self.headers.get(name)
        return None if value is None else value.encode("latin-1", "replace")


Scheme = Callable[[Message], bool | None]


def authenticate(message: Message, schemes: Mapping[str, Scheme]) -> str:
    """The name of the scheme that holds. Raises `Refused`."""
    if not schemes:
        raise Refused(Reason.CLOSED)
    verdicts = {name: scheme(message) for name, scheme in schemes.items()}
    for name, holds in verdicts.items():
        if holds:
            return name
    used = any(holds is not None for holds in verdicts.values())
    raise Refused(Reason.WRONG if used else Reason.MISSING)


def static_header(name: str, secrets: Sequence[str]) -> Scheme:
    """A secret of ours, sent along as it is."""

    def check(message: Message) -> bool | None:
        given = message.header(name)
        return None if given is None else _one_of(given, [secret.encode() for secret in secrets])

    return check


def bearer(secrets: Sequence[str]) -> Scheme:
    """The same as `Authorization: Bearer …` (RFC 6750)."""

    def check(message: Message) -> bool | None:
        given = message.header("Authorization")
        if given is None or given[:7].lower() != b"bearer ":
            return None
        return _one_of(given[7:].strip(), [secret.encode() for secret in secrets])

    return check


def standard_webhooks(secrets: Sequence[str]) -> Scheme:
    """`webhook-id`, `webhook-timestamp` and `webhook-signature`, five minutes' tolerance.

    Raises `Refused` for a genuine signature that is too old.
    """
    keys = [key for secret in secrets if (key := standard_key(secret))]

    def check(message: Message) -> bool | None:
        given = message.header("webhook-signature")
        if given is None:
            return None
        event, at = message.header("webhook-id") or b"", message.header("webhook-timestamp") or b""
        signed = b".".join((event, at, message.body))
        valid = [b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256")) for key in keys]
        holds = any([_one_of(one, valid) for one in given.split()])
        return holds and _in_time(at, message.now)

    return check


def hex_hmac(signature: str, timestamp: str, secrets: Sequence[str]) -> Scheme:
    """`sha256=<hex>` over the body, or over `timestamp.body` where that header is sent.

    Raises `Refused` for a genuine signature whose time is signed and too old.
    """

    def check(message: Message) -> bool | None:
        given = message.header(signature)
        if given is None:
            return None
        given = given.strip().lower()
        if _one_of(given, _hex_digests(secrets, message.body)):
            return True
        at = message.header(timestamp) or b""
        holds = _one_of(given, _hex_digests(secrets, at + b"." + message.body))
        return holds and _in_time(at, message.now)

    return check


def ed25519(header: str, public_keys: Sequence[str]) -> Scheme:
    """A base64 Ed25519 signature over the raw body; the keys are base64 DER."""
    keys = [ed25519_key(text) for text in public_keys]

    def check(message: Message) -> bool | None:
        given = message.header(header)
        if given is None:
            return None
        try:
            signature = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return False
        return any([_verifies(key, signature, message.body) for key in keys])

    return check


def ed25519_key(text: str) -> Ed25519PublicKey:
    """A public key from its base64 DER form. Raises `ValueError`."""
    try:
        key = load_der_public_key(base64.b64decode(text, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("a key is not the base64 of an Ed25519 public key in DER")
    return key


def standard_key(secret: str) -> bytes:
    """The key of a Standard Webhooks secret; empty for one that is of another kind.

    Raises `ValueError` where only the prefix is right.
    """
    if not secret.startswith(STANDARD_PREFIX):
        return b""
    try:
        return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"a secret begins with {STANDARD_PREFIX}, but no base64 follows") from None


def _one_of(given: bytes, valid: Sequence[bytes]) -> bool:
    # A list: every comparison is made, so that the time says nothing about which one matched.
    return any([hmac.compare_digest(given, one) for one in valid])


def _hex_digests(secrets: Sequence[str], signed: bytes) -> list[bytes]:
    digests = [hmac.digest(secret.encode(), signed, "sha256").hex() for secret in secrets]
    return [f"sha256={digest}".encode() for digest in digests]


def _in_time(at: bytes, now: dt.datetime) -> bool:
    try:
        seconds = int(at)
    except ValueError:
        return False
    # Some senders count milliseconds.
    seconds = seconds // 1000 if seconds > 100_000_000_000 else seconds
    if abs(now.timestamp() - seconds) > TOLERANCE.total_seconds():
        raise Refused(Reason.STALE)
    return True


def _verifies(key: Ed25519PublicKey, signature: bytes, body: bytes) -> bool:
    try:
        key.verify(signature, body)
    except InvalidSignature:
        return False
    return True
