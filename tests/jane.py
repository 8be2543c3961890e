"""What the tests about Jane do alike: deliver, and look at what is left of it."""

import datetime as dt
import json
from typing import Any

from django.apps import apps
from django.db import connection
from django.test import Client, RequestFactory

from integrations import webhooks
from integrations.base import Assessment
from integrations.jane.integration import Jane
from integrations.jane.models import Membership
from integrations.jane.parsing import CLOCK
from integrations.models import Outcome, WebhookDelivery

SECRET = "a secret of the clinic"
URL = "/webhooks/jane/"
PERSON = 4_000_001


def snapshot(at: dt.datetime | None = None, person: Any = PERSON, **fields: Any) -> dict[str, Any]:
    """A small snapshot of a person; what it says of memberships is in the fields."""
    clock = {CLOCK: at.isoformat()} if at else {}
    return {"id": person, **clock, **fields}


def held(number: Any = 82_000_020, **fields: Any) -> dict[str, Any]:
    """A membership as an entry of `passes`."""
    plan = {"name": "Physio Plus", "package_type": "membership", "status": "active"}
    return {"id": number, **plan, **fields}


def deliver(document: Any, now: dt.datetime, **headers: str) -> str:
    """Through the door at a time of the test's choosing; the word of the answer."""
    request = RequestFactory().post(
        URL,
        document if isinstance(document, bytes) else json.dumps(document).encode(),
        content_type="application/json",
        headers={"x-api-key": SECRET, **headers},
    )
    answer = webhooks.receive(request, Jane.webhook, now)
    word: str = json.loads(answer.content)["status"]
    return word


def post(document: Any, **headers: str) -> Any:
    """To the real address, as ClinicSync does."""
    body = document if isinstance(document, (bytes, str)) else json.dumps(document)
    given = headers or {"x-api-key": SECRET}
    return Client().post(URL, body, content_type="application/json", headers=given)


def memberships(**which: Any) -> dict[str, str]:
    """Key → status."""
    return dict(Membership.objects.filter(**which).values_list("key", "status"))


def came(at: dt.datetime, outcome: Outcome = Outcome.STORED, **values: Any) -> WebhookDelivery:
    """A delivery of the past."""
    known: dict[str, Any] = {
        "integration": "jane",
        "event_key": f"at:{at.isoformat()}",
        "event_type": "snapshot",
        "received_at": at,
        "last_received_at": at,
        "scheme": "x-api-key",
        "size": 3401,
        "fingerprint": "0123456789abcdef",
        "outcome": outcome,
    }
    return WebhookDelivery.objects.create(**{**known, **values})


def card(now: dt.datetime) -> Assessment:
    (found,) = Jane().assess(now)
    return found


def everything_stored() -> str:
    """Every column of every table, as text."""
    found = []
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            cursor.execute(f'SELECT * FROM "{model._meta.db_table}"')  # noqa: S608
            found.append(repr(cursor.fetchall()))
    return "\n".join(found)
