"""Until when something is to be left alone, as people choose it."""

import datetime as dt
from dataclasses import dataclass
from urllib.parse import urlencode

from django import forms
from django.utils import timezone

from integrations import times
from integrations.addresses import address
from integrations.hours import opening_hours

# A pause that is forgotten is an outage that nobody hears of.
LONGEST_PAUSE = dt.timedelta(days=31)
# For a clinic that has no opening hours to go by, or is open around the clock.
MORNING = dt.time(8)
REASON_AT_MOST = 200


@dataclass(frozen=True, kw_only=True)
class End:
    """One choice: its value in a form, what people read, and the moment."""

    value: str
    label: str
    at: dt.datetime


def ends(now: dt.datetime) -> list[End]:
    """For how long reminders can be put off."""
    opening = next_opening(now)
    day = "Tomorrow" if _days_ahead(opening, now) == 1 else f"{timezone.localtime(opening):%A}"
    later = [
        ("4h", "In 4 hours", dt.timedelta(hours=4)),
        ("3d", "In 3 days", dt.timedelta(days=3)),
        ("7d", "In a week", dt.timedelta(days=7)),
    ]
    found = [
        End(value=value, label=f"{label}, {_at(now + wait, now)}", at=now + wait)
        for value, label, wait in later
    ]
    label = f"{day} at opening, {times.clock(opening)}"
    return [found[0], End(value="opening", label=label, at=opening), *found[1:]]


def next_opening(now: dt.datetime) -> dt.datetime:
    """When the clinic opens next, today not counted."""
    zone = timezone.get_default_timezone()
    tomorrow = now.astimezone(zone).date() + dt.timedelta(days=1)
    midnight = dt.datetime.combine(tomorrow, dt.time(), zone)
    opens = opening_hours().opens_next(midnight - dt.timedelta(microseconds=1))
    if opens is None:
        return dt.datetime.combine(tomorrow, MORNING, zone)
    local = opens.astimezone(zone)
    return opens if local.time() > dt.time() else dt.datetime.combine(local.date(), MORNING, zone)


class SnoozeForm(forms.Form):
    """When to remind of an incident again, and why not before."""

    end = forms.ChoiceField(
        widget=forms.RadioSelect, error_messages={"required": "Choose when to be reminded."}
    )
    reason = forms.CharField(
        max_length=REASON_AT_MOST, error_messages={"required": "Say why, for whoever looks next."}
    )

    def __init__(self, data: object, now: dt.datetime) -> None:
        super().__init__(data)  # type: ignore[arg-type]
        self._ends = {end.value: end for end in ends(now)}
        field = self.fields["end"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(end.value, end.label) for end in self._ends.values()]

    @property
    def until(self) -> dt.datetime:
        return self._ends[self.cleaned_data["end"]].at


class PauseForm(forms.Form):
    """Until when to alert nobody of an account, and why."""

    until = forms.DateTimeField(
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        error_messages={"required": "Say until when.", "invalid": "Choose a day and a time."},
    )
    reason = forms.CharField(
        max_length=REASON_AT_MOST, error_messages={"required": "Say why, for whoever looks next."}
    )

    def __init__(self, data: object, now: dt.datetime) -> None:
        super().__init__(data)  # type: ignore[arg-type]
        self._now = now

    def clean_until(self) -> dt.datetime:
        until: dt.datetime = self.cleaned_data["until"]
        if until <= self._now:
            raise forms.ValidationError("That time has passed.")
        if until > self._now + LONGEST_PAUSE:
            raise forms.ValidationError(f"A pause lasts at most {LONGEST_PAUSE.days} days.")
        return until


def pause_url(slug: str, account: str) -> str:
    """Where an account is paused, and a pause looked at."""
    return address("integrations:pause", slug) + _query(account)


def resume_url(slug: str, account: str) -> str:
    """Where a pause is ended, by POST."""
    return address("integrations:resume", slug) + _query(account)


def _query(account: str) -> str:
    return f"?{urlencode({'account': account})}" if account else ""


def for_input(at: dt.datetime) -> str:
    """A time as an `<input type="datetime-local">` has it, in the clinic's zone."""
    return f"{timezone.localtime(at):%Y-%m-%dT%H:%M}"


def _days_ahead(at: dt.datetime, now: dt.datetime) -> int:
    return (timezone.localdate(at) - timezone.localdate(now)).days


def _at(at: dt.datetime, now: dt.datetime) -> str:
    today = timezone.localdate(at) == timezone.localdate(now)
    return f"{'at' if today else 'on'} {times.moment(at, now)}"
