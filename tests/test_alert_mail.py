"""Alerts as they arrive in a mailbox, over real SMTP: headers, thread, text and HTML."""

from collections.abc import Iterator
from dataclasses import asdict

import pytest
from playwright.sync_api import Page
from pytest_django import Settings

from config.schedule import CHECKER
from integrations import attention
from integrations.alerts import outbox, watcher
from integrations.alerts.facts import Facts
from integrations.alerts.reminders import remind
from integrations.jane.models import Kind, Membership, MembershipChange
from integrations.levels import Level
from integrations.models import Recipient, ScheduledRun
from quickbooks.integration import QuickBooks
from quickbooks.models import OAuthToken
from tests import jane
from tests.alerts import (
    HOUR,
    MINUTE,
    NINE_45,
    add_recipient,
    close_incident,
    deliver,
    open_incident,
)
from tests.conftest import HARBOUR
from tests.mail import Delivery, MailServer, mailbox
from tests.support import add_check
from tests.walk import lives_up

pytestmark = pytest.mark.django_db

SITE = "https://monitor.example.org"


@pytest.fixture
def server(settings: Settings) -> Iterator[MailServer]:
    settings.SITE_URL = SITE
    with mailbox(settings) as running:
        yield running


@pytest.fixture
def owner() -> Recipient:
    return add_recipient(name="The owner")


def header(delivery: Delivery, name: str) -> str | None:
    found = delivery.message[name]
    # Where it is not ASCII it begins on a line of its own, and the parser keeps that line's space.
    return None if found is None else str(found).strip()


@pytest.mark.usefixtures("owner")
def test_a_failure_its_reminder_and_its_recovery_make_one_thread(server: MailServer) -> None:
    incident = open_incident()
    deliver(NINE_45)
    remind(NINE_45 + 4 * HOUR)
    deliver(NINE_45 + 4 * HOUR)
    close_incident(incident, NINE_45 + 5 * HOUR, fixed_by="Dana")
    deliver(NINE_45 + 5 * HOUR)
    opened, reminder, recovered = server.deliveries
    root = opened.id
    assert root.startswith("<alert.")
    assert root.endswith("@monitor.example.org>")
    kinds = [header(delivery, "X-Alert-Kind") for delivery in server.deliveries]
    assert kinds == ["opened", "reminder", "recovered"]
    for delivery in server.deliveries:
        assert header(delivery, "X-Incident") == str(incident.pk)
        assert header(delivery, "Auto-Submitted") == "auto-generated"
        assert header(delivery, "To") == "owner@clinic.example"
        assert delivery.message.get_content_type() == "multipart/alternative"
    assert header(opened, "References") is header(opened, "In-Reply-To") is None
    for delivery in (reminder, recovered):
        assert header(delivery, "References") == header(delivery, "In-Reply-To") == root
    assert len({delivery.id for delivery in server.deliveries}) == 3


def test_everybody_has_a_thread_of_their_own(server: MailServer) -> None:
    for address in ("owner@clinic.example", "it@clinic.example"):
        add_recipient(address)
    incident = open_incident()
    deliver(NINE_45)
    close_incident(incident, NINE_45 + HOUR, fixed_by="Dana")
    deliver(NINE_45 + HOUR)
    roots = {d.recipient: d.id for d in server.deliveries[:2]}
    assert len(set(roots.values())) == 2
    for delivery in server.deliveries[2:]:
        assert header(delivery, "References") == roots[delivery.recipient]


@pytest.mark.usefixtures("owner")
def test_subject_and_first_line_say_it_all(server: MailServer) -> None:
    incident = open_incident()
    deliver(NINE_45 + 25 * MINUTE)
    remind(NINE_45 + 4 * HOUR)
    deliver(NINE_45 + 4 * HOUR)
    close_incident(incident, NINE_45 + 5 * HOUR + 20 * MINUTE, fixed_by="Dana")
    deliver(NINE_45 + 6 * HOUR)
    told = [
        (header(delivery, "Subject"), delivery.text.splitlines()[0])
        for delivery in server.deliveries
    ]
    assert told == [
        (
            "Harbour Physio: QuickBooks is disconnected, since 9:45 am",
            "Harbour Physio: QuickBooks is disconnected. Since Tuesday at 9:45 am, for 25 min now.",
        ),
        (
            "Reminder: Harbour Physio: QuickBooks is disconnected, for 4 h now",
            "Harbour Physio: QuickBooks is disconnected. Since Tuesday at 9:45 am, for 4 h now.",
        ),
        (
            "Harbour Physio: QuickBooks works again, after 5 h 20 min",
            "Harbour Physio: QuickBooks works again. "
            "Tuesday at 9:45 am to 3:05 pm, 5 h 20 min in all. Fixed by Dana.",
        ),
    ]


def test_the_first_mail_says_what_it_means_what_to_do_and_where(
    server: MailServer, owner: Recipient
) -> None:
    incident = open_incident()
    deliver(NINE_45)
    delivery = server.only()
    text = delivery.text
    assert "Payment tracking stopped Tuesday at 9:45 am. Jane bookings and card payments" in text
    assert "What to do: Sign in as a QuickBooks administrator" in text
    fix = f"{SITE}/quickbooks/fix/?realm={HARBOUR}"
    assert f"Fix it:\n{fix}\n" in text
    assert f"I’m on it:\n{SITE}/incidents/answer/?link={incident.pk}-{owner.pk}~" in text
    assert "Remind me later:" in text
    assert f"All about this incident:\n{SITE}/incidents/{incident.pk}/" in text
    assert f"Sent to The owner by the connection monitor at {SITE}" in text
    html = delivery.html
    assert f'href="{fix}"' in html
    assert html.index(fix) < html.index("/incidents/answer/")
    assert "<img" not in html
    assert "http-equiv" not in html
    assert all(url.startswith(f'"{SITE}') for url in html.split("href=")[1:])


@pytest.mark.usefixtures("owner")
def test_what_intuits_support_asks_for_stands_below(server: MailServer) -> None:
    OAuthToken.objects.create(realm_id=HARBOUR, company_name="Harbour Physio", state="live")
    add_check(checked_at=NINE_45, diagnosis="access_denied", intuit_tid="1-abc")
    open_incident(cause="access_denied")
    deliver(NINE_45)
    delivery = server.only()
    assert "Reference for support: 1-abc" in delivery.text
    assert "Reference for support: 1-abc" in delivery.html


@pytest.mark.usefixtures("owner")
def test_what_nobody_can_act_on_asks_nobody_to_act(server: MailServer) -> None:
    open_incident(cause="intuit_unavailable", level=Level.WARNING, who_acts="intuit")
    deliver(NINE_45)
    text = server.only().text
    assert "The problem is at QuickBooks, not at your clinic." in text
    assert "See how it stands:" in text
    assert "on it" not in text


@pytest.mark.usefixtures("owner")
def test_who_is_on_it_already_is_said(server: MailServer) -> None:
    incident = open_incident()
    attention.acknowledge(incident, "Dana", NINE_45 + MINUTE)
    deliver(NINE_45 + 5 * MINUTE)
    text = server.only().text
    assert "Dana has been on it since 9:46 am." in text
    assert "Remind me later" not in text


@pytest.mark.usefixtures("owner")
def test_a_recovery_lists_what_happened_meanwhile_and_may_not_be_in_the_books(
    server: MailServer, settings: Settings
) -> None:
    settings.JANE_WEBHOOK_SECRETS = [jane.SECRET]
    incident = open_incident()
    for number in range(25):
        membership = Membership.objects.create(
            person_id=str(number),
            key=f"plan:{number}",
            vendor_id=str(82_000_000 + number),
            plan="Mrs Miller's plan",
            status="active",
            changed_at=NINE_45,
            first_seen_at=NINE_45,
        )
        MembershipChange.objects.create(
            membership=membership, at=NINE_45 + number * MINUTE, kind=Kind.APPEARED, status="active"
        )
    deliver(NINE_45 + HOUR)
    close_incident(incident, NINE_45 + HOUR, fixed_by="Dana")
    deliver(NINE_45 + 2 * HOUR)
    assert [delivery.message["X-Alert-Kind"] for delivery in server.deliveries] == [
        "opened",
        "recovered",
    ]
    for delivery in server.deliveries:
        assert "25 memberships began in Jane" in delivery.text
        listed = [line for line in delivery.text.splitlines() if line.startswith("- ")]
        assert listed[0] == "- November 24, 10:09 am: began, 82000024"
        assert len(listed) == 21
        assert listed[-1] == "- and more, on the page of the incident"
        assert "Miller" not in delivery.text
    assert "Check by hand what is listed below." in server.deliveries[1].text


@pytest.mark.usefixtures("owner")
def test_what_healed_by_itself_says_so(server: MailServer) -> None:
    incident = open_incident(cause="timeout", level=Level.WARNING, who_acts="intuit")
    deliver(NINE_45)
    close_incident(incident, NINE_45 + HOUR)
    deliver(NINE_45 + 2 * HOUR)
    text = server.deliveries[1].text
    assert "It came back by itself." in text
    assert "\nNothing to do.\n" in text


@pytest.mark.browser
@pytest.mark.usefixtures("owner")
def test_it_is_readable_in_light_and_in_the_dark_on_a_phone_and_on_a_desk(
    server: MailServer, page: Page
) -> None:
    open_incident(name="Harbour-and-Northside-Physiotherapy-and-Rehabilitation-Centre")
    for number in range(3):
        open_incident(str(number), f"Clinic {number}", cause="subscription_ended")
    deliver(NINE_45 + HOUR)
    assert len(server.deliveries) == 2
    for delivery in server.deliveries:
        page.set_content(delivery.html)
        assert lives_up(page) == []
        page.set_viewport_size({"width": 360, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        button = page.locator("td a").bounding_box()
        assert button is not None
        assert button["height"] >= 44


@pytest.mark.usefixtures("owner")
def test_however_long_a_name_is_the_subject_says_what_is_wrong(server: MailServer) -> None:
    name = "Harbour and Northside Physiotherapy and Rehabilitation " * 4
    incident = open_incident(name=name[:200].strip())
    deliver(NINE_45)
    close_incident(incident, NINE_45 + HOUR, fixed_by="Dana")
    deliver(NINE_45 + HOUR)
    assert [header(delivery, "Subject") for delivery in server.deliveries] == [
        "Harbour and Northside Physiotherapy and…: QuickBooks is disconnected, since 9:45 am",
        "Harbour and Northside Physiotherapy and…: QuickBooks works again, after 1 h",
    ]
    assert f"{incident.name}: QuickBooks is disconnected." in server.deliveries[0].text


@pytest.mark.usefixtures("owner")
def test_names_forge_neither_headers_nor_lines_nor_html(server: MailServer) -> None:
    name = "Harbour\r\nBcc: everybody@clinic.example\r\n\r\nPhysio \u202e<b>&"
    open_incident(name=name)
    assert deliver(NINE_45).sent == 1
    delivery = server.only()
    assert header(delivery, "Bcc") is None
    assert header(delivery, "Subject") == (
        "Harbour Bcc: everybody@clinic.example P…: QuickBooks is disconnected, since 9:45 am"
    )
    assert "<b>" not in delivery.html
    assert "\u202e" not in delivery.text + delivery.html


@pytest.mark.usefixtures("owner")
def test_an_alert_without_words_goes_out_all_the_same(
    server: MailServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault in a vendor's folder must not keep people from hearing that something is wrong."""
    incident = open_incident()

    def stumble(*args: object, **kwargs: object) -> None:
        raise KeyError("company")

    monkeypatch.setattr(QuickBooks, "explain", stumble)
    assert deliver(NINE_45).sent == 1
    delivery = server.only()
    assert header(delivery, "Subject") == "Harbour Physio: reconnect required"
    assert f"{SITE}/incidents/{incident.pk}/" in delivery.text
    assert "KeyError" in caplog.text


@pytest.mark.usefixtures("owner")
def test_what_is_foreseen_is_told_as_it_was_written_down(server: MailServer) -> None:
    facts = Facts(
        subject="Harbour Physio: sign in again by December 4",
        title="QuickBooks wants a new sign-in by December 4",
        impact="Until then everything works.",
        next_step="Sign in as a QuickBooks administrator.",
        url=f"{SITE}/quickbooks/fix/",
        lines=["Why: five years are over."],
    )
    outbox.forecast(Recipient.objects.all(), "forecast:1", asdict(facts), NINE_45)
    deliver(NINE_45)
    delivery = server.only()
    assert header(delivery, "Subject") == facts.subject
    assert header(delivery, "X-Alert-Kind") == "forecast"
    assert header(delivery, "X-Incident") is header(delivery, "References") is None
    for text in (facts.title, facts.impact, facts.next_step, facts.url, facts.lines[0]):
        assert text in delivery.text
        assert text in delivery.html


def test_a_test_alert_says_that_it_is_one(server: MailServer, owner: Recipient) -> None:
    outbox.test(owner, "test:1", NINE_45)
    deliver(NINE_45)
    assert header(server.only(), "X-Alert-Kind") == "test"
    assert header(server.only(), "Subject") == "Test alert: it reaches you"


def test_what_the_watcher_tells_has_everything_that_a_message_needs(server: MailServer) -> None:
    add_recipient(wants=Recipient.Wants.ADMINISTRATOR)
    for minutes in (0, 15, 300, 315):
        at = NINE_45 + minutes * MINUTE
        ScheduledRun.objects.create(job=CHECKER.name, started_at=at, finished_at=at, ok=True)
    watcher.watch(NINE_45 + 316 * MINUTE)
    assert deliver(NINE_45 + 316 * MINUTE).sent == 1
    assert header(server.only(), "X-Alert-Kind") == "watcher"
    assert "Nothing was watched for" in server.only().text
