"""Score and aggregates over the check history.

Every question here is answered from a range of an index on time; none counts the whole table.
Confirming repeats count nowhere.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Count, QuerySet

from integrations.levels import Level
from quickbooks import figures
from quickbooks.diagnosis import TRANSIENT, Code
from quickbooks.models import ConnectionHealthCheck

CELLS = 48


@dataclass
class Score:
    """Successes among checks. `value` is a percentage to one decimal, None without checks."""

    checks: int = 0
    successes: int = 0
    # index of the slice of the window → (checks, successes)
    cells: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        return round(100 * self.successes / self.checks, 1) if self.checks else None

    def __str__(self) -> str:
        if self.value is None:
            return "no checks yet"
        return f"{self.value:.1f} % ({self.successes} of {self.checks})"


def window_start(now: dt.datetime) -> dt.datetime:
    """Where the window of the score begins."""
    return now - dt.timedelta(hours=settings.HEALTH_WINDOW_HOURS)


def counted(since: dt.datetime, until: dt.datetime) -> QuerySet[ConnectionHealthCheck]:
    """The checks of a span of time that count for the score."""
    return ConnectionHealthCheck.objects.filter(
        checked_at__gt=since, checked_at__lte=until, confirming=False
    )


def scores(realm_ids: Sequence[str], now: dt.datetime) -> dict[str, Score]:
    """The score of each company over the window, with its `CELLS` slices. One query."""
    since = window_start(now)
    found = {realm_id: Score() for realm_id in realm_ids}
    rows = figures.slices(realm_ids, since, now, settings.HEALTH_WINDOW_HOURS * 3600 // CELLS)
    for realm_id, cell, checks, successes in rows:
        score = found[realm_id]
        score.checks += checks
        score.successes += successes
        cell = min(int(cell), CELLS - 1)
        before = score.cells.get(cell, (0, 0))
        score.cells[cell] = (before[0] + checks, before[1] + successes)
    return found


@dataclass(frozen=True)
class Summary:
    """Aggregates of any selection of checks. Latencies in milliseconds."""

    checks: int
    successes: int
    failures: list[tuple[Code | str, int]]
    latency_median: int | None
    latency_p95: int | None

    @property
    def score(self) -> Score:
        return Score(self.checks, self.successes)


def summarize(checks: QuerySet[ConnectionHealthCheck]) -> Summary:
    """Aggregate a selection, which should be bounded in time. Three small queries."""
    checks = checks.order_by()
    by_code = {
        code: (count, timed)
        for code, count, timed in checks.values_list("diagnosis").annotate(
            Count("id"), Count("latency_ms")
        )
    }
    ok, _ = by_code.get(Code.OK, (0, 0))
    timed = sum(timed for _, timed in by_code.values())
    return Summary(
        checks=sum(count for count, _ in by_code.values()),
        successes=ok,
        failures=sorted(
            ((code, count) for code, (count, _) in by_code.items() if code != Code.OK),
            key=lambda pair: -pair[1],
        ),
        latency_median=_quantile(checks, timed, 0.5),
        latency_p95=_quantile(checks, timed, 0.95),
    )


def _quantile(checks: QuerySet[ConnectionHealthCheck], timed: int, part: float) -> int | None:
    """The nearest-rank quantile, sorted by the database: SQLite has no PERCENTILE_CONT."""
    if not timed:
        return None
    position = min(int(timed * part), timed - 1)
    rows = checks.filter(latency_ms__isnull=False).order_by("latency_ms")
    return rows.values_list("latency_ms", flat=True)[position : position + 1].get()


@dataclass(frozen=True)
class Spell:
    """A run of consecutive checks with the same diagnosis."""

    diagnosis: str
    first: dt.datetime
    last: dt.datetime
    checks: int

    @property
    def level(self) -> Level:
        return Code(self.diagnosis).level if self.diagnosis in set(Code) else Level.UNKNOWN


def spells(checks: Iterable[tuple[dt.datetime, str]]) -> list[Spell]:
    """Collapse (time, diagnosis) pairs, oldest first, into runs, newest first."""
    found: list[Spell] = []
    for at, diagnosis in checks:
        if found and found[-1].diagnosis == diagnosis:
            found[-1] = Spell(diagnosis, found[-1].first, at, found[-1].checks + 1)
        else:
            found.append(Spell(diagnosis, at, at, 1))
    return found[::-1]


def level_of(
    code: Code, now: dt.datetime, last_success_at: dt.datetime | None, since: dt.datetime | None
) -> Level:
    """The level of a diagnosis, which for a transient one grows with the time without success.

    `since`: the first failure, for a company that has never answered.
    """
    reference = last_success_at or since
    lasting = dt.timedelta(minutes=settings.CRITICAL_AFTER_MINUTES)
    if code in TRANSIENT and reference is not None and now - reference >= lasting:
        return Level.CRITICAL
    return code.level
