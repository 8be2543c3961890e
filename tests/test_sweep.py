"""Many companies in one run: repeats are made together, and a run ends before its guard ends it."""

import datetime as dt
from itertools import count

import pytest
from django.utils import timezone

from integrations.models import Incident, IntegrationStatus
from quickbooks import sweep as sweeping
from quickbooks.models import ConnectionHealthCheck
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from quickbooks.sweep import sweep
from tests.support import connect

REALMS = [f"93410000000001{number}" for number in range(4)]
SLOT = dt.timedelta(minutes=15)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def connected(world: World, simulator: Simulator) -> World:
    for realm in REALMS:
        world.add_company(realm, f"Physio {realm[-1]}")
        connect(world, realm)
    return world


def checks() -> list[str]:
    rows = ConnectionHealthCheck.objects.order_by("id")
    return list(rows.values_list("realm_id", flat=True))


def test_companies_that_fail_together_wait_together(connected: World) -> None:
    connected.set_fault("api", "unavailable")
    pauses: list[float] = []
    sweep(REALMS, timezone.now(), confirm=True, pause=pauses.append)
    assert pauses == [20, 60], "and not as often as there are companies"
    assert Incident.objects.count() == len(REALMS)
    # It is known that they are down: from now on one question a slot will do.
    pauses.clear()
    sweep(REALMS, timezone.now() + SLOT, confirm=True, pause=pauses.append)
    assert pauses == []


def test_what_recovers_while_the_others_wait_is_a_blip(connected: World) -> None:
    connected.set_fault("api", "unavailable")

    def mend(seconds: float) -> None:
        connected.clear_faults()

    sweep(REALMS, timezone.now(), confirm=True, pause=mend)
    assert not Incident.objects.exists()
    assert set(IntegrationStatus.objects.values_list("level", flat=True)) == {"healthy"}


def test_a_run_that_takes_too_long_leaves_the_rest_to_the_next_which_begins_with_it(
    connected: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "POOL_SIZE", 1)
    now = timezone.now()
    # Each look at the clock finds that a third of the time is gone.
    clock = count(step=sweeping.BUDGET / 2.5)
    monkeypatch.setattr(sweeping, "boot_clock", lambda: next(clock))
    assert list(sweep(REALMS, now, confirm=True)) == REALMS[:2]
    clock = count(step=sweeping.BUDGET / 2.5)
    assert list(sweep(REALMS, now + SLOT, confirm=True)) == REALMS[2:]
    assert checks() == REALMS


def test_a_person_who_asks_is_answered_about_all_of_them(
    connected: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(step=sweeping.BUDGET)
    monkeypatch.setattr(sweeping, "boot_clock", lambda: next(clock))
    assert list(sweep(REALMS, timezone.now(), confirm=False)) == REALMS
