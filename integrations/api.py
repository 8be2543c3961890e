"""What all answers under /api/ have in common: JSON, and 401 and 403 instead of a login page."""

import datetime as dt
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from integrations.base import Assessment
from integrations.models import Incident
from integrations.registry import assess_all, get_integration
from integrations.standing import stand

INCIDENTS_AT_MOST = 200


def staff_api(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponseBase]:
    """GET only, staff only, never cached."""

    # Without the exemption a POST gets the CSRF page in HTML; only GET does anything here.
    @csrf_exempt
    @never_cache
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return problem(401, "Sign in first.")
        if not (request.user.is_staff and request.user.is_active):
            return problem(403, "This is for staff.")
        if request.method not in {"GET", "HEAD"}:
            response = problem(405, "Only GET is possible here.")
            response["Allow"] = "GET, HEAD"
            return response
        return view(request, *args, **kwargs)

    return guarded


def problem(status: int, message: str) -> JsonResponse:
    return JsonResponse({"error": {"status": status, "message": message}}, status=status)


def as_time(moment: dt.datetime | None) -> str | None:
    """ "2026-11-22T09:15:02Z", or None."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def absolute(url: str) -> str:
    """An address that works outside of a page of ours."""
    return settings.SITE_URL + url if url.startswith("/") else url


@staff_api
def integrations(request: HttpRequest) -> HttpResponse:
    """Every card as it is stored; calls nobody."""
    now = timezone.now()
    return JsonResponse({"integrations": [card(a) for a in stand(assess_all(now), now)]})


@staff_api
def incidents(request: HttpRequest) -> HttpResponse:
    """Every open incident with `open=1`, otherwise the newest; all or of one integration."""
    slug, open_only = request.GET.get("integration"), request.GET.get("open", "0")
    if slug is not None and get_integration(slug) is None:
        return problem(400, "There is no integration with this name.")
    if open_only not in {"0", "1"}:
        return problem(400, "“open” is 0 or 1.")
    rows = Incident.objects.all()
    if slug is not None:
        rows = rows.filter(integration=slug)
    # What is open is never left out, however many there are.
    rows = rows.filter(ended_at=None) if open_only == "1" else rows[:INCIDENTS_AT_MOST]
    return JsonResponse({"incidents": [incident(row) for row in rows]})


def incident(row: Incident) -> dict[str, Any]:
    """An incident in the contract's form."""
    return {
        "id": row.pk,
        "integration": row.integration,
        "account": row.account,
        "cause": row.cause,
        "level": row.level,
        "started_at": as_time(row.started_at),
        "confirmed_at": as_time(row.confirmed_at),
        "acknowledged_at": as_time(row.acknowledged_at),
        "ended_at": as_time(row.ended_at),
    }


def card(assessment: Assessment) -> dict[str, Any]:
    """An assessment in the contract's form."""
    action = assessment.action
    return {
        "integration": assessment.integration,
        "account": assessment.account,
        "name": assessment.name,
        "status": assessment.level.value,
        "state": assessment.state,
        "title": assessment.title,
        "impact": assessment.impact,
        "next_step": assessment.next_step,
        "who_acts": assessment.who_acts,
        "action_label": action.label if action else None,
        "action_url": absolute(action.url) if action else None,
        "since": as_time(assessment.since),
        "checked_at": as_time(assessment.checked_at),
        "metrics": {
            name: as_time(value) if isinstance(value, dt.datetime) else value
            for name, value in assessment.metrics.items()
        },
    }
