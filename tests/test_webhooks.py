"""receive(): what a sender is answered, what is kept of it, and that it takes effect once."""

import dataclasses
import datetime as dt
import hmac
import io
import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.db import DataError, InternalError, OperationalError, ProgrammingError, connection
from django.http import JsonResponse
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from integrations import inbox, webhooks
from integrations.deliveries import Traffic, traffic
from integrations.models import Outcome, Person, WebhookDelivery, WebhookRefusal
from integrations.signatures import Message, Reason, Refused, Scheme, hex_hmac, static_header
from integrations.webhooks import SIZE_CAP, TEST_HEADER, TEST_SIGNER, Event, Unreadable, Webhook
from tests.support import refusing

NOW = dt.datetime(2026, 11, 22, 17, 15, 2, tzinfo=dt.UTC)
SECRET = "a secret of ours"
MINUTE = dt.timedelta(minutes=1)


class Bell(Webhook):
    """A vendor whose deliveries ring: the effect is a row, so that a rollback is seen."""

    slug = "bell"
    secrets: ClassVar[list[str]] = [SECRET]
    before_effect: ClassVar[Callable[[], None]] = staticmethod(lambda: None)

    def schemes(self) -> Mapping[str, Scheme]:
        if not self.secrets:
            return {}
        return {
            "x-api-key": static_header("x-api-key", self.secrets),
            "hmac": hex_hmac("sig", "at", self.secrets),
        }

    def read(self, document: Any, message: Message, scheme: str) -> Event:
        if not isinstance(document, dict) or "tone" not in document:
            raise Unreadable("no tone")
        if document.get("old"):
            raise Refused(Reason.STALE)
        at = document.get("at")
        return Event(
            kind=str(document.get("kind", "ring")),
            id=str(document.get("id", "")),
            at=dt.datetime.fromisoformat(at) if at else None,
            projection={"tone": document["tone"]},
            wanted=document.get("kind") != "unwanted",
        )

    def apply(self, event: Event, now: dt.datetime) -> None:
        Person.objects.create(source="bell", person_id=event.projection["tone"], known_at=now)
        Bell.before_effect()


class Horn(Bell):
    """A vendor that sends again after a 429 and after nothing else."""

    busy_status = 429


def request(body: bytes, headers: Mapping[str, str] | None = None) -> WSGIRequest:
    given = {"x-api-key": SECRET, **(headers or {})}
    return RequestFactory().post("/webhooks/bell/", body, content_type="text/plain", headers=given)


def deliver(
    document: Any = None,
    *,
    body: bytes | None = None,
    now: dt.datetime = NOW,
    vendor: type[Webhook] = Bell,
    headers: Mapping[str, str] | None = None,
) -> JsonResponse:
    body = json.dumps(document).encode() if body is None else body
    return webhooks.receive(request(body, headers), vendor(), now)


def word(response: JsonResponse) -> tuple[int, str]:
    return response.status_code, json.loads(response.content)["status"]


def effects() -> list[str]:
    return list(Person.objects.order_by("pk").values_list("person_id", flat=True))


def only_row() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


@pytest.mark.django_db
def test_a_genuine_delivery_takes_effect_and_leaves_a_row() -> None:
    body = b'{"tone": "A", "at": "2026-11-22T17:00:00+00:00", "name": "Marker"}'
    assert word(deliver(body=body)) == (200, "stored")
    assert effects() == ["A"]
    row = only_row()
    assert (row.integration, row.scheme, row.outcome) == ("bell", "x-api-key", Outcome.STORED)
    assert (row.received_at, row.event_at) == (NOW, NOW.replace(minute=0, second=0))
    assert (row.size, row.repeats, row.new_shape, row.is_test) == (len(body), 0, False, False)
    assert len(row.fingerprint) == 16


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"tone": "A", "id": 7}, {"tone": "A", "id": 7}),
        ({"tone": "A", "id": 7}, {"tone": "B", "id": 7}),  # the event's id decides
        ({"tone": "A"}, {"name": "somebody else", "tone": "A"}),  # else what is used of it
        ({"tone": "A", "at": "2026-11-22T17:00:00+00:00"},) * 2,
    ],
)
def test_the_same_event_takes_effect_once(first: Any, again: Any) -> None:
    deliver(first)
    assert word(deliver(again, now=NOW + MINUTE)) == (200, "duplicate")
    assert effects() == ["A"]
    row = only_row()
    assert (row.repeats, row.received_at, row.last_received_at) == (1, NOW, NOW + MINUTE)


@pytest.mark.django_db
def test_the_id_in_the_header_tells_events_apart_before_the_one_in_the_body() -> None:
    deliver({"tone": "A", "id": 7}, headers={"webhook-id": "one"})
    assert word(deliver({"tone": "B", "id": 7}, headers={"webhook-id": "two"})) == (200, "stored")
    assert word(deliver({"tone": "C", "id": 8}, headers={"webhook-id": "one"})) == (
        200,
        "duplicate",
    )
    assert effects() == ["A", "B"]


@pytest.mark.django_db
def test_a_recorded_delivery_is_not_new_because_of_a_header_that_nobody_signed() -> None:
    def signed(document: Any, given: str) -> JsonResponse:
        body = json.dumps(document).encode()
        digest = f"sha256={hmac.digest(SECRET.encode(), body, 'sha256').hex()}"
        return deliver(document, headers={"x-api-key": "", "sig": digest, "webhook-id": given})

    assert word(signed({"tone": "A", "id": 7}, "one")) == (200, "stored")
    assert word(signed({"tone": "A", "id": 7}, "two")) == (200, "duplicate")
    # Where the body has none, the header is better than nothing.
    assert word(signed({"tone": "B"}, "three")) == (200, "stored")
    assert word(signed({"tone": "B"}, "three")) == (200, "duplicate")


@pytest.mark.django_db
def test_a_state_without_a_clock_that_comes_back_later_is_news() -> None:
    for minutes in (0, 20, 40):
        for tone in ("A", "B"):
            assert word(deliver({"tone": tone}, now=NOW + minutes * MINUTE)) == (200, "stored")
            Person.objects.all().delete()
    assert word(deliver({"tone": "A"}, now=NOW + 41 * MINUTE)) == (200, "duplicate")


@pytest.mark.django_db
def test_a_sender_that_fails_in_the_same_way_again_and_again_is_counted() -> None:
    deliver({"tone": "A"})
    for minutes in (1, 2, 3, 3):
        deliver(body=b"<html>", now=NOW + minutes * MINUTE)
    found = traffic("bell", NOW + 4 * MINUTE)
    assert (found.unreadable, found.parse_failing) == (3, True)


@pytest.mark.django_db
def test_what_is_not_wanted_is_acknowledged_and_has_no_effect() -> None:
    assert word(deliver({"tone": "A", "kind": "unwanted"})) == (200, "ignored")
    assert effects() == []
    assert only_row().outcome == Outcome.IGNORED


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b"9" * 5000, b"\xff", b"null", b"[]", b'{"other": 1}']
)
def test_what_cannot_be_read_leaves_a_row_without_content(body: bytes) -> None:
    assert word(deliver(body=body)) == (200, "unreadable")
    row = only_row()
    assert row.outcome == Outcome.UNREADABLE
    assert row.error in {"not JSON", "no tone"}
    assert effects() == []
    assert word(deliver(body=body)) == (200, "duplicate")


@pytest.mark.django_db
def test_a_forged_delivery_leaves_nothing_but_a_count(caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        response = deliver({"tone": "Marker"}, headers={"x-api-key": "guess"})
        assert word(response) == (401, "refused"), number
    deliver({"tone": "Marker", "old": True})
    counts = dict(WebhookRefusal.objects.values_list("reason", "count"))
    assert counts == {"wrong": 3, "stale": 1}
    assert not WebhookDelivery.objects.exists()
    assert effects() == []
    assert "Marker" not in caplog.text


@pytest.mark.django_db
def test_without_a_secret_everything_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bell, "secrets", [])
    assert word(deliver({"tone": "A"}, headers={"x-api-key": ""})) == (401, "refused")
    assert WebhookRefusal.objects.get().reason == Reason.CLOSED


@pytest.mark.django_db
def test_a_body_that_is_too_large_is_refused_before_anything_else() -> None:
    fits = b'{"tone": "A"' + b" " * (SIZE_CAP - 13) + b"}"
    assert len(fits) == SIZE_CAP
    assert word(deliver(body=fits)) == (200, "stored")
    assert word(deliver(body=fits + b" ")) == (413, "too large")
    assert WebhookDelivery.objects.count() == 1


def chunked(body: bytes) -> WSGIRequest:
    """A body without a length, as gunicorn hands it over."""
    found = request(b"")
    found.META.pop("CONTENT_LENGTH", None)
    found.META["wsgi.input"], found.META["wsgi.input_terminated"] = io.BytesIO(body), True
    return found


@pytest.mark.django_db
def test_a_chunked_body_is_read_whole_and_capped_as_well() -> None:
    assert word(webhooks.receive(chunked(b'{"tone": "A"}'), Bell(), NOW)) == (200, "stored")
    assert effects() == ["A"]
    endless = b" " * (SIZE_CAP + 1)
    assert word(webhooks.receive(chunked(endless), Bell(), NOW)) == (413, "too large")


class Broken(io.BytesIO):
    """What gunicorn raises for a malformed chunk is an error of its own."""

    def read(self, size: int | None = -1) -> bytes:
        raise RuntimeError("Invalid chunk size: Marker")


@pytest.mark.django_db
def test_a_body_that_is_cut_off_or_malformed_is_no_delivery() -> None:
    cut = request(b'{"tone": "A"}')
    cut.META["CONTENT_LENGTH"] = "5000"
    malformed = chunked(b"")
    malformed.META["wsgi.input"] = Broken()
    for body in (cut, malformed):
        assert word(webhooks.receive(body, Bell(), NOW)) == (400, "incomplete")
    assert not WebhookDelivery.objects.exists()
    assert not WebhookRefusal.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("error", [InternalError, ProgrammingError])
def test_a_standby_or_a_missing_table_is_no_reason_to_lose_a_delivery(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(inbox, "insert", fail(error("read-only")))
    assert word(deliver({"tone": "A"}, vendor=Horn)) == (429, "busy")


@pytest.mark.django_db
@pytest.mark.parametrize(("vendor", "status"), [(Bell, 503), (Horn, 429)])
def test_a_sender_is_asked_to_repeat_what_cannot_be_stored(
    vendor: type[Webhook], status: int
) -> None:
    with refusing("INSERT INTO integrations_webhookdelivery"):
        response = deliver({"tone": "A"}, vendor=vendor)
    assert word(response) == (status, "busy")
    assert response["Retry-After"] == "60"
    assert effects() == []
    assert word(deliver({"tone": "A"}, vendor=vendor)) == (200, "stored")


@pytest.mark.django_db
def test_a_refusal_is_a_refusal_even_if_it_cannot_be_counted() -> None:
    with refusing("INSERT INTO integrations_webhookrefusal"):
        assert word(deliver({}, headers={"x-api-key": "guess"})) == (401, "refused")


def fail(error: Exception) -> Callable[..., None]:
    def effect(*given: object) -> None:
        raise error

    return effect


@pytest.mark.django_db
def test_a_fault_of_ours_undoes_its_effect_and_tells_nobody_the_values(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (KeyError("Marker"), DataError("value too long: Marker")):
        monkeypatch.setattr(Bell, "before_effect", fail(error))
        assert word(deliver({"tone": "A", "id": repr(error)})) == (200, "unreadable")
    assert effects() == []
    assert {row.error for row in WebhookDelivery.objects.all()} == {
        "not processed: KeyError",
        "not processed: DataError",
    }
    assert "Marker" not in caplog.text
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


@pytest.mark.django_db
def test_what_the_database_does_not_take_is_unreadable_as_well() -> None:
    # PostgreSQL takes no NUL and no more letters than fit; SQLite takes anything.
    assert word(deliver({"tone": "A", "kind": "\x00" + "long" * 50})) in {
        (200, "unreadable"),
        (200, "stored"),
    }
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.django_db
def test_an_effect_that_the_database_interrupts_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Bell, "before_effect", fail(OperationalError("deadlock detected")))
    assert word(deliver({"tone": "A"})) == (503, "busy")
    assert not WebhookDelivery.objects.exists()
    monkeypatch.undo()
    assert word(deliver({"tone": "A"})) == (200, "stored")
    assert effects() == ["A"]


@pytest.mark.django_db(transaction=True)
def test_the_same_event_at_the_same_moment_takes_effect_once() -> None:
    together = threading.Barrier(8)
    answers: list[tuple[int, str]] = []

    def send() -> None:
        together.wait()
        try:
            answers.append(word(deliver({"tone": "A"})))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(200, "duplicate")] * 7 + [(200, "stored")]
    assert effects() == ["A"]
    assert only_row().repeats == 7


@pytest.mark.django_db
def test_a_new_set_of_keys_is_noticed_once_for_each_kind() -> None:
    deliver({"tone": "A", "id": 1})
    deliver({"id": 2, "tone": "B"})
    deliver({"tone": "C", "id": 3, "colour": "red"})
    deliver({"tone": "D", "id": 4, "colour": "blue"})
    deliver({"tone": "E", "id": 5, "kind": "other"})
    shapes = WebhookDelivery.objects.order_by("pk").values_list("new_shape", flat=True)
    assert list(shapes) == [False, False, True, False, False]


@pytest.mark.django_db
def test_a_test_delivery_is_no_example_of_what_a_vendor_sends() -> None:
    mark = {TEST_HEADER: TEST_SIGNER.sign("bell")}
    deliver({"tone": "A", "made up": True}, headers=mark)
    deliver({"tone": "B"})
    deliver({"tone": "C", "made up": False}, headers=mark)
    assert not WebhookDelivery.objects.filter(new_shape=True).exists()


@pytest.mark.django_db
def test_a_test_delivery_that_is_refused_is_not_counted() -> None:
    headers = {TEST_HEADER: TEST_SIGNER.sign("bell"), "x-api-key": "another server's"}
    assert word(deliver({"tone": "A"}, headers=headers)) == (401, "refused")
    assert not WebhookRefusal.objects.exists()


@pytest.mark.django_db
def test_a_test_delivery_goes_all_the_way_and_has_no_effect() -> None:
    assert word(deliver({"tone": "A"}, headers={TEST_HEADER: TEST_SIGNER.sign("bell")})) == (
        200,
        "stored",
    )
    assert only_row().is_test
    assert effects() == []
    assert traffic("bell", NOW).accepted == 0


@pytest.mark.django_db
@pytest.mark.parametrize("mark", ["", "bell", "bell:guess", "the horn's"])
def test_nobody_else_can_call_a_delivery_a_test(mark: str) -> None:
    mark = TEST_SIGNER.sign("horn") if mark == "the horn's" else mark
    deliver({"tone": "A"}, headers={TEST_HEADER: mark})
    assert not only_row().is_test
    assert effects() == ["A"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@pytest.mark.django_db
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.binary(max_size=200) | JSON.map(lambda found: json.dumps(found).encode()))
def test_whatever_is_delivered_gets_an_answer(body: bytes) -> None:
    assert deliver(body=body).status_code == 200


# --- What a card counts ------------------------------------------------------------------------


def counted(now: dt.datetime = NOW) -> dict[str, Any]:
    return dataclasses.asdict(traffic("bell", now))


@pytest.mark.django_db
def test_nothing_yet() -> None:
    assert counted() == dataclasses.asdict(
        Traffic(
            last_at=None,
            good_at=None,
            accepted=0,
            today=0,
            unreadable=0,
            refused=0,
            unreadable_since_good=0,
            refused_since_last=0,
            new_shape_at=None,
        )
    )


@pytest.mark.django_db
def test_a_card_counts_each_delivery_once(settings: Any) -> None:
    settings.TIME_ZONE = "America/Vancouver"  # 9:15 am there
    ago = {"day": NOW - dt.timedelta(hours=25), "night": NOW - dt.timedelta(hours=10)}
    deliver({"tone": "A"}, now=ago["day"])
    deliver({"tone": "B"}, now=ago["night"])
    deliver({"tone": "C"}, now=NOW - 5 * MINUTE)
    deliver({"tone": "C"}, now=NOW - 4 * MINUTE)
    deliver({"tone": "D", "kind": "unwanted"}, now=NOW - 4 * MINUTE)
    deliver(body=b"?", now=NOW - 2 * MINUTE)
    for _ in range(3):
        deliver({}, now=NOW - MINUTE, headers={"x-api-key": "guess"})
    deliver({"tone": "E"}, vendor=Horn, now=NOW)
    found = traffic("bell", NOW)
    assert (found.accepted, found.today) == (3 + 1, 2 + 1)  # the horn has the bell's name
    assert (found.unreadable, found.refused) == (1, 3)
    assert found.good_at == NOW
    assert found.last_at == NOW


@pytest.mark.django_db
def test_one_stranger_at_the_door_is_no_trouble_but_a_sender_without_a_key_is() -> None:
    deliver({}, headers={"x-api-key": "guess"})
    assert traffic("bell", NOW).auth_failing  # nobody has ever got in: the key is not right yet
    deliver({"tone": "A"}, now=NOW + MINUTE)
    for count in range(1, 4):
        deliver({}, now=NOW + 2 * MINUTE, headers={"x-api-key": "guess"})
        assert traffic("bell", NOW + 3 * MINUTE).auth_failing is (count == 3)
    deliver(body=b"?", now=NOW + 3 * MINUTE)  # makes no sense, but has the key
    assert not traffic("bell", NOW + 3 * MINUTE).auth_failing


@pytest.mark.django_db
def test_what_is_refused_a_second_after_a_delivery_is_counted_as_well() -> None:
    deliver({"tone": "A"}, now=NOW)
    for seconds in (1, 2, 3):
        late = NOW + dt.timedelta(seconds=seconds)
        deliver({}, now=late, headers={"x-api-key": "guess"})
    assert traffic("bell", NOW + MINUTE).auth_failing
    deliver({"tone": "B"}, now=NOW + dt.timedelta(seconds=30))
    assert not traffic("bell", NOW + MINUTE).auth_failing


@pytest.mark.django_db
def test_today_begins_at_midnight_also_when_it_has_25_hours(settings: Settings) -> None:
    settings.TIME_ZONE = "America/Vancouver"  # the clocks go back on November 1, 2026
    deliver({"tone": "A"}, now=dt.datetime(2026, 11, 1, 7, 10, tzinfo=dt.UTC))
    late = dt.datetime(2026, 11, 2, 7, 50, tzinfo=dt.UTC)
    assert (traffic("bell", late).today, traffic("bell", late).accepted) == (1, 0)


@pytest.mark.django_db
def test_one_unreadable_delivery_is_no_trouble_but_several_in_a_row_are() -> None:
    deliver(body=b"0")
    assert traffic("bell", NOW).parse_failing
    deliver({"tone": "A"}, now=NOW + MINUTE)
    for count in range(1, 4):
        deliver(body=b"%d" % count, now=NOW + 2 * MINUTE)
        assert traffic("bell", NOW + 3 * MINUTE).parse_failing is (count == 3)


# --- The address -------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ["nobody", "quickbooks"])
def test_who_takes_no_deliveries_has_no_address(client: Client, slug: str) -> None:
    response = client.post(f"/webhooks/{slug}/", b"{}", content_type="application/json")
    assert (response.status_code, response.json()) == (404, {"status": "unknown"})
