"""QuickBooks as one of the integrations: judgements turned into assessments for the cards."""

import datetime as dt
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.utils import timezone
from prometheus_client.metrics_core import Metric as PrometheusMetric

from integrations import times
from integrations.base import Assessment, Cell, Event, Explanation, Forecast, Integration, Metric
from integrations.levels import Level
from quickbooks import explanation, figures, forecast, links, pacing, samples, tokens, words
from quickbooks.diagnosis import TRANSIENT, Code
from quickbooks.evidence import NO_ALARM, symptom
from quickbooks.health import CELLS, Score, counted, spells, window_start
from quickbooks.judgement import Judgement, judge, judge_nothing, metered_calls, with_its_risk
from quickbooks.models import (
    GrantState,
    OAuthToken,
    Trigger,
)
from quickbooks.probe import Outcome, UnknownCompany, probe


class QuickBooks(Integration):
    slug = "quickbooks"
    name = "QuickBooks"
    keeps_the_books = True
    commits_its_checks = True

    def assess(self, now: dt.datetime, accounts: Sequence[str] | None = None) -> list[Assessment]:
        judgements = judge(now, [a for a in accounts if a] if accounts is not None else None)
        if not judgements and (accounts is None or "" in accounts):
            judgements = [judge_nothing()] if not self.account_count() else []
        return [_assessment(judgement, now) for judgement in judgements]

    def check(self, account: str, now: dt.datetime, user_id: int | None) -> Assessment | None:
        if not account:
            return None if self.account_count() else _assessment(judge_nothing(), now)
        try:
            outcome = probe(account, trigger=Trigger.DASHBOARD, now=now)
        except UnknownCompany:
            return None
        unsaved = None if outcome.recorded else outcome.check
        judgement = judge(now, [account], unsaved)[0]
        return _assessment(judgement, now, notice=notice_of(outcome), checking=outcome.checking)

    def account_count(self) -> int:
        return OAuthToken.objects.exclude(state=GrantState.PENDING).count()

    def history(self, account: str, now: dt.datetime) -> list[Event]:
        rows = counted(window_start(now), now).filter(realm_id=account).order_by("checked_at", "id")
        return [
            Event(
                starts_at=spell.first,
                ends_at=spell.last,
                level=spell.level,
                title=words.title(spell.diagnosis),
                note=f"{spell.checks} check{'s' if spell.checks > 1 else ''}",
            )
            for spell in spells(rows.values_list("checked_at", "diagnosis"))
        ]

    def last_scheduled_run(self, now: dt.datetime) -> dt.datetime | None:
        return figures.last_scheduled_check(now - dt.timedelta(hours=24))

    def metrics(self, now: dt.datetime) -> list[Metric]:
        found = figures.totals(window_start(now), now)
        hours = f"last {settings.HEALTH_WINDOW_HOURS} h"
        return [
            Metric(label="Checks", value=f"{found.checks:,}", note=hours),
            Metric(label="Successful", value=f"{found.successes:,}", note=hours),
            *_technical(found, now),
        ]

    def explain(
        self, account: str, state: str, *, since: dt.datetime, now: dt.datetime
    ) -> Explanation:
        return explanation.explain(account, state, since=since, now=now)

    def samples(self, now: dt.datetime) -> Iterable[PrometheusMetric]:
        return samples.samples(now)

    def forecasts(self, now: dt.datetime) -> list[Forecast]:
        return forecast.forecasts(now)

    def title_of(self, state: str) -> str:
        return words.title(state)


def _technical(found: figures.Totals, now: dt.datetime) -> list[Metric]:
    evidence = (
        f"{found.early or 'none'} caused by monitoring: {found.expired - found.early} began when "
        f"the access token was over, {found.refused} after QuickBooks had refused it"
    )
    if settings.QUICKBOOKS_ENVIRONMENT == "production":
        metered, allowed = metered_calls(now), f"of {settings.QUICKBOOKS_MONTHLY_ALLOWANCE:,}"
    else:
        metered, allowed = 0, "sandbox calls are free"
    shown = [
        ("Latency, median", _milliseconds(found.latency_median), "reading the company"),
        ("Latency, 95th percentile", _milliseconds(found.latency_p95), ""),
        ("Token renewals", str(found.expired + found.refused), evidence),
        ("Renewals without a clear answer", str(found.unclear), ""),
        ("Metered calls this month", f"{metered:,}", allowed),
        ("Interval of checks", *_interval(found.sharing, now)),
    ]
    return [
        Metric(label=label, value=value, note=note, technical=True) for label, value, note in shown
    ]


def _interval(companies: int, now: dt.datetime) -> tuple[str, str]:
    """How often a healthy company is read, and why."""
    allowance = f"{settings.QUICKBOOKS_MONTHLY_ALLOWANCE:,}"
    counted = "1 company" if companies == 1 else f"{companies:,} companies"
    return pacing.told(pacing.interval(companies, now)), f"{counted}, {allowance} calls a month"


def _milliseconds(value: int | None) -> str:
    return "–" if value is None else f"{value} ms"


def notice_of(outcome: Outcome) -> str:
    """What has to be said beside the last known state."""
    if not outcome.recorded:
        return "This result could not be saved: the monitor's database did not take it."
    if outcome.renewal_until:
        return (
            f"Renewal unfinished, next try at {timezone.localtime(outcome.renewal_until):%H:%M:%S}."
        )
    return ""


def _assessment(
    judgement: Judgement, now: dt.datetime, *, notice: str = "", checking: bool = False
) -> Assessment:
    judgement = with_its_risk(judgement, now)
    row, check = judgement.row, judgement.check
    return Assessment(
        integration=QuickBooks.slug,
        account=row.realm_id if row else "",
        name=f"QuickBooks · {row}" if row else "QuickBooks",
        level=judgement.level,
        state=judgement.told_code.value,
        title=judgement.title,
        impact=judgement.impact,
        next_step=judgement.next_step,
        who_acts=judgement.who_acts,
        headline=_headline(judgement),
        action=links.action(judgement),
        links=links.others(judgement),
        since=judgement.since,
        checked_at=check.checked_at if check else None,
        last_success_at=row.last_success_at if row else None,
        metrics=_figures(judgement, now),
        facts=_facts(judgement, now),
        strip=strip(judgement.score, now) if row else (),
        support=_support(judgement),
        checking=checking or judgement.checking,
        notice=notice,
        alarming=row is not None and judgement.code not in {None, *NO_ALARM},
        transient=judgement.code in TRANSIENT,
        symptom=symptom(judgement.code),
    )


def _headline(judgement: Judgement) -> str:
    if judgement.code is Code.NOT_CONFIGURED:
        return "Not set up"
    if judgement.code is Code.NOT_CONNECTED:
        return "Not connected yet"
    return "Connected" if judgement.connected else "Disconnected"


def _figures(judgement: Judgement, now: dt.datetime) -> dict[str, object]:
    row = judgement.row
    end = forecast.end_of(row, now) if row else None
    return {
        "score": judgement.score.value,
        "checks": judgement.score.checks,
        "successes": judgement.score.successes,
        "last_success_at": row.last_success_at if row else None,
        "last_renewed_at": row.minted_at if row else None,
        "reauthorize_by": end.by if end else None,
    }


def _facts(judgement: Judgement, now: dt.datetime) -> list[str]:
    row = judgement.row
    if row is None:
        missing = tokens.missing_settings()
        return [f"Missing: {', '.join(missing)}"] if missing else []
    read = f"read OK {times.ago(row.last_success_at, now)}" if row.last_success_at else ""
    renewed = f"renewed {times.ago(row.minted_at, now)}" if row.minted_at else ""
    facts = [f"Score {judgement.score}", " · ".join(filter(None, (read, renewed)))]
    facts.append(forecast.notice(row, now))
    if judgement.level is Level.HEALTHY:
        facts.append(pacing.why(row.sharing, now))  # type: ignore[attr-defined]
    if row.revocation_error:
        facts.append(
            "Intuit could not be told about the disconnection "
            f"({row.revocation_error}). Disconnect once more to try again."
        )
    return [fact for fact in facts if fact]


def strip(score: Score, now: dt.datetime) -> list[Cell]:
    """The window in `CELLS` slices; a slice without a check is a gap and not a success."""
    start = window_start(now)
    width = dt.timedelta(hours=settings.HEALTH_WINDOW_HOURS) / CELLS
    found = []
    for index in range(CELLS):
        checks, successes = score.cells.get(index, (0, 0))
        level = None
        if checks:
            level = Level.HEALTHY if successes == checks else Level.WARNING
            level = Level.CRITICAL if not successes else level
        label = f"{successes} of {checks} checks OK" if checks else "not checked"
        found.append(Cell(starts_at=start + index * width, level=level, label=label))
    return found


def _support(judgement: Judgement) -> list[tuple[str, str]]:
    row, check = judgement.row, judgement.check
    if row is None:
        return []
    pairs = [
        ("Company id", row.realm_id),
        ("Diagnosis", judgement.code.value if judgement.code else "not checked"),
    ]
    if check:
        pairs += [
            ("Checked", f"{check.checked_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("HTTP status", str(check.http_status or "no answer")),
            ("Fault", f"{check.fault_type} {check.fault_code}".strip()),
            ("Message", check.message),
            ("intuit_tid", check.intuit_tid),
            ("Latency", f"{check.latency_ms} ms" if check.latency_ms is not None else ""),
        ]
    pairs.append(("Environment", row.environment))
    return [(label, value) for label, value in pairs if value]
