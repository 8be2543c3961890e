"""What a request is answered with: status, headers, body."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from integrations.gohighlevel.simulator.world import World

Answer = tuple[int, dict[str, str], bytes]


def endpoint_of(method: str, path: str) -> str | None:
    if method == "GET" and path.startswith("/locations/"):
        return "location"
    return "search" if (method, path) == ("POST", "/contacts/search") else None


def answer(
    world: World, endpoint: str, path: str, headers: Mapping[str, str], body: bytes
) -> Answer:
    """An orderly answer, with the limits as they are after this call."""
    if not world.meter.call():
        return refusal(world, 429)
    if headers.get("Authorization") != f"Bearer {world.token}":
        return refusal(world, 401)
    if not headers.get("Version"):
        return refusal(world, 400)
    if endpoint == "location":
        asked = unquote(path.removeprefix("/locations/"))
        return _location(world, asked) if asked == world.location_id else refusal(world, 403)
    try:
        wanted = json.loads(body)
        limit, after = int(wanted["pageLimit"]), wanted.get("searchAfter")
    except (ValueError, KeyError, TypeError):
        return refusal(world, 422)
    if wanted.get("locationId") != world.location_id:
        return refusal(world, 403)
    with world.lock:
        page = world.page(after, limit)
        total = world.existing if world.total is None else world.total
    told = {"total": total} if world.tells_total else {}
    return reply(world, 200, {"contacts": page, **told, "traceId": "demo"})


def _location(world: World, location_id: str) -> Answer:
    record = {
        "id": location_id,
        "companyId": "demoCompany",
        "name": world.name,
        "timezone": "America/Vancouver",
        "email": "marker.owner@clinic.example.com",
    }
    return reply(world, 200, {"location": record})


def reply(world: World, status: int, document: Any, **more: str) -> Answer:
    body = json.dumps(document, separators=(",", ":")).encode()
    return status, {"Content-Type": "application/json", **world.meter.headers(), **more}, body


def refusal(world: World, status: int) -> Answer:
    """An error in their form. Messages of theirs can repeat anything, so they carry a marker."""
    message: Any = {401: "Invalid JWT", 403: "Forbidden resource", 429: "Too many requests"}.get(
        status, "Marker message"
    )
    more = {}
    if status == 422:
        message = ["Marker message"]
    if status == 429:
        rest = world.meter.interval if world.retry_after is None else world.retry_after
        world.meter.forbid(rest)
        if world.retry_after is not None:
            more["Retry-After"] = f"{rest:g}"
    document = {"statusCode": status, "message": message, "error": "Marker error"}
    return reply(world, status, document, **more)


def faulty(world: World, fault: str, due: Answer) -> Answer | None:
    """What a fault makes of the answer that was due; None: it is a matter of the socket."""
    status, headers, body = due
    if fault.isdecimal():
        return refusal(world, int(fault))
    if fault == "html":
        return 200, {"Content-Type": "text/html"}, b"<html>Marker sign in to the Wi-Fi</html>"
    if fault == "malformed":
        return status, headers, b'{"contacts": [{"email": "Marker'
    if fault == "empty":
        return status, headers, b""
    if fault == "wrong_id":
        return status, headers, body.replace(world.location_id.encode(), b"anotherLocation00001")
    if fault == "stuck":  # every page says that it is followed by itself
        document = json.loads(body)
        for contact in document["contacts"]:
            contact["searchAfter"] = [0, world.contact_id(0)]
        return status, headers, json.dumps(document).encode()
    return None
