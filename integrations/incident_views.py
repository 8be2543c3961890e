"""Incidents for the staff: the list, the page of one, and what a person does about it."""

import datetime as dt
from dataclasses import dataclass

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from integrations import attention, blast, telling, times
from integrations.access import person, staff_page
from integrations.base import CHANGES_AT_MOST
from integrations.models import Incident, IntegrationStatus
from integrations.silences import (
    PauseForm,
    SnoozeForm,
    for_input,
    next_opening,
    pause_url,
    resume_url,
)

PAGE = 50
# Whoever looks further back narrows the list down, or uses the admin.
LAST_PAGE = 20
PARTS = 100


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the list."""

    incident: Incident
    whose: str
    title: str
    when: str
    note: str


@require_safe
@staff_page
def index(request: HttpRequest) -> HttpResponse:
    """Newest first, the open ones ahead, so many of each on a page; `?account=` narrows it down.
    Never counts."""
    now = timezone.now()
    account = request.GET.get("account", "")
    number = _number(request.GET.get("page", ""))
    rows = Incident.objects.select_related("part_of")
    if account.isprintable() and account:
        rows = rows.filter(account=account)
    else:
        # The shared one speaks for its parts.
        rows = rows.filter(part_of=None)
    start = (number - 1) * PAGE
    lasting = list(rows.filter(ended_at=None)[start : start + PAGE + 1])
    over = list(rows.filter(ended_at__isnull=False)[start : start + PAGE + 1])
    more = max(len(lasting), len(over)) > PAGE
    return render(
        request,
        "incidents/index.html",
        {
            "page": "incidents",
            "account": account,
            "open": [_line(incident, now) for incident in lasting[:PAGE]],
            "over": [_line(incident, now) for incident in over[:PAGE]],
            "newer": number - 1,
            "older": number + 1 if more and number < LAST_PAGE else 0,
        },
    )


@require_safe
@staff_page
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """What, since when, who acts, what helps, what arrived meanwhile, and the story."""
    now = timezone.now()
    return _page(request, _incident(pk), now, SnoozeForm(None, now))


@require_POST
@staff_page
def acknowledge(request: HttpRequest, pk: int) -> HttpResponse:
    """This person is on it. `?back=dashboard`: that is where it was said."""
    incident, by = telling.speaker(_incident(pk)), person(request)
    with transaction.atomic():
        done = attention.acknowledge(incident, by, timezone.now())
    if done:
        messages.success(request, "You are on it. No more reminders are sent.")
    else:
        _say_what_came_first(request, pk)
    if request.GET.get("back") == "dashboard":
        return redirect("dashboard:index")
    return redirect("integrations:incident", pk)


@require_POST
@staff_page
def snooze(request: HttpRequest, pk: int) -> HttpResponse:
    """No reminder until then, with a reason."""
    now, incident = timezone.now(), _incident(pk)
    form = SnoozeForm(request.POST, now)
    if not form.is_valid():
        return _page(request, incident, now, form, status=400)
    with transaction.atomic():
        done = attention.snooze(
            telling.speaker(incident),
            form.until,
            form.cleaned_data["reason"],
            person(request),
            now,
        )
    if done:
        until = times.since_when(form.until, now)
        messages.success(request, f"No reminder is sent before {until}.")
    else:
        _say_what_came_first(request, pk)
    return redirect("integrations:incident", pk)


def _incident(pk: int) -> Incident:
    return get_object_or_404(Incident.objects.select_related("part_of"), pk=pk)


def _say_what_came_first(request: HttpRequest, pk: int) -> None:
    incident = telling.speaker(_incident(pk))
    told = telling.on_it(incident, timezone.now()) or "It is over already"
    messages.info(request, f"{told}.")


def _page(
    request: HttpRequest, incident: Incident, now: dt.datetime, form: SnoozeForm, status: int = 200
) -> HttpResponse:
    speaker = telling.speaker(incident)
    explanation = telling.explain(speaker, now)
    # A shared incident is explained by its page, which is this one.
    helps = telling.needs_a_person(incident) and not speaker.shared
    row = None
    if not incident.shared:
        row = IntegrationStatus.objects.filter(
            integration=incident.integration, account=incident.account
        ).first()
    paused = row.paused_until if row else None
    by_hand = blast.listing(incident, now, CHANGES_AT_MOST)
    parts = list(incident.parts.all()[: PARTS + 1])
    return render(
        request,
        "incidents/incident.html",
        {
            "page": "incidents",
            "incident": incident,
            "open": incident.ended_at is None,
            "whose": telling.whose(incident),
            "explanation": explanation,
            "title": telling.title(incident, now) if speaker != incident else explanation.title,
            "fix_url": explanation.fix_url if helps else "",
            "when": telling.when(incident, now),
            "how_long": telling.how_long(incident, now),
            "how_it_ended": telling.how_it_ended(incident),
            "works_again": telling.works_again(incident),
            "who_acts": telling.who_acts(speaker),
            "speaker": speaker if speaker != incident else None,
            "parts": [_line(part, now) for part in parts[:PARTS]],
            "more_parts": len(parts) > PARTS,
            "missed": blast.summary(incident, now),
            "by_hand": by_hand,
            "cut": len(by_hand) == CHANGES_AT_MOST,
            "on_it": telling.on_it(speaker, now),
            "answerable": (
                speaker == incident
                and telling.needs_a_person(incident)
                and not incident.acknowledged_at
            ),
            "snooze": form,
            "notes": [(times.since_when(note.at, now), note.text) for note in incident.notes.all()],
            "row": row,
            "paused": times.since_when(paused, now) if paused and paused > now else "",
            "pause_form": PauseForm(None, now),
            "pause_until": for_input(next_opening(now)),
            "pause_url": pause_url(row.integration, row.account) if row else "",
            "resume_url": resume_url(row.integration, row.account) if row else "",
            "time_zone": timezone.get_current_timezone_name(),
        },
        status=status,
    )


def _line(incident: Incident, now: dt.datetime) -> Line:
    return Line(
        incident=incident,
        whose=telling.whose(incident),
        title=telling.title(incident, now),
        when=telling.when(incident, now),
        note=telling.how_it_ended(incident) or telling.on_it(incident, now),
    )


def _number(text: str) -> int:
    """The page that is asked for; the first for anything odd."""
    return min(int(text), LAST_PAGE) if text.isdecimal() and len(text) < 6 and int(text) else 1
