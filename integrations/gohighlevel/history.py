"""The last 24 hours: syncs that ended and checks that failed, those in a row as one spell."""

import datetime as dt
from itertools import groupby

from integrations.base import Event
from integrations.gohighlevel.models import LocationCheck, Result, SyncRun
from integrations.gohighlevel.states import OK, State, counted, title
from integrations.levels import Level

DAY = dt.timedelta(hours=24)


def last_day(location_id: str, now: dt.datetime) -> list[Event]:
    """Newest first."""
    events = [*_runs(location_id, now), *_failures(location_id, now)]
    return sorted(events, key=lambda event: event.starts_at, reverse=True)


def _runs(location_id: str, now: dt.datetime) -> list[Event]:
    """Runs that ended, those in a row that went alike as one spell."""
    runs = SyncRun.objects.filter(
        location_id=location_id, finished_at__gt=now - DAY, finished_at__lte=now
    ).order_by("finished_at", "id")
    alike = groupby(runs, lambda run: (run.result, run.state, run.why, run.contacts))
    return [_spell(list(spell)) for _, spell in alike]


def _spell(runs: list[SyncRun]) -> Event:
    first, last = runs[0], runs[-1]
    assert last.finished_at is not None
    failed, known = last.result == Result.FAILED, last.state in set(State)
    level = State(last.state).level if known else Level.WARNING
    notes = [
        f"{len(runs)} syncs" if len(runs) > 1 else "",
        f"{counted(last.seen)} read" if failed else counted(last.contacts or 0),
        last.why,
    ]
    return Event(
        starts_at=first.started_at,
        ends_at=last.finished_at,
        level=level if last.result != Result.OK else Level.HEALTHY,
        title=f"Sync: {title(last.state)}" if failed and known else _ending(last),
        note=", ".join(filter(None, notes)),
    )


def _ending(run: SyncRun) -> str:
    words = {Result.OK: "Synced", Result.PARTIAL: "Synced in part"}
    return words.get(Result(run.result), "Not synced")


def _failures(location_id: str, now: dt.datetime) -> list[Event]:
    """Failed checks, those in a row as one spell."""
    rows = LocationCheck.objects.filter(
        location_id=location_id, checked_at__gt=now - DAY, checked_at__lte=now
    ).order_by("checked_at", "id")
    found = []
    for state, spell in groupby(rows.values_list("checked_at", "state"), lambda row: row[1]):
        moments = [at for at, _ in spell]
        if state == OK:
            continue
        found.append(
            Event(
                starts_at=moments[0],
                ends_at=moments[-1],
                level=State(state).level,
                title=title(state),
                note=f"{len(moments)} check{'s' if len(moments) > 1 else ''}",
            )
        )
    return found
