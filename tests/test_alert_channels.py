"""Channels that fail, and what becomes of the alerts: mail servers of every temper, and Apprise."""

import datetime as dt
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from integrations.alerts.delivery import trouble
from integrations.models import Alert, Recipient
from tests.alerts import (
    HOUR,
    MINUTE,
    NINE_45,
    SHORT,
    add_recipient,
    add_url,
    alert_of,
    close_incident,
    deliver,
    open_incident,
)
from tests.mail import Fault, MailServer, mailbox
from tests.support import EchoServer, Server, within

pytestmark = [
    pytest.mark.django_db,
    # Apprise's, about a module of Python 3.13.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

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


@pytest.mark.usefixtures("owner")
def test_a_channel_that_fails_is_tried_after_1_2_4_minutes_and_at_most_an_hour(
    server: MailServer,
) -> None:
    server.refuse()
    open_incident()
    at, waits = NINE_45, []
    for _ in range(9):
        assert str(deliver(at)) == "0 sent, 1 failed, 0 held"
        due_at = Alert.objects.get().due_at
        waits.append(round((due_at - at) / MINUTE))
        assert str(deliver(due_at - dt.timedelta(seconds=1))) == "0 sent, 0 failed, 0 held"
        at = due_at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    recipient = Recipient.objects.get()
    assert recipient.failing_since is not None
    assert recipient.failing_since - NINE_45 < MINUTE
    assert recipient.error == Alert.objects.get().error == "the mail server refused the connection"
    assert trouble(at) == [
        "E-mail to owner@… has not gone through since 9:45 am: "
        "the mail server refused the connection. "
        "Ask your IT person to check the mail server, and EMAIL_URL."
    ]
    server.listen()
    assert deliver(at).sent == 1
    recipient.refresh_from_db()
    assert recipient.failing_since is None
    assert recipient.error == ""
    assert recipient.last_sent_at is not None
    assert Alert.objects.get().error == ""
    assert trouble(at) == []


@pytest.mark.parametrize(
    ("fault", "reason", "may_have_arrived"),
    [
        (Fault.SILENT, "the mail server did not answer in time", True),
        (Fault.DRIP, "the mail server did not answer in time", True),
        (Fault.HANG, "the mail server did not answer in time", True),
        (Fault.DROP, "the mail server hung up", True),
        (Fault.CUT, "the mail server hung up", True),
        (Fault.LATER, "the mail server refused this address (451)", False),
        (Fault.NOBODY, "the mail server refused this address (550)", False),
        (Fault.UNWANTED, "the mail server refused the message (554)", False),
        (Fault.CLOSING, "the mail server refused the message (421)", False),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else None,
)
@pytest.mark.usefixtures("owner")
def test_whatever_the_mail_server_does_the_alert_stays_and_is_sent_later(
    server: MailServer, fault: Fault, reason: str, may_have_arrived: bool
) -> None:
    alert = alert_of(open_incident(), Kind.OPENED)
    server.fault = fault
    with within(SHORT + 5):
        assert str(deliver(NINE_45, SHORT)) == "0 sent, 1 failed, 0 held"
    alert.refresh_from_db()
    assert (alert.state, alert.error, alert.attempts) == (State.QUEUED, reason, 1)
    assert (alert.claimed_by, alert.claimed_until) == ("", None)
    assert bool(alert.message_id) == may_have_arrived
    server.fault = Fault.NONE
    assert deliver(alert.due_at).sent == 1
    assert len({delivery.id for delivery in server.deliveries}) == 1


def test_a_mail_server_that_hangs_is_asked_once_in_a_run(server: MailServer) -> None:
    for number in range(6):
        add_recipient(f"person{number}@clinic.example")
    team = EchoServer()
    with team:
        add_url(f"json://127.0.0.1:{team.server_address[1]}/")
        open_incident()
        server.fault = Fault.SILENT
        tally = deliver(NINE_45, SHORT)
    assert str(tally) == "0 sent, 2 failed, 5 held"  # the stand-in takes no POST
    assert server.connections == 1
    mails = Alert.objects.filter(recipient__email__gt="")
    assert len({(row.error, row.attempts) for row in mails}) == 1
    assert {row.failing_since is not None for row in Recipient.objects.all()} == {True}
    server.fault = Fault.NONE
    assert deliver(NINE_45 + 2 * MINUTE).sent == 6


def test_a_message_that_breaks_the_channel_does_not_keep_the_others_back_for_ever(
    server: MailServer,
) -> None:
    people = [f"person{number}@clinic.example" for number in range(3)]
    for address in people:
        add_recipient(address)
    open_incident()
    server.poison = people[0]
    for attempt in range(3):
        deliver(NINE_45 + 2 * attempt * HOUR)
    assert {delivery.recipient for delivery in server.deliveries} == set(people[1:])
    assert Alert.objects.get(state=State.QUEUED).recipient.email == people[0]


def test_an_address_that_does_not_exist_holds_nothing_of_the_others(server: MailServer) -> None:
    add_recipient("gone@clinic.example")
    open_incident()
    server.fault = Fault.NOBODY
    deliver(NINE_45)
    server.fault = Fault.NONE
    other = add_recipient("it@clinic.example")
    open_incident("2", "South")
    Alert.objects.filter(recipient__email="gone@clinic.example").update(due_at=NINE_45 + HOUR)
    assert deliver(NINE_45).sent == 1
    assert server.only().recipient == other.email


@pytest.mark.usefixtures("owner")
def test_an_outage_that_is_over_before_the_mail_server_works_is_told_of_all_the_same(
    server: MailServer,
) -> None:
    """No alert is lost to a broken channel, not even one that was never tried itself."""
    server.refuse()
    first = open_incident("1", "North")
    second = open_incident("2", "South", cause="subscription_ended")
    assert str(deliver(NINE_45)) == "0 sent, 1 failed, 1 held"
    for incident in (first, second):
        close_incident(incident, NINE_45 + MINUTE / 2, fixed_by="Dana")
    server.listen()
    assert deliver(NINE_45 + HOUR).sent == 4
    assert sorted(kinds(server)) == ["opened", "opened", "recovered", "recovered"]


@pytest.mark.usefixtures("owner")
def test_when_the_channel_works_again_all_that_waits_goes_out_at_once(server: MailServer) -> None:
    server.refuse()
    open_incident("1", "North")
    for minutes in (0, 1, 3, 7, 15, 31):
        deliver(NINE_45 + minutes * MINUTE)
    server.listen()
    open_incident("2", "South", at=NINE_45 + 32 * MINUTE)
    assert str(deliver(NINE_45 + 32 * MINUTE)) == "2 sent, 0 failed, 0 held"


@pytest.mark.usefixtures("owner")
def test_reasons_repeat_nothing_of_what_the_other_side_says(server: MailServer) -> None:
    open_incident()
    server.fault = Fault.NOBODY
    deliver(NINE_45)
    assert "secret" not in Alert.objects.get().error + Recipient.objects.get().error


# --- Apprise ---------------------------------------------------------------------------------


def test_a_service_is_told_by_its_url_and_its_secret_stays_secret(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    posted = bytearray()

    def take(server: Server, wire: object) -> None:
        data = wire.recv(65536)  # type: ignore[attr-defined]
        while b'"version"' not in data:
            data += wire.recv(65536)  # type: ignore[attr-defined]
        posted.extend(data)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        wire.sendall(answer)  # type: ignore[attr-defined]

    with Server(take) as service:
        team = add_url(f"json://user:hunter2@127.0.0.1:{service.port}/path-token")
        open_incident()
        assert deliver(NINE_45).sent == 1
    assert b"Harbour Physio: QuickBooks is disconnected, since 9:45 am" in posted
    assert b"/quickbooks/fix/?realm=" in posted
    with within(5):
        open_incident("2", "South")
        assert deliver(NINE_45 + MINUTE).failed == 1  # nobody listens there any more
    team.refresh_from_db()
    assert team.error == "no answer from the service"
    assert trouble(NINE_45 + HOUR) == [
        "The alert to the team has not gone through since 9:46 am: no answer from the service. "
        "Ask your IT person to check the service, and its URL in the admin."
    ]
    said = "".join(capfd.readouterr()) + caplog.text
    assert "hunter2" not in said and "path-token" not in said


def test_each_service_is_a_channel_of_its_own() -> None:
    def hang(server: Server, wire: object) -> None:
        server.over.wait()

    with Server(hang) as slow, EchoServer() as quick:
        add_url(f"json://127.0.0.1:{slow.port}/")
        add_url(f"jsons://127.0.0.1:{quick.server_address[1]}/")
        for number in range(2):
            open_incident(str(number), f"Clinic {number}", cause=f"cause_{number}")
        with within(2 * SHORT + 5):
            assert str(deliver(NINE_45, SHORT)) == "0 sent, 2 failed, 2 held"
        assert slow.connections == 1
    assert {row.error for row in Recipient.objects.all()} == {
        "the service did not answer in time",
        "no answer from the service",
    }


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("syslog://", "it would only show something on the server itself"),
        ("nonsense://host/secret", "it is not a URL that Apprise can use"),
    ],
)
def test_a_url_that_cannot_be_used_says_so(url: str, reason: str) -> None:
    add_url(url)
    open_incident()
    assert deliver(NINE_45).failed == 1
    assert Alert.objects.get().error == reason
