"""What GoHighLevel tells about its limits in the headers of every answer.

100 calls in 10 s and 200,000 a day for each location.
https://marketplace.gohighlevel.com/docs/oauth/Faqs : rate limits.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

# The documented window, for an answer that does not tell.
INTERVAL_SECONDS = 10.0
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """None where the answer did not tell. `retry_after` and `interval` in seconds."""

    daily_left: int | None = None
    left: int | None = None
    interval: float = INTERVAL_SECONDS
    retry_after: float | None = None

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> "Limits":
        milliseconds = _number(headers.get("X-RateLimit-Interval-Milliseconds"))
        return cls(
            daily_left=_number(headers.get("X-RateLimit-Limit-Daily-Remaining")),
            left=_number(headers.get("X-RateLimit-Remaining")),
            interval=INTERVAL_SECONDS
            if milliseconds is None
            else min(milliseconds / 1000, DAY_SECONDS),
            retry_after=_number(headers.get("Retry-After")),
        )

    @property
    def used_up(self) -> bool:
        """Nothing is left for today."""
        return self.daily_left == 0

    @property
    def rest(self) -> float:
        """Seconds in which no call may follow; the day's allowance is another matter."""
        asked = min(self.retry_after or 0.0, DAY_SECONDS)
        return max(asked, self.interval if self.left == 0 else 0.0)


def over_for_today(calls_left: int | None, told_at: dt.datetime | None, now: dt.datetime) -> bool:
    """The day's allowance was used up, and it is still that day.

    Where their day ends is not documented; UTC is what their other clocks use.
    """
    return calls_left == 0 and told_today(told_at, now)


def told_today(told_at: dt.datetime | None, now: dt.datetime) -> bool:
    """What was told of the day's allowance still holds."""
    return told_at is not None and _utc_day(told_at) == _utc_day(now)


def _utc_day(at: dt.datetime) -> dt.date:
    return at.astimezone(dt.UTC).date()


def _number(text: str | None) -> int | None:
    # A count that no column could hold is not a count.
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
