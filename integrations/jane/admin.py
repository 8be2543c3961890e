"""Memberships and their changes, for support staff. Nothing here can be edited."""

import datetime as dt
from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.safestring import SafeString

from integrations.jane.activity import (
    ACTIVE_WORDS,
    INACTIVE_WORDS,
    REMOVED,
    UNKNOWN,
    is_active,
    is_unknown,
)
from integrations.jane.models import Kind, Membership, MembershipChange
from integrations.levels import Level
from integrations.read_only import (
    FixedFilter,
    ReadOnlyList,
    WholeValueAdmin,
    choice_filter,
    label,
    to_the_second,
)
from integrations.span import SpanFilter

SOON_DAYS = 30
SHOWN_CHANGES = 50
# More different words than any sender has; each is one line of the filter.
MOST_STATUSES = 40


def in_state(state: str, today: dt.date) -> Q:
    """`activity` as a condition: active, unknown, or inactive."""
    over = Q(ends_on__lt=today)
    active = ~over & (Q(status__in=ACTIVE_WORDS) | Q(status=UNKNOWN, ends_on__isnull=False))
    words = ACTIVE_WORDS | INACTIVE_WORDS | {UNKNOWN}
    unknown = ~over & (Q(status=UNKNOWN, ends_on__isnull=True) | ~Q(status__in=words))
    return {"active": active, "unknown": unknown, "inactive": ~active & ~unknown}[state]


def state_of(membership: Membership, today: dt.date) -> str:
    told = membership.status, membership.ends_on
    if is_active(*told, today):
        return "active"
    return "unknown" if is_unknown(*told, today) else "inactive"


class StateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("active", "Active"), ("inactive", "Not active"), ("unknown", "Not known")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.value()
        if state is None:
            return queryset
        if state not in {choice for choice, _ in self.lookup_choices}:
            return queryset.none()
        return queryset.filter(in_state(state, timezone.localdate()))


class StatusFilter(FixedFilter):
    """The sender's own words, which nobody knows beforehand; an index has them in order."""

    title = "status"
    parameter_name = field = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        found = Membership.objects.order_by("status").values_list("status", flat=True).distinct()
        return [(status, status) for status in found[:MOST_STATUSES]]


class MembershipList(ReadOnlyList):
    """The list, and above it what the selected memberships come to."""

    figures_title = "Of the memberships in this list"
    figures_problem = ""

    @cached_property
    def figures(self) -> list[tuple[str, str]]:
        today = timezone.localdate()
        active = in_state("active", today)
        soon = Q(ends_on__lt=today + dt.timedelta(days=SOON_DAYS))
        counts = self.queryset.order_by().aggregate(
            active=Count("pk", filter=active),
            unknown=Count("pk", filter=in_state("unknown", today)),
            removed=Count("pk", filter=Q(status=REMOVED)),
            ending=Count("pk", filter=active & soon),
        )
        titles = {
            "active": "Active",
            "unknown": "Of unknown state",
            "removed": "Removed",
            "ending": f"Active, ending within {SOON_DAYS} days",
        }
        return [(title, f"{counts[name]:,}") for name, title in titles.items()]


@admin.register(Membership)
class MembershipAdmin(WholeValueAdmin):
    list_title = "Memberships from Jane"
    change_list_template = "admin/figures_list.html"
    change_form_template = "admin/jane/membership/change_form.html"
    list_display = ("membership", "person_id", "plan", "state", "status", "ends_on", "changed")
    list_filter = (StateFilter, StatusFilter)
    search_fields = ("vendor_id", "person_id")
    search_help_text = "A whole membership id or person id"
    ordering = ("-changed_at", "-id")
    fieldsets: ClassVar = (
        (None, {"fields": ("membership", "person_id", "plan", "state", "status")}),
        ("When", {"fields": ("starts_on", "ends_on", "first_seen", "changed")}),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return MembershipList

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        changes = MembershipChange.objects.none()
        if object_id.isdecimal():
            changes = MembershipChange.objects.filter(membership_id=object_id)
        kwargs["extra_context"] = {
            "changes": [(to_the_second(c.at), c) for c in changes[:SHOWN_CHANGES]]
        }
        return super().change_view(request, object_id, *args, **kwargs)

    @admin.display(description="membership id")
    def membership(self, row: Membership) -> str:
        return row.vendor_id or "none, known by its plan"

    @admin.display
    def state(self, row: Membership) -> SafeString:
        state = state_of(row, timezone.localdate())
        shown = {
            "active": (Level.HEALTHY, "Active"),
            "inactive": (Level.UNKNOWN, "Not active"),
            "unknown": (Level.WARNING, "Not known"),
        }
        return label(*shown[state])

    @admin.display(description="last change")
    def changed(self, row: Membership) -> str:
        return to_the_second(row.changed_at)

    @admin.display(description="first seen")
    def first_seen(self, row: Membership) -> str:
        return to_the_second(row.first_seen_at)


class ChangeSpanFilter(SpanFilter):
    field = "at"


@admin.register(MembershipChange)
class MembershipChangeAdmin(WholeValueAdmin):
    list_title = "Changes of memberships"
    list_display = ("time", "kind", "person", "membership", "status", "ends_on")
    list_display_links = ("time",)
    list_filter = (ChangeSpanFilter, choice_filter("kind", "kind", Kind.choices))
    list_select_related = ("membership",)
    search_fields = ("membership__vendor_id", "membership__person_id")
    search_help_text = "A whole membership id or person id"
    ordering = ("-at", "-id")
    fields: ClassVar = ("time", "kind", "person", "membership", "status", "ends_on")

    @admin.display
    def time(self, row: MembershipChange) -> str:
        return to_the_second(row.at)

    @admin.display
    def person(self, row: MembershipChange) -> str:
        return row.membership.person_id
