"""What is to be said about companies at one moment, from what is stored. Calls nobody.

The card, the API and the command all render the same `Judgement`.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from django.conf import settings

from integrations.levels import Level
from quickbooks import figures, provenance, tokens, words
from quickbooks.diagnosis import Code
from quickbooks.health import Score, level_of, scores
from quickbooks.models import ConnectionHealthCheck, MeteredCalls, OAuthToken

# The cards and the API show the worst twelve; the others are a search away.
WORST = 12


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One company, or with `row` None the fact that there is none.

    `code` is None for a company that has not been checked since it was connected. `since` is
    when the present spell of trouble or of health began. `renewing_fails`: it works, and its
    last three renewals failed.
    """

    row: OAuthToken | None
    code: Code | None
    level: Level
    check: ConnectionHealthCheck | None
    score: Score
    since: dt.datetime | None
    title: str
    impact: str
    next_step: str
    button: str
    who_acts: str
    checking: bool = False
    renewing_fails: bool = False

    @property
    def connected(self) -> bool:
        return self.code is None or self.code.connected

    @property
    def told_code(self) -> Code:
        """For machines, whose contract has no word for "connected, and no answer seen yet"."""
        return self.code or Code.TIMEOUT


def judge(
    now: dt.datetime,
    realm_ids: Sequence[str] | None = None,
    unsaved: ConnectionHealthCheck | None = None,
) -> list[Judgement]:
    """The worst twelve companies, worst first, or just the named ones. Three queries.

    `unsaved`: a check that the database did not take, which is newer than all it has.
    """
    chosen = figures.companies(now, realm_ids, WORST)
    latest = figures.checks([row.latest for row in chosen if row.latest])  # type: ignore[attr-defined]
    found_scores = scores([row.realm_id for row in chosen], now)

    def newest(row: OAuthToken) -> ConnectionHealthCheck | None:
        if unsaved and unsaved.realm_id == row.realm_id:
            return unsaved
        return latest.get(row.latest)  # type: ignore[attr-defined]

    used_up = cache(lambda: allowance_is_used_up(now))  # asked at most once, if at all
    return [_judge(row, newest(row), found_scores[row.realm_id], now, used_up) for row in chosen]


def judge_nothing() -> Judgement:
    """What is to be said when no company was ever connected."""
    code = Code.NOT_CONFIGURED if tokens.missing_settings() else Code.NOT_CONNECTED
    texts = words.WORDS[code]
    return Judgement(
        row=None,
        code=code,
        level=code.level,
        check=None,
        score=Score(),
        since=None,
        title=texts.title,
        impact=texts.impact,
        next_step=texts.next_step,
        button=texts.button,
        who_acts=texts.who_acts,
    )


def _judge(
    row: OAuthToken,
    check: ConnectionHealthCheck | None,
    score: Score,
    now: dt.datetime,
    used_up: Callable[[], bool],
) -> Judgement:
    if check and row.connected_at and check.checked_at < row.connected_at:
        check = None  # it speaks of an earlier grant
    code = tokens.standing_verdict(row)
    if code is None and check is not None and check.diagnosis in set(Code):
        code = Code(check.diagnosis)
    at = check.checked_at if check else now
    level = level_of(code, now, row.last_success_at, row.connected_at) if code else Level.UNKNOWN
    since = row.disconnected_at if code is Code.DISCONNECTED_HERE else _since(row, level, at)
    shared: dict[str, Any] = {
        "row": row,
        "check": check,
        "score": score,
        "since": since,
        "checking": bool(row.checking),  # type: ignore[attr-defined]
    }
    if code is None:
        return Judgement(
            code=None,
            level=level,
            title="Not checked yet.",
            impact="Payment tracking is confirmed with the first check.",
            next_step="Nothing to do.",
            button="Check now",
            who_acts="nobody",
            **shared,
        )
    texts = words.WORDS[code]
    if code is Code.THROTTLED and used_up():
        texts = words.ALLOWANCE_USED_UP
    elif provenance.strayed(row, code):
        texts = words.STRAYED
    moments = words.moments(
        code,
        since=since or at,
        answered_at=at,
        disconnected_at=row.disconnected_at,
        company=str(row),
        person=row.disconnected_by_name,  # type: ignore[attr-defined]
        now=now,
    )
    texts = texts.told(moments)
    return Judgement(
        code=code,
        level=level,
        title=texts.title,
        impact=texts.impact,
        next_step=texts.next_step,
        button=texts.button,
        who_acts=texts.who_acts,
        renewing_fails=code is Code.OK and bool(row.renewing_fails),  # type: ignore[attr-defined]
        **shared,
    )


def _since(row: OAuthToken, level: Level, at: dt.datetime) -> dt.datetime:
    """When this spell of trouble or of health began: as the status has it, if that is of the same
    spell, otherwise with the evidence of `at`.
    """
    known = row.status_since  # type: ignore[attr-defined]
    healthy = row.status_level == Level.HEALTHY.value  # type: ignore[attr-defined]
    return known if known and healthy == (level is Level.HEALTHY) else at


def with_its_risk(judgement: Judgement, now: dt.datetime) -> Judgement:
    """For people: what works and cannot be renewed is no success. The contract's diagnosis for
    machines has no code for that, so it stays what it is.
    """
    if not judgement.renewing_fails:
        return judgement
    texts = words.renewing_fails(judgement.check.checked_at if judgement.check else now)
    return replace(
        judgement,
        level=Level.WARNING,
        since=None,  # it works since then; since when renewing fails, nobody asks
        title=texts.title,
        impact=texts.impact,
        next_step=texts.next_step,
        button=texts.button,
        who_acts=texts.who_acts,
    )


def metered_calls(now: dt.datetime) -> int:
    """Calls of this month that count against the app's allowance."""
    month = MeteredCalls.objects.filter(
        client_id=settings.QUICKBOOKS_CLIENT_ID, month=now.date().replace(day=1)
    )
    return month.values_list("count", flat=True).first() or 0


def allowance_is_used_up(now: dt.datetime) -> bool:
    """This month's metered calls are spent, by our own count."""
    return metered_calls(now) >= settings.QUICKBOOKS_MONTHLY_ALLOWANCE
