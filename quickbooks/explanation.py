"""What people who are not looking at the card are told of a company's state."""

import datetime as dt
from typing import Any

from django.db.models import QuerySet

from integrations.base import Explanation
from integrations.explanations import unexplained
from quickbooks import figures, links, provenance, words
from quickbooks.diagnosis import Code
from quickbooks.judgement import allowance_is_used_up
from quickbooks.models import ConnectionHealthCheck, OAuthToken, RefreshOutcome, TokenRefresh


def explain(realm_id: str, state: str, *, since: dt.datetime, now: dt.datetime) -> Explanation:
    """The words of a diagnosis that began `since`; `realm_id` may be empty. At most four queries.

    The reference is the `intuit_tid` of the newest failure since then that has one.
    """
    fix_url = links.fix_url(realm_id)
    if state not in set(Code):
        return unexplained("QuickBooks", state, since=since, now=now, fix_url=fix_url)
    code = Code(state)
    row = next(iter(figures.companies(now, [realm_id] if realm_id else [], 1)), None)
    texts = words.WORDS[code]
    if code is Code.THROTTLED and allowance_is_used_up(now):
        texts = words.ALLOWANCE_USED_UP
    elif row and provenance.strayed(row, code):
        texts = words.STRAYED
    texts = texts.told(
        words.moments(
            code,
            since=since,
            answered_at=(row.last_success_at if row else None) or since,
            disconnected_at=row.disconnected_at if row else since,
            company=str(row) if row else "your company",
            person=row.disconnected_by_name if row else "",  # type: ignore[attr-defined]
            now=now,
        )
    )
    return Explanation(
        title=texts.title,
        impact=texts.impact,
        next_step=texts.next_step,
        fix_url=fix_url,
        reference=_reference(row, code, since) if row else "",
    )


def _reference(row: OAuthToken, code: Code, since: dt.datetime) -> str:
    if code in {Code.RECONNECT_REQUIRED, Code.REFRESH_RESPONSE_LOST}:
        # The renewal that was refused has it; a check of a dead grant asks nobody any more.
        journal = TokenRefresh.objects.filter(
            realm_id=row.realm_id, generation=row.generation, outcome=RefreshOutcome.REJECTED
        )
        if tid := _newest(journal.order_by("-started_at", "-id")):
            return tid
    failures = ConnectionHealthCheck.objects.filter(
        realm_id=row.realm_id, checked_at__gte=since, ok=False
    )
    return _newest(failures.order_by("-checked_at", "-id"))


def _newest(rows: QuerySet[Any]) -> str:
    return rows.exclude(intuit_tid="").values_list("intuit_tid", flat=True).first() or ""
