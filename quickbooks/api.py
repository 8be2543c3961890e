"""`GET /api/admin/quickbooks/connection-status`: the verdict as JSON."""

import datetime as dt
import re
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

from integrations.api import absolute, as_time, problem, staff_api
from quickbooks import links
from quickbooks.judgement import Judgement, judge, judge_nothing
from quickbooks.models import REALM_PATTERN, ConnectionHealthCheck, Trigger
from quickbooks.probe import Outcome, UnknownCompany, companies, probe
from quickbooks.sweep import side_by_side

THREADS = 12


@staff_api
def connection_status(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    fresh = request.GET.get("fresh") == "1"
    realm_id = request.GET.get("realm_id")
    if realm_id is not None:
        if not re.fullmatch(REALM_PATTERN, realm_id):
            return problem(400, "realm_id must be made of digits")
        try:
            found = connections([realm_id], now, fresh=fresh)
        except UnknownCompany:
            return problem(404, "no such company was ever connected here")
        return JsonResponse({**found[0], "connections": []})
    found = connections(None, now, fresh=fresh)
    if not found:
        return JsonResponse({**as_json(judge_nothing(), None), "connections": []})
    return JsonResponse({**found[0], "connections": found})


def connections(
    realm_ids: list[str] | None, now: dt.datetime, *, fresh: bool
) -> list[dict[str, Any]]:
    """Probe the named companies, or the worst twelve of all; worst first.

    The API waits a second at most for somebody else's probe, and with `fresh` a deadline.
    Raises `UnknownCompany`.
    """
    chosen = realm_ids
    if chosen is None:
        chosen = [j.row.realm_id for j in judge(now) if j.row]
    patience = settings.QUICKBOOKS_DEADLINE_SECONDS if fresh else 1.0
    outcomes = probe_all(chosen, Trigger.API, now, fresh=fresh, patience=patience)
    shown = chosen if realm_ids is not None else companies()
    found = []
    for judgement in judge(now, shown):
        assert judgement.row is not None
        outcome = outcomes.get(judgement.row.realm_id)
        if outcome and not outcome.recorded:
            judgement = judge(now, [judgement.row.realm_id], outcome.check)[0]
        found.append((judgement, outcome))
    found.sort(key=lambda pair: -pair[0].level.severity)
    return [as_json(judgement, outcome) for judgement, outcome in found]


def probe_all(
    realm_ids: list[str], trigger: Trigger, now: dt.datetime, *, fresh: bool, patience: float
) -> dict[str, Outcome]:
    """Probe companies side by side, so that one that hangs delays none of the others."""

    def one(realm_id: str) -> Outcome:
        return probe(realm_id, trigger=trigger, now=now, fresh=fresh, patience=patience)

    return side_by_side(realm_ids, one, THREADS)


def as_json(judgement: Judgement, outcome: Outcome | None) -> dict[str, Any]:
    """One company in the contract's form."""
    row, check = judgement.row, judgement.check
    action = links.action(judgement)
    read = row.last_success_at if row else None
    return {
        "integration": "quickbooks",
        "status": judgement.level.value,
        "connected": judgement.connected,
        "environment": (row.environment if row else "") or settings.QUICKBOOKS_ENVIRONMENT,
        "company": {
            "realm_id": row.realm_id if row else None,
            "name": row.company_name if row else None,
        },
        "checked_at": as_time(check.checked_at if check else None),
        "last_success_at": as_time(read),
        "latency_ms": check.latency_ms if check else None,
        "reused": outcome is None or outcome.reused,
        "health": {
            "score": judgement.score.value,
            "window_hours": settings.HEALTH_WINDOW_HOURS,
            "checks": judgement.score.checks,
            "successes": judgement.score.successes,
        },
        "diagnosis": {
            "code": judgement.told_code.value,
            "title": judgement.title,
            "impact": judgement.impact,
            "next_step": judgement.next_step,
            "who_acts": judgement.who_acts,
            "action_label": action.label if action else None,
            "action_url": absolute(action.url) if action else None,
        },
        "error": _error(check, judgement),
        "token": {
            "access_expires_at": as_time(row.access_expires_at if row else None),
            "refresh_expires_at": as_time(row.refresh_expires_at if row else None),
            "hard_expires_at": as_time(row.hard_expires_at if row else None),
            "last_rotated_at": as_time(row.last_rotated_at if row else None),
            "refreshed": bool(check and check.refreshed and outcome and not outcome.reused),
        },
    }


def _error(check: ConnectionHealthCheck | None, judgement: Judgement) -> dict[str, Any] | None:
    if check is None or check.ok or check.diagnosis != judgement.code:
        return None  # what was wrong earlier is not why it is disconnected now
    return {
        "http_status": check.http_status,
        "type": check.fault_type or None,
        "code": check.fault_code or None,
        "message": check.message,
        "intuit_tid": check.intuit_tid or None,
    }
