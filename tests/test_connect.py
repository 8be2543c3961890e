"""Connect, reconnect, disconnect: the way of a person through the pages, Intuit's included."""

import datetime as dt
import threading
from html import unescape
from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.models import Incident, IntegrationStatus
from quickbooks.models import (
    AuthorizationRequest,
    ConnectionHealthCheck,
    DiscoveryDocument,
    GrantState,
    OAuthToken,
    RefreshOutcome,
    TokenRefresh,
)
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import (
    add_check,
    check,
    connect,
    decide,
    links_of,
    set_out,
    stored,
    text_of,
    within,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("simulator")]

CONNECT, CALLBACK = "/quickbooks/connect/", "/quickbooks/callback/"
FIX, DISCONNECT = "/quickbooks/fix/", "/quickbooks/disconnect/"
TAKE_OVER, DISCONNECTED = "/quickbooks/take-over/", "/quickbooks/disconnected/"
CHECK = "/quickbooks/check/"


@pytest.fixture(autouse=True)
def patience(settings: Settings) -> None:
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5


@pytest.fixture
def visitor(db: None) -> Client:
    """On the staff, without the permission to connect."""
    client = Client()
    client.force_login(User.objects.create_user("visitor", is_staff=True))
    return client


def go(client: Client, realm_id: str = "", choose: str = HARBOUR) -> Any:
    """All of the way."""
    return client.get(decide(set_out(client, realm_id), choose))


def told(response: Any, *pieces: str) -> None:
    """A page in plain words, which says that nothing happened."""
    assert response.status_code == 200
    text = text_of(response)
    for piece in pieces:
        assert piece in text


# ── the whole way ─────────────────────────────────────────────────────────────────────────────
def test_a_person_connects_a_company(
    staff: User, staff_client: Client, world: World, simulator: Simulator
) -> None:
    asked = set_out(staff_client)
    assert asked["page"].startswith(f"{simulator.url}/connect/oauth2?")
    assert asked["client_id"] == "demo-client-id"
    assert asked["redirect_uri"] == "http://127.0.0.1:8000/quickbooks/callback/"
    assert (asked["response_type"], asked["scope"]) == ("code", "com.intuit.quickbooks.accounting")
    page = requests.get(asked["page"], timeout=10).text
    assert "Harbour Physio" in page
    assert "Northside Physio" in page
    response = staff_client.get(decide(asked), follow=True)
    assert response.redirect_chain == [("/dashboard/", 302)]
    assert "Harbour Physio is connected: QuickBooks has just answered." in text_of(response)
    row = stored()
    assert (row.state, row.generation, row.company_name) == (GrantState.LIVE, 1, "Harbour Physio")
    assert (row.client_id, row.environment) == ("demo-client-id", "sandbox")
    assert row.site_url == "http://127.0.0.1:8000"
    assert row.connected_by == staff
    assert row.in_doubt_since is row.lease_until is None
    # The five-year clock comes only to who asks for it with a header of its own.
    assert row.hard_expires_at is not None
    assert dt.timedelta(days=1824) < row.hard_expires_at - timezone.now() < dt.timedelta(days=1826)
    assert [call.endpoint for call in world.calls()] == ["discovery", "token", "api"]
    made = ConnectionHealthCheck.objects.get()
    assert (made.ok, made.trigger, made.refreshed) == (True, "connect", False)
    assert IntegrationStatus.objects.get(account=HARBOUR).state == "ok"
    assert not AuthorizationRequest.objects.exists()
    journal = TokenRefresh.objects.get()
    assert (journal.purpose, journal.outcome) == ("connect", RefreshOutcome.ROTATED)


def test_a_person_reconnects_a_company_and_its_history_stays(
    staff_client: Client, world: World
) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    assert check().diagnosis == "reconnect_required"
    response = go(staff_client, HARBOUR)
    assert response["Location"] == "/dashboard/"
    row = stored()
    assert (row.state, row.generation) == (GrantState.LIVE, 2)
    assert [c.diagnosis for c in ConnectionHealthCheck.objects.order_by("id")] == [
        "reconnect_required",
        "ok",
    ]
    assert IntegrationStatus.objects.get().level == "healthy"
    incident = Incident.objects.get()
    assert incident.ended_at is not None
    assert incident.fixed_by == "staff"


def test_another_company_can_be_connected_beside_the_first(
    staff_client: Client, world: World
) -> None:
    go(staff_client)
    go(staff_client, choose=NORTHSIDE)
    assert {row.company_name for row in OAuthToken.objects.all()} == {
        "Harbour Physio",
        "Northside Physio",
    }
    assert check().ok
    assert check(NORTHSIDE).ok


def test_the_state_is_unguessable_and_kept_as_a_hash(staff_client: Client) -> None:
    states = {set_out(staff_client)["state"] for _ in range(3)}
    assert len(states) == 3
    assert min(map(len, states)) >= 43
    rows = str(list(AuthorizationRequest.objects.values()))
    assert not any(state in rows for state in states)


def test_old_states_are_cleared_away(staff_client: Client) -> None:
    set_out(staff_client)
    AuthorizationRequest.objects.update(created_at=timezone.now() - dt.timedelta(hours=1))
    set_out(staff_client)
    assert AuthorizationRequest.objects.count() == 1


def test_two_windows_can_both_set_out(staff_client: Client, world: World) -> None:
    first, second = set_out(staff_client), set_out(staff_client)
    assert staff_client.get(decide(second, NORTHSIDE)).status_code == 302
    assert staff_client.get(decide(first, HARBOUR)).status_code == 302
    assert len(world.calls("token")) == 2


def test_a_first_check_that_fails_is_said_at_once(staff_client: Client, world: World) -> None:
    world.set_fault("api", "no_access")
    response = staff_client.get(decide(set_out(staff_client)), follow=True)
    text = text_of(response)
    assert "is authorized, but the first check says: QuickBooks refuses us access." in text
    assert stored().state == GrantState.LIVE


# ── a double click ────────────────────────────────────────────────────────────────────────────
def test_a_double_click_exchanges_once(staff_client: Client, world: World) -> None:
    back = decide(set_out(staff_client))
    assert staff_client.get(back).status_code == 302
    told(staff_client.get(back), "expired or was used already", "Nothing was changed.")
    assert len(world.calls("token")) == 1
    assert check().ok  # a second exchange would have killed the grant


@pytest.mark.django_db(transaction=True)
def test_simultaneous_callbacks_exchange_once(staff_client: Client, world: World) -> None:
    back = decide(set_out(staff_client))
    barrier, statuses = threading.Barrier(4), []

    def click() -> None:
        from django.db import connection

        client = Client()
        client.cookies = staff_client.cookies
        barrier.wait()
        try:
            statuses.append(client.get(back).status_code)
        finally:
            connection.close()

    clicks = [threading.Thread(target=click) for _ in range(4)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    assert sorted(statuses) == [200, 200, 200, 302]
    assert len(world.calls("token")) == 1
    assert check().ok


# ── a state that does not fit ─────────────────────────────────────────────────────────────────
def nothing_changed(world: World) -> None:
    assert world.calls("token") == []
    assert not OAuthToken.objects.exclude(state=GrantState.PENDING).exists()
    assert not ConnectionHealthCheck.objects.exists()


@pytest.mark.parametrize("state", ["", "wrong", "\x00", "é" * 5000])
def test_a_wrong_state_changes_nothing(staff_client: Client, world: World, state: str) -> None:
    set_out(staff_client)
    code = world.new_code(HARBOUR, "http://127.0.0.1:8000/quickbooks/callback/")
    for query in ({"code": code, "realmId": HARBOUR, "state": state}, {"code": code}, {}):
        response = staff_client.get(CALLBACK, query)
        told(response, "This sign-in has expired or was used already", "Nothing was changed.")
        assert links_of(response)["Start again"] == CONNECT
        assert code not in response.content.decode()
    nothing_changed(world)


@pytest.mark.parametrize(("minutes", "works"), [(29, True), (31, False)])
def test_a_state_lives_for_half_an_hour(
    staff_client: Client, world: World, minutes: int, works: bool
) -> None:
    back = decide(set_out(staff_client))
    AuthorizationRequest.objects.update(created_at=timezone.now() - dt.timedelta(minutes=minutes))
    assert staff_client.get(back).status_code == (302 if works else 200)
    assert len(world.calls("token")) == int(works)


def test_a_state_belongs_to_one_session(
    staff: User, staff_client: Client, visitor: Client, world: World
) -> None:
    back = decide(set_out(staff_client))
    elsewhere = Client()  # the same person in another browser
    elsewhere.force_login(staff)
    for client in (visitor, elsewhere):
        told(client.get(back), "in the browser where it began")
    nothing_changed(world)
    assert staff_client.get(back).status_code == 302  # the others have not used it up


def test_a_state_does_not_outlive_its_session(
    staff: User, staff_client: Client, world: World
) -> None:
    back = decide(set_out(staff_client))
    staff_client.logout()
    staff_client.force_login(staff)
    told(staff_client.get(back), "Nothing was changed.")
    nothing_changed(world)


# ── another company than the one asked for ────────────────────────────────────────────────────
@pytest.mark.parametrize("known", [True, False])
def test_another_company_is_not_exchanged_but_asked_about(
    staff_client: Client, world: World, known: bool
) -> None:
    connect(world)
    if known:
        connect(world, NORTHSIDE)
    response = go(staff_client, HARBOUR, choose=NORTHSIDE)
    other = "Northside Physio" if known else "another company (…4188)"
    told(
        response,
        "That is another company",
        f"You set out to reconnect Harbour Physio, but chose {other} at QuickBooks.",
        "Nothing was changed.",
    )
    assert links_of(response) == {
        "Choose Harbour Physio": f"{CONNECT}?realm={HARBOUR}",
        f"Connect {other}": f"{CONNECT}?realm={NORTHSIDE}",
    }
    assert world.calls("token") == []
    assert stored().generation == 1
    response = go(staff_client, NORTHSIDE, choose=NORTHSIDE)
    assert response.status_code == 302
    assert check(NORTHSIDE).ok
    assert check().ok


# ── Intuit says no, or nothing that fits ──────────────────────────────────────────────────────
def test_consent_denied_is_told_in_plain_words(staff_client: Client, world: World) -> None:
    connect(world)
    back = decide(set_out(staff_client, HARBOUR), decision="cancel")
    assert "error=access_denied" in back
    response = staff_client.get(back)
    told(response, "You cancelled at QuickBooks", "No permission was given. Nothing was changed.")
    assert links_of(response)["Start again"] == f"{CONNECT}?realm={HARBOUR}"
    assert world.calls("token") == []
    told(staff_client.get(back), "was used already")


def test_an_error_of_intuit_is_told_and_not_repeated(staff_client: Client, world: World) -> None:
    state = set_out(staff_client)["state"]
    query = {"error": "<b>server_error</b>", "error_description": "call 555-1234", "state": state}
    response = staff_client.get(CALLBACK, query)
    told(response, "QuickBooks could not finish the sign-in", "Nothing was changed.")
    assert "555-1234" not in response.content.decode()
    assert "server_error" not in response.content.decode()
    nothing_changed(world)


@pytest.mark.parametrize(
    "query",
    [
        {"code": "XAB1"},
        {"code": "XAB1", "realmId": ""},
        {"code": "XAB1", "realmId": "abc"},
        {"code": "XAB1", "realmId": f"{HARBOUR}\n"},
        {"code": "XAB1", "realmId": "../../1"},
        {"code": "XAB1", "realmId": "٤٦"},
        {"code": "XAB1", "realmId": "1" * 33},
        {"realmId": HARBOUR},
        {"code": "", "realmId": HARBOUR},
    ],
)
def test_an_incomplete_answer_changes_nothing(
    staff_client: Client, world: World, query: dict[str, str]
) -> None:
    state = set_out(staff_client)["state"]
    response = staff_client.get(CALLBACK, {**query, "state": state})
    told(response, "QuickBooks did not say which company", "Nothing was changed. Start again")
    assert "Start again" in links_of(response)
    nothing_changed(world)


@pytest.mark.parametrize(
    ("fault", "title", "text"),
    [
        ("invalid_grant", "QuickBooks was not connected", "Intuit did not accept the sign-in"),
        ("invalid_client", "QuickBooks doesn't accept our app keys", "Your IT person must replace"),
        ("status_503", "QuickBooks was not connected", "Intuit's answer did not arrive"),
        ("html", "QuickBooks was not connected", "we don't know whether it went through there"),
        ("garbage_after", "QuickBooks was not connected", "Please wait 30 seconds"),
        ("no_refresh_token", "QuickBooks was not connected", "Please wait 30 seconds"),
    ],
)
def test_an_exchange_that_fails_is_told_and_nothing_is_connected(
    staff_client: Client, world: World, fault: str, title: str, text: str
) -> None:
    world.set_fault("token", fault)
    response = go(staff_client)
    told(response, title, text)
    assert links_of(response)["Start again"] == CONNECT
    assert OAuthToken.objects.get().state == GrantState.PENDING
    assert not ConnectionHealthCheck.objects.exists()
    assert len(world.calls("token")) == 1
    # Nobody is told of a company that was never connected.
    assert "QuickBooks isn't connected yet" in text_of(staff_client.get("/dashboard/"))


def test_an_exchange_that_fails_leaves_a_working_connection_alone(
    staff_client: Client, world: World
) -> None:
    connect(world)
    world.fail_next("token", "invalid_grant")
    told(go(staff_client, HARBOUR), "QuickBooks was not connected", "Nothing was changed.")
    assert (stored().state, stored().generation) == (GrantState.LIVE, 1)
    assert stored().in_doubt_since is None
    assert check().ok


def test_intuit_that_is_away_is_told_before_anybody_is_sent_there(
    staff_client: Client, world: World
) -> None:
    world.set_fault("discovery", "unavailable")
    response = staff_client.get(CONNECT)
    told(response, "QuickBooks can't be reached right now", "Nothing was changed.")
    assert "Start again" in links_of(response)
    assert not AuthorizationRequest.objects.exists()


def test_an_intuit_that_hangs_at_the_exchange_is_given_up(
    staff_client: Client, world: World, settings: Settings
) -> None:
    back = decide(set_out(staff_client))
    settings.QUICKBOOKS_DEADLINE_SECONDS = 0.3
    world.set_fault("token", "hang")
    with within(0.3 + 1):
        response = staff_client.get(back)
    told(response, "Intuit's answer did not arrive", "Please wait 2 seconds, then start again.")


def test_the_lost_answer_of_a_reconnection_is_told_and_the_grant_judged_honestly(
    staff_client: Client, world: World
) -> None:
    connect(world)
    check()
    world.fail_next("token", "lost_answer")
    told(go(staff_client, HARBOUR), "Intuit's answer did not arrive", "Please wait 30 seconds")
    row = stored()
    assert (row.state, row.generation) == (GrantState.LIVE, 1)
    assert row.in_doubt_since is not None
    assert TokenRefresh.objects.latest("id").outcome == RefreshOutcome.UNKNOWN
    # At Intuit the new consent ended the earlier one. When the lease is over, that shows.
    OAuthToken.objects.update(lease_until=timezone.now() - dt.timedelta(seconds=1))
    assert check().diagnosis == "refresh_response_lost"
    go(staff_client, HARBOUR)
    assert check().ok


def test_nobody_connects_while_a_renewal_is_unfinished(
    staff_client: Client, world: World, settings: Settings
) -> None:
    connect(world)
    settings.QUICKBOOKS_DEADLINE_SECONDS = 0.3
    until = timezone.now() + dt.timedelta(minutes=1)
    OAuthToken.objects.update(lease_owner="somebody", lease_until=until)
    response = go(staff_client, HARBOUR)
    told(
        response,
        "A renewal with QuickBooks is unfinished; the next try is possible at "
        f"{timezone.localtime(until):%H:%M:%S}.",
        "Nothing was changed.",
    )
    assert world.calls("token") == []


# ── who may ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "setting", ["TOKEN_ENCRYPTION_KEYS", "QUICKBOOKS_CLIENT_ID", "QUICKBOOKS_CLIENT_SECRET"]
)
def test_without_its_settings_nobody_is_sent_to_intuit(
    staff_client: Client, world: World, settings: Settings, setting: str
) -> None:
    setattr(settings, setting, type(getattr(settings, setting))())
    response = staff_client.get(CONNECT)
    told(
        response,
        "QuickBooks can't be connected yet",
        f"These settings are missing on the server: {setting}.",
        "Nothing was changed.",
    )
    assert world.calls() == []
    assert not AuthorizationRequest.objects.exists()


@pytest.mark.parametrize("realm_id", ["abc", "1%0A", "%00", "..", "1" * 33])
def test_a_malformed_company_is_a_404(staff_client: Client, realm_id: str) -> None:
    for path in (CONNECT, FIX):
        assert staff_client.get(f"{path}?realm={realm_id}").status_code == 404
    for path in (DISCONNECT, TAKE_OVER, CHECK):
        assert staff_client.post(path, {"realm": realm_id}).status_code == 404


@pytest.mark.parametrize("realm_id", ["", HARBOUR])
def test_an_unknown_company_is_a_404(staff_client: Client, realm_id: str) -> None:
    OAuthToken.objects.create(realm_id=HARBOUR)  # is only being connected
    for path in (DISCONNECT, TAKE_OVER, CHECK):
        assert staff_client.post(path, {"realm": realm_id}).status_code == 404
    assert staff_client.get(FIX, {"realm": HARBOUR}).status_code == 404


def test_who_lacks_the_permission_may_not_connect(visitor: Client, world: World) -> None:
    connect(world)
    assert visitor.get(CONNECT, {"realm": HARBOUR}).status_code == 403
    for path in (DISCONNECT, TAKE_OVER):
        assert visitor.post(path, {"realm": HARBOUR, "confirm": "yes"}).status_code == 403
    assert stored().state == GrantState.LIVE
    assert world.calls() == []


def test_who_lost_the_permission_on_the_way_connects_nothing(
    staff: User, staff_client: Client, world: World
) -> None:
    back = decide(set_out(staff_client))
    staff.user_permissions.clear()
    assert staff_client.get(back).status_code == 403
    nothing_changed(world)


def test_who_is_not_on_the_staff_sees_nothing(world: World) -> None:
    connect(world)
    client = Client()
    client.force_login(User.objects.create_user("patient"))
    for path in (CONNECT, CALLBACK, FIX):
        assert client.get(path).status_code == 403
    for path in (DISCONNECT, TAKE_OVER, CHECK):
        assert client.post(path, {"realm": HARBOUR}).status_code == 403
    assert world.calls() == []


def test_nobody_is_led_to_the_login_and_back(client: Client) -> None:
    response = client.get(CONNECT, {"realm": HARBOUR})
    assert response["Location"] == (f"/admin/login/?next=/quickbooks/connect/%3Frealm%3D{HARBOUR}")
    assert client.get(FIX)["Location"] == "/admin/login/?next=/quickbooks/fix/"
    assert client.post(DISCONNECT)["Location"].startswith("/admin/login/")


def test_a_callback_without_a_session_takes_no_code_along(client: Client, world: World) -> None:
    query = {"code": "XAB1-a-secret", "realmId": HARBOUR, "state": "s", "error": "e"}
    response = client.get(CALLBACK, query)
    assert response["Location"] == "/admin/login/?next=/dashboard/"
    nothing_changed(world)


@pytest.mark.parametrize("path", [CONNECT, CALLBACK, FIX, DISCONNECTED])
def test_pages_that_are_read_take_no_post(staff_client: Client, path: str) -> None:
    assert staff_client.post(path).status_code == 405


@pytest.mark.parametrize("path", [DISCONNECT, TAKE_OVER, CHECK])
def test_what_changes_something_is_a_post_with_a_csrf_token(
    staff: User, staff_client: Client, world: World, path: str
) -> None:
    connect(world)
    assert staff_client.get(path, {"realm": HARBOUR}).status_code == 405
    guarded = Client(enforce_csrf_checks=True)
    guarded.force_login(staff)
    assert guarded.post(path, {"realm": HARBOUR, "confirm": "yes"}).status_code == 403
    assert stored().state == GrantState.LIVE
    assert world.calls() == []


@pytest.mark.parametrize("path", [CONNECT, CALLBACK, FIX, f"{DISCONNECTED}?realmId={HARBOUR}"])
def test_no_page_is_kept_by_a_cache(staff_client: Client, path: str) -> None:
    assert "no-store" in staff_client.get(path)["Cache-Control"]


# ── disconnect ────────────────────────────────────────────────────────────────────────────────
def disconnect(client: Client, **form: str) -> Any:
    return client.post(DISCONNECT, {"realm": HARBOUR, "confirm": "yes", **form}, follow=True)


def test_disconnecting_asks_first(staff_client: Client, world: World) -> None:
    connect(world)
    response = staff_client.post(DISCONNECT, {"realm": HARBOUR})
    text = text_of(response)
    assert "Disconnect QuickBooks · Harbour Physio?" in text
    assert "Payment tracking stops until somebody connects it again." in text
    assert "the history here stays" in text
    assert stored().state == GrantState.LIVE
    assert world.calls() == []


def test_a_person_disconnects_and_connects_again(
    staff: User, staff_client: Client, world: World
) -> None:
    connect(world)
    check()
    world.reset_counters()
    response = disconnect(staff_client)
    assert "Harbour Physio is disconnected. Its history stays." in text_of(response)
    assert [call.endpoint for call in world.calls()] == ["revoke"]
    assert world.live_refresh_token(HARBOUR) is None
    row = stored()
    assert (row.state, row.disconnected_by) == (GrantState.DISCONNECTED, staff)
    assert (row.access_token, row.refresh_token) == ("", "")
    assert ConnectionHealthCheck.objects.count() == 1
    assert IntegrationStatus.objects.get().state == "disconnected_here"
    text = text_of(staff_client.get("/dashboard/"))
    assert "QuickBooks was disconnected here" in text
    assert "staff disconnected it on" in text
    assert TokenRefresh.objects.latest("id").outcome == RefreshOutcome.REVOKED
    go(staff_client, HARBOUR)
    assert (stored().state, stored().disconnected_at) == (GrantState.LIVE, None)
    assert IntegrationStatus.objects.get().level == "healthy"


@pytest.mark.parametrize("fault", ["unavailable", "html", "close", "reset"])
def test_a_revocation_that_fails_is_kept_said_and_tried_again(
    staff_client: Client, world: World, fault: str
) -> None:
    connect(world)
    world.set_fault("revoke", fault)
    text = text_of(disconnect(staff_client))
    assert "Harbour Physio is disconnected here, but Intuit could not be told" in text
    assert "Disconnect once more to try again, or remove the app in QuickBooks." in text
    row = stored()
    assert row.state == GrantState.DISCONNECTED
    assert row.revocation_error
    assert row.refresh_token == world.live_refresh_token(HARBOUR)
    # It stays said, and nothing uses the tokens that were kept for it.
    assert "Intuit could not be told about the disconnection" in text_of(
        staff_client.get("/dashboard/")
    )
    assert [call.endpoint for call in world.calls()] == ["revoke"]
    world.clear_faults()
    OAuthToken.objects.update(lease_until=timezone.now() - dt.timedelta(seconds=1))
    assert "is disconnected. Its history stays." in text_of(disconnect(staff_client))
    assert world.live_refresh_token(HARBOUR) is None
    assert (stored().revocation_error, stored().refresh_token) == ("", "")


def test_a_revocation_with_the_wrong_app_keys_is_said_too(
    staff_client: Client, world: World, settings: Settings
) -> None:
    connect(world)
    settings.QUICKBOOKS_CLIENT_SECRET = "mistyped"
    assert "Intuit could not be told (invalid_client)" in text_of(disconnect(staff_client))
    assert stored().refresh_token == world.live_refresh_token(HARBOUR)


def test_an_intuit_that_hangs_does_not_hold_a_disconnection(
    staff_client: Client, world: World, settings: Settings
) -> None:
    connect(world)
    settings.QUICKBOOKS_DEADLINE_SECONDS = 0.3
    world.set_fault("revoke", "hang")
    with within(0.3 + 1.5):
        text = text_of(disconnect(staff_client))
    assert "no complete answer within the deadline" in text
    assert stored().state == GrantState.DISCONNECTED


def test_a_dead_token_is_not_presented_to_be_revoked(staff_client: Client, world: World) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    check()
    world.reset_counters()
    assert "is disconnected. Its history stays." in text_of(disconnect(staff_client))
    assert world.calls("revoke") == []
    assert stored().refresh_token == ""


def test_a_token_that_died_unnoticed_counts_as_revoked(staff_client: Client, world: World) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    assert "is disconnected. Its history stays." in text_of(disconnect(staff_client))
    assert stored().revocation_error == ""


def test_a_copy_forgets_without_ending_the_grant_of_the_original(
    staff_client: Client, world: World
) -> None:
    connect(world)
    OAuthToken.objects.update(site_url="https://original.example")
    assert "is disconnected. Its history stays." in text_of(disconnect(staff_client))
    assert world.calls("revoke") == []
    assert world.live_refresh_token(HARBOUR) is not None


def test_nobody_disconnects_while_a_renewal_is_unfinished(
    staff_client: Client, world: World, settings: Settings
) -> None:
    connect(world)
    settings.QUICKBOOKS_DEADLINE_SECONDS = 0.3
    until = timezone.now() + dt.timedelta(minutes=1)
    OAuthToken.objects.update(lease_owner="somebody", lease_until=until)
    text = text_of(disconnect(staff_client))
    assert "Harbour Physio was not disconnected" in text
    assert "Nothing was changed. Please try again then." in text
    assert stored().state == GrantState.LIVE
    assert world.calls("revoke") == []


# ── Intuit's disconnect page ──────────────────────────────────────────────────────────────────
QUERIES = [
    "",
    f"?realmId={HARBOUR}",
    f"?realm={HARBOUR}",
    f"?realmId={NORTHSIDE}",
    "?realmId=abc",
    "?realmId=%00",
    "?realmId=" + "1" * 500,
]


@pytest.mark.parametrize("works", [True, False])
def test_the_disconnected_page_tells_a_stranger_nothing(
    client: Client, world: World, works: bool
) -> None:
    connect(world)
    if not works:
        world.revoke_grant(HARBOUR)
    pages = [client.get(DISCONNECTED + query) for query in QUERIES]
    assert {page.status_code for page in pages} == {200}
    assert len({page.content for page in pages}) == 1
    text = text_of(pages[0])
    assert "Was it a mistake? You can connect it again." in text
    assert links_of(pages[0]) == {"Reconnect": FIX}
    assert "Harbour" not in text
    assert not pages[0].cookies


def test_the_disconnected_page_makes_a_probe_at_most_once_a_minute(
    client: Client, world: World, settings: Settings
) -> None:
    settings.QUICKBOOKS_PROBE_REUSE_SECONDS = 0
    connect(world)
    for query in QUERIES * 2:
        client.get(DISCONNECTED + query)
    assert len(world.calls("api")) == 1
    made = ConnectionHealthCheck.objects.get()
    assert (made.trigger, made.ok) == ("hint", True)
    for seconds, calls in ((55, 1), (61, 2)):
        ConnectionHealthCheck.objects.update(
            checked_at=timezone.now() - dt.timedelta(seconds=seconds)
        )
        client.get(f"{DISCONNECTED}?realmId={HARBOUR}")
        assert len(world.calls("api")) == calls


def test_the_disconnected_page_is_a_hint_and_no_evidence(client: Client, world: World) -> None:
    connect(world)
    client.get(f"{DISCONNECTED}?realmId={HARBOUR}")
    assert stored().state == GrantState.LIVE
    assert IntegrationStatus.objects.get().state == "ok"
    world.revoke_grant(HARBOUR)
    ConnectionHealthCheck.objects.update(checked_at=timezone.now() - dt.timedelta(minutes=2))
    client.get(f"{DISCONNECTED}?realmId={HARBOUR}")
    assert IntegrationStatus.objects.get().state == "reconnect_required"


def test_the_disconnected_page_asks_nothing_of_a_company_that_is_not_connected(
    client: Client, world: World
) -> None:
    OAuthToken.objects.create(realm_id=NORTHSIDE)
    client.get(f"{DISCONNECTED}?realmId={NORTHSIDE}")
    assert world.calls() == []
    assert not ConnectionHealthCheck.objects.exists()


# ── take over ─────────────────────────────────────────────────────────────────────────────────
def test_a_copy_is_taken_over_by_a_person(staff_client: Client, world: World) -> None:
    connect(world)
    OAuthToken.objects.update(site_url="https://original.example")
    assert check().diagnosis == "foreign_copy"
    page = staff_client.get(FIX, {"realm": HARBOUR})
    text = text_of(page)
    assert "This is a copy of another installation" in text
    assert "Take over only if the original is switched off." in text
    assert f'action="{TAKE_OVER}"' in page.content.decode()
    response = staff_client.post(TAKE_OVER, {"realm": HARBOUR}, follow=True)
    assert "This installation now looks after Harbour Physio." in text_of(response)
    assert stored().site_url == "http://127.0.0.1:8000"
    assert check().ok


def test_what_is_no_copy_is_not_taken_over(staff_client: Client, world: World) -> None:
    connect(world)
    text = text_of(staff_client.post(TAKE_OVER, {"realm": HARBOUR}, follow=True))
    assert "Harbour Physio was not taken over" in text
    assert stored().generation == 1


def test_nobody_takes_over_while_somebody_is_at_work(staff_client: Client, world: World) -> None:
    connect(world)
    until = timezone.now() + dt.timedelta(minutes=1)
    OAuthToken.objects.update(site_url="https://original.example", lease_until=until)
    text = text_of(staff_client.post(TAKE_OVER, {"realm": HARBOUR}, follow=True))
    assert "was not taken over: please try again in a minute" in text
    assert stored().site_url == "https://original.example"


# ── the fix page ──────────────────────────────────────────────────────────────────────────────
def test_the_fix_page_has_one_button_for_who_may(staff_client: Client, world: World) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    check()
    page = staff_client.get(FIX, {"realm": HARBOUR})
    text = text_of(page)
    assert "QuickBooks is disconnected" in text
    assert "Payment tracking stopped" in text
    assert "You are an administrator in QuickBooks" in text
    assert "When QuickBooks asks, choose the company Harbour Physio ." in text
    assert "About two minutes" in text
    assert links_of(page)["Fix Connection"] == f"{CONNECT}?realm={HARBOUR}"


def test_the_fix_page_offers_a_link_to_send_to_who_may_not(visitor: Client, world: World) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    check()
    page = visitor.get(FIX, {"realm": HARBOUR})
    text = text_of(page)
    assert "QuickBooks is disconnected" in text
    assert "Send the link to someone who can fix it" in text
    html = unescape(page.content.decode())
    assert f'value="http://127.0.0.1:8000{FIX}?realm={HARBOUR}"' in html
    assert "mailto:?subject=" in links_of(page)["Send by e-mail"]
    for path in (CONNECT, DISCONNECT, TAKE_OVER):
        assert path not in html


def test_the_fix_page_does_not_send_people_to_intuit_for_what_that_cannot_mend(
    staff_client: Client, world: World
) -> None:
    connect(world)
    world.set_fault("api", "unavailable")
    check()
    page = staff_client.get(FIX, {"realm": HARBOUR})
    assert "Please don't reconnect; it won't help." in text_of(page)
    assert CONNECT not in page.content.decode()


def test_the_fix_page_is_calm_when_all_is_well(staff_client: Client, world: World) -> None:
    connect(world)
    check()
    page = staff_client.get(FIX)
    assert "Nothing to do." in text_of(page)
    assert links_of(page)["Back to the dashboard"] == "/dashboard/"
    assert world.calls("token") == []


def test_the_fix_page_shows_the_company_that_fares_worst(
    staff_client: Client, world: World
) -> None:
    connect(world)
    connect(world, NORTHSIDE)
    check()
    world.revoke_grant(NORTHSIDE)
    check(NORTHSIDE)
    assert "Northside Physio" in text_of(staff_client.get(FIX))
    assert "Northside Physio" not in text_of(staff_client.get(FIX, {"realm": HARBOUR}))


def test_the_fix_page_connects_the_first_company(staff_client: Client, visitor: Client) -> None:
    page = staff_client.get(FIX)
    assert "QuickBooks isn't connected yet" in text_of(page)
    assert links_of(page)["Connect QuickBooks"] == CONNECT
    assert CONNECT not in visitor.get(FIX).content.decode()


def test_the_fix_page_names_the_settings_that_are_missing(
    staff_client: Client, settings: Settings
) -> None:
    settings.QUICKBOOKS_CLIENT_SECRET = ""
    settings.TOKEN_ENCRYPTION_KEYS = []
    text = text_of(staff_client.get(FIX))
    assert "QUICKBOOKS_CLIENT_SECRET" in text
    assert "TOKEN_ENCRYPTION_KEYS" in text
    assert "QUICKBOOKS_CLIENT_ID" not in text


def test_the_fix_page_calls_nobody(staff_client: Client, world: World) -> None:
    connect(world)
    add_check(diagnosis="access_denied", http_status=401, intuit_tid="1-68a3-7c")
    page = staff_client.get(FIX, {"realm": HARBOUR})
    assert "1-68a3-7c" in text_of(page)
    assert world.calls() == []


# ── check now ─────────────────────────────────────────────────────────────────────────────────
def test_check_now_always_makes_a_new_probe(visitor: Client, world: World) -> None:
    connect(world)
    for _ in range(2):
        response = visitor.post(CHECK, {"realm": HARBOUR})
        assert response["Location"] == "/dashboard/"
    assert visitor.post(f"{CHECK}?realm={HARBOUR}").status_code == 302
    assert len(world.calls("api")) == ConnectionHealthCheck.objects.count() == 3


def test_check_now_says_when_a_renewal_is_unfinished(
    staff_client: Client, world: World, settings: Settings
) -> None:
    connect(world, age=dt.timedelta(hours=1))
    settings.QUICKBOOKS_DEADLINE_SECONDS = 0.3
    until = timezone.now() + dt.timedelta(minutes=1)
    OAuthToken.objects.update(lease_owner="somebody", lease_until=until)
    text = text_of(staff_client.post(CHECK, {"realm": HARBOUR}, follow=True))
    assert f"Renewal unfinished, next try at {timezone.localtime(until):%H:%M:%S}." in text
    assert world.calls("token") == []


def test_intuits_own_endpoints_serve_when_its_discovery_is_away(
    staff_client: Client, settings: Settings
) -> None:
    # No test reaches Intuit; of its discovery host not even the name is looked up.
    settings.QUICKBOOKS_DISCOVERY_URL = (
        "https://developer.intuit.com/.well-known/openid_sandbox_configuration/"
    )
    response = staff_client.get(CONNECT)
    assert response["Location"].startswith("https://appcenter.intuit.com/connect/oauth2?")
    assert not DiscoveryDocument.objects.exists()


def test_the_fix_page_leads_to_another_company(
    staff_client: Client, visitor: Client, world: World
) -> None:
    connect(world)
    assert check().ok
    link = '<a href="/quickbooks/connect/">Connect another company'
    assert link in staff_client.get(FIX).content.decode()
    assert link not in visitor.get(FIX).content.decode()
