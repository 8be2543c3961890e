"""Output in the monitoring-plugins convention.

https://www.monitoring-plugins.org/doc/guidelines.html#PLUGOUTPUT
"""

import datetime as dt
from dataclasses import replace

from django.conf import settings

from integrations.levels import Level, worst
from quickbooks import pacing
from quickbooks.diagnosis import Code
from quickbooks.judgement import Judgement
from quickbooks.models import ConnectionHealthCheck


def line(judgement: Judgement) -> str:
    """ "QUICKBOOKS OK - Harbour Physio answered in 212 ms, 24 h score 99.0 % (95/96)"."""
    return f"QUICKBOOKS {judgement.level.plugin_word} - {_text(judgement)}"


def performance(judgement: Judgement) -> str:
    """ "latency=0.212s;;;0 score=99.0%;95:;80:;0;100"; U is the convention's unknown value."""
    check, score = judgement.check, judgement.score.value
    latency = "U"
    if check and check.latency_ms is not None and check.http_status and not _gave_up(check):
        latency = f"{check.latency_ms / 1000:.3f}s"
    return f"latency={latency};;;0 score={'U' if score is None else f'{score:.1f}%'};95:;80:;0;100"


def summary(judgements: list[Judgement]) -> str:
    """The first line for several companies; its performance data are the counts."""
    counts = {level: sum(j.level is level for j in judgements) for level in Level}
    told = ", ".join(
        f"{count} {level.plugin_word}"
        for level, count in sorted(counts.items(), key=lambda pair: -pair[0].severity)
        if count
    )
    data = " ".join(f"{level.plugin_word.lower()}={count}" for level, count in counts.items())
    overall = worst([judgement.level for judgement in judgements])
    return f"QUICKBOOKS {overall.plugin_word} - {len(judgements)} companies: {told} | {data}"


def as_cached(judgement: Judgement, now: dt.datetime) -> Judgement:
    """What is stored, called unknown when it is too old to say anything."""
    if judgement.row is None or judgement.code is Code.DISCONNECTED_HERE:
        return judgement  # no check says so, and it stays true without one
    check = judgement.check
    patience = pacing.stale_after(
        judgement.row.sharing,  # type: ignore[attr-defined]
        now,
        healthy=judgement.level is Level.HEALTHY,
    )
    if check is None or now - check.checked_at > patience:
        when = f"since {check.checked_at:%Y-%m-%d %H:%M} UTC" if check else "yet"
        return replace(judgement, level=Level.UNKNOWN, title=f"no check {when}")
    return judgement


def _gave_up(check: ConnectionHealthCheck) -> bool:
    """An answer that began and never ended has no latency."""
    return check.diagnosis == Code.TIMEOUT


def _text(judgement: Judgement) -> str:
    check, score = judgement.check, judgement.score
    name = str(judgement.row) if judgement.row else ""
    if judgement.level is Level.HEALTHY and check is not None:
        told = f"{name} answered in {check.latency_ms} ms"
    else:
        told = f"{name}: {judgement.title}" if name else judgement.title
    if score.value is not None:
        hours = settings.HEALTH_WINDOW_HOURS
        told += f", {hours} h score {score.value:.1f} % ({score.successes}/{score.checks})"
    # A pipe separates the performance data; a company may have one in its name.
    return told.replace("|", "/")
