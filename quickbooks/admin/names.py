"""Companies by name, and the filter that picks one."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from integrations.read_only import FixedFilter, kept_parameters
from quickbooks.models import GrantState, OAuthToken


def companies() -> QuerySet[OAuthToken]:
    """Every company that was ever connected, without its tokens."""
    rows = OAuthToken.objects.exclude(state=GrantState.PENDING)
    return rows.defer("access_token", "refresh_token")


def name_companies(rows: Iterable[Any]) -> None:
    """Give each row that has a realm id the name of its company. One query."""
    rows = list(rows)
    wanted = OAuthToken.objects.filter(realm_id__in={row.realm_id for row in rows})
    names = {company.realm_id: str(company) for company in wanted.only("realm_id", "company_name")}
    for row in rows:
        row.company_name = names.get(row.realm_id, f"Company {row.realm_id}")


def company_name(row: Any) -> str:
    """The name that `name_companies` gave, or for a row on its own a look-up."""
    if not hasattr(row, "company_name"):
        name_companies([row])
    return str(row.company_name)


class CompanyFilter(FixedFilter):
    """By exact company id: a link for each of a few companies, a field when there are many."""

    title = "company"
    parameter_name = "company"
    template = "admin/company_filter.html"
    MOST_LINKS = 12

    many = False
    kept: tuple[tuple[str, str], ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        few = list(companies().only("realm_id", "company_name")[: self.MOST_LINKS + 1])
        self.many = len(few) > self.MOST_LINKS
        return [(company.realm_id, str(company)) for company in few]

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset.filter(realm_id=value.strip()) if value else queryset

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        self.kept = kept_parameters(changelist, self.parameters())
        return super().choices(changelist)
