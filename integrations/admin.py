"""The statuses of all integrations, and the deliveries that vendors made."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.utils.safestring import SafeString

from integrations.levels import Level
from integrations.models import IntegrationStatus, Outcome, WebhookDelivery, WebhookRefusal
from integrations.read_only import (
    NOTHING,
    FixedFilter,
    ReadOnlyAdmin,
    choice_filter,
    label,
    to_the_second,
    yes_or_no,
)
from integrations.registry import all_integrations, get_integration
from integrations.signatures import Reason
from integrations.span import SpanFilter, SpanList


class IntegrationFilter(FixedFilter):
    title = "integration"
    parameter_name = field = "integration"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(slug, found.name) for slug, found in all_integrations().items()]


@admin.register(IntegrationStatus)
class IntegrationStatusAdmin(ReadOnlyAdmin):
    list_title = "Status of every integration"
    list_display = ("name", "status", "why", "since", "checked_at")
    list_filter = (
        choice_filter("status", "level", [(level.value, level.label) for level in Level]),
        IntegrationFilter,
    )
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


class DeliveryList(SpanList):
    """The list, and above it what it comes to. Tests are listed and counted nowhere."""

    def sums(self) -> list[tuple[str, str]]:
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
        rows = WebhookRefusal.objects.filter(minute__gte=self.span.since)
        if self.span.until:
            rows = rows.filter(minute__lt=self.span.until)
        if slug := self.params.get("integration"):
            rows = rows.filter(integration=slug)
        sums = rows.values("reason").annotate(sum=Sum("count")).order_by("reason")
        return list(sums.values_list("reason", "sum"))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_title = "Webhook deliveries"
    change_list_template = "admin/figures_list.html"
    list_display = ("time", "vendor", "event_type", "result", "scheme", "repeats", "test")
    list_filter = (
        ReceivedSpan,
        IntegrationFilter,
        choice_filter("result", "outcome", Outcome.choices),
        choice_filter("kind", "is_test", [("False", "Real"), ("True", "Test")], "test"),
    )
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


from integrations import admin_alerts, admin_incidents  # noqa: E402, F401  # they use this module
