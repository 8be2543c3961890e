"""500 alerts, senders that are killed, and a mail server that refuses, hangs and hangs up.

python -m tests.bench.siege, with DATABASE_URL naming an empty database. Prints JSON rows.
"""

import tests.environment  # isort: skip  # noqa: F401  # before any model

import time
from collections.abc import Iterator

from django.core.management import call_command

from tests.bench.measure import Row
from tests.mail import mail_server
from tests.processes import driver
from tests.siege import besiege

ALERTS, SEED = 500, 2026


def siege() -> Iterator[Row]:
    began = time.monotonic()
    with mail_server() as server, driver() as running:
        found = besiege(running, server, ALERTS, SEED)
    what = f"{ALERTS} alerts, 2 senders, kill -9"
    seconds = f"{found.messages} messages in {time.monotonic() - began:.0f} s"
    yield Row(what=f"{what}: killed so many times", figure=found.kills, detail=seconds)
    yield Row(what=f"{what}: lost", figure=found.lost, most=0)
    detail = f"{found.unacknowledged} not acknowledged"
    yield Row(what=f"{what}: sent twice", figure=found.repeated, detail=detail)
    yield Row(what=f"{what}: sent twice without an excuse", figure=found.unexcused, most=0)
    yield Row(what=f"{what}: recoveries before the failure", figure=found.disordered, most=0)


def main() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    for row in siege():
        row.tell()


if __name__ == "__main__":
    main()
