"""Hand-over links: somebody without an account reconnects one company, and sees nothing else."""

import datetime as dt
import logging
import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.models import Incident
from quickbooks import hand_over
from quickbooks.integration import QuickBooks
from quickbooks.models import (
    AuthorizationRequest,
    ConnectionHealthCheck,
    DiscoveryDocument,
    GrantState,
    HandOver,
    OAuthToken,
    TokenRefresh,
)
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import check, connect, decide, links_of, set_out, stored, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("simulator")]

LINK, THANKS = "/quickbooks/hand-over/", "/quickbooks/hand-over/thanks/"
MAKE, TAKE_BACK = "/quickbooks/hand-over/make/", "/quickbooks/hand-over/take-back/"
CALLBACK, FIX = "/quickbooks/callback/", "/quickbooks/fix/"
LOGIN = "/admin/login/"
LIST = "/admin/quickbooks/handover/"
GONE = (
    "This link is no longer valid Please ask the clinic that sent it for a new one. "
    "If you have just reconnected QuickBooks, there is nothing more to do."
)


@pytest.fixture(autouse=True)
def patience(settings: Settings) -> None:
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5


@pytest.fixture
def broken(world: World) -> OAuthToken:
    """Harbour is disconnected, and its incident is open. Northside works, and is a secret."""
    connect(world, NORTHSIDE)
    return disconnect(world)


def disconnect(world: World) -> OAuthToken:
    connect(world)
    world.revoke_grant(HARBOUR)
    assert check().diagnosis == "reconnect_required"
    world.reset_counters()
    return stored()


@pytest.fixture
def link(broken: OAuthToken, staff_client: Client) -> str:
    """What the administrator is sent, without the host."""
    return made(staff_client)


def made(staff_client: Client) -> str:
    assert staff_client.post(MAKE, {"realm": HARBOUR}).status_code == 302
    page = staff_client.get(FIX, {"realm": HARBOUR}).content.decode()
    found: list[str] = re.findall(rf'value="http://127\.0\.0\.1:8000({LINK}\?link=[^"]+)"', page)
    return found[0]  # the newest


@pytest.fixture
def guest(client: Client) -> Client:
    return client


def token_of(link: str) -> str:
    return parse_qs(urlsplit(link).query)["link"][0]


def go_on(guest: Client, link: str) -> Any:
    """Press the button of the page behind the link."""
    return guest.post(LINK, {"link": token_of(link)})


def begin(guest: Client, link: str) -> dict[str, str]:
    """The same, and what Intuit is asked then."""
    page = links_of(go_on(guest, link))["Go on to QuickBooks"]
    return {"page": page, **{name: v for name, [v] in parse_qs(urlsplit(page).query).items()}}


def reconnect(guest: Client, link: str, choose: str = HARBOUR) -> Any:
    return guest.get(decide(begin(guest, link), choose), follow=True)


def row_of(link: str) -> HandOver:
    return HandOver.objects.get(pk=int(token_of(link).partition("~")[0]))


def incident() -> Incident:
    return Incident.objects.get(account=HARBOUR)


def notes() -> list[str]:
    return list(incident().notes.values_list("text", flat=True))


def for_strangers(response: Any) -> str:
    """The text of a page that leads nobody to the staff, and names no other company."""
    assert response.status_code == 200
    assert response["X-Robots-Tag"] == "noindex, nofollow"
    assert "no-store" in response["Cache-Control"]
    assert response["Referrer-Policy"] == "strict-origin"
    html = response.content.decode()
    for secret in ("Northside", NORTHSIDE, HARBOUR):
        assert secret not in html
    for target in re.findall(r'(?:href|action|src)="([^"]*)"', html):
        path = urlsplit(target).path
        assert path.startswith(("/static/", LINK, "/connect/oauth2")) or target == "#main"
    return text_of(response).removeprefix("Skip to the content Connection monitor ")


def nothing_exchanged(world: World) -> None:
    assert world.calls("token") == []
    assert stored().state == GrantState.REJECTED


# ── the whole way ─────────────────────────────────────────────────────────────────────────────
def test_an_administrator_without_an_account_reconnects_the_company(
    broken: OAuthToken, staff: User, staff_client: Client, guest: Client, world: World
) -> None:
    page = staff_client.get(FIX, {"realm": HARBOUR})
    assert "Hand over to a QuickBooks administrator without an account" in text_of(page)
    link = made(staff_client)

    text = for_strangers(guest.get(link))
    assert "Reconnect QuickBooks for Harbour Physio" in text
    assert "You are an administrator in QuickBooks" in text
    assert "choose the company Harbour Physio ." in text
    assert "About two minutes . Nothing in your books is changed." in text

    for_strangers(go_on(guest, link))
    asked = begin(guest, link)
    assert asked["redirect_uri"] == "http://127.0.0.1:8000/quickbooks/callback/"
    response = guest.get(decide(asked), follow=True)
    assert response.redirect_chain == [(THANKS, 302)]
    text = for_strangers(response)
    assert "Thank you. QuickBooks is connected again" in text
    assert "There is nothing more to do. You can close this page." in text
    assert for_strangers(guest.get(THANKS)) == text

    row = stored()
    assert (row.state, row.generation, row.connected_by) == (GrantState.LIVE, 2, None)
    assert [call.endpoint for call in world.calls()] == ["token", "api"]
    assert TokenRefresh.objects.filter(realm_id=HARBOUR, purpose="connect").count() == 2
    assert ConnectionHealthCheck.objects.latest("id").trigger == "connect"
    assert incident().ended_at is not None
    assert incident().fixed_by == "the hand-over link"
    assert notes()[-4:] == [
        "staff made a hand-over link.",
        "Somebody with a hand-over link was sent to QuickBooks to sign in.",
        "Somebody signed in at QuickBooks with a hand-over link.",
        "Over. Mended by the hand-over link.",
    ]
    assert for_strangers(guest.get(link)) == GONE
    assert check().ok
    assert check(NORTHSIDE).ok


def test_the_page_asks_for_what_a_browser_needs_to_go_on_by_itself(
    link: str, guest: Client
) -> None:
    html = go_on(guest, link).content.decode()
    [url] = re.findall(r'<meta http-equiv="refresh" content="0; url=([^"]+)">', html)
    assert f'href="{url}"' in html


def test_one_of_the_staff_may_use_it_as_well(
    link: str, staff: User, staff_client: Client, world: World
) -> None:
    response = staff_client.get(decide(begin(staff_client, link)), follow=True)
    assert response.redirect_chain == [(THANKS, 302)]
    assert stored().connected_by == staff
    assert staff_client.get("/dashboard/").status_code == 200


def test_a_colleague_who_may_not_connect_may_with_a_link(link: str, world: World) -> None:
    colleague = Client()
    colleague.force_login(User.objects.create_user("visitor", is_staff=True))
    assert colleague.get("/quickbooks/connect/").status_code == 403
    reconnect(colleague, link)
    assert stored().state == GrantState.LIVE


def test_a_first_check_that_fails_is_said(link: str, guest: Client, world: World) -> None:
    world.set_fault("api", "no_access")
    text = for_strangers(reconnect(guest, link))
    assert "Thank you. The sign-in went through" in text
    assert "but the first check says: QuickBooks refuses us access." in text
    assert row_of(link).used_at is not None
    assert incident().ended_at is None


# ── nothing else ──────────────────────────────────────────────────────────────────────────────
PAGES = [
    "/",
    "/dashboard/",
    "/dashboard/history/",
    f"/dashboard/cards/quickbooks/{HARBOUR}/",
    f"{FIX}?realm={HARBOUR}",
    f"{FIX}?realm={NORTHSIDE}",
    f"/quickbooks/connect/?realm={HARBOUR}",
    f"/quickbooks/connect/?realm={NORTHSIDE}",
    "/admin/",
    "/admin/quickbooks/oauthtoken/",
    LIST,
]
POSTS = ["/quickbooks/disconnect/", "/quickbooks/take-over/", "/quickbooks/check/", MAKE, TAKE_BACK]
DATA = ["quickbooks/connection-status", "integrations"]


@pytest.mark.parametrize("after", [False, True])
def test_a_guest_is_asked_to_sign_in_everywhere_else(
    link: str, guest: Client, world: World, after: bool
) -> None:
    """On the way and after it: the session of a guest is no login."""
    back = decide(begin(guest, link))
    if after:
        assert guest.get(back, follow=True).status_code == 200
    for path in PAGES:
        final = guest.get(path, follow=True)
        assert final.request["PATH_INFO"] == LOGIN, path
    for path in POSTS:
        response = guest.post(path, {"realm": HARBOUR, "confirm": "yes", "id": row_of(link).pk})
        assert response["Location"].startswith(LOGIN), path
    for name in DATA:
        assert guest.get(f"/api/admin/{name}").status_code == 401
    assert stored().state == (GrantState.LIVE if after else GrantState.REJECTED)
    assert HandOver.objects.get().revoked_at is None


def test_whoever_merely_looks_changes_nothing(link: str, world: World) -> None:
    """Mail scanners open the links of every mail."""
    before = HandOver.objects.values().get()
    scanner = Client()
    for ask in (scanner.get, scanner.head):
        assert ask(link).status_code == 200
    assert HandOver.objects.values().get() == before
    assert not AuthorizationRequest.objects.exists()
    assert Session.objects.count() == 1  # that of the staff
    assert "sessionid" not in scanner.cookies
    assert world.calls() == []


def test_another_company_is_not_exchanged_nor_named(link: str, guest: Client, world: World) -> None:
    text = for_strangers(reconnect(guest, link, NORTHSIDE))
    assert "That is another company" in text
    assert "You were asked to reconnect Harbour Physio, and chose another company" in text
    assert "Nothing was changed." in text
    nothing_exchanged(world)
    assert stored(NORTHSIDE).generation == 1
    assert "QuickBooks is connected again" in text_of(reconnect(guest, link))


def test_the_callback_of_a_link_is_for_its_company_whatever_the_query_says(
    link: str, guest: Client, world: World
) -> None:
    state = begin(guest, link)["state"]
    code = world.new_code(NORTHSIDE, "http://127.0.0.1:8000/quickbooks/callback/")
    query = {"code": code, "realmId": NORTHSIDE, "state": state, "realm": HARBOUR, "next": "//x"}
    assert "That is another company" in for_strangers(guest.get(CALLBACK, query))
    nothing_exchanged(world)


def sign_in_elsewhere(guest: Client, link: str, world: World) -> Any:
    """Somebody signs in for a company of his own, and edits the address that leads back."""
    back = decide(begin(guest, link), NORTHSIDE)
    return guest.get(back.replace(f"realmId={NORTHSIDE}", f"realmId={HARBOUR}"), follow=True)


@pytest.fixture
def strayed(link: str, guest: Client, world: World) -> OAuthToken:
    """The grant of another company is stored as Harbour's."""
    text = for_strangers(sign_in_elsewhere(guest, link, world))
    assert "the first check says: The wrong QuickBooks company is connected." in text
    assert incident().cause == "wrong_company_or_environment"
    return stored()


def test_the_clinic_mends_what_a_link_was_misused_for(
    strayed: OAuthToken, staff: User, staff_client: Client, world: World
) -> None:
    page = staff_client.get(FIX, {"realm": HARBOUR})
    text = text_of(page)
    assert (
        "Somebody signed in for another company with the link that was made for Harbour Physio."
    ) in text
    assert links_of(page)["Fix Connection"] == f"/quickbooks/connect/?realm={HARBOUR}"
    assert "Make a link" in text
    assert incident().who_acts == "clinic"
    told = QuickBooks().explain(HARBOUR, incident().cause, since=timezone.now(), now=timezone.now())
    assert told.impact.startswith("Somebody signed in for another company")
    staff_client.get(decide(set_out(staff_client, HARBOUR)))
    assert incident().fixed_by == staff.username
    assert check().ok


def test_what_a_link_was_misused_for_another_link_mends(
    strayed: OAuthToken, link: str, staff_client: Client, world: World
) -> None:
    honest = Client()
    assert for_strangers(honest.get(link)) == GONE
    another = made(staff_client)
    assert "QuickBooks is connected again" in text_of(reconnect(honest, another))
    assert incident().ended_at is not None
    assert check().ok


@pytest.mark.parametrize("name", ["QUICKBOOKS_CLIENT_ID", "QUICKBOOKS_ENVIRONMENT"])
def test_of_other_settings_nobody_is_told_to_sign_in_again(
    strayed: OAuthToken, staff_client: Client, settings: Settings, name: str
) -> None:
    setattr(settings, name, "production" if name.endswith("ENVIRONMENT") else "another-app")
    page = staff_client.get(FIX, {"realm": HARBOUR})
    assert "Ask your IT person to check which company" in text_of(page)
    assert "Fix Connection" not in text_of(page)
    assert "Hand over" not in text_of(page)


def test_a_wrong_company_without_a_link_stays_the_business_of_it(
    staff_client: Client, world: World
) -> None:
    connect(world)
    world.set_fault("api", "wrong_company")
    assert check().diagnosis == "wrong_company_or_environment"
    text = text_of(staff_client.get(FIX, {"realm": HARBOUR}))
    assert "Ask your IT person to check which company" in text
    assert "Hand over" not in text
    assert incident().who_acts == "administrator"


# ── links that have ended ─────────────────────────────────────────────────────────────────────
def take_back(link: str, staff_client: Client) -> None:
    response = staff_client.post(TAKE_BACK, {"id": row_of(link).pk}, follow=True)
    assert "The link no longer works." in text_of(response)


def end(link: str, staff_client: Client) -> None:
    """A colleague has reconnected the company."""
    staff_client.get(decide(set_out(staff_client, HARBOUR)))
    assert incident().ended_at is not None


def disconnect_here(link: str, staff_client: Client) -> None:
    staff_client.post("/quickbooks/disconnect/", {"realm": HARBOUR, "confirm": "yes"})
    assert stored().state == GrantState.DISCONNECTED


def wear_out(link: str, staff_client: Client) -> None:
    HandOver.objects.update(attempts=HandOver.MOST_ATTEMPTS)


ENDINGS = [take_back, end, disconnect_here, wear_out]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_link_that_has_ended_says_so_and_nothing_else(
    link: str, staff_client: Client, guest: Client, ending: Callable[[str, Client], None]
) -> None:
    ending(link, staff_client)
    began = AuthorizationRequest.objects.count()
    for response in (guest.get(link), go_on(guest, link)):
        assert for_strangers(response) == GONE
        assert "Harbour" not in response.content.decode()
        assert links_of(response) == {}
    assert AuthorizationRequest.objects.count() == began


@pytest.mark.parametrize("ending", [take_back, end, disconnect_here])
def test_a_link_that_ends_while_somebody_is_at_quickbooks_exchanges_nothing(
    link: str,
    staff_client: Client,
    guest: Client,
    world: World,
    ending: Callable[[str, Client], None],
) -> None:
    back = decide(begin(guest, link))
    ending(link, staff_client)
    before, called = stored(), len(world.calls("token"))
    assert for_strangers(guest.get(back)) == GONE
    assert len(world.calls("token")) == called
    assert (stored().state, stored().generation) == (before.state, before.generation)
    assert row_of(link).used_at is None


def test_a_link_worn_out_can_be_finished_with(link: str, guest: Client) -> None:
    back = decide(begin(guest, link))
    HandOver.objects.update(attempts=HandOver.MOST_ATTEMPTS)
    assert "QuickBooks is connected again" in text_of(guest.get(back, follow=True))


@pytest.fixture
def refused(world: World, staff_client: Client) -> str:
    """A link that was made because QuickBooks refuses access; the grant itself lives."""
    connect(world)
    world.set_fault("api", "no_access")
    assert check().diagnosis == "access_denied"
    world.reset_counters()
    return made(staff_client)


def answers_once(world: World) -> None:
    """It works again; whether for good, the next check shows."""
    world.clear_faults()
    assert check().ok


def ends_otherwise(world: World) -> None:
    world.set_fault("api", "subscription_ended")
    assert check().diagnosis == "subscription_ended"


@pytest.mark.parametrize("turn", [answers_once, ends_otherwise])
def test_a_grant_that_lives_again_is_not_replaced_through_a_link(
    refused: str, guest: Client, staff_client: Client, world: World, turn: Callable[[World], None]
) -> None:
    back = decide(begin(guest, refused))
    turn(world)
    assert incident().ended_at is None
    assert for_strangers(guest.get(back)) == GONE
    assert for_strangers(guest.get(refused)) == GONE
    assert "Hand over" not in text_of(staff_client.get(FIX, {"realm": HARBOUR}))
    assert world.calls("token") == []
    assert stored().generation == 1


def forged(token: str) -> list[str]:
    pk, _, signature = token.partition("~")
    return [
        "",
        "1",
        "~",
        pk,
        f"{int(pk) + 1}~{signature}",
        f"{pk}~{signature[:-1]}",
        f"{pk}~{signature}A",
        f"{pk}~{signature.swapcase()}",
        f" {token}",
        "\x00",
        "é" * 3000,
        "99999999999999999999999~x",
    ]


def test_a_link_that_was_tampered_with_is_like_one_that_has_ended(link: str, guest: Client) -> None:
    for token in forged(token_of(link)):
        for response in (guest.get(LINK, {"link": token}), guest.post(LINK, {"link": token})):
            assert for_strangers(response) == GONE
    assert for_strangers(guest.get(LINK)) == for_strangers(guest.post(LINK)) == GONE
    assert for_strangers(guest.get(THANKS)) == GONE
    assert not AuthorizationRequest.objects.exists()


def test_a_link_is_good_for_its_own_installation_only(
    link: str, guest: Client, settings: Settings
) -> None:
    settings.SITE_URL = "https://copy.example"
    assert for_strangers(guest.get(link)) == GONE
    settings.SITE_URL, settings.SECRET_KEY = "http://127.0.0.1:8000", "another"
    assert for_strangers(guest.get(link)) == GONE


def test_a_link_works_once(link: str, guest: Client, world: World) -> None:
    reconnect(guest, link)
    world.revoke_grant(HARBOUR)
    check()
    assert Incident.objects.filter(account=HARBOUR, ended_at=None).exists()
    assert for_strangers(guest.get(link)) == GONE
    assert for_strangers(go_on(guest, link)) == GONE


def test_a_link_begins_twenty_sign_ins_at_most(
    link: str, guest: Client, staff_client: Client
) -> None:
    for _ in range(20):
        begin(guest, link)
    assert for_strangers(go_on(guest, link)) == GONE
    assert AuthorizationRequest.objects.count() == 20
    page = text_of(staff_client.get(FIX, {"realm": HARBOUR}))
    assert "Tried so often that it works no longer." in page


# ── states that do not fit ────────────────────────────────────────────────────────────────────
def test_a_state_works_once(link: str, guest: Client, world: World) -> None:
    back = decide(begin(guest, link))
    guest.get(back)
    text = for_strangers(guest.get(back))
    assert "This sign-in has expired or was used already" in text
    assert "it may have worked the first time" in text
    assert len(world.calls("token")) == 1
    assert check().ok


def test_a_state_lives_for_half_an_hour_and_the_link_longer(
    link: str, guest: Client, world: World
) -> None:
    back = decide(begin(guest, link))
    AuthorizationRequest.objects.update(created_at=timezone.now() - dt.timedelta(minutes=31))
    response = guest.get(back)
    assert "This sign-in has expired" in for_strangers(response)
    nothing_exchanged(world)
    again = links_of(response)["Start again"]
    assert again == f"http://127.0.0.1:8000{link}"
    assert "QuickBooks is connected again" in text_of(reconnect(guest, link))


def test_a_state_belongs_to_the_browser_that_began(
    link: str, staff_client: Client, guest: Client, world: World
) -> None:
    back = decide(begin(guest, link))
    nobody, other_guest, person = Client(), Client(), Client()
    begin(other_guest, link)
    person.force_login(User.objects.create_user("person"))
    assert nobody.get(back)["Location"] == f"{LOGIN}?next=/dashboard/"
    assert "in the browser where it began" in for_strangers(other_guest.get(back))
    assert person.get(back).status_code == 403
    assert "in the browser where it began" in text_of(staff_client.get(back))
    nothing_exchanged(world)
    assert "QuickBooks is connected again" in text_of(guest.get(back, follow=True))


def test_a_guest_cannot_finish_what_the_staff_began(
    link: str, staff_client: Client, guest: Client, world: World
) -> None:
    back = decide(set_out(staff_client, HARBOUR))
    begin(guest, link)
    assert "This sign-in has expired" in for_strangers(guest.get(back))
    nothing_exchanged(world)
    assert staff_client.get(back)["Location"] == "/dashboard/"


def test_the_link_does_not_lend_the_staff_what_they_may_not(
    link: str, staff: User, staff_client: Client, world: World
) -> None:
    """A state of their own still needs the permission, also in a browser that has used a link."""
    begin(staff_client, link)
    back = decide(set_out(staff_client, HARBOUR))
    staff.user_permissions.clear()
    assert staff_client.get(back).status_code == 403
    nothing_exchanged(world)


# ── Intuit says no, or nothing ────────────────────────────────────────────────────────────────
def test_consent_denied_is_told_and_the_link_stays(link: str, guest: Client, world: World) -> None:
    response = guest.get(decide(begin(guest, link), decision="cancel"))
    assert "You cancelled at QuickBooks No permission was given." in for_strangers(response)
    assert links_of(response) == {"Start again": f"http://127.0.0.1:8000{link}"}
    nothing_exchanged(world)


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ({"error": "<b>server_error</b>"}, "QuickBooks could not finish the sign-in"),
        ({"code": "XAB1"}, "QuickBooks did not say which company"),
        ({"code": "XAB1", "realmId": f"{HARBOUR}\n"}, "QuickBooks did not say which company"),
        ({"realmId": HARBOUR}, "QuickBooks did not say which company"),
        ({}, "QuickBooks did not say which company"),
    ],
)
def test_an_answer_that_is_none_changes_nothing(
    link: str, guest: Client, world: World, query: dict[str, str], title: str
) -> None:
    response = guest.get(CALLBACK, {**query, "state": begin(guest, link)["state"]})
    assert title in for_strangers(response)
    assert "server_error" not in response.content.decode()
    nothing_exchanged(world)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("invalid_grant", "QuickBooks did not accept the sign-in"),
        ("invalid_client", "Please tell the clinic that it did not work."),
        ("status_503", "Please wait 30 seconds, then start again."),
        ("html", "we don't know whether it went through there"),
        ("lost_answer", "QuickBooks' answer did not arrive"),
    ],
)
def test_an_exchange_that_fails_is_told_and_the_link_stays(
    link: str, guest: Client, world: World, fault: str, told: str
) -> None:
    world.fail_next("token", fault)
    text = for_strangers(reconnect(guest, link))
    assert "QuickBooks was not connected" in text
    assert told in text
    assert row_of(link).used_at is None
    assert len(world.calls("token")) == 1
    # What is without a verdict may still be at work at Intuit, until the lease is over.
    OAuthToken.objects.update(lease_until=None)
    assert "QuickBooks is connected again" in text_of(reconnect(guest, link))


def test_nobody_connects_while_a_renewal_is_unfinished(
    link: str, guest: Client, world: World, settings: Settings
) -> None:
    settings.QUICKBOOKS_DEADLINE_SECONDS = 0.3
    until = timezone.now() + dt.timedelta(minutes=1)
    OAuthToken.objects.filter(realm_id=HARBOUR).update(lease_owner="somebody", lease_until=until)
    assert "A renewal of this connection is still under way." in text_of(reconnect(guest, link))
    assert row_of(link).used_at is None
    nothing_exchanged(world)


def test_a_crash_in_the_exchange_leaves_the_link(
    link: str, guest: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a bug of ours")

    guest.raise_request_exception = False
    monkeypatch.setattr("quickbooks.guests.grants.connect", broken)
    assert reconnect(guest, link).status_code == 500
    assert row_of(link).used_at is None


def test_an_intuit_that_is_away_is_told_before_anybody_is_sent_there(
    link: str, guest: Client, world: World
) -> None:
    DiscoveryDocument.objects.all().delete()
    world.set_fault("discovery", "unavailable")
    assert "QuickBooks can't be reached right now" in for_strangers(go_on(guest, link))
    assert not AuthorizationRequest.objects.exists()
    assert row_of(link).attempts == 0


@pytest.mark.parametrize("setting", ["TOKEN_ENCRYPTION_KEYS", "QUICKBOOKS_CLIENT_SECRET"])
def test_a_server_that_is_not_set_up_tells_a_stranger_no_details(
    link: str, guest: Client, settings: Settings, setting: str
) -> None:
    setattr(settings, setting, type(getattr(settings, setting))())
    response = go_on(guest, link)
    assert "Something has to be mended on the clinic's server first." in for_strangers(response)
    assert setting not in response.content.decode()


# ── at once ───────────────────────────────────────────────────────────────────────────────────
def at_once(visits: list[tuple[Client, str]]) -> list[int]:
    """Everybody comes back from Intuit in the same moment; the statuses."""
    barrier, statuses = threading.Barrier(len(visits)), []

    def visit(browser: Client, back: str) -> None:
        client = Client()
        client.cookies = browser.cookies
        barrier.wait()
        try:
            statuses.append(client.get(back).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=visit, args=each) for each in visits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


@pytest.mark.django_db(transaction=True)
def test_simultaneous_callbacks_exchange_once(link: str, guest: Client, world: World) -> None:
    back = decide(begin(guest, link))
    assert at_once([(guest, back)] * 4) == [200, 200, 200, 302]
    assert len(world.calls("token")) == 1
    assert check().ok


@pytest.mark.django_db(transaction=True)
def test_of_several_people_with_the_same_link_one_exchanges(link: str, world: World) -> None:
    people = [Client() for _ in range(4)]
    visits = [(person, decide(begin(person, link))) for person in people]
    assert at_once(visits) == [200, 200, 200, 302]
    assert len(world.calls("token")) == 1
    assert stored().generation == 2
    assert check().ok


@pytest.mark.django_db(transaction=True)
def test_of_several_who_press_the_button_no_more_than_twenty_begin(link: str, world: World) -> None:
    HandOver.objects.update(attempts=HandOver.MOST_ATTEMPTS - 2)
    barrier, pages = threading.Barrier(4), []

    def press() -> None:
        client = Client()
        client.get("/healthz")
        barrier.wait()
        try:
            pages.append(text_of(go_on(client, link)))
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("On to QuickBooks" in page for page in pages) == 2
    assert AuthorizationRequest.objects.count() == 2


# ── safety in transport ───────────────────────────────────────────────────────────────────────
def test_the_button_is_a_post_with_a_csrf_token(link: str) -> None:
    guarded = Client(enforce_csrf_checks=True)
    refused = go_on(guarded, link)
    assert refused.status_code == 403
    assert "CSRF" not in text_of(refused)
    assert "Nothing was changed." in text_of(refused)
    assert not AuthorizationRequest.objects.exists()
    page = guarded.get(link).content.decode()
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    form = {"link": token_of(link), "csrfmiddlewaretoken": token}
    assert "On to QuickBooks" in text_of(guarded.post(LINK, form))
    assert guarded.put(LINK).status_code == 403


def test_no_log_holds_a_link(
    link: str, guest: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (None, *logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    guest.raise_request_exception = False
    token, form = token_of(link), {"link": token_of(link)}
    Client(enforce_csrf_checks=True).post(link, form)
    guest.get(link, headers={"host": "elsewhere.example"})
    guest.get(link.replace("hand-over/", "hand-over"))
    guest.put(link)
    reconnect(guest, link)
    monkeypatch.setattr(hand_over, "find", lambda token: 1 / 0)
    assert guest.get(link).status_code == 500
    for said in ("CSRF", "elsewhere.example", "Method Not Allowed", "Internal Server Error"):
        assert said in caplog.text
    assert token not in caplog.text
    assert token.partition("~")[2] not in caplog.text


def test_a_link_survives_a_mail_program(link: str, staff_client: Client) -> None:
    """Nothing in it at which the end of a link is guessed, or that would have to be quoted."""
    assert re.fullmatch(r"[\w/?=~-]+", link)
    assert len(link) < 100
    page = staff_client.get(FIX, {"realm": HARBOUR})
    mail = unquote(links_of(page)["Send by e-mail"])
    assert "Harbour Physio" in mail


# ── the staff's side ──────────────────────────────────────────────────────────────────────────
def test_the_fix_page_lists_the_links_and_takes_them_back(
    broken: OAuthToken, staff_client: Client, guest: Client, world: World
) -> None:
    first = made(staff_client)
    page = text_of(staff_client.get(FIX, {"realm": HARBOUR}))
    assert "Link made just now by staff" in page
    assert "Not tried yet." in page
    second = made(staff_client)
    assert first != second
    guest.get(first)
    assert "First tried" not in text_of(staff_client.get(FIX, {"realm": HARBOUR}))
    begin(guest, first)
    page = text_of(staff_client.get(FIX, {"realm": HARBOUR}))
    assert page.count("Not tried yet.") == 1
    assert "First tried just now; it has not worked yet." in page
    take_back(first, staff_client)
    assert for_strangers(guest.get(first)) == GONE
    assert guest.get(second).status_code == 200
    html = staff_client.get(FIX, {"realm": HARBOUR}).content.decode()
    assert token_of(first) not in html
    assert token_of(second) in html
    again = staff_client.post(TAKE_BACK, {"id": row_of(first).pk}, follow=True)
    assert "The link had ended already." in text_of(again)
    assert notes()[-1] == "staff took a hand-over link back."


def test_five_links_are_good_at_a_time(
    broken: OAuthToken, staff_client: Client, guest: Client
) -> None:
    five = [made(staff_client) for _ in range(5)]
    page = text_of(staff_client.get(FIX, {"realm": HARBOUR}))
    assert "At most 5 are good at a time: one more takes back the oldest." in page
    assert all("Reconnect QuickBooks" in text_of(guest.get(link)) for link in five)
    sixth = made(staff_client)
    assert for_strangers(guest.get(five[0])) == GONE
    assert all("Reconnect QuickBooks" in text_of(guest.get(link)) for link in [*five[1:], sixth])
    assert notes()[-1] == "The oldest hand-over link was taken back."


def test_the_mail_says_what_it_is_about(link: str, staff_client: Client) -> None:
    html = staff_client.get(FIX, {"realm": HARBOUR}).content.decode()
    [mail] = [
        unquote(url) for url in re.findall(r'href="(mailto:[^"]+)"', html) if "hand-over" in url
    ]
    assert "subject=Please reconnect QuickBooks for Harbour Physio" in mail
    assert f"http://127.0.0.1:8000{link}\n" in mail
    assert "The link works once, and for this company only." in mail


def test_a_link_is_made_only_where_signing_in_again_helps(
    staff_client: Client, world: World
) -> None:
    connect(world)
    world.set_fault("api", "subscription_ended")
    assert check().diagnosis == "subscription_ended"
    assert "Hand over" not in text_of(staff_client.get(FIX, {"realm": HARBOUR}))
    response = staff_client.post(MAKE, {"realm": HARBOUR}, follow=True)
    assert "No link was made: a new sign-in would not help Harbour Physio now." in text_of(response)
    assert not HandOver.objects.exists()


def test_there_is_nothing_to_hand_over_where_all_is_well(
    staff_client: Client, world: World
) -> None:
    connect(world)
    check()
    assert "Hand over" not in text_of(staff_client.get(FIX, {"realm": HARBOUR}))
    staff_client.post(MAKE, {"realm": HARBOUR})
    assert not HandOver.objects.exists()


def test_links_are_the_business_of_who_may_connect(link: str, staff: User, guest: Client) -> None:
    visitor = Client()
    visitor.force_login(User.objects.create_user("visitor", is_staff=True))
    assert visitor.post(MAKE, {"realm": HARBOUR}).status_code == 403
    assert visitor.post(TAKE_BACK, {"id": row_of(link).pk}).status_code == 403
    assert "hand-over" not in visitor.get(FIX, {"realm": HARBOUR}).content.decode()
    assert guest.get(link).status_code == 200
    guarded = Client(enforce_csrf_checks=True)
    guarded.force_login(staff)
    assert guarded.post(MAKE, {"realm": HARBOUR}).status_code == 403
    assert guarded.get(MAKE).status_code == 405


@pytest.mark.parametrize("pk", ["", "0", "x", "-1", "٤", "9" * 30, "1.0"])
def test_a_link_that_never_was_cannot_be_taken_back(staff_client: Client, pk: str) -> None:
    assert staff_client.post(TAKE_BACK, {"id": pk}).status_code == 404


@pytest.mark.parametrize("realm_id", ["", "abc", "1"])
def test_no_link_is_made_for_a_company_that_is_none(staff_client: Client, realm_id: str) -> None:
    assert staff_client.post(MAKE, {"realm": realm_id}).status_code == 404


# ── the admin ─────────────────────────────────────────────────────────────────────────────────
def account(*codenames: str) -> Client:
    user = User.objects.create_user(f"staff {'-'.join(codenames)}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def test_the_admin_lists_the_links_and_shows_none(link: str, guest: Client) -> None:
    reader = account("view_handover")
    listed = reader.get(LIST)
    text = text_of(listed)
    assert "Harbour Physio" in text
    assert "Can be used" in text
    page = reader.get(f"{LIST}{row_of(link).pk}/change/")
    assert "Can be used" in text_of(page)
    for response in (listed, page):
        assert token_of(link) not in response.content.decode()
        assert "take_back" not in response.content.decode()
    reconnect(guest, link)
    assert "Used" in text_of(reader.get(LIST))


def test_the_admin_takes_links_back_for_who_may_connect(link: str, guest: Client) -> None:
    form = {"action": "take_back", "_selected_action": [row_of(link).pk]}
    account("view_handover").post(LIST, form)
    assert row_of(link).revoked_at is None
    manager = account("view_handover", "manage_connection")
    assert "1 link no longer works." in text_of(manager.post(LIST, form, follow=True))
    assert for_strangers(guest.get(link)) == GONE
    assert "Taken back" in text_of(manager.get(LIST))


def test_the_admin_says_through_whose_link_a_company_was_connected(
    link: str, guest: Client
) -> None:
    reader, url = account("view_oauthtoken"), f"/admin/quickbooks/oauthtoken/{stored().pk}/change/"
    assert "through a hand-over link" not in text_of(reader.get(url))
    reconnect(guest, link)
    assert "through a hand-over link that staff made" in text_of(reader.get(url))
