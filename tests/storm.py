"""A storm of deliveries: many senders at once, duplicates and forgeries among them, and a crash.

Used by the test, which counts, and by `make bench`, which measures as well.
"""

import http.client
import json
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.processes import PATIENCE, WebServer

SECRET = "a secret of the storm"
SENDERS = 16
DUPLICATES, FORGED = 0.2, 0.1
HEADERS = {"Content-Type": "application/json", "x-api-key": SECRET}
# As long as the ones that were seen on average; nobody reads what is in here.
FILLER = {f"field_{number:03}": "x" * 60 for number in range(110)}


@dataclass(frozen=True)
class Delivery:
    """`person` is its effect: a membership of that person."""

    person: int
    genuine: bool

    @property
    def body(self) -> bytes:
        snapshot = {
            **FILLER,
            "id": self.person,
            "last_updated_date_via_api": "2026-11-22T09:00:00Z",
            "passes": [
                {
                    "id": 82_000_000 + self.person,
                    "name": "Monthly",
                    "package_type": "membership",
                    "status": "active",
                    "end_date": "2099-12-31",
                }
            ],
        }
        return json.dumps(snapshot).encode()


@dataclass
class Storm:
    """What the senders saw. `seconds`: from the first delivery to the last answer."""

    answers: Counter[int] = field(default_factory=Counter)
    repeated: int = 0
    seconds: float = 0.0


def deliveries(count: int) -> list[Delivery]:
    """So many in all: 10 % forged, 20 % that only repeat a genuine one, in one fixed disorder."""
    chance = random.Random(2026)
    forged, duplicates = round(count * FORGED), round(count * DUPLICATES)
    genuine = [Delivery(person, True) for person in range(1, count - forged - duplicates + 1)]
    found = [
        *genuine,
        *(chance.choice(genuine) for _ in range(duplicates)),
        # A forged one would have an effect of its own if it got in.
        *(Delivery(1_000_000 + number, False) for number in range(forged)),
    ]
    chance.shuffle(found)
    return found


def send_all(
    server: WebServer,
    path: str,
    messages: list[Delivery],
    half_way: Callable[[], None] = lambda: None,
) -> Storm:
    """All of them from 16 senders, each on one connection; what got no answer is sent again.

    `half_way` runs beside them as soon as half is sent.
    """
    waiting = deque(messages)
    storm, lock = Storm(), threading.Lock()
    half = threading.Event()

    def send() -> None:
        web = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        while True:
            try:
                message = waiting.popleft()
            except IndexError:
                return web.close()
            if len(waiting) <= len(messages) // 2:
                half.set()
            key = SECRET if message.genuine else "forged"
            while True:
                try:
                    web.request("POST", path, message.body, {**HEADERS, "x-api-key": key})
                    answer = web.getresponse()
                    answer.read()
                    status = answer.status
                except (OSError, http.client.HTTPException):
                    web.close()
                    status = 0
                with lock:
                    storm.answers[status] += 1
                if status in {200, 401}:
                    break
                assert status in {0, 503}, f"a sender was answered {status}"
                with lock:
                    storm.repeated += 1

    senders = [threading.Thread(target=send, daemon=True) for _ in range(SENDERS)]
    began = time.perf_counter()
    for sender in senders:
        sender.start()
    half.wait(PATIENCE)
    half_way()
    for sender in senders:
        sender.join(PATIENCE)
        assert not sender.is_alive(), "a sender never got an answer"
    storm.seconds = time.perf_counter() - began
    return storm
