"""What the pages of connecting and disconnecting have in common."""

import re

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from integrations.addresses import address
from integrations.base import Action
from quickbooks import links
from quickbooks.models import REALM_PATTERN
from quickbooks.tokens import RenewalPending


def realm_asked(value: str | None) -> str:
    """The realm id of a parameter, "" without one; 404 when it is not digits."""
    if value and not re.fullmatch(REALM_PATTERN, value):
        raise Http404
    return value or ""


def start_again(realm_id: str) -> Action:
    return Action(label="Start again", url=links.page("connect", realm_id))


def to_dashboard() -> Action:
    return Action(label="Go to the dashboard", url=address("dashboard:index"))


def unfinished(pending: RenewalPending) -> str:
    """Why nothing can be done with the grant just now, and until when."""
    until = timezone.localtime(pending.until) if pending.until else None
    when = f"; the next try is possible at {until:%H:%M:%S}" if until else ""
    return f"A renewal with QuickBooks is unfinished{when}."


def problem(
    request: HttpRequest, title: str, text: str, next_step: str, actions: list[Action]
) -> HttpResponse:
    """What went wrong, in plain words, and where to go from here."""
    context = {"title": title, "text": text, "next_step": next_step, "actions": actions}
    return render(request, "quickbooks/problem.html", context)
