"""Ours or theirs: several that fail alike have one incident, which says whose trouble it is."""

import datetime as dt
import threading
import time
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from integrations import status
from integrations.alerts import outbox
from integrations.base import Symptom
from integrations.incidents import Account, Trouble, fail_together
from integrations.levels import Level
from integrations.models import Alert, Incident, Recipient
from integrations.outages import correlate, explain
from integrations.status import Evidence, commit

NOW = dt.datetime(2026, 3, 4, 12, 0, 2, tzinfo=dt.UTC)
SLOT = dt.timedelta(minutes=15)
SECOND = dt.timedelta(seconds=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def owner(db: None) -> Recipient:
    return Recipient.objects.create(name="Owner", key="owner", email="owner@clinic.example")


def tell(
    account: str, at: dt.datetime, state: str = "ok", integration: str = "quickbooks", **more: Any
) -> None:
    symptoms = {
        "intuit_unavailable": Symptom.VENDOR_ERROR,
        "network_unreachable": Symptom.NO_ANSWER,
        "timeout": Symptom.NO_ANSWER,
    }
    known: dict[str, Any] = {"level": Level.HEALTHY if state == "ok" else Level.WARNING}
    known |= {"confirmed": True, "scheduled": True}
    commit(
        Evidence(
            integration=integration,
            account=account,
            name=f"Clinic {account}" if account else integration.capitalize(),
            state=state,
            checked_at=at,
            transient=state in symptoms,
            symptom=symptoms.get(state, Symptom.NONE),
            **{**known, **more},
        )
    )


def sweep(at: dt.datetime, *states: str) -> None:
    """A check of the companies 1, 2, 3, …, and what it says about them together."""
    for number, state in enumerate(states, start=1):
        tell(str(number), at + number * SECOND, state)
    correlate(at + SLOT / 3)


def shared() -> Incident:
    return Incident.objects.get(shared=True)


def told() -> list[tuple[str, str]]:
    rows = Alert.objects.exclude(state=Alert.State.WITHDRAWN).order_by("id")
    return [(row.kind, row.incident.name if row.incident else "") for row in rows]


def witnesses() -> str:
    return " ".join(note.text for note in shared().notes.all())


def test_intuits_errors_for_several_companies_are_intuits_outage_told_once() -> None:
    sweep(NOW, "ok", "ok", "ok")
    sweep(NOW + SLOT, *["intuit_unavailable"] * 3)
    incident = shared()
    assert (incident.name, incident.cause) == ("QuickBooks", "intuit_unavailable")
    assert incident.started_at == NOW + SLOT + SECOND
    assert incident.parts.count() == 3
    assert told() == []
    sweep(NOW + 2 * SLOT, *["intuit_unavailable"] * 3)
    sweep(NOW + 3 * SLOT, *["intuit_unavailable"] * 3)
    assert told() == [("opened", "QuickBooks")]
    assert "Witness: Clinic 2: intuit unavailable at 12:15 pm." in witnesses()
    said = explain(incident, NOW + 3 * SLOT)
    assert said.title == "QuickBooks is having problems"
    assert "Nothing to fix here" in said.next_step
    sweep(NOW + 4 * SLOT, "ok", "ok", "ok")
    assert shared().ended_at is None
    sweep(NOW + 5 * SLOT, "ok", "ok", "ok")
    assert shared().ended_at == NOW + 4 * SLOT + 3 * SECOND
    assert told() == [("opened", "QuickBooks"), ("recovered", "QuickBooks")]


def test_when_nothing_answers_at_all_this_server_is_offline() -> None:
    sweep(NOW, "ok", "ok")
    sweep(NOW + SLOT, "network_unreachable", "timeout")
    incident = shared()
    assert (incident.integration, incident.cause, incident.level) == (
        "",
        "server_offline",
        "unknown",
    )
    assert incident.who_acts == "administrator"
    assert explain(incident, NOW + SLOT).title == "This server is offline"
    assert "Nothing answered since 12:15 pm." in witnesses()


def test_what_answers_elsewhere_proves_that_our_network_works() -> None:
    sweep(NOW, "ok", "ok")
    tell("", NOW, integration="gohighlevel")
    for number in ("1", "2"):
        tell(number, NOW + SLOT, "timeout")
    tell("", NOW + SLOT + SECOND, integration="gohighlevel")
    correlate(NOW + SLOT + SECOND)
    assert (shared().integration, shared().cause) == ("quickbooks", "timeout")
    assert "Witness: Gohighlevel answered at 12:15 pm." in witnesses()


def test_a_silence_is_no_witness() -> None:
    """Jane is judged by the clock: that it is fine says nothing about the network just now."""
    sweep(NOW, "ok", "ok")
    for number in ("1", "2"):
        tell(number, NOW + SLOT, "timeout")
    tell("", NOW + SLOT + SECOND, integration="jane", success_at=NOW - SLOT)
    correlate(NOW + SLOT + SECOND)
    assert shared().cause == "server_offline"


def test_one_company_alone_and_unlike_troubles_are_nobodys_outage() -> None:
    sweep(NOW, "ok", "ok", "ok")
    sweep(NOW + SLOT, "intuit_unavailable", "ok", "ok")
    sweep(NOW + 2 * SLOT, "intuit_unavailable", "ok", "reconnect_required")
    assert not Incident.objects.filter(shared=True).exists()
    assert told() == [("opened", "Clinic 3"), ("opened", "Clinic 1")] or told() == [
        ("opened", "Clinic 1"),
        ("opened", "Clinic 3"),
    ]


def test_two_of_many_that_fail_while_the_others_answer_speak_for_themselves() -> None:
    sweep(NOW, *["ok"] * 8)
    sweep(NOW + SLOT, *["intuit_unavailable"] * 2, *["ok"] * 6)
    assert not Incident.objects.filter(shared=True).exists()


def test_what_is_left_of_an_outage_speaks_for_itself() -> None:
    sweep(NOW, "ok", "ok")
    for number in (1, 2):
        sweep(NOW + number * SLOT, *["intuit_unavailable"] * 2)
    assert told() == [("opened", "QuickBooks")]
    sweep(NOW + 3 * SLOT, "ok", "reconnect_required")
    sweep(NOW + 4 * SLOT, "ok", "reconnect_required")
    assert shared().ended_at is not None
    left = Incident.objects.get(account="2")
    assert (left.part_of, left.ended_at, left.cause) == (None, None, "reconnect_required")
    assert ("opened", "Clinic 2") in told()


def test_what_was_withdrawn_for_an_outage_is_told_when_it_speaks_for_itself_again() -> None:
    sweep(NOW, "ok", "ok")
    sweep(NOW + SLOT, "intuit_unavailable", "ok")
    sweep(NOW + 2 * SLOT, "intuit_unavailable", "intuit_unavailable")
    assert told() == [("opened", "QuickBooks")], "and not of Clinic 1 alone, which was queued"
    sweep(NOW + 3 * SLOT, "reconnect_required", "ok")
    assert ("opened", "Clinic 1") in told(), "with the first check of its own trouble"


def test_a_blip_of_another_makes_no_outage_of_one_companys_trouble() -> None:
    sweep(NOW, "ok", "ok")
    for number in (1, 2):
        sweep(NOW + number * SLOT, "intuit_unavailable", "ok")
    at = NOW + 2 * SLOT + SLOT / 2  # somebody looks at the dashboard
    tell("2", at, "intuit_unavailable", confirmed=False, scheduled=False)
    correlate(at)
    sweep(NOW + 3 * SLOT, "intuit_unavailable", "ok")
    assert told() == [("opened", "Clinic 1")]
    assert not Incident.objects.filter(shared=True).exists()


def test_an_outage_that_looks_like_another_by_and_by_is_still_one() -> None:
    sweep(NOW, "ok", "ok")
    for number in (1, 2):
        sweep(NOW + number * SLOT, "timeout", "timeout")
    assert shared().cause == "server_offline"
    sweep(NOW + 3 * SLOT, "intuit_unavailable", "timeout")
    assert (shared().integration, shared().cause) == ("quickbooks", "intuit_unavailable")
    assert "What fails alike points to QuickBooks now." in witnesses()
    sweep(NOW + 4 * SLOT, "timeout", "timeout")
    assert (shared().name, shared().cause) == ("This server", "server_offline")
    for number in (5, 6):
        sweep(NOW + number * SLOT, "ok", "ok")
    assert told() == [("opened", "This server"), ("recovered", "This server")]


def test_who_heard_of_one_alone_hears_of_its_end_though_the_outage_is_not_theirs(
    owner: Recipient,
) -> None:
    Recipient.objects.update(wants=Recipient.Wants.ADMINISTRATOR)
    sweep(NOW, "ok", "ok")
    for number in (1, 2):
        at = NOW + number * SLOT
        tell("1", at, "network_unreachable", who_acts="administrator")
        tell("2", at)
        correlate(at)
    Alert.objects.update(state=Alert.State.SENT)
    sweep(NOW + 3 * SLOT, "intuit_unavailable", "intuit_unavailable")
    for number in (4, 5):
        sweep(NOW + number * SLOT, "ok", "ok")
    assert told() == [("opened", "Clinic 1"), ("recovered", "Clinic 1")]


def test_what_is_paused_is_nobodys_outage() -> None:
    sweep(NOW, "ok", "ok")
    for account in ("1", "2"):
        status.pause("quickbooks", account, NOW + 4 * SLOT, "moving house", "Ana")
    for number in (1, 2, 3):
        sweep(NOW + number * SLOT, "timeout", "timeout")
    assert not Incident.objects.exists()
    for number in (5, 6):
        sweep(NOW + number * SLOT, "timeout", "timeout")
    assert told() == [("opened", "This server")]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_a_check_and_an_outage_that_takes_its_incident_in_do_not_wait_for_each_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.QUIET_HOURS = "22:00-07:00"
    night = NOW.replace(hour=23)
    for number in (0, 1):
        tell("1", night + number * SLOT, "timeout")
    half_way, withdraw_all = threading.Event(), outbox.withdraw_all

    def slow(joining: list[Incident]) -> None:
        withdraw_all(joining)
        half_way.set()
        time.sleep(0.3)  # the check gets to where it has to wait

    monkeypatch.setattr(outbox, "withdraw_all", slow)
    failures: list[Exception] = []

    def take_in() -> None:
        trouble = Trouble(cause="timeout", level=Level.WARNING, who_acts="vendor", started_at=night)
        try:
            with transaction.atomic():
                account = Account("quickbooks", "", "QuickBooks")
                fail_together(account, trouble, [("quickbooks", "1")], night + 2 * SLOT)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=take_in)
    thread.start()
    assert half_way.wait(timeout=10)
    tell("1", night + 2 * SLOT, "reconnect_required", level=Level.CRITICAL, who_acts="clinic")
    thread.join(timeout=30)
    assert failures == []
    assert Incident.objects.get(account="1").cause == "reconnect_required"


def test_an_outage_of_which_nothing_recovers_is_not_said_to_be_over() -> None:
    sweep(NOW, "ok", "ok")
    for number in (1, 2):
        sweep(NOW + number * SLOT, *["intuit_unavailable"] * 2)
    for account in ("1", "2"):
        at = NOW + 3 * SLOT
        tell(account, at, "disconnected_here", level=Level.WARNING, alarming=False)
    correlate(NOW + 3 * SLOT)
    assert shared().ended_at is not None
    assert "recovered" not in {kind for kind, _ in told()}


def test_a_run_that_was_killed_before_it_could_judge_makes_no_message_for_each_company() -> None:
    sweep(NOW, "ok", "ok", "ok")
    for later in (1, 2):
        for number in ("1", "2", "3"):
            tell(number, NOW + later * SLOT, "timeout")
    assert told() == []
    correlate(NOW + 2 * SLOT)
    assert told() == [("opened", "This server")]


def test_a_calm_sweep_costs_one_statement(django_assert_num_queries: Any) -> None:
    sweep(NOW, "ok", "ok")
    with django_assert_num_queries(1):
        correlate(NOW + SLOT)
