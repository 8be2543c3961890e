"""Deliveries: a storm with a crash, and the rate beside a view that only inserts a row.

python -m tests.bench.storm, with DATABASE_URL naming an empty database. Prints JSON rows.
"""

import tests.environment  # isort: skip  # noqa: F401  # before any model

from collections.abc import Iterator
from itertools import count
from statistics import median

from django.core.management import call_command

from integrations.jane.models import Membership
from integrations.models import Outcome, WebhookDelivery
from tests.bench.measure import Row
from tests.processes import WebServer, gunicorn
from tests.storm import SECRET, Delivery, deliveries, send_all

COUNT = 5_000
# Deliveries a side, and pairs of sides.
BATCH, PAIRS = 320, 11
JANE, BARE = "/webhooks/jane/", "/bench/insert/"
ENVIRONMENT = {"JANE_WEBHOOK_SECRETS": SECRET}


def storm() -> Iterator[Row]:
    messages = deliveries(COUNT)
    people = {str(message.person) for message in messages if message.genuine}
    with gunicorn(ENVIRONMENT) as server:

        def crash() -> None:
            server.kill()
            server.start()

        found = send_all(server, JANE, messages, half_way=crash)
    rows = WebhookDelivery.objects.filter(outcome=Outcome.STORED)
    effects = list(Membership.objects.values_list("person_id", flat=True))
    what = f"{COUNT:,} deliveries, 16 senders, a crash"
    yield Row(what=f"{what}: answers missing", figure=found.repeated, detail="sent again")
    wrong = len(people.symmetric_difference(effects)) + abs(len(effects) - len(people))
    yield Row(what=f"{what}: effects not exactly once", figure=wrong, most=0)
    others = WebhookDelivery.objects.count() - len(people)
    yield Row(what=f"{what}: rows of forged or repeated ones", figure=others, most=0)
    yield Row(what=f"{what}: genuine ones without a row", figure=len(people) - rows.count(), most=0)


def rate(server: WebServer, batches: "count[int]") -> Iterator[Row]:
    """How many bare inserts pass in the time of one delivery of such a storm, in turns."""

    def seconds(path: str) -> float:
        return send_all(server, path, fresh_storm(next(batches))).seconds

    for path in (JANE, BARE):
        seconds(path)
    pairs = []
    for number in range(PAIRS):
        order = (JANE, BARE) if number % 2 else (BARE, JANE)
        times = {path: seconds(path) for path in order}
        pairs.append((times[JANE], times[BARE]))
    ours, bare = (BATCH / median(side) for side in zip(*pairs, strict=True))
    yield Row(
        what="bare inserting view / deliveries, in time",
        figure=round(median(jane / bare for jane, bare in pairs), 2),
        detail=f"{ours:.0f} / {bare:.0f} a second",
        most=round(1 / 0.6, 2),
    )


def fresh_storm(number: int) -> list[Delivery]:
    """The same disorder with people of its own."""
    return [
        Delivery(message.person + 10_000_000 * number, message.genuine)
        for message in deliveries(BATCH)
    ]


def main() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    for row in storm():
        row.tell()
    with gunicorn(ENVIRONMENT, "tests.bench.wsgi:application") as server:
        for row in rate(server, count(1)):
            row.tell()


if __name__ == "__main__":
    main()
