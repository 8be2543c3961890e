"""The companies: their list, a page for each, and what a person may do there.

The page is a view of its own. Django's change form opens a transaction, and a probe may have
to take a lease, which must be committed before the call that it guards.
"""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.levels import Level
from integrations.models import IntegrationStatus
from integrations.read_only import FixedFilter, ReadOnlyAdmin, label
from quickbooks import words
from quickbooks.admin.company_page import company_page, tell
from quickbooks.admin.names import companies
from quickbooks.links import MANAGE
from quickbooks.models import GrantState, OAuthToken, Trigger
from quickbooks.probe import UnknownCompany, probe


class StateFilter(FixedFilter):
    title = "grant"
    parameter_name = field = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [choice for choice in GrantState.choices if choice[0] != GrantState.PENDING]


@admin.register(OAuthToken)
class CompanyAdmin(ReadOnlyAdmin):
    list_title = "QuickBooks companies"
    list_display = ("company", "status", "last_success_at", "minted_at", "grant")
    list_filter = (StateFilter,)
    ordering = ("company_name", "realm_id")
    search_fields = ("company_name", "realm_id")
    search_help_text = "Part of a name or of a company id"

    def get_queryset(self, request: HttpRequest) -> QuerySet[OAuthToken]:
        return companies()

    def complete(self, rows: list[Any]) -> None:
        accounts = [row.realm_id for row in rows]
        found = IntegrationStatus.objects.filter(integration="quickbooks", account__in=accounts)
        statuses = {status.account: status for status in found}
        for row in rows:
            row.status = statuses.get(row.realm_id)

    @admin.display
    def company(self, row: OAuthToken) -> str:
        return str(row)

    @admin.display
    def status(self, row: Any) -> SafeString:
        if row.status is None:
            return label(Level.UNKNOWN, "Not checked yet")
        return format_html("{} {}", label(row.status.get_level), words.title(row.status.state))

    @admin.display(description="grant")
    def grant(self, row: OAuthToken) -> str:
        return row.get_state_display()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/check/", view(self.check_view), name="quickbooks_oauthtoken_check"),
            *super().get_urls(),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self._company(request, object_id)
        context = {
            **self.admin_site.each_context(request),
            **company_page(row, timezone.now()),
            "opts": self.opts,
            "title": str(row),
            "company": row,
            "may_manage": request.user.has_perm(MANAGE),
        }
        return TemplateResponse(request, "admin/quickbooks/oauthtoken/company.html", context)

    def check_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Check now: always a new probe."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self._company(request, str(pk))
        try:
            outcome = probe(
                row.realm_id,
                trigger=Trigger.ADMIN,
                now=timezone.now(),
                fresh=True,
                patience=settings.QUICKBOOKS_DEADLINE_SECONDS,
            )
        except UnknownCompany:
            raise Http404 from None
        level, text = tell(outcome)
        self.message_user(request, f"{row}: {text}", level)
        return redirect("admin:quickbooks_oauthtoken_change", pk)

    def _company(self, request: HttpRequest, object_id: str) -> OAuthToken:
        row = self.get_object(request, object_id)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            raise Http404
        found: OAuthToken = row
        return found
