"""Two calls: the probe of the location, and a page of contacts. A reply, or one kind of error.

https://marketplace.gohighlevel.com/docs/ : GET /locations/{id}, POST /contacts/search.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from django.conf import settings

from integrations.deadline import Deadline, boot_clock
from integrations.gohighlevel.limits import Limits
from integrations.gohighlevel.states import State
from integrations.http import ExchangeError, Failure, exchange, pooled_session

DEADLINE_SECONDS = 10.0
# 500 has been seen to work, 100 is what is documented.
PAGE_LIMIT = 100


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A 200 with an object in it."""

    document: Mapping[str, Any]
    limits: Limits
    latency_ms: int
    status: int = 200


class ApiError(Exception):
    """No usable answer. Its text is ours: neither the body nor the token is in it.

    `state` says who must act. `status` is None where no status line came. `too_large`: the
    page was well, but larger than what is read; a smaller one may be asked for.
    """

    def __init__(
        self,
        state: State,
        message: str,
        *,
        status: int | None = None,
        limits: Limits | None = None,
        latency_ms: int | None = None,
        too_large: bool = False,
    ) -> None:
        super().__init__(message)
        self.state = state
        self.message = message
        self.status = status
        self.limits = limits or Limits()
        self.latency_ms = latency_ms
        self.too_large = too_large


def read_location(location_id: str) -> Reply:
    """The location's own record, which has no patient in it. Raises `ApiError`."""
    reply = _call("GET", f"/locations/{quote(location_id, safe='')}")
    found = reply.document.get("location")
    record = found if isinstance(found, dict) else reply.document
    if not isinstance(record.get("id"), str):
        raise _unreadable(reply)
    if record["id"] != location_id:
        raise ApiError(
            State.WRONG_LOCATION,
            "the answer is about another location",
            status=reply.status,
            limits=reply.limits,
            latency_ms=reply.latency_ms,
        )
    return replace(reply, document=record)


def search_contacts(location_id: str, after: Any, limit: int) -> Reply:
    """The page behind `after`, None for the first. `contacts` is a list. Raises `ApiError`."""
    wanted: dict[str, Any] = {"locationId": location_id, "pageLimit": limit, "filters": []}
    if after is not None:
        wanted["searchAfter"] = after
    reply = _call("POST", "/contacts/search", data=json.dumps(wanted).encode())
    if not isinstance(reply.document.get("contacts"), list):
        raise _unreadable(reply)
    return reply


def _call(method: str, path: str, *, data: bytes | None = None) -> Reply:
    headers = {
        "Authorization": f"Bearer {settings.GOHIGHLEVEL_TOKEN}",
        "Version": settings.GOHIGHLEVEL_API_VERSION,
        "Accept": "application/json",
    }
    if data is not None:
        headers["Content-Type"] = "application/json"
    began = boot_clock()
    try:
        response = exchange(
            pooled_session(),
            method,
            settings.GOHIGHLEVEL_API_URL + path,
            Deadline(DEADLINE_SECONDS),
            data=data,
            headers=headers,
        )
    except ExchangeError as error:
        raise _no_answer(method, error, _since(began)) from None
    latency, limits = _since(began), Limits.read(response.headers)
    if response.status_code != 200:
        raise _refusal(method, response.status_code, limits, latency)
    reply = Reply(document={}, limits=limits, latency_ms=latency)
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        raise _unreadable(reply) from None
    if not isinstance(document, dict):
        raise _unreadable(reply)
    return replace(reply, document=document)


def _since(began: float) -> int:
    return round(1000 * (boot_clock() - began))


def _no_answer(method: str, error: ExchangeError, latency: int) -> ApiError:
    begun = error.status
    if begun in {401, 403, 429}:
        # What the status line says does not depend on the rest of the answer.
        return _refusal(method, begun, Limits.read(error.headers), latency)
    return ApiError(
        State.UNAVAILABLE,
        error.detail,
        status=begun,
        limits=Limits.read(error.headers),
        latency_ms=latency,
        too_large=error.failure is Failure.TOO_LARGE and begun == 200 and method == "POST",
    )


def _refusal(method: str, status: int, limits: Limits, latency: int) -> ApiError:
    state, message = State.UNAVAILABLE, "an answer that is not expected"
    if status == 401:
        state, message = State.TOKEN_REJECTED, "the token is not accepted"
    elif status == 403:
        state, message = State.WRONG_LOCATION, "the token may not read this location or its data"
    elif status == 429:
        state, message = State.THROTTLED, "too many calls"
    elif status in {400, 404, 422}:
        message = "the request is not accepted"
        if method == "GET":
            state, message = State.WRONG_LOCATION, "there is no such location"
    elif status >= 500:
        message = "an error of GoHighLevel's own"
    return ApiError(state, message, status=status, limits=limits, latency_ms=latency)


def _unreadable(reply: Reply) -> ApiError:
    return ApiError(
        State.UNAVAILABLE,
        "an answer that is not GoHighLevel's",
        status=reply.status,
        limits=reply.limits,
        latency_ms=reply.latency_ms,
    )
