"""What a delivery from ClinicSync changes: newest wins, replays change nothing, nothing is lost."""

import base64
import datetime as dt
import hashlib
import hmac
import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from integrations.base import Movement
from integrations.deliveries import traffic
from integrations.jane.integration import Jane
from integrations.jane.models import Kind, Membership, MembershipChange
from integrations.jane.webhook import TOPICS
from integrations.matching import email_hash
from integrations.models import Outcome, Person, WebhookDelivery, WebhookRefusal
from integrations.signatures import Message
from integrations.webhooks import SIZE_CAP, TEST_HEADER, TEST_SIGNER
from tests.jane import PERSON, SECRET, URL, card, deliver, held, memberships, post, snapshot

pytestmark = pytest.mark.django_db

NOW = dt.datetime(2026, 11, 20, 18, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
GOLD = "82000020"


@pytest.fixture(autouse=True)
def set_up(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = [SECRET]
    settings.MATCHING_KEY = ""


def kinds(**which: Any) -> list[str]:
    """What happened to memberships, oldest first."""
    rows = MembershipChange.objects.filter(**which).order_by("pk")
    return list(rows.values_list("kind", flat=True))


def known_at(person: Any = PERSON) -> dt.datetime:
    return Person.objects.get(source="jane", person_id=str(person)).known_at


def everything() -> list[Any]:
    return [
        list(model.objects.order_by("pk").values())
        for model in (Person, Membership, MembershipChange)
    ]


# --- What a snapshot changes ---------------------------------------------------------------------


def test_a_new_membership_is_written_down_with_what_it_is() -> None:
    entry = held(start_date="2026-11-01", membership_end_date="2026-12-31")
    assert deliver(snapshot(NOW - MINUTE, passes=[entry]), NOW) == "stored"
    row = Membership.objects.get()
    assert (row.person_id, row.key, row.vendor_id) == (str(PERSON), GOLD, GOLD)
    assert (row.plan, row.status) == ("Physio Plus", "active")
    assert (row.starts_on, row.ends_on) == (dt.date(2026, 11, 1), dt.date(2026, 12, 31))
    assert (row.changed_at, row.first_seen_at) == (NOW, NOW)
    change = MembershipChange.objects.get()
    assert (change.membership, change.at, change.kind) == (row, NOW, Kind.APPEARED)
    assert (change.status, change.ends_on) == ("active", row.ends_on)
    assert known_at() == NOW - MINUTE


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ({}, {"status": "cancelled"}, Kind.ENDED),
        ({}, {"end": "2026-11-01"}, Kind.ENDED),
        ({"end": "2026-11-30"}, {"end": "2026-12-30"}, Kind.RENEWED),
        ({"end": "2026-11-01"}, {"end": "2026-12-01"}, Kind.RENEWED),  # after it had run out
        ({"end": "2026-11-30"}, {"end": "2026-11-25"}, Kind.CHANGED),
        ({}, {"name": "Physio Max"}, Kind.CHANGED),
        ({"status": "paused"}, {"status": "active"}, Kind.CHANGED),
        ({}, {"status": "somewhere between"}, Kind.CHANGED),
    ],
)
def test_a_change_is_told_by_its_kind(before: Any, after: Any, kind: Kind) -> None:
    deliver(snapshot(NOW, passes=[held(**before)]), NOW)
    later = NOW + MINUTE
    deliver(snapshot(later, passes=[held(**{**before, **after})]), later)
    assert kinds() == [Kind.APPEARED, kind]
    row = Membership.objects.get()
    assert (row.first_seen_at, row.changed_at) == (NOW, later)


def test_the_same_content_with_a_newer_clock_is_no_change() -> None:
    for minute in range(3):
        deliver(snapshot(NOW + minute * MINUTE, passes=[held()]), NOW + minute * MINUTE)
    row = Membership.objects.get()
    assert (kinds(), row.changed_at) == ([Kind.APPEARED], NOW)
    assert known_at() == NOW + 2 * MINUTE


def test_a_replay_changes_nothing() -> None:
    first, second = (
        snapshot(NOW + minute * MINUTE, passes=[held(status=status)])
        for minute, status in ((0, "active"), (1, "cancelled"))
    )
    assert [deliver(each, NOW + MINUTE) for each in (first, second)] == ["stored", "stored"]
    before = everything()
    for minute, each in enumerate((first, second, first)):
        assert deliver(each, NOW + minute * MINUTE) == "duplicate"
    assert everything() == before


def test_a_state_that_comes_back_later_is_news_again() -> None:
    for minute, status in enumerate(("active", "paused", "active")):
        at = NOW + minute * MINUTE
        assert deliver(snapshot(at, passes=[held(status=status)]), at) == "stored"
    assert memberships() == {GOLD: "active"}


def test_a_snapshot_that_is_overtaken_has_no_effect_at_all(settings: Settings) -> None:
    settings.MATCHING_KEY = "key"
    newest = snapshot(NOW, passes=[held(status="cancelled")], email="new@example.com")
    deliver(newest, NOW)
    before = everything()
    late = snapshot(NOW - MINUTE, passes=[held(), held(82000021)], email="old@example.com")
    assert deliver(late, NOW + MINUTE) == "stored"
    assert everything() == before


def test_the_same_clock_with_the_same_content_in_another_form_changes_nothing() -> None:
    deliver(snapshot(NOW, passes=[held()]), NOW)
    before = everything()
    again = snapshot(NOW, person=float(PERSON), passes=[held("82000020.0")], note="another")
    assert deliver(again, NOW + MINUTE) == "duplicate"
    assert deliver({**again, "event_id": "another"}, NOW + MINUTE) == "stored"
    assert everything() == before


def test_a_snapshot_without_a_clock_counts_as_of_its_receipt() -> None:
    deliver(snapshot(passes=[held()]), NOW)
    assert known_at() == NOW
    deliver(snapshot(NOW - MINUTE, passes=[held(status="cancelled")]), NOW + MINUTE)
    assert memberships() == {GOLD: "active"}
    deliver(snapshot(NOW + MINUTE, passes=[held(status="cancelled")]), NOW + 2 * MINUTE)
    assert memberships() == {GOLD: "cancelled"}


def test_a_clock_from_the_future_does_not_keep_out_what_follows() -> None:
    deliver(snapshot(NOW + dt.timedelta(days=400), passes=[held()]), NOW)
    deliver(snapshot(NOW + MINUTE, passes=[held(status="cancelled")]), NOW + MINUTE)
    assert memberships() == {GOLD: "cancelled"}


def test_what_is_missing_from_a_newer_list_is_removed() -> None:
    deliver(snapshot(NOW, passes=[held(), held(82000021)]), NOW)
    deliver(snapshot(NOW + MINUTE, passes=[held(82000021)]), NOW + MINUTE)
    assert memberships() == {GOLD: "removed", "82000021": "active"}
    assert kinds() == [Kind.APPEARED, Kind.APPEARED, Kind.REMOVED]
    deliver(snapshot(NOW + 2 * MINUTE, passes=[]), NOW + 2 * MINUTE)
    assert set(memberships().values()) == {"removed"}
    deliver(snapshot(NOW + 3 * MINUTE, passes=[]), NOW + 3 * MINUTE)
    assert kinds().count(Kind.REMOVED) == 2
    deliver(snapshot(NOW + 4 * MINUTE, passes=[held()]), NOW + 4 * MINUTE)
    assert memberships() == {GOLD: "active", "82000021": "removed"}
    assert kinds()[-1] == Kind.APPEARED


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"passes": None},
        {"membership_plan": "", "membership_status": ""},
        {"passes": ["something strange"]},
    ],
)
def test_without_a_list_nothing_is_removed(fields: Any) -> None:
    deliver(snapshot(NOW, passes=[held()]), NOW)
    deliver(snapshot(NOW + MINUTE, **fields), NOW + MINUTE)
    assert memberships() == {GOLD: "active"}
    assert known_at() == NOW + MINUTE


def test_the_one_membership_of_the_patients_fields_replaces_the_one_before() -> None:
    deliver(snapshot(NOW, passes=[held()]), NOW)
    for minute, plan in ((1, "Gold"), (2, "Silver")):
        at = NOW + minute * MINUTE
        deliver(snapshot(at, membership_plan=plan, membership_status="active"), at)
    # What is known by an id is not theirs to remove.
    assert memberships() == {GOLD: "active", "plan:gold": "removed", "plan:silver": "active"}


def test_nobody_elses_memberships_are_touched() -> None:
    deliver(snapshot(NOW, passes=[held()]), NOW)
    deliver(snapshot(NOW + MINUTE, person=7, passes=[]), NOW + MINUTE)
    deliver(snapshot(NOW + MINUTE, person=8, passes=[held()]), NOW + MINUTE)
    assert memberships(person_id=PERSON) == memberships(person_id="8") == {GOLD: "active"}


def test_the_hash_of_an_address_follows_the_snapshots(settings: Settings) -> None:
    def stored_after(minute: int, **fields: Any) -> str:
        deliver(snapshot(NOW + minute * MINUTE, **fields), NOW + minute * MINUTE)
        return Person.objects.get().email_hash

    settings.MATCHING_KEY = "key"
    expected = email_hash("jo@example.com")
    assert stored_after(0, email="Jo@example.com") == expected
    assert stored_after(1) == expected  # nothing was told of it
    assert stored_after(2, email="") == ""
    assert stored_after(3, email="jo@example.com") == expected
    settings.MATCHING_KEY = ""
    assert stored_after(4) == ""


def test_news_of_a_known_person_costs_two_statements_and_a_change_two_more() -> None:
    def statements(minute: int, *entries: Any) -> int:
        at = NOW + minute * MINUTE
        event = Jane.webhook.read(snapshot(at, passes=list(entries)), message(at), "")
        with CaptureQueriesContext(connection) as queries:
            Jane.webhook.apply(event, at)
        return len(queries)

    assert statements(0, held(), held(82000021)) == 3  # nothing is known that could be compared
    assert statements(1, held(), held(82000021)) == 2
    assert statements(2, held(status="paused"), held(82000022)) == 4


def message(now: dt.datetime) -> Message:
    return Message(headers={}, body=b"", now=now)


# --- Jane's own events ----------------------------------------------------------------------------


def appointment(topic: str, event_id: str = "e1") -> dict[str, Any]:
    return {
        "event_id": event_id,
        "event_topic": topic,
        "event_timestamp": NOW.isoformat(),
        "appointment_id": 17,
        "clinic_guid": "g",
        "version": 1,
    }


def test_appointments_are_a_sign_of_life_and_nothing_else() -> None:
    for number, topic in enumerate(sorted(TOPICS)):
        assert deliver(appointment(topic, f"e{number}"), NOW) == "stored"
        assert deliver(appointment(topic, f"e{number}"), NOW) == "duplicate"
    assert traffic("jane", NOW).accepted == len(TOPICS) == 4
    assert set(WebhookDelivery.objects.values_list("event_type", flat=True)) == TOPICS
    assert WebhookDelivery.objects.first().event_at == NOW  # type: ignore[union-attr]
    assert everything() == [[], [], []]


def test_an_unknown_topic_is_acknowledged_without_keeping_its_name() -> None:
    assert deliver(appointment("PATIENT_MARKER"), NOW) == "ignored"
    assert WebhookDelivery.objects.get().event_type == "other topic"


# --- The door -------------------------------------------------------------------------------------


def signed(body: bytes, timestamp: str = "") -> dict[str, str]:
    content = f"{timestamp}.".encode() + body if timestamp else body
    digest = hmac.digest(SECRET.encode(), content, "sha256").hex()
    stamp = {"X-Jane-Timestamp": timestamp} if timestamp else {}
    return {"X-Jane-Signature": f"sha256={digest}", **stamp}


STANDARD_KEY = b"0123456789abcdef0123456789abcdef"
STANDARD = "whsec_" + base64.b64encode(STANDARD_KEY).decode()


def standard(body: bytes, now: dt.datetime) -> dict[str, str]:
    at = str(int(now.timestamp()))
    digest = hmac.digest(STANDARD_KEY, f"msg_1.{at}.".encode() + body, "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": at, "webhook-signature": signature}


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        ("x-api-key", lambda body, now: {"x-api-key": SECRET}),
        ("x-api-key", lambda body, now: {"X-API-KEY": STANDARD}),
        ("bearer", lambda body, now: {"Authorization": f"Bearer {SECRET}"}),
        ("bearer", lambda body, now: {"Authorization": f"bearer {STANDARD}"}),
        ("hmac", lambda body, now: signed(body)),
        ("hmac", lambda body, now: signed(body, str(int(now.timestamp())))),
        ("standard-webhooks", standard),
    ],
)
def test_every_way_to_prove_oneself_opens_the_door(
    scheme: str, headers: Any, settings: Settings, now: dt.datetime
) -> None:
    settings.JANE_WEBHOOK_SECRETS = [SECRET, STANDARD]
    body = json.dumps(snapshot(passes=[held()])).encode()
    assert post(body, **headers(body, now)).json() == {"status": "stored"}
    assert WebhookDelivery.objects.get().scheme == scheme
    assert memberships() == {GOLD: "active"}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"X-Nothing": "x"}, "missing"),
        ({"x-api-key": ""}, "wrong"),
        ({"x-api-key": SECRET + "x"}, "wrong"),
        ({"x-api-key": SECRET[:-1]}, "wrong"),
        ({"Authorization": "Bearer nobody"}, "wrong"),
        ({"Authorization": f"Basic {SECRET}"}, "missing"),
        ({"X-Jane-Signature": "sha256=" + "0" * 64}, "wrong"),
        ({"X-Jane-Signature": "\xff"}, "wrong"),
        ({"webhook-signature": "v1,AAAA", "webhook-id": "1", "webhook-timestamp": "1"}, "wrong"),
    ],
)
def test_whoever_cannot_prove_himself_is_refused_and_counted(
    headers: dict[str, str], reason: str
) -> None:
    answer = post(snapshot(passes=[held()]), **headers)
    assert answer.status_code == 401
    assert list(WebhookRefusal.objects.values_list("reason", "count")) == [(reason, 1)]
    assert not WebhookDelivery.objects.exists()
    assert everything() == [[], [], []]


def test_an_old_signature_is_refused() -> None:
    body = json.dumps(snapshot()).encode()
    answer = post(body, **signed(body, "1700000000"))
    assert (answer.status_code, answer.json()["reason"]) == (401, "its signature is too old")


def test_the_door_is_closed_while_no_secret_is_set_up(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = []
    answer = post(snapshot(), **{"x-api-key": ""})
    assert (answer.status_code, answer.json()["reason"]) == (401, "no secret is set up here")


def test_both_secrets_open_the_door_while_one_replaces_the_other(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = ["new", "old"]
    answers = {key: post(snapshot(), **{"x-api-key": key}).status_code for key in ("new", "old")}
    assert answers == {"new": 200, "old": 200}
    settings.JANE_WEBHOOK_SECRETS = ["new"]
    assert post(snapshot(), **{"x-api-key": "old"}).status_code == 401


def test_the_sender_is_answered_by_what_became_of_it() -> None:
    document = snapshot(NOW, passes=[held()])
    answers = [post(document), post(document), post("not JSON"), post({"nobody": 1})]
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [
        (200, "stored"),
        (200, "duplicate"),
        (200, "unreadable"),
        (200, "unreadable"),
    ]
    assert post(b"x" * (SIZE_CAP + 1)).status_code == 413
    assert Client().get(URL).status_code == 405
    errors = WebhookDelivery.objects.filter(outcome=Outcome.UNREADABLE).order_by("error")
    assert list(errors.values_list("error", flat=True)) == ["no person", "not JSON"]


def test_valid_json_is_read_whatever_its_type_is_said_to_be() -> None:
    body = json.dumps(snapshot(passes=[held()]))
    answer = Client().post(URL, body, content_type="text/html", headers={"x-api-key": SECRET})
    assert answer.json() == {"status": "stored"}
    assert memberships() == {GOLD: "active"}


# --- The test delivery ----------------------------------------------------------------------------


def test_a_test_delivery_gets_in_and_counts_nowhere() -> None:
    prepared = Jane.webhook.test_message(NOW)
    assert prepared is not None
    body, headers = prepared
    mark = TEST_SIGNER.sign("jane")
    assert post(body, **headers, **{TEST_HEADER: mark}).json() == {"status": "stored"}
    assert json.loads(body)["id"].startswith("test-")
    assert everything() == [[], [], []]
    row = WebhookDelivery.objects.get()
    found = card(row.received_at + MINUTE)
    assert (row.is_test, found.state) == (True, "never_seen")
    assert found.metrics["deliveries_24h"] == 0
    assert found.metrics["last_delivery_at"] is None
    later = NOW + dt.timedelta(days=9999)
    assert Jane().last_movement(later) == Movement(at=None, watched_until=later)
    assert Jane().history("", row.received_at + MINUTE) == []
    assert Jane().assess(row.received_at + MINUTE)[0].tiles[1].value == "0"


def test_two_test_deliveries_are_of_two_people_who_do_not_exist() -> None:
    bodies = {(Jane.webhook.test_message(NOW) or (b"", {}))[0] for _ in range(2)}
    assert len(bodies) == 2


def test_without_a_secret_there_is_no_test_delivery(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = []
    assert Jane.webhook.test_message(NOW) is None


def test_the_secret_is_not_on_the_set_up_page(settings: Settings, staff_client: Client) -> None:
    settings.JANE_WEBHOOK_SECRETS = ["only-for-clinicsync"]
    page = staff_client.get("/integrations/jane/set-up/").content.decode()
    assert "only-for-clinicsync" not in page
    assert hashlib.sha256(b"only-for-clinicsync").hexdigest() not in page
    for expected in ("http://127.0.0.1:8000/webhooks/jane/", "x-api-key", "JANE_WEBHOOK_SECRETS"):
        assert expected in page
