"""Every way in which Intuit, or what stands between, has been seen to fail, by name."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from quickbooks.simulator import bodies, mistreatment
from quickbooks.simulator.wire import JSON, Reply, Wire

Where = Literal["api", "token", "any"]
NESTED = b"[" * 100_000 + b"]" * 100_000


@dataclass(frozen=True, slots=True)
class Fault:
    """`status` is what reaches the caller, None where no status line does."""

    name: str
    where: Where
    status: int | None
    act: Callable[[Wire], Reply | None]  # None: it dealt with the socket itself
    processes: bool = False  # the request takes effect first: the answer is what is lost


def _dated(name: str, status: int, body: Callable[[float], Reply]) -> Fault:
    return Fault(name, "api", status, lambda wire: body(wire.now))


def _fixed(name: str, reply: Reply, *, where: Where = "any", processes: bool = False) -> Fault:
    return Fault(name, where, reply.status, lambda _: reply, processes)


def _raw(
    name: str, status: int | None, act: Callable[[Wire], None], *, processes: bool = False
) -> Fault:
    return Fault(name, "token" if processes else "any", status, act, processes)


def _json(body: bytes) -> Reply:
    return Reply(200, body, JSON)


def _changed(wire: Wire, drop: str, add: dict[str, object]) -> Reply | None:
    """The token answer that was due, without a key or with more; a rejection stays as it is."""
    if not wire.answer or wire.answer.status != 200:
        return wire.answer
    answer = json.loads(wire.answer.body)
    answer.pop(drop, None)
    return Reply.json(200, answer | add)


# intuit-oauth 1.2.7 copies every key of the answer onto its client, which is a requests.Session.
HOSTILE_KEYS: dict[str, object] = {
    "verify": False,
    "auth": ["intruder", "intruder"],
    "headers": {"Host": "intruder.example.com"},
    "proxies": {"http": "http://127.0.0.1:9", "https": "http://127.0.0.1:9"},
    "client_id": "intruder",
    "client_secret": "intruder",
    "token_endpoint": "http://127.0.0.1:9/",
    "revoke_endpoint": "http://127.0.0.1:9/",
    "realm_id": "1",
    "request": "intruder",
    "max_redirects": -1,
}

_API = (
    Fault("token_expired", "api", 401, lambda wire: bodies.token_expired(wire.now, wire.bearer)),
    _dated("wrong_company", 401, bodies.wrong_company),
    _dated("no_access", 401, bodies.no_access),
    _dated("not_authorized", 403, bodies.not_authorized),
    _dated("throttled", 429, bodies.throttled),
    _dated("throttled_json", 429, bodies.throttled_json),
    _dated("subscription_ended", 400, bodies.subscription_ended),
    _dated("subscription_ended_xml", 400, bodies.subscription_ended_xml),
    _dated("application_error", 500, bodies.application_error),
    _dated("fault_in_200", 200, bodies.fault_in_200),
)
_ANYWHERE = (
    _fixed("bad_gateway", bodies.BAD_GATEWAY),
    _fixed("unavailable", bodies.UNAVAILABLE),
    _fixed("html", bodies.firewall(200)),
    _fixed("html_401", bodies.firewall(401)),
    _fixed("html_403", bodies.firewall(403)),
    _fixed("redirect", Reply(302, headers={"Location": "/elsewhere"}, tid=False)),
    _fixed("empty", _json(b"")),
    _fixed("deep_nesting", _json(NESTED)),
    _fixed("not_json", _json(b"CompanyInfo: yes, quite <well>")),
    _fixed("not_utf8", _json(b'{"CompanyInfo":{"CompanyName":"\xff\xc0"}}')),
    _fixed("wrong_shape", _json(b'[{"CompanyInfo":[]},1,null]')),
    _raw("hang", None, mistreatment.hang),
    _raw("drip", 200, mistreatment.drip),
    _raw("slow_headers", 200, mistreatment.slow_headers),
    _raw("flood", 200, mistreatment.flood),
    _raw("flood_length", 200, mistreatment.flood_length),
    _raw("reset", None, mistreatment.reset),
    _raw("reset_mid_body", 200, mistreatment.reset_mid_body),
    _raw("close", None, mistreatment.close),
    _raw("truncated", 200, mistreatment.truncated),
    _raw("huge_header", 200, mistreatment.huge_header),
    _raw("no_status_line", None, mistreatment.no_status_line),
)
_TOKEN = (
    _fixed("invalid_grant", bodies.oauth_error(400, "invalid_grant"), where="token"),
    _fixed("invalid_grant_described", bodies.INVALID_GRANT_DESCRIBED, where="token"),
    _fixed("invalid_client", bodies.oauth_error(401, "invalid_client"), where="token"),
    _fixed("bare_400", bodies.html(400, "400 Bad Request", "nginx"), where="token"),
    _fixed("json_400_other", Reply.json(400, {"message": "Bad Request"}), where="token"),
    _fixed("status_500", bodies.oauth_error(500, "server_error"), where="token"),
    _fixed("status_503", bodies.UNAVAILABLE, where="token"),
    Fault("throttled_token", "token", 429, lambda wire: bodies.throttled(wire.now)),
    _raw("lost_answer", None, mistreatment.close, processes=True),
    _raw("hang_after", None, mistreatment.hang, processes=True),
    _fixed("garbage_after", bodies.firewall(200), where="token", processes=True),
    _fixed("error_after", bodies.UNAVAILABLE, where="token", processes=True),
    Fault(
        "no_refresh_token",
        "token",
        200,
        lambda wire: _changed(wire, "refresh_token", {}),
        processes=True,
    ),
    Fault(
        "hostile_keys", "token", 200, lambda wire: _changed(wire, "", HOSTILE_KEYS), processes=True
    ),
)
FAULTS = {fault.name: fault for fault in (*_API, *_ANYWHERE, *_TOKEN)}
