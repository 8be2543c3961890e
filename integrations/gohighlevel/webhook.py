"""What GoHighLevel sends of its own accord: an app's signed events, or a workflow's.

An app's are flat or wrapped in `data`; a workflow's have `contact_id` and no type. Only ids,
hashes and times are read.
"""

import datetime as dt
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings

from integrations.gohighlevel import storage
from integrations.gohighlevel.contact import Contact, identifier, moment, read_contact
from integrations.gohighlevel.models import Location
from integrations.signatures import (
    Message,
    Reason,
    Refused,
    Scheme,
    bearer,
    ed25519,
    static_header,
)
from integrations.webhooks import Event, Unreadable, Webhook

SIGNED = "ed25519"
API_KEY_HEADER = "x-api-key"
UPDATES = {"ContactCreate", "ContactUpdate", "ContactTagUpdate"}
DELETE, INSTALL, UNINSTALL = "ContactDelete", "INSTALL", "UNINSTALL"
# They send again 6 times, 10 minutes apart; a signature older than that is somebody's recording.
OLDEST = dt.timedelta(hours=2)
NEWEST = dt.timedelta(minutes=5)
_KIND = re.compile(r"[A-Za-z][A-Za-z_.]{0,39}")


class GoHighLevelWebhook(Webhook):
    slug = "gohighlevel"
    # They send again after a 429 and after nothing else.
    busy_status = 429

    def schemes(self) -> Mapping[str, Scheme]:
        if not settings.GOHIGHLEVEL_LOCATION_ID:
            return {}
        found = {}
        if settings.GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS:
            found[SIGNED] = ed25519("X-GHL-Signature", settings.GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS)
        if settings.GOHIGHLEVEL_WEBHOOK_SECRETS:
            known = settings.GOHIGHLEVEL_WEBHOOK_SECRETS
            found[API_KEY_HEADER] = static_header(API_KEY_HEADER, known)
            found["bearer"] = bearer(known)
        return found

    def read(self, document: Any, message: Message, scheme: str) -> Event:
        if not isinstance(document, Mapping):
            raise Unreadable("not an object")
        signed = scheme == SIGNED
        inner = document.get("data")
        # What the envelope says counts: it is there in both forms.
        body = {**inner, **document} if isinstance(inner, Mapping) else dict(document)
        sent_at = moment(body.get("timestamp"))
        if signed and sent_at and not message.now - OLDEST <= sent_at <= message.now + NEWEST:
            raise Refused(Reason.STALE)
        news = _News(
            kind=_kind(body),
            location=_location(body),
            contact=_contact_id(body, inner),
            signed=signed,
        )
        wanted = news.location == settings.GOHIGHLEVEL_LOCATION_ID and (
            news.kind in UPDATES | {DELETE, INSTALL, UNINSTALL}
        )
        given = identifier(body.get("webhookId"))
        if not wanted:
            told = asdict(news)
            return Event(kind=news.kind, id=given, at=sent_at, projection=told, wanted=False)
        about = read_contact({**body, "id": news.contact}) if news.kind in UPDATES else None
        if news.kind in UPDATES | {DELETE} and not news.contact:
            raise Unreadable("no usable contact id")
        told = asdict(news) | {
            "external_id": about.external_id if about else None,
            "email_hash": about.email_hash if about else None,
        }
        at = (about.updated_at if about else None) or sent_at
        return Event(kind=news.kind, id=given, at=at, projection=told)

    def apply(self, event: Event, now: dt.datetime) -> None:
        told = event.projection
        with storage.locked(told["location"]) as location:
            if event.kind == UNINSTALL:
                _uninstall(location, event.at or now)
                return
            if event.kind == INSTALL:
                _install(location, event.at or now)
                return
            if told["signed"] and event.at:
                _still_there(location, event.at)
            if event.kind == DELETE:
                storage.forget(told["location"], told["contact"], event.at, now)
                return
            contact = Contact(
                id=told["contact"],
                external_id=told["external_id"],
                email_hash=told["email_hash"],
                updated_at=event.at,
            )
            storage.hear(told["location"], contact, event.at, now)

    def test_message(self, now: dt.datetime) -> tuple[bytes, dict[str, str]] | None:
        known = settings.GOHIGHLEVEL_WEBHOOK_SECRETS
        if not known or not settings.GOHIGHLEVEL_LOCATION_ID:
            return None
        body = {
            "type": "ContactUpdate",
            "locationId": settings.GOHIGHLEVEL_LOCATION_ID,
            "id": f"test-{secrets.token_hex(8)}",
        }
        return json.dumps(body).encode(), {API_KEY_HEADER: known[0]}


@dataclass(frozen=True, kw_only=True)
class _News:
    kind: str
    location: str
    contact: str
    signed: bool


def _kind(body: Mapping[str, Any]) -> str:
    given = body.get("type")
    if isinstance(given, str) and _KIND.fullmatch(given):
        return given
    # A workflow's webhook names no type; whatever started it, this is how the contact is now.
    return "ContactUpdate" if given is None and "contact_id" in body else "other"


def _location(body: Mapping[str, Any]) -> str:
    found = identifier(body.get("locationId"))
    place = body.get("location")
    if not found and isinstance(place, Mapping):
        found = identifier(place.get("id"))
    return found


def _contact_id(body: Mapping[str, Any], inner: Any) -> str:
    # In an envelope with `data`, an `id` outside may be that of the event.
    places = [inner, body] if isinstance(inner, Mapping) else [body]
    for place in places:
        for name in ("contact_id", "contactId", "id"):
            if found := identifier(place.get(name)):
                return found
    return ""


def _uninstall(location: Location, at: dt.datetime) -> None:
    if location.installed_at is None or at > location.installed_at:
        location.uninstalled_at = max(at, location.uninstalled_at or at)
        location.save(update_fields=["uninstalled_at"])


def _install(location: Location, at: dt.datetime) -> None:
    location.installed_at = max(at, location.installed_at or at)
    if location.uninstalled_at and at > location.uninstalled_at:
        location.uninstalled_at = None
    location.save(update_fields=["installed_at", "uninstalled_at"])


def _still_there(location: Location, at: dt.datetime) -> None:
    """Only an installed app signs: what it sent after an uninstallation shows that it is back."""
    if location.uninstalled_at and at > location.uninstalled_at:
        location.uninstalled_at = None
        location.save(update_fields=["uninstalled_at"])
