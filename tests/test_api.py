"""The API, as somebody's script meets it."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.registry import all_integrations
from quickbooks.models import ConnectionHealthCheck, GrantState, OAuthToken, ProbeClaim
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import PERSONAL, add_check, check, connect, stored, within

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("simulator")]

URL = "/api/admin/quickbooks/connection-status"
LIST = "/api/admin/integrations"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
MINUTE = dt.timedelta(minutes=1)
# Each company is probed on a thread, which has a database connection of its own.
several_companies = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def patience(settings: Settings) -> None:
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5


def ask(client: Client, query: str = "", url: str = URL) -> dict[str, Any]:
    response = client.get(url + query)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert "no-store" in response["Cache-Control"]
    found: dict[str, Any] = response.json()
    return found


# ── the form ──────────────────────────────────────────────────────────────────────────────────
class Time:
    """Any time in the contract's form."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and TIME.fullmatch(other) is not None

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "'2026-11-22T09:15:02Z'"


class Whole:
    """Any whole number that is not negative; a truth value is none."""

    def __eq__(self, other: object) -> bool:
        return type(other) is int and other >= 0

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "212"


def test_the_answer_has_the_form_of_the_contract(world: World, staff_client: Client) -> None:
    connect(world)
    add_check(checked_at=timezone.now() - 5 * MINUTE, diagnosis="timeout")
    found = ask(staff_client)
    one = {
        "integration": "quickbooks",
        "status": "healthy",
        "connected": True,
        "environment": "sandbox",
        "company": {"realm_id": HARBOUR, "name": "Harbour Physio"},
        "checked_at": Time(),
        "last_success_at": Time(),
        "latency_ms": Whole(),
        "reused": False,
        "health": {"score": 50.0, "window_hours": 24, "checks": 2, "successes": 1},
        "diagnosis": {
            "code": "ok",
            "title": "Connected",
            "impact": found["diagnosis"]["impact"],
            "next_step": "Nothing to do.",
            "who_acts": "nobody",
            "action_label": None,
            "action_url": None,
        },
        "error": None,
        "token": {
            "access_expires_at": Time(),
            "refresh_expires_at": Time(),
            "hard_expires_at": Time(),
            "last_rotated_at": Time(),
            "refreshed": False,
        },
    }
    assert found == {**one, "connections": [one]}
    assert list(found) == [*one, "connections"]
    assert found["checked_at"] == found["last_success_at"]
    assert type(found["health"]["score"]) is float
    assert found["diagnosis"]["impact"].startswith("QuickBooks answered at ")


def test_the_times_are_those_of_the_database(world: World, staff_client: Client) -> None:
    row = connect(world)
    token = ask(staff_client)["token"]
    for name, value in token.items():
        if name != "refreshed":
            assert value == f"{getattr(row, name).astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def test_a_failure_is_told_with_its_evidence(world: World, staff_client: Client) -> None:
    connect(world)
    world.set_fault("api", "no_access")
    found = ask(staff_client)
    made = ConnectionHealthCheck.objects.get()
    assert (found["status"], found["connected"]) == ("critical", True)
    assert found["error"] == {
        "http_status": 401,
        "type": "AuthorizationFault",
        "code": "120",
        "message": made.message,
        "intuit_tid": made.intuit_tid,
    }
    assert found["last_success_at"] is None
    assert found["health"] == {"score": 0.0, "window_hours": 24, "checks": 1, "successes": 0}
    assert found["diagnosis"]["code"] == "access_denied"
    assert found["diagnosis"]["action_label"] == "Fix Connection"
    assert found["diagnosis"]["action_url"] == (
        f"http://127.0.0.1:8000/quickbooks/connect/?realm={HARBOUR}"
    )


def test_without_an_answer_there_is_no_http_status(world: World, staff_client: Client) -> None:
    connect(world)
    world.set_fault("api", "reset")
    assert ask(staff_client)["error"] == {
        "http_status": None,
        "type": None,
        "code": None,
        "message": "the connection was reset",
        "intuit_tid": None,
    }


def test_the_error_is_scrubbed(world: World, staff_client: Client) -> None:
    row = connect(world, age=dt.timedelta(0))
    world.expire_access_tokens()
    response = staff_client.get(URL)
    error = response.json()["error"]
    assert error["message"].endswith("; Token expired: [removed]")
    assert len(error["message"]) <= 500
    text = response.content.decode()
    for secret in (row.access_token, row.refresh_token):
        assert not any(secret[at : at + 12] in text for at in range(0, len(secret) - 12))


def test_a_dead_grant_is_the_only_thing_called_disconnected(
    world: World, staff_client: Client
) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    found = ask(staff_client)
    assert (found["connected"], found["status"]) == (False, "critical")
    assert found["diagnosis"]["code"] == "reconnect_required"
    assert found["diagnosis"]["who_acts"] == "clinic"


def test_the_score_never_changes_the_status(world: World, staff_client: Client) -> None:
    connect(world)
    for minutes in range(1, 60):
        add_check(checked_at=timezone.now() - minutes * MINUTE, diagnosis="timeout")
    found = ask(staff_client)
    assert (found["health"]["score"], found["status"]) == (1.7, "healthy")


def test_repeats_that_only_confirm_do_not_count(world: World, staff_client: Client) -> None:
    connect(world)
    add_check(checked_at=timezone.now() - MINUTE, diagnosis="timeout", confirming=True)
    add_check(checked_at=timezone.now() - 25 * 60 * MINUTE, diagnosis="timeout")
    assert ask(staff_client)["health"]["checks"] == 1


# ── which companies ───────────────────────────────────────────────────────────────────────────
def test_before_anything_is_connected_it_says_so(staff_client: Client, settings: Settings) -> None:
    found = ask(staff_client)
    assert (found["status"], found["connected"]) == ("unknown", False)
    assert found["diagnosis"]["code"] == "not_connected"
    assert found["company"] == {"realm_id": None, "name": None}
    assert found["health"] == {"score": None, "window_hours": 24, "checks": 0, "successes": 0}
    assert found["checked_at"] is found["latency_ms"] is found["error"] is None
    assert set(found["token"].values()) == {None, False}
    assert found["connections"] == []
    settings.QUICKBOOKS_CLIENT_ID = ""
    assert ask(staff_client)["diagnosis"]["code"] == "not_configured"


@several_companies
def test_without_an_id_it_answers_for_the_worst_and_lists_all(
    world: World, staff_client: Client
) -> None:
    connect(world)
    connect(world, NORTHSIDE)
    assert ask(staff_client)["status"] == "healthy"
    world.revoke_grant(NORTHSIDE)
    found = ask(staff_client, "?fresh=1")
    assert found["company"]["name"] == "Northside Physio"
    assert found["status"] == "critical"
    assert [(c["company"]["realm_id"], c["status"]) for c in found["connections"]] == [
        (NORTHSIDE, "critical"),
        (HARBOUR, "healthy"),
    ]
    first = found.pop("connections")[0]
    assert found == first


def test_with_an_id_it_asks_about_that_company_alone(world: World, staff_client: Client) -> None:
    connect(world)
    connect(world, NORTHSIDE)
    found = ask(staff_client, f"?realm_id={NORTHSIDE}")
    assert found["company"]["realm_id"] == NORTHSIDE
    assert [call.realm_id for call in world.calls("api")] == [NORTHSIDE]


@several_companies
def test_with_more_than_twelve_only_the_worst_twelve_are_asked(
    world: World, staff_client: Client
) -> None:
    for number in range(15):
        realm_id = f"4620816365291235{number:03}"
        world.add_company(realm_id, f"Clinic {number:02}")
        connect(world, realm_id)
    world.reset_counters()
    # The last by name fares worst of all that is known, and one has been checked before.
    world.set_subscription("4620816365291235014", "EXPIRED")
    check("4620816365291235014")
    check("4620816365291235013")
    world.reset_counters()
    found = ask(staff_client, "?fresh=1")
    assert found["company"]["name"] == "Clinic 14"
    assert len(found["connections"]) == 15
    asked = {call.realm_id for call in world.calls("api")}
    assert len(asked) == len(world.calls("api")) == 12
    assert "4620816365291235014" in asked
    reused = {c["company"]["realm_id"] for c in found["connections"] if c["reused"]}
    assert reused == {row.realm_id for row in OAuthToken.objects.all()} - asked
    # One that has never been asked is not called a failure.
    unasked = [c for c in found["connections"] if c["reused"] and not c["checked_at"]]
    assert {(c["status"], c["connected"], c["error"]) for c in unasked} == {("unknown", True, None)}


@pytest.mark.parametrize(
    "realm_id", ["", "abc", "46208+16", "-1", "1" * 33, "%00", "%D9%A3", "1%0A"]
)
@pytest.mark.parametrize("more", ["", "&fresh=1"])
def test_a_malformed_id_is_a_400(
    world: World, staff_client: Client, realm_id: str, more: str
) -> None:
    connect(world)
    response = staff_client.get(f"{URL}?realm_id={realm_id}{more}")
    assert response.status_code == 400
    assert response.json() == {
        "error": {"status": 400, "message": "realm_id must be made of digits"}
    }
    assert world.calls() == []


def test_an_unknown_company_is_a_404(world: World, staff_client: Client) -> None:
    connect(world)
    OAuthToken.objects.create(realm_id=NORTHSIDE)  # is only being connected
    for realm_id in (NORTHSIDE, "1"):
        response = staff_client.get(f"{URL}?realm_id={realm_id}")
        assert response.status_code == 404
        assert response.json()["error"]["status"] == 404


def test_a_disconnected_company_stays_on_the_list(world: World, staff_client: Client) -> None:
    connect(world)
    check()
    world.set_fault("api", "unavailable")
    check()
    at = timezone.now()
    OAuthToken.objects.update(state=GrantState.DISCONNECTED, disconnected_at=at)
    world.reset_counters()
    found = ask(staff_client)
    assert (found["status"], found["connected"]) == ("warning", False)
    assert found["diagnosis"]["code"] == "disconnected_here"
    # What was wrong before somebody disconnected it is not why it is disconnected.
    assert found["error"] is None
    assert world.calls() == []


# ── shared and fresh ──────────────────────────────────────────────────────────────────────────
def test_a_probe_of_a_moment_ago_is_shared_and_says_so(world: World, staff_client: Client) -> None:
    connect(world)
    first, second = ask(staff_client), ask(staff_client)
    assert (first["reused"], second["reused"]) == (False, True)
    assert first["checked_at"] == second["checked_at"]
    assert len(world.calls("api")) == 1


def test_a_fresh_one_begins_after_the_request(world: World, staff_client: Client) -> None:
    connect(world)
    ask(staff_client)
    before = timezone.now()
    found = ask(staff_client, "?fresh=1")
    assert not found["reused"]
    assert len(world.calls("api")) == 2
    assert ConnectionHealthCheck.objects.latest("checked_at").checked_at >= before
    assert ask(staff_client, "?fresh=0")["reused"]


def test_it_waits_a_second_at_most_for_a_probe_of_somebody_else(
    world: World, staff_client: Client
) -> None:
    connect(world)
    check()
    world.reset_counters()
    now = timezone.now()
    OAuthToken.objects.update(generation=2)  # so that the finished one is not good enough
    ProbeClaim.objects.create(
        realm_id=HARBOUR, owner="else", started_at=now, expires_at=now + 5 * MINUTE
    )
    with within(1 + 1):
        found = ask(staff_client)
    assert found["reused"]
    assert found["status"] == "healthy"
    assert world.calls() == []


def test_it_says_whether_this_very_check_had_to_renew(world: World, staff_client: Client) -> None:
    connect(world)
    check()
    world.expire_access_tokens()
    first = ask(staff_client, "?fresh=1")
    assert (first["token"]["refreshed"], first["status"]) == (True, "healthy")
    assert ask(staff_client)["token"]["refreshed"] is False
    assert ask(staff_client, "?fresh=1")["token"]["refreshed"] is False


def test_it_says_when_a_month_is_used_up(
    world: World, staff_client: Client, settings: Settings
) -> None:
    settings.QUICKBOOKS_ENVIRONMENT = "production"
    settings.QUICKBOOKS_MONTHLY_ALLOWANCE = 1
    connect(world)
    check()
    world.set_fault("api", "throttled")
    found = ask(staff_client, "?fresh=1")
    assert found["environment"] == "production"
    assert found["diagnosis"]["title"] == "This month's QuickBooks allowance is used up"
    assert found["diagnosis"]["who_acts"] == "administrator"
    assert found["diagnosis"]["action_label"] == "Send to IT"
    assert found["diagnosis"]["action_url"].startswith("mailto:?subject=")


# ── who, and how ──────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def strangers() -> Iterator[Client]:
    yield Client(enforce_csrf_checks=True)


@pytest.fixture
def outsider(db: None) -> Client:
    """Somebody with an account who is not on the staff."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("patient"))
    return client


PATHS = [URL, f"{URL}/", LIST, f"{LIST}/"]


def refused(response: Any, status: int) -> None:
    assert response.status_code == status
    assert response["Content-Type"] == "application/json"
    error = response.json()["error"]
    assert error["status"] == status
    assert isinstance(error["message"], str)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
def test_nobody_gets_a_401_and_people_who_are_not_staff_a_403(
    world: World, strangers: Client, outsider: Client, path: str, method: str
) -> None:
    refused(getattr(strangers, method)(path), 401)
    refused(getattr(outsider, method)(path), 403)
    assert world.calls() == []


def test_an_account_that_was_closed_is_nobody(staff: User, staff_client: Client) -> None:
    User.objects.update(is_active=False)
    refused(staff_client.get(URL), 401)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_other_methods_are_a_405_also_without_a_csrf_token(
    staff: User, path: str, method: str
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(staff)
    response = getattr(client, method)(path, data="{}", content_type="application/json")
    refused(response, 405)
    assert response["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/api/", "/api/nothing", "/api/admin/", "/api/admin/nothing/", "/api/admin/quickbooks"]
)
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_unknown_paths_are_a_404_in_json(
    strangers: Client, staff_client: Client, path: str, method: str
) -> None:
    refused(getattr(strangers, method)(path), 404)
    refused(getattr(staff_client, method)(path), 404)


def test_an_unknown_host_is_a_400_in_json(staff_client: Client) -> None:
    refused(staff_client.get(URL, headers={"Host": "elsewhere.example"}), 400)


@pytest.mark.parametrize("path", PATHS)
def test_both_spellings_answer_without_a_redirect(staff_client: Client, path: str) -> None:
    assert ask(staff_client, url=path)
    head = staff_client.head(path)
    assert (head.status_code, head.content) == (200, b"")


# ── the list of everything ────────────────────────────────────────────────────────────────────
CARD = [
    "integration",
    "account",
    "name",
    "status",
    "state",
    "title",
    "impact",
    "next_step",
    "who_acts",
    "action_label",
    "action_url",
    "since",
    "checked_at",
    "metrics",
]


def test_the_list_has_a_card_for_each_company_and_integration(
    world: World, staff_client: Client
) -> None:
    connect(world)
    connect(world, NORTHSIDE)
    check()
    world.set_fault("api", "no_access")
    check(NORTHSIDE)
    world.reset_counters()
    cards = ask(staff_client, url=LIST)["integrations"]
    assert [(card["integration"], card["account"]) for card in cards] == [
        ("quickbooks", NORTHSIDE),
        ("quickbooks", HARBOUR),
        ("jane", ""),
        ("gohighlevel", ""),
    ]
    assert all(list(card) == CARD for card in cards)
    worst, best = cards[:2]
    assert (worst["status"], worst["state"]) == ("critical", "access_denied")
    assert worst["action_label"] == "Fix Connection"
    assert worst["since"] == Time()
    assert (best["status"], best["state"], best["who_acts"]) == ("healthy", "ok", "nobody")
    assert best["name"].endswith("Harbour Physio")
    assert best["checked_at"] == Time()
    assert best["metrics"] == {
        "score": 100.0,
        "checks": 1,
        "successes": 1,
        "last_success_at": Time(),
        "last_renewed_at": Time(),
        "reauthorize_by": Time(),
    }
    assert world.calls() == []
    assert not PERSONAL.search(json.dumps(cards))


def test_what_is_not_set_up_is_on_the_list_and_says_so(staff_client: Client) -> None:
    cards = ask(staff_client, url=LIST)["integrations"]
    assert [card["integration"] for card in cards] == list(all_integrations())
    assert [(card["status"], card["state"]) for card in cards] == [
        ("unknown", "not_connected"),
        ("unknown", "not_configured"),
        ("unknown", "not_configured"),
    ]


def test_the_list_names_a_state_of_the_contract_for_a_company_that_was_never_checked(
    world: World, staff_client: Client
) -> None:
    from quickbooks.diagnosis import Code

    connect(world)
    assert stored().last_success_at is None
    [card, *_] = ask(staff_client, url=LIST)["integrations"]
    assert card["status"] == "unknown"
    assert card["state"] in set(Code)


def test_an_unknown_path_is_json_with_debug_on_too(
    staff_client: Client, settings: Settings
) -> None:
    settings.DEBUG = True
    response = staff_client.get("/api/admin/nothing")
    assert (response.status_code, response["Content-Type"]) == (404, "application/json")
