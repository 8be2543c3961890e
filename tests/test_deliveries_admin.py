"""Deliveries in the admin: what came, what became of it, and nothing of what was in it."""

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from integrations.models import Outcome, WebhookDelivery, WebhookRefusal
from tests.support import text_of

pytestmark = pytest.mark.django_db

DELIVERIES = "/admin/integrations/webhookdelivery/"


@pytest.fixture
def client() -> Client:
    user = User.objects.create_user("consultant", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_webhookdelivery"))
    client = Client()
    client.force_login(user)
    return client


def add(number: int, **values: Any) -> WebhookDelivery:
    at = values.pop("at", timezone.now() - dt.timedelta(minutes=number))
    known = {
        "integration": "jane",
        "event_key": f"id:{number}",
        "event_type": "snapshot",
        "scheme": "x-api-key",
        "size": 1200,
        "outcome": Outcome.STORED,
    }
    return WebhookDelivery.objects.create(
        **{**known, "received_at": at, "last_received_at": at, **values}
    )


@pytest.fixture
def deliveries() -> None:
    now = timezone.now()
    add(1, repeats=2)
    add(2, outcome=Outcome.IGNORED)
    add(3, outcome=Outcome.UNREADABLE, error="no person", event_type="")
    add(4, is_test=True)
    add(5, integration="gohighlevel", event_type="ContactUpdate")
    add(6, at=now - dt.timedelta(hours=30))
    for slug, reason, count in (("jane", "wrong", 7), ("gohighlevel", "stale", 2)):
        WebhookRefusal.objects.create(
            integration=slug,
            minute=now.replace(second=0, microsecond=0),
            reason=reason,
            count=count,
            last_at=now,
        )


@pytest.mark.usefixtures("deliveries")
def test_the_sums_stand_above_the_list_and_leave_tests_out(client: Client) -> None:
    text = text_of(client.get(DELIVERIES))
    for figure in ("Accepted 3", "Repeats of these 2", "Unreadable 1", "Refused 9"):
        assert figure in text
    assert "unreadable: no person" in text
    assert "ContactUpdate" in text


@pytest.mark.usefixtures("deliveries")
@pytest.mark.parametrize(
    ("query", "figures"),
    [
        ("integration=jane", ("Accepted 2", "Refused 7")),
        ("integration=gohighlevel", ("Accepted 1", "its signature is too old 2")),
        ("span=7d", ("Accepted 4", "Refused 9")),
        ("outcome=unreadable", ("Accepted 0", "Unreadable 1")),
        ("test=True", ("Accepted 0",)),
    ],
)
def test_filters_change_the_sums(client: Client, query: str, figures: tuple[str, ...]) -> None:
    text = text_of(client.get(f"{DELIVERIES}?{query}"))
    for figure in figures:
        assert figure in text


@pytest.mark.usefixtures("deliveries")
def test_all_time_is_listed_and_not_added_up(client: Client) -> None:
    text = text_of(client.get(f"{DELIVERIES}?span=all"))
    assert "Choose at most 7 days" in text
    assert "Accepted" not in text


def test_a_delivery_can_be_looked_at_and_not_be_changed(client: Client) -> None:
    row = add(1, error="", fingerprint="0123456789abcdef")
    page = client.get(f"{DELIVERIES}{row.pk}/change/")
    assert "0123456789abcdef" in text_of(page)
    assert b'<input type="submit"' not in page.content
    for path in (f"{DELIVERIES}add/", f"{DELIVERIES}{row.pk}/delete/"):
        assert client.get(path).status_code in {302, 403, 404}
    client.post(f"{DELIVERIES}{row.pk}/change/", {"outcome": "ignored"})
    row.refresh_from_db()
    assert row.outcome == Outcome.STORED
