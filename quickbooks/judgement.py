"""What is to be said about companies at one moment, from what is stored. Calls nobody.

The card, the API and the command all render the same `Judgement`.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings

from integrations import times
from integrations.levels import Level
from quickbooks import figures, tokens, words
from quickbooks.diagnosis import Code
from quickbooks.health import Score, level_of, scores
from quickbooks.models import ConnectionHealthCheck, MeteredCalls, OAuthToken

# The cards and the API show the worst twelve; the others are a search away.
WORST = 12


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One company, or with `row` None the fact that there is none.

    `code` is None for a company that has not been checked since it was connected. `since` is
    when the present spell of trouble began.
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

    used_up = cache(lambda: _allowance_is_used_up(now))  # asked at most once, if at all
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
    since = row.disconnected_at if code is Code.DISCONNECTED_HERE else row.status_since  # type: ignore[attr-defined]
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
            level=Level.UNKNOWN,
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
    moments = _moments(row, code, check, since, now)
    return Judgement(
        code=code,
        level=level_of(code, now, row.last_success_at, row.connected_at),
        title=texts.title,
        impact=texts.impact.format(**moments),
        next_step=texts.next_step.format(**moments),
        button=texts.button,
        who_acts=texts.who_acts,
        **shared,
    )


def _moments(
    row: OAuthToken,
    code: Code,
    check: ConnectionHealthCheck | None,
    since: dt.datetime | None,
    now: dt.datetime,
) -> dict[str, str]:
    at = check.checked_at if check else now
    if code is Code.THROTTLED:  # the schedule's next quarter of an hour
        at = now + dt.timedelta(minutes=15 - now.minute % 15)
    date = row.disconnected_at or now
    if code is Code.THROTTLED:
        date = (now.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    person = row.disconnected_by_name or "Somebody"  # type: ignore[attr-defined]
    return {
        "since": times.since_when(since or at, now),
        "time": times.clock(at),
        "company": str(row),
        "person": person,
        "date": times.calendar_day(date),
    }


def metered_calls(now: dt.datetime) -> int:
    """Calls of this month that count against the app's allowance."""
    month = MeteredCalls.objects.filter(
        client_id=settings.QUICKBOOKS_CLIENT_ID, month=now.date().replace(day=1)
    )
    return month.values_list("count", flat=True).first() or 0


def _allowance_is_used_up(now: dt.datetime) -> bool:
    return metered_calls(now) >= settings.QUICKBOOKS_MONTHLY_ALLOWANCE
