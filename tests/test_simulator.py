"""The stand-in for Intuit: its OAuth rules, its faults, its pages."""

import base64
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from django.test import override_settings

from quickbooks.simulator.endpoints import REVOKE, TOKEN
from quickbooks.simulator.faults import FAULTS
from quickbooks.simulator.grants import InvalidGrant
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.tokens import fingerprint
from quickbooks.simulator.world import World

REALM, OTHER = "4620816365291234170", "4620816365291234180"
CALLBACK = "http://127.0.0.1:8000/quickbooks/callback/"
INFO = f"/v3/company/{REALM}/companyinfo/{REALM}?minorversion=75"
DAY = 86400


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator(World(), home_url="http://127.0.0.1:8000/dashboard/") as simulator:
        yield simulator


@pytest.fixture
def world(clock: Clock) -> World:
    world = World(now=clock)
    world.add_company(REALM, "Harbour Physio")
    world.add_company(OTHER, "Hill & <Dale>")
    return world


@pytest.fixture
def sim(running: Simulator, world: World) -> Iterator[Simulator]:
    running.world = world
    yield running
    world.release()


# ── how the tests talk to it ────────────────────────────────────────────────
def basic(world: World) -> dict[str, str]:
    pair = f"{world.client_id}:{world.client_secret}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def ask(
    sim: Simulator,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: str | None = None,
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", sim.port, timeout=5)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def read_company(sim: Simulator, access_token: str, path: str = INFO) -> tuple[HTTPResponse, bytes]:
    headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}
    return ask(sim, "GET", path, headers)


def ask_token(
    sim: Simulator, form: dict[str, str], headers: dict[str, str] | None = None
) -> tuple[HTTPResponse, dict[str, Any]]:
    headers = basic(sim.world) | (headers or {})
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    response, body = ask(sim, "POST", TOKEN, headers, urlencode(form))
    return response, json.loads(body)


def renew(
    sim: Simulator, refresh_token: str, **headers: str
) -> tuple[HTTPResponse, dict[str, Any]]:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return ask_token(sim, form, headers)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


# ── the rules ───────────────────────────────────────────────────────────────
def test_tokens_look_like_intuits(world: World) -> None:
    answer = world.grant(REALM)
    assert re.fullmatch(r"RT1-\d{2,3}-H0-\d{10}[a-z0-9]{20}", answer.refresh_token)
    assert answer.access_token.startswith("eyJlbmMi")
    assert ".." in answer.access_token
    assert len(answer.access_token) > 700
    assert (answer.expires_in, answer.x_refresh_token_expires_in) == (3600, 8726400)
    assert answer.x_refresh_token_hard_expires_in == 157680000
    assert answer.refresh_token not in repr(answer)
    assert answer.access_token not in repr(answer)


def test_within_the_day_the_refresh_token_stays_and_its_expiry_counts_down(
    world: World, clock: Clock
) -> None:
    first = world.grant(REALM)
    clock.now += DAY - 1
    same = world.refresh(first.refresh_token)
    assert same.refresh_token == first.refresh_token
    assert same.access_token != first.access_token
    assert same.x_refresh_token_expires_in == 8726400 - DAY + 1
    clock.now += 1
    rotated = world.refresh(first.refresh_token)
    assert rotated.refresh_token != first.refresh_token
    assert rotated.x_refresh_token_expires_in == 8726400
    assert rotated.x_refresh_token_hard_expires_in == 157680000 - DAY


def test_without_grace_a_rotated_token_dies_at_once(world: World) -> None:
    world.rotate_after = 0
    first = world.grant(REALM)
    second = world.refresh(first.refresh_token)
    assert world.is_live(second.refresh_token)
    assert not world.is_live(first.refresh_token)
    with pytest.raises(InvalidGrant):
        world.refresh(first.refresh_token)
    assert world.live_refresh_token(REALM) == second.refresh_token


def test_in_grace_the_previous_token_brings_the_current_one(world: World, clock: Clock) -> None:
    world.rotate_after, world.grace = 0, 60
    first = world.grant(REALM)
    second = world.refresh(first.refresh_token)
    again = world.refresh(first.refresh_token)
    assert again.refresh_token == second.refresh_token
    assert again.access_token != second.access_token
    clock.now += 60
    assert not world.is_live(first.refresh_token)


def test_the_token_before_the_previous_one_is_dead_even_in_grace(world: World) -> None:
    world.rotate_after, world.grace = 0, 60
    first = world.grant(REALM)
    second = world.refresh(first.refresh_token)
    world.refresh(second.refresh_token)
    assert world.is_live(second.refresh_token)
    assert not world.is_live(first.refresh_token)


def test_rotation_can_be_switched_off(world: World, clock: Clock) -> None:
    world.rotate_after = None
    first = world.grant(REALM)
    clock.now += 90 * DAY
    assert world.refresh(first.refresh_token).refresh_token == first.refresh_token
    clock.now += 11 * DAY
    assert not world.is_live(first.refresh_token)


def test_no_rotation_outlives_the_hard_expiry(world: World, clock: Clock) -> None:
    world.rotate_after, world.hard_seconds = 0, 10 * DAY
    token = world.grant(REALM).refresh_token
    clock.now += 9 * DAY
    answer = world.refresh(token)
    assert answer.x_refresh_token_expires_in == answer.x_refresh_token_hard_expires_in == DAY
    clock.now += DAY
    assert not world.is_live(answer.refresh_token)


def test_earlier_access_tokens_stay_valid_until_their_own_expiry(
    world: World, clock: Clock
) -> None:
    first = world.grant(REALM)
    clock.now += 3599
    second = world.refresh(first.refresh_token)
    assert world.check_access(first.access_token, REALM) == "ok"
    clock.now += 1
    assert world.check_access(first.access_token, REALM) == "token_expired"
    assert world.check_access(second.access_token, REALM) == "ok"


def test_a_dead_token_can_cost_the_whole_grant(world: World) -> None:
    world.rotate_after, world.revoke_on_dead_token = 0, True
    first = world.grant(REALM)
    second = world.refresh(first.refresh_token)
    with pytest.raises(InvalidGrant) as caught:
        world.refresh(first.refresh_token)
    assert caught.value.dead_token
    assert not world.is_live(second.refresh_token)
    assert world.check_access(second.access_token, REALM) == "token_expired"


def test_a_new_grant_kills_the_one_before_and_no_other_companys(world: World) -> None:
    first, other = world.grant(REALM), world.grant(OTHER)
    second = world.grant(REALM)
    assert not world.is_live(first.refresh_token)
    assert world.check_access(first.access_token, REALM) == "token_expired"
    assert world.is_live(second.refresh_token)
    assert world.is_live(other.refresh_token)


def test_a_second_exchange_of_a_code_kills_what_the_first_one_made(world: World) -> None:
    code = world.new_code(REALM, CALLBACK)
    answer = world.exchange(code, CALLBACK)
    assert world.is_live(answer.refresh_token)
    with pytest.raises(InvalidGrant):
        world.exchange(code, CALLBACK)
    assert not world.is_live(answer.refresh_token)


def test_a_code_is_for_one_address_and_ten_minutes(world: World, clock: Clock) -> None:
    code = world.new_code(REALM, CALLBACK)
    with pytest.raises(InvalidGrant):
        world.exchange(code, CALLBACK + "other/")
    clock.now += 600
    with pytest.raises(InvalidGrant):
        world.exchange(code, CALLBACK)
    with pytest.raises(InvalidGrant):
        world.exchange("never-issued", CALLBACK)
    assert world.live_refresh_token(REALM) is None


def test_another_apps_client_id_is_refused_a_live_token(world: World) -> None:
    token = world.grant(REALM).refresh_token
    world.client_id, world.revoke_on_dead_token = "another-app", True
    with pytest.raises(InvalidGrant) as caught:
        world.refresh(token)
    assert not caught.value.dead_token
    assert world.is_live(token)


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_either_token_revokes_once(world: World, kind: str) -> None:
    answer = world.grant(REALM)
    assert world.revoke(getattr(answer, kind))
    assert not world.is_live(answer.refresh_token)
    assert world.check_access(answer.access_token, REALM) == "token_expired"
    assert not world.revoke(getattr(answer, kind))


def test_a_world_survives_a_restart(world: World, clock: Clock) -> None:
    world.rotate_after, world.grace = 0, 60
    first, other = world.grant(REALM), world.grant(OTHER)
    second = world.refresh(first.refresh_token)
    world.revoke_grant(OTHER)
    world.set_subscription(REALM, "EXPIRED")
    world.set_fault("api", "hang")
    again = World.from_json(world.to_json(), now=clock)
    assert again.companies == world.companies
    assert again.check_access(second.access_token, REALM) == "ok"
    assert again.is_live(first.refresh_token)  # the grace goes on
    assert not again.is_live(other.refresh_token)
    assert again.faults() == {}
    clock.now += 60
    with pytest.raises(InvalidGrant) as caught:
        again.refresh(first.refresh_token)
    assert caught.value.dead_token
    assert again.to_json() == World.from_json(again.to_json(), now=clock).to_json()


# ── over HTTP ───────────────────────────────────────────────────────────────
def test_the_discovery_document_leads_to_the_simulator(sim: Simulator) -> None:
    response, body = ask(sim, "GET", urlsplit(sim.discovery_url).path)
    document = json.loads(body)
    assert response.status == 200
    assert document["token_endpoint"] == sim.url + TOKEN
    assert document["revocation_endpoint"] == sim.url + REVOKE
    assert document["authorization_endpoint"] == sim.url + "/connect/oauth2"
    assert {"issuer", "jwks_uri", "userinfo_endpoint"} <= document.keys()


def test_company_info_is_read_and_recorded(sim: Simulator, world: World) -> None:
    response, body = read_company(sim, world.grant(REALM).access_token)
    info = json.loads(body)["CompanyInfo"]
    assert response.status == 200
    assert response.headers["intuit_tid"]
    assert (info["CompanyName"], info["Id"]) == ("Harbour Physio", "1")
    assert {"Name": "SubscriptionStatus", "Value": "PAID"} in info["NameValue"]
    assert info["EmployerId"] == "MARKER-EMPLOYER-ID"
    assert info["Email"]["Address"] == "marker@example.com"
    [call] = world.calls("api")
    assert (call.realm_id, call.status, call.outcome) == (REALM, 200, "ok")
    assert world.in_flight("api") == 0


def test_an_ended_subscription_still_reads(sim: Simulator, world: World) -> None:
    token = world.grant(REALM).access_token
    world.set_subscription(REALM, "EXPIRED")
    response, body = read_company(sim, token)
    assert response.status == 200
    assert b'{"Name":"SubscriptionStatus","Value":"EXPIRED"}' in body


def test_who_does_not_ask_for_json_gets_xml(sim: Simulator, world: World) -> None:
    headers = {"Authorization": f"Bearer {world.grant(REALM).access_token}"}
    response, body = ask(sim, "GET", INFO, headers)
    assert response.headers["Content-Type"].startswith("application/xml")
    assert b"<CompanyName>Harbour Physio</CompanyName>" in body


def test_an_expired_access_token_is_quoted_in_the_refusal(sim: Simulator, world: World) -> None:
    token = world.grant(REALM).access_token
    world.expire_access_tokens()
    response, body = read_company(sim, token)
    fault = json.loads(body)["fault"]
    assert (response.status, fault["type"], fault["error"][0]["code"]) == (
        401,
        "AUTHENTICATION",
        "3200",
    )
    assert token[:60] in fault["error"][0]["detail"]
    assert token not in fault["error"][0]["detail"]
    assert world.calls("api")[0].outcome == "token_expired"


def test_a_disconnected_user_and_no_token_are_3200_too(sim: Simulator, world: World) -> None:
    token = world.grant(REALM).access_token
    world.revoke_grant(REALM)
    for presented in (token, "", "short"):
        response, body = read_company(sim, presented)
        assert (response.status, json.loads(body)["fault"]["error"][0]["code"]) == (401, "3200")


def test_another_companys_token_is_refused_in_xml(sim: Simulator, world: World) -> None:
    response, body = read_company(sim, world.grant(OTHER).access_token)
    assert response.status == 401
    assert response.headers["Content-Type"].startswith("application/xml")
    assert b'<Fault type="AuthenticationFault"><Error code="100">' in body
    assert world.calls("api")[0].outcome == "wrong_company"


def test_the_hard_expiry_is_for_who_asks(sim: Simulator, world: World) -> None:
    token = world.grant(REALM).refresh_token
    response, plain = renew(sim, token)
    _, asked = renew(sim, token, **{"x-include-refresh-token-hard-expires-in": "true"})
    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-cache, no-store"
    assert response.headers["intuit_tid"]
    assert plain["token_type"] == "bearer"
    assert "x_refresh_token_hard_expires_in" not in plain
    assert asked["x_refresh_token_hard_expires_in"] == 157680000


def test_a_code_is_exchanged_over_http(sim: Simulator, world: World) -> None:
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK}
    form["code"] = world.new_code(REALM, CALLBACK)
    response, answer = ask_token(sim, form)
    assert response.status == 200
    assert world.live_refresh_token(REALM) == answer["refresh_token"]
    response, answer = ask_token(sim, form)
    assert (response.status, answer) == (400, {"error": "invalid_grant"})
    assert world.live_refresh_token(REALM) is None
    assert [call.realm_id for call in world.calls("token")] == [REALM, REALM]


def test_a_wrong_client_is_told_so(sim: Simulator, world: World) -> None:
    token = world.grant(REALM).refresh_token
    for header in ("Basic bm86bm8=", "Basic ???", "Bearer x", ""):
        response, answer = renew(sim, token, Authorization=header)
        assert (response.status, answer) == (401, {"error": "invalid_client"})
    response, answer = ask_token(sim, {"grant_type": "password"})
    assert (response.status, answer) == (400, {"error": "unsupported_grant_type"})


def test_a_dead_token_is_flagged_and_never_kept(sim: Simulator, world: World) -> None:
    world.rotate_after = 0
    first = world.grant(REALM).refresh_token
    renew(sim, first)
    response, answer = renew(sim, first)
    assert (response.status, answer) == (400, {"error": "invalid_grant"})
    renew(sim, "RT1-never-issued")
    good, dead, unknown = world.calls("token")
    assert [good.dead_token, dead.dead_token, unknown.dead_token] == [False, True, False]
    assert (dead.status, dead.outcome, dead.grant_type) == (400, "invalid_grant", "refresh_token")
    assert good.refresh_fingerprint == dead.refresh_fingerprint == fingerprint(first)
    assert first not in repr(world.calls())


def test_a_dead_token_is_flagged_even_when_a_fault_swallows_it(
    sim: Simulator, world: World
) -> None:
    token = world.grant(REALM).refresh_token
    world.revoke_grant(REALM)
    world.fail_next("token", "status_503")
    with pytest.raises(json.JSONDecodeError):
        renew(sim, token)
    assert world.calls("token")[0].dead_token


def test_a_token_is_revoked_over_http(sim: Simulator, world: World) -> None:
    body = json.dumps({"token": world.grant(REALM).refresh_token})
    response, text = ask(sim, "POST", REVOKE, basic(world), body)
    assert (response.status, text) == (200, b"")
    assert world.live_refresh_token(REALM) is None
    assert ask(sim, "POST", REVOKE, basic(world), body)[0].status == 400
    assert ask(sim, "POST", REVOKE, basic(world), "[]")[0].status == 400
    assert ask(sim, "POST", REVOKE, {}, body)[0].status == 401
    assert [call.outcome for call in world.calls("revoke")] == ["ok", "400", "400", "401"]


# ── several at once ─────────────────────────────────────────────────────────
def at_once(sim: Simulator, refresh_token: str) -> list[int]:
    with ThreadPoolExecutor(16) as pool:
        return [answer[0].status for answer in pool.map(renew, [sim] * 16, [refresh_token] * 16)]


def test_of_sixteen_at_once_one_wins_and_the_grant_dies(sim: Simulator, world: World) -> None:
    world.rotate_after, world.revoke_on_dead_token = 0, True
    world.latency = 0.1  # all have arrived before the first is served
    statuses = at_once(sim, world.grant(REALM).refresh_token)
    assert sorted(statuses) == [200] + [400] * 15
    assert world.live_refresh_token(REALM) is None
    assert sum(call.dead_token for call in world.calls("token")) == 15


def test_sixteen_at_once_share_a_token_that_does_not_rotate(sim: Simulator, world: World) -> None:
    world.latency = 0.05
    token = world.grant(REALM).refresh_token
    assert at_once(sim, token) == [200] * 16
    assert world.live_refresh_token(REALM) == token
    assert 2 <= world.max_in_flight("token") <= 16
    assert world.in_flight("token") == 0
    assert world.max_in_flight("api") == 0


def test_one_after_the_other_is_never_two_at_once(sim: Simulator, world: World) -> None:
    clients = [HTTPConnection("127.0.0.1", sim.port, timeout=5) for _ in range(2)]
    for client in clients * 25:
        client.request("GET", INFO)
        assert client.getresponse().read()
    assert world.max_in_flight("api") == 1
    for client in clients:
        client.close()


def test_a_client_that_gave_up_is_no_longer_in_flight(sim: Simulator, world: World) -> None:
    world.set_fault("api", "hang")
    for _ in range(3):
        client = begin(sim, "GET", INFO)
        wait_for(lambda: world.in_flight("api") == 1)
        assert world.in_flight("token") == 0
        assert world.calls("api")[-1].status is None
        client.close()
    assert world.max_in_flight("api") == 1
    wait_for(lambda: [call.outcome for call in world.calls("api")] == ["fault:hang"] * 3)
    assert world.in_flight("api") == 0
    world.reset_counters()
    assert world.calls() == []
    assert world.max_in_flight("api") == 0


# ── the faults ──────────────────────────────────────────────────────────────
JSON, XML, HTML = "application/json", "application/xml", "text/html"
ORDERLY = {
    "token_expired": (401, JSON, b'"detail":"Token expired: eyJlbmMi'),
    "wrong_company": (401, XML, b"SRV-110-Authentication Failure , statusCode: 401"),
    "no_access": (401, XML, b'<Fault type="AuthorizationFault"><Error code="120">'),
    "not_authorized": (403, JSON, b'"message":"message=ApplicationAuthorizationFailed; errorCode='),
    "throttled": (429, XML, b'<Fault type="SERVICE">\n        <Error code="3001">'),
    "throttled_json": (429, JSON, b'"code":"3001","element":null}],"type":"SERVICE"}'),
    "subscription_ended": (400, JSON, b'{"Fault":{"Error":[{"Message":"Invalid Company Status"'),
    "subscription_ended_xml": (400, XML, b'<Fault type="ValidationFault"><Error code="6190">'),
    "application_error": (500, JSON, b'"code":"10000"}],"type":"SystemFault"}'),
    "fault_in_200": (200, JSON, b'"code":"10000"}],"type":"SystemFault"}'),
    "bad_gateway": (502, HTML, b"502 Bad Gateway"),
    "unavailable": (503, HTML, b"503 Service"),
    "html": (200, HTML, b"Web access blocked"),
    "html_401": (401, HTML, b"Web access blocked"),
    "html_403": (403, HTML, b"Web access blocked"),
    "redirect": (302, JSON, b""),
    "empty": (200, JSON, b""),
    "deep_nesting": (200, JSON, b"[" * 100_000),
    "not_json": (200, JSON, b"<well>"),
    "not_utf8": (200, JSON, b"\xff\xc0"),
    "wrong_shape": (200, JSON, b"[{"),
    "invalid_grant": (400, JSON, b'{"error":"invalid_grant"}'),
    "invalid_grant_described": (400, JSON, b'"error_description":"Incorrect or invalid refresh'),
    "invalid_client": (401, JSON, b'{"error":"invalid_client"}'),
    "bare_400": (400, HTML, b"400 Bad Request"),
    "json_400_other": (400, JSON, b'{"message":"Bad Request"}'),
    "status_500": (500, JSON, b'{"error":"server_error"}'),
    "status_503": (503, HTML, b"503 Service"),
    "throttled_token": (429, XML, b'<Error code="3001">'),
    "garbage_after": (200, HTML, b"Web access blocked"),
    "error_after": (503, HTML, b"503 Service"),
    "no_refresh_token": (200, JSON, b'"token_type":"bearer"'),
    "hostile_keys": (200, JSON, b'"verify":false'),
}
NOT_INTUITS = {"unavailable", "html", "html_401", "html_403", "redirect", "bare_400", "status_503"}
NOT_INTUITS |= {"garbage_after", "error_after"}
OK = b"HTTP/1.1 200 OK\r\n"
# name: how the bytes begin, at least how many there are, how it ends while nobody releases it
RAW = {
    "hang": (b"", 0, "open"),
    "drip": (OK, 80, "open"),
    "slow_headers": (OK + b"X-Slow: s", 26, "open"),
    "flood": (OK, 1 << 20, "open"),
    "flood_length": (OK, 1 << 20, "open"),
    "reset": (b"", 0, "reset"),
    "reset_mid_body": (OK, 80, "reset"),
    "close": (b"", 0, "closed"),
    "truncated": (OK, 80, "closed"),
    "huge_header": (OK, 200_000, "closed"),
    "no_status_line": (b"\x15\x03", 10, "closed"),
    "lost_answer": (b"", 0, "closed"),
    "hang_after": (b"", 0, "open"),
}


def target(world: World, fault: str) -> tuple[str, str, str, dict[str, str], str]:
    """Endpoint, method, path, headers and body of a request that would otherwise succeed."""
    answer = world.grant(REALM)
    if FAULTS[fault].where == "token":
        form = {"grant_type": "refresh_token", "refresh_token": answer.refresh_token}
        return "token", "POST", TOKEN, basic(world), urlencode(form)
    headers = {"Authorization": f"Bearer {answer.access_token}", "Accept": "application/json"}
    return "api", "GET", INFO, headers, ""


def begin(
    sim: Simulator, method: str, path: str, headers: dict[str, str] | None = None, body: str = ""
) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", sim.port), timeout=5)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    client.sendall("\r\n".join([*lines, "", body]).encode())
    return client


def read_raw(client: socket.socket, enough: float, seconds: float) -> tuple[bytes, str]:
    """What arrives until it is enough or the time is over, and how the connection is then."""
    received = bytearray()
    end = time.monotonic() + seconds
    while len(received) < enough and (left := end - time.monotonic()) > 0:
        client.settimeout(left)
        try:
            block = client.recv(1 << 18)
        except TimeoutError:
            break
        except ConnectionResetError:
            return bytes(received), "reset"
        if not block:
            return bytes(received), "closed"
        received += block
    return bytes(received), "open"


def how_it_ends(client: socket.socket) -> str:
    return read_raw(client, math.inf, 5)[1]


def test_every_fault_is_tested() -> None:
    assert set(FAULTS) == set(ORDERLY) | set(RAW)
    assert all(fault.name == name for name, fault in FAULTS.items())


@pytest.mark.parametrize("name", ORDERLY)
def test_an_orderly_fault(sim: Simulator, world: World, name: str) -> None:
    world.rotate_after = 0
    status, content_type, piece = ORDERLY[name]
    endpoint, method, path, headers, body = target(world, name)
    before = world.live_refresh_token(REALM)
    world.fail_next(endpoint, name)
    connection = HTTPConnection("127.0.0.1", sim.port, timeout=5)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read()
    assert response.status == FAULTS[name].status == status
    assert response.headers["Content-Type"].startswith(content_type)
    assert piece in text
    assert ("intuit_tid" in response.headers) is (name not in NOT_INTUITS)
    [call] = world.calls(endpoint)
    assert (call.status, call.outcome) == (status, f"fault:{name}")
    assert (world.live_refresh_token(REALM) != before) is FAULTS[name].processes
    connection.request("GET", urlsplit(sim.discovery_url).path)  # the connection lives on
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("name", RAW)
def test_a_fault_on_the_raw_socket(sim: Simulator, world: World, name: str) -> None:
    world.rotate_after = 0
    beginning, least, ending = RAW[name]
    endpoint, method, path, headers, body = target(world, name)
    before = world.live_refresh_token(REALM)
    world.set_fault(endpoint, name)
    with begin(sim, method, path, headers, body) as client:
        received, end = read_raw(client, least if ending == "open" else math.inf, 5)
        assert received.startswith(beginning)
        assert len(received) >= least
        assert end == ending
        if ending == "open":
            assert read_raw(client, 1, 0.02)[1] == "open"
        wait_for(lambda: any(call.outcome for call in world.calls(endpoint)))
        [call] = world.calls(endpoint)
        assert (call.status, call.outcome) == (FAULTS[name].status, f"fault:{name}")
        assert (world.live_refresh_token(REALM) != before) is FAULTS[name].processes
        if ending == "open":
            assert world.in_flight(endpoint) == 1
            world.release()
            assert how_it_ends(client) in ("closed", "reset")
    wait_for(lambda: world.in_flight(endpoint) == 0)


def test_a_drip_stays_under_every_cap(sim: Simulator, world: World) -> None:
    world.set_fault("api", "drip")
    client = HTTPConnection("127.0.0.1", sim.port, timeout=5)
    client.request("GET", INFO)
    response = client.getresponse()
    assert response.headers["Content-Length"] == "100000"
    assert response.read1() == b" "
    client.close()


def test_hostile_keys_come_on_top_of_a_good_answer(sim: Simulator, world: World) -> None:
    token = world.grant(REALM).refresh_token
    world.set_fault("token", "hostile_keys")
    _, answer = renew(sim, token)
    assert world.is_live(answer["refresh_token"])
    assert {"verify", "auth", "headers", "client_secret", "token_endpoint"} <= answer.keys()
    response, answer = renew(sim, "RT1-unknown")
    assert (response.status, answer) == (400, {"error": "invalid_grant"})


def test_who_follows_a_redirect_is_caught(sim: Simulator, world: World) -> None:
    world.set_fault("api", "redirect")
    response, _ = ask(sim, "GET", INFO)
    ask(sim, "GET", response.headers["Location"])
    assert [call.endpoint for call in world.calls()] == ["api", "elsewhere"]


def test_queued_faults_come_before_the_standing_one(sim: Simulator, world: World) -> None:
    token = world.grant(REALM).access_token
    world.set_fault("api", "throttled")
    world.fail_next("api", "bad_gateway", times=2)
    statuses = [read_company(sim, token)[0].status for _ in range(3)]
    world.set_fault("api", None)
    assert [*statuses, read_company(sim, token)[0].status] == [502, 502, 429, 200]


@pytest.mark.parametrize("endpoint", ["revoke", "discovery"])
def test_the_other_endpoints_fail_too(sim: Simulator, world: World, endpoint: str) -> None:
    method, path = {"revoke": ("POST", REVOKE), "discovery": ("GET", sim.discovery_url)}[endpoint]
    world.set_fault(endpoint, "unavailable")
    assert ask(sim, method, urlsplit(path).path)[0].status == 503
    world.set_fault(endpoint, "close")
    with pytest.raises(RemoteDisconnected):
        ask(sim, method, urlsplit(path).path)


def test_an_unknown_fault_or_endpoint_is_named(world: World) -> None:
    with pytest.raises(ValueError, match="No fault 'hagn'"):
        world.set_fault("api", "hagn")
    with pytest.raises(ValueError, match="No endpoint 'apis'"):
        world.fail_next("apis", "hang")


# ── starting and stopping ───────────────────────────────────────────────────
def test_it_refuses_to_run_outside_the_demo_and_the_tests(world: World) -> None:
    refused = pytest.raises(RuntimeError, match="only in the demo and in the tests")
    with override_settings(DEMO=False, TESTING=False), refused:
        Simulator(world)
    with override_settings(DEMO=True, TESTING=False):
        Simulator(world).stop()


def test_it_listens_on_this_machine_only(world: World) -> None:
    for host in ("0.0.0.0", "example.com", ""):
        with pytest.raises(ValueError, match="this machine only"):
            Simulator(world, host=host)


def test_stop_is_prompt_and_closes_what_hangs_and_what_is_kept_alive(world: World) -> None:
    world.set_fault("api", "hang")
    with Simulator(world) as simulator:
        idle = HTTPConnection("127.0.0.1", simulator.port, timeout=5)
        idle.request("GET", urlsplit(simulator.discovery_url).path)
        idle.getresponse().read()
        hanging = begin(simulator, "GET", INFO)
        wait_for(lambda: world.in_flight("api") == 1)
        started = time.monotonic()
    assert time.monotonic() - started < 0.9
    assert how_it_ends(hanging) in ("closed", "reset")
    hanging.close()
    with pytest.raises(OSError):
        idle.request("GET", "/")
        idle.getresponse()
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", simulator.port), timeout=1)


def test_changes_are_handed_out_one_at_a_time_before_the_answer(world: World) -> None:
    world.rotate_after = 0
    saved: list[str | None] = []
    busy = threading.Lock()

    def save(changed: World) -> None:
        assert busy.acquire(blocking=False)
        saved.append(changed.live_refresh_token(REALM))
        time.sleep(0.001)
        busy.release()

    token = world.grant(REALM).refresh_token
    with Simulator(world, on_change=save) as simulator:
        _, answer = renew(simulator, token)
        assert saved == [answer["refresh_token"]]
        read_company(simulator, answer["access_token"])
        assert len(saved) == 1
        press(simulator, action="disconnect", realm=REALM)
        assert saved[1:] == [None]
        at_once(simulator, token)
        assert len(saved) == 18


# ── the pages ───────────────────────────────────────────────────────────────
CONSENT = {
    "client_id": "demo-client-id",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "com.intuit.quickbooks.accounting",
    "state": 'a"<b>&c',
}


def press(sim: Simulator, path: str = "/control", **form: str) -> tuple[HTTPResponse, bytes]:
    return ask(sim, "POST", path, {"Origin": sim.url}, urlencode(form))


def control(sim: Simulator) -> str:
    response, body = ask(sim, "GET", "/control")
    assert response.status == 200
    return body.decode()


def test_consent_names_the_companies_and_says_what_it_is(sim: Simulator) -> None:
    response, body = ask(sim, "GET", f"/connect/oauth2?{urlencode(CONSENT)}")
    text = body.decode()
    assert response.status == 200
    assert "Intuit stand-in: this is the demo, no real QuickBooks" in text
    assert "Hill &amp; &lt;Dale&gt;" in text
    assert REALM in text
    assert 'name="state" value="a&quot;&lt;b&gt;&amp;c"' in text
    assert "<b>" not in text


def test_consent_sends_back_a_code_that_works(sim: Simulator, world: World) -> None:
    response, _ = press(sim, "/connect/oauth2", **CONSENT, decision="connect", realm=OTHER)
    location = response.headers["Location"]
    query = {name: value for name, [value] in parse_qs(urlsplit(location).query).items()}
    assert response.status == 303
    assert location.startswith(CALLBACK + "?")
    assert (query["realmId"], query["state"]) == (OTHER, CONSENT["state"])
    world.exchange(query["code"], CALLBACK)
    assert world.live_refresh_token(OTHER)


def test_consent_denied_is_an_error_with_the_state(sim: Simulator) -> None:
    response, _ = press(sim, "/connect/oauth2", **CONSENT, decision="cancel")
    query = parse_qs(urlsplit(response.headers["Location"]).query)
    assert query == {"error": ["access_denied"], "state": [CONSENT["state"]]}


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("client_id", "someone-else"),
        ("redirect_uri", "https://example.com/callback/"),
        ("redirect_uri", "http://127.0.0.1.example.com/"),
        ("redirect_uri", "javascript://127.0.0.1/%0aalert(1)"),
        ("redirect_uri", "http://127.0.0.1/\r\nSet-Cookie: a=b"),
        ("redirect_uri", "http://[::1"),
        ("response_type", "token"),
        ("scope", "openid"),
        ("state", ""),
    ],
)
def test_a_bad_request_for_consent_goes_nowhere(sim: Simulator, parameter: str, value: str) -> None:
    asked = CONSENT | {parameter: value}
    for response, body in (
        ask(sim, "GET", f"/connect/oauth2?{urlencode(asked)}"),
        press(sim, "/connect/oauth2", **asked, decision="connect", realm=REALM),
    ):
        assert response.status == 400
        assert "Location" not in response.headers
        assert parameter.encode() in body


def test_a_company_must_be_chosen(sim: Simulator) -> None:
    response, _ = press(sim, "/connect/oauth2", **CONSENT, decision="connect", realm="1")
    assert response.status == 400


def test_the_control_page_breaks_one_company(sim: Simulator, world: World) -> None:
    assert "Not connected." in control(sim)
    token = world.grant(REALM).access_token
    assert "Connected. The access token expires in 60 min" in control(sim)
    response, _ = press(sim, action="expire", realm=REALM)
    assert (response.status, response.headers["Location"]) == (303, "/control")
    assert "the next check renews it" in control(sim)
    assert world.check_access(token, REALM) == "token_expired"
    press(sim, action="end", realm=REALM)
    assert world.companies[REALM].subscription_status == "EXPIRED"
    press(sim, action="pay", realm=REALM)
    assert world.companies[REALM].subscription_status == "PAID"
    press(sim, action="disconnect", realm=REALM)
    assert world.live_refresh_token(REALM) is None


def test_the_control_page_breaks_and_mends_everything(sim: Simulator, world: World) -> None:
    token = world.grant(REALM).access_token
    assert "Nothing is broken" in control(sim)
    assert 'href="http://127.0.0.1:8000/dashboard/"' in control(sim)
    for action, state, fault in (
        ("down", "error page (503)", "unavailable"),
        ("throttled", "(429)", "throttled"),
        ("firewall", "with a web page", "html"),
        ("hangs", "never answers", "hang"),
    ):
        press(sim, action=action)
        assert state in control(sim).partition("Now:")[2].partition("</p>")[0]
        assert world.faults()["api"] == fault
    press(sim, action="lost")
    assert "next renewal will get lost" in control(sim)
    press(sim, action="works")
    assert "Nothing is broken" in control(sim)
    assert world.check_access(token, REALM) == "token_expired"
    world.set_fault("token", "drip")
    assert "Fault at token: drip." in control(sim)
    assert press(sim, action="dance")[0].status == 400


def test_a_page_of_another_site_reaches_nothing(sim: Simulator, world: World) -> None:
    world.grant(REALM)
    for headers in ({"Origin": "https://example.com"}, {"Origin": "null"}, {"Host": "example.com"}):
        body = urlencode({"action": "disconnect", "realm": REALM})
        assert ask(sim, "POST", "/control", headers, body)[0].status == 403
    assert world.live_refresh_token(REALM)


def test_there_is_nothing_else(sim: Simulator, world: World) -> None:
    assert ask(sim, "GET", "/")[0].status == 404
    assert ask(sim, "GET", TOKEN)[0].status == 404
    assert ask(sim, "GET", f"/v3/company/{REALM}/companyinfo/{OTHER}")[0].status == 404
    assert world.calls() == []
