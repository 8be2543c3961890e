"""What a silence means: quiet is only news when the clinic is open. Pure.

An alarm is raised when the clinic has been open for `LATE_AFTER` since the last delivery, and
for `GRACE` since the day's first opening, whichever comes last; `STALE_AFTER` likewise. While
the clinic is closed there is none. Midnight is no opening for one that is open all night.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from integrations.hours import Hours

LATE_AFTER = dt.timedelta(minutes=90)
STALE_AFTER = dt.timedelta(minutes=240)
GRACE = dt.timedelta(minutes=60)
# An older silence is as bad as one this old; adding its days up would only take time.
LOOK_BACK = dt.timedelta(days=31)


class State(StrEnum):
    """The contract's words."""

    ARRIVING = "arriving"
    QUIET_CLOSED = "quiet_closed"
    LATE = "late"
    STALE = "stale"


@dataclass(frozen=True, kw_only=True)
class Silence:
    """`open_time`: how long the clinic was open since the last delivery.

    `alarm_at`: when the present alarm was raised. `just_opened`: quiet because the day has only
    begun. `looked_at`: when a silence that is excused now is judged again.
    """

    state: State
    open_time: dt.timedelta
    alarm_at: dt.datetime | None = None
    just_opened: bool = False
    looked_at: dt.datetime | None = None


def judge_silence(last_at: dt.datetime, now: dt.datetime, hours: Hours) -> Silence:
    """Judge that nothing came between `last_at` and `now`."""
    since = max(last_at, now - LOOK_BACK)
    open_time = hours.open_between(since, now)
    if not hours.is_open(now):
        quiet = now - last_at >= LATE_AFTER
        return Silence(
            state=State.QUIET_CLOSED if quiet else State.ARRIVING,
            open_time=open_time,
            looked_at=_judged_next(now, hours) if quiet else None,
        )
    opened = _first_opening(now, hours)
    if opened and now < opened + GRACE:
        quiet = last_at < opened and now - last_at >= LATE_AFTER
        return Silence(
            state=State.QUIET_CLOSED if quiet else State.ARRIVING,
            open_time=open_time,
            just_opened=quiet,
            looked_at=opened + GRACE if quiet else None,
        )
    if open_time < LATE_AFTER:
        return Silence(state=State.ARRIVING, open_time=open_time)
    late_at = reached(since, LATE_AFTER, now, hours) or now
    return Silence(
        state=State.STALE if open_time >= STALE_AFTER else State.LATE,
        open_time=open_time,
        alarm_at=max(late_at, opened + GRACE) if opened else late_at,
    )


def reached(
    since: dt.datetime, length: dt.timedelta, until: dt.datetime, hours: Hours
) -> dt.datetime | None:
    """When the clinic had been open for so long since then; None if not before `until`."""
    for opens, closes in _spells(since, until, hours):
        begins = max(opens, since)
        lasts = max(closes - begins, dt.timedelta())
        if lasts >= length:
            return begins + length if begins + length <= until else None
        length -= lasts
    return None


def alarms(
    last_at: dt.datetime, until: dt.datetime, hours: Hours
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    """The spells of alarm while nothing came between the two."""
    since = max(last_at, until - LOOK_BACK)
    late_at = reached(since, LATE_AFTER, until, hours)
    if late_at is None:
        return
    for opens, closes in _spells(late_at, until, hours):
        opened = _first_opening(opens, hours)
        begins = max(opens, late_at, opened + GRACE) if opened else max(opens, late_at)
        ends = min(closes, until)
        if begins < ends:
            yield begins, ends


def _judged_next(now: dt.datetime, hours: Hours) -> dt.datetime | None:
    """When the clinic is open again and its first hour is over; None: not in two months."""
    opens = hours.opens_next(now)
    opened = _first_opening(opens, hours) if opens else None
    return max(opens, opened + GRACE) if opens and opened else opens


def _first_opening(at: dt.datetime, hours: Hours) -> dt.datetime | None:
    """Of the day of `at`; None where that day only went on with the night before."""
    opened = hours.opened_at(at)
    if opened is None or hours.is_open(opened - dt.timedelta.resolution):
        return None
    return opened


def _spells(
    since: dt.datetime, until: dt.datetime, hours: Hours
) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    day, last = (at.astimezone(hours.zone).date() for at in (since, until))
    while day <= last:
        yield from hours.spells(day)
        day += dt.timedelta(days=1)
