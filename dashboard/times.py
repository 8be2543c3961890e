"""Spans and durations as the dashboard says them, in the clinic's time zone."""

import datetime as dt

from django.utils import timezone

from integrations.times import clock, moment


def span(start: dt.datetime, end: dt.datetime, now: dt.datetime) -> str:
    """ "9:45 am to 11:00 am"; a single moment where both are the same minute."""
    first = moment(start, now)
    if clock(start) == clock(end) and end - start < dt.timedelta(hours=1):
        return first
    same_day = timezone.localtime(start).date() == timezone.localtime(end).date()
    return f"{first} to {clock(end) if same_day else moment(end, now)}"


def duration(length: dt.timedelta) -> str:
    """ "3 h": the biggest unit alone."""
    minutes = max(1, int(length.total_seconds()) // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"
