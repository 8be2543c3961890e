"""Recipients and alerts in the admin: who hears of what, and what everybody was told."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.alerts import outbox, recipients
from integrations.models import Alert, IntegrationStatus, Recipient
from tests.alerts import HOUR, NINE_45, add_recipient, add_url, open_incident
from tests.conftest import HARBOUR
from tests.support import text_of

pytestmark = [
    pytest.mark.django_db,
    # Apprise's, about a module of Python 3.13.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

RECIPIENTS, ALERTS = "/admin/integrations/recipient/", "/admin/integrations/alert/"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
OTHER = "json://user:hunter2@127.0.0.1/hook"


@pytest.fixture
def client() -> Client:
    user = User.objects.create_user("manager", is_staff=True)
    names = ("view_recipient", "add_recipient", "change_recipient", "view_alert")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


def submit(client: Client, recipient: Recipient | None = None, /, **values: Any) -> str:
    """Fill in the form and save: what it complains about, empty if it is saved."""
    form = {"name": "Owner", "email": "", "new_url": "", "wants": "clinic", "active": "on"}
    path = f"{RECIPIENTS}{recipient.pk}/change/" if recipient else f"{RECIPIENTS}add/"
    answer = client.post(path, {**form, "accounts": "", **values})
    if answer.status_code == 302:
        return ""
    assert answer.status_code == 200
    return text_of(answer)


def change_page(client: Client, recipient: Recipient) -> str:
    return text_of(client.get(f"{RECIPIENTS}{recipient.pk}/change/"))


def test_somebody_is_told_by_mail_of_what_concerns_them(client: Client) -> None:
    add_status(HARBOUR, "Harbour Physio")
    chosen = {"integrations": ["quickbooks", "jane"], "accounts": f"{HARBOUR} Harbour Physio\n"}
    assert submit(client, email="owner@clinic.example", **chosen) == ""
    found = Recipient.objects.get()
    assert found.key == recipients.key_of("owner@clinic.example")
    assert (found.wants, found.active) == ("clinic", True)
    assert found.integrations == ["quickbooks", "jane"]
    assert found.accounts == [HARBOUR]
    assert recipients.concerned(open_incident(tell=False)) == [found]
    assert recipients.concerned(open_incident("2", "Northside Physio", tell=False)) == []


def add_status(account: str, name: str) -> None:
    IntegrationStatus.objects.create(
        integration="quickbooks",
        account=account,
        name=name,
        level="healthy",
        state="ok",
        since=NINE_45,
        checked_at=NINE_45,
    )


def test_a_url_is_stored_encrypted_and_never_shown_again(client: Client) -> None:
    assert submit(client, new_url=SLACK) == ""
    found = Recipient.objects.get()
    assert found.url == SLACK
    assert SLACK not in Recipient.objects.values_list("url", flat=True)
    for path in (RECIPIENTS, f"{RECIPIENTS}{found.pk}/change/"):
        page = client.get(path).content.decode()
        assert "slack://…" in page
        assert "TIiajkdnlazkcOXrIdevi7FQ" not in page
    assert submit(client, found, name="The front desk") == ""
    found.refresh_from_db()
    assert (found.name, found.url) == ("The front desk", SLACK)
    assert submit(client, found, new_url=OTHER) == ""
    found.refresh_from_db()
    assert found.url == OTHER


def test_from_a_url_to_mail_and_back(client: Client) -> None:
    found = add_url(SLACK)
    assert submit(client, found, email="owner@clinic.example") == ""
    found.refresh_from_db()
    assert (found.email, found.url) == ("owner@clinic.example", "")
    assert submit(client, found, new_url=OTHER) == ""
    found.refresh_from_db()
    assert (found.email, found.url) == ("", OTHER)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({}, "Give an e-mail address or an Apprise URL."),
        ({"email": "a@clinic.example", "new_url": SLACK}, "or a URL, not both."),
        ({"email": "nonsense"}, "Enter a valid email address."),
        ({"new_url": "nonsense://secret"}, "it is not a URL that Apprise can use"),
        ({"new_url": "syslog://"}, "it would only show something on the server itself"),
        ({"email": "OWNER@clinic.example"}, "owner is told that way already."),
        ({"new_url": OTHER}, "the team is told that way already."),
        ({"email": "a@clinic.example", "accounts": "123"}, "There is no company 123 here."),
    ],
)
def test_what_cannot_be_is_said(client: Client, values: dict[str, str], complaint: str) -> None:
    add_recipient()
    add_url(OTHER)
    assert complaint in submit(client, **values)
    assert Recipient.objects.count() == 2


def test_without_a_key_no_url_is_taken(client: Client, settings: Settings) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = []
    assert "TOKEN_ENCRYPTION_KEYS is not set" in submit(client, new_url=SLACK)


def test_the_first_recipients_are_there_before_anything_has_happened(
    client: Client, settings: Settings
) -> None:
    settings.ALERT_EMAILS = ["owner@clinic.example"]
    assert "owner@clinic.example" in text_of(client.get(RECIPIENTS))


def test_what_was_edited_here_the_settings_do_not_bring_back(
    client: Client, settings: Settings
) -> None:
    settings.ALERT_EMAILS = ["owner@clinic.example"]
    [seeded] = recipients.active()
    assert submit(client, seeded, email="new@clinic.example") == ""
    assert [recipient.email for recipient in recipients.active()] == ["new@clinic.example"]
    # Whoever wants the old address after all can have it.
    assert submit(client, email="owner@clinic.example") == ""
    assert len(recipients.active()) == 2


def test_nobody_is_deleted_but_switched_off(client: Client, settings: Settings) -> None:
    found = add_recipient()
    assert client.post(f"{RECIPIENTS}{found.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "cannot be deleted" in change_page(client, found)
    assert submit(client, found, email=found.email, active="") == ""
    assert recipients.active() == []
    assert "Switched off" in text_of(client.get(RECIPIENTS))


def test_the_state_of_a_channel_is_shown(client: Client) -> None:
    now = timezone.now()
    found = add_recipient(failing_since=now, error="the mail server hung up")
    add_recipient("it@clinic.example", last_sent_at=now)
    text = text_of(client.get(RECIPIENTS))
    assert "Not getting through" in text
    assert ": the mail server hung up" in text
    assert "Working" in text
    assert "the mail server hung up" in change_page(client, found)


def test_a_test_alert_is_queued_and_nothing_is_sent_from_the_page(client: Client) -> None:
    found = add_recipient()
    assert "Send a test alert" in change_page(client, found)
    answer = client.post(f"{RECIPIENTS}{found.pk}/test/", follow=True)
    assert "goes out to owner within a minute" in text_of(answer)
    queued = Alert.objects.get()
    assert (queued.kind, queued.state, queued.recipient) == ("test", "queued", found)
    assert client.get(f"{RECIPIENTS}{found.pk}/test/").status_code == 405


def test_one_test_alert_at_a_time_however_often_it_is_asked_for(client: Client) -> None:
    found, other = add_recipient(), add_recipient("it@clinic.example")
    for recipient in (found, other, found, found):
        client.post(f"{RECIPIENTS}{recipient.pk}/test/")
    assert [alert.recipient for alert in Alert.objects.order_by("pk")] == [found, other]
    # It failed, and somebody has mended what was wrong since.
    Alert.objects.update(attempts=3, due_at=timezone.now() + HOUR)
    client.post(f"{RECIPIENTS}{found.pk}/test/")
    assert Alert.objects.get(recipient=found).due_at <= timezone.now()
    Alert.objects.update(state="sent")
    client.post(f"{RECIPIENTS}{found.pk}/test/")
    assert Alert.objects.filter(recipient=found).count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("was_active", "values", "at_once"),
    [
        (True, {"email": "owner@clinic.example", "wants": "everything"}, False),
        (True, {"email": "the.owner@clinic.example"}, True),
        (True, {"new_url": OTHER}, True),
        (False, {"email": "owner@clinic.example"}, True),
        (True, {"email": "owner@clinic.example", "active": ""}, False),
    ],
    ids=["another wish", "another address", "a URL", "switched on", "switched off"],
)
def test_another_way_is_tried_at_once(
    client: Client, was_active: bool, values: dict[str, str], at_once: bool
) -> None:
    now = timezone.now()
    found = add_recipient(failing_since=now - HOUR, error="the mail server hung up")
    open_incident("1", "North", at=now)
    Alert.objects.update(attempts=5, due_at=now + HOUR)
    open_incident("2", "South", at=now)
    waiting = Alert.objects.filter(attempts=0)
    waiting.update(due_at=now + HOUR)  # the quiet hours hold it
    Recipient.objects.update(active=was_active)
    assert submit(client, found, **values) == ""
    found.refresh_from_db()
    assert (found.failing_since is None, found.error == "") == (at_once, at_once)
    assert (Alert.objects.get(attempts=5).due_at <= timezone.now()) == at_once
    assert waiting.get().due_at == now + HOUR


def test_who_is_switched_off_gets_no_test_alert(client: Client) -> None:
    found = add_recipient(active=False)
    answer = client.post(f"{RECIPIENTS}{found.pk}/test/", follow=True)
    assert "Owner is switched off." in text_of(answer)
    assert Alert.objects.count() == 0


def test_whoever_may_only_look_sends_nothing() -> None:
    found = add_recipient()
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_recipient"))
    reader = Client()
    reader.force_login(user)
    assert "Send a test alert" not in change_page(reader, found)
    assert reader.post(f"{RECIPIENTS}{found.pk}/test/").status_code == 403


def test_the_alerts_are_listed_and_added_up_and_nobody_changes_them(client: Client) -> None:
    now = timezone.now()
    owner = add_recipient()
    open_incident(at=now - HOUR)
    Alert.objects.update(attempts=3, error="the mail server hung up")
    outbox.test(owner, "test:1", now)
    Alert.objects.filter(kind="test").update(state="sent", sent_at=now)
    text = text_of(client.get(ALERTS))
    assert "Harbour Physio: QuickBooks is disconnected" in text
    assert "the mail server hung up" in text
    for figure in ("Sent 1", "Waiting 1", "Of these failed before 1", "Withdrawn 0"):
        assert figure in text
    assert "hung up" not in text_of(client.get(f"{ALERTS}?state=sent"))
    assert "hung up" in text_of(client.get(f"{ALERTS}?kind=opened"))
    row = Alert.objects.get(kind="opened")
    page = client.get(f"{ALERTS}{row.pk}/change/")
    assert b'<input type="submit"' not in page.content
    assert client.post(f"{ALERTS}{row.pk}/delete/").status_code in {302, 403, 404}


def test_a_list_of_alerts_takes_a_handful_of_queries(
    client: Client, django_assert_max_num_queries: Any
) -> None:
    add_recipient()
    for number in range(20):
        open_incident(str(number), f"Clinic {number}", at=timezone.now())
    with django_assert_max_num_queries(8):
        client.get(ALERTS)
