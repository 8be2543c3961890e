"""Moments as people say them, in the clinic's time zone."""

import datetime as dt

from django.utils import timezone


def clock(moment: dt.datetime) -> str:
    """ "9:45 am" in the clinic's zone."""
    local = timezone.localtime(moment)
    return f"{local.hour % 12 or 12}:{local:%M} {'am' if local.hour < 12 else 'pm'}"


def calendar_day(moment: dt.datetime) -> str:
    """ "November 3" in the clinic's zone."""
    local = timezone.localtime(moment)
    return f"{local:%B} {local.day}"


def since_when(moment: dt.datetime, now: dt.datetime) -> str:
    """ "Tuesday at 9:45 am", with the date instead when that is a week or more ago."""
    local = timezone.localtime(moment)
    recent = (timezone.localtime(now).date() - local.date()).days < 7
    return f"{f'{local:%A}' if recent else calendar_day(moment)} at {clock(moment)}"


def ago(moment: dt.datetime, now: dt.datetime) -> str:
    """ "2 minutes ago"; short enough for one line of a card."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
