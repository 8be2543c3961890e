"""Quiet hours: when only the first message of something critical goes out."""

import datetime as dt
import re

from django.conf import settings
from django.utils import timezone

_SPAN = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)")


def parse(text: str) -> tuple[dt.time, dt.time] | None:
    """ "22:00-07:00" as two times of day; None of nothing. Raises `ValueError`."""
    if not text:
        return None
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not like 22:00-07:00")
    first, last = (int(found[1]), int(found[2])), (int(found[3]), int(found[4]))
    if max(first[0], last[0]) > 23 or max(first[1], last[1]) > 59:
        raise ValueError(f"{text!r} has a time that no clock shows")
    if first == last:
        raise ValueError(f"{text!r} begins when it ends")
    return dt.time(*first), dt.time(*last)


def over(at: dt.datetime) -> dt.datetime:
    """`at`, or the end of the quiet hours that it falls into, in UTC."""
    span = parse(settings.QUIET_HOURS)
    if span is None:
        return at
    zone = timezone.get_default_timezone()
    today = at.astimezone(zone).date()
    begins, ends = span
    for day in (today - dt.timedelta(days=1), today):
        first = _moment(day, begins, zone)
        last = _moment(day if begins < ends else day + dt.timedelta(days=1), ends, zone)
        if first <= at < last:
            return last
    return at


def _moment(day: dt.date, wall: dt.time, zone: dt.tzinfo) -> dt.datetime:
    return dt.datetime.combine(day, wall, zone).astimezone(dt.UTC)
