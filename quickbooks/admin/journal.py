"""The journal of everything that was done with a grant at Intuit."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from integrations.levels import Level
from integrations.read_only import FixedFilter, ReadOnlyAdmin, label, to_the_second, yes_or_no
from quickbooks.admin.names import CompanyFilter, company_name, name_companies
from quickbooks.models import RefreshOutcome, TokenRefresh

LEVELS = {
    RefreshOutcome.SAME: Level.HEALTHY,
    RefreshOutcome.ROTATED: Level.HEALTHY,
    RefreshOutcome.REVOKED: Level.HEALTHY,
    RefreshOutcome.UNKNOWN: Level.WARNING,
    RefreshOutcome.NOT_SENT: Level.WARNING,
    RefreshOutcome.REJECTED: Level.CRITICAL,
    RefreshOutcome.APP_REJECTED: Level.CRITICAL,
}


def entries() -> QuerySet[Any]:
    """The journal, newest first. A late pair of tokens is never loaded, only told of.

    Ordered by id, which is the order of time and has an index.
    """
    kept = ExpressionWrapper(~Q(late_pair=""), output_field=BooleanField())
    return TokenRefresh.objects.defer("late_pair").annotate(kept=kept).order_by("-id")


def outcome_label(entry: TokenRefresh) -> SafeString:
    """How it ended; one without an end may be under way, or its process has died."""
    if not entry.outcome:
        return label(Level.UNKNOWN, "no end recorded")
    outcome = RefreshOutcome(entry.outcome)
    return label(LEVELS[outcome], str(outcome.label))


class OutcomeFilter(FixedFilter):
    title = "outcome"
    parameter_name = field = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return RefreshOutcome.choices


class PurposeFilter(FixedFilter):
    title = "purpose"
    parameter_name = field = "purpose"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return TokenRefresh.Purpose.choices


@admin.register(TokenRefresh)
class TokenRefreshAdmin(ReadOnlyAdmin):
    list_title = "Refresh journal"
    list_display = ("company", "began", "purpose", "result", "trigger", "generation", "reason")
    list_display_links = ("began",)
    list_filter = (CompanyFilter, PurposeFilter, OutcomeFilter)
    ordering = ("-id",)
    fields: ClassVar = (
        "company",
        "realm_id",
        "purpose",
        "result",
        "detail",
        "began",
        "ended",
        "trigger",
        "reason",
        "generation",
        "was_in_doubt",
        "came_too_late",
        "late_pair_kept",
        "intuit_tid",
        "owner",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return entries()

    def complete(self, rows: list[Any]) -> None:
        name_companies(rows)

    @admin.display
    def company(self, entry: TokenRefresh) -> str:
        return company_name(entry)

    @admin.display
    def result(self, entry: TokenRefresh) -> SafeString:
        return outcome_label(entry)

    @admin.display
    def began(self, entry: TokenRefresh) -> str:
        return to_the_second(entry.started_at)

    @admin.display
    def ended(self, entry: TokenRefresh) -> str:
        return to_the_second(entry.finished_at)

    was_in_doubt = yes_or_no("in_doubt", "was in doubt before")
    came_too_late = yes_or_no("superseded", "came too late")
    late_pair_kept = yes_or_no("kept", "late pair kept")
