"""What is known of the location, in one statement.

The dashboard asks on every load; compiling this with the ORM costs several times what the
database takes to answer it.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from integrations.base import Movement
from integrations.gohighlevel.models import Mapping, Result
from integrations.gohighlevel.runs import ALIVE
from integrations.levels import Level
from integrations.sql import moment, rows

_KNOWN = f"""
    SELECT l.name, l.uninstalled_at, l.probing_until, l.calls_left, l.calls_left_at,
        l.mapped, l.unmatched, l.ambiguous,
        k.checked_at, k.state, k.http_status, k.message, k.latency_ms,
        (SELECT MAX(g.checked_at) FROM gohighlevel_locationcheck g
         WHERE g.location_id = %(location)s AND g.ok = TRUE),
        CASE WHEN NOT k.ok THEN (SELECT MIN(f.checked_at) FROM gohighlevel_locationcheck f
         WHERE f.location_id = %(location)s AND f.ok = FALSE AND f.checked_at > COALESCE(
            (SELECT MAX(g.checked_at) FROM gohighlevel_locationcheck g
             WHERE g.location_id = %(location)s AND g.ok = TRUE), %(ever)s)) END,
        COALESCE((SELECT MIN(e.checked_at) FROM gohighlevel_locationcheck e
            WHERE e.location_id = %(location)s), l.installed_at),
        (SELECT since FROM integrations_integrationstatus
         WHERE integration = 'gohighlevel' AND account = '' AND level = '{Level.HEALTHY}'),
        r.finished_at, r.result, r.state, r.why, r.in_probe,
        d.finished_at, d.result, d.why,
        EXISTS (SELECT 1 FROM gohighlevel_syncrun
                WHERE location_id = %(location)s AND finished_at IS NULL
                    AND heartbeat_at > %(alive)s)
    FROM (SELECT 1 AS one) AS always
    LEFT JOIN gohighlevel_location l ON l.location_id = %(location)s
    LEFT JOIN gohighlevel_locationcheck k ON k.id = (
        SELECT id FROM gohighlevel_locationcheck WHERE location_id = %(location)s
        ORDER BY checked_at DESC, id DESC LIMIT 1)
    LEFT JOIN gohighlevel_syncrun r ON r.id = (
        SELECT id FROM gohighlevel_syncrun
        WHERE location_id = %(location)s AND finished_at IS NOT NULL
        ORDER BY finished_at DESC, id DESC LIMIT 1)
    LEFT JOIN gohighlevel_syncrun d ON d.id = (
        SELECT id FROM gohighlevel_syncrun
        WHERE location_id = %(location)s AND finished_at IS NOT NULL
            AND result <> '{Result.FAILED}'
        ORDER BY finished_at DESC, id DESC LIMIT 1)
"""  # noqa: S608  # names of our own; values travel as parameters


@dataclass(frozen=True, kw_only=True)
class Check:
    """The newest probe. `failing_since`: the first of the failures in a row, None if it is well."""

    at: dt.datetime
    state: str
    http_status: int | None
    message: str
    latency_ms: int | None
    failing_since: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has ended. `state` is `ok` or a code; `in_probe`: that is where it failed."""

    at: dt.datetime
    result: str
    state: str
    why: str
    in_probe: bool


@dataclass(frozen=True, kw_only=True)
class Known:
    """`ended`: the newest run that has ended; `completed`: the newest that saw all contacts;
    `running`: one is alive; `first_at`: the first that is known of the location;
    `healthy_since`: as the status of the integrations has it."""

    name: str
    uninstalled_at: dt.datetime | None
    probing_until: dt.datetime | None
    calls_left: int | None
    calls_left_at: dt.datetime | None
    mapped: int
    unmatched: int
    ambiguous: int
    check: Check | None
    last_ok_at: dt.datetime | None
    first_at: dt.datetime | None
    healthy_since: dt.datetime | None
    ended: Run | None
    completed: Run | None
    running: bool

    @property
    def contacts(self) -> int:
        return self.mapped + self.unmatched + self.ambiguous


def known(location_id: str, now: dt.datetime) -> Known:
    """One statement, whatever the length of the past."""
    moments = {"ever": dt.datetime(2000, 1, 1, tzinfo=dt.UTC), "alive": now - ALIVE}
    (found,) = rows(_KNOWN, {"location": location_id, **moments})
    name, uninstalled, probing, left, left_at, mapped, unmatched, ambiguous, *rest = found
    at, state, http_status, message, latency, last_ok, failing, first, healthy, *runs = rest
    ended_at, result, ended_state, why, in_probe, *last, running = runs
    completed_at, completed_result, remark = last
    return Known(
        name=name or "",
        uninstalled_at=moment(uninstalled),
        probing_until=moment(probing),
        calls_left=left,
        calls_left_at=moment(left_at),
        mapped=mapped or 0,
        unmatched=unmatched or 0,
        ambiguous=ambiguous or 0,
        check=_check(moment(at), state, http_status, message, latency, moment(failing)),
        last_ok_at=moment(last_ok),
        first_at=moment(first),
        healthy_since=moment(healthy),
        ended=_run(moment(ended_at), result, ended_state, why, in_probe),
        completed=_run(moment(completed_at), completed_result, "ok", remark, False),
        running=bool(running),
    )


_MOVEMENT = f"""
    SELECT
        (SELECT contact_updated_at FROM gohighlevel_contactmapping
         WHERE location_id = %(location)s AND contact_updated_at <= %(now)s
            AND state <> '{Mapping.GONE}'
         ORDER BY contact_updated_at DESC LIMIT 1),
        (SELECT MAX(finished_at) FROM gohighlevel_syncrun
         WHERE location_id = %(location)s AND finished_at <= %(now)s
            AND result <> '{Result.FAILED}'),
        (SELECT heard_at FROM gohighlevel_contactmapping
         WHERE location_id = %(location)s AND heard_at IS NOT NULL AND heard_at <= %(now)s
         ORDER BY heard_at DESC LIMIT 1)
"""  # noqa: S608  # names of our own; values travel as parameters


def last_movement(location_id: str, now: dt.datetime) -> Movement:
    """By the vendor's own clock of the contact that changed last; and when we looked last."""
    ((moved, synced, heard),) = rows(_MOVEMENT, {"location": location_id, "now": now})
    looked = [at for at in (moment(synced), moment(heard)) if at]
    return Movement(at=moment(moved), watched_until=max(looked, default=None))


def _check(at: dt.datetime | None, *values: Any) -> Check | None:
    if at is None:
        return None
    state, http_status, message, latency_ms, failing_since = values
    return Check(
        at=at,
        state=state,
        http_status=http_status,
        message=message,
        latency_ms=latency_ms,
        failing_since=failing_since,
    )


def _run(at: dt.datetime | None, result: str, state: str, why: str, in_probe: bool) -> Run | None:
    if at is None:
        return None
    return Run(at=at, result=result, state=state, why=why, in_probe=bool(in_probe))
