"""Telling people of what will end unless they act, while there is time: 30, 14, 7, 3 and 1 days
ahead, each once.

What has been told is read from the outbox, where each message is named by its stage and by the
day that was foreseen. A day that moves by a little, as it does when a vendor rounds, is still the
same; one that moves further is a new one, of which nobody has been told.
"""

import datetime as dt
from collections import defaultdict
from typing import Any

from integrations.alerts import outbox, recipients
from integrations.alerts.letters import in_short
from integrations.base import Forecast
from integrations.models import Alert, IntegrationStatus
from integrations.registry import all_integrations

STAGES = (30, 14, 7, 3, 1)  # days
# How far a foreseen day may move and still be the same.
SAME = dt.timedelta(days=3)
# Longer than people are told of one and the same end.
REMEMBERED = dt.timedelta(days=60)


def foresee(now: dt.datetime) -> int:
    """Queue what is due; how many messages. Where nothing is foreseen, that costs what the
    integrations ask to find out (QuickBooks: one statement for all companies).
    """
    foreseen = [
        (slug, forecast)
        for slug, integration in all_integrations().items()
        for forecast in integration.forecasts(now)
    ]
    if not foreseen:
        return 0
    told, paused, queued = _told(now), _paused(now), 0
    for slug, forecast in foreseen:
        occasion = _occasion(forecast, told[slug, forecast.account], now)
        if occasion and (slug, forecast.account) not in paused:
            people = recipients.of_account(slug, forecast.account, forecast.who_acts)
            key = f"forecast:{slug}:{forecast.account}:{occasion}"
            queued += outbox.forecast(people, key, _facts(forecast), now)
    return queued


def _occasion(forecast: Forecast, told: set[str], now: dt.datetime) -> str:
    """ "14:2026-12-21", what is due by the stage and the day; empty when it has been told."""
    if forecast.spell:
        return "" if forecast.spell in told else forecast.spell
    left, day = forecast.by - now, forecast.by.date()
    due = [stage for stage in STAGES if left <= dt.timedelta(days=stage)]
    if not due:
        return ""
    for occasion in told:
        stage, _, named = occasion.partition(":")
        if named and int(stage) <= due[-1] and abs(day - dt.date.fromisoformat(named)) <= SAME:
            return ""
    return f"{due[-1]}:{day}"


def _told(now: dt.datetime) -> dict[tuple[str, str], set[str]]:
    """The occasions of late, by integration and account."""
    found = defaultdict[tuple[str, str], set[str]](set)
    recent = Alert.objects.filter(kind=Alert.Kind.FORECAST, queued_at__gt=now - REMEMBERED)
    for key in recent.order_by().values_list("key", flat=True).distinct():
        _, slug, account, occasion = key.split(":", 3)
        found[slug, account].add(occasion)
    return found


def _paused(now: dt.datetime) -> set[tuple[str, str]]:
    rows = IntegrationStatus.objects.filter(paused_until__gt=now)
    return set(rows.values_list("integration", "account"))


def _facts(forecast: Forecast) -> dict[str, Any]:
    told = forecast.explanation
    lines = [f"Why: {forecast.reason}."]
    if told.reference:
        lines.append(f"For support: {told.reference}")
    return {
        "subject": f"{in_short(forecast.name)}: {told.title}",
        "title": told.title,
        "impact": told.impact,
        "next_step": told.next_step,
        "url": told.fix_url,
        "lines": lines,
    }
