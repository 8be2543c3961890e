"""Whatever comes in: no error, nothing half written, nothing personal kept, newest wins."""

import copy
import datetime as dt
import json
import logging
import random
import threading
from typing import Any

import pytest
from django.db import connections
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from integrations.jane import records, sender
from integrations.jane.models import Membership, MembershipChange
from integrations.models import Outcome, Person, WebhookDelivery
from tests.jane import PERSON, SECRET, URL, deliver, everything_stored, held, memberships, post
from tests.jane import snapshot as small
from tests.support import PERSONAL, refusing

NOW = dt.datetime(2026, 11, 20, 18, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture(autouse=True)
def set_up(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = [SECRET]
    settings.MATCHING_KEY = "a key of its own"


def holding(number: int = 1) -> sender.Holding:
    return sender.Holding(
        id=number,
        plan="Physio Plus",
        status="active",
        starts_on=dt.date(2026, 11, 1),
        ends_on=dt.date(2026, 12, 31),
    )


def real(variant: str = "passes", person: int = PERSON) -> dict[str, Any]:
    """As full as the real thing."""
    return sender.snapshot(person, NOW, [holding(), holding(2)], variant)


# --- Anything at all ------------------------------------------------------------------------------

KEYS = ["id", "public_id", "patient", "data", "passes", "memberships", "membership", "email"]
KEYS += ["membership_plan", "membership_status", "membership_end", "last_updated_date_via_api"]
KEYS += ["event_topic", "event_id", "event_timestamp", "status", "name", "end_date", "start"]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(alphabet=st.characters(), max_size=12),
    st.sampled_from(["2026-11-20T10:00:00Z", "1/2/2026", "active", "82000020.0", "\0", "0"]),
    st.integers(min_value=1_700_000_000, max_value=1_800_000_000),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=12,
)
ANYTHING = VALUES | st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=10)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A real snapshot with a few of its values replaced, taken out or put elsewhere."""
    body = copy.deepcopy(real(draw(st.sampled_from(sender.VARIANTS))))
    for _ in range(draw(st.integers(min_value=1, max_value=4))):
        target: Any = body
        entries = body.get("passes") or body.get("memberships")
        if isinstance(entries, list) and entries and draw(st.booleans()):
            entry = entries[0]
            target = entry if isinstance(entry, dict) else body
        key = draw(st.sampled_from(sorted(set(target) & set(KEYS)) or KEYS))
        if draw(st.booleans()):
            target[key] = draw(VALUES)
        else:
            target[draw(st.sampled_from(KEYS))] = target.pop(key, None)
    return body


def written(document: Any) -> bytes:
    """As other languages write it: also with NaN, lone surrogates, and without escapes."""
    return json.dumps(document).encode()


@pytest.mark.django_db
@given(document=ANYTHING | mutated())
@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_json_comes_it_is_answered_and_nothing_is_half_written(document: Any) -> None:
    answer = post(written(document))
    assert answer.status_code == 200
    assert answer.json()["status"] in {"stored", "duplicate", "ignored", "unreadable"}
    # What could not be read is said to be so for a reason of ours, not for an error in the code.
    assert not WebhookDelivery.objects.filter(error__startswith="not processed").exists()
    for row in Membership.objects.all():
        assert row.key
        assert row.status
        assert row.changes.exists()
        assert Person.objects.filter(source="jane", person_id=row.person_id).exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"{", b'{"id": 1e999}', b"[" * 100_000, b'{"id": ' + b"9" * 5000 + b"}"],
)
def test_what_is_no_json_or_absurd_is_answered(body: bytes) -> None:
    assert post(body).json() == {"status": "unreadable"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "piece",
    [
        "INTO integrations_webhookdelivery",
        "INTO integrations_person",
        "FROM jane_membership WHERE person_id",
        "INTO jane_membership (",
        "INTO jane_membershipchange",
    ],
)
def test_when_the_database_refuses_a_statement_nothing_of_the_delivery_is_left(piece: str) -> None:
    post(small(NOW, passes=[held()]))
    before = everything_stored()
    newer = small(NOW + MINUTE, passes=[held(status="cancelled"), held(2)])
    with refusing(piece) as refused:
        answer = post(newer)
    assert refused
    assert (answer.status_code, answer["Retry-After"]) == (503, "60")
    assert everything_stored() == before
    assert post(newer).json() == {"status": "stored"}
    assert memberships() == {"82000020": "cancelled", "2": "active"}


# --- Nothing personal -----------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("matching", ["", "a key of its own"])
def test_nothing_personal_is_stored_or_logged(
    matching: str,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MATCHING_KEY = matching
    caplog.set_level(logging.DEBUG)
    for number, variant in enumerate(sender.VARIANTS):
        body = real(variant, PERSON + number)
        assert PERSONAL.search(json.dumps(body))
        assert post(body).json() == {"status": "stored"}
    nobody = {key: value for key, value in real().items() if not key.endswith(("id", "number"))}
    unreadable = [nobody, [real()], "Marker", f"Marker{json.dumps(real())}"]
    for document in unreadable:
        assert post(document).json() == {"status": "unreadable"}
    assert post(real(), **{"x-api-key": "Marker"}).status_code == 401
    assert post({**real(), "event_topic": "MARKER"}).json() == {"status": "ignored"}

    def break_down(*args: Any) -> None:
        raise ValueError(f"cannot take {real()}")

    with monkeypatch.context() as patch:
        patch.setattr(records, "_changes", break_down)
        assert post(real("passes", PERSON + 50)).json() == {"status": "unreadable"}
    assert Membership.objects.count() == 6
    found = PERSONAL.search(everything_stored())
    assert found is None
    assert not PERSONAL.search(caplog.text)
    assert "patients.example" not in everything_stored()
    hashes = set(Person.objects.values_list("email_hash", flat=True))
    assert (hashes == {""}) is (not matching)


@pytest.mark.django_db
def test_the_answer_repeats_nothing_of_what_was_sent() -> None:
    for document in (real(), {"nobody": "Marker"}, "Marker"):
        assert not PERSONAL.search(post(document).content.decode())


# --- Everything at once ---------------------------------------------------------------------------


def in_threads(*works: Any) -> None:
    """Each on a connection of its own, all beginning at the same moment."""
    together, errors = threading.Barrier(len(works)), []

    def run(work: Any) -> None:
        try:
            together.wait()
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.django_db(transaction=True)
def test_deliveries_about_one_person_at_once_end_in_the_newest_state() -> None:
    versions = [
        small(
            NOW + minute * MINUTE,
            passes=[held(status=f"version {minute}"), held(100 + minute)],
        )
        for minute in range(24)
    ]
    random.Random(7).shuffle(versions)

    def send(share: list[Any]) -> Any:
        return lambda: [deliver(document, NOW + 60 * MINUTE) for document in share]

    # Every version comes twice, by two different ways.
    in_threads(*(send(versions[number::4]) for number in range(4)), send(versions[::-1]))
    found = memberships()
    assert found.pop("82000020") == "version 23"
    assert found.pop("123") == "active"
    assert set(found.values()) <= {"removed"}
    assert WebhookDelivery.objects.filter(outcome=Outcome.STORED).count() == 24
    assert Person.objects.get().known_at == NOW + 23 * MINUTE


@pytest.mark.django_db(transaction=True)
def test_the_same_delivery_at_once_takes_effect_once() -> None:
    words: list[str] = []
    document = small(NOW, passes=[held()])
    in_threads(*[lambda: words.append(deliver(document, NOW))] * 6)
    assert sorted(words) == ["duplicate"] * 5 + ["stored"]
    assert WebhookDelivery.objects.get().repeats == 5
    assert MembershipChange.objects.count() == 1


# --- The stand-in for ClinicSync ------------------------------------------------------------------


@pytest.mark.django_db
def test_a_clinic_lives_the_same_way_for_the_same_seed() -> None:
    lives = []
    for _ in range(2):
        clinic = sender.Clinic(seed=3, people=8)
        clinic.snapshots(NOW)
        lives.append([clinic.next_snapshot(NOW + 6 * hour * 60 * MINUTE) for hour in range(400)])
    assert lives[0] == lives[1]
    for body in lives[0]:
        assert len(body) == sender.KEYS
        at = dt.datetime.fromisoformat(body["last_updated_date_via_api"])
        assert deliver(body, at) == "stored"
    kinds = set(MembershipChange.objects.values_list("kind", flat=True))
    assert kinds == {"appeared", "renewed", "ended", "removed"}


def test_invented_deliveries_are_not_for_production(settings: Settings) -> None:
    settings.DEMO = settings.TESTING = False
    with pytest.raises(RuntimeError):
        sender.Clinic()
    with pytest.raises(RuntimeError):
        sender.post("http://127.0.0.1:1/", SECRET, {})


@pytest.mark.django_db(transaction=True)
def test_the_stand_in_delivers_over_http(live_server: Any) -> None:
    body = sender.Clinic().next_snapshot(NOW)
    assert sender.post(live_server.url + URL, SECRET, body) == 200
    assert sender.post(live_server.url + URL, "wrong", body) == 401
    assert Membership.objects.count() == 1
