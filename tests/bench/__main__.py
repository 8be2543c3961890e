"""python -m tests.bench: measures on both databases, prints the table; 1 if a target is missed."""

import tests.environment  # isort: skip  # noqa: F401  # a clean environment for the children

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import postgres
from tests.bench.measure import Row

PARTS = ("pages", "metrics", "live", "storm", "sync", "siege", "year")
ROOT = Path(__file__).resolve().parents[2]
COLUMN = 28


@contextmanager
def sqlite_url() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="monitor-bench-") as folder:
        yield f"sqlite:///{folder}/db.sqlite3"


DATABASES = {"PostgreSQL": postgres.database_url, "SQLite": sqlite_url}


def rows(part: str, url: str) -> Iterator[Row]:
    """What a part finds out in a process of its own: settings are read once in a process."""
    # Pages as an installation renders them; what needs the stand-in sets TESTING itself.
    environment = {**os.environ, "DATABASE_URL": url, "TESTING": "False"}
    command = [sys.executable, "-m", f"tests.bench.{part}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"The bench itself failed: tests.bench.{part}")
    for line in done.stdout.splitlines():
        yield Row(**json.loads(line))


def measure() -> dict[str, dict[str, Row]]:
    """What was measured → database → figure."""
    table: dict[str, dict[str, Row]] = {}
    for name, throw_away in DATABASES.items():
        for part in PARTS:
            print(f"{name}: {part} ...", file=sys.stderr)
            with throw_away() as url:
                for row in rows(part, url):
                    table.setdefault(row.what, {})[name] = row
    return table


def line(what: str, found: dict[str, Row]) -> str:
    cells = [
        f"{row.figure:g}  {f'({row.detail})' if row.detail else ''}" if row else "–"
        for row in map(found.get, DATABASES)
    ]
    first = next(iter(found.values()))
    target = f"≤ {first.most:g}" if first.most is not None else ""
    verdict = "" if first.most is None else "ok"
    if any(row.missed for row in found.values()):
        verdict = "MISSED"
    columns = "".join(f"{cell:<{COLUMN}}" for cell in cells)
    return f"{what:<66}{columns}{target:<7}{verdict}".rstrip()


def main() -> int:
    began = time.monotonic()
    table = measure()
    print("".join([" " * 66, *(f"{name:<{COLUMN}}" for name in DATABASES), "target"]))
    for what, found in table.items():
        print(line(what, found))
    print(f"Measured in {time.monotonic() - began:.0f} s, side by side: compare ratios, not times.")
    return int(any(row.missed for found in table.values() for row in found.values()))


if __name__ == "__main__":
    sys.exit(main())
