"""The hand-over links: who made them, what became of them, and taking them back.

A link itself is not shown here: whoever may look at the list need not be allowed to connect.
"""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from integrations.levels import Level
from integrations.read_only import NOTHING, ReadOnlyAdmin, label, to_the_second
from quickbooks import hand_over
from quickbooks.admin.names import CompanyFilter, company_name, name_companies
from quickbooks.links import MANAGE
from quickbooks.models import HandOver


@admin.register(HandOver)
class HandOverAdmin(ReadOnlyAdmin):
    list_title = "Hand-over links"
    list_display = ("company", "made", "by", "first_tried", "standing")
    list_display_links = ("made",)
    list_filter = (CompanyFilter,)
    list_select_related = ("created_by", "incident")
    ordering = ("-created_at", "-id")
    actions = ("take_back",)
    fields: ClassVar = (
        "company",
        "realm_id",
        "incident",
        "made",
        "by",
        "first_tried",
        "attempts",
        "used",
        "taken_back",
        "standing",
    )

    def has_manage_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MANAGE)

    @admin.action(description="Take the selected links back", permissions=["manage"])
    def take_back(self, request: HttpRequest, rows: QuerySet[HandOver]) -> None:
        now = timezone.now()
        done = sum(hand_over.take_back(row, request.user, now) for row in rows)
        said = "1 link no longer works." if done == 1 else f"{done} links no longer work."
        self.message_user(request, said, messages.SUCCESS if done else messages.WARNING)

    def complete(self, rows: list[Any]) -> None:
        name_companies(rows)
        live = set(
            hand_over.startable()
            .filter(pk__in=[row.pk for row in rows])
            .values_list("pk", flat=True)
        )
        for row in rows:
            row.live = row.pk in live

    @admin.display
    def company(self, row: HandOver) -> str:
        return company_name(row)

    @admin.display
    def standing(self, row: Any) -> SafeString:
        if not hasattr(row, "live"):
            self.complete([row])
        if row.used_at:
            return label(Level.HEALTHY, "Used")
        if row.live:
            return label(Level.WARNING, "Can be used")
        return label(Level.UNKNOWN, "Taken back" if row.revoked_at else "Ended")

    @admin.display
    def made(self, row: HandOver) -> str:
        return to_the_second(row.created_at)

    @admin.display
    def by(self, row: HandOver) -> str:
        return str(row.created_by or NOTHING)

    @admin.display
    def first_tried(self, row: HandOver) -> str:
        return to_the_second(row.opened_at)

    @admin.display
    def used(self, row: HandOver) -> str:
        return to_the_second(row.used_at)

    @admin.display
    def taken_back(self, row: HandOver) -> str:
        return to_the_second(row.revoked_at)
