"""Single values of a sender that writes the same thing in several ways. Pure; garbage is nothing.

The only settings that count here is the time zone: a membership ends on a day of the clinic's.
"""

import datetime as dt
import math
import re
from typing import Any

from django.utils import timezone

ID_LENGTH = 64
# The farthest that a sender's clock can be ahead because of a wrong zone.
AHEAD = dt.timedelta(days=1)
_EARLIEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_WHOLE = re.compile(r"(\d+)\.0+")
_SECONDS = re.compile(r"\d{9,10}(\.\d+)?")
_MILLISECONDS = re.compile(r"\d{12,13}(\.\d+)?")
# "2026-11-20 10:00:00 UTC" and "2026-11-20 10:00:00 -0800", as Ruby writes times.
_ZONE = re.compile(r"\s+(?:(?P<utc>UTC|GMT|Z)|(?P<offset>[+-]\d\d:?\d\d))$", re.IGNORECASE)
# Forms beside ISO's; of two numbers the month comes first.
_FORMS = (
    *("%Y/%m/%d", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%m-%d-%Y", "%b %d, %Y", "%B %d, %Y"),
    *("%m/%d/%Y %I:%M %p", "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S"),
)
_AMERICAN = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})\b.*")


def text(value: Any, length: int) -> str:
    """A text or a number as text, clipped, and without what no database takes."""
    if isinstance(value, str):
        # Clipped before it is cleaned: it can be very long.
        value = value[: 4 * length]
        printable = "".join(letter if letter.isprintable() else " " for letter in value)
        return " ".join(printable.split())[:length].rstrip()
    return _number(value)[:length]


def identifier(value: Any) -> str:
    """82000020, 82000020.0 and "82000020" are one id. Nothing, 0 and what is too long are none."""
    found = text(value, ID_LENGTH + 1)
    whole = _WHOLE.fullmatch(found)
    found = whole[1] if whole else found
    return "" if found == "0" or len(found) > ID_LENGTH else found


def moment(value: Any, now: dt.datetime) -> dt.datetime | None:
    """A time of the sender's clock; None for what cannot be one.

    Without a zone it is read as UTC: that never runs backwards, which the clinic's own time does
    once a year, and such times are only compared with each other. A clock from the future would
    keep out every later snapshot, so one that is a day ahead is none.
    """
    found = _moment(text(value, 60))
    if found is None:
        return None
    found = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    try:
        found = found.astimezone(dt.UTC)
    except OverflowError:
        return None
    return found if _EARLIEST <= found <= now + AHEAD else None


def day(value: Any) -> dt.date | None:
    """A day of the clinic's calendar, of an ISO date or time, an epoch, or 11/30/2026."""
    written = text(value, 60)
    try:
        if american := _AMERICAN.fullmatch(written):
            month, date, year = map(int, american.groups())
            return dt.date(year, month, date)
        found = _moment(written)
        if found is None:
            return None
        # Without a zone it is the clinic's own wall clock.
        found = timezone.localtime(found) if found.tzinfo else found
    except (ValueError, OverflowError):
        return None
    return found.date() if found.year >= _EPOCH.year else None


def stored_day(value: Any) -> dt.date | None:
    """A date as JSON or a column of SQLite has it."""
    return dt.date.fromisoformat(value) if isinstance(value, str) else value


def _moment(written: str) -> dt.datetime | None:
    if _SECONDS.fullmatch(written):
        return _EPOCH + dt.timedelta(seconds=float(written))
    if _MILLISECONDS.fullmatch(written):
        return _EPOCH + dt.timedelta(milliseconds=float(written))
    zone = _ZONE.search(written)
    if zone:
        written = written[: zone.start()] + (zone["offset"] or "+00:00")
    try:
        return dt.datetime.fromisoformat(written)
    except ValueError:
        return _in_words(written)


def _in_words(written: str) -> dt.datetime | None:
    for form in _FORMS:
        try:
            return dt.datetime.strptime(written, form)
        except ValueError:
            continue
    return None


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return ""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        value = int(value)
    try:
        return str(value) if math.isfinite(value) else ""
    except OverflowError:  # too long for a float, and so for anything here
        return ""
