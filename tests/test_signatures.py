"""Who may deliver: every scheme, against forgeries, replays and hostile headers."""

import base64
import datetime as dt
import hmac
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from integrations.signatures import (
    Message,
    Reason,
    Refused,
    Scheme,
    authenticate,
    bearer,
    ed25519,
    ed25519_key,
    hex_hmac,
    standard_webhooks,
    static_header,
)

NOW = dt.datetime(2026, 11, 22, 17, 15, 2, tzinfo=dt.UTC)
AT = str(int(NOW.timestamp()))
BODY = '{"id": 1, "plan": "Père"}'.encode()
OLD, NEW = "old-secret", "new-secret-ü"
STANDARD = "whsec_" + base64.b64encode(b"twenty-four random bytes").decode()
PRIVATE = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = base64.b64encode(
    PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()

SCHEMES: dict[str, Scheme] = {
    "x-api-key": static_header("x-api-key", [OLD, NEW]),
    "bearer": bearer([OLD, NEW]),
    "standard": standard_webhooks([OLD, STANDARD]),
    "hmac": hex_hmac("X-Jane-Signature", "X-Jane-Timestamp", [OLD, NEW]),
    "ed25519": ed25519("X-GHL-Signature", [PUBLIC]),
}


def message(headers: Mapping[str, str], body: bytes = BODY, now: dt.datetime = NOW) -> Message:
    return Message(headers=headers, body=body, now=now)


def wire(text: str) -> str:
    """A header as WSGI hands it over: its bytes read as Latin-1."""
    return text.encode().decode("latin-1")


def hex_signature(secret: str, signed: bytes) -> str:
    return f"sha256={hmac.digest(secret.encode(), signed, 'sha256').hex()}"


def standard_headers(body: bytes = BODY, at: str = AT, secret: str = STANDARD) -> dict[str, str]:
    """Written from the specification: `id.timestamp.body` under the base64 key."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b"msg_1." + at.encode() + b"." + body
    signature = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": at,
        "webhook-signature": f"v1a,other v1,{signature}",
    }


GENUINE: list[tuple[str, dict[str, str]]] = [
    ("x-api-key", {"x-api-key": OLD}),
    ("x-api-key", {"x-api-key": wire(NEW)}),
    ("bearer", {"Authorization": f"Bearer {OLD}"}),
    ("bearer", {"Authorization": f"bearer {wire(NEW)}"}),
    ("standard", standard_headers()),
    ("hmac", {"X-Jane-Signature": hex_signature(OLD, BODY)}),
    ("hmac", {"X-Jane-Signature": hex_signature(NEW, BODY).upper().replace("SHA", "sha")}),
    (
        "hmac",
        {
            "X-Jane-Signature": hex_signature(NEW, AT.encode() + b"." + BODY),
            "X-Jane-Timestamp": AT,
        },
    ),
    ("ed25519", {"X-GHL-Signature": base64.b64encode(PRIVATE.sign(BODY)).decode()}),
]


@pytest.mark.parametrize(("name", "headers"), GENUINE)
def test_a_genuine_delivery_is_recognised(name: str, headers: dict[str, str]) -> None:
    assert authenticate(message(headers), SCHEMES) == name


SIGNED = [(name, headers) for name, headers in GENUINE if name in {"standard", "hmac", "ed25519"}]


@pytest.mark.parametrize(("name", "headers"), SIGNED)
def test_a_signature_holds_for_its_own_body_alone(name: str, headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        authenticate(message(headers, BODY + b" "), SCHEMES)
    assert refused.value.reason is Reason.WRONG


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "guess"},
        {"x-api-key": ""},
        {"Authorization": "Bearer guess"},
        {"Authorization": "Bearer "},
        {"webhook-signature": "v1,guess", "webhook-id": "1", "webhook-timestamp": AT},
        {**standard_headers(), "webhook-id": "msg_2"},
        {**standard_headers(), "webhook-timestamp": str(int(AT) + 1)},
        {"X-Jane-Signature": "sha256=" + "0" * 64},
        {"X-Jane-Signature": hex_signature("guess", BODY)},
        {"X-GHL-Signature": base64.b64encode(Ed25519PrivateKey.generate().sign(BODY)).decode()},
        {"X-GHL-Signature": "not base64!"},
        {"X-GHL-Signature": "Zm9yZ2Vk"},
    ],
)
def test_a_forgery_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        authenticate(message(headers), SCHEMES)
    assert refused.value.reason is Reason.WRONG


@pytest.mark.parametrize("headers", [{}, {"Authorization": f"Basic {OLD}"}, {"x-key": OLD}])
def test_a_delivery_without_a_proof_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        authenticate(message(headers), SCHEMES)
    assert refused.value.reason is Reason.MISSING


def test_without_any_secret_the_door_is_closed() -> None:
    with pytest.raises(Refused) as refused:
        authenticate(message({"x-api-key": ""}), {})
    assert refused.value.reason is Reason.CLOSED


@pytest.mark.parametrize(
    "headers",
    [
        standard_headers(),
        {
            "X-Jane-Signature": hex_signature(OLD, AT.encode() + b"." + BODY),
            "X-Jane-Timestamp": AT,
        },
    ],
)
@pytest.mark.parametrize(
    ("away", "allowed"), [(-299, True), (299, True), (-301, False), (301, False), (86400, False)]
)
def test_a_signed_time_is_good_for_five_minutes(
    headers: dict[str, str], away: int, allowed: bool
) -> None:
    late = message(headers, now=NOW + dt.timedelta(seconds=away))
    if allowed:
        assert authenticate(late, SCHEMES)
    else:
        with pytest.raises(Refused) as refused:
            authenticate(late, SCHEMES)
        assert refused.value.reason is Reason.STALE


HEADERS = ["x-api-key", "Authorization", "webhook-id", "webhook-timestamp", "webhook-signature"]
HEADERS += ["X-Jane-Signature", "X-Jane-Timestamp", "X-GHL-Signature"]
# What http.server and gunicorn let through: any byte, read as Latin-1.
HOSTILE = st.text(st.characters(max_codepoint=255), max_size=200)


@given(st.dictionaries(st.sampled_from(HEADERS), HOSTILE), st.binary(max_size=100))
def test_no_header_does_more_than_be_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(Refused):
        authenticate(message(headers, body), SCHEMES)


@pytest.mark.parametrize("text", ["", "x", "Zm9yZ2Vk", "ü", PUBLIC[:-4]], ids=range(5))
def test_what_is_no_public_key_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="Ed25519"):
        ed25519_key(text)


def test_the_example_of_the_reference_implementation_holds() -> None:
    """https://docs.svix.com/receiving/verifying-payloads/how-manual"""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    then = dt.datetime.fromtimestamp(1614265330, dt.UTC)
    schemes = {"standard": standard_webhooks(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])}
    assert authenticate(message(headers, b'{"test": 2432232314}', then), schemes) == "standard"
