"""Claims, order, digests, waits and channels: what becomes of queued alerts."""

import datetime as dt
from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from integrations.alerts import claims, outbox
from integrations.alerts.delivery import trouble
from integrations.levels import Level
from integrations.models import Alert, Incident, IntegrationStatus, Recipient
from integrations.sql import database_now
from tests.alerts import (
    HOUR,
    MINUTE,
    NINE_45,
    add_recipient,
    add_url,
    alert_of,
    close_incident,
    deliver,
    fail_together,
    open_incident,
)
from tests.mail import Fault, MailServer, mailbox
from tests.support import refusing, run

pytestmark = pytest.mark.django_db

State, Kind = Alert.State, Alert.Kind


@pytest.fixture
def server(settings: Settings) -> Iterator[MailServer]:
    with mailbox(settings) as running:
        yield running


@pytest.fixture
def owner() -> Recipient:
    return add_recipient()


def kinds(server: MailServer) -> list[str]:
    return [str(delivery.message["X-Alert-Kind"]) for delivery in server.deliveries]


# --- Claims ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("owner")
def test_what_is_due_is_sent_once_and_marked(server: MailServer) -> None:
    alert = alert_of(open_incident(), Kind.OPENED)
    tally = deliver(NINE_45)
    assert str(tally) == "1 sent, 0 failed, 0 held"
    alert.refresh_from_db()
    assert alert.state == State.SENT
    assert alert.sent_at is not None and alert.sent_at - NINE_45 < MINUTE
    assert alert.message_id == server.only().id
    assert alert.claimed_by == ""
    assert str(deliver(NINE_45 + HOUR)) == "0 sent, 0 failed, 0 held"
    assert len(server.deliveries) == 1


@pytest.mark.usefixtures("owner")
def test_what_somebody_else_has_in_hand_is_left_alone_until_the_claim_runs_out(
    server: MailServer,
) -> None:
    alert = alert_of(open_incident(), Kind.OPENED)
    Alert.objects.update(claimed_by="another", claimed_until=database_now() + MINUTE)
    assert deliver(NINE_45).sent == 0
    Alert.objects.update(claimed_until=database_now() - MINUTE)
    assert deliver(NINE_45).sent == 1
    alert.refresh_from_db()
    assert alert.message_id == server.only().id


@pytest.mark.usefixtures("owner")
def test_of_two_that_want_the_same_alert_one_gets_it() -> None:
    open_incident()
    [first], [second] = claims.units(claims.due(NINE_45)), claims.units(claims.due(NINE_45))
    assert len(claims.claim(first, "one", NINE_45)) == 1
    assert claims.claim(second, "two", NINE_45) == []
    assert Alert.objects.get().claimed_by == "one"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("owner")
def test_a_claim_is_committed_and_nothing_is_locked_while_a_message_is_on_its_way(
    server: MailServer,
) -> None:
    """The server's own thread writes to the database before it acknowledges."""
    open_incident()
    seen: list[tuple[str, bool]] = []

    def look() -> None:
        alert = Alert.objects.get()
        seen.append((alert.state, bool(alert.claimed_by)))
        Alert.objects.filter(pk=alert.pk).update(facts={"touched": True})
        connection.close()

    server.on_event = look
    assert deliver(NINE_45).sent == 1
    assert seen[0] == (State.QUEUED, True)
    assert Alert.objects.get().facts == {"touched": True}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("owner")
def test_a_database_that_hiccups_does_not_forget_what_was_sent(server: MailServer) -> None:
    open_incident()
    with refusing("UPDATE", '"sent_at"', times=1) as refused:
        assert deliver(NINE_45).sent == 1
    assert refused
    assert Alert.objects.get().state == State.SENT
    assert len(server.deliveries) == 1


# --- Order, and what is not sent any more ---------------------------------------------------


@pytest.mark.usefixtures("owner")
def test_nobody_hears_of_the_recovery_before_the_failure(server: MailServer) -> None:
    incident = open_incident()
    Alert.objects.update(attempts=1, due_at=NINE_45 + 3 * HOUR)  # its channel was down
    close_incident(incident, NINE_45 + HOUR, fixed_by="Dana")
    assert str(deliver(NINE_45 + 2 * HOUR)) == "0 sent, 0 failed, 1 held"
    assert deliver(NINE_45 + 3 * HOUR).sent == 2
    assert kinds(server) == ["opened", "recovered"]
    assert "It has worked again since" in server.deliveries[0].text


def test_a_broken_channel_of_one_holds_nothing_of_another(server: MailServer) -> None:
    first, second = add_recipient(), add_recipient("it@clinic.example")
    incident = open_incident()
    Alert.objects.filter(recipient=first).update(attempts=1, due_at=NINE_45 + 3 * HOUR)
    close_incident(incident, NINE_45 + HOUR, fixed_by="Dana")
    deliver(NINE_45 + 2 * HOUR)
    assert [d.recipient for d in server.deliveries] == [second.email] * 2


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize("end", ["over", "acknowledged", "snoozed"])
def test_a_reminder_that_came_too_late_is_withdrawn(server: MailServer, end: str) -> None:
    incident = open_incident()
    deliver(NINE_45)
    outbox.reminder(incident, 1, NINE_45 + 4 * HOUR)
    values = {
        "over": {"ended_at": NINE_45 + 4 * HOUR},
        "acknowledged": {"acknowledged_at": NINE_45 + 4 * HOUR},
        "snoozed": {"snoozed_until": NINE_45 + 40 * HOUR},
    }[end]
    Incident.objects.update(**values)
    assert str(deliver(NINE_45 + 4 * HOUR + MINUTE)) == "0 sent, 0 failed, 0 held"
    assert alert_of(incident, Kind.REMINDER).state == State.WITHDRAWN
    assert kinds(server) == ["opened"]


def test_whoever_was_switched_off_hears_nothing_more(server: MailServer, owner: Recipient) -> None:
    open_incident()
    Recipient.objects.update(active=False)
    deliver(NINE_45)
    assert Alert.objects.get().state == State.WITHDRAWN
    assert server.deliveries == []


@pytest.mark.usefixtures("owner")
def test_quiet_hours_hold_all_but_the_first_mail_of_something_critical(
    server: MailServer, settings: Settings
) -> None:
    settings.QUIET_HOURS = "22:00-07:00"
    evening = NINE_45.replace(hour=21, minute=50)
    night, morning = evening.replace(hour=23), evening + dt.timedelta(hours=10)
    warning = open_incident("1", "North", cause="timeout", level=Level.WARNING, at=evening)
    Alert.objects.update(attempts=1, due_at=night)  # the mail server was down until now
    critical = open_incident("2", "South", at=night)
    assert str(deliver(night)) == "1 sent, 0 failed, 1 held"
    assert server.only().message["X-Incident"] == str(critical.pk)
    assert deliver(morning).sent == 1
    assert server.deliveries[1].message["X-Incident"] == str(warning.pk)


# --- Pauses ---------------------------------------------------------------------------------


def pause(incident: Incident, until: dt.datetime) -> None:
    """Until then nobody is to hear of its account."""
    values = {
        "name": incident.name,
        "level": incident.level,
        "state": incident.cause,
        "since": incident.started_at,
        "checked_at": incident.started_at,
        "paused_until": until,
    }
    IntegrationStatus.objects.update_or_create(
        integration=incident.integration, account=incident.account, defaults=values
    )


@pytest.mark.usefixtures("owner")
def test_what_was_queued_before_a_pause_is_told_after_it_if_it_lasts(server: MailServer) -> None:
    incident = open_incident()
    other = open_incident("2", "Northside Physio")
    pause(incident, NINE_45 + HOUR)
    assert str(deliver(NINE_45 + MINUTE)) == "1 sent, 0 failed, 0 held"
    assert server.only().message["X-Incident"] == str(other.pk)
    assert alert_of(incident, Kind.OPENED).state == State.WITHDRAWN
    open_incident(at=NINE_45 + 2 * HOUR)  # the next check that fails
    assert deliver(NINE_45 + 2 * HOUR).sent == 1
    assert server.deliveries[1].message["X-Incident"] == str(incident.pk)


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize("delivered_after", [HOUR, 3 * HOUR], ids=["within", "afterwards"])
def test_what_ends_within_a_pause_is_not_told(
    server: MailServer, delivered_after: dt.timedelta
) -> None:
    incident = open_incident()
    deliver(NINE_45)
    outbox.reminder(incident, 1, NINE_45 + MINUTE)
    pause(incident, NINE_45 + 2 * HOUR)
    close_incident(incident, NINE_45 + HOUR / 2)
    assert str(deliver(NINE_45 + delivered_after)) == "0 sent, 0 failed, 0 held"
    assert kinds(server) == ["opened"]
    assert alert_of(incident, Kind.RECOVERED).state == State.WITHDRAWN


@pytest.mark.usefixtures("owner")
def test_what_ends_after_a_pause_is_told(server: MailServer) -> None:
    incident = open_incident()
    deliver(NINE_45)
    pause(incident, NINE_45 + HOUR)
    close_incident(incident, NINE_45 + 2 * HOUR, fixed_by="Dana")
    assert deliver(NINE_45 + 2 * HOUR).sent == 1
    assert kinds(server) == ["opened", "recovered"]


@pytest.mark.usefixtures("owner")
def test_what_speaks_for_several_is_told_unless_all_of_them_are_paused(server: MailServer) -> None:
    parts = [open_incident(str(n), f"Clinic {n}", tell=False) for n in range(2)]
    shared = fail_together(parts)
    pause(parts[0], NINE_45 + HOUR)
    assert deliver(NINE_45).sent == 1
    outbox.reminder(shared, 1, NINE_45)
    pause(parts[1], NINE_45 + HOUR)
    assert str(deliver(NINE_45 + MINUTE)) == "0 sent, 0 failed, 0 held"
    assert kinds(server) == ["opened"]


@pytest.mark.usefixtures("owner")
def test_pauses_cost_one_statement_for_all_that_is_due(server: MailServer) -> None:
    for number in range(5):
        open_incident(str(number), f"Clinic {number}", cause=f"cause_{number}")
    with CaptureQueriesContext(connection) as queries:
        assert deliver(NINE_45).sent == len(server.deliveries) == 5
    assert sum('"paused_until"' in query["sql"] for query in queries) == 1


# --- Digests --------------------------------------------------------------------------------


def fail_alike(count: int, cause: str = "reconnect_required") -> list[Incident]:
    return [
        open_incident(str(number), f"Clinic {number}", cause=cause, at=NINE_45 + number * MINUTE)
        for number in range(count)
    ]


@pytest.mark.usefixtures("owner")
def test_many_companies_that_fail_alike_make_one_message(server: MailServer) -> None:
    found = fail_alike(5)
    open_incident("99", "Another", cause="subscription_ended")
    assert deliver(NINE_45 + HOUR).sent == 6
    digest, other = sorted(server.deliveries, key=lambda one: str(one.message["Subject"]))
    assert other.message["X-Incident"] != digest.message["X-Incident"]
    assert digest.message["Subject"] == "5 companies: QuickBooks is disconnected"
    assert digest.message["X-Incident"] == ", ".join(str(incident.pk) for incident in found)
    alerts = Alert.objects.filter(incident__in=found)
    assert {(alert.state, alert.message_id) for alert in alerts} == {(State.SENT, digest.id)}
    for incident in found:
        close_incident(incident, NINE_45 + 2 * HOUR, fixed_by="Dana")
    assert deliver(NINE_45 + 3 * HOUR).sent == 5
    recovered = server.deliveries[-1]
    assert recovered.message["Subject"] == "5 companies: QuickBooks works again"
    assert recovered.message["References"] == digest.id


@pytest.mark.usefixtures("owner")
def test_two_companies_are_told_of_one_by_one(server: MailServer) -> None:
    fail_alike(2)
    deliver(NINE_45 + HOUR)
    assert len(server.deliveries) == 2


@pytest.mark.usefixtures("owner")
def test_a_thousand_companies_are_one_message_and_a_handful_of_queries(
    server: MailServer,
) -> None:
    recipient = Recipient.objects.get()
    found = Incident.objects.bulk_create(
        Incident(
            integration="quickbooks",
            account=str(number),
            name=f"Clinic {number}",
            cause="reconnect_required",
            level=Level.CRITICAL.value,
            who_acts="clinic",
            started_at=NINE_45 - number * MINUTE,
            confirmed_at=NINE_45,
        )
        for number in range(1000)
    )
    Alert.objects.bulk_create(
        Alert(
            recipient=recipient,
            incident=incident,
            kind=Kind.OPENED,
            key=f"incident:{incident.pk}:opened",
            queued_at=NINE_45,
            due_at=NINE_45,
        )
        for incident in found
    )
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert deliver(NINE_45).sent == 1000
    assert len(queries) < 40
    message = server.only()
    assert message.message["Subject"] == "1,000 companies: QuickBooks is disconnected"
    named = [line for line in message.text.splitlines() if line.startswith("- ")]
    assert len(named) == 21
    assert named[0].startswith("- Clinic 999, since")  # the oldest first
    assert named[-1] == "- and 980 more"


@pytest.mark.usefixtures("owner")
def test_a_digest_that_may_have_arrived_is_repeated_as_it_was(server: MailServer) -> None:
    fail_alike(4)
    server.fault = Fault.DROP
    assert deliver(NINE_45 + HOUR).failed == 4
    server.fault = Fault.NONE
    open_incident("9", "One more", at=NINE_45 + HOUR)
    assert deliver(NINE_45 + 2 * HOUR).sent == 5
    subjects = [str(delivery.message["Subject"]) for delivery in server.deliveries]
    assert subjects.count("4 companies: QuickBooks is disconnected") == 2
    assert len({delivery.id for delivery in server.deliveries}) == len(subjects) - 1 == 2


@pytest.mark.usefixtures("owner")
def test_forecasts_of_many_companies_are_one_message(server: MailServer) -> None:
    facts = {
        "title": "Sign in to QuickBooks again by December 3",
        "impact": "Until then everything works.",
        "next_step": "Sign in as a QuickBooks administrator.",
        "url": "https://monitor.example.org/quickbooks/fix/",
    }
    for number in range(3):
        told = {**facts, "subject": f"Clinic {number}: {facts['title']}"}
        outbox.forecast(Recipient.objects.all(), f"forecast:{number}", told, NINE_45)
    assert deliver(NINE_45).sent == 3
    text = server.only().text
    assert all(f"- Clinic {number}: Sign in" in text for number in range(3))


# --- The command and the dashboard ----------------------------------------------------------


@pytest.mark.usefixtures("owner")
def test_the_command_sends_reminds_and_says_how_many(server: MailServer) -> None:
    now = database_now()
    open_incident(at=now - 5 * HOUR)
    assert run("send_alerts") == (0, "Alerts: 2 sent, 0 failed, 0 held\n")
    assert sorted(kinds(server)) == ["opened", "reminder"]
    assert run("send_alerts", "--quiet") == (0, "")


@pytest.mark.usefixtures("owner")
def test_the_command_reports_a_failure_and_still_ends_well(server: MailServer) -> None:
    server.refuse()
    open_incident(at=database_now())
    assert run("send_alerts", "--quiet") == (0, "Alerts: 0 sent, 1 failed, 0 held\n")


def test_without_a_database_the_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing("integrations_alert"):
        code, text = run("send_alerts", "--quiet")
    assert code == 3
    assert "the monitor's database does not answer" in text


@pytest.mark.usefixtures("owner")
def test_a_schedule_that_sends_nothing_shows() -> None:
    open_incident()
    assert trouble(NINE_45 + 5 * MINUTE) == []
    assert trouble(NINE_45 + HOUR) == [
        "Alerts have been waiting since 9:45 am: the scheduled job send_alerts does not run. "
        "Ask your IT person to set up cron again (README)."
    ]


@pytest.mark.parametrize(
    ("reason", "to_check"),
    [
        ("the mail server refused our login (535)", "the user and the password in EMAIL_URL"),
        ("the mail server refused this address (550)", "the address in the admin"),
        ("the mail server hung up", "the mail server, and EMAIL_URL"),
    ],
)
def test_what_to_do_about_a_way_that_fails_is_said(reason: str, to_check: str) -> None:
    add_recipient(failing_since=NINE_45, error=reason)
    assert trouble(NINE_45 + HOUR) == [
        f"E-mail to owner@… has not gone through since 9:45 am: {reason}. "
        f"Ask your IT person to check {to_check}."
    ]


def test_the_console_gets_the_mail_where_none_is_set_up(
    settings: Settings, capfd: pytest.CaptureFixture[str], owner: Recipient
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    open_incident()
    assert deliver(NINE_45).sent == 1
    assert capfd.readouterr().out.count("X-Alert-Kind: opened") == 1
    assert trouble(NINE_45) == [
        "E-mail is only printed on the server: EMAIL_URL is not set. "
        "Ask your IT person to enter the mail server."
    ]
    Recipient.objects.update(active=False)
    assert trouble(NINE_45) == []


def test_whom_no_mail_reaches_anyway_the_console_does_not_trouble(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    add_url("json://127.0.0.1/")
    assert trouble(NINE_45) == []
