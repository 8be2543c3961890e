"""The receiving end of ClinicSync's webhook, and of Jane's own appointment events."""

import datetime as dt
import json
import secrets
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from integrations.jane.parsing import CLOCK, Snapshot, read_snapshot
from integrations.jane.records import save
from integrations.jane.values import identifier, moment, text
from integrations.signatures import (
    Message,
    Scheme,
    bearer,
    hex_hmac,
    standard_webhooks,
    static_header,
)
from integrations.webhooks import Event, Webhook

SNAPSHOT = "snapshot"
# Jane's own events: a sign of life, of which nothing is kept.
TOPICS = frozenset(
    f"APPOINTMENT_{what}" for what in ("BOOKED", "CANCELLED", "RESCHEDULED", "UNCANCELLED")
)
OTHER_TOPIC = "other topic"


class JaneWebhook(Webhook):
    slug = "jane"

    def schemes(self) -> Mapping[str, Scheme]:
        known = settings.JANE_WEBHOOK_SECRETS
        if not known:
            return {}
        return {
            "x-api-key": static_header("x-api-key", known),
            "bearer": bearer(known),
            "standard-webhooks": standard_webhooks(known),
            "hmac": hex_hmac("X-Jane-Signature", "X-Jane-Timestamp", known),
        }

    def read(self, document: Any, message: Message, scheme: str) -> Event:
        if isinstance(document, dict) and (topic := text(document.get("event_topic"), 60)):
            return _appointment(document, topic, message.now)
        snapshot = read_snapshot(document, message.now)
        return Event(
            kind=SNAPSHOT,
            id=_event_id(document),
            at=snapshot.at,
            projection=project(snapshot),
            meaning=snapshot,
        )

    def apply(self, event: Event, now: dt.datetime) -> None:
        if isinstance(event.meaning, Snapshot):
            save(event.meaning, now)

    def test_message(self, now: dt.datetime) -> tuple[bytes, dict[str, str]] | None:
        if not settings.JANE_WEBHOOK_SECRETS:
            return None
        person = f"test-{secrets.token_hex(8)}"
        body = {"id": person, CLOCK: now.isoformat(), "memberships": []}
        return json.dumps(body).encode(), {"x-api-key": settings.JANE_WEBHOOK_SECRETS[0]}


def project(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot in types of JSON. With the clock: the same state at another time is news."""
    return {
        "person_id": snapshot.person_id,
        "at": snapshot.at.isoformat() if snapshot.at else None,
        "email_hash": snapshot.email_hash,
        "terms": [
            [term.key, term.vendor_id, term.plan, term.status]
            + [day.isoformat() if day else None for day in (term.starts_on, term.ends_on)]
            for term in snapshot.terms
        ],
        "complete": snapshot.complete,
        "single": snapshot.single,
    }


def _appointment(document: dict[str, Any], topic: str, now: dt.datetime) -> Event:
    known = topic in TOPICS
    return Event(
        # Not the topic as it came: what we do not know might be anything.
        kind=topic if known else OTHER_TOPIC,
        id=_event_id(document),
        at=moment(document.get("event_timestamp"), now),
        projection={
            "topic": topic,
            "appointment": identifier(document.get("appointment_id")),
            "at": text(document.get("event_timestamp"), 60),
        },
        wanted=known,
    )


def _event_id(document: dict[str, Any]) -> str:
    return identifier(document.get("event_id"))
