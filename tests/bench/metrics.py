"""A scrape of /metrics with many companies, beside a bare page.

python -m tests.bench.metrics, as `tests.bench.pages`.
"""

import tests.bench.production  # isort: skip  # noqa: F401  # before any model

import importlib
import tempfile
from collections.abc import Iterator
from functools import partial

from django.apps import apps
from django.core.management import call_command
from django.test import override_settings

from tests.bench.measure import Row, side_by_side
from tests.bench.pages import BARE, DAY, seeded

METRICS, TOKEN = "/metrics", "a token for scraping"
COMPANIES = 1_000


def measured() -> Iterator[Row]:
    """Every company has a day of checks behind it, which the score reads."""
    site = seeded("clinics", COMPANIES, COMPANIES * DAY)
    migration = importlib.import_module("quickbooks.migrations.0002_hand_over_and_counts")
    with site.current():
        migration.count_history(apps, None)
    site.authorization = f"Bearer {TOKEN}"
    what = f"{METRICS} of {COMPANIES:,} companies"
    found = side_by_side(partial(site.get, METRICS), partial(site.get, BARE))
    yield found.row(f"{what} / bare view", None)
    yield Row(what=f"{what}: queries", figure=len(site.queries(METRICS)), most=12)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as static,
        override_settings(ROOT_URLCONF="tests.bench.urls", STATIC_ROOT=static, METRICS_TOKEN=TOKEN),
    ):
        call_command("migrate", interactive=False, verbosity=0)
        for row in measured():
            row.tell()


if __name__ == "__main__":
    main()
