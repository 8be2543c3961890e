"""What happens on the wire: the faults that are to come, and the calls that came."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from quickbooks.simulator.faults import FAULTS, Fault

ENDPOINTS = ("api", "token", "revoke", "discovery")


@dataclass(slots=True)
class Call:
    """One request, on record from its arrival. `status` is None while nothing was answered."""

    endpoint: str
    at: float
    realm_id: str = ""
    grant_type: str = ""
    refresh_fingerprint: str = ""
    dead_token: bool = False
    status: int | None = None
    outcome: str = ""


class Traffic:
    """Faults and calls of one world, under that world's lock."""

    def __init__(self) -> None:
        self.latency = 0.0  # seconds per request, half before the work and half after it
        self._lock = threading.RLock()
        self._standing: dict[str, str] = {}
        self._next: dict[str, deque[str]] = {endpoint: deque() for endpoint in ENDPOINTS}
        self._released = threading.Event()
        self._calls: list[Call] = []
        self._serving: list[tuple[Call, Callable[[], bool]]] = []
        self._peak: dict[str, int] = {}

    # ── faults ──────────────────────────────────────────────────────────────
    def set_fault(self, endpoint: str, fault: str | None) -> None:
        """Stays until it is cleared with None."""
        _known(endpoint, fault)
        with self._lock:
            self._standing.pop(endpoint, None)
            if fault is not None:
                self._standing[endpoint] = fault

    def fail_next(self, endpoint: str, fault: str, times: int = 1) -> None:
        """For the next requests only; they are taken before the standing fault."""
        _known(endpoint, fault)
        with self._lock:
            self._next[endpoint].extend([fault] * times)

    def clear_faults(self) -> None:
        """Everything works again; whatever hangs is let go."""
        with self._lock:
            self._standing.clear()
            for queue in self._next.values():
                queue.clear()
        self.release()

    def take_fault(self, endpoint: str) -> Fault | None:
        """What the request that just arrived is to suffer."""
        with self._lock:
            queue = self._next.get(endpoint)
            name = queue.popleft() if queue else self._standing.get(endpoint)
            return FAULTS[name] if name else None

    def faults(self) -> dict[str, str]:
        """The standing faults, by endpoint."""
        with self._lock:
            return dict(self._standing)

    def queued_faults(self, endpoint: str) -> list[str]:
        """The faults that wait for the next requests."""
        with self._lock:
            return list(self._next[endpoint])

    def release(self) -> None:
        """Wake everything that hangs at this moment; what comes later hangs again."""
        with self._lock:
            self._released.set()
            self._released = threading.Event()

    def released(self) -> threading.Event:
        """The event that ends the wait of whoever asks now."""
        with self._lock:
            return self._released

    # ── calls ───────────────────────────────────────────────────────────────
    def arrive(self, call: Call, gone: Callable[[], bool]) -> None:
        """Put a request on record; `gone` tells later whether its client has hung up."""
        with self._lock:
            self._calls.append(call)
            self._reap()
            self._serving.append((call, gone))
            self._peak[call.endpoint] = max(
                self._peak.get(call.endpoint, 0), self._count(call.endpoint)
            )

    def note(
        self, call: Call, status: int | None, outcome: str, *, dead_token: bool = False
    ) -> None:
        """Fill in how it went."""
        with self._lock:
            call.status, call.outcome = status, outcome
            call.dead_token = call.dead_token or dead_token

    def leave(self, call: Call) -> None:
        """No longer in flight."""
        with self._lock:
            self._serving = [(other, gone) for other, gone in self._serving if other is not call]

    def calls(self, endpoint: str | None = None) -> list[Call]:
        """Copies, in order of arrival."""
        with self._lock:
            return [replace(call) for call in self._calls if endpoint in (None, call.endpoint)]

    def in_flight(self, endpoint: str) -> int:
        """Requests that are being served now."""
        with self._lock:
            self._reap()
            return self._count(endpoint)

    def max_in_flight(self, endpoint: str) -> int:
        """The peak since the start or the last reset."""
        with self._lock:
            return self._peak.get(endpoint, 0)

    def reset_counters(self) -> None:
        """Forget the calls; what is in flight stays in flight."""
        with self._lock:
            self._calls.clear()
            self._reap()
            self._peak = {endpoint: self._count(endpoint) for endpoint in ENDPOINTS}

    def _reap(self) -> None:
        # A client that gave up is not in flight, although the thread that served it may not have
        # noticed yet: without this, its next attempt would look like two calls at once.
        self._serving = [(call, gone) for call, gone in self._serving if not gone()]

    def _count(self, endpoint: str) -> int:
        return sum(call.endpoint == endpoint for call, _ in self._serving)


def _known(endpoint: str, fault: str | None) -> None:
    if endpoint not in ENDPOINTS:
        raise ValueError(f"No endpoint {endpoint!r}: choose one of {', '.join(ENDPOINTS)}.")
    if fault is not None and fault not in FAULTS:
        raise ValueError(f"No fault {fault!r}: choose one of {', '.join(FAULTS)}.")
