"""The list of every integration's status."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from integrations.levels import Level
from integrations.models import IntegrationStatus
from integrations.read_only import FixedFilter, ReadOnlyAdmin, label
from integrations.registry import all_integrations


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
