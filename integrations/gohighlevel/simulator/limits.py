"""Limits as GoHighLevel announces them, and whether a client keeps to what it was told."""

from collections.abc import Callable


class Meter:
    """`most` calls in each `interval` seconds, `daily` in a day that lasts until `new_day`.

    A window begins with its first call. `broken` counts calls that came although the last
    answer had said that none was left, or that none may follow yet.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.most, self.interval, self.daily = 100, 10.0, 200_000
        self.broken = 0
        self.used_today = 0
        self._clock = clock
        self._began = float("-inf")
        self._used = 0
        self._quiet_until = float("-inf")

    def new_day(self) -> None:
        self.used_today = 0

    def forbid(self, seconds: float) -> None:
        """An answer is about to ask for so long a rest."""
        self._quiet_until = self._clock() + seconds

    def call(self) -> bool:
        """Count a call; False if it was one too many."""
        now = self._clock()
        if now < self._quiet_until:
            self.broken += 1
        if now - self._began >= self.interval:
            self._began, self._used = now, 0
        if self._used >= self.most or self.used_today >= self.daily:
            self.broken += 1
            return False
        self._used += 1
        self.used_today += 1
        return True

    def headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Limit-Daily": str(self.daily),
            "X-RateLimit-Limit-Daily-Remaining": str(self.daily - self.used_today),
            "X-RateLimit-Interval-Milliseconds": str(round(1000 * self.interval)),
            "X-RateLimit-Max": str(self.most),
            "X-RateLimit-Remaining": str(self.most - self._used),
        }
