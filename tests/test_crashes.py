"""Processes that die or sleep in the middle of a refresh: `kill -9` and SIGSTOP, for real.

After a crash the stored token works, or the next check after the lease says that the answer was
lost; nothing else, and never stuck. A process that was suspended presents nothing late, and what
it learnt before it slept overwrites nothing.
"""

import datetime as dt
import random
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from integrations.deadline import boot_clock
from integrations.models import IntegrationStatus
from quickbooks import grants
from quickbooks.models import GrantState, OAuthToken, ProbeClaim, RefreshOutcome, TokenRefresh
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.traffic import Call
from quickbooks.simulator.world import World
from tests.processes import DRIVER, Child, Driver, connect, driver, wait_for

pytestmark = pytest.mark.django_db(transaction=True)

REALM = "9341000000000002"
CRASHES = 25  # with a grace for the old token, and as many without
DEADLINE = 5.0
NAP = 1.0  # the deadline of who is put to sleep until it is over
OK, LOST, RECONNECT = "ok", "refresh_response_lost", "reconnect_required"


@pytest.fixture(params=[0, 86400], ids=["no-grace", "grace"])
def grace(request: pytest.FixtureRequest) -> float:
    return float(request.param)


@pytest.fixture
def world(grace: float) -> World:
    world = World(rotate_after=0, grace=grace)
    world.add_company(REALM, "Fragile Physio")
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


def at(where: str, when: str, do: str, **more: int) -> dict[str, Any]:
    """Something that happens to a process before or after a call of a function."""
    return {"at": where, "when": when, "do": do, **more}


def stored() -> OAuthToken:
    return OAuthToken.objects.get(realm_id=REALM)


def refreshes(world: World) -> list[Call]:
    return [call for call in world.calls("token") if call.grant_type == "refresh_token"]


def dead_ones(world: World) -> int:
    return sum(call.dead_token for call in world.calls())


def access_token_expires() -> None:
    past = timezone.now() - dt.timedelta(minutes=10)
    OAuthToken.objects.update(access_expires_at=past, minted_at=past)


def lease_runs_out() -> None:
    """As if a minute had passed: what is held by a process that is gone, or asleep, is free."""
    past = timezone.now() - dt.timedelta(seconds=1)
    OAuthToken.objects.filter(lease_until__isnull=False).update(lease_until=past)
    ProbeClaim.objects.update(expires_at=past)


def dust_settles(simulator: Simulator) -> None:
    """What a killed process had sent is still carried out, by Intuit as by PostgreSQL.

    The real lease outlasts that by far; here it is waited for.
    """
    # Connections are taken in the order in which they came: after this one all are on record.
    with urllib.request.urlopen(simulator.discovery_url) as answer:
        answer.read()
    wait_for(lambda: not simulator._open, "requests of the dead")
    if connection.vendor == "postgresql":
        wait_for(_no_session_is_left, "sessions of the dead")


def _no_session_is_left() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT NOT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s)",
            [DRIVER],
        )
        return bool(cursor.fetchone()[0])


def check(processes: Driver) -> str:
    """The diagnosis of a new check."""
    result = processes.run("check", realm=REALM)
    assert result["recorded"], result
    return str(result["diagnosis"])


def reconnect(world: World, processes: Driver) -> None:
    connect(world, REALM)
    assert check(processes) == OK


# ── kill -9 ─────────────────────────────────────────────────────────────────
LEASING = at("quickbooks.lease:take", "before", "TELL")


def unharmed(processes: Driver) -> float:
    """Seconds from the lease to the end of a check that nobody kills."""
    took = []
    for _ in range(5):
        access_token_expires()
        child = processes.start("check", LEASING, realm=REALM)
        child.wait("told")
        began = time.monotonic()
        assert child.wait("done")["diagnosis"] == OK
        took.append(time.monotonic() - began)
        child.result()
    return statistics.median(took)


def moments(whole: float, chance: random.Random) -> Iterator[float]:
    """One from each slice of that time, in any order, again and again."""
    while True:
        slices = [whole * (number + chance.random()) / CRASHES for number in range(CRASHES)]
        chance.shuffle(slices)
        yield from slices


def stage(journal: int, presented: int, world: World) -> str:
    """How far the one that died had come."""
    entry = TokenRefresh.objects.filter(pk__gt=journal).order_by("-pk").first()
    if entry is None:
        return "before the lease"
    if entry.outcome:
        return "saved"
    return "answer not saved" if len(refreshes(world)) > presented else "not sent"


def test_kill_9_at_random_moments_of_a_refresh(
    world: World, simulator: Simulator, processes: Driver, grace: float
) -> None:
    """The stored token works, or the next check says that the answer was lost: as it really is."""
    world.revoke_on_dead_token = True
    world.latency = 0.02  # half of it before Intuit acts and half before it answers
    chance = random.Random(20261122)
    whole = unharmed(processes)
    world.reset_counters()
    crashes: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    access_token_expires()
    for moment in moments(whole, chance):
        newest = TokenRefresh.objects.order_by("-pk").values_list("pk", flat=True).first()
        presented = len(refreshes(world))
        victim = processes.start("check", LEASING, realm=REALM)
        victim.wait("told")
        time.sleep(moment)
        killed = victim.kill()
        if killed:
            dust_settles(simulator)
            crashes[stage(newest or 0, presented, world)] += 1
            assert dead_ones(world) <= crashes.total()
        lease_runs_out()
        if killed and crashes.total() % 4 == 3:  # who comes to repair it is killed as well
            access_token_expires()
            continue
        works = world.is_live(stored().refresh_token)
        verdict = check(processes)
        verdicts[verdict] += 1
        assert verdict == (OK if works else LOST)
        if verdict == LOST:
            reconnect(world, processes)
        row = stored()
        assert world.live_refresh_token(REALM) == row.refresh_token
        assert (row.state, row.lease_until, row.in_doubt_since) == (GrantState.LIVE, None, None)
        if crashes.total() >= CRASHES:
            break
        access_token_expires()
    print(
        f"{crashes.total()} crashes, {'with' if grace else 'without'} grace, within "
        f"{1000 * whole:.0f} ms: {dict(crashes)}; the checks after them: {dict(verdicts)}; "
        f"{len(refreshes(world))} refreshes, {dead_ones(world)} with a dead token"
    )
    assert crashes["answer not saved"]
    assert not (grace and verdicts[LOST])


REFRESH, COMMIT = "quickbooks.oauth:refresh", "quickbooks.lease:commit_parcel"
REFUSED = at(COMMIT, "before", "FAIL", times=1000)
POINTS = {
    "leased, nothing sent": ([at(REFRESH, "before", "KILL")], OK, 1),
    "answer read, not saved": ([at(REFRESH, "after", "KILL")], LOST, 2),
    # The second time that the clock is asked is in the middle of the saving transaction.
    "in the commit": ([at("quickbooks.lease:database_now", "before", "KILL", nth=2)], LOST, 2),
    "committed, not used": ([at(COMMIT, "after", "KILL")], OK, 1),
    "read, not recorded": ([at("quickbooks.probe:_record", "before", "KILL")], OK, 1),
    "commit failed, not rescued": (
        [REFUSED, at("quickbooks.rescue:write", "before", "KILL")],
        LOST,
        2,
    ),
    "rescue not in place": ([REFUSED, at("pathlib:Path.replace", "before", "KILL")], LOST, 2),
    "commit failed, rescued": ([REFUSED, at("quickbooks.rescue:write", "after", "KILL")], OK, 1),
    "second commit, rescue left": (
        [at(COMMIT, "before", "FAIL"), at("quickbooks.rescue:discard", "before", "KILL")],
        OK,
        1,
    ),
}


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_at_this_very_point(
    world: World, simulator: Simulator, processes: Driver, grace: float, point: str
) -> None:
    """What survives, and how often a refresh token has been presented until all is known."""
    interrupts, verdict, presented = POINTS[point]
    access_token_expires()
    victim = processes.start("check", *interrupts, realm=REALM)
    assert victim.wait("ended") == -9
    dust_settles(simulator)
    lease_runs_out()
    expected = OK if grace else verdict
    for _ in range(2):
        assert check(processes) == expected
        assert len(refreshes(world)) == presented
        assert dead_ones(world) == (expected == LOST)


@pytest.mark.parametrize(("fault", "verdict"), [("hang", OK), ("hang_after", LOST)])
def test_kill_9_while_intuit_hangs(
    world: World, simulator: Simulator, processes: Driver, grace: float, fault: str, verdict: str
) -> None:
    """Before Intuit acts, and after it has acted and before a byte of the answer."""
    world.fail_next("token", fault)
    access_token_expires()
    victim = processes.start("check", realm=REALM)
    wait_for(lambda: [c for c in refreshes(world) if c.outcome == f"fault:{fault}"], fault)
    victim.kill()
    dust_settles(simulator)
    lease_runs_out()
    assert check(processes) == (OK if grace else verdict)
    assert len(refreshes(world)) == 2


@pytest.mark.parametrize(
    ("when", "verdict", "presented"), [("before", LOST, 2), ("after", RECONNECT, 1)]
)
def test_kill_9_around_a_rejection(
    world: World, simulator: Simulator, processes: Driver, when: str, verdict: str, presented: int
) -> None:
    """The dead token is presented once more if the verdict was not saved, and then no more."""
    world.revoke_grant(REALM)
    access_token_expires()
    victim = processes.start("check", at("quickbooks.lease:reject", when, "KILL"), realm=REALM)
    assert victim.wait("ended") == -9
    dust_settles(simulator)
    for _ in range(3):
        lease_runs_out()
        assert check(processes) == verdict
    assert len(refreshes(world)) == dead_ones(world) == presented


# ── SIGSTOP ─────────────────────────────────────────────────────────────────
def put_to_sleep(
    processes: Driver, *interrupts: dict[str, Any], deadline: float = DEADLINE
) -> Child:
    """A check that stops there; its lease and its claim run out while it sleeps."""
    access_token_expires()
    sleeper = processes.start("check", *interrupts, deadline=deadline, realm=REALM)
    sleeper.wait("stopped")
    lease_runs_out()
    return sleeper


@pytest.mark.parametrize(
    "where",
    ["integrations.connections:_Bounded._new_conn", "integrations.connections:_Bounded.send"],
    ids=["connected", "headers sent"],
)
def test_a_sleeper_that_wakes_after_its_deadline_presents_nothing(
    world: World, processes: Driver, where: str
) -> None:
    """It sleeps between connecting and the first byte, or before the body that has the token."""
    world.revoke_on_dead_token = True
    # The timer's thread may be the last to wake; nothing may depend on its being quick.
    timer = at("integrations.deadline:Deadline.expire", "before", "WAIT")
    sleeper = put_to_sleep(processes, at(where, "after", "STOP"), timer, deadline=NAP)
    fell_asleep = boot_clock()
    assert check(processes) == OK
    assert len(refreshes(world)) == 1
    before = OAuthToken.objects.values().get()
    wait_for(lambda: boot_clock() > fell_asleep + NAP, "its deadline")
    sleeper.wake()
    assert sleeper.result()["diagnosis"] == OK  # by the token that the other one has fetched
    assert len(refreshes(world)) == 1
    after = OAuthToken.objects.values().get()
    assert {**after, "last_success_at": None} == {**before, "last_success_at": None}
    assert world.live_refresh_token(REALM) == stored().refresh_token
    assert check(processes) == OK


def disconnect(world: World, processes: Driver) -> None:
    grants.disconnect(REALM, None, timezone.now())
    assert stored().state == GrantState.DISCONNECTED


MEANWHILE: dict[str, Callable[[World, Driver], None]] = {
    "reconnected": reconnect,
    "disconnected": disconnect,
}


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_a_late_answer_overwrites_nothing(world: World, processes: Driver, meanwhile: str) -> None:
    """New tokens that come when their generation is gone are kept aside."""
    sleeper = put_to_sleep(processes, at(REFRESH, "after", "STOP"))
    asleep = TokenRefresh.objects.get(outcome="").pk
    MEANWHILE[meanwhile](world, processes)
    before = OAuthToken.objects.values().get()
    sleeper.wake()
    sleeper.result()
    after = OAuthToken.objects.values().get()
    assert {**after, "last_success_at": None} == {**before, "last_success_at": None}
    entry = TokenRefresh.objects.get(pk=asleep)
    assert (entry.outcome, entry.superseded) == (RefreshOutcome.ROTATED, True)
    assert len(entry.late_pair.split()) == 2
    assert dead_ones(world) <= 1


def test_a_late_answer_repairs_the_verdict_that_was_reached_without_it(
    world: World, processes: Driver, grace: float
) -> None:
    """Somebody else presents the old token while the answer sleeps in a process."""
    sleeper = put_to_sleep(processes, at(REFRESH, "after", "STOP"))
    assert check(processes) == (OK if grace else LOST)
    theirs = stored()
    sleeper.wake()
    assert sleeper.result()["diagnosis"] == OK
    row = stored()
    assert row.state == GrantState.LIVE
    assert world.live_refresh_token(REALM) == row.refresh_token
    if grace:  # theirs was saved first, and stays
        assert (row.generation, row.access_token) == (theirs.generation, theirs.access_token)
    assert check(processes) == OK
    assert len(refreshes(world)) == 2
    assert dead_ones(world) == (0 if grace else 1)


def test_a_late_rejection_says_nothing_about_a_newer_grant(world: World, processes: Driver) -> None:
    world.revoke_grant(REALM)
    sleeper = put_to_sleep(processes, at("quickbooks.lease:reject", "before", "STOP"))
    reconnect(world, processes)
    before = OAuthToken.objects.values().get()
    sleeper.wake()
    assert sleeper.result()["diagnosis"] == OK
    after = OAuthToken.objects.values().get()
    assert {**after, "last_success_at": None} == {**before, "last_success_at": None}


def test_a_late_check_does_not_change_the_status_of_a_newer_one(
    world: World, processes: Driver
) -> None:
    """It saw QuickBooks well, slept, and wakes after the grant was revoked."""
    sleeper = put_to_sleep(processes, at("quickbooks.probe:_record", "before", "STOP"))
    world.revoke_grant(REALM)
    access_token_expires()
    assert check(processes) == RECONNECT
    sleeper.wake()
    assert sleeper.result()["diagnosis"] == OK
    assert stored().state == GrantState.REJECTED
    assert IntegrationStatus.objects.get(account=REALM).state == RECONNECT
