"""A year of weather against the whole chain: what was missed, and what was told for nothing.

python -m tests.bench.year, with DATABASE_URL naming an empty database. Prints JSON rows.
"""

import tests.environment  # isort: skip  # noqa: F401  # before any model

import datetime as dt
from collections.abc import Iterator

from django.conf import settings
from django.core.management import call_command

from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.bench.measure import Row
from tests.conftest import HARBOUR
from tests.replay import Replay, Result, Sky, owner

BEGIN = dt.datetime(2025, 11, 3, 8, tzinfo=dt.UTC)
DAYS = 365


def replay() -> Result:
    world = World()
    world.add_company(HARBOUR, "Harbour Physio")
    # Nobody reads them here; the chain goes as far as the library that hands them over.
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    with Simulator(world) as simulator:
        settings.QUICKBOOKS_DISCOVERY_URL = simulator.discovery_url
        settings.QUICKBOOKS_API_URL = simulator.api_url
        owner()
        return Replay(Sky(seed=365, begin=BEGIN, days=DAYS), world).run()


def told(result: Result) -> Iterator[Row]:
    checks, outages = f"{result.checks:,} checks", f"of {result.outages} outages"
    blips = f"{result.blips} blips"
    yield Row(what="a year: real outages missed", figure=len(result.missed), detail=outages, most=0)
    yield Row(what="a year: told twice", figure=len(result.doubled), detail=checks, most=0)
    yield Row(
        what="a year: without exactly one recovery",
        figure=len(result.unrecovered),
        detail=outages,
        most=0,
    )
    yield Row(what="a year: false alarms", figure=len(result.false), detail=blips, most=0)
    reminders = f"{result.reminders} reminders in all"
    yield Row(
        what="a year: messages an incident, at most",
        figure=result.most_alerts,
        detail=reminders,
        most=2,
    )
    slowest = round(result.slowest.total_seconds() / 60)
    yield Row(what="a year: slowest first message, minutes", figure=slowest, most=33)


def main() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    for row in told(replay()):
        row.tell()


if __name__ == "__main__":
    main()
