"""Many processes and web requests meet an expired access token at once: one of them renews it.

Over real HTTP, with real processes and real gunicorn, against an Intuit that rotates with every
refresh, forgives nothing, and ends the whole grant when a dead token is presented.
"""

import datetime as dt
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from quickbooks.models import DiscoveryDocument, OAuthToken, RefreshOutcome, TokenRefresh
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.traffic import Call
from quickbooks.simulator.world import World
from tests.processes import Driver, WebServer, connect, driver, sessions, web_server

pytestmark = pytest.mark.django_db(transaction=True)

REALM = "9341000000000001"
PROCESSES, REQUESTS, THREADS = 8, 16, 4
DEADLINE = 10.0  # as in production: nobody's patience ends on a slow machine
STATUS_URL = "/api/admin/quickbooks/connection-status?fresh=1"


@pytest.fixture
def world() -> World:
    world = World(rotate_after=0, grace=0, revoke_on_dead_token=True)
    world.add_company(REALM, "Crowded Physio")
    return world


@pytest.fixture(scope="module")
def warm(django_db_setup: None) -> Iterator[Driver]:
    with driver() as running:
        yield running


@pytest.fixture
def processes(warm: Driver, world: World, simulator: Simulator, tmp_path: Path) -> Iterator[Driver]:
    connect(world, REALM)
    world.reset_counters()
    with warm.at_work(simulator, tmp_path, deadline=DEADLINE) as running:
        yield running


def row_expires(world: World) -> None:
    """As if an hour had passed here."""
    past = timezone.now() - dt.timedelta(minutes=10)
    OAuthToken.objects.update(access_expires_at=past, minted_at=past)


def row_expires_without_discovery(world: World) -> None:
    """All of them have to find out first where to refresh."""
    DiscoveryDocument.objects.all().delete()
    row_expires(world)


def intuit_refuses(world: World) -> None:
    """The access token is over at Intuit while the row still believes in it. One younger than
    five minutes that was never accepted would not be renewed, so this one is made older."""
    world.expire_access_tokens()
    half_an_hour = dt.timedelta(minutes=30)
    now = timezone.now()
    OAuthToken.objects.update(access_expires_at=now + half_an_hour, minted_at=now - half_an_hour)


EXPIRE = {
    "expired": row_expires,
    "refused": intuit_refuses,
    "without discovery": row_expires_without_discovery,
}


def refreshes(world: World) -> list[Call]:
    return [call for call in world.calls("token") if call.grant_type == "refresh_token"]


def everything_is_well(world: World, refreshed: int) -> None:
    row = OAuthToken.objects.get(realm_id=REALM)
    assert len(refreshes(world)) == refreshed
    assert world.max_in_flight("token") == 1
    assert not [call for call in world.calls() if call.dead_token]
    assert world.live_refresh_token(REALM) == row.refresh_token
    assert (row.lease_until, row.in_doubt_since) == (None, None)
    journal = TokenRefresh.objects.filter(purpose=TokenRefresh.Purpose.REFRESH)
    assert [entry.outcome for entry in journal] == [RefreshOutcome.ROTATED] * refreshed
    assert not [entry for entry in journal if entry.was_early]


class Visitors:
    """Requests that wait at the same line, each in a thread of its own."""

    def __init__(self, server: WebServer, cookies: list[str]) -> None:
        self.answers: list[tuple[int, str]] = []
        self._line = threading.Barrier(len(cookies) + 1)
        self._threads = [
            threading.Thread(target=self._ask, args=(server, cookie), daemon=True)
            for cookie in cookies
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, server: WebServer, cookie: str) -> None:
        self._line.wait()
        self.answers.append(server.get(STATUS_URL, cookie))

    def go(self) -> None:
        self._line.wait()

    def collect(self) -> list[tuple[int, str]]:
        for thread in self._threads:
            thread.join()
        return self.answers


def test_processes_and_web_requests_meet_an_expired_token(
    world: World, simulator: Simulator, staff: User, processes: Driver
) -> None:
    """Three times, twice by the clock and once by a refusal: exactly three refreshes."""
    cookies = sessions(staff, REQUESTS)
    with web_server(simulator, deadline=DEADLINE) as server:
        for number, kind in enumerate(("expired", "refused", "expired"), start=1):
            visitors = Visitors(server, cookies)
            children = [
                processes.start("command", args=["check_quickbooks"], gated=True)
                for _ in range(PROCESSES)
            ]
            EXPIRE[kind](world)
            began = time.monotonic()
            processes.open_gate(PROCESSES)
            visitors.go()
            answers = visitors.collect()
            results = [child.result() for child in children]
            elapsed = time.monotonic() - began

            assert [status for status, _ in answers] == [200] * REQUESTS
            codes = [json.loads(body)["diagnosis"]["code"] for _, body in answers]
            assert codes == ["ok"] * REQUESTS
            assert len({child.pid for child in children}) == PROCESSES
            assert [result["code"] for result in results] == [0] * PROCESSES, results
            assert all(result["text"].startswith("QUICKBOOKS OK - ") for result in results)
            everything_is_well(world, refreshed=number)
            print(
                f"{kind}: {PROCESSES} processes and {REQUESTS} requests, all ok; so far "
                f"{len(refreshes(world))} refreshes, {len(world.calls('api'))} reads; "
                f"{elapsed:.2f} s"
            )


def test_nothing_but_the_lease_stands_between_processes_and_the_grant(
    world: World, processes: Driver
) -> None:
    """No probe's claim lines them up here: all present themselves at the lease at once."""
    for number, kind in enumerate(("expired", "refused", "without discovery"), start=1):
        generation = OAuthToken.objects.get(realm_id=REALM).generation
        refused = generation if kind == "refused" else None
        children = [
            processes.start("obtain", realm=REALM, threads=THREADS, refused=refused, gated=True)
            for _ in range(PROCESSES)
        ]
        EXPIRE[kind](world)
        began = time.monotonic()
        processes.open_gate(PROCESSES)
        found = [token for child in children for token in child.result()]
        elapsed = time.monotonic() - began

        row = OAuthToken.objects.get(realm_id=REALM)
        fingerprint = hashlib.sha256(row.access_token.encode()).hexdigest()
        assert found == [fingerprint] * PROCESSES * THREADS
        assert row.generation == generation + 1
        everything_is_well(world, refreshed=number)
        print(
            f"{kind}: {PROCESSES} processes with {THREADS} threads each got the same token; "
            f"{len(refreshes(world))} refreshes so far; {elapsed:.2f} s"
        )


def test_other_programs_that_ask_for_a_token_share_one_refresh(
    world: World, processes: Driver
) -> None:
    """`manage.py quickbooks_access_token` and `check_quickbooks`, half of the processes each."""
    asking = [["quickbooks_access_token", REALM], ["check_quickbooks"]] * (PROCESSES // 2)
    children = [processes.start("command", args=args, gated=True) for args in asking]
    EXPIRE["expired"](world)
    processes.open_gate(PROCESSES)
    results = [child.result() for child in children]
    assert [result["code"] for result in results] == [0] * PROCESSES, results
    printed = {result["text"] for result in results[::2]}
    assert printed == {OAuthToken.objects.get(realm_id=REALM).access_token}
    everything_is_well(world, refreshed=1)
