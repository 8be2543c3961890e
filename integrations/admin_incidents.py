"""Incidents in the admin: what, since when, who acts, its story and its alerts. Read-only, but for
"I'm on it"."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations import attention, telling
from integrations.access import person
from integrations.addresses import address
from integrations.admin import IntegrationFilter
from integrations.levels import Level
from integrations.models import Incident
from integrations.read_only import (
    NOTHING,
    FixedFilter,
    ReadOnlyAdmin,
    choice_filter,
    label,
    to_the_second,
)

WHO_ACTS = [*telling.WHO_ACTS.items(), ("nobody", "Nobody")]


class StateFilter(FixedFilter):
    title = "state"
    parameter_name = "state"

    OPEN, ANSWERED, OVER = "open", "answered", "over"
    CONDITIONS: ClassVar = {
        OPEN: Q(ended_at=None),
        ANSWERED: Q(ended_at=None, acknowledged_at__isnull=False),
        OVER: Q(ended_at__isnull=False),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(self.OPEN, "Open"), (self.ANSWERED, "Somebody is on it"), (self.OVER, "Over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        if value is None:
            return queryset
        return queryset.filter(self.CONDITIONS.get(value, Q(pk=None)))


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    list_title = "Incidents"
    list_display = ("time", "whose", "cause_told", "severity", "lasted", "state", "who")
    list_filter = (
        StateFilter,
        IntegrationFilter,
        choice_filter("level", "level", [(level.value, level.label) for level in Level]),
        choice_filter("who acts", "who_acts", WHO_ACTS),
    )
    ordering = ("-started_at", "-id")
    actions = ("acknowledge",)
    change_form_template = "admin/integrations/incident/change_form.html"
    fields: ClassVar = (
        *("whose", "cause_told", "severity", "time", "confirmed", "ended", "lasted", "state"),
        *("who", "answered", "quiet", "reminders", "part_of", "page"),
    )

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> Any:
        incident = self.get_object(request, object_id)
        if incident is not None:
            kwargs["extra_context"] = {
                "notes": [(to_the_second(note.at), note.text) for note in incident.notes.all()],
                "alerts": incident.alert_set.select_related("recipient"),
            }
        return super().change_view(request, object_id, *args, **kwargs)

    @admin.action(description="Acknowledge: I am on it")
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[Incident]) -> None:
        now, by, done = timezone.now(), person(request), 0
        for incident in queryset.select_related("part_of"):
            with transaction.atomic():
                done += attention.acknowledge(telling.speaker(incident), by, now)
        left = queryset.count() - done
        told = f"You are on it: {done} acknowledged."
        if left:
            told += f" {left} left as they were: over, or somebody else's already."
        self.message_user(request, told, messages.SUCCESS if done else messages.WARNING)

    @admin.display(description="began")
    def time(self, row: Incident) -> str:
        return to_the_second(row.started_at)

    @admin.display(description="account")
    def whose(self, row: Incident) -> str:
        return telling.whose(row)

    @admin.display(description="cause")
    def cause_told(self, row: Incident) -> str:
        return telling.title(row, timezone.now())

    @admin.display(description="level")
    def severity(self, row: Incident) -> SafeString:
        return label(row.get_level)

    @admin.display(description="lasts")
    def lasted(self, row: Incident) -> str:
        return telling.how_long(row, timezone.now())

    @admin.display
    def state(self, row: Incident) -> str:
        if row.ended_at:
            return telling.how_it_ended(row)
        return "somebody is on it" if row.acknowledged_at else "open"

    @admin.display(description="who acts")
    def who(self, row: Incident) -> str:
        return dict(WHO_ACTS).get(row.who_acts, row.who_acts)

    @admin.display
    def confirmed(self, row: Incident) -> str:
        return to_the_second(row.confirmed_at)

    @admin.display
    def ended(self, row: Incident) -> str:
        return to_the_second(row.ended_at)

    @admin.display(description="acknowledged")
    def answered(self, row: Incident) -> str:
        at = row.acknowledged_at
        return f"{row.acknowledged_by}, {to_the_second(at)}" if at else NOTHING

    @admin.display(description="no reminder until")
    def quiet(self, row: Incident) -> str:
        at = row.snoozed_until
        return f"{to_the_second(at)}: {row.snooze_reason}" if at else NOTHING

    @admin.display(description="snooze, pause and what arrived meanwhile")
    def page(self, row: Incident) -> SafeString:
        url = address("integrations:incident", str(row.pk))
        return format_html('<a href="{}">The page of this incident</a>', url)
