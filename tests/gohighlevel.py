"""What the tests of GoHighLevel do alike: the settings, a sync, a delivery, the rule in plain.

Fixtures are imported as themselves: who only names one in a signature seems not to use it.
"""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from integrations.base import Assessment
from integrations.gohighlevel import client
from integrations.gohighlevel.integration import GoHighLevel
from integrations.gohighlevel.management.commands.sync_gohighlevel import Command
from integrations.gohighlevel.models import ContactMapping, SyncRun
from integrations.gohighlevel.simulator.server import Simulator
from integrations.gohighlevel.simulator.signing import Signer
from integrations.gohighlevel.simulator.world import LOCATION_ID, PERSON_FIELD, TOKEN, World
from integrations.matching import email_hash
from integrations.models import Person
from tests.support import run

KEY = "a key for addresses and nothing else"
SECRET = "workflow-secret-0123456789"
URL = "/webhooks/gohighlevel/"
SIGNER = Signer()


class Clock:
    """Time for the stand-in: it passes when the product waits, and not otherwise."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.seconds += seconds


def configure(settings: Settings, simulator: Simulator | None = None) -> None:
    """Set up as in .env."""
    settings.GOHIGHLEVEL_TOKEN = TOKEN
    settings.GOHIGHLEVEL_LOCATION_ID = LOCATION_ID
    settings.GOHIGHLEVEL_PERSON_FIELD = PERSON_FIELD
    settings.GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS = [SIGNER.public_key]
    settings.GOHIGHLEVEL_WEBHOOK_SECRETS = [SECRET]
    settings.MATCHING_KEY = KEY
    if simulator:
        settings.GOHIGHLEVEL_API_URL = simulator.url


@contextmanager
def waiting_by(clock: Clock) -> Iterator[None]:
    """The command waits by this clock."""
    with patch.object(Command, "pause", staticmethod(clock.pause)):
        yield


@pytest.fixture
def set_up(settings: Settings) -> None:
    """As in .env, with nobody at the other end."""
    configure(settings)


@pytest.fixture
def clock() -> Iterator[Clock]:
    """For the stand-in and the command."""
    found = Clock()
    with waiting_by(found):
        yield found


@pytest.fixture
def running(ghl: World, settings: Settings) -> Iterator[Simulator]:
    """The stand-in, with each module's own `ghl` as its world; the settings lead there."""
    with Simulator(ghl) as found:
        configure(settings, found)
        yield found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs is given up soon."""
    monkeypatch.setattr(client, "DEADLINE_SECONDS", 0.3)


def sync(*arguments: str) -> tuple[int, str]:
    return run("sync_gohighlevel", *arguments)


def assessed(now: dt.datetime) -> Assessment:
    (found,) = GoHighLevel().assess(now)
    return found


def newest_run() -> SyncRun:
    return SyncRun.objects.order_by("-started_at", "-id")[0]


def contact(contact_id: str) -> ContactMapping:
    return ContactMapping.objects.get(contact_id=contact_id)


def person(person_id: str, address: str, source: str = "jane") -> Person:
    known_at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return Person.objects.create(
        source=source, person_id=person_id, email_hash=email_hash(address), known_at=known_at
    )


def event(kind: str, contact_id: str = "", at: dt.datetime | None = None, **more: Any) -> Any:
    """An app's event; every one has an id of its own."""
    event.count = getattr(event, "count", 0) + 1  # type: ignore[attr-defined]
    body = {
        "type": kind,
        "locationId": LOCATION_ID,
        "webhookId": f"wh-{event.count}",  # type: ignore[attr-defined]
        **({"id": contact_id} if contact_id else {}),
        **({"timestamp": at.isoformat()} if at else {}),
    }
    return body | more


def fields(person_id: str) -> dict[str, Any]:
    return {"customFields": [{"id": PERSON_FIELD, "value": person_id}]}


def deliver(document: Any, signer: Signer | None = SIGNER, **headers: str) -> tuple[int, str]:
    """POST a delivery, signed unless there is no signer: status, and the word of the answer."""
    if signer:
        body, signed = signer.signed(document)
        headers = {**signed, **headers}
    else:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
    response = Client(raise_request_exception=True).post(
        URL, body, content_type="application/json", headers=headers
    )
    return response.status_code, response.json()["status"]


def told(document: Any) -> None:
    """A signed delivery that has its effect."""
    assert deliver(document) == (200, "stored")


def everything_stored() -> str:
    """Every column of every row that this integration or its deliveries leave."""
    tables = [
        name
        for name in connection.introspection.table_names()
        if name.startswith(("gohighlevel_", "integrations_"))
    ]
    assert len(tables) >= 8
    text = []
    with connection.cursor() as cursor:
        for name in tables:
            cursor.execute(f"SELECT * FROM {name}")  # noqa: S608
            text += [repr(row) for row in cursor.fetchall()]
    return "\n".join(text)


def numbers(found: Assessment) -> tuple[int, int, int, int]:
    """Contacts, mapped, unmatched, ambiguous as the card has them."""
    metrics = found.metrics
    names = ("contacts", "contacts_mapped", "contacts_unmatched", "contacts_ambiguous")
    contacts, mapped, unmatched, ambiguous = (int(metrics[name]) for name in names)
    assert mapped + unmatched + ambiguous == contacts
    return contacts, mapped, unmatched, ambiguous


@dataclass(frozen=True, kw_only=True)
class Known:
    """A contact or a person as the rule sees it."""

    external_id: str = ""
    email_hash: str = ""


def rule(
    contacts: Mapping[str, Known], persons: Sequence[tuple[str, str]]
) -> dict[str, tuple[str, str, str]]:
    """The rules in plain: contact → (state, rule, person). `persons` are (id, hash)."""
    return {name: _judge(one, list(contacts.values()), persons) for name, one in contacts.items()}


def _judge(
    one: Known, contacts: Sequence[Known], persons: Sequence[tuple[str, str]]
) -> tuple[str, str, str]:
    if one.external_id:
        alike = sum(other.external_id == one.external_id for other in contacts)
        if alike == 1:
            return "mapped", "external_id", one.external_id
        return "ambiguous", "external_id", ""
    people = [person_id for person_id, found in persons if found and found == one.email_hash]
    if not people:
        return "unmatched", "", ""
    alike = sum(not c.external_id and c.email_hash == one.email_hash for c in contacts)
    claimed = any(c.external_id == people[0] for c in contacts)
    if len(people) == 1 and alike == 1 and not claimed:
        return "mapped", "email", people[0]
    return "ambiguous", "email", ""
