"""From evidence to status and incident: what is a blip, what is trouble, and when it is over."""

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from integrations import attention, incidents, status
from integrations.alerts.writing import write
from integrations.levels import Level
from integrations.models import Alert, Incident, IntegrationStatus, Recipient
from integrations.outages import correlate
from integrations.status import Evidence, commit

NOW = dt.datetime(2026, 3, 4, 12, 0, 2, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
SLOT = 15 * MINUTE
REALM = "4620816365291234170"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def owner(db: None) -> Recipient:
    return Recipient.objects.create(name="Owner", key="owner", email="owner@clinic.example")


def tell(at: dt.datetime, state: str = "ok", **values: Any) -> IntegrationStatus:
    """Evidence of a moment, as QuickBooks' checks give it."""
    known: dict[str, Any] = {
        "level": Level.HEALTHY if state == "ok" else Level.CRITICAL,
        "who_acts": "nobody" if state == "ok" else "clinic",
    }
    if state in {"timeout", "intuit_unavailable"}:
        known |= {"level": Level.WARNING, "who_acts": "intuit", "transient": True}
    commit(
        Evidence(
            integration="quickbooks",
            account=REALM,
            name="Harbour Physio",
            state=state,
            checked_at=at,
            **{**known, **values},
        )
    )
    if values.get("scheduled"):
        correlate(at)  # as the command does when all have been asked
    return IntegrationStatus.objects.get()


def alerts() -> list[str]:
    return list(Alert.objects.order_by("queued_at", "id").values_list("kind", flat=True))


def notes() -> str:
    return " | ".join(note.text for note in Incident.objects.get().notes.all())


# ── blips ─────────────────────────────────────────────────────────────────────────────────────
def test_a_blip_leaves_no_incident_and_no_alert() -> None:
    tell(NOW)
    row = tell(NOW + SLOT, "timeout", scheduled=True)
    assert (row.level, row.raw_level, row.raw_state) == ("healthy", "warning", "timeout")
    assert (row.failing_since, row.confirmed) == (NOW + SLOT, False)
    row = tell(NOW + SLOT + MINUTE)
    assert (row.level, row.since, row.failing_since) == ("healthy", NOW, None)
    assert not Incident.objects.exists()
    assert alerts() == []


def test_what_the_repeats_confirm_began_with_the_first_failure_and_is_not_mailed_yet() -> None:
    tell(NOW, "timeout", scheduled=True)
    row = tell(NOW + MINUTE, "timeout", confirmed=True)
    assert (row.level, row.state, row.since) == ("warning", "timeout", NOW)
    incident = Incident.objects.get()
    assert (incident.started_at, incident.confirmed_at) == (NOW, NOW + MINUTE)
    assert alerts() == [], "shorter than a slot so far"
    tell(NOW + 2 * SLOT - MINUTE)
    tell(NOW + 2 * SLOT)
    incident.refresh_from_db()
    assert incident.ended_at == NOW + 2 * SLOT - MINUTE
    assert alerts() == [], "nobody heard of it, so nobody hears of its end"


def test_the_second_scheduled_failure_is_mailed_and_turning_critical_is_not() -> None:
    tell(NOW, "timeout", scheduled=True)
    tell(NOW + MINUTE, "timeout", confirmed=True)
    tell(NOW + SLOT - 3 * MINUTE, "timeout")  # somebody looked at the dashboard
    assert alerts() == []
    tell(NOW + SLOT, "timeout", scheduled=True)
    assert alerts() == ["opened"]
    row = tell(NOW + 4 * SLOT, "timeout", scheduled=True, level=Level.CRITICAL)
    assert row.level == Incident.objects.get().level == "critical"
    assert alerts() == ["opened"]
    assert "so long that it is critical now" in notes()


def test_a_command_run_twice_within_a_minute_is_no_second_scheduled_check() -> None:
    tell(NOW, "timeout", scheduled=True, confirmed=True)
    tell(NOW + MINUTE, "timeout", scheduled=True, confirmed=True)
    assert alerts() == []


def test_without_a_schedule_a_failure_that_outlasts_a_slot_is_trouble_that_nobody_is_mailed() -> (
    None
):
    tell(NOW, "timeout")
    assert tell(NOW + SLOT, "timeout").level == "warning"
    assert Incident.objects.get().started_at == NOW
    assert alerts() == []


# ── at once ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "state",
    [
        *("reconnect_required", "refresh_response_lost", "app_credentials_rejected"),
        *("wrong_company_or_environment", "access_denied", "subscription_ended"),
    ],
)
def test_a_real_disconnect_is_told_with_the_first_check(state: str) -> None:
    tell(NOW)
    row = tell(NOW + SLOT, state)
    assert (row.level, row.state, row.since) == ("critical", state, NOW + SLOT)
    assert Incident.objects.get().cause == state
    assert alerts() == ["opened"]


def test_what_a_person_disconnected_opens_no_incident_and_closes_one_quietly() -> None:
    row = tell(NOW, "disconnected_here", level=Level.WARNING, alarming=False)
    assert (row.level, Incident.objects.count()) == ("warning", 0)
    tell(NOW + MINUTE, "ok")
    tell(NOW + 2 * MINUTE, "reconnect_required")
    tell(NOW + 3 * MINUTE, "disconnected_here", level=Level.WARNING, alarming=False)
    assert Incident.objects.get().ended_at == NOW + 3 * MINUTE
    assert not Alert.objects.filter(state=Alert.State.QUEUED).exists()
    assert "recovered" not in alerts()


def test_a_token_that_no_key_opens_is_told_to_the_administrator() -> None:
    row = tell(NOW, "not_configured", level=Level.UNKNOWN, who_acts="administrator")
    assert (row.level, alerts()) == ("unknown", ["opened"])


def test_a_long_address_in_the_settings_does_not_keep_the_check_from_being_written_down(
    settings: Settings,
) -> None:
    settings.ALERT_EMAILS = [f"{'reception' * 6}@{'harbour-physio' * 4}.example"]
    tell(NOW, "reconnect_required")
    assert alerts() == ["opened", "opened"]


# ── recovery ──────────────────────────────────────────────────────────────────────────────────
def test_one_success_proves_little_and_two_end_it_with_the_first() -> None:
    tell(NOW, "reconnect_required")
    row = tell(NOW + SLOT)
    assert (row.level, row.recovering_since) == ("critical", NOW + SLOT)
    assert Incident.objects.get().ended_at is None
    row = tell(NOW + 2 * SLOT)
    assert (row.level, row.since, row.failing_since) == ("healthy", NOW + SLOT, None)
    assert Incident.objects.get().ended_at == NOW + SLOT
    assert alerts() == ["opened", "recovered"]
    assert "Making sure" in notes()


def test_the_same_success_told_twice_is_one() -> None:
    tell(NOW, "reconnect_required")
    tell(NOW + SLOT)
    assert tell(NOW + SLOT).level == "critical"


def test_a_persons_reconnect_is_green_at_once_and_says_who_it_was() -> None:
    tell(NOW, "reconnect_required")
    row = tell(NOW + MINUTE, attended="Ana")
    assert (row.level, row.since) == ("healthy", NOW + MINUTE)
    incident = Incident.objects.get()
    assert (incident.ended_at, incident.fixed_by) == (NOW + MINUTE, "Ana")
    recovered = Alert.objects.get(kind="recovered")
    assert recovered.due_at == NOW + MINUTE


def test_flapping_on_the_way_up_is_one_incident() -> None:
    tell(NOW, "timeout", scheduled=True, confirmed=True)
    for number in range(1, 20):
        state = "ok" if number % 2 else "timeout"
        tell(NOW + number * SLOT, state, scheduled=True, confirmed=True)
    assert Incident.objects.get().ended_at is None
    assert alerts() == ["opened"]


def test_trouble_that_is_back_within_a_quarter_of_an_hour_is_the_same_and_told_once() -> None:
    tell(NOW, "reconnect_required")
    tell(NOW + SLOT)
    tell(NOW + 2 * SLOT)
    assert alerts() == ["opened", "recovered"]
    tell(NOW + 3 * SLOT, "access_denied")
    incident = Incident.objects.get()
    assert (incident.started_at, incident.ended_at, incident.cause) == (NOW, None, "access_denied")
    assert alerts() == ["opened"], "nobody has been told yet that it was over"
    tell(NOW + 4 * SLOT)
    tell(NOW + 5 * SLOT)
    assert alerts() == ["opened", "recovered"]


def test_trouble_that_is_back_later_or_after_the_recovery_was_told_is_another() -> None:
    tell(NOW, "reconnect_required")
    tell(NOW + SLOT)
    tell(NOW + 2 * SLOT)
    tell(NOW + 3 * SLOT + 2 * MINUTE, "reconnect_required")
    assert Incident.objects.count() == 2
    tell(NOW + 4 * SLOT, attended="Ana")
    Alert.objects.filter(kind="recovered").update(state=Alert.State.SENT)
    tell(NOW + 4 * SLOT + MINUTE, "reconnect_required")
    assert Incident.objects.count() == 3


def test_a_recovery_that_is_being_sent_cannot_be_taken_back() -> None:
    tell(NOW, "reconnect_required")
    tell(NOW + SLOT)
    tell(NOW + 2 * SLOT)
    Alert.objects.filter(kind="recovered").update(claimed_by="a sender")
    tell(NOW + 2 * SLOT + MINUTE, "reconnect_required")
    assert Incident.objects.count() == 2


def test_calm_without_a_success_is_no_recovery() -> None:
    """A clinic closes while nothing has come from Jane: healthy by the contract, and not over."""
    tell(NOW, "stale", since=NOW - SLOT, success_at=NOW - 9 * SLOT)
    row = tell(NOW + SLOT, "quiet_closed", level=Level.HEALTHY, success_at=NOW - 9 * SLOT)
    assert (row.level, Incident.objects.get().ended_at) == ("healthy", None)
    for later in (2, 3):
        tell(NOW + later * SLOT, "quiet_closed", level=Level.HEALTHY, success_at=NOW - 9 * SLOT)
    assert tell(NOW + 60 * SLOT, "stale", success_at=NOW - 9 * SLOT).level == "critical"
    assert Incident.objects.get().started_at == NOW - SLOT
    for later in (61, 62):
        tell(NOW + later * SLOT, "arriving", level=Level.HEALTHY, success_at=NOW + 61 * SLOT)
    assert Incident.objects.get().ended_at == NOW + 61 * SLOT


def test_after_a_calm_without_a_success_it_ends_with_the_first_success() -> None:
    tell(NOW, "stale", since=NOW - SLOT, success_at=NOW - 9 * SLOT)
    tell(NOW + SLOT, "quiet_closed", level=Level.HEALTHY, success_at=NOW - 9 * SLOT)
    for later in (61, 62):
        tell(NOW + later * SLOT, "arriving", level=Level.HEALTHY, success_at=NOW + 61 * SLOT)
    assert Incident.objects.get().ended_at == NOW + 61 * SLOT


def test_trouble_that_is_back_is_reminded_of_and_told_to_whom_quiet_hours_kept_from_it(
    settings: Settings,
) -> None:
    settings.QUIET_HOURS = "22:00-07:00"
    night = NOW.replace(hour=23)
    for number in range(2):
        tell(night + number * SLOT, "timeout", scheduled=True, confirmed=True)
    tell(night + 2 * SLOT)
    tell(night + 3 * SLOT)
    assert Alert.objects.get().state == Alert.State.WITHDRAWN
    tell(night + 4 * SLOT, "reconnect_required")
    alert = Alert.objects.get()
    assert (alert.kind, alert.state, alert.due_at) == ("opened", "queued", night + 4 * SLOT)
    incident = Incident.objects.get()
    assert incident.next_reminder_at == night + 4 * SLOT + incidents.FIRST_REMINDER


# ── one incident ──────────────────────────────────────────────────────────────────────────────
def test_the_cause_changes_inside_the_incident_and_reaches_those_whose_business_it_becomes() -> (
    None
):
    Recipient.objects.update(wants=Recipient.Wants.CLINIC)
    tell(NOW, "timeout", scheduled=True, confirmed=True)
    tell(NOW + SLOT, "timeout", scheduled=True, confirmed=True)
    assert alerts() == [], "the clinic can do nothing about it"
    tell(NOW + 2 * SLOT, "reconnect_required", scheduled=True)
    incident = Incident.objects.get()
    assert (incident.cause, incident.started_at) == ("reconnect_required", NOW)
    assert alerts() == ["opened"]
    assert "from “QuickBooks is answering too slowly” to “QuickBooks is disconnected”" in notes()


def test_who_heard_of_a_blip_and_is_on_it_hears_that_a_person_is_needed_now() -> None:
    tell(NOW, "timeout", scheduled=True, confirmed=True)
    tell(NOW + SLOT, "timeout", scheduled=True, confirmed=True)
    Alert.objects.update(state=Alert.State.SENT)
    attention.acknowledge(Incident.objects.get(), "Ana", NOW + SLOT)
    attention.snooze(Incident.objects.get(), NOW + 400 * SLOT, "Intuit's", "Ana", NOW + SLOT)
    tell(NOW + 2 * SLOT, "access_denied", scheduled=True)
    incident, alert = Incident.objects.get(), Alert.objects.get(kind="reminder")
    assert (incident.acknowledged_at, incident.snoozed_until) == (None, None)
    assert (alert.state, alert.due_at) == ("queued", NOW + 2 * SLOT)
    letter = write([alert], NOW + 2 * SLOT)
    assert letter.subject.startswith("Harbour Physio: QuickBooks refuses us access, since")
    assert "The cause is another one than before, so you hear of it again." in letter.paragraphs
    for number in range(3, 9):  # and of flapping between the two no more
        tell(NOW + number * SLOT, "timeout" if number % 2 else "access_denied", scheduled=True)
    assert alerts() == ["opened", "reminder"]


def test_an_older_judgement_changes_nothing() -> None:
    tell(NOW, "reconnect_required")
    tell(NOW - MINUTE)
    tell(NOW - 2 * MINUTE, "access_denied")
    row = IntegrationStatus.objects.get()
    assert (row.state, row.checked_at) == ("reconnect_required", NOW)
    assert Incident.objects.get().cause == "reconnect_required"


def test_a_clock_that_was_wrong_for_a_while_does_not_silence_what_comes_after_it() -> None:
    tell(NOW + dt.timedelta(days=400))
    assert tell(NOW, "reconnect_required").level == "critical"
    assert alerts() == ["opened"]


def test_what_was_tried_stands_on_the_incident_once() -> None:
    tried = [status.Receipt(at=NOW, text="Waited 20 s and asked again.")]
    tell(NOW, "timeout", confirmed=True, receipts=tried)
    tell(NOW + SLOT, "timeout", confirmed=True, receipts=tried)
    assert notes().count("Waited 20 s") == 1


def test_a_pause_opens_nothing_and_after_it_the_trouble_is_told() -> None:
    tell(NOW)
    assert status.pause("quickbooks", REALM, NOW + 2 * SLOT, "moving house", "Ana")
    row = tell(NOW + SLOT, "reconnect_required")
    assert (row.level, Incident.objects.count(), alerts()) == ("critical", 0, [])
    tell(NOW + 3 * SLOT, "reconnect_required")
    assert Incident.objects.get().started_at == NOW + SLOT
    assert alerts() == ["opened"]


def test_an_answer_stops_the_reminders_and_a_snooze_puts_them_off() -> None:
    tell(NOW, "reconnect_required")
    incident = Incident.objects.get()
    assert incident.next_reminder_at == NOW + dt.timedelta(hours=4)
    assert attention.snooze(incident, NOW + dt.timedelta(days=1), "waiting for Bo", "Ana", NOW)
    assert Incident.objects.get().next_reminder_at == NOW + dt.timedelta(days=1)
    assert attention.acknowledge(incident, "Ana", NOW)
    assert not attention.acknowledge(incident, "Bo", NOW)
    assert Incident.objects.get().next_reminder_at is None
    tell(NOW + SLOT, attended="Ana")
    assert not attention.snooze(incident, NOW + dt.timedelta(days=1), "", "Ana", NOW)


@pytest.mark.django_db(transaction=True)
def test_many_at_once_with_the_same_news_open_one_incident_and_queue_one_alert() -> None:
    tell(NOW)
    start = threading.Barrier(8)
    failures: list[Exception] = []

    def one(number: int) -> None:
        try:
            start.wait(timeout=10)
            tell(NOW + SLOT + number * dt.timedelta(milliseconds=1), "reconnect_required")
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert Incident.objects.count() == 1
    assert alerts() == ["opened"]
    started = Incident.objects.get().started_at
    assert NOW + SLOT <= started <= NOW + SLOT + dt.timedelta(milliseconds=8)
