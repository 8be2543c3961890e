"""GoHighLevel's side: a location with any number of contacts, made up as they are asked for."""

import datetime as dt
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

from integrations.gohighlevel.simulator.limits import Meter

LOCATION_ID = "hbrPhysioLocation001"
TOKEN = "pit-demo-0123456789"  # noqa: S105
PERSON_FIELD = "fieldJanePerson01"
ENDPOINTS = ("location", "search")
# Statuses by their number, and what no orderly server does.
FAULTS = (
    *("400", "401", "403", "404", "422", "429", "500", "503", "html", "malformed", "empty"),
    *("wrong_id", "stuck", "hang", "drip", "reset", "flood"),
)
BEGINNING = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class World:
    """`size` contacts, by number; changes and deletions lie on top of what is made up.

    Every third number has the Jane person's id in a custom field, the others are known by
    e-mail alone. Names, addresses, birth dates and numbers carry the word "Marker": whoever
    keeps one of them is found out. `clock` is in seconds.
    """

    def __init__(self, size: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = size
        self.location_id, self.token, self.name = LOCATION_ID, TOKEN, "Harbour Physio"
        self.lock = threading.RLock()
        self.meter = Meter(clock)
        self.retry_after: float | None = None  # seconds, told with a 429
        self.bulk = 0  # characters that make each contact larger
        self.total: int | None = None  # told instead of the truth
        self.tells_total = True
        self.calls: Counter[str] = Counter()
        self.released = threading.Event()
        self._changes: dict[int, dict[str, Any]] = {}
        self._deleted: set[int] = set()
        self._standing: dict[str, str] = {}
        self._next: dict[str, deque[str]] = {endpoint: deque() for endpoint in ENDPOINTS}
        self._at: dict[tuple[str, int], str] = {}

    # ── contacts ────────────────────────────────────────────────────────────
    def contact_id(self, number: int) -> str:
        return f"ghlContact{number:010}"

    def contact(self, number: int) -> dict[str, Any]:
        """A contact as the search gives it."""
        fields = [{"id": "fieldAllergies001", "value": "Marker peanuts"}]
        if number % 3 == 0:
            fields.append({"id": PERSON_FIELD, "value": self.person_id(number)})
        at = BEGINNING + dt.timedelta(seconds=number)
        made_up = {
            "id": self.contact_id(number),
            "locationId": self.location_id,
            "firstName": "Marker",
            "lastName": f"Marker-{number}",
            "email": self.email(number),
            "phone": f"+1555Marker{number}",
            "dateOfBirth": "1970-01-01T00:00:00Marker",
            "ssn": f"Marker-{number:09}",
            "tags": ["marker vip"],
            "customFields": fields,
            "dateAdded": _iso(at),
            "dateUpdated": _iso(at),
            "searchAfter": [1000 * number, self.contact_id(number)],
        }
        if self.bulk:
            made_up["notes"] = "Marker" + "x" * self.bulk
        return made_up | self._changes.get(number, {})

    def email(self, number: int) -> str:
        return f"Marker.{number}@patients.example.com"

    def person_id(self, number: int) -> str:
        return str(82_000_000 + number)

    def add(self, **values: Any) -> int:
        """One more contact; its number."""
        with self.lock:
            self._changes[self.size] = values
            self.size += 1
            return self.size - 1

    def change(self, number: int, at: dt.datetime | None = None, **values: Any) -> None:
        with self.lock:
            when = {"dateUpdated": _iso(at)} if at else {}
            self._changes[number] = self._changes.get(number, {}) | values | when

    def delete(self, number: int) -> None:
        with self.lock:
            self._deleted.add(number)

    def restore(self, number: int) -> None:
        with self.lock:
            self._deleted.discard(number)

    @property
    def existing(self) -> int:
        return self.size - len(self._deleted)

    def page(self, after: Any, limit: int) -> list[dict[str, Any]]:
        start = after[0] // 1000 + 1 if after else 0
        found: list[dict[str, Any]] = []
        for number in self._from(start):
            if len(found) == limit:
                break
            found.append(self.contact(number))
        return found

    def _from(self, start: int) -> Iterator[int]:
        return (number for number in range(start, self.size) if number not in self._deleted)

    # ── faults ──────────────────────────────────────────────────────────────
    def set_fault(self, endpoint: str, fault: str | None) -> None:
        """Stays until it is cleared with None."""
        _known(endpoint, fault)
        with self.lock:
            self._standing.pop(endpoint, None)
            if fault:
                self._standing[endpoint] = fault

    def fail_next(self, endpoint: str, *faults: str) -> None:
        """For the next requests only, one each; they are taken before the standing fault."""
        for fault in faults:
            _known(endpoint, fault)
        with self.lock:
            self._next[endpoint].extend(faults)

    def fail_at(self, endpoint: str, call: int, fault: str) -> None:
        """For one call alone, counted from 1."""
        _known(endpoint, fault)
        with self.lock:
            self._at[endpoint, call] = fault

    def take_fault(self, endpoint: str) -> str | None:
        """What the call that was counted last is to suffer."""
        with self.lock:
            fault = self._at.pop((endpoint, self.calls[endpoint]), None)
            if fault:
                return fault
            queue = self._next[endpoint]
            return queue.popleft() if queue else self._standing.get(endpoint)

    def clear_faults(self) -> None:
        """Everything works again; whatever hangs is let go."""
        with self.lock:
            self._standing.clear()
            self._at.clear()
            for queue in self._next.values():
                queue.clear()
            self.released.set()
            self.released = threading.Event()


def _iso(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _known(endpoint: str, fault: str | None) -> None:
    if endpoint not in ENDPOINTS or (fault is not None and fault not in FAULTS):
        raise ValueError(f"No fault {fault!r} at {endpoint!r}.")
