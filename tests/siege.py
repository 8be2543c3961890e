"""Alerts under siege: two senders that are killed again and again, and a mail server that refuses,
hangs and hangs up. Counts what was lost and what came twice.

Used by the test, which counts a few, and by `make bench`, which counts more.
"""

import datetime as dt
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

from django.utils import timezone

from integrations.levels import Level
from integrations.models import Alert, Incident
from integrations.sql import database_now
from tests.alerts import add_recipient
from tests.mail import MailServer, weather
from tests.processes import PATIENCE, Child, Driver, wait_for

SENDERS = 2
RECIPIENTS = 5
# Seconds that a sender gives the mail server; the product gives it 20.
DEADLINE = 0.5
# Of the connections, how many meet a fault; of the alerts, about how many come to each kill.
BAD, A_KILL = 0.2, 12
State, Kind = Alert.State, Alert.Kind


@dataclass(frozen=True, kw_only=True)
class Figures:
    """`lost`: never arrived. `repeated`: arrived again. `unacknowledged`: deliveries whose
    acknowledgement did not reach the sender; `in_doubt`: messages in hand as a sender was killed,
    which could not write the acknowledgement down. `unexcused`: arrived again though neither was
    so. `disordered`: recoveries that arrived before what they are a recovery of.
    """

    alerts: int
    messages: int
    kills: int
    lost: int
    repeated: int
    unacknowledged: int
    in_doubt: int
    unexcused: int
    disordered: int

    def __str__(self) -> str:
        return (
            f"{self.alerts} alerts in {self.messages} messages, {self.kills} kills: "
            f"{self.lost} lost, {self.repeated} repeated ({self.unacknowledged} were not "
            f"acknowledged, {self.in_doubt} in the hands of the killed, "
            f"{self.unexcused} repeated without such an excuse), "
            f"{self.disordered} out of order"
        )


def besiege(driver: Driver, server: MailServer, alerts: int, seed: int) -> Figures:
    """Queue so many alerts and let them be sent until none is left."""
    chance = random.Random(seed)
    _queue(alerts)
    server.weather = weather(chance, BAD)
    events = _Events(server)
    in_doubt: set[tuple[str, str]] = set()
    kills, senders = 0, [_start(driver, server) for _ in range(SENDERS)]
    deadline = time.monotonic() + 10 * PATIENCE
    while Alert.objects.filter(state=State.QUEUED).exists():
        assert time.monotonic() < deadline, "the alerts never came to an end"
        if all(sender.has("ended") for sender in senders):
            # Nobody is left who could hold a claim: ten minutes pass.
            held = Alert.objects.filter(state=State.QUEUED).exclude(claimed_by="")
            held.update(claimed_until=database_now() - dt.timedelta(seconds=1))
        for slot, sender in enumerate(senders):
            if sender.has("ended"):
                senders[slot] = _start(driver, server)
        if kills >= alerts // A_KILL:
            for sender in senders:
                sender.wait("ended")
            continue
        if not events.wait(chance.randint(1, 5 * A_KILL)):
            continue
        time.sleep(chance.random() * 0.02)  # any moment, not only those that the server sees
        if senders[chance.randrange(SENDERS)].kill():
            kills += 1
            held = Alert.objects.filter(state=State.QUEUED).exclude(claimed_by="")
            in_doubt |= set(held.values_list("message_id", "claimed_by"))
        if kills % 4 == 3:
            _refuse_for_a_while(server)
    return _figures(server, alerts, kills, in_doubt)


def _queue(alerts: int) -> None:
    """Opened and recovered ones in equal numbers; a few fail alike and make digests."""
    now = timezone.now()
    people = [add_recipient(f"person{number}@clinic.example") for number in range(RECIPIENTS)]
    found = Incident.objects.bulk_create(
        Incident(
            integration="quickbooks",
            account=str(number),
            name=f"Clinic {number}",
            cause="reconnect_required" if number % 2 == 0 else f"cause_{number}",
            level=Level.CRITICAL.value,
            who_acts="clinic",
            started_at=now - dt.timedelta(hours=2),
            confirmed_at=now - dt.timedelta(hours=2),
            ended_at=now - dt.timedelta(hours=1),
            closed_at=now - dt.timedelta(hours=1),
        )
        for number in range(alerts // (2 * RECIPIENTS))
    )
    Alert.objects.bulk_create(
        Alert(
            recipient=person,
            incident=incident,
            kind=kind,
            key=f"incident:{incident.pk}:{kind}",
            queued_at=now,
            due_at=now,
        )
        for kind in (Kind.OPENED, Kind.RECOVERED)
        for incident in found
        for person in people
    )


def _start(driver: Driver, server: MailServer) -> Child:
    return driver.start("alerts", port=server.port, seconds=DEADLINE)


class _Events:
    """What happens at the server, counted."""

    def __init__(self, server: MailServer) -> None:
        self._seen = 0
        self._news = threading.Condition()
        server.on_event = self._happened

    def _happened(self) -> None:
        with self._news:
            self._seen += 1
            self._news.notify_all()

    def wait(self, more: int) -> bool:
        """Until so many more have happened; False if nothing happens any more."""
        with self._news:
            wanted = self._seen + more
            return self._news.wait_for(lambda: self._seen >= wanted, 2.0)


def _refuse_for_a_while(server: MailServer) -> None:
    refused = Alert.objects.filter(error__contains="refused the connection", state=State.QUEUED)
    tried = {alert.pk: alert.attempts for alert in refused}
    server.refuse()
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        if any(tried.get(alert.pk) != alert.attempts for alert in refused.all()):
            break
        time.sleep(0.005)
    server.listen()


def _figures(
    server: MailServer, alerts: int, kills: int, in_doubt: set[tuple[str, str]]
) -> Figures:
    # The last goodbyes are still being said.
    wait_for(lambda: server.idle, "the mail server")
    arrived = Counter(delivery.id for delivery in server.deliveries)
    unacknowledged = Counter(d.id for d in server.deliveries if not d.acknowledged)
    excuses = unacknowledged + Counter(name for name, _ in in_doubt)
    first = {delivery.id: place for place, delivery in reversed(list(enumerate(server.deliveries)))}
    rows = list(Alert.objects.all())
    opened = {
        (row.incident_id, row.recipient_id): row.message_id
        for row in rows
        if row.kind == Kind.OPENED
    }
    return Figures(
        alerts=alerts,
        messages=len({row.message_id for row in rows}),
        kills=kills,
        lost=sum(row.message_id not in arrived for row in rows),
        repeated=sum(arrived.values()) - len(arrived),
        unacknowledged=unacknowledged.total(),
        in_doubt=len(in_doubt),
        unexcused=sum(max(0, times - 1 - excuses[name]) for name, times in arrived.items()),
        disordered=sum(
            first[row.message_id] < first[opened[row.incident_id, row.recipient_id]]
            for row in rows
            if row.kind == Kind.RECOVERED and row.message_id in first
        ),
    )
