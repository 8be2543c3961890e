"""Which contact and which person belong together: the statement in SQL against plain rules."""

import datetime as dt

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from integrations.gohighlevel import mapping, storage
from integrations.gohighlevel.contact import Contact
from integrations.gohighlevel.mapping import match_all
from integrations.gohighlevel.models import ContactMapping, Location, Mapping
from integrations.gohighlevel.simulator.world import LOCATION_ID
from integrations.models import Person
from tests.gohighlevel import Known, configure, contact, rule

pytestmark = pytest.mark.django_db

AT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
HASHES, IDS = st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["", "1", "2", "3"])
CONTACTS = st.lists(
    st.builds(lambda i, h: Known(external_id=i, email_hash=h), IDS, HASHES), max_size=7
)
PERSONS = st.lists(
    st.tuples(st.sampled_from(["jane", "other"]), st.sampled_from("123"), HASHES),
    max_size=5,
    unique_by=lambda one: one[:2],
)


@pytest.fixture(autouse=True)
def set_up(settings: Settings, db: None) -> None:
    configure(settings)
    Location.objects.get_or_create(location_id=LOCATION_ID)


def put(name: str, known: Known, state: str = "", location_id: str = LOCATION_ID) -> None:
    ContactMapping.objects.create(
        location_id=location_id,
        contact_id=name,
        external_id=known.external_id,
        email_hash=known.email_hash,
        state=state,
        first_seen_at=AT,
    )


def put_person(person_id: str, email_hash: str = "", source: str = "jane") -> None:
    Person.objects.create(source=source, person_id=person_id, email_hash=email_hash, known_at=AT)


def verdicts() -> dict[str, tuple[str, str, str]]:
    rows = ContactMapping.objects.filter(location_id=LOCATION_ID).exclude(state=Mapping.GONE)
    return {row.contact_id: (row.state, row.rule, row.person_id) for row in rows}


def match() -> None:
    with storage.locked(LOCATION_ID):
        counts = match_all(LOCATION_ID)
    assert counts.contacts == len(verdicts())
    assert written_down() == (counts.mapped, counts.unmatched, counts.ambiguous)


def written_down() -> tuple[int, int, int]:
    """The numbers of the card."""
    stored = Location.objects.get(location_id=LOCATION_ID)
    return stored.mapped, stored.unmatched, stored.ambiguous


def counted_anew() -> tuple[int, int, int]:
    states = [state for state, _, _ in verdicts().values()]
    return states.count("mapped"), states.count("unmatched"), states.count("ambiguous")


@hypothesis_settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    contacts=CONTACTS,
    persons=PERSONS,
    changes=st.lists(st.tuples(st.integers(0, 7), IDS, HASHES, st.booleans()), max_size=4),
)
def test_all_at_once_and_group_by_group_give_what_the_rule_says(
    contacts: list[Known],
    persons: list[tuple[str, str, str]],
    changes: list[tuple[int, str, str, bool]],
) -> None:
    with transaction.atomic():
        known = {f"c{number}": one for number, one in enumerate(contacts)}
        for name, one in known.items():
            put(name, one)
        put("gone", Known(external_id="1", email_hash="a"), state=Mapping.GONE)
        put("c0", Known(external_id="1", email_hash="a"), location_id="elsewhere")
        for source, person_id, email_hash in persons:
            put_person(person_id, email_hash, source)
        people = [one[1:] for one in persons]
        match()
        assert verdicts() == rule(known, people)
        for number, external_id, email_hash, deleted in changes:
            name = f"c{number}"
            with storage.locked(LOCATION_ID):
                if deleted:
                    storage.forget(LOCATION_ID, name, None, AT)
                    known.pop(name, None)
                else:
                    told = Contact(
                        id=name, external_id=external_id, email_hash=email_hash, updated_at=None
                    )
                    before = ContactMapping.objects.filter(contact_id=name, state=Mapping.GONE)
                    buried = before.filter(location_id=LOCATION_ID).exists()
                    storage.hear(LOCATION_ID, told, None, AT)
                    if not buried:  # without a clock nothing comes back
                        known[name] = Known(external_id=external_id, email_hash=email_hash)
            assert verdicts() == rule(known, people)
            assert written_down() == counted_anew()
        elsewhere = ContactMapping.objects.get(location_id="elsewhere")
        assert elsewhere.state == Mapping.NEW
        transaction.set_rollback(True)


def hear(name: str, external_id: str) -> None:
    told = Contact(id=name, external_id=external_id, email_hash="", updated_at=None)
    with storage.locked(LOCATION_ID):
        storage.hear(LOCATION_ID, told, None, AT)


def test_a_webhook_counts_what_it_touches_and_not_the_location(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(5):
        put(f"c{number}", Known(external_id=str(number)))
    match()

    def count(location_id: str) -> None:
        raise AssertionError("the whole location was counted")

    monkeypatch.setattr(mapping, "count", count)
    hear("new", "")
    assert written_down() == (5, 1, 0)
    hear("new", "3")
    assert written_down() == counted_anew() == (4, 0, 2)
    with storage.locked(LOCATION_ID):
        storage.forget(LOCATION_ID, "c3", None, AT)
    assert written_down() == counted_anew() == (5, 0, 0)
    with storage.locked(LOCATION_ID):
        storage.forget(LOCATION_ID, "c3", None, AT)
        storage.forget(LOCATION_ID, "nobody", None, AT)
    assert written_down() == counted_anew() == (5, 0, 0)


def test_contacts_of_a_run_that_has_not_ended_count_once_a_webhook_has_told_of_them() -> None:
    put("c", Known(external_id="5"))
    assert written_down() == (0, 0, 0)
    hear("d", "5")
    assert written_down() == counted_anew() == (0, 0, 2)


def test_numbers_that_were_wrong_are_counted_anew_before_they_fall_below_nothing() -> None:
    put("c", Known(external_id="5"), state=Mapping.MAPPED)
    put("d", Known(external_id="6"), state=Mapping.MAPPED)
    with storage.locked(LOCATION_ID):
        storage.forget(LOCATION_ID, "c", None, AT)
    assert written_down() == counted_anew() == (1, 0, 0)


def test_an_id_is_enough_even_before_jane_has_told_of_the_person() -> None:
    put("c", Known(external_id="77", email_hash="a"))
    match()
    assert verdicts() == {"c": ("mapped", "external_id", "77")}


def test_two_contacts_with_one_id_or_one_address_are_both_ambiguous() -> None:
    for name in ("one", "two"):
        put(name, Known(external_id="77"))
        put(f"{name} by e-mail", Known(email_hash="a"))
    put_person("5", "a")
    match()
    assert {state for state, _, _ in verdicts().values()} == {"ambiguous"}


def test_a_person_that_a_contact_names_is_nobody_elses_by_email() -> None:
    put("by id", Known(external_id="5"))
    put("by e-mail", Known(email_hash="a"))
    put_person("5", "a")
    match()
    assert verdicts() == {
        "by id": ("mapped", "external_id", "5"),
        "by e-mail": ("ambiguous", "email", ""),
    }


def test_who_begins_or_ceases_to_carry_an_id_touches_whoever_had_that_person_by_email() -> None:
    put("by e-mail", Known(email_hash="a"))
    put_person("5", "a")
    match()
    assert contact("by e-mail").person_id == "5"
    for external_id, state in (("5", "ambiguous"), ("6", "mapped")):
        told = Contact(id="new", external_id=external_id, email_hash="", updated_at=None)
        with storage.locked(LOCATION_ID):
            storage.hear(LOCATION_ID, told, None, AT)
        assert contact("by e-mail").state == state


def test_two_persons_with_one_address_are_never_guessed_between() -> None:
    put("c", Known(email_hash="a"))
    put_person("5", "a")
    put_person("6", "a")
    match()
    assert contact("c").state == "ambiguous"


def test_without_a_key_the_rule_of_addresses_is_off(settings: Settings) -> None:
    put("c", Known(email_hash="a"))
    put_person("5", "a")
    settings.MATCHING_KEY = ""
    match()
    assert contact("c").state == "unmatched"
    settings.MATCHING_KEY = "back again"
    match()
    assert contact("c").person_id == "5"
