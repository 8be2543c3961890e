"""Quiet is only news when the clinic is open: the rules one by one, and a whole year of them."""

import datetime as dt
import random
from zoneinfo import ZoneInfo

import pytest

from integrations.hours import Hours, parse_date, parse_week
from integrations.jane.silence import Silence, State, alarms, judge_silence

ZONE = ZoneInfo("America/Vancouver")
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
STEP = 5 * MINUTE
ALARMS = {State.LATE, State.STALE}

WEEK = "Mon-Fri 08:00-12:00, Mon-Fri 13:00-18:00, Sat 09:00-13:00"
CLOSED = frozenset(map(parse_date, ("2026-12-25", "2026-07-01")))
CLINIC = Hours(week=parse_week(WEEK), closed=CLOSED, zone=ZONE)
# Open in the nights in which the clocks change.
ALWAYS = Hours(week=parse_week("Mon-Sun 00:00-24:00"), closed=frozenset(), zone=ZONE)
STRAIGHT = Hours(week=parse_week("Mon-Fri 08:00-18:00"), closed=frozenset(), zone=ZONE)


def local(day: int, hour: int = 0, minute: int = 0, month: int = 11) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, minute, tzinfo=ZONE)


def judged(last_at: dt.datetime, now: dt.datetime, hours: Hours = STRAIGHT) -> Silence:
    return judge_silence(last_at, now, hours)


@pytest.mark.parametrize(
    ("quiet_for", "state"),
    [
        (dt.timedelta(), State.ARRIVING),
        (90 * MINUTE - dt.timedelta(seconds=1), State.ARRIVING),
        (90 * MINUTE, State.LATE),
        (240 * MINUTE - dt.timedelta(seconds=1), State.LATE),
        (240 * MINUTE, State.STALE),
    ],
)
def test_an_alarm_is_raised_exactly_in_time(quiet_for: dt.timedelta, state: State) -> None:
    last_at = local(20, 10)  # a Friday
    found = judged(last_at, last_at + quiet_for)
    assert (found.state, found.open_time) == (state, quiet_for)
    assert found.alarm_at == (last_at + 90 * MINUTE if state in ALARMS else None)


@pytest.mark.parametrize(
    ("now", "state", "just_opened"),
    [
        (local(20, 17, 59), State.LATE, False),
        (local(20, 18), State.QUIET_CLOSED, False),
        (local(22, 12), State.QUIET_CLOSED, False),
        (local(23, 7, 59), State.QUIET_CLOSED, False),
        (local(23, 8), State.QUIET_CLOSED, True),
        (local(23, 8, 59), State.QUIET_CLOSED, True),
        (local(23, 9), State.LATE, False),
        (local(23, 9, 59), State.LATE, False),
        (local(23, 10), State.STALE, False),
    ],
)
def test_an_alarm_sleeps_while_the_clinic_is_closed_and_an_hour_longer(
    now: dt.datetime, state: State, just_opened: bool
) -> None:
    found = judged(local(20, 16), now)
    assert (found.state, found.just_opened) == (state, just_opened)


def test_a_sleeping_alarm_says_when_it_is_looked_at_again() -> None:
    last_at, monday_at_nine = local(20, 16), local(23, 9)
    for now in (local(20, 18), local(22, 12), local(23, 8, 30)):
        assert judged(last_at, now).looked_at == monday_at_nine
    assert judged(last_at, monday_at_nine).alarm_at == monday_at_nine
    # After lunch there is no hour of grace: the day has long begun.
    assert judged(local(20, 9), local(20, 12, 30), CLINIC).looked_at == local(20, 13)
    assert judged(local(20, 9), local(20, 13), CLINIC).state is State.LATE
    assert judged(local(20, 9), local(20, 13), CLINIC).alarm_at == local(20, 10, 30)


def test_a_delivery_at_closing_time_is_no_silence_yet() -> None:
    assert judged(local(20, 17, 30), local(20, 18, 59)).state is State.ARRIVING
    assert judged(local(20, 17, 30), local(20, 19)).state is State.QUIET_CLOSED


def test_a_morning_begins_quiet_and_the_first_delivery_ends_that() -> None:
    assert judged(local(19, 17, 55), local(20, 8, 10)).just_opened
    assert judged(local(20, 8, 5), local(20, 8, 10)).state is State.ARRIVING
    # What came a moment before the opening is as good as after it.
    assert judged(local(20, 7, 59), local(20, 8, 10)).state is State.ARRIVING
    assert judged(local(20, 6, 41), local(20, 8, 10)).state is State.ARRIVING
    assert judged(local(20, 6, 39), local(20, 8, 10)).just_opened
    # Last evening's five minutes and this morning's 85 make the alarm.
    assert judged(local(19, 17, 55), local(20, 9, 24)).state is State.ARRIVING
    assert judged(local(19, 17, 55), local(20, 9, 25)).state is State.LATE


def test_midnight_is_no_opening_for_a_clinic_that_never_closes() -> None:
    assert judged(local(20, 22), local(21, 0, 10), ALWAYS).state is State.LATE
    assert judged(local(20, 22), local(21, 0, 10), ALWAYS).alarm_at == local(20, 23, 30)
    spells = list(alarms(local(20, 22), local(21, 0, 10), ALWAYS))
    assert spells == [(local(20, 23, 30), local(21)), (local(21), local(21, 0, 10))]


def test_a_clock_that_jumped_is_no_silence() -> None:
    assert judged(local(20, 12), local(20, 10)).state is State.ARRIVING


def test_a_silence_of_years_costs_no_more_than_one_of_a_month() -> None:
    month = judged(local(20, 10) - 31 * DAY, local(20, 10))
    assert judged(local(20, 10) - 3650 * DAY, local(20, 10)) == month
    assert month.state is State.STALE


def open_by_the_wall(at: dt.datetime, hours: Hours) -> dt.timedelta | None:
    """Time of day, where the clinic is open then: told from the clock on the wall."""
    wall = at.astimezone(ZONE)
    if wall.date() in hours.closed:
        return None
    minute = wall.hour * 60 + wall.minute
    is_open = any(opens <= minute < closes for opens, closes in hours.week[wall.weekday()])
    return dt.timedelta(minutes=minute) if is_open else None


@pytest.mark.parametrize(
    ("hours", "first", "last"),
    [
        pytest.param(CLINIC, (2026, 1, 1), (2027, 1, 1), id="a year of a clinic"),
        pytest.param(ALWAYS, (2026, 3, 5), (2026, 3, 12), id="open as the clocks go forward"),
        pytest.param(ALWAYS, (2026, 10, 29), (2026, 11, 5), id="open as the clocks go back"),
    ],
)
def test_over_a_year_alarms_come_when_they_must_and_never_else(
    hours: Hours, first: tuple[int, int, int], last: tuple[int, int, int]
) -> None:
    """Against minutes that are counted one by one, with deliveries that come and stay away."""
    chance = random.Random(2026)
    now, end = (dt.datetime(*day, tzinfo=dt.UTC) for day in (first, last))
    last_at, open_time, opened, today, was_open = now, dt.timedelta(), None, None, False
    rate, seen = 0.2, set()
    while now < end:
        if chance.random() < 0.01:  # busy, calm, or silent for a day or two
            rate = chance.choice((0.3, 0.05, 0.02, 0.0))
        day = now.astimezone(ZONE).date()
        if day != today:
            today, opened = day, None
        is_open = open_by_the_wall(now, hours) is not None
        opened = now if is_open and opened is None and not was_open else opened
        was_open = is_open
        if chance.random() < rate:
            last_at, open_time = now, dt.timedelta()
        found = judge_silence(last_at, now, hours)
        assert found.open_time == open_time, now
        seen.add(found.state)
        if not is_open:
            assert found.state not in ALARMS, now
            quiet = now - last_at >= 90 * MINUTE
            assert found.state is (State.QUIET_CLOSED if quiet else State.ARRIVING)
        elif opened and now - opened < HOUR:
            assert found.state not in ALARMS, now
            quiet = last_at < opened and now - last_at >= 90 * MINUTE
            assert found.state is (State.QUIET_CLOSED if quiet else State.ARRIVING)
        elif open_time >= 240 * MINUTE:
            assert found.state is State.STALE, now
        elif open_time >= 90 * MINUTE:
            assert found.state is State.LATE, now
        else:
            assert found.state is State.ARRIVING, now
        open_time += STEP if is_open else dt.timedelta()
        now += STEP
    assert seen == set(State) if hours is CLINIC else seen >= ALARMS


def test_the_alarms_of_a_past_silence_are_those_that_were_judged_then() -> None:
    last_at, until = local(19, 15), local(23, 11)
    moments = [last_at + number * STEP for number in range(int((until - last_at) / STEP))]
    judged_then = [at for at in moments if judged(last_at, at, CLINIC).state in ALARMS]
    spells = list(alarms(last_at, until, CLINIC))
    assert spells[0] == (local(19, 16, 30), local(19, 18))
    assert spells[-1] == (local(23, 9), local(23, 11))
    assert judged_then == [at for at in moments if any(a <= at < b for a, b in spells)]


def test_a_short_silence_leaves_no_alarm_behind() -> None:
    assert list(alarms(local(20, 10), local(20, 11, 29), STRAIGHT)) == []
    assert list(alarms(local(20, 17), local(23, 8, 30), STRAIGHT)) == []
