"""When the clinic is open: what may be written, and what the clocks do twice a year."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from pytest_django import Settings

from integrations.hours import Hours, opening_hours, parse_date, parse_week

VANCOUVER = ZoneInfo("America/Vancouver")
HOUR = dt.timedelta(hours=1)


def hours(week: str, *closed: str) -> Hours:
    return Hours(week=parse_week(week), closed=frozenset(map(parse_date, closed)), zone=VANCOUVER)


def local(*when: int) -> dt.datetime:
    return dt.datetime(*when, tzinfo=VANCOUVER)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'' is not like Mon-Fri 08:00-18:00"),
        ("weekdays", "'weekdays' is not like Mon-Fri 08:00-18:00"),
        ("Mon-Fri 8-18", "'mon-fri 8-18' is not like Mon-Fri 08:00-18:00"),
        ("Mon-Fri 08:00-18:00,", "'' is not like Mon-Fri 08:00-18:00"),
        ("Mon 18:00-08:00", "'mon 18:00-08:00' closes before it opens"),
        ("Mon 08:00-08:00", "'mon 08:00-08:00' closes before it opens"),
        ("Mon 08:00-25:00", "'25:00' is not a time of day"),
        ("Mon 08:60-09:00", "'08:60' is not a time of day"),
        ("Mon 08:00-24:01", "'24:01' is not a time of day"),
        ("Mon-Fry 08:00-18:00", "'fry' is not a day of the week such as Mon"),
        ("Mon 08:00-12:00, Mon 11:00-18:00", "two times of the same day overlap"),
    ],
)
def test_a_week_that_cannot_be_meant_is_refused_in_plain_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_week(text)
    assert str(refusal.value) == complaint


@pytest.mark.parametrize("text", ["", "tomorrow", "25.12.2026", "2026-02-30"])
def test_a_date_that_cannot_be_meant_is_refused_in_plain_words(text: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_date(text)
    assert str(refusal.value) == f"{text!r} is not a date such as 2026-12-25"


def test_days_can_be_single_a_range_or_a_range_over_the_weekend() -> None:
    day, short = ((480, 1080),), ((540, 780),)
    assert parse_week("Mon-Fri 08:00-18:00") == (*[day] * 5, (), ())
    assert parse_week("mon-fri 8:00-18:00,  SAT 09:00-13:00") == (*[day] * 5, short, ())
    assert parse_week("Sat-Mon 08:00-18:00") == (day, (), (), (), (), day, day)
    assert parse_week("Sun 00:00-24:00")[6] == ((0, 1440),)


def test_the_settings_give_the_hours(settings: Settings) -> None:
    settings.CLINIC_HOURS, settings.CLINIC_CLOSED_DAYS = "Sat 09:00-13:00", ["2026-11-21"]
    settings.TIME_ZONE = "America/Vancouver"
    found = opening_hours()
    assert found.zone == timezone.get_default_timezone()
    assert not found.is_open(local(2026, 11, 21, 10))
    assert found.is_open(local(2026, 11, 28, 10))
    assert found.ever_open


def test_a_clinic_is_open_from_the_first_moment_and_not_at_the_last() -> None:
    clinic = hours("Mon-Fri 08:00-18:00")
    moments = [(7, 59), (8, 0), (17, 59), (18, 0)]
    assert [clinic.is_open(local(2026, 11, 20, *at)) for at in moments] == [
        *(False, True),
        *(True, False),
    ]
    assert not clinic.is_open(local(2026, 11, 21, 12))  # a Saturday


def test_the_time_zone_of_the_question_does_not_matter() -> None:
    clinic = hours("Mon-Fri 08:00-18:00")
    assert clinic.is_open(dt.datetime(2026, 11, 20, 16, tzinfo=dt.UTC))
    assert not clinic.is_open(dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC))


def test_a_closed_day_has_no_opening() -> None:
    clinic = hours("Mon-Fri 08:00-18:00", "2026-12-25")
    assert clinic.spells(dt.date(2026, 12, 25)) == []
    assert clinic.opened_at(local(2026, 12, 25, 12)) is None
    assert clinic.opens_next(local(2026, 12, 24, 20)) == local(2026, 12, 28, 8)
    assert clinic.open_between(local(2026, 12, 24, 0), local(2026, 12, 28, 0)) == 10 * HOUR


def test_lunch_is_not_opening_time() -> None:
    clinic = hours("Mon-Fri 08:00-12:00, Mon-Fri 13:00-18:00")
    assert not clinic.is_open(local(2026, 11, 20, 12, 30))
    assert clinic.opens_next(local(2026, 11, 20, 12, 30)) == local(2026, 11, 20, 13)
    assert clinic.open_between(local(2026, 11, 20, 11), local(2026, 11, 20, 14)) == 2 * HOUR
    # The day began in the morning, also after lunch.
    assert clinic.opened_at(local(2026, 11, 20, 15)) == local(2026, 11, 20, 8)


def test_the_day_has_not_begun_before_the_first_opening() -> None:
    clinic = hours("Mon-Fri 08:00-18:00")
    assert clinic.opened_at(local(2026, 11, 20, 7, 59)) is None
    assert clinic.opened_at(local(2026, 11, 20, 8)) == local(2026, 11, 20, 8)
    assert clinic.opened_at(local(2026, 11, 20, 23)) == local(2026, 11, 20, 8)


@pytest.mark.parametrize(
    ("day", "expected"),
    # In 2026 the clocks go forward on March 8 and back on November 1, at two in the morning.
    [((2026, 3, 8), 23), ((2026, 11, 1), 25), ((2026, 3, 15), 24)],
)
def test_a_day_on_which_the_clocks_change_has_the_hours_that_it_has(
    day: tuple[int, int, int], expected: int
) -> None:
    clinic = hours("Sun 00:00-24:00")
    begins = local(*day)
    assert clinic.open_between(begins, begins + dt.timedelta(days=1)) == expected * HOUR


def test_opening_stays_at_eight_by_the_wall_when_the_clocks_change() -> None:
    clinic = hours("Mon-Sun 08:00-18:00")
    opened: list[Any] = [clinic.spells(dt.date(2026, 3, day))[0][0] for day in (7, 8)]
    assert opened[1] - opened[0] == 23 * HOUR
    assert [at.astimezone(VANCOUVER).hour for at in opened] == [8, 8]
    assert clinic.open_between(local(2026, 10, 31, 0), local(2026, 11, 2, 0)) == 20 * HOUR


def test_a_span_that_runs_backwards_has_no_opening_time() -> None:
    clinic = hours("Mon-Fri 08:00-18:00")
    assert not clinic.open_between(local(2026, 11, 20, 15), local(2026, 11, 20, 9))


def test_a_clinic_that_stays_closed_for_months_has_no_next_opening() -> None:
    days = (dt.date(2026, 11, 20) + dt.timedelta(days=number) for number in range(90))
    clinic = hours("Mon-Fri 08:00-18:00", *(day.isoformat() for day in days))
    assert clinic.opens_next(local(2026, 11, 20, 9)) is None
