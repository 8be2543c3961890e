"""What an answer of QuickBooks means. Pure: the same answer always gives the same diagnosis.

The same fault code occurs with different HTTP statuses and then means different things, so
status, form, type, code and text are read together. Only evidence that the grant is dead may
ask a clinic to reconnect, and no answer of the API is that: a refused access token leads to a
refresh, and the token endpoint decides.
"""

import json
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from xml.etree import ElementTree

from integrations.http import ExchangeError, Failure
from integrations.levels import Level


class Code(StrEnum):
    """Why QuickBooks has the status it has. The contract's table, and no other code."""

    OK = "ok"
    NOT_CONFIGURED = "not_configured"
    NOT_CONNECTED = "not_connected"
    DISCONNECTED_HERE = "disconnected_here"
    RECONNECT_REQUIRED = "reconnect_required"
    REFRESH_RESPONSE_LOST = "refresh_response_lost"
    APP_CREDENTIALS_REJECTED = "app_credentials_rejected"
    WRONG_COMPANY_OR_ENVIRONMENT = "wrong_company_or_environment"
    FOREIGN_COPY = "foreign_copy"
    ACCESS_DENIED = "access_denied"
    SUBSCRIPTION_ENDED = "subscription_ended"
    THROTTLED = "throttled"
    INTUIT_UNAVAILABLE = "intuit_unavailable"
    NETWORK_UNREACHABLE = "network_unreachable"
    TIMEOUT = "timeout"
    UNEXPECTED_REPLY = "unexpected_reply"

    @property
    def level(self) -> Level:
        """The level at once; `TRANSIENT` ones become critical when they last."""
        if self is Code.OK:
            return Level.HEALTHY
        if self in {Code.NOT_CONFIGURED, Code.NOT_CONNECTED}:
            return Level.UNKNOWN
        if self in {Code.DISCONNECTED_HERE, Code.FOREIGN_COPY} or self in TRANSIENT:
            return Level.WARNING
        return Level.CRITICAL

    @property
    def connected(self) -> bool:
        """False only where the grant is known to be absent or dead."""
        return self not in {
            Code.NOT_CONFIGURED,
            Code.NOT_CONNECTED,
            Code.DISCONNECTED_HERE,
            Code.RECONNECT_REQUIRED,
            Code.REFRESH_RESPONSE_LOST,
        }


TRANSIENT = frozenset(
    {
        Code.THROTTLED,
        Code.INTUIT_UNAVAILABLE,
        Code.NETWORK_UNREACHABLE,
        Code.TIMEOUT,
        Code.UNEXPECTED_REPLY,
    }
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A complete HTTP answer. `repr` leaves the body out: it has tax numbers."""

    status: int
    body: bytes
    intuit_tid: str = ""

    def __repr__(self) -> str:
        return f"Reply(status={self.status}, {len(self.body)} bytes)"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A code and its evidence, scrubbed and ready to be stored.

    `token_refused`: QuickBooks did not accept the access token; the caller finds out why.
    """

    code: Code
    http_status: int | None = None
    fault_type: str = ""
    fault_code: str = ""
    message: str = ""
    intuit_tid: str = ""
    company_name: str = ""
    token_refused: bool = False

    @property
    def ok(self) -> bool:
        return self.code is Code.OK


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the four forms of a fault have in common."""

    type: str
    code: str
    text: str


# Companies in these states can be read and no longer written.
_ENDED = {"EXPIRED", "RESTRICTED", "SUSPENDED", "CANCELED", "CANCELLED"}


def diagnose(reply: Reply) -> Diagnosis:
    """The meaning of an answer to the CompanyInfo read. Never raises."""
    evidence = Diagnosis(
        code=Code.UNEXPECTED_REPLY, http_status=reply.status, intuit_tid=clean_tid(reply.intuit_tid)
    )
    document = _parse_json(reply.body)
    fault = _json_fault(document) or _xml_fault(reply.body)
    if fault is not None:
        code, refused = _judge_fault(reply.status, fault)
        return replace(
            evidence,
            code=code,
            fault_type=clean(fault.type, 60),
            fault_code=clean(fault.code, 20),
            message=scrub(fault.text),
            token_refused=refused,
        )
    if reply.status == 200 and (company := _company(document)) is not None:
        name = clean(str(company.get("CompanyName") or ""), 200)
        ended = _subscription_status(company) in _ENDED
        return replace(
            evidence,
            code=Code.SUBSCRIPTION_ENDED if ended else Code.OK,
            message=f"SubscriptionStatus {_subscription_status(company)}" if ended else "",
            company_name=name,
        )
    message = f"HTTP {reply.status} with {len(reply.body)} bytes that are not QuickBooks'"
    return replace(evidence, code=_judge_status(reply.status), message=message)


def diagnose_failure(error: ExchangeError) -> Diagnosis:
    """The meaning of there being no complete answer."""
    code = {
        Failure.TIMEOUT: Code.TIMEOUT,
        Failure.NETWORK: Code.NETWORK_UNREACHABLE,
        Failure.TOO_LARGE: Code.UNEXPECTED_REPLY,
        Failure.BROKEN: Code.UNEXPECTED_REPLY,
    }[error.failure]
    tid = clean_tid(error.headers.get("intuit_tid", ""))
    return Diagnosis(code=code, http_status=error.status, message=error.detail, intuit_tid=tid)


def _judge_fault(status: int, fault: Fault) -> tuple[Code, bool]:
    kind, code, text = fault.type.lower(), fault.code.lstrip("0"), fault.text.lower()
    if status == 401 and kind == "authentication" and code == "3200":
        # Revoked or merely expired; alone it says nothing about the grant.
        return Code.INTUIT_UNAVAILABLE, True
    if status == 401 and kind == "authenticationfault" and code in {"100", "130"}:
        # 130 WrongClusterError: sandbox token against production (python-quickbooks#369).
        return Code.WRONG_COMPANY_OR_ENVIRONMENT, False
    if kind == "service" and code == "3001" and status in {403, 429}:
        return Code.THROTTLED, False  # with 403 too: python-quickbooks#43
    if status in {401, 403} and kind == "authorizationfault":
        denied = code == "120" or "do not have access" in text
        return (Code.ACCESS_DENIED if denied else Code.UNEXPECTED_REPLY), False
    if status == 403 and kind == "service" and code == "3100":
        return Code.WRONG_COMPANY_OR_ENVIRONMENT, False
    if kind == "validationfault" and code == "6190" and status in {200, 400, 403}:
        return Code.SUBSCRIPTION_ENDED, False
    if kind == "systemfault" and (status == 200 or status >= 500):
        return Code.INTUIT_UNAVAILABLE, False
    return _judge_status(status), False


def _judge_status(status: int) -> Code:
    """What a status alone can say: too little for anything that asks a person to act."""
    if status == 429:
        return Code.THROTTLED
    if status >= 500:
        return Code.INTUIT_UNAVAILABLE
    return Code.UNEXPECTED_REPLY


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # RecursionError: 100,000 nested brackets
        return None


def _company(document: Any) -> dict[str, Any] | None:
    company = document.get("CompanyInfo") if isinstance(document, dict) else None
    if isinstance(company, dict) and ("CompanyName" in company or "Id" in company):
        return company
    return None


def _subscription_status(company: dict[str, Any]) -> str:
    pairs = company.get("NameValue")
    for pair in pairs if isinstance(pairs, list) else []:
        if isinstance(pair, dict) and pair.get("Name") == "SubscriptionStatus":
            return clean(str(pair.get("Value") or ""), 40).upper()
    return ""


def _json_fault(document: Any) -> Fault | None:
    """The gateway writes `fault.error[].message`, the services `Fault.Error[].Message`."""
    if not isinstance(document, dict):
        return None
    fault = document.get("Fault") or document.get("fault")
    if not isinstance(fault, dict):
        return None
    errors = fault.get("Error") or fault.get("error")
    first = errors[0] if isinstance(errors, list) and errors else {}
    if not isinstance(first, dict):
        first = {}
    message = first.get("Message") or first.get("message") or ""
    detail = first.get("Detail") or first.get("detail") or ""
    return Fault(
        type=str(fault.get("type") or ""),
        code=str(first.get("code") or ""),
        text=f"{message}; {detail}" if detail else str(message),
    )


def _xml_fault(body: bytes) -> Fault | None:
    # NUL: UTF-16 could hide a DOCTYPE from this test, and the services write UTF-8.
    if any(sign in body for sign in (b"<!DOCTYPE", b"<!ENTITY", b"\0")):
        return None
    if not body.lstrip().startswith(b"<"):
        return None
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, LookupError, ValueError):
        return None
    parts = {element.tag.rsplit("}", 1)[-1]: element for element in root.iter()}
    if root.tag.rsplit("}", 1)[-1] != "IntuitResponse" or "Fault" not in parts:
        return None

    def text(name: str) -> str:
        return (parts[name].text or "").strip() if name in parts else ""

    code = parts["Error"].get("code", "") if "Error" in parts else ""
    told = "; ".join(filter(None, (text("Message"), text("Detail"))))
    return Fault(type=parts["Fault"].get("type", ""), code=code, text=told)


# Each alternative can begin at the beginning of a word only, so that no text costs more than a
# glance at each of its characters.
_SECRET_LOOKING = re.compile(
    # the gateway repeats a piece of the token here
    r"(?i)(?<=token expired: )(?:(?:bearer|basic)\s+)?\S+"
    r"|\b(?:bearer|basic)\s+\S+"
    r"|\b(?:RT1-|AB[01]|eyJ)[\w.=+/-]*"
    r"|(?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]+"  # an e-mail address
    r"|(?<![\w.+/=-])(?=[\w.+/=-]*\d)[\w.+/=-]{25,}"  # anything long with a digit in it
)


def scrub(text: str) -> str:
    """A vendor's text without tokens, pieces of tokens or addresses; at most 500 characters."""
    return clean(_SECRET_LOOKING.sub("[removed]", text[:5000]), 500)


def clean(text: str, limit: int) -> str:
    """One line of printable text; a database takes no NUL, a terminal no escape sequences."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:limit]


def clean_tid(value: str) -> str:
    """Intuit's transaction id as it may be stored: what its support asks for."""
    return re.sub(r"[^\w.:-]", "", value)[:100]
