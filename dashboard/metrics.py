"""The operational metrics, and the line that watches the checker itself."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from dashboard.headline import is_set_up
from dashboard.times import duration
from integrations.base import Assessment
from integrations.registry import all_integrations
from integrations.times import moment

# The checker runs every quarter of an hour unless somebody has chosen otherwise.
LATE = dt.timedelta(minutes=90)


TILE = '<div><dt>{}</dt><dd>{}</dd><dd class="muted">{}</dd></div>'
PAIR = "<div><dt>{}</dt><dd>{} <small>{}</small></dd></div>"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Rows of two definition lists: one for everybody, one for the IT person."""

    plain: SafeString
    technical: SafeString


@dataclass(frozen=True, kw_only=True)
class Checker:
    """`late`: somebody should look, for a stopped cron looks like peace."""

    late: bool
    sentence: str


def metrics(assessments: Sequence[Assessment], now: dt.datetime) -> Metrics:
    """The metrics of every integration that is set up."""
    plain: list[tuple[str, str, str]] = []
    technical: list[tuple[str, str, str]] = []
    for slug, integration in all_integrations().items():
        mine = [a for a in assessments if a.integration == slug and is_set_up(a)]
        if not mine:
            continue
        tiles = [tile for assessment in mine for tile in assessment.tiles]
        for metric in [*integration.metrics(now), *tiles]:
            if metric.technical:
                label = f"{integration.name}: {metric.label}"
                technical.append((label, metric.value, metric.note))
            else:
                note = f"{integration.name} · {metric.note}" if metric.note else integration.name
                plain.append((metric.label, metric.value, note))
    return Metrics(
        plain=format_html_join("", TILE, plain), technical=format_html_join("", PAIR, technical)
    )


def checker(now: dt.datetime) -> Checker:
    """When the scheduled checks ran last."""
    runs = [run for each in all_integrations().values() if (run := each.last_scheduled_run(now))]
    if not runs:
        return Checker(
            late=True,
            sentence="The checker has not run in the last 24 hours. Set up cron (README).",
        )
    last = max(runs)
    if now - last > LATE:
        return Checker(
            late=True,
            sentence=f"The checker has not run for {duration(now - last)}, "
            f"since {moment(last, now)}. Ask your IT person whether cron still runs.",
        )
    return Checker(late=False, sentence=f"Checker ran {moment(last, now)}")
