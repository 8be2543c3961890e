""" "Since your last visit": what went wrong, and maybe healed, while nobody looked."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.dateparse import parse_datetime

from dashboard.cards import history_url
from integrations.addresses import address
from integrations.base import Assessment, Cell
from integrations.levels import Level
from integrations.times import clock, moment

COOKIE = "last_visit"
AT_MOST = dt.timedelta(hours=24)
# Loading the page again is the same visit: what has been told must not vanish with a reload.
SAME_VISIT = dt.timedelta(minutes=30)
LINES = 6
TROUBLE = {Level.WARNING, Level.CRITICAL}


@dataclass(frozen=True, kw_only=True)
class Happening:
    """A line such as "Between 2:00 am and 2:30 am QuickBooks had trouble, healed"."""

    at: dt.datetime
    level: Level
    when: str
    what: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Visit:
    """`since`: the end of the last visit; None on the first one."""

    since: dt.datetime | None
    cookie: str


def visit(request: HttpRequest, now: dt.datetime) -> Visit:
    """Read the cookie: the end of the last visit and the newest load of this one, ISO times."""
    times = [parsed for part in request.COOKIES.get(COOKIE, "").split("|") if (parsed := _at(part))]
    if not times or max(times) > now:
        return Visit(since=None, cookie=now.isoformat())
    since, newest = times[0], times[-1]
    if now - newest > SAME_VISIT:
        since = newest
    return Visit(since=max(since, now - AT_MOST), cookie=f"{since.isoformat()}|{now.isoformat()}")


def remember(response: HttpResponse, cookie: str) -> None:
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=dt.timedelta(days=30),
        path=address("dashboard:index"),
        secure=bool(settings.SESSION_COOKIE_SECURE),
        httponly=True,
        samesite="Lax",
    )


def happenings(
    assessments: Sequence[Assessment], since: dt.datetime | None, now: dt.datetime
) -> list[Happening]:
    """Trouble that began, or ended, since then; newest first.

    Read off the assessments at hand: asking for everybody's history would take a query each.
    """
    if since is None:
        return []
    found: list[Happening] = []
    for assessment in assessments:
        lasting = assessment.level in TROUBLE or bool(assessment.spell)
        began = assessment.since if lasting else None
        if began and began > since:
            found.append(_lasting(assessment, began, now))
        for start, end in _troubled(assessment.strip, now):
            if end > since and not (lasting and end >= (began or now)):
                found.append(_healed(assessment, start, end, now))
    return sorted(found, key=lambda happening: happening.at, reverse=True)


def _troubled(cells: Sequence[Cell], now: dt.datetime) -> list[tuple[dt.datetime, dt.datetime]]:
    """The spans of the strip in which checks failed, oldest first."""
    spans: list[tuple[dt.datetime, dt.datetime]] = []
    ends = [*(cell.starts_at for cell in cells[1:]), now]
    for cell, end in zip(cells, ends, strict=False):
        if cell.level not in TROUBLE:
            continue
        if spans and spans[-1][1] == cell.starts_at:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((cell.starts_at, end))
    return spans


def _lasting(assessment: Assessment, began: dt.datetime, now: dt.datetime) -> Happening:
    return Happening(
        at=began,
        level=assessment.level,
        when=f"Since {moment(began, now)}",
        what=f"{assessment.name}: {assessment.title}",
        url=history_url(assessment.account),
    )


def _healed(
    assessment: Assessment, start: dt.datetime, end: dt.datetime, now: dt.datetime
) -> Happening:
    return Happening(
        at=start,
        level=Level.WARNING,
        when=f"Between {moment(start, now)} and {clock(end)}",
        what=f"{assessment.name} had trouble, healed",
        url=history_url(assessment.account),
    )


def _at(text: str) -> dt.datetime | None:
    try:
        at = parse_datetime(text)
    except ValueError:
        return None
    return at if at is None or at.tzinfo else at.replace(tzinfo=dt.UTC)
