"""What a company's page in the admin shows, gathered in a fixed number of queries."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages

from integrations.levels import Level
from integrations.read_only import label
from quickbooks import provenance, words
from quickbooks.admin.checks import result_label
from quickbooks.admin.journal import entries, outcome_label
from quickbooks.diagnosis import Code
from quickbooks.integration import notice_of
from quickbooks.judgement import judge
from quickbooks.models import ConnectionHealthCheck, GrantState, OAuthToken
from quickbooks.probe import Outcome

ROWS = 20


@dataclass(frozen=True)
class Clock:
    """One of the three times that decide when a grant must be renewed."""

    name: str
    meaning: str
    at: dt.datetime | None
    now: dt.datetime

    @property
    def over(self) -> bool:
        return self.at is not None and self.at <= self.now


def company_page(row: OAuthToken, now: dt.datetime) -> dict[str, Any]:
    """Everything on the page except what depends on who looks."""
    checks = ConnectionHealthCheck.objects.filter(realm_id=row.realm_id)
    judgement = judge(now, [row.realm_id])[0]
    return {
        "judgement": judgement,
        "status": label(judgement.level),
        "clocks": clocks(row, now),
        "handed_over": provenance.link_of(row),
        "dead": row.state in {GrantState.REJECTED, GrantState.LOST},
        "leased": row.lease_until is not None and row.lease_until > now,
        "revocable": row.state != GrantState.DISCONNECTED or bool(row.revocation_error),
        "checks": [
            (check, result_label(check), words.title(check.diagnosis))
            for check in checks.order_by("-checked_at", "-id")[:ROWS]
        ],
        "journal": [
            (entry, outcome_label(entry))
            for entry in entries().filter(realm_id=row.realm_id)[:ROWS]
        ],
        "now": now,
        "hours": settings.HEALTH_WINDOW_HOURS,
    }


def clocks(row: OAuthToken, now: dt.datetime) -> list[Clock]:
    """The three clocks of a grant; none where there is no grant any more."""
    if row.state == GrantState.DISCONNECTED:
        return []
    return [
        Clock("Access token", "reads with it; renewed by itself", row.access_expires_at, now),
        Clock(
            "Refresh token",
            "renews the other; each renewal extends it",
            row.refresh_expires_at,
            now,
        ),
        Clock("Authorization", "a person must sign in again before", row.hard_expires_at, now),
    ]


def tell(outcome: Outcome) -> tuple[int, str]:
    """What to say after "Check now": the level of the message and its text."""
    check, notice = outcome.check, notice_of(outcome)
    if check is None or outcome.reused:
        busy = "Another check is still under way. Please look again in a moment."
        return messages.WARNING, notice or busy
    title = words.title(check.diagnosis)
    if check.ok and not notice:
        took = "" if check.latency_ms is None else f" QuickBooks answered in {check.latency_ms} ms."
        return messages.SUCCESS, f"{title}.{took}"
    severe = not outcome.recorded or Code(check.diagnosis).level is Level.CRITICAL
    return messages.ERROR if severe else messages.WARNING, f"{title}. {notice}".strip()
