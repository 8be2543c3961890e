"""The span of time that a history in the admin shows.

A range filter of our own: Django's `date_hierarchy` truncates the date of every row, which
costs seconds on a big table.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import cached_property

from integrations.read_only import ReadOnlyList, kept_parameters

MOST_DAYS = 7  # what is added up; a longer span is listed only

QUICK = {"": "Last 24 hours", "7d": "Last 7 days", "all": "All time"}


def _day_field(name: str) -> forms.DateField:
    # Far from the ends of the calendar, where arithmetic with dates overflows.
    bounds = (MinValueValidator(dt.date(2000, 1, 1)), MaxValueValidator(dt.date(2999, 12, 31)))
    widget = forms.DateInput(attrs={"type": "date"})
    return forms.DateField(label=name, required=False, widget=widget, validators=bounds)


class DaysForm(forms.Form):
    """Two days of the clinic's calendar, both included; either may be left open."""

    first = _day_field("From")
    last = _day_field("To")

    def clean(self) -> dict[str, Any]:
        days = super().clean() or {}
        first, last = days.get("first"), days.get("last")
        if first and last and first > last:
            raise forms.ValidationError("The first day is after the last.")
        return days


class SpanFilter(admin.ListFilter):
    """`?span=7d`, `?span=all`, or `?first=2026-11-01&last=2026-11-07`; otherwise 24 hours.

    `field` is the column of the time.
    """

    title = "time"
    template = "admin/span_filter.html"
    field = "checked_at"

    def __init__(
        self, request: HttpRequest, params: dict[str, list[str]], model: Any, model_admin: Any
    ) -> None:
        super().__init__(request, params, model, model_admin)
        given = {name: params.pop(name)[-1] for name in self.parameters() if name in params}
        # An id is looked for in all time: who has one does not know the day.
        self.searching = bool(request.GET.get(SEARCH_VAR, "").strip())
        self.now = timezone.now()
        self.quick = given.get("span", "")
        self.form = DaysForm(given if "first" in given or "last" in given else None)
        self.kept: tuple[tuple[str, str], ...] = ()
        self.since, self.until = self._bounds()

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        return ("span", "first", "last")

    def expected_parameters(self) -> list[str | None]:
        return list(self.parameters())

    def has_output(self) -> bool:
        return True

    def _bounds(self) -> tuple[dt.datetime | None, dt.datetime | None]:
        if self.searching:
            return None, None
        if self._days_given:
            first, last = self.form.cleaned_data["first"], self.form.cleaned_data["last"]
            after = last + dt.timedelta(days=1) if last else None
            return _midnight(first), _midnight(after)
        if self.quick == "all":
            return None, None
        days = MOST_DAYS if self.quick == "7d" else 1
        return self.now - dt.timedelta(days=days), None

    @property
    def _days_given(self) -> bool:
        return self.form.is_valid() and any(self.form.cleaned_data.values())

    @property
    def problem(self) -> str:
        """What is wrong with the days that were asked for; empty if nothing."""
        return " ".join(str(text) for texts in self.form.errors.values() for text in texts)

    @property
    def short(self) -> bool:
        """The span is short enough to be added up."""
        if self.since is None:
            return False
        # The hour more: a week in which the clocks go back is a week.
        return (self.until or self.now) - self.since <= dt.timedelta(days=MOST_DAYS, hours=1)

    @property
    def name(self) -> str:
        """The span in words."""
        if self.searching:
            return "All time"
        if not self._days_given:
            return QUICK.get(self.quick, QUICK[""])
        days = self.form.cleaned_data
        first, last = (days[end] and date_format(days[end]) for end in ("first", "last"))
        return first if first == last else f"{first or 'The beginning'} to {last or 'now'}"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.since is not None:
            queryset = queryset.filter(**{f"{self.field}__gte": self.since})
        if self.until is not None:
            queryset = queryset.filter(**{f"{self.field}__lt": self.until})
        return queryset

    def choices(self, changelist: ChangeList) -> Iterator[dict[str, Any]]:
        self.kept = kept_parameters(changelist, (*self.parameters(), SEARCH_VAR))
        for value, display in QUICK.items():
            yield {
                "selected": self.name == display and not self.searching,
                "query_string": changelist.get_query_string(
                    {"span": value or None}, remove=["first", "last", SEARCH_VAR]
                ),
                "display": display,
            }


class SpanList(ReadOnlyList):
    """A list over a span of time; what it adds up to stands above it if the span is short.

    For `admin/figures_list.html`.
    """

    @property
    def span(self) -> SpanFilter:
        return next(spec for spec in self.filter_specs if isinstance(spec, SpanFilter))

    @property
    def figures_title(self) -> str:
        return self.span.name

    @property
    def figures_problem(self) -> str:
        if self.span.problem:
            return f"{self.span.problem} So these are not the days you asked for."
        return "" if self.span.short else f"Choose at most {MOST_DAYS} days to see the sums."

    @cached_property
    def figures(self) -> list[tuple[str, str]]:
        return self.sums() if self.span.short else []

    def sums(self) -> list[tuple[str, str]]:
        """Labels and figures, asked for at most once and only for a short span."""
        raise NotImplementedError


def _midnight(day: dt.date | None) -> dt.datetime | None:
    return timezone.make_aware(dt.datetime.combine(day, dt.time())) if day else None
