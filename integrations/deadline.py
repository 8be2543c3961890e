"""A point in time after which an exchange with another machine is given up, and its clock."""

import socket
import threading
import time

# Counts the time in which the machine was suspended, where the platform can tell.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> float:
    """Seconds on a clock that never jumps back and does not stop during a suspension."""
    return time.clock_gettime(_CLOCK)


class Deadline:
    """A point in time after which an exchange is given up, on the boot clock.

    It starts when it is made. One deadline serves one exchange. `sent`: a first byte may have
    left, at `sent_at` on the boot clock; `kept`: on a connection that had served an earlier one.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = boot_clock() + seconds
        self._lock = threading.Lock()
        self._wire: socket.socket | None = None
        self.expired = False
        self.sent = False
        self.sent_at = 0.0
        self.kept = False

    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._ends_at - boot_clock())

    def watch(self, wire: socket.socket | None) -> None:
        """Shut this one down at the end, instead of what was watched before; None: nothing."""
        with self._lock:
            self._wire = wire
            if self.expired:
                _shut_down(wire)

    def expire(self) -> None:
        """The end, whatever the clock says: for a timer."""
        with self._lock:
            self.expired = True
            _shut_down(self._wire)


def _shut_down(wire: socket.socket | None) -> None:
    if wire is not None:
        try:
            wire.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected yet, or closed by the other side: nothing is left to stop
