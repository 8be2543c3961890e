"""What the dashboard says about Jane: each state with its words, its figures and its history."""

import datetime as dt
import json
import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from integrations.base import Movement
from integrations.jane.integration import Jane
from integrations.jane.words import WORDS, duration
from integrations.levels import Level
from integrations.models import IntegrationStatus, Outcome, WebhookRefusal
from integrations.registry import all_integrations
from tests.jane import SECRET, came, card, deliver, held, snapshot
from tests.support import text_of

pytestmark = pytest.mark.django_db

ZONE = ZoneInfo("America/Vancouver")
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)


def local(day: int, hour: int, minute: int = 0) -> dt.datetime:
    """A moment of November 2026 in the clinic's zone; the 20th is a Friday."""
    return dt.datetime(2026, 11, day, hour, minute, tzinfo=ZONE).astimezone(dt.UTC)


NOW = local(20, 15)


@pytest.fixture(autouse=True)
def set_up(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = [SECRET]
    settings.TIME_ZONE = "America/Vancouver"
    settings.CLINIC_HOURS = "Mon-Fri 08:00-18:00"
    settings.CLINIC_CLOSED_DAYS = []


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> dict[str, Movement]:
    """What the others can tell of themselves."""
    moved: dict[str, Movement] = {}
    for slug, other in all_integrations().items():
        if slug != "jane":
            monkeypatch.setattr(other, "last_movement", lambda now, slug=slug: moved.get(slug))
    return moved


def refused(at: dt.datetime, count: int = 1) -> None:
    minute = at.replace(second=0, microsecond=0)
    WebhookRefusal.objects.create(
        integration="jane", minute=minute, reason="wrong", count=count, last_at=at
    )


def unreadable(at: dt.datetime) -> None:
    came(at, Outcome.UNREADABLE, error="not JSON")


# --- States ---------------------------------------------------------------------------------------


def test_without_secrets_it_is_not_set_up(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = []
    came(NOW - HOUR)
    found = card(NOW)
    assert (found.state, found.level) == ("not_configured", Level.UNKNOWN)
    assert found.facts == ["Missing: JANE_WEBHOOK_SECRETS, the key that ClinicSync delivers with"]
    assert [link.url for link in found.links] == ["/integrations/jane/set-up/"]


def test_it_has_one_account_and_no_other() -> None:
    assert [found.account for found in Jane().assess(NOW, [""])] == [""]
    assert Jane().assess(NOW, ["4620816365291234170"]) == []
    assert Jane().history("4620816365291234170", NOW) == []


def test_before_the_first_delivery_it_waits() -> None:
    found = card(NOW)
    assert (found.state, found.level, found.who_acts) == (
        "never_seen",
        Level.WARNING,
        "administrator",
    )
    assert found.headline == "Waiting for the first delivery"
    assert (found.since, found.checked_at, found.facts) == (None, None, [])
    assert found.metrics == {
        "active_memberships": 0,
        "memberships": 0,
        "deliveries_24h": 0,
        "last_delivery_at": None,
        "refused_24h": 0,
        "unreadable_24h": 0,
    }


def test_while_snapshots_come_it_says_so() -> None:
    entries = [held(number, **{"end": "2026-12-31"}) for number in range(1, 4)]
    for number, entry in enumerate([*entries, held(4, status=""), held(5, status="expired")]):
        at = NOW - (10 - number) * MINUTE
        deliver(snapshot(at, person=number + 1, passes=[entry]), at)
    found = card(NOW)
    assert (found.state, found.level, found.who_acts) == ("arriving", Level.HEALTHY, "nobody")
    assert found.headline == "Arriving"
    assert found.impact.startswith("ClinicSync last delivered at 2:54 pm.")
    assert found.facts == [
        "Last delivery 2:54 pm",
        "5 deliveries today",
        "3 active memberships",
        "1 of unknown state",
    ]
    assert (found.metrics["active_memberships"], found.metrics["memberships"]) == (3, 5)
    assert (found.metrics["deliveries_24h"], found.metrics["last_delivery_at"]) == (
        5,
        NOW - 6 * MINUTE,
    )
    assert found.last_success_at == found.checked_at == NOW - 6 * MINUTE
    assert dict(found.support)["Authenticated by"] == "x-api-key"
    assert len(dict(found.support)["Key-set fingerprint"]) == 16


def test_a_removed_membership_is_none_any_more() -> None:
    deliver(snapshot(NOW - HOUR, passes=[held(1), held(2)]), NOW - HOUR)
    deliver(snapshot(NOW, passes=[held(2)]), NOW)
    assert (card(NOW).metrics["active_memberships"], card(NOW).metrics["memberships"]) == (1, 1)


def test_a_membership_ends_with_its_last_day_in_the_clinics_zone() -> None:
    deliver(snapshot(NOW, passes=[held(end="2026-11-20")]), NOW)
    assert card(local(20, 23, 59)).metrics["active_memberships"] == 1
    assert card(local(21, 0)).metrics["active_memberships"] == 0
    assert card(local(21, 0)).metrics["memberships"] == 1


def test_while_the_clinic_is_closed_quiet_is_healthy() -> None:
    came(local(20, 17, 30))
    found = card(local(21, 12))
    assert (found.state, found.level, found.who_acts) == ("quiet_closed", Level.HEALTHY, "nobody")
    assert found.headline == "Quiet: the clinic is closed"
    assert found.impact.startswith("ClinicSync last delivered on Friday at 5:30 pm.")
    assert found.next_step.endswith("A silence counts again on Monday at 9:00 am.")
    assert found.facts[0] == "Last delivery Friday at 5:30 pm"
    assert not any("opening time" in fact for fact in found.facts)


def test_a_silence_that_was_an_alarm_at_closing_is_not_hidden() -> None:
    came(local(20, 15, 50))
    found = card(local(21, 12))
    assert (found.state, found.level) == ("quiet_closed", Level.HEALTHY)
    assert "Nothing came in the last 2 h 10 min of opening time" in found.facts
    assert found.next_step.endswith("A silence counts again on Monday at 9:00 am.")


def test_a_morning_may_begin_quietly() -> None:
    came(local(19, 17, 30))
    found = card(local(20, 8, 30))
    assert (found.state, found.level) == ("quiet_closed", Level.HEALTHY)
    assert found.headline == "Quiet: the clinic has just opened"
    assert found.next_step.endswith("A silence counts again at 9:00 am.")


@pytest.mark.parametrize(
    ("silence", "state", "level", "headline"),
    [
        (130, "late", Level.WARNING, "Late: nothing for 2 h 10 min of opening time"),
        (240, "stale", Level.CRITICAL, "Stale: nothing for 4 h of opening time"),
    ],
)
def test_a_silence_in_opening_time_is_an_alarm(
    silence: int, state: str, level: Level, headline: str
) -> None:
    last_at = NOW - silence * MINUTE
    came(last_at)
    found = card(NOW)
    assert (found.state, found.level, found.headline) == (state, level, headline)
    assert found.since == last_at + 90 * MINUTE
    assert "Nothing in Jane is lost, and QuickBooks is watched separately." in found.impact
    assert not any("opening time" in fact for fact in found.facts)  # the headline has said it


def test_the_others_tell_whose_fault_a_silence_is(witness: dict[str, Movement]) -> None:
    came(NOW - 2 * HOUR)
    assert (card(NOW).who_acts, "look in ClinicSync" in card(NOW).next_step) == (
        "administrator",
        True,
    )

    witness["gohighlevel"] = Movement(at=NOW - 10 * MINUTE, watched_until=NOW - 5 * MINUTE)
    found = card(NOW)
    assert found.who_acts == "administrator"
    assert found.next_step.startswith(
        "GoHighLevel has moved since then, so our registration at ClinicSync is suspect."
    )

    # One push of ClinicSync writes to both.
    for moved in (None, NOW - 3 * HOUR, NOW - 2 * HOUR + 5 * MINUTE):
        witness["gohighlevel"] = Movement(at=moved, watched_until=NOW - 5 * MINUTE)
        found = card(NOW)
        assert found.who_acts == "vendor"
        assert "so ClinicSync or Jane is silent" in found.next_step

    # Who has not looked since has seen nothing, and that is no evidence.
    for watched in (None, NOW - 3 * HOUR, NOW - 2 * HOUR + 5 * MINUTE):
        witness["gohighlevel"] = Movement(at=NOW - 90 * DAY, watched_until=watched)
        assert card(NOW).who_acts == "administrator"


def test_nobody_is_asked_while_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(now: dt.datetime) -> None:
        raise AssertionError("asked")

    for slug, other in all_integrations().items():
        if slug != "jane":
            monkeypatch.setattr(other, "last_movement", never)
    came(NOW - MINUTE)
    assert card(NOW).state == "arriving"


def test_refusals_are_told_before_a_young_silence() -> None:
    came(NOW - 3 * HOUR)
    unreadable(NOW - 2 * HOUR)
    refused(NOW - HOUR)
    refused(NOW - 30 * MINUTE, 2)
    found = card(NOW)
    assert (found.state, found.level, found.who_acts) == (
        "auth_failing",
        Level.WARNING,
        "administrator",
    )
    assert found.since == NOW - HOUR
    assert "since 2:00 pm" in found.impact
    assert "3 refused · 1 unreadable in 24 h" in found.facts
    assert dict(found.support)["Last refusal"] == "wrong"
    assert (found.metrics["refused_24h"], found.metrics["unreadable_24h"]) == (3, 1)


def test_what_cannot_be_read_is_told_before_a_young_silence() -> None:
    came(NOW - 3.5 * HOUR)
    for hours in (3, 2, 1):
        unreadable(NOW - hours * HOUR)
    found = card(NOW)
    assert (found.state, found.level, found.who_acts) == (
        "parse_failing",
        Level.WARNING,
        "administrator",
    )
    assert found.since == NOW - 3 * HOUR
    assert dict(found.support)["Last unreadable"] == "not JSON"
    # What came last is not what was understood last.
    assert (found.checked_at, found.last_success_at) == (NOW - HOUR, NOW - 3.5 * HOUR)


@pytest.mark.parametrize(
    ("trouble", "told"), [(refused, "are refused"), (unreadable, "don't understand")]
)
def test_a_critical_silence_stays_critical_whatever_knocks(trouble: Any, told: str) -> None:
    came(NOW - 5 * HOUR)
    assert card(NOW).state == "stale"
    for minutes in (30, 20, 10):
        trouble(NOW - minutes * MINUTE)
    found = card(NOW)
    assert (found.state, found.level) == ("stale", Level.CRITICAL)
    assert told in found.next_step
    assert found.who_acts == "administrator"


def test_what_knocked_before_there_was_a_key_is_no_trouble() -> None:
    WebhookRefusal.objects.create(
        integration="jane", minute=NOW - HOUR, reason="closed", count=9, last_at=NOW - HOUR
    )
    assert (card(NOW).state, card(NOW).metrics["refused_24h"]) == ("never_seen", 9)


def test_appointments_do_not_hide_that_memberships_no_longer_arrive() -> None:
    came(NOW - 5 * HOUR)
    for minutes in range(0, 280, 12):
        came(NOW - minutes * MINUTE, event_type="APPOINTMENT_BOOKED")
    found = card(NOW)
    assert (found.state, found.metrics["deliveries_24h"]) == ("stale", 1 + 24)
    assert found.metrics["last_delivery_at"] == NOW - 5 * HOUR


def test_without_any_snapshot_an_appointment_is_a_sign_of_life() -> None:
    came(NOW - MINUTE, event_type="APPOINTMENT_BOOKED")
    assert card(NOW).state == "arriving"


def test_health_has_a_beginning_as_soon_as_it_was_written_down() -> None:
    came(NOW - MINUTE)
    assert card(NOW).since is None
    IntegrationStatus.objects.create(
        integration="jane",
        name="Jane",
        level="healthy",
        state="arriving",
        since=NOW - DAY,
        checked_at=NOW,
    )
    assert card(NOW).since == NOW - DAY


@pytest.mark.parametrize(
    ("trouble", "state"), [(refused, "auth_failing"), (unreadable, "parse_failing")]
)
def test_both_speak_at_any_hour_and_before_the_first_delivery(trouble: Any, state: str) -> None:
    trouble(local(22, 2))
    assert card(local(22, 3)).state == state


def test_a_few_strangers_at_the_door_are_a_mere_fact() -> None:
    came(NOW - 2 * MINUTE)
    refused(NOW - MINUTE, 2)
    found = card(NOW)
    assert (found.state, found.facts[-1]) == ("arriving", "2 refused in 24 h")


def test_one_good_delivery_ends_the_trouble() -> None:
    for hours in (3, 2, 1):
        unreadable(NOW - hours * HOUR)
        refused(NOW - hours * HOUR)
    came(NOW - MINUTE)
    assert (card(NOW).state, card(NOW).since) == ("arriving", None)


def test_a_new_shape_is_told_for_a_week_and_is_no_alarm() -> None:
    came(NOW - DAY, new_shape=True)
    came(NOW - MINUTE)
    fact = "ClinicSync changed the shape of its data on November 19"
    assert (card(NOW).facts[-1], card(NOW).state) == (fact, "arriving")
    came(NOW + 6 * DAY)
    assert fact not in card(NOW + 6 * DAY + MINUTE).facts


def test_a_body_with_other_keys_is_a_new_shape() -> None:
    deliver(snapshot(NOW - HOUR, passes=[]), NOW - HOUR)
    deliver(snapshot(NOW - MINUTE, passes=[], novelty=1), NOW - MINUTE)
    assert card(NOW).facts[-1].startswith("ClinicSync changed the shape of its data on")


# --- Words ----------------------------------------------------------------------------------------


def test_every_state_of_the_contract_has_words() -> None:
    assert {state: wording.level.value for state, wording in WORDS.items()} == {
        "arriving": "healthy",
        "quiet_closed": "healthy",
        "just_opened": "healthy",
        "late": "warning",
        "never_seen": "warning",
        "parse_failing": "warning",
        "auth_failing": "warning",
        "stale": "critical",
    }


def test_no_word_is_left_unfilled_and_none_is_a_technicians(
    witness: dict[str, Movement],
) -> None:
    cards = [card(NOW)]
    came(local(20, 9))
    witness["gohighlevel"] = Movement(at=None, watched_until=None)
    for hour in (9, 11, 14, 20):
        cards.append(card(local(20, hour, 5)))
    came(NOW)
    for _ in range(3):
        unreadable(NOW + len(cards) * MINUTE)
        cards.append(card(NOW + HOUR))
    refused(NOW + HOUR, 3)
    cards.append(card(NOW + 2 * HOUR))
    assert {found.state for found in cards} == {
        "never_seen",
        "arriving",
        "late",
        "stale",
        "quiet_closed",
        "parse_failing",
        "auth_failing",
    }
    for found in cards:
        texts = [found.headline, found.title, found.impact, found.next_step, *found.facts]
        for text in texts:
            assert text
            assert not re.search(r"[{}]|  |None|webhook|401|JSON|missing payments", text), text
        assert found.who_acts in {"nobody", "administrator", "clinic", "vendor"}
        assert all(text.endswith(".") for text in (found.impact, found.next_step))


def test_durations_are_told_as_people_tell_them() -> None:
    lengths = [0, 59, 60, 130, 240, 5000]
    assert [duration(minutes * MINUTE) for minutes in lengths] == [
        "0 min",
        "59 min",
        "1 h",
        "2 h 10 min",
        "4 h",
        "83 h 20 min",
    ]


# --- The page and the API -------------------------------------------------------------------------


def test_the_card_stands_on_the_dashboard_with_its_links(staff: User, staff_client: Client) -> None:
    at = dt.datetime.now(dt.UTC) - 5 * MINUTE
    deliver(snapshot(at, passes=[held()]), at)
    page = staff_client.get("/dashboard/")
    text = text_of(page)
    assert "1 active membership" in text
    assert "Active memberships" in text
    assert b'href="/integrations/jane/set-up/"' in page.content
    # The list is for those who may see it.
    assert b'href="/admin/jane/membership/"' not in page.content
    staff.is_superuser = True
    staff.save()
    assert b'href="/admin/jane/membership/"' in staff_client.get("/dashboard/").content


def test_the_api_gives_the_contracts_card(staff_client: Client) -> None:
    at = dt.datetime.now(dt.UTC)
    deliver(snapshot(at, passes=[held()]), at)
    answer = staff_client.get("/api/admin/integrations").json()
    (found,) = [card for card in answer["integrations"] if card["integration"] == "jane"]
    assert (found["account"], found["name"], found["state"]) == (
        "",
        "Jane / ClinicSync",
        "arriving",
    )
    assert found["metrics"] == {
        "active_memberships": 1,
        "memberships": 1,
        "deliveries_24h": 1,
        "last_delivery_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "refused_24h": 0,
        "unreadable_24h": 0,
    }
    json.dumps(found)


# --- Figures --------------------------------------------------------------------------------------


def test_a_card_with_its_figures_costs_two_statements_and_in_the_first_month_three() -> None:
    for number in range(30):
        at = NOW - number * HOUR
        deliver(snapshot(at, person=number + 1, passes=[held(number + 1)]), at)
    for now, statements in ((NOW, 3), (NOW + 40 * DAY, 2)):
        with CaptureQueriesContext(connection) as queries:
            Jane().assess(now)
        assert len(queries) == statements
    with CaptureQueriesContext(connection) as queries:
        Jane().history("", NOW)
        Jane().last_movement(NOW)
    assert len(queries) == 2


def figures(now: dt.datetime) -> list[tuple[str, str, str]]:
    return [
        (metric.label, metric.value, metric.note) for a in Jane().assess(now) for metric in a.tiles
    ]


def test_figures_of_nothing_are_zeros() -> None:
    assert figures(NOW) == [("Active memberships", "0", ""), ("Deliveries", "0", "last 24 h")]


def tell(at: dt.datetime, person: int, **fields: Any) -> None:
    deliver(snapshot(at, person=person, passes=[held(person, **fields)]), at)


def test_the_change_over_a_month_is_told_from_what_was_active_then() -> None:
    long_ago = NOW - 60 * DAY
    for person in range(1, 9):
        tell(long_ago, person, end="2027-06-30")
    tell(long_ago, 9, end=(NOW - 10 * DAY).date().isoformat())  # runs out without a word
    tell(long_ago, 10, end=(NOW - 40 * DAY).date().isoformat())  # had run out before
    tell(long_ago, 11, status="paused")
    # 30 days ago there were nine. Since then:
    tell(NOW - 20 * DAY, 1, status="cancelled")
    tell(NOW - 20 * DAY, 2, end="2027-07-31")
    tell(NOW - 15 * DAY, 11, status="active")
    for person in range(20, 24):
        tell(NOW - 5 * DAY, person)
    deliver(snapshot(NOW - HOUR, person=3, passes=[]), NOW - HOUR)
    # Less 1, 3 and 9; more 11 and four new ones.
    assert figures(NOW)[0] == ("Active memberships", "11", "+2 in 30 days")
    assert figures(NOW)[1][1] == "1"


def test_a_month_without_a_change_is_said_to_be_one() -> None:
    tell(NOW - 60 * DAY, 1)
    assert figures(NOW)[0] == ("Active memberships", "1", "no change in 30 days")
    tell(NOW, 1, status="cancelled")
    assert figures(NOW)[0] == ("Active memberships", "0", "−1 in 30 days")


def test_who_has_watched_for_less_than_a_month_says_since_when() -> None:
    began = local(3, 10)
    for person in (1, 2, 3):
        tell(began + person * MINUTE, person)
    # The first day only finds what there was.
    assert figures(began + 3 * HOUR)[0][2] == "watched since November 3"
    tell(began + 3 * DAY, 4)
    assert figures(NOW)[0] == ("Active memberships", "4", "+1 since November 3")


# --- History --------------------------------------------------------------------------------------


def history(now: dt.datetime) -> list[tuple[str, str, dt.datetime, dt.datetime]]:
    return [
        (event.level.value, event.title, event.starts_at, event.ends_at)
        for event in Jane().history("", now)
    ]


def test_silences_that_were_alarms_stand_in_the_history() -> None:
    """Thursday from 14:00 to Friday 8:50 is quiet; on Friday from 10:00 to 11:40."""
    times = [local(19, 13), local(19, 14), local(20, 8, 50), local(20, 9, 30), local(20, 10)]
    for at in [*times, local(20, 11, 40), local(20, 14, 50)]:
        came(at)
    assert history(local(20, 15)) == [
        ("healthy", "Arriving", local(20, 14, 50), local(20, 14, 50)),
        (
            "warning",
            "Nothing for 3 h 10 min of opening time",
            local(20, 11, 40),
            local(20, 14, 50),
        ),
        ("healthy", "Arriving", local(20, 11, 40), local(20, 11, 40)),
        (
            "warning",
            "Nothing for 1 h 40 min of opening time",
            local(20, 10),
            local(20, 11, 40),
        ),
        ("healthy", "Arriving", local(20, 8, 50), local(20, 10)),
        (
            "critical",
            "Nothing for 4 h of opening time",
            local(19, 14),
            local(20, 8, 50),
        ),
    ]


def test_a_silence_that_lasts_is_in_the_history_too() -> None:
    came(local(20, 10))
    assert history(local(20, 12)) == [
        ("warning", "Nothing for 2 h of opening time", local(20, 10), local(20, 12)),
        ("healthy", "Arriving", local(20, 10), local(20, 10)),
    ]


def test_nights_and_repeats_leave_no_silence_behind() -> None:
    came(local(19, 17, 30))
    came(local(20, 8, 40))
    came(local(20, 9, 30), last_received_at=local(20, 10, 50), repeats=1)
    came(local(20, 10, 10))
    came(local(20, 10, 20), Outcome.UNREADABLE)
    came(local(20, 10, 30), is_test=True)
    assert history(local(20, 12)) == [
        ("healthy", "Arriving", local(19, 17, 30), local(20, 10, 50)),
    ]


def test_an_alarm_of_the_day_before_is_past() -> None:
    came(local(19, 9))
    came(local(19, 11, 30))
    for hour in range(12, 18):
        came(local(19, hour))
    assert [title for _, title, *_ in history(local(20, 12))] == [
        "Nothing for 5 h of opening time",
        "Arriving",
    ]


def test_nothing_has_no_history() -> None:
    assert history(NOW) == []
