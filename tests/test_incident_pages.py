"""The pages of incidents: the list, the story of one, and what people answer, in and out."""

import datetime as dt
import logging
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from integrations import answers, attention
from integrations.answers import answer_url
from integrations.base import Symptom
from integrations.jane.models import Kind, Membership, MembershipChange
from integrations.models import Alert, Incident, IntegrationStatus, Recipient
from integrations.outages import correlate
from integrations.silences import ends
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import text_of
from tests.trouble import HOUR, MINUTE, dead_grant, mend, tell
from tests.walk import lives_up

PAUSE = f"/integrations/quickbooks/pause/?account={HARBOUR}"
RESUME = f"/integrations/quickbooks/resume/?account={HARBOUR}"
ANSWER = "/incidents/answer/"
LATER = {"end": "4h", "reason": "Waiting for the accountant"}
DAY = 24 * HOUR

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(db: None) -> Recipient:
    return Recipient.objects.create(name="Ana Owner", key="ana", email="ana@clinic.example")


@pytest.fixture
def incident(owner: Recipient, now: dt.datetime) -> Incident:
    """A company that has to be reconnected, for three hours."""
    return dead_grant(now - 3 * HOUR)


def happened(number: int, at: dt.datetime) -> None:
    """A membership began in Jane."""
    one = Membership.objects.create(
        person_id=str(4_000_000 + number),
        key=f"plan:{number}",
        vendor_id=str(82_000_000 + number),
        plan="Mrs Miller's plan",
        status="active",
        changed_at=at,
        first_seen_at=at,
    )
    MembershipChange.objects.create(membership=one, at=at, kind=Kind.APPEARED, status="active")


def page_of(incident: Incident) -> str:
    return f"/incidents/{incident.pk}/"


def again(incident: Incident) -> Incident:
    return Incident.objects.get(pk=incident.pk)


# --- The page of one ---------------------------------------------------------------------------


def test_the_page_says_what_since_when_who_acts_and_what_helps(
    staff_client: Client, incident: Incident, now: dt.datetime
) -> None:
    page = staff_client.get(page_of(incident))
    text = text_of(page)
    for told in (
        "Not working QuickBooks · Harbour Physio",
        "QuickBooks is disconnected",
        "· 3 h",
        "Payment tracking stopped",
        "Who acts Somebody at the clinic",
        "First failure: QuickBooks is disconnected.",
        "1 recipient alerted",
    ):
        assert told in text
    assert f'href="http://127.0.0.1:8000/quickbooks/fix/?realm={HARBOUR}"' in page.content.decode()


def test_the_story_is_told_in_its_order_and_ends_with_who_mended_it(
    staff_client: Client, incident: Incident, now: dt.datetime
) -> None:
    attention.acknowledge(incident, "Ana", now - 2 * HOUR)
    tell(now - HOUR, "access_denied")
    mend(now - MINUTE)
    text = text_of(staff_client.get(page_of(incident)))
    story = [
        "First failure: QuickBooks is disconnected.",
        "Ana is on it.",
        "The cause changed from “QuickBooks is disconnected” to “QuickBooks refuses us access”.",
        "Over. Mended by Ana.",
    ]
    assert re.search(".*".join(map(re.escape, story)), text)
    assert "· 2 h 59 min · mended by Ana" in text
    assert "It works again. Nothing to do." in text
    assert "I’m on it" not in text
    assert "Fix it" not in text


def test_what_a_person_disconnected_is_not_said_to_work_again(
    staff_client: Client, incident: Incident, now: dt.datetime, owner: Recipient
) -> None:
    tell(now, "disconnected_here", alarming=False)
    assert again(incident).ended_at is not None
    for url in (page_of(incident), answer_url(incident, owner)):
        text = text_of(staff_client.get(url))
        assert "works again" not in text


def test_what_happened_meanwhile_is_listed_without_names(
    staff_client: Client, incident: Incident, now: dt.datetime, settings: Settings
) -> None:
    settings.JANE_WEBHOOK_SECRETS = ["secret"]
    happened(1, now - HOUR)
    happened(2, now - 5 * HOUR)
    page = staff_client.get(page_of(incident))
    lines = re.findall(r"<li>([^<]*8200000\d)</li>", page.content.decode())
    assert [line[-8:] for line in lines] == ["82000001"], "what was before is in the books"
    assert "1 membership began in Jane since then" in text_of(page)
    assert "Miller" not in page.content.decode()


def test_what_fails_alike_is_told_on_one_page_and_answered_there(
    staff_client: Client, owner: Recipient, now: dt.datetime
) -> None:
    for realm, name in ((HARBOUR, "Harbour Physio"), (NORTHSIDE, "Northside Physio")):
        known = {"who_acts": "administrator", "symptom": Symptom.NO_ANSWER, "confirmed": True}
        tell(now - HOUR, "network_unreachable", account=realm, name=name, **known)
    correlate(now - HOUR)
    shared = Incident.objects.get(shared=True)
    text = text_of(staff_client.get(page_of(shared)))
    assert "This server is offline" in text
    assert "Harbour Physio" in text
    assert "Northside Physio" in text
    assert "Witness: Harbour Physio: network unreachable" in text
    assert "Fix it" not in text, "its page is all that helps"

    part = shared.parts.all()[0]
    page = staff_client.get(page_of(part))
    assert f'href="{page_of(shared)}"' in page.content.decode()
    assert "I’m on it" not in text_of(page)
    # From wherever it is said, it is said of the one that reminds.
    staff_client.post(f"{page_of(part)}acknowledge/")
    assert again(shared).acknowledged_by == "staff"
    assert again(part).acknowledged_at is None
    listed = text_of(staff_client.get("/incidents/"))
    assert "This server is offline" in listed
    assert "Harbour Physio" not in listed, "one speaks for all"


@pytest.mark.parametrize("number", ["999", str(10**30)])
def test_there_is_no_page_of_what_never_happened(staff_client: Client, number: str) -> None:
    assert staff_client.get(f"/incidents/{number}/").status_code == 404
    assert staff_client.post(f"/incidents/{number}/acknowledge/").status_code == 404


@pytest.mark.parametrize("path", ["", "1/", "1/acknowledge/", "1/snooze/"])
def test_all_this_is_for_the_staff(client: Client, incident: Incident, path: str) -> None:
    get, post = client.get(f"/incidents/{path}"), client.post(f"/incidents/{path}")
    assert {get.status_code, post.status_code} <= {302, 405}
    assert client.post(PAUSE, {}).status_code == 302
    client.force_login(User.objects.create_user("guest"))
    assert client.get(page_of(incident)).status_code == 403
    assert client.post(RESUME).status_code == 403
    assert again(incident).acknowledged_at is None


def test_nothing_changes_by_looking(staff_client: Client, incident: Incident) -> None:
    for path in ("acknowledge/", "snooze/"):
        assert staff_client.get(f"{page_of(incident)}{path}").status_code == 405
    assert staff_client.get(RESUME).status_code == 405


# --- What a person does ------------------------------------------------------------------------


def test_i_am_on_it_is_recorded_by_name_and_only_once(
    staff_client: Client, staff: User, incident: Incident
) -> None:
    staff.first_name, staff.last_name = "Ben", "Baker"
    staff.save()
    answer = staff_client.post(f"{page_of(incident)}acknowledge/", follow=True)
    assert "You are on it. No more reminders are sent." in text_of(answer)
    assert "Now Ben Baker has been on it since" in text_of(answer)
    assert again(incident).acknowledged_by == "Ben Baker"
    other = Client()
    other.force_login(User.objects.create_user("other", is_staff=True))
    answer = other.post(f"{page_of(incident)}acknowledge/", follow=True)
    assert "Ben Baker has been on it since" in text_of(answer)
    assert again(incident).acknowledged_by == "Ben Baker"


def test_a_reminder_can_be_put_off_with_a_reason(
    staff_client: Client, incident: Incident, now: dt.datetime
) -> None:
    answer = staff_client.post(f"{page_of(incident)}snooze/", LATER, follow=True)
    assert "No reminder is sent before" in text_of(answer)
    assert "Waiting for the accountant" in text_of(answer)
    found = again(incident)
    assert found.snoozed_until is not None
    assert abs(found.snoozed_until - (now + 4 * HOUR)) < MINUTE
    assert found.next_reminder_at == found.snoozed_until


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"end": "4h", "reason": " "}, "Say why"),
        ({"reason": "Holidays"}, "Choose when"),
        ({"end": "never", "reason": "Holidays"}, "Select a valid choice"),
        ({"end": "4h", "reason": "x" * 201}, "at most 200 characters"),
    ],
)
def test_an_end_and_a_reason_are_asked_for(
    staff_client: Client, incident: Incident, sent: dict[str, str], told: str
) -> None:
    answer = staff_client.post(f"{page_of(incident)}snooze/", sent)
    assert answer.status_code == 400
    assert told in text_of(answer)
    assert again(incident).snoozed_until is None


def test_what_is_over_cannot_be_answered(
    staff_client: Client, incident: Incident, now: dt.datetime
) -> None:
    attention.acknowledge(incident, "Ana", now - HOUR)
    mend(now)
    for path, sent in (("acknowledge/", {}), ("snooze/", LATER)):
        answer = staff_client.post(f"{page_of(incident)}{path}", sent, follow=True)
        assert "It is over already." in text_of(answer)


def test_the_ends_are_on_the_clinics_clock(settings: Settings) -> None:
    settings.TIME_ZONE = "America/Vancouver"
    settings.CLINIC_HOURS = "Mon-Fri 08:00-18:00"
    friday = dt.datetime(2026, 3, 6, 17, 50, tzinfo=dt.UTC)  # 9:50 am
    assert [end.label for end in ends(friday)] == [
        "In 4 hours, at 1:50 pm",
        "Monday at opening, 8:00 am",
        "In 3 days, on Monday at 10:50 am",  # the clocks went forward
        "In a week, on March 13 at 10:50 am",
    ]
    wednesday = friday - 2 * DAY
    assert [end.label for end in ends(wednesday)][1] == "Tomorrow at opening, 8:00 am"
    # 6 am: today's opening is not meant.
    assert ends(wednesday - 4 * HOUR)[1].at == ends(wednesday)[1].at
    # Open around the clock: nobody wants to be reminded at midnight.
    settings.CLINIC_HOURS = "Mon-Sun 00:00-24:00"
    assert [end.label for end in ends(wednesday)][1] == "Tomorrow at opening, 8:00 am"


# --- Pausing -----------------------------------------------------------------------------------


def test_a_pause_opens_no_incident_until_it_is_over(staff_client: Client, now: dt.datetime) -> None:
    tell(now - HOUR)
    until = f"{timezone.localtime(now + 2 * DAY):%Y-%m-%dT%H:%M}"
    answer = staff_client.post(PAUSE, {"until": until, "reason": "Moving the books"}, follow=True)
    assert "QuickBooks · Harbour Physio is paused until" in text_of(answer)
    row = IntegrationStatus.objects.get()
    assert (row.paused_by, row.pause_reason) == ("staff", "Moving the books")
    tell(now, "reconnect_required")
    assert not Incident.objects.exists()
    assert "staff gave this reason: Moving the books" in text_of(staff_client.get(PAUSE))

    answer = staff_client.post(RESUME, follow=True)
    assert "The pause of QuickBooks · Harbour Physio is over." in text_of(answer)
    tell(now + MINUTE, "reconnect_required")
    assert Incident.objects.get().account == HARBOUR


def test_a_pause_has_an_end_within_a_month_and_a_reason(
    staff_client: Client, now: dt.datetime
) -> None:
    tell(now)
    assert "Pause QuickBooks · Harbour Physio?" in text_of(staff_client.get(PAUSE))
    for until, reason, told in (
        (now - HOUR, "Moving", "That time has passed."),
        (now + 32 * DAY, "Moving", "at most 31 days"),
        (now + DAY, "", "Say why"),
        (None, "Moving", "Choose a day and a time."),
    ):
        sent = f"{timezone.localtime(until):%Y-%m-%dT%H:%M}" if until else "soon"
        answer = staff_client.post(PAUSE, {"until": sent, "reason": reason})
        assert answer.status_code == 400
        assert told in text_of(answer)
    assert IntegrationStatus.objects.get().paused_until is None
    assert staff_client.get("/integrations/quickbooks/pause/?account=1").status_code == 404


# --- The list ----------------------------------------------------------------------------------


def test_the_list_has_the_open_ones_ahead_and_says_how_the_others_ended(
    staff_client: Client, now: dt.datetime
) -> None:
    assert "Nothing has gone wrong yet" in text_of(staff_client.get("/incidents/"))
    dead_grant(now - 30 * HOUR)
    mend(now - 28 * HOUR)
    dead_grant(now - 26 * HOUR, account=NORTHSIDE, name="Northside Physio")
    dead_grant(now - 2 * HOUR)
    tell(now - HOUR)
    tell(now - HOUR + MINUTE)
    text = text_of(staff_client.get("/incidents/"))
    told = ("Open", "Northside Physio", "Over", "healed by itself", "mended by Ana")
    assert re.search(".*".join(told), text)
    narrow = text_of(staff_client.get(f"/incidents/?account={NORTHSIDE}"))
    assert "Northside Physio" in narrow
    assert "Harbour Physio" not in narrow


def test_the_list_goes_back_page_by_page_without_counting(
    staff_client: Client, now: dt.datetime
) -> None:
    for number in range(120):
        at = now - number * HOUR
        known = {"cause": "timeout", "level": "warning", "who_acts": "intuit"}
        Incident.objects.create(
            **{"integration": "quickbooks", "account": str(number), "name": f"Clinic {number:03}"},
            **{"started_at": at, "confirmed_at": at, "ended_at": at, "closed_at": at + MINUTE},
            **known,
        )
    seen: list[str] = []
    url = "/incidents/"
    while True:
        page = staff_client.get(url)
        seen += re.findall(r"Clinic \d+", text_of(page))
        older = re.search(r'href="(\?[^"]*)">Older', page.content.decode())
        if older is None:
            break
        url = f"/incidents/{unescape(older[1])}"
    assert seen == [f"Clinic {number:03}" for number in range(120)]
    for odd in ("0", "-1", "x", "99999999999999999999"):
        assert staff_client.get(f"/incidents/?page={odd}").status_code == 200


def test_whose_outage_it_is_is_told_by_name(staff_client: Client, now: dt.datetime) -> None:
    outage = Incident.objects.create(
        integration="quickbooks",
        name="QuickBooks",
        cause="intuit_unavailable",
        level="warning",
        who_acts="vendor",
        shared=True,
        started_at=now - HOUR,
        confirmed_at=now - HOUR,
    )
    assert "Who acts QuickBooks itself" in text_of(staff_client.get(page_of(outage)))


def test_the_list_leaves_no_open_incident_out(staff_client: Client, now: dt.datetime) -> None:
    for number in range(60):
        dead_grant(now - HOUR, account=f"9{number:015}", name=f"Clinic {number:03}")
    first, second = (staff_client.get(f"/incidents/?page={page}") for page in (1, 2))
    assert "Older" in text_of(first)
    assert "Nothing has gone wrong" not in text_of(second)
    seen = re.findall(r"Clinic \d+", text_of(first) + text_of(second))
    assert len(seen) == len(set(seen)) == 60


# --- The link in a message ---------------------------------------------------------------------
def token_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["link"][0]


def say(client: Client, url: str, form: dict[str, str], *, follow: bool = False) -> Any:
    """Send a form of the page behind the link."""
    return client.post(ANSWER, {"link": token_of(url), **form}, follow=follow)


def test_the_link_asks_before_it_acts(client: Client, incident: Incident, owner: Recipient) -> None:
    url = answer_url(incident, owner)
    assert urlsplit(url)._replace(query="").geturl() == "http://127.0.0.1:8000/incidents/answer/"
    for method in (client.get, client.head, client.get):
        assert method(url).status_code == 200
    assert again(incident).acknowledged_at is None, "mail programs open every link"
    text = text_of(client.get(url))
    assert "QuickBooks is disconnected" in text
    assert "Harbour Physio" in text
    for hidden in (HARBOUR, "ana@clinic.example", "reconnect", "Fix"):
        assert hidden not in client.get(url).content.decode(), "a stranger may hold the phone"

    answer = say(client, url, {"answer": "on-it"}, follow=True)
    assert again(incident).acknowledged_by == "Ana Owner"
    assert "Ana Owner has been on it since" in text_of(answer)
    assert "Not now?" not in text_of(answer)


def test_remind_me_later_leads_to_that_form(
    client: Client, incident: Incident, owner: Recipient
) -> None:
    page = client.get(answer_url(incident, owner)).content.decode()
    assert '<section class="sheet" id="later">' in page, "where the second link of a mail leads"


def test_the_link_puts_a_reminder_off(client: Client, incident: Incident, owner: Recipient) -> None:
    url = answer_url(incident, owner)
    answer = say(client, url, {"answer": "later", "end": "3d", "reason": ""})
    assert answer.status_code == 400
    assert "Say why" in text_of(answer)
    answer = say(client, url, {"answer": "later", **LATER}, follow=True)
    assert "No reminder is sent until" in text_of(answer)
    assert "accountant" not in text_of(answer), "that is for colleagues"
    assert again(incident).snooze_reason == "Waiting for the accountant"
    assert "Ana Owner asked for quiet" in " ".join(map(str, incident.notes.all()))
    # Who is on it decides: nobody is reminded of it any more.
    attention.acknowledge(incident, "Ben", timezone.now())
    say(client, url, {"answer": "later", "end": "7d", "reason": "No"})
    assert again(incident).snooze_reason == "Waiting for the accountant"


def test_a_form_that_says_neither_changes_nothing(
    client: Client, incident: Incident, owner: Recipient
) -> None:
    assert say(client, answer_url(incident, owner), {}).status_code == 400
    assert again(incident).acknowledged_at is None


def test_the_link_lives_as_long_as_the_incident(
    client: Client, incident: Incident, owner: Recipient, now: dt.datetime
) -> None:
    url = answer_url(incident, owner)
    mend(now)
    text = text_of(client.get(url))
    assert "It has worked again since" in text
    assert "Nothing to do." in text
    say(client, url, {"answer": "on-it"})
    say(client, url, {"answer": "later", **LATER})
    found = again(incident)
    assert (found.acknowledged_at, found.snoozed_until) == (None, None)


def test_a_link_that_is_not_ours_tells_nothing(
    client: Client, incident: Incident, owner: Recipient
) -> None:
    url = answer_url(incident, owner)
    other = Recipient.objects.create(name="Ben", key="ben", email="ben@clinic.example")
    foreign = token_of(answer_url(incident, other))
    names, _, signature = token_of(url).partition("~")
    forged = [
        "",
        "nonsense",
        names,
        f"{incident.pk + 1}-{owner.pk}~{signature}",
        f"{names}~{foreign.partition('~')[2]}",
        token_of(url)[:-2],
    ]
    for token in forged:
        answer = client.post(ANSWER, {"link": token, "answer": "on-it"})
        assert answer.status_code == client.get(ANSWER, {"link": token}).status_code == 404
        assert "Harbour" not in text_of(answer)
    assert client.get(ANSWER).status_code == client.post(ANSWER).status_code == 404
    owner.active = False
    owner.save()
    assert client.get(url).status_code == 404, "switched off in the admin, so is the link"
    assert again(incident).acknowledged_at is None


def test_the_link_is_kept_by_nobody(client: Client, incident: Incident, owner: Recipient) -> None:
    answer = client.get(answer_url(incident, owner))
    assert "no-store" in answer["Cache-Control"]
    assert answer["X-Robots-Tag"] == "noindex, nofollow"
    assert '<meta name="robots" content="noindex, nofollow">' in answer.content.decode()
    # Not `no-referrer`, with which browsers send a form's `Origin: null`.
    assert answer["Referrer-Policy"] == "strict-origin"


def test_a_form_from_elsewhere_is_refused(incident: Incident, owner: Recipient) -> None:
    browser = Client(enforce_csrf_checks=True)
    url = answer_url(incident, owner)
    assert say(browser, url, {"answer": "on-it"}).status_code == 403
    token = re.search(
        r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get(url).content.decode()
    )
    assert token is not None
    say(browser, url, {"answer": "on-it", "csrfmiddlewaretoken": token[1]})
    assert again(incident).acknowledged_by == "Ana Owner"


def test_the_forms_hold_the_link_and_post_to_an_address_without_it(
    client: Client, incident: Incident, owner: Recipient
) -> None:
    url = answer_url(incident, owner)
    html = client.get(url).content.decode()
    assert re.findall(r'<form class="ask"[^>]* action="([^"]*)"', html) == [ANSWER, ANSWER]
    assert re.findall(r'name="link" value="([^"]*)"', html) == [token_of(url)] * 2
    refused = say(client, url, {"answer": "later", "end": "3d", "reason": ""})
    assert f'name="link" value="{token_of(url)}"' in refused.content.decode()
    done = say(client, url, {"answer": "on-it"})
    assert (done.status_code, done["Location"]) == (302, url.partition("8000")[2])


def test_no_log_holds_an_answer_link(
    client: Client,
    incident: Incident,
    owner: Recipient,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (None, *logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    client.raise_request_exception = False
    url = answer_url(incident, owner)
    say(Client(enforce_csrf_checks=True), url, {"answer": "on-it"})
    client.get(url, headers={"host": "elsewhere.example"})
    client.get(url.replace("answer/", "answer"))
    client.put(url)
    say(client, url, {"answer": "neither"})
    say(client, url, {"answer": "on-it"}, follow=True)
    Recipient.objects.update(active=False)
    assert client.get(url).status_code == 404
    monkeypatch.setattr(answers, "find", lambda token: 1 / 0)
    assert client.get(url).status_code == 500
    for said in ("CSRF", "elsewhere.example", "Method Not Allowed", "Bad Request", "Not Found"):
        assert said in caplog.text
    assert "Internal Server Error" in caplog.text
    assert token_of(url).partition("~")[2] not in caplog.text


# --- In a browser ------------------------------------------------------------------------------


@pytest.mark.browser
def test_anybody_can_answer_in_a_browser(
    page: Page, live_server: LiveServer, incident: Incident, owner: Recipient, settings: Settings
) -> None:
    settings.SITE_URL = live_server.url
    page.goto(answer_url(incident, owner))
    assert lives_up(page) == []
    page.get_by_label("In 3 days").check()
    page.get_by_label("Why not before").fill("Waiting for the accountant")
    page.get_by_role("button", name="Remind me later").click()
    expect(page.get_by_text("No reminder is sent until")).to_be_visible()
    page.get_by_role("button", name="I’m on it").click()
    expect(page.get_by_text("Ana Owner has been on it since")).to_be_visible()


@pytest.mark.browser
def test_a_printed_page_is_a_list_to_tick_off(
    page: Page,
    live_server: LiveServer,
    staff_client: Client,
    incident: Incident,
    now: dt.datetime,
    settings: Settings,
) -> None:
    settings.JANE_WEBHOOK_SECRETS = ["secret"]
    for number in range(20):
        happened(number, now - HOUR)
    session = staff_client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page.goto(f"{live_server.url}{page_of(incident)}")
    lines, asked = page.locator(".by-hand li"), page.get_by_text("Who is on it?")
    expect(lines).to_have_count(20)
    expect(lines.last).to_be_hidden()
    expect(asked).to_be_visible()
    page.emulate_media(media="print")
    expect(lines.last).to_be_visible()
    expect(asked).to_be_hidden()
    expect(page.get_by_text("What happened")).to_be_hidden()
    box = "getComputedStyle(document.querySelector('.by-hand li'), '::before').borderTopWidth"
    assert page.evaluate(box) == "1px"


# --- The admin ---------------------------------------------------------------------------------


def test_the_admin_lists_incidents_and_says_i_am_on_it(
    admin_client: Client, incident: Incident, now: dt.datetime
) -> None:
    old = dead_grant(now - 50 * HOUR, account=NORTHSIDE, name="Northside Physio")
    mend(now - 49 * HOUR, account=NORTHSIDE, name="Northside Physio")
    url = "/admin/integrations/incident/"
    text = text_of(admin_client.get(url))
    for told in ("QuickBooks is disconnected", "3 h", "mended by Ana", "Somebody at the clinic"):
        assert told in text
    for query, count in (
        ("state=open", 1),
        ("state=over", 1),
        ("state=answered", 0),
        ("state=odd", 0),
        ("integration=jane", 0),
        ("level=critical", 2),
        ("who_acts=clinic", 2),
    ):
        assert f"{count} in all" in text_of(admin_client.get(f"{url}?{query}"))
    sent = {"action": "acknowledge", "_selected_action": [incident.pk, old.pk]}
    text = text_of(admin_client.post(url, sent, follow=True))
    assert "You are on it: 1 acknowledged. 1 left as they were" in text
    assert again(incident).acknowledged_by == "admin"


def test_the_admin_tells_the_story_and_its_alerts_and_changes_nothing(
    admin_client: Client, incident: Incident, owner: Recipient
) -> None:
    url = f"/admin/integrations/incident/{incident.pk}/change/"
    page = admin_client.get(url)
    text = text_of(page)
    assert "First failure: QuickBooks is disconnected." in text
    assert "Ana Owner opened queued" in text
    assert f'href="{page_of(incident)}"' in page.content.decode()
    assert 'name="_save"' not in page.content.decode()
    assert admin_client.post(url, {"cause": "ok"}).status_code == 403
    assert Alert.objects.count() == 1
    for nobody in ("999", "9" * 30):
        answer = admin_client.get(f"/admin/integrations/incident/{nobody}/change/")
        assert answer.status_code == 302
