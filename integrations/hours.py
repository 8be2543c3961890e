"""When the clinic is open, so that silence can be told from closing time.

Opening times are those of a wall clock. Each spell is turned into moments of UTC before anything
is measured, so the days on which the clocks change have the minutes that they really have.
"""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from django.conf import settings
from django.utils import timezone

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# A clinic that opens less often than this has no hours by which silence could be judged.
LOOK_AHEAD_DAYS = 60

_PART = re.compile(
    r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))? "
    r"(?P<opens>\d{1,2}:\d\d)-(?P<closes>\d{1,2}:\d\d)"
)

Spell = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True, kw_only=True)
class Hours:
    """`week`: for each weekday, Monday first, (opens, closes) in minutes after midnight."""

    week: tuple[tuple[tuple[int, int], ...], ...]
    closed: frozenset[dt.date]
    zone: dt.tzinfo

    @property
    def ever_open(self) -> bool:
        return any(self.week)

    def spells(self, day: dt.date) -> list[Spell]:
        """The moments, in UTC, between which the clinic is open on a day of its own calendar."""
        if day in self.closed:
            return []
        return [
            (self._moment(day, opens), self._moment(day, closes))
            for opens, closes in self.week[day.weekday()]
        ]

    def is_open(self, at: dt.datetime) -> bool:
        return any(opens <= at < closes for opens, closes in self.spells(self._day(at)))

    def opened_at(self, at: dt.datetime) -> dt.datetime | None:
        """When the day of `at` began for the clinic; None before that, and on a closed day."""
        spells = self.spells(self._day(at))
        return spells[0][0] if spells and spells[0][0] <= at else None

    def opens_next(self, at: dt.datetime) -> dt.datetime | None:
        """The next opening after `at`; None if there is none in the next two months."""
        for opens, _ in self._from(self._day(at)):
            if opens > at:
                return opens
        return None

    def open_between(self, since: dt.datetime, until: dt.datetime) -> dt.timedelta:
        """How long the clinic was open between two moments."""
        total = dt.timedelta()
        day, last = self._day(since), self._day(until)
        while day <= last:
            for opens, closes in self.spells(day):
                total += max(min(closes, until) - max(opens, since), dt.timedelta())
            day += dt.timedelta(days=1)
        return total

    def _from(self, day: dt.date) -> Iterator[Spell]:
        for ahead in range(LOOK_AHEAD_DAYS):
            yield from self.spells(day + dt.timedelta(days=ahead))

    def _day(self, at: dt.datetime) -> dt.date:
        return at.astimezone(self.zone).date()

    def _moment(self, day: dt.date, minutes: int) -> dt.datetime:
        # 24:00 is the midnight of the next day.
        day += dt.timedelta(days=minutes // 1440)
        wall = dt.time(minutes % 1440 // 60, minutes % 60)
        return dt.datetime.combine(day, wall, self.zone).astimezone(dt.UTC)


def opening_hours() -> Hours:
    """The clinic's, from `CLINIC_HOURS`, `CLINIC_CLOSED_DAYS` and `TIME_ZONE`."""
    return Hours(
        week=parse_week(settings.CLINIC_HOURS),
        closed=frozenset(map(parse_date, settings.CLINIC_CLOSED_DAYS)),
        zone=timezone.get_default_timezone(),
    )


@lru_cache(maxsize=8)
def parse_week(text: str) -> tuple[tuple[tuple[int, int], ...], ...]:
    """ "Mon-Fri 08:00-12:00, Mon-Fri 13:00-18:00, Sat 09:00-13:00". Raises `ValueError`."""
    week: list[list[tuple[int, int]]] = [[] for _ in DAYS]
    for part in text.lower().split(","):
        found = _PART.fullmatch(" ".join(part.split()))
        if found is None:
            raise ValueError(f"{part.strip()!r} is not like Mon-Fri 08:00-18:00")
        opens, closes = _minutes(found["opens"]), _minutes(found["closes"])
        if opens >= closes:
            raise ValueError(f"{part.strip()!r} closes before it opens")
        first = _weekday(found["first"])
        last = _weekday(found["last"] or found["first"])
        # "Sat-Mon" goes over the end of the week.
        for number in range(first, last + (7 if last < first else 0) + 1):
            week[number % 7].append((opens, closes))
    for day in week:
        day.sort()
        if any(closes > opens for (_, closes), (opens, _) in pairwise(day)):
            raise ValueError("two times of the same day overlap")
    return tuple(tuple(day) for day in week)


def parse_date(text: str) -> dt.date:
    """A date such as 2026-12-25. Raises `ValueError`."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date such as 2026-12-25") from None


def _weekday(name: str) -> int:
    if name not in DAYS:
        raise ValueError(f"{name!r} is not a day of the week such as Mon")
    return DAYS.index(name)


def _minutes(text: str) -> int:
    hours, minutes = map(int, text.split(":"))
    if minutes > 59 or hours * 60 + minutes > 1440:
        raise ValueError(f"{text!r} is not a time of day")
    return hours * 60 + minutes
