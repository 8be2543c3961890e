"""The statuses of all integrations, and the deliveries that vendors made."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.safestring import SafeString

from integrations.levels import Level
from integrations.models import IntegrationStatus, Outcome, WebhookDelivery, WebhookRefusal
from integrations.read_only import (
    NOTHING,
    FixedFilter,
    ReadOnlyAdmin,
    ReadOnlyList,
    label,
    to_the_second,
    yes_or_no,
)
from integrations.registry import all_integrations, get_integration
from integrations.signatures import Reason
from integrations.span import SpanFilter


class IntegrationFilter(FixedFilter):
    title = "integration"
    parameter_name = field = "integration"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(slug, found.name) for slug, found in all_integrations().items()]


class LevelFilter(FixedFilter):
    title = "status"
    parameter_name = field = "level"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(level.value, level.label) for level in Level]


@admin.register(IntegrationStatus)
class IntegrationStatusAdmin(ReadOnlyAdmin):
    list_title = "Status of every integration"
    list_display = ("name", "status", "why", "since", "checked_at")
    list_filter = (LevelFilter, IntegrationFilter)
    search_fields = ("name", "account")
    search_help_text = "Part of a name, or an account id"
    ordering = ("-severity", "integration", "name")
    fields: ClassVar = ("name", "integration", "account", "status", "why", "since", "checked_at")

    @admin.display
    def status(self, row: IntegrationStatus) -> SafeString:
        return label(row.get_level)

    @admin.display
    def why(self, row: IntegrationStatus) -> str:
        return row.state.replace("_", " ")


class ReceivedSpan(SpanFilter):
    field = "received_at"


class OutcomeFilter(FixedFilter):
    title = "result"
    parameter_name = field = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return Outcome.choices


class TestFilter(FixedFilter):
    title = "kind"
    parameter_name = "test"
    field = "is_test"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("False", "Real"), ("True", "Test")]


class DeliveryList(ReadOnlyList):
    """The list, and above it what it comes to. Tests are listed and counted nowhere."""

    @property
    def _span(self) -> SpanFilter:
        return next(spec for spec in self.filter_specs if isinstance(spec, SpanFilter))

    @property
    def figures_title(self) -> str:
        return self._span.name

    @property
    def figures_problem(self) -> str:
        if self._span.problem:
            return f"{self._span.problem} So these are not the days you asked for."
        return "" if self._span.short else "Choose at most 7 days to see the sums."

    @cached_property
    def figures(self) -> list[tuple[str, str]]:
        if not self._span.short:
            return []
        unreadable = Q(outcome=Outcome.UNREADABLE)
        found = self.queryset.filter(is_test=False).aggregate(
            accepted=Count("pk", filter=~unreadable),
            unreadable=Count("pk", filter=unreadable),
            repeats=Sum("repeats", default=0),
        )
        refused = [(Reason(reason), count) for reason, count in self._refusals()]
        return [
            ("Accepted", f"{found['accepted']:,}"),
            ("Repeats of these", f"{found['repeats']:,}"),
            ("Unreadable", f"{found['unreadable']:,}"),
            ("Refused", f"{sum(count for _, count in refused):,}"),
            *((f"Refused: {reason.words}", f"{count:,}") for reason, count in refused),
        ]

    def _refusals(self) -> Iterable[tuple[str, int]]:
        """Nothing of a refused delivery is known but the vendor's address and the minute."""
        rows = WebhookRefusal.objects.filter(minute__gte=self._span.since)
        if self._span.until:
            rows = rows.filter(minute__lt=self._span.until)
        if slug := self.params.get("integration"):
            rows = rows.filter(integration=slug)
        sums = rows.values("reason").annotate(sum=Sum("count")).order_by("reason")
        return list(sums.values_list("reason", "sum"))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_title = "Webhook deliveries"
    change_list_template = "admin/figures_list.html"
    list_display = ("time", "vendor", "event_type", "result", "scheme", "repeats", "test")
    list_filter = (ReceivedSpan, IntegrationFilter, OutcomeFilter, TestFilter)
    ordering = ("-received_at", "-id")
    fields: ClassVar = (
        *("vendor", "time", "event_type", "vendor_time", "result", "error", "scheme", "size"),
        *("repeats", "last_time", "fingerprint", "first_of_its_shape", "test", "event_key"),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeliveryList

    @admin.display
    def time(self, row: WebhookDelivery) -> str:
        return to_the_second(row.received_at)

    @admin.display(description="last time")
    def last_time(self, row: WebhookDelivery) -> str:
        return to_the_second(row.last_received_at)

    @admin.display(description="the vendor's own time")
    def vendor_time(self, row: WebhookDelivery) -> str:
        return to_the_second(row.event_at)

    @admin.display(description="from")
    def vendor(self, row: WebhookDelivery) -> str:
        found = get_integration(row.integration)
        return found.name if found else row.integration

    @admin.display
    def result(self, row: WebhookDelivery) -> SafeString | str:
        if row.outcome == Outcome.UNREADABLE:
            return label(Level.WARNING, f"unreadable: {row.error}")
        if row.outcome == Outcome.STORED:
            return label(Level.HEALTHY, "test" if row.is_test else "in effect")
        return Outcome(row.outcome).label or NOTHING

    first_of_its_shape = yes_or_no("new_shape", "first with these keys")
    test = yes_or_no("is_test", "test")
