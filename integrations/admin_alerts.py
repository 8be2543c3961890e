"""Who hears of what, and what everybody was told."""

import datetime as dt
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Count, Max, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations import telling, times
from integrations.addresses import address
from integrations.alerts import claims, outbox
from integrations.alerts.forms import RecipientForm
from integrations.alerts.recipients import seed
from integrations.alerts.services import scheme_of
from integrations.crypto import EncryptionError
from integrations.levels import Level
from integrations.models import Alert, Recipient
from integrations.read_only import NOTHING, ReadOnlyAdmin, choice_filter, label, to_the_second
from integrations.registry import get_integration
from integrations.span import SpanFilter, SpanList

State = Alert.State


@admin.register(Recipient)
class RecipientAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    form = RecipientForm
    actions = None
    list_display = ("name", "way", "wants", "of_what", "channel")
    sortable_by = ()
    change_list_template = "admin/integrations/recipient/change_list.html"
    change_form_template = "admin/integrations/recipient/change_form.html"
    readonly_fields = ("stored_url", "channel")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # what it was told would go with it

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        way = ["name", "email", "new_url"]
        if obj and not obj.email:
            way.append("stored_url")
        found = [
            (None, {"fields": [*way, "active"]}),
            ("What it hears of", {"fields": ["wants", "integrations", "accounts"]}),
        ]
        return [*found, ("Does it get through?", {"fields": ["channel"]})] if obj else found

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        seed()  # where send_alerts has not run yet
        return super().changelist_view(request, {"title": "Who hears of what"})

    def save_model(
        self, request: HttpRequest, obj: Recipient, form: RecipientForm, change: bool
    ) -> None:
        super().save_model(request, obj, form, change)
        if form.may_work_now:
            now = timezone.now()
            failed = Alert.objects.filter(recipient=obj, attempts__gt=0)
            transaction.on_commit(lambda: _hurry(failed, now))

    @admin.display(description="by")
    def way(self, row: Recipient) -> str:
        return row.email or self.stored_url(row)

    @admin.display(description="stored URL")
    def stored_url(self, row: Recipient) -> str:
        """Enough to tell one service from another."""
        try:
            return f"{scheme_of(row.url)}://…" if row.url else NOTHING
        except EncryptionError:
            return "cannot be decrypted"

    @admin.display(description="of")
    def of_what(self, row: Recipient) -> str:
        found = [get_integration(slug) for slug in row.integrations]
        names = [one.name for one in found if one] or ["all integrations"]
        count = len(row.accounts)
        companies = {0: "all companies", 1: "1 company"}.get(count, f"{count} companies")
        return f"{', '.join(names)}; {companies}"

    @admin.display(description="channel")
    def channel(self, row: Recipient) -> SafeString | str:
        now = timezone.now()
        if not row.active:
            return label(Level.UNKNOWN, "Switched off")
        if row.failing_since:
            since = times.moment(row.failing_since, now)
            return format_html(
                "{} since {}: {}", label(Level.WARNING, "Not getting through"), since, row.error
            )
        if row.last_sent_at:
            last = times.moment(row.last_sent_at, now)
            return format_html("{} last {}", label(Level.HEALTHY), last)
        return "Not used yet"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.test_view)
        urls: list[URLPattern] = super().get_urls()
        return [path("<int:pk>/test/", view, name="integrations_recipient_test"), *urls]

    def test_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Queue a test alert. Nothing is sent from here: that may take a while, and must not hold
        up a web server's process."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        recipient = self.get_object(request, str(pk))
        if not self.has_change_permission(request, recipient):
            raise PermissionDenied
        if recipient is None:
            raise Http404
        if recipient.active:
            now = timezone.now()
            tests = Alert.objects.filter(recipient=recipient, kind=Alert.Kind.TEST)
            # Named after the last one that is settled, so that only one can be on its way.
            last = tests.exclude(state=State.QUEUED).aggregate(pk=Max("pk"))["pk"]
            if not outbox.test(recipient, f"test:{last or 0}", now):
                _hurry(tests, now)
            told = f"A test alert goes out to {recipient} within a minute."
            self.message_user(
                request, f"{told} Look below whether it got through.", messages.SUCCESS
            )
        else:
            self.message_user(request, f"{recipient} is switched off.", messages.WARNING)
        return redirect("admin:integrations_recipient_change", pk)


def _hurry(alerts: QuerySet[Alert], now: dt.datetime) -> None:
    """What waits for its next attempt does not wait any longer."""
    waiting = alerts.filter(state=State.QUEUED, claimed_by="", due_at__gt=now)
    claims.update(waiting, due_at=now)


class QueuedSpan(SpanFilter):
    field = "queued_at"


class AlertList(SpanList):
    """The list, and above it what it comes to."""

    def sums(self) -> list[tuple[str, str]]:
        failing = Q(state=State.QUEUED, attempts__gt=0)
        found = self.queryset.order_by().aggregate(
            sent=Count("pk", filter=Q(state=State.SENT)),
            waiting=Count("pk", filter=Q(state=State.QUEUED)),
            failing=Count("pk", filter=failing),
            withdrawn=Count("pk", filter=Q(state=State.WITHDRAWN)),
        )
        return [
            ("Sent", f"{found['sent']:,}"),
            ("Waiting", f"{found['waiting']:,}"),
            ("Of these failed before", f"{found['failing']:,}"),
            ("Withdrawn", f"{found['withdrawn']:,}"),
        ]


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_title = "Alerts"
    change_list_template = "admin/figures_list.html"
    list_display = ("time", "kind", "to", "about", "outcome", "tries", "error")
    list_filter = (
        QueuedSpan,
        choice_filter("state", "state", State.choices),
        choice_filter("kind", "kind", Alert.Kind.choices),
    )
    list_select_related = ("recipient", "incident")
    empty_value_display = ""
    ordering = ("-queued_at", "-id")
    fields: ClassVar = (
        *("time", "kind", "to", "about", "outcome", "due", "sent", "tries", "error"),
        *("message_id", "key"),
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[AlertList]:
        return AlertList

    @admin.display
    def time(self, row: Alert) -> str:
        return to_the_second(row.queued_at)

    @admin.display
    def due(self, row: Alert) -> str:
        return to_the_second(row.due_at)

    @admin.display
    def sent(self, row: Alert) -> str:
        return to_the_second(row.sent_at)

    @admin.display
    def to(self, row: Alert) -> str:
        return str(row.recipient)

    @admin.display
    def about(self, row: Alert) -> SafeString | str:
        if row.incident is None:
            return str(row.facts.get("subject", ""))
        url = address("integrations:incident", str(row.incident.pk))
        title = telling.title(row.incident, timezone.now())
        return format_html('<a href="{}">{}: {}</a>', url, row.incident.name, title)

    @admin.display(description="failed attempts")
    def tries(self, row: Alert) -> str:
        return str(row.attempts or "")

    @admin.display(description="state")
    def outcome(self, row: Alert) -> SafeString:
        if row.state == State.SENT:
            return label(Level.HEALTHY, "sent")
        if row.state == State.WITHDRAWN:
            return label(Level.UNKNOWN, "withdrawn")
        failing = row.attempts > 0
        return label(Level.WARNING if failing else Level.UNKNOWN, row.get_state_display())
