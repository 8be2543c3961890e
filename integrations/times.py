"""Moments as people say them, in the clinic's time zone."""

import datetime as dt

from django.utils import timezone


def clock(at: dt.datetime) -> str:
    """ "9:45 am" in the clinic's zone."""
    local = timezone.localtime(at)
    return f"{local.hour % 12 or 12}:{local:%M} {'am' if local.hour < 12 else 'pm'}"


def calendar_day(at: dt.datetime) -> str:
    """ "November 3" in the clinic's zone."""
    local = timezone.localtime(at)
    return f"{local:%B} {local.day}"


def since_when(at: dt.datetime, now: dt.datetime) -> str:
    """ "Tuesday at 9:45 am", today's as well; "November 3 at 9:45 am" if that is a week away.

    For a sentence that may be read on another day than it was written.
    """
    local = timezone.localtime(at)
    near = abs((timezone.localdate(now) - local.date()).days) < 7
    return f"{f'{local:%A}' if near else calendar_day(at)} at {clock(at)}"


def moment(at: dt.datetime, now: dt.datetime) -> str:
    """ "9:45 am" today, any other day as `since_when`. For what is read at once."""
    return clock(at) if _same_day(at, now) else since_when(at, now)


def at_moment(at: dt.datetime, now: dt.datetime) -> str:
    """`moment` with the preposition of a sentence: "at 9:45 am", "on Tuesday at 9:45 am"."""
    return f"{'at' if _same_day(at, now) else 'on'} {moment(at, now)}"


def _same_day(at: dt.datetime, now: dt.datetime) -> bool:
    return timezone.localdate(at) == timezone.localdate(now)


def ago(at: dt.datetime, now: dt.datetime) -> str:
    """ "2 minutes ago"; short enough for one line of a card."""
    seconds = max(0, int((now - at).total_seconds()))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def length(span: dt.timedelta) -> str:
    """ "25 min", "3 h 10 min", "2 days 4 h"."""
    minutes = max(1, int(span.total_seconds()) // 60)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [
        (days, f"{days} day{'s' if days > 1 else ''}"),
        (hours, f"{hours} h"),
        (0 if days else rest, f"{rest} min"),
    ]
    return " ".join(words for count, words in parts if count)
