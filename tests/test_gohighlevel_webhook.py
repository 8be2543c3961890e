"""What GoHighLevel sends: whose it is, what it changes, in whatever order it comes."""

import base64
import datetime as dt
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from integrations.gohighlevel.integration import GoHighLevel
from integrations.gohighlevel.models import ContactMapping, Location, Mapping
from integrations.gohighlevel.simulator.signing import Signer
from integrations.gohighlevel.simulator.world import LOCATION_ID, PERSON_FIELD
from integrations.models import WebhookDelivery, WebhookRefusal
from integrations.webhooks import TEST_HEADER, TEST_SIGNER
from tests.gohighlevel import (
    SECRET,
    SIGNER,
    assessed,
    contact,
    deliver,
    event,
    everything_stored,
    fields,
    numbers,
    person,
    told,
)
from tests.gohighlevel import set_up as set_up
from tests.support import PERSONAL, refusing

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("set_up")]

MINUTE = dt.timedelta(minutes=1)


def state(contact_id: str) -> tuple[str, str]:
    row = contact(contact_id)
    return row.state, row.person_id


def refused() -> dict[str, int]:
    return dict(WebhookRefusal.objects.values_list("reason", "count"))


# ── whose it is ─────────────────────────────────────────────────────────────


def test_without_a_location_everything_is_refused(settings: Settings, now: dt.datetime) -> None:
    settings.GOHIGHLEVEL_LOCATION_ID = ""
    assert deliver(event("ContactCreate", "c", now))[0] == 401
    assert deliver(event("ContactCreate", "c"), None, **{"x-api-key": SECRET})[0] == 401
    assert refused() == {"closed": 2}


def test_a_signed_delivery_is_taken_and_a_forged_one_is_not(now: dt.datetime) -> None:
    document = event("ContactCreate", "c", now, **fields("77"))
    assert deliver(document, Signer()) == (401, "refused")
    body, signed = SIGNER.signed(document)
    changed = body.replace(b"77", b"78")
    assert deliver(changed, None, **signed) == (401, "refused")
    twisted = {"X-GHL-Signature": base64.b64encode(b"x" * 64).decode()}
    assert deliver(document, None, **twisted) == (401, "refused")
    assert deliver(document, None, **{"X-GHL-Signature": "\xff not base64"}) == (401, "refused")
    assert deliver(document, None) == (401, "refused")
    assert refused() == {"wrong": 4, "missing": 1}
    assert not ContactMapping.objects.exists()
    assert not WebhookDelivery.objects.exists()
    assert deliver(document) == (200, "stored")
    assert state("c") == ("mapped", "77")


@pytest.mark.parametrize(
    ("age", "taken"),
    [
        (dt.timedelta(hours=2, seconds=5), False),
        (dt.timedelta(hours=2, seconds=-5), True),
        (-dt.timedelta(minutes=5, seconds=5), False),
        (-dt.timedelta(minutes=4, seconds=55), True),
    ],
)
def test_a_signature_holds_for_two_hours(now: dt.datetime, age: dt.timedelta, taken: bool) -> None:
    document = event("ContactCreate", "c", now - age)
    assert deliver(document)[0] == (200 if taken else 401)
    in_milliseconds = event("ContactCreate", "c")
    in_milliseconds["timestamp"] = int((now - age).timestamp() * 1000)
    assert deliver(in_milliseconds)[0] == (200 if taken else 401)
    assert refused() == ({} if taken else {"stale": 2})


@pytest.mark.parametrize("headers", [{"x-api-key": SECRET}, {"Authorization": f"Bearer {SECRET}"}])
def test_a_workflow_proves_itself_with_a_secret_and_has_no_clock(
    headers: dict[str, str], now: dt.datetime
) -> None:
    person("9", "somebody@clinic.example.com")
    document = {
        "contact_id": "c",
        "first_name": "Marker",
        "email": "Somebody@Clinic.example.com ",
        "location": {"id": LOCATION_ID, "name": "Harbour Physio"},
        "workflow": {"id": "w", "name": "Marker"},
        "timestamp": (now - dt.timedelta(days=3)).isoformat(),
    }
    assert deliver(document, None, **headers) == (200, "stored")
    assert state("c") == ("mapped", "9")
    assert WebhookDelivery.objects.get().event_type == "ContactUpdate"
    wrong = {name: value + "x" for name, value in headers.items()}
    assert deliver(document, None, **wrong) == (401, "refused")


def test_without_secrets_only_signatures_count(settings: Settings, now: dt.datetime) -> None:
    settings.GOHIGHLEVEL_WEBHOOK_SECRETS = []
    assert deliver(event("ContactCreate", "c"), None, **{"x-api-key": ""})[0] == 401
    assert deliver(event("ContactCreate", "c", now)) == (200, "stored")
    assert GoHighLevel.webhook.test_message(now) is None


# ── what is wanted ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["NoteCreate", "InboundMessage", "TaskComplete", "Ünbekannt\0"])
def test_other_events_are_acknowledged_and_have_no_effect(now: dt.datetime, kind: str) -> None:
    assert deliver(event(kind, "c", now, body="Marker note")) == (200, "ignored")
    assert not ContactMapping.objects.exists()


@pytest.mark.parametrize("kind", ["ContactCreate", "ContactDelete", "UNINSTALL", "INSTALL"])
def test_other_locations_have_no_effect(now: dt.datetime, kind: str) -> None:
    for location in ("anotherLocation00001", None, 5, {"id": LOCATION_ID}):
        assert deliver(event(kind, "c", now, locationId=location)) == (200, "ignored")
    assert not ContactMapping.objects.exists()
    assert not Location.objects.exclude(uninstalled_at=None).exists()


def test_a_payload_may_be_wrapped(now: dt.datetime) -> None:
    envelope = event("ContactUpdate", at=now)
    envelope["id"] = "the id of the event"
    told({**envelope, "data": {"id": "c", **fields("77")}})
    assert state("c") == ("mapped", "77")
    inside = event("ContactUpdate", "d", now, **fields("78"))
    assert deliver({"data": inside}) == (200, "stored")
    assert state("d") == ("mapped", "78")


@pytest.mark.parametrize("given", [None, "", "x" * 65, "nul\0", "\ud800", [], {}, True])
def test_without_a_usable_contact_id_it_cannot_be_read(now: dt.datetime, given: Any) -> None:
    for kind in ("ContactUpdate", "ContactDelete"):
        document = event(kind, at=now)
        document["id"] = given
        assert deliver(document) == (200, "unreadable")
    assert set(WebhookDelivery.objects.values_list("error")) == {("no usable contact id",)}


def test_text_that_a_database_refuses_breaks_nothing(now: dt.datetime) -> None:
    huge = "x" * 300_000
    for number, value in enumerate(("nul\0", "\ud800", huge)):
        document = event("ContactUpdate", f"c{number}", now, email=f"{value}@clinic.example.com")
        assert deliver({**document, **fields(value), "dateUpdated": value})[0] == 200
        assert contact(f"c{number}").external_id == ""
    assert deliver(event("ContactUpdate", "c9", now, webhookId=huge))[0] == 200
    assert deliver(event("x" * 500_000, "c9", now))[0] == 200


# ── effects ─────────────────────────────────────────────────────────────────


def test_a_delivery_that_comes_twice_counts_once(now: dt.datetime) -> None:
    document = event("ContactCreate", "c", now, **fields("77"))
    told(document)
    told(event("ContactDelete", "c", now + MINUTE))
    assert deliver(document) == (200, "duplicate")
    assert state("c") == ("gone", "")


def test_each_change_matches_the_groups_that_it_touches(now: dt.datetime) -> None:
    person("9", "both@clinic.example.com")
    told(event("ContactCreate", "a", now, email="both@clinic.example.com"))
    assert state("a") == ("mapped", "9")
    told(event("ContactCreate", "b", now, email="both@clinic.example.com"))
    assert {state("a"), state("b")} == {("ambiguous", "")}
    told(event("ContactUpdate", "b", now + MINUTE, **fields("77")))
    assert (state("a"), state("b")) == (("mapped", "9"), ("mapped", "77"))
    told(event("ContactUpdate", "b", now + 2 * MINUTE, **fields("9")))
    assert (state("a"), state("b")) == (("ambiguous", ""), ("mapped", "9"))
    told(event("ContactDelete", "b", now + 3 * MINUTE))
    assert state("a") == ("mapped", "9")
    assert numbers(assessed(now)) == (1, 1, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_contacts_that_come_at_once_are_matched_one_after_the_other(now: dt.datetime) -> None:
    """Each on its own would be the only one with the address."""
    person("9", "all@clinic.example.com")
    # There already: making it would put them in a row as well.
    Location.objects.create(location_id=LOCATION_ID)
    barrier = threading.Barrier(6)

    def one(number: int) -> tuple[int, str]:
        try:
            document = event("ContactCreate", f"c{number}", now, email="all@clinic.example.com")
            barrier.wait()
            return deliver({**document, "webhookId": f"at-once-{number}"})
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=6) as pool:
        assert set(pool.map(one, range(6))) == {(200, "stored")}
    assert {state(f"c{number}") for number in range(6)} == {("ambiguous", "")}
    assert numbers(assessed(now)) == (6, 0, 0, 6)


def test_older_news_does_not_overwrite_newer(now: dt.datetime) -> None:
    told(event("ContactUpdate", "c", now, **fields("new")))
    told(event("ContactUpdate", "c", now - MINUTE, **fields("old")))
    assert state("c") == ("mapped", "new")
    told(event("ContactUpdate", "c", now, dateUpdated=(now - MINUTE).isoformat(), **fields("old")))
    assert state("c") == ("mapped", "new")


def test_a_deletion_is_not_undone_by_a_late_update(now: dt.datetime) -> None:
    told(event("ContactDelete", "c", now))
    told(event("ContactCreate", "c", now - MINUTE, **fields("77")))
    assert state("c") == ("gone", "")
    without_clock = {"contact_id": "c", "location": {"id": LOCATION_ID}}
    assert deliver(without_clock, None, **{"x-api-key": SECRET}) == (200, "stored")
    assert state("c") == ("gone", "")
    told(event("ContactUpdate", "c", now + MINUTE, **fields("77")))
    assert state("c") == ("mapped", "77")
    told(event("ContactDelete", "c", now))
    assert state("c") == ("mapped", "77"), "a late deletion of what was restored"


def test_a_partial_update_keeps_what_it_does_not_mention(now: dt.datetime) -> None:
    person("9", "one@clinic.example.com")
    told(event("ContactCreate", "a", now, **fields("77")))
    told(event("ContactCreate", "b", now, email="one@clinic.example.com"))
    for name in ("a", "b"):
        told(event("ContactTagUpdate", name, now + MINUTE, tags=["vip"]))
    assert (state("a"), state("b")) == (("mapped", "77"), ("mapped", "9"))
    told(event("ContactUpdate", "a", now + 2 * MINUTE, customFields=[]))
    assert state("a") == ("unmatched", "")
    told(event("ContactUpdate", "b", now + 2 * MINUTE, email=None))
    assert state("b") == ("unmatched", "")


def test_custom_fields_are_found_in_each_form(now: dt.datetime) -> None:
    forms: list[Any] = [
        {PERSON_FIELD: "77"},
        [{"id": "other", "value": "x"}, {"id": PERSON_FIELD, "value": 77}],
        [None, 5, {"id": PERSON_FIELD, "fieldValue": "77"}],
        [{"id": PERSON_FIELD, "field_value": " 77 "}],
    ]
    for number, form in enumerate(forms):
        told(event("ContactUpdate", f"c{number}", now, customFields=form))
        assert contact(f"c{number}").external_id == "77"


def test_an_uninstallation_is_known_until_the_app_is_back(now: dt.datetime) -> None:
    told(event("UNINSTALL", at=now))
    assert assessed(now).state == "uninstalled"
    told(event("ContactUpdate", "c", now - MINUTE))
    told(event("INSTALL", at=now - MINUTE))
    assert assessed(now).state == "uninstalled", "both were sent before it"
    workflow = {"contact_id": "c", "location": {"id": LOCATION_ID}}
    assert deliver(workflow, None, **{"x-api-key": SECRET}) == (200, "stored")
    assert assessed(now).state == "uninstalled", "a workflow needs no app"
    told(event("INSTALL", at=now + MINUTE))
    assert assessed(now).state == "never_synced"
    told(event("UNINSTALL", at=now))
    assert assessed(now).state == "never_synced", "a late one"
    told(event("UNINSTALL", at=now + 2 * MINUTE))
    assert assessed(now).state == "uninstalled"
    told(event("ContactTagUpdate", "c", now + 3 * MINUTE))
    assert assessed(now).state == "never_synced"


def test_while_nothing_can_be_stored_they_are_told_to_come_again(now: dt.datetime) -> None:
    document = event("ContactCreate", "c", now)
    with refusing("gohighlevel_contactmapping"):
        assert deliver(document) == (429, "busy")
    assert not WebhookDelivery.objects.exists()
    assert not ContactMapping.objects.exists()
    assert deliver(document) == (200, "stored")


def test_the_test_delivery_gets_in_and_has_no_effect(now: dt.datetime) -> None:
    prepared = GoHighLevel.webhook.test_message(now)
    assert prepared is not None
    body, headers = prepared
    headers[TEST_HEADER] = TEST_SIGNER.sign("gohighlevel")
    assert deliver(body, None, **headers) == (200, "stored")
    assert WebhookDelivery.objects.get().is_test
    assert not ContactMapping.objects.exists()


def test_nothing_personal_stays_in_any_table_or_log(
    now: dt.datetime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    marks = {
        "firstName": "Marker",
        "email": "marker@patients.example.com",
        "ssn": "marker",
        "dateOfBirth": "1970 marker",
        "customFields": [{"id": "other", "value": "marker"}],
    }
    told(event("ContactCreate", "c", now, **marks))
    assert deliver({**event("ContactCreate", at=now), **marks}) == (200, "unreadable")
    assert deliver(event("Marker note: secret", "c", now, **marks)) == (200, "ignored")
    assert deliver(event("ContactCreate", "c", now, **marks), Signer())[0] == 401
    kept = everything_stored() + caplog.text
    assert not PERSONAL.search(kept)
    assert "patients.example.com" not in kept


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = ("type", "locationId", "location", "id", "contact_id", "timestamp", "webhookId", "data")
KEYS += ("email", "customFields", "dateUpdated")  # type: ignore[assignment]
KINDS = st.sampled_from(["ContactCreate", "ContactUpdate", "ContactDelete", "INSTALL", "UNINSTALL"])
LIKELY = JSON | KINDS | st.just(LOCATION_ID) | st.just([{"id": PERSON_FIELD, "value": "7"}])
DOCUMENTS = JSON | st.dictionaries(st.sampled_from(KEYS), LIKELY, max_size=8).map(
    lambda found: {"locationId": LOCATION_ID, **found}
)


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(document=DOCUMENTS, signed=st.booleans())
def test_any_json_has_an_answer_and_leaves_a_whole_row_or_none(document: Any, signed: bool) -> None:
    with transaction.atomic():
        if signed:
            status, word = deliver(document)
        else:
            status, word = deliver(json.dumps(document).encode(), None, **{"x-api-key": SECRET})
        assert (status, word) in {
            (200, "stored"),
            (200, "ignored"),
            (200, "unreadable"),
            (401, "refused"),
        }
        errors = set(WebhookDelivery.objects.values_list("error", flat=True))
        assert not any(error.startswith("not processed") for error in errors)
        counted = ContactMapping.objects.exclude(state__in=[Mapping.GONE, Mapping.NEW]).count()
        assert ContactMapping.objects.exclude(state=Mapping.GONE).count() == counted
        assert numbers(assessed(dt.datetime.now(dt.UTC)))[0] == counted
        transaction.set_rollback(True)
