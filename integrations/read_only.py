"""What the admin of rows that machines write and people read is made of."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from integrations.levels import Level
from integrations.paginator import CappedPaginator

NOTHING = "-"  # what Django shows for an empty column


def label(level: Level, word: str = "") -> SafeString:
    """A coloured label: an icon and a word always stand beside the colour."""
    return format_html(
        '<span class="level level-{}"><span aria-hidden="true">{}</span> {}</span>',
        level.value,
        level.icon,
        word or level.label,
    )


def yes_or_no(field: str, description: str) -> Callable[[Any, Any], str]:
    """A column for a flag. In words: Django's red cross looks like a fault."""

    @admin.display(description=description)
    def column(model_admin: Any, row: Any) -> str:
        return "yes" if getattr(row, field) else "no"

    return column


def to_the_second(moment: dt.datetime | None) -> str:
    """A time in the clinic's zone as support staff need it."""
    return date_format(timezone.localtime(moment), "M j, Y, g:i:s a") if moment else NOTHING


class FixedFilter(admin.SimpleListFilter):
    """A filter whose choices are known beforehand; Django's own ask the table for them."""

    field: ClassVar[str]

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The names that this filter has in a query string."""
        return (str(cls.parameter_name),)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        if value not in {choice for choice, _ in self.lookup_choices}:
            return queryset.none()
        return queryset.filter(**{self.field: value})


def choice_filter(
    title: str, field: str, choices: Sequence[tuple[str, str]], parameter: str = ""
) -> type[FixedFilter]:
    """A filter over a column whose choices stand in the code. `parameter`: its name in a URL."""

    class ChoiceFilter(FixedFilter):
        def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
            return choices

    ChoiceFilter.title = title
    ChoiceFilter.field = field
    ChoiceFilter.parameter_name = parameter or field
    return ChoiceFilter


def kept_parameters(
    changelist: ChangeList, replaced: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """What a filter's own form sends along, so that the other filters stay."""
    params = changelist.filter_params.items()
    return tuple((name, values[-1]) for name, values in params if name not in replaced)


class ReadOnlyList(ChangeList):
    """A list in the one order that an index gives, its rows completed page by page."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        # Django would sort by whatever column `?o=` names, indexed or not.
        return list(self.model_admin.get_ordering(request))

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        self.model_admin.complete(self.result_list)  # type: ignore[attr-defined]


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Nothing can be added, changed or deleted, and no page counts or sorts a big table."""

    actions: Any = None
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    sortable_by = ()
    change_list_template = "admin/read_only_list.html"
    change_form_template = "admin/read_only.html"
    list_title: ClassVar[str]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        return [
            url
            for url in super().get_urls()
            if url.name and url.name.endswith(("_changelist", "_change"))
        ]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Django also allows `?any_column__contains=`, which scans the table and, on a column of
        # ciphertext, answers guesses.
        return any(lookup in spec.parameters() for spec in self.list_filter)  # type: ignore[union-attr]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ReadOnlyList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {"title": self.list_title, **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        titles = {"title": capfirst(self.opts.verbose_name), "subtitle": None}
        return super().change_view(
            request, object_id, form_url, {**titles, **(extra_context or {})}
        )

    def complete(self, rows: list[Any]) -> None:
        """Fetch what the columns of one page need beside the rows, for all of them at once."""


class WholeValueAdmin(ReadOnlyAdmin):
    """Its search finds a whole value of one of the `search_fields`, by an index.

    Django looks for pieces, which scans the table.
    """

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        wanted = search_term.strip()
        if not wanted:
            return queryset, False
        found = Q()
        for field in self.get_search_fields(request):
            # Some indexes leave the empty ones out; SQLite uses them only if the query says so too.
            found |= Q(**{field: wanted}) & ~Q(**{field: ""})
        return queryset.filter(found), False
