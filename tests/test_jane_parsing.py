"""What is read out of a snapshot, wherever its sender put it."""

import datetime as dt
import json
from typing import Any

import pytest
from pytest_django import Settings

from integrations.jane.activity import ACTIVE_WORDS, INACTIVE_WORDS, is_active, is_unknown
from integrations.jane.parsing import MOST, Snapshot, Term, read_snapshot
from integrations.jane.sender import KEYS, VARIANTS, Holding
from integrations.jane.sender import snapshot as sent
from integrations.jane.values import day, identifier, moment, text
from integrations.jane.webhook import project
from integrations.matching import email_hash
from integrations.webhooks import Unreadable

NOW = dt.datetime(2026, 11, 20, 18, tzinfo=dt.UTC)
TODAY = NOW.date()
GOLD = {"id": 7, "name": "Gold"}

NO_TEXTS: list[Any] = [None, "", " ", [], {}, True, float("nan"), "\0"]
NO_IDS: list[Any] = [*NO_TEXTS, 0, "0", 0.0, [1], {"id": 1}, "x" * 65, 10**70, float("inf")]
NO_TIMES: list[Any] = [*NO_TEXTS, "soon", 12, -1, 1e300, "0001-01-01T00:00:00+14:00"]
NO_TIMES += ["9999-12-31T23:59:59-14:00"]
NO_DAYS: list[Any] = [*NO_TIMES, "30/11/2026", "2026-02-30", "0000-00-00", "0001-01-01", 1e30]
NO_OBJECTS: list[Any] = [None, [], [{"id": 5}], "text", 5, True]
NOBODY: list[Any] = [{}, {"id": []}, {"patient": []}, {"data": 5}, {"data": {"id": 0}}]


def read(**fields: Any) -> Snapshot:
    return read_snapshot({"id": 5, **fields}, NOW)


def only(**fields: Any) -> Term:
    (term,) = read(**fields).terms
    return term


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (82000020, "82000020"),
        ("82000020", "82000020"),
        (82000020.0, "82000020"),
        ("82000020.0", "82000020"),
        (" 82000020 ", "82000020"),
        ("b1946ac9-2492", "b1946ac9-2492"),
        (1.5, "1.5"),
        (-3, "-3"),
        ("x" * 64, "x" * 64),
        *[(nothing, "") for nothing in NO_IDS],
    ],
)
def test_an_id_is_the_same_however_it_is_written(value: Any, expected: str) -> None:
    assert identifier(value) == expected


def test_a_text_has_nothing_in_it_that_a_database_refuses() -> None:
    assert text("Gold\0 \ud800plan\n", 40) == "Gold plan"
    assert text("é" * 50, 40) == "é" * 40
    assert text(12, 40) == "12"
    assert {text(value, 40) for value in NO_TEXTS} == {""}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-20T10:00:00Z", (10, 0)),
        ("2026-11-20T10:00:00+02:00", (8, 0)),
        ("2026-11-20 10:00:00", (10, 0)),  # without a zone: UTC
        ("2026-11-20T10:00:00.250", (10, 0)),
        ("2026-11-20 10:00:00 UTC", (10, 0)),
        ("2026-11-20 02:00:00 -0800", (10, 0)),
        (1795168800, (10, 0)),
        ("1795168800", (10, 0)),
        (1795168800000, (10, 0)),
        ("1795168800000", (10, 0)),
        (1795168800.5, (10, 0)),
        ("2026-11-20", (0, 0)),
        *[(junk, None) for junk in NO_TIMES],
        ("1999-12-31", None),  # older than the sender
        ("2026-11-22", None),  # a clock of the future would keep out all that follows
    ],
)
def test_a_clock_is_read_in_every_form(value: Any, expected: tuple[int, int] | None) -> None:
    found = moment(value, NOW)
    assert (found and (found.hour, found.minute)) == expected
    if found:
        assert found.date() == TODAY
        assert found.tzinfo is dt.UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-30", "2026-11-30"),
        ("11/30/2026", "2026-11-30"),
        ("1/2/2026", "2026-01-02"),
        ("11/30/2026 12:00 AM", "2026-11-30"),
        ("2026-12-01T07:30:00Z", "2026-11-30"),  # still the evening before in Vancouver
        ("2026-12-01T08:30:00Z", "2026-12-01"),
        ("2026-11-30T23:59:59", "2026-11-30"),
        ("2026-11-30 23:59:59 -0800", "2026-11-30"),
        (1796025600, "2026-11-30"),
        ("9999-12-31", "9999-12-31"),
        *[(junk, None) for junk in NO_DAYS],
    ],
)
def test_an_end_is_a_day_of_the_clinics_calendar(
    value: Any, expected: str | None, settings: Settings
) -> None:
    settings.TIME_ZONE = "America/Vancouver"
    found = day(value)
    assert (found and found.isoformat()) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"id": 5, "public_id": "p", "patient_number": 9}, "5"),
        ({"id": None, "public_id": "p", "patient_number": 9}, "p"),
        ({"id": [], "patient_number": 9}, "9"),
        ({"data": {"id": 5}}, "5"),
        ({"patient": {"id": 5}}, "5"),
        ({"data": {"patient": {"id": 5}}}, "5"),
        ({"id": "delivery", "patient": {"id": 5}}, "5"),
        ({"id": "delivery", "data": {"id": 5, "passes": []}}, "5"),
        ({"id": 5, "passes": [], "patient": {"id": 6}}, "5"),
    ],
)
def test_the_person_is_found_by_the_first_id(document: Any, expected: str) -> None:
    assert read_snapshot(document, NOW).person_id == expected


@pytest.mark.parametrize(
    ("document", "code"),
    [
        *[(document, "not an object") for document in NO_OBJECTS],
        *[(document, "no person") for document in NOBODY],
    ],
)
def test_what_names_nobody_is_unreadable(document: Any, code: str) -> None:
    with pytest.raises(Unreadable, match=f"^{code}$"):
        read_snapshot(document, NOW)


def test_the_clock_may_stand_outside_of_the_patient() -> None:
    wrapped = {"last_updated_date_via_api": "2026-11-20T10:00:00Z", "patient": {"id": 5}}
    assert read_snapshot(wrapped, NOW).at == NOW.replace(hour=10)


@pytest.mark.parametrize(
    "fields",
    [
        {"passes": [GOLD]},
        {"passes": [{"id": "7", "package_name": "Gold", "package_type": None}]},
        {"passes": [{"id": 7.0, "membership_name": "Gold", "package_type": "Membership"}]},
        {"passes": [{"id": 7, "plan_name": "Gold", "package_type": "recurring_membership"}]},
        {"passes": {"0": GOLD}},
        {"passes": [[], None, {}, GOLD]},
        {"passes": [], "memberships": [GOLD]},
        {"passes": None, "memberships": [GOLD]},
        {"memberships": GOLD},
        {"membership": {"id": 7, "plan": {"name": "Gold"}}},
        {"membership": [GOLD]},
        {"passes": [{"id": 1, "package_type": "package"}], "membership": GOLD},
    ],
)
def test_a_membership_is_found_in_every_place(fields: Any) -> None:
    found = read(**fields)
    assert [(term.key, term.vendor_id, term.plan) for term in found.terms] == [("7", "7", "Gold")]
    assert found.complete


def test_the_first_place_that_has_any_wins() -> None:
    fields = {"memberships": [{"id": 8, "name": "Silver"}], "membership_plan": "Bronze"}
    assert only(passes=[GOLD], **fields).plan == "Gold"
    assert only(passes=[], **fields).plan == "Silver"


@pytest.mark.parametrize("kind", ["package", "Package", "session_pack", "gift card", "bundle"])
def test_what_is_bought_once_is_no_membership(kind: str) -> None:
    found = read(passes=[{"id": 1, "name": "Ten sessions", "package_type": kind}])
    assert found.terms == ()
    assert found.complete  # all of it was understood


def test_fields_of_the_patient_are_one_membership_and_no_list() -> None:
    found = read(membership_plan="Gold", membership_status="Active", membership_end="2026-12-31")
    (term,) = found.terms
    assert (term.key, term.status, term.ends_on) == ("plan:gold", "active", dt.date(2026, 12, 31))
    assert (found.single, found.complete) == (True, False)
    # The patient has other dates that end something.
    assert only(membership_plan="Gold", end_date="2026-12-31").ends_on is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"membership_plan": "", "membership_status": None},
    ],
)
def test_where_nothing_is_told_nothing_is_known(fields: Any) -> None:
    found = read(**fields)
    assert (found.terms, found.complete, found.single) == ((), False, False)


@pytest.mark.parametrize("status", ["none", "Inactive", "Cancelled"])
def test_a_patient_who_is_said_to_have_none_has_no_longer_the_one_of_that_field(
    status: str,
) -> None:
    found = read(membership_plan=[], membership_status=status)
    assert (found.terms, found.complete, found.single) == ((), False, True)


def test_the_only_membership_of_a_list_is_the_one_of_the_patients_own_fields() -> None:
    own = {"membership_status": "Active", "membership_end_date": "2027-06-30"}
    bare = {"id": 82000020, "name": "Gold", "package_type": "membership"}
    term = only(passes=[bare, {"id": 1, "name": "Ten", "package_type": "package"}], **own)
    assert (term.status, term.ends_on) == ("active", dt.date(2027, 6, 30))
    told = only(passes=[{**bare, "status": "paused", "end_date": "2026-12-31"}], **own)
    assert (told.status, told.ends_on) == ("paused", dt.date(2026, 12, 31))
    two = read(passes=[bare, {**bare, "id": 82000021}], **own)
    assert {term.status for term in two.terms} == {"unknown"}


@pytest.mark.parametrize("fields", [{"passes": []}, {"memberships": []}, {"membership": []}])
def test_an_empty_list_says_that_there_is_none(fields: Any) -> None:
    assert (read(**fields).terms, read(**fields).complete) == ((), True)


@pytest.mark.parametrize("entry", ["82000020", 7, ["x"], {"colour": "red"}, {"name": []}])
def test_a_list_with_something_strange_in_it_does_not_say_what_is_gone(entry: Any) -> None:
    found = read(passes=[entry, GOLD])
    assert [term.plan for term in found.terms] == ["Gold"]
    assert not found.complete


def test_a_list_that_is_far_too_long_is_cut_and_does_not_say_what_is_gone() -> None:
    found = read(passes=[{"id": number} for number in range(1, MOST + 50)])
    assert (len(found.terms), found.complete) == (MOST, False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "Active"}, "active"),
        ({"state": "ACTIVE"}, "active"),
        ({"membership_status": "On Hold"}, "on hold"),
        ({"status": "", "state": "paused"}, "paused"),
        ({"status": "Somewhere_Between"}, "somewhere_between"),
        *[({"status": nothing}, "unknown") for nothing in NO_TEXTS],
        ({}, "unknown"),
    ],
)
def test_a_status_is_kept_as_it_is_but_for_its_case(fields: Any, expected: str) -> None:
    assert only(passes=[{**GOLD, **fields}]).status == expected


@pytest.mark.parametrize("name", ["end", "ends_at", "end_date", "membership_end_date", "expires"])
@pytest.mark.parametrize("suffix", ["", "_on"])
def test_the_end_is_found_under_its_names(name: str, suffix: str) -> None:
    assert only(passes=[{**GOLD, name + suffix: "2026-12-31"}]).ends_on == dt.date(2026, 12, 31)


def test_dates_are_found_under_their_names_and_junk_is_passed_over() -> None:
    given = {
        "start_balance": 3,
        "starts_at": "2026-11-01",
        "endorsed": "yes",
        "expiry": "12/31/2026",
    }
    term = only(passes=[{**GOLD, **given}])
    assert (term.starts_on, term.ends_on) == (dt.date(2026, 11, 1), dt.date(2026, 12, 31))
    assert only(passes=[{**GOLD, "contract_end": "2026-12-31"}]).ends_on == dt.date(2026, 12, 31)
    assert only(passes=[{**GOLD, "membership_start": "2026-11-01"}]).starts_on


@pytest.mark.parametrize(
    ("entries", "status"),
    [
        ([{"id": 7, "status": "active"}, {"id": "7", "status": "cancelled"}], "cancelled"),
        ([{"id": 7, "status": "cancelled"}, {"id": "7", "status": "active"}], "active"),
        ([{"id": 7, "status": "active", "end": "2026-12-31"}, {"id": 7}], "active"),
        # Without an id they are known by the plan: the spell that lasts longer is the present one.
        (
            [
                {"name": "Gold", "status": "active", "end": "2026-12-31"},
                {"name": "GOLD", "status": "expired", "end": "2025-12-31"},
            ],
            "active",
        ),
    ],
)
def test_of_two_with_one_key_one_wins_for_a_reason(entries: Any, status: str) -> None:
    assert only(passes=entries).status == status


def test_the_address_is_hashed_at_the_door(settings: Settings) -> None:
    settings.MATCHING_KEY = "key"
    expected = email_hash("jo@example.com")
    assert read(email=" Jo@Example.com").email_hash == expected
    assert read(email_address="jo@example.com").email_hash == expected
    assert read(email=[]).email_hash == ""  # it is told that there is none
    assert read().email_hash is None  # nothing is told
    settings.MATCHING_KEY = ""
    assert read(email="jo@example.com").email_hash == ""


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_used_of_a_snapshot_is_plain_json(variant: str) -> None:
    holding = Holding(
        id=82000020, plan="Gold", status="active", starts_on=TODAY, ends_on=TODAY.replace(day=30)
    )
    body = sent(5, NOW, [holding], variant)
    found = read_snapshot(body, NOW)
    assert json.loads(json.dumps(project(found))) == project(found)
    expected = [] if variant == "none" else [("Gold", "active", TODAY.replace(day=30))]
    assert [(term.plan, term.status, term.ends_on) for term in found.terms] == expected
    assert len(sent(5, NOW, [holding])) == KEYS


YESTERDAY, TOMORROW = TODAY - dt.timedelta(days=1), TODAY + dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("status", "ends_on", "expected"),
    [
        ("active", None, "active"),
        ("active", TODAY, "active"),
        ("active", TOMORROW, "active"),
        ("active", YESTERDAY, "inactive"),
        ("unknown", TODAY, "active"),
        ("unknown", TOMORROW, "active"),
        ("unknown", YESTERDAY, "inactive"),
        ("unknown", None, "unknown"),
        ("cancelled", TOMORROW, "inactive"),
        ("on hold", None, "inactive"),
        ("on_hold", None, "inactive"),
        ("removed", TOMORROW, "inactive"),
        ("somewhere between", None, "unknown"),
        ("somewhere between", TOMORROW, "unknown"),
        ("somewhere between", YESTERDAY, "inactive"),
    ],
)
def test_a_membership_is_active_unknown_or_neither(
    status: str, ends_on: dt.date | None, expected: str
) -> None:
    verdicts = is_active(status, ends_on, TODAY), is_unknown(status, ends_on, TODAY)
    assert verdicts == (expected == "active", expected == "unknown")


def test_no_word_says_both() -> None:
    assert not ACTIVE_WORDS & INACTIVE_WORDS
    assert all(word == word.casefold() for word in ACTIVE_WORDS | INACTIVE_WORDS)
