"""The check history: every probe, and what the selected ones add up to."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.safestring import SafeString

from integrations.levels import Level
from integrations.read_only import (
    NOTHING,
    FixedFilter,
    ReadOnlyList,
    WholeValueAdmin,
    label,
    to_the_second,
    yes_or_no,
)
from integrations.span import SpanFilter
from quickbooks import words
from quickbooks.admin.names import CompanyFilter, company_name, name_companies
from quickbooks.diagnosis import Code
from quickbooks.health import Summary, summarize
from quickbooks.models import ConnectionHealthCheck, Trigger


def result_label(check: ConnectionHealthCheck) -> SafeString:
    """OK or Failed, coloured by how bad the diagnosis is."""
    if check.ok:
        return label(Level.HEALTHY, "OK")
    known = check.diagnosis in set(Code)
    return label(Code(check.diagnosis).level if known else Level.UNKNOWN, "Failed")


class ResultFilter(FixedFilter):
    title = "result"
    parameter_name = "result"
    field = "ok"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("True", "OK"), ("False", "Failed")]


class DiagnosisFilter(FixedFilter):
    title = "diagnosis"
    parameter_name = field = "diagnosis"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(code.value, words.title(code)) for code in Code]


class TriggerFilter(FixedFilter):
    title = "trigger"
    parameter_name = field = "trigger"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return Trigger.choices


@dataclass(frozen=True)
class FailureCount:
    title: str
    count: int
    query_string: str


class CheckList(ReadOnlyList):
    """The list, and what stands above it. Repeats that only confirm count nowhere."""

    @property
    def span(self) -> SpanFilter:
        return next(spec for spec in self.filter_specs if isinstance(spec, SpanFilter))

    @cached_property
    def summary(self) -> Summary | None:
        """None where the span is too long to be added up."""
        return summarize(self.queryset.filter(confirming=False)) if self.span.short else None

    @property
    def failures(self) -> list[FailureCount]:
        """Failures by diagnosis, each with the way to its checks."""
        return [
            FailureCount(words.title(code), count, self.get_query_string({"diagnosis": code}))
            for code, count in (self.summary.failures if self.summary else [])
        ]


@admin.register(ConnectionHealthCheck)
class ConnectionHealthCheckAdmin(WholeValueAdmin):
    list_title = "Check history"
    change_list_template = "admin/quickbooks/connectionhealthcheck/change_list.html"
    list_display = (
        "company",
        "time",
        "result",
        "diagnosis_in_words",
        "latency",
        "trigger",
        "intuit_tid",
    )
    list_display_links = ("time",)
    list_filter = (SpanFilter, CompanyFilter, ResultFilter, DiagnosisFilter, TriggerFilter)
    search_fields = ("intuit_tid",)
    search_help_text = "A whole intuit_tid"
    ordering = ("-checked_at", "-id")
    fieldsets: ClassVar = (
        (None, {"fields": ("company", "realm_id", "time", "result")}),
        ("What it means", {"fields": ("diagnosis_in_words", "next_step", "code")}),
        (
            "What QuickBooks answered",
            {"fields": ("http_status", "fault_type", "fault_code", "message", "intuit_tid")},
        ),
        (
            "How it was made",
            {"fields": ("latency", "trigger", "had_to_refresh", "generation", "confirms")},
        ),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CheckList

    def complete(self, rows: list[Any]) -> None:
        name_companies(rows)

    @admin.display
    def company(self, check: ConnectionHealthCheck) -> str:
        return company_name(check)

    @admin.display
    def time(self, check: ConnectionHealthCheck) -> str:
        return to_the_second(check.checked_at)

    @admin.display
    def result(self, check: ConnectionHealthCheck) -> SafeString:
        return result_label(check)

    @admin.display(description="diagnosis")
    def diagnosis_in_words(self, check: ConnectionHealthCheck) -> str:
        return words.title(check.diagnosis)

    @admin.display(description="what helps")
    def next_step(self, check: ConnectionHealthCheck) -> str:
        if check.diagnosis not in set(Code):
            return ""
        text = words.WORDS[Code(check.diagnosis)].next_step
        return text.format(company=company_name(check), time="the next check")

    @admin.display
    def code(self, check: ConnectionHealthCheck) -> str:
        return check.diagnosis

    @admin.display
    def latency(self, check: ConnectionHealthCheck) -> str:
        return NOTHING if check.latency_ms is None else f"{check.latency_ms:,} ms"

    had_to_refresh = yes_or_no("refreshed", "had to refresh")
    confirms = yes_or_no("confirming", "only confirms another")
