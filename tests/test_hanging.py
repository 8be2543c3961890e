"""QuickBooks accepts the call and says nothing: whom that may hold up, and whom not.

No test here compares durations. That a request did not wait is seen from the hang, which is
still on when the answer comes; how the medians compare is measured by `make bench`.
"""

import datetime as dt
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from quickbooks.models import ConnectionHealthCheck, OAuthToken
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.hanging import load_dashboard, nobody_has_asked_lately, open_dashboards
from tests.processes import Driver, WebServer, connect, driver, sessions, wait_for, web_server

pytestmark = pytest.mark.django_db(transaction=True)

REALMS = [f"934100000000010{number}" for number in range(6)]
LOADS, AT_ONCE = 80, 8
STATUS_URL = "/api/admin/quickbooks/connection-status"
# Of the web server here: nothing that is to be seen may depend on how fast a machine is.
FAR = 60.0


@pytest.fixture
def world() -> World:
    world = World()
    for realm in REALMS:
        world.add_company(realm, f"Physio {realm[-1]}")
    return world


@pytest.fixture(scope="module")
def intuit() -> Iterator[Simulator]:
    """One address for the whole module, so that one server can serve all of its tests."""
    with Simulator(World()) as running:
        yield running


@pytest.fixture
def simulator(intuit: Simulator, world: World, settings: Settings) -> Simulator:
    intuit.world = world
    settings.QUICKBOOKS_DISCOVERY_URL = intuit.discovery_url
    settings.QUICKBOOKS_API_URL = intuit.api_url
    return intuit


@pytest.fixture(scope="module")
def server(django_db_setup: None, intuit: Simulator) -> Iterator[WebServer]:
    with web_server(intuit, deadline=FAR) as running:
        yield running


@pytest.fixture(scope="module")
def warm(django_db_setup: None) -> Iterator[Driver]:
    with driver() as running:
        yield running


@pytest.fixture
def browsers(server: WebServer, world: World, simulator: Simulator, staff: User) -> list[str]:
    """Sessions on the server; one of them has seen that all is well, a while ago."""
    connect(world, REALMS[0])
    found = sessions(staff, AT_ONCE)
    load_dashboard(server, found[0])
    nobody_has_asked_lately()
    world.reset_counters()
    return found


@pytest.mark.parametrize(("endpoint", "loads"), [("api", LOADS), ("token", LOADS // 5)])
def test_dashboards_do_not_wait_for_a_hanging_quickbooks(
    world: World, server: WebServer, browsers: list[str], endpoint: str, loads: int
) -> None:
    """One request waits for it, one call is in flight, and everybody else is served meanwhile."""
    if endpoint == "token":
        past = timezone.now() - dt.timedelta(minutes=10)
        OAuthToken.objects.update(access_expires_at=past, minted_at=past)
    world.set_fault(endpoint, "hang")
    in_flight: list[int] = []

    def all_but_one_are_served() -> None:
        in_flight.append(world.in_flight(endpoint))
        world.clear_faults()

    found = open_dashboards(server, browsers, loads, all_but_one_are_served)
    assert len(found) == loads
    assert in_flight == [1]  # none of them had waited for the end of the hang
    calls = world.calls(endpoint)
    print(f"{loads} loads, {AT_ONCE} at a time: {len(calls)} calls to {endpoint}")
    assert 1 <= len(calls) <= 4
    assert world.max_in_flight(endpoint) == 1


def test_the_api_answers_while_somebody_elses_probe_hangs(
    world: World, server: WebServer, browsers: list[str]
) -> None:
    """It waits a second at most, and then says what is known, and that it is not its own."""
    world.set_fault("api", "hang")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            first = pool.submit(load_dashboard, server, browsers[0])
            wait_for(lambda: world.in_flight("api") == 1, "the probe that hangs")
            answers = list(pool.map(lambda session: server.get(STATUS_URL, session), browsers[1:]))
            # The answers are here, and the hang is still on.
            assert world.in_flight("api") == 1
            assert not first.done()
        finally:
            world.clear_faults()
    assert len(world.calls("api")) == 1
    assert [status for status, _ in answers] == [200] * (AT_ONCE - 1)
    for _, body in answers:
        told = json.loads(body)
        assert (told["reused"], told["diagnosis"]["code"]) == (True, "ok")
        assert told["token"]["refreshed"] is False


def test_one_company_that_hangs_delays_none_of_the_others(
    world: World, simulator: Simulator, warm: Driver, tmp_path: Path
) -> None:
    """`check_quickbooks`: the others are on record while one call is still without an answer."""
    deadline = 3.0
    for realm in REALMS:
        connect(world, realm)
    world.reset_counters()
    world.fail_next("api", "hang")
    with warm.at_work(simulator, tmp_path, deadline=deadline) as processes:
        child = processes.start("command", args=["check_quickbooks"])
        others = ConnectionHealthCheck.objects.filter(ok=True)
        wait_for(lambda: others.count() == len(REALMS) - 1, "the other companies")
        assert world.in_flight("api") == 1
        result = child.result()
    assert result["code"] == 1
    assert result["text"].startswith(f"QUICKBOOKS WARNING - {len(REALMS)} companies: 1 WARNING, ")
    slow = ConnectionHealthCheck.objects.get(ok=False)
    assert slow.diagnosis == "timeout"
    # In milliseconds: cut off at the deadline, with room for a busy machine, but not for two.
    assert slow.latency_ms is not None
    assert 1000 * deadline <= slow.latency_ms + 50 < 2000 * deadline
    latencies = [check.latency_ms or 0 for check in others]
    assert max(latencies) < 1000 * deadline
    print(f"the one that hangs {slow.latency_ms} ms, the others {sorted(latencies)} ms")


def test_companies_that_all_hang_take_one_deadline_together(
    world: World, simulator: Simulator, warm: Driver, tmp_path: Path
) -> None:
    """All of their calls are in flight at the same time."""
    deadline = 1.5
    for realm in REALMS:
        connect(world, realm)
    world.reset_counters()
    world.set_fault("api", "hang")
    with warm.at_work(simulator, tmp_path, deadline=deadline) as processes:
        result = processes.run("command", args=["check_quickbooks"])
    assert result["code"] == 1
    assert world.max_in_flight("api") == len(world.calls("api")) == len(REALMS)
    checks = ConnectionHealthCheck.objects.all()
    assert {check.diagnosis for check in checks} == {"timeout"}
    latencies = [check.latency_ms or 0 for check in checks]
    assert max(latencies) < 2000 * deadline
    print(f"{len(REALMS)} companies that hang: {sorted(latencies)} ms")
