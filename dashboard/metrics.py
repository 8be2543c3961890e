"""The operational metrics, and the line that watches the checker itself."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from config.schedule import ALERTS, CHECKER
from dashboard.headline import is_set_up
from dashboard.times import duration
from integrations.base import Assessment
from integrations.registry import all_integrations
from integrations.runs import ALERTS_LATE, DAY, LATE, Review, review
from integrations.times import moment

# Whoever starts the checks in a way of their own has chosen a rhythm that we do not know.
LATE_BY_HAND = dt.timedelta(minutes=90)


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
    """When the schedule's checks ran last, when they run next, and what went wrong with them."""
    found = review(now)
    if found is None or now - found.last > DAY:
        # Somebody may have another scheduler start the command itself.
        return _by_hand(now)
    tail = _trouble(found)
    if now - found.last > LATE:
        return _late(
            f"The checker has not run for {duration(now - found.last)}, "
            f"since {moment(found.last, now)}. Ask your IT person whether cron still runs.",
            tail,
        )
    if now - (found.good or found.first) > LATE:
        since = f"since {moment(found.good, now)}" if found.good else "once"
        return _late(
            f"The checker runs, but it has not come to its end {since}. "
            "Ask your IT person to look at its output.",
            tail,
        )
    if now - (found.alerts_at or found.first) > ALERTS_LATE:
        return _late(
            f"The checker ran {moment(found.last, now)}, but alerts are not sent: "
            f"{ALERTS.name} does not run. Ask your IT person to set up cron again (README).",
            tail,
        )
    sentence = f"Checker ran {moment(found.last, now)}, next {moment(CHECKER.next_run(now), now)}"
    return Checker(late=False, sentence=sentence + tail)


def _late(sentence: str, tail: str) -> Checker:
    """What follows after a middle dot goes on with the sentence."""
    return Checker(late=True, sentence=sentence.removesuffix(".") + tail if tail else sentence)


def _by_hand(now: dt.datetime) -> Checker:
    """From what the checks themselves left behind; nobody knows when they should have run."""
    runs = [run for each in all_integrations().values() if (run := each.last_scheduled_run(now))]
    if not runs:
        return Checker(
            late=True,
            sentence="The checker has not run in the last 24 hours. Set up cron (README).",
        )
    last = max(runs)
    if now - last > LATE_BY_HAND:
        return Checker(
            late=True,
            sentence=f"The checker has not run for {duration(now - last)}, "
            f"since {moment(last, now)}. Ask your IT person whether it still runs by itself.",
        )
    return Checker(late=False, sentence=f"Checker ran {moment(last, now)}")


def _trouble(found: Review) -> str:
    """ " · 3 runs missed, 1 failed in the last 24 hours"; empty for none."""
    counts = ((found.missed, "missed"), (found.failed, "failed"), (found.killed, "broken off"))
    told = [(count, word) for count, word in counts if count]
    if not told:
        return ""
    unit = "run" if told[0][0] == 1 else "runs"
    words = [f"{count} {word}" for count, word in told]
    words[0] = words[0].replace(" ", f" {unit} ", 1)
    return f" · {', '.join(words)} in the last 24 hours"
