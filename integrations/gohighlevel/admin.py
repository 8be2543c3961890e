"""Checks, runs and mappings, to be read; and the one thing that a person can say about the app."""

from typing import Any, ClassVar

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Avg, Count, Q, QuerySet, Sum
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.safestring import SafeString

from integrations.gohighlevel.models import (
    ContactMapping,
    Location,
    LocationCheck,
    Mapping,
    Result,
    Rule,
    SyncRun,
    Trigger,
)
from integrations.gohighlevel.states import FAILURES, OK, State, title
from integrations.levels import Level
from integrations.read_only import (
    NOTHING,
    ReadOnlyAdmin,
    ReadOnlyList,
    WholeValueAdmin,
    choice_filter,
    label,
    to_the_second,
    yes_or_no,
)
from integrations.span import SpanFilter, SpanList


def _level(state: str) -> Level:
    if state == OK:
        return Level.HEALTHY
    return State(state).level if state in set(State) else Level.UNKNOWN


class CheckList(SpanList):
    def sums(self) -> list[tuple[str, str]]:
        by_state = {f"as_{state}": Count("pk", filter=Q(state=state)) for state in FAILURES}
        found = self.queryset.aggregate(
            checks=Count("pk"),
            good=Count("pk", filter=Q(ok=True)),
            latency=Avg("latency_ms", filter=Q(ok=True)),
            **by_state,
        )
        latency = NOTHING if found["latency"] is None else f"{found['latency']:,.0f} ms"
        failures = ((title(state), found[f"as_{state}"]) for state in FAILURES)
        return [
            ("Checks", f"{found['checks']:,}, {found['good']:,} OK"),
            ("Latency, average", latency),
            *((words, f"{count:,}") for words, count in failures if count),
        ]


class RunList(SpanList):
    def sums(self) -> list[tuple[str, str]]:
        found = self.queryset.aggregate(
            runs=Count("pk"),
            ok=Count("pk", filter=Q(result=Result.OK)),
            partial=Count("pk", filter=Q(result=Result.PARTIAL)),
            failed=Count("pk", filter=Q(result=Result.FAILED)),
            seen=Sum("seen", default=0),
            created=Sum("created", default=0),
            updated=Sum("updated", default=0),
        )
        return [
            ("Runs", f"{found['runs']:,}"),
            ("OK", f"{found['ok']:,}"),
            ("In part", f"{found['partial']:,}"),
            ("Failed", f"{found['failed']:,}"),
            ("Contacts read", f"{found['seen']:,}"),
            ("New", f"{found['created']:,}"),
            ("Changed", f"{found['updated']:,}"),
        ]


def _of_the_location(rows: QuerySet[Any]) -> QuerySet[Any]:
    """As the card has them: after a change of location those of the old one are history."""
    location_id = settings.GOHIGHLEVEL_LOCATION_ID
    return rows.filter(location_id=location_id) if location_id else rows


class MappingList(ReadOnlyList):
    figures_title = "Contacts now"
    figures_problem = ""

    def get_queryset(self, request: HttpRequest, *args: Any) -> QuerySet[Any]:
        return _of_the_location(super().get_queryset(request, *args))

    @cached_property
    def figures(self) -> list[tuple[str, str]]:
        """The numbers of the card: written down, so that no list counts a big table."""
        found = _of_the_location(Location.objects.all()).aggregate(
            mapped=Sum("mapped", default=0),
            unmatched=Sum("unmatched", default=0),
            ambiguous=Sum("ambiguous", default=0),
        )
        figures = {"contacts": sum(found.values()), **found}
        return [(name.capitalize(), f"{count:,}") for name, count in figures.items()]


WHY = choice_filter("state", "state", [(state.value, title(state)) for state in FAILURES])


class StartedSpan(SpanFilter):
    field = "started_at"


@admin.register(LocationCheck)
class LocationCheckAdmin(ReadOnlyAdmin):
    list_title = "GoHighLevel checks"
    change_list_template = "admin/figures_list.html"
    list_display = ("time", "outcome", "in_words", "http_status", "latency", "trigger")
    list_filter = (
        SpanFilter,
        choice_filter("result", "ok", [("True", "OK"), ("False", "Failed")], "result"),
        WHY,
        choice_filter("trigger", "trigger", Trigger.choices),
    )
    ordering = ("-checked_at", "-id")
    fields: ClassVar = (
        *("location_id", "time", "outcome", "in_words", "http_status", "message"),
        *("latency", "trigger"),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CheckList

    @admin.display
    def time(self, check: LocationCheck) -> str:
        return to_the_second(check.checked_at)

    @admin.display(description="result")
    def outcome(self, check: LocationCheck) -> SafeString:
        return label(_level(check.state), "OK" if check.ok else "Failed")

    @admin.display(description="state")
    def in_words(self, check: LocationCheck) -> str:
        return title(check.state)

    @admin.display
    def latency(self, check: LocationCheck) -> str:
        return NOTHING if check.latency_ms is None else f"{check.latency_ms:,} ms"


@admin.register(SyncRun)
class SyncRunAdmin(ReadOnlyAdmin):
    list_title = "GoHighLevel syncs"
    change_list_template = "admin/figures_list.html"
    list_display = ("time", "outcome", "why", "seen", "created", "updated", "contacts", "resumed")
    list_filter = (StartedSpan, choice_filter("result", "result", Result.choices), WHY)
    ordering = ("-started_at", "-id")
    fieldsets: ClassVar = (
        (None, {"fields": ("location_id", "outcome", "in_words", "why", "failed_in_probe")}),
        ("When", {"fields": ("time", "sign_of_life", "end", "resumed")}),
        (
            "What was read",
            {"fields": ("announced", "seen", "created", "updated", "failed", "pages")},
        ),
        ("At the end", {"fields": ("contacts", "mapped", "unmatched", "ambiguous")}),
    )

    failed_in_probe = yes_or_no("in_probe", "failed in its probe")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RunList

    @admin.display(description="began")
    def time(self, run: SyncRun) -> str:
        return to_the_second(run.started_at)

    @admin.display(description="last sign of life")
    def sign_of_life(self, run: SyncRun) -> str:
        return to_the_second(run.heartbeat_at)

    @admin.display(description="ended")
    def end(self, run: SyncRun) -> str:
        return to_the_second(run.finished_at)

    @admin.display(description="result")
    def outcome(self, run: SyncRun) -> SafeString:
        if run.finished_at is None:
            return label(Level.UNKNOWN, "not ended")
        if run.result == Result.PARTIAL:
            return label(Level.WARNING, "In part")
        return label(_level(run.state), "OK" if run.result == Result.OK else "Failed")

    @admin.display(description="state")
    def in_words(self, run: SyncRun) -> str:
        return title(run.state) if run.state else NOTHING


@admin.register(ContactMapping)
class ContactMappingAdmin(WholeValueAdmin):
    list_title = "GoHighLevel contacts and their Jane persons"
    change_list_template = "admin/figures_list.html"
    list_display = ("contact_id", "outcome", "rule", "person_id", "external_id", "changed")
    list_filter = (
        choice_filter("state", "state", [one for one in Mapping.choices if one[0]]),
        choice_filter("rule", "rule", [one for one in Rule.choices if one[0]]),
    )
    # Ambiguous contacts belong to nobody yet, but compete for the person that they name.
    search_fields = ("contact_id", "person_id", "external_id")
    search_help_text = "A whole contact id, Jane person id or person's id there"
    ordering = ("-id",)
    # Not the hash: it is good for comparing, and who can read it could test addresses.
    fields: ClassVar = (
        *("location_id", "contact_id", "outcome", "rule", "person_id", "external_id"),
        *("changed", "first_seen", "heard", "gone"),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return MappingList

    @admin.display(description="state")
    def outcome(self, row: ContactMapping) -> SafeString:
        levels = {Mapping.MAPPED: Level.HEALTHY, Mapping.AMBIGUOUS: Level.WARNING}
        state = Mapping(row.state)
        return label(levels.get(state, Level.UNKNOWN), str(state.label))

    @admin.display(description="changed at GoHighLevel")
    def changed(self, row: ContactMapping) -> str:
        return to_the_second(row.contact_updated_at)

    @admin.display
    def first_seen(self, row: ContactMapping) -> str:
        return to_the_second(row.first_seen_at)

    @admin.display(description="last webhook")
    def heard(self, row: ContactMapping) -> str:
        return to_the_second(row.heard_at)

    @admin.display(description="found gone")
    def gone(self, row: ContactMapping) -> str:
        return to_the_second(row.gone_at)


@admin.register(Location)
class LocationAdmin(ReadOnlyAdmin):
    list_title = "GoHighLevel locations"
    list_display = ("location_id", "name", "uninstalled", "mapped", "unmatched", "ambiguous")
    ordering = ("location_id",)
    actions = ("app_not_wanted",)
    fields: ClassVar = (
        *("location_id", "name", "uninstalled", "calls_left", "told"),
        *("mapped", "unmatched", "ambiguous"),
    )

    @admin.display(description="app uninstalled")
    def uninstalled(self, row: Location) -> str:
        return to_the_second(row.uninstalled_at)

    @admin.display(description="calls left told at")
    def told(self, row: Location) -> str:
        return to_the_second(row.calls_left_at)

    def has_settle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("gohighlevel.change_location")

    @admin.action(description="The app is not wanted any more", permissions=["settle"])
    def app_not_wanted(self, request: HttpRequest, queryset: QuerySet[Location]) -> None:
        settled = queryset.exclude(uninstalled_at=None).update(uninstalled_at=None)
        self.message_user(
            request,
            f"{settled} uninstallation{'' if settled == 1 else 's'} settled. "
            "Contacts are still synced with the private integration token.",
            messages.SUCCESS,
        )
