"""What a sync costs, and that it ends exactly right: faults, limits, kill -9, a run that goes on.

python -m tests.bench.sync, with DATABASE_URL naming an empty database. Prints JSON rows.
"""

import tests.environment  # isort: skip  # noqa: F401  # before any model

import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.core.management import call_command
from django.db.models import Count

from integrations.gohighlevel.models import ContactMapping, Location, SyncRun
from integrations.gohighlevel.simulator.server import Simulator
from integrations.gohighlevel.simulator.world import PERSON_FIELD, World
from tests.bench.measure import Row

FEW, MANY = 5_000, 50_000
# Generous, so that the bench is over in a minute; kept to all the same.
CALLS, INTERVAL = 1_000, 0.5
PATIENCE = 300.0


@dataclass(frozen=True)
class Ended:
    """A process that is over. `peak` is its largest resident size in MiB."""

    exit_code: int
    seconds: float
    peak: float


def start(world: World, simulator: Simulator) -> "subprocess.Popen[bytes]":
    """A fresh process of the command, as cron starts it."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "sync_gohighlevel"],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "TESTING": "1",  # the settings then read no .env of the developer's
            "GOHIGHLEVEL_API_URL": simulator.url,
            "GOHIGHLEVEL_TOKEN": world.token,
            "GOHIGHLEVEL_LOCATION_ID": world.location_id,
            "GOHIGHLEVEL_PERSON_FIELD": PERSON_FIELD,
            "MATCHING_KEY": "a key for the bench",
        },
        stdout=subprocess.DEVNULL,
    )


def end(process: "subprocess.Popen[bytes]", began: float) -> Ended:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return Ended(process.returncode, time.monotonic() - began, usage.ru_maxrss / unit)


def sync(world: World, simulator: Simulator) -> Ended:
    began = time.monotonic()
    return end(start(world, simulator), began)


def killed_half_way(world: World, simulator: Simulator, calls: int) -> Ended:
    """kill -9 while the call of that number hangs: what was stored before it is what remains."""
    world.fail_at("search", calls, "hang")
    began = time.monotonic()
    process = start(world, simulator)
    while world.calls["search"] < calls:
        assert process.poll() is None, f"it ended with {process.returncode} before it was killed"
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.01)
    process.kill()
    ended = end(process, began)
    # Its claim lasts for two minutes without a sign of life; the bench does not wait for that.
    run = SyncRun.objects.get(finished_at=None)
    SyncRun.objects.filter(pk=run.pk).update(
        heartbeat_at=run.heartbeat_at - dt.timedelta(minutes=3)
    )
    return ended


def trouble(world: World, first: int) -> None:
    """429s, and errors of all kinds."""
    for number, fault in enumerate(("429", "503", "reset", "429", "malformed", "500")):
        world.fail_at("search", first + 3 * number, fault)


def fresh(size: int) -> World:
    for model in (ContactMapping, SyncRun, Location):
        model._default_manager.all().delete()
    world = World(size)
    world.meter.most, world.meter.interval = CALLS, INTERVAL
    return world


def exact(world: World) -> Iterator[Row]:
    """The contacts of the vendor against those that are counted here."""
    here = ContactMapping.objects.exclude(state="gone")
    ids = set(here.values_list("contact_id", flat=True))
    there = {world.contact_id(number) for number in range(world.size)}
    twice = here.values("contact_id").annotate(rows=Count("pk")).filter(rows__gt=1).count()
    run = SyncRun.objects.get()
    yield Row(
        what=f"sync of {world.size:,}: contacts missing or too many",
        figure=len(ids ^ there),
        detail=f"{run.pages} pages, resumed {run.resumed} times",
        most=0,
    )
    yield Row(what=f"sync of {world.size:,}: contacts twice", figure=twice, most=0)
    location = Location.objects.get()
    counted = location.mapped + location.unmatched + location.ambiguous
    yield Row(
        what=f"sync of {world.size:,}: off the card's numbers",
        figure=abs(counted - world.size) + int(run.result != "ok"),
        most=0,
    )
    yield Row(
        what=f"sync of {world.size:,}: calls beyond the limits",
        figure=world.meter.broken,
        detail=f"{sum(world.calls.values())} calls",
        most=0,
    )


def measure() -> Iterator[Row]:
    world = fresh(FEW)
    with Simulator(world) as simulator:
        trouble(world, 5)
        few = sync(world, simulator)
        assert few.exit_code == 0
    yield from exact(world)
    world = fresh(MANY)
    with Simulator(world) as simulator:
        trouble(world, 20)
        world.fail_at("search", 300, "429")
        world.fail_at("search", 350, "503")
        world.fail_at("search", 400, "hang")  # until the deadline
        first = killed_half_way(world, simulator, 250)
        second = sync(world, simulator)
        assert second.exit_code == 0
        whole = world.calls["search"]
        again = sync(world, simulator)
        assert again.exit_code == 0
    SyncRun.objects.filter(resumed=0).delete()
    yield from exact(world)
    peak = max(first.peak, second.peak, again.peak)
    yield Row(
        what=f"peak memory: sync of {MANY:,} / {FEW:,}",
        figure=round(peak / few.peak, 2),
        detail=f"{peak:.0f} / {few.peak:.0f} MiB",
        most=1.3,
    )
    yield Row(
        what=f"seconds for {MANY:,} contacts, nothing new",
        figure=round(again.seconds, 1),
        detail=f"first time {first.seconds + second.seconds:.1f} s, {whole} calls",
    )


def main() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    for row in measure():
        row.tell()


if __name__ == "__main__":
    main()
