"""What needs Intuit's stand-in: dashboards while QuickBooks hangs, and a sweep of companies.

python -m tests.bench.live, with DATABASE_URL naming an empty database. Prints JSON rows.
"""

import tests.environment  # isort: skip  # noqa: F401  # before any model

import math
import time
from collections.abc import Iterator
from statistics import median

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import override_settings

from integrations.http import POOL_SIZE
from quickbooks.models import OAuthToken
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.bench.measure import Row
from tests.hanging import measure_hanging
from tests.processes import connect, sessions, web_server
from tests.support import run

REALM = "9341460000000001"
LOADS, AT_ONCE = 80, 8
# Longer than all the loads of one turn take: the hang itself is not what is measured.
DEADLINE = 60.0
COMPANIES, LATENCY, SWEEPS = 50, 0.2, 3


def hanging(world: World, simulator: Simulator) -> Iterator[Row]:
    connect(world, REALM)
    cookies = sessions(User.objects.create_superuser("manager"), AT_ONCE)
    with web_server(simulator, deadline=DEADLINE) as server:
        found = measure_hanging(server, world, cookies, loads=LOADS)
    yield Row(
        what=f"{LOADS} loads, {AT_ONCE} at a time: QuickBooks hangs / is well",
        figure=round(found["ratio"], 2),
        detail=f"{found['hanging_ms']:.0f} / {found['healthy_ms']:.0f} ms",
        most=1.3,
    )
    yield Row(what="calls that hang, at most", figure=found["most_calls"], most=4)
    yield Row(what="turns without one", figure=int(found["least_calls"] < 1), most=0)
    yield Row(what="in flight at once", figure=found["most_in_flight"], most=1)


def sweep(world: World) -> Iterator[Row]:
    OAuthToken.objects.all().delete()
    for number in range(COMPANIES):
        connect(world, world.add_company(f"93415{number:05}", f"Clinic {number}").realm_id)
    world.latency = LATENCY
    bound = math.ceil(COMPANIES / POOL_SIZE) * LATENCY
    seconds = []
    for _ in range(SWEEPS):
        began = time.perf_counter()
        exit_code, text = run("check_quickbooks")
        seconds.append(time.perf_counter() - began)
        assert exit_code == 0, text
    world.latency = 0
    yield Row(
        what=f"sweep of {COMPANIES} companies at {LATENCY * 1000:.0f} ms / bound",
        figure=round(median(seconds) / bound, 2),
        detail=f"{1000 * median(seconds):.0f} / {1000 * bound:.0f} ms",
    )


def main() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    world = World()
    world.add_company(REALM, "Harbour Physio")
    with (
        Simulator(world) as simulator,
        override_settings(
            QUICKBOOKS_DISCOVERY_URL=simulator.discovery_url, QUICKBOOKS_API_URL=simulator.api_url
        ),
    ):
        for rows in (hanging(world, simulator), sweep(world)):
            for row in rows:
                row.tell()


if __name__ == "__main__":
    main()
