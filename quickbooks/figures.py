"""The dashboard's questions, in SQL.

For a page of three cards, compiling these with the ORM costs several times what the database
takes to answer them (measured by `make bench`). The same text runs on PostgreSQL and SQLite.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from integrations.sql import moment, rows
from quickbooks.models import (
    EXPIRED,
    FRESH_ENOUGH,
    REFUSED,
    ConnectionHealthCheck,
    GrantState,
    OAuthToken,
    RefreshOutcome,
    TokenRefresh,
    Trigger,
)

# All but the ciphertext: what is shown never needs it.
_COMPANY = ", ".join(
    f"t.{field.column}"
    for field in OAuthToken._meta.concrete_fields
    if field.name not in {"access_token", "refresh_token"}
)
# QuickBooks answers, and the last three renewals that came to an end did not succeed: a success
# would have begun another generation, and a refusal would have ended the grant.
_RENEWING_FAILS = f"""
    (SELECT COUNT(*) FROM (
        SELECT r.generation, r.outcome FROM quickbooks_tokenrefresh r
        WHERE r.realm_id = t.realm_id AND r.purpose = '{TokenRefresh.Purpose.REFRESH}'
            AND r.finished_at IS NOT NULL
        ORDER BY r.started_at DESC, r.id DESC LIMIT 3
     ) AS newest WHERE newest.generation = t.generation
        AND newest.outcome IN ('{RefreshOutcome.UNKNOWN}', '{RefreshOutcome.NOT_SENT}',
                               '{RefreshOutcome.APP_REJECTED}')) = 3
    AND (SELECT c.ok FROM quickbooks_connection_health c WHERE c.realm_id = t.realm_id
         ORDER BY c.checked_at DESC, c.id DESC LIMIT 1)
"""  # noqa: S608  # names of our own
# Those that the schedule reads, and that share the app's allowance.
_SHARING = f"""
    (SELECT COUNT(*) FROM quickbooks_oauthtoken
     WHERE state NOT IN ('{GrantState.PENDING}', '{GrantState.DISCONNECTED}'))
"""  # noqa: S608  # names of our own
_COMPANIES = f"""
    SELECT {_COMPANY}, {_RENEWING_FAILS} AS renewing_fails, {_SHARING} AS sharing,
        s.since AS status_since, s.level AS status_level, u.username AS disconnected_by_name,
        (SELECT c.id FROM quickbooks_connection_health c WHERE c.realm_id = t.realm_id
         ORDER BY c.checked_at DESC, c.id DESC LIMIT 1) AS latest,
        EXISTS (SELECT 1 FROM quickbooks_probeclaim p
                WHERE p.realm_id = t.realm_id AND p.expires_at > %s) AS checking
    FROM quickbooks_oauthtoken t
    LEFT JOIN integrations_integrationstatus s
        ON s.integration = 'quickbooks' AND s.account = t.realm_id
    LEFT JOIN auth_user u ON u.id = t.disconnected_by_id
    WHERE t.state <> '{GrantState.PENDING}' {{which}}
    ORDER BY COALESCE(s.severity, 1) DESC, t.company_name, t.realm_id
"""  # noqa: S608  # names of our own; values travel as parameters


_ENDING = f"""
    SELECT {_COMPANY}, {_RENEWING_FAILS} AS renewing_fails FROM quickbooks_oauthtoken t
    WHERE t.state = '{GrantState.LIVE}'
        AND (t.refresh_expires_at <= %s OR t.hard_expires_at <= %s OR {_RENEWING_FAILS})
    ORDER BY t.company_name, t.realm_id
"""  # noqa: S608  # names of our own; values travel as parameters


def companies(now: dt.datetime, realm_ids: Sequence[str] | None, limit: int) -> list[OAuthToken]:
    """Companies worst first, the named ones or the first `limit`, without their ciphertext.

    Each has the attributes `status_since`, `status_level`, `disconnected_by_name`, `latest` (id of
    the newest check), `renewing_fails`, `sharing` (how many are connected) and `checking`. The
    newest check comes from a correlated subquery: over a long history a GROUP BY or DISTINCT ON
    takes seconds.
    """
    if realm_ids is None:
        found = OAuthToken.objects.raw(_COMPANIES.format(which="") + f" LIMIT {int(limit)}", [now])
    elif realm_ids:
        which = f"AND t.realm_id IN ({_marks(realm_ids)})"
        found = OAuthToken.objects.raw(_COMPANIES.format(which=which), [now, *realm_ids])
    else:
        return []
    companies = list(found)
    for row in companies:
        row.status_since = moment(row.status_since)  # type: ignore[attr-defined]
    return companies


def ending(until: dt.datetime) -> list[OAuthToken]:
    """Live grants with a clock that runs out by then, or whose renewals fail, as in `companies`.

    Each has the attribute `renewing_fails`.
    """
    return list(OAuthToken.objects.raw(_ENDING, [until, until]))


def checks(ids: Sequence[int]) -> dict[int, ConnectionHealthCheck]:
    """Checks by their ids."""
    if not ids:
        return {}
    sql = f"SELECT * FROM quickbooks_connection_health WHERE id IN ({_marks(ids)})"  # noqa: S608
    return {check.pk: check for check in ConnectionHealthCheck.objects.raw(sql, list(ids))}


def slices(
    realm_ids: Sequence[str], since: dt.datetime, until: dt.datetime, seconds: int
) -> Iterable[tuple[str, int, int, int]]:
    """(company, index of the slice, checks, successes) of what counts for the score."""
    if not realm_ids:
        return []
    epoch = {
        "postgresql": "CAST(FLOOR(EXTRACT(EPOCH FROM checked_at)) AS BIGINT)",
        "sqlite": "CAST(STRFTIME('%%s', checked_at) AS INTEGER)",
    }[connection.vendor]
    return rows(
        f"""
        SELECT realm_id, ({epoch} - %s) / %s AS slice,
            COUNT(*), SUM(CASE WHEN ok THEN 1 ELSE 0 END)
        FROM quickbooks_connection_health
        WHERE realm_id IN ({_marks(realm_ids)})
            AND checked_at > %s AND checked_at <= %s AND NOT confirming
        GROUP BY 1, 2
        """,  # noqa: S608
        [int(since.timestamp()), seconds, *realm_ids, since, until],
    )


@dataclass(frozen=True)
class Totals:
    """What all companies' checks of a span come to, and the refreshes that began in it.

    Latencies in milliseconds. `expired`, `refused`: why the refreshes began; `early`: those of
    the former whose access token had time left; `unclear`: those that ended without an answer.
    `sharing`: how many companies are connected now.
    """

    checks: int
    successes: int
    latency_median: int | None
    latency_p95: int | None
    expired: int
    refused: int
    early: int
    unclear: int
    sharing: int


def totals(since: dt.datetime, until: dt.datetime) -> Totals:
    """One statement; the quantiles are nearest-rank, because SQLite has no PERCENTILE_CONT."""
    (row,) = rows(
        f"""
        WITH span AS (
            SELECT ok, latency_ms FROM quickbooks_connection_health
            WHERE checked_at > %s AND checked_at <= %s AND NOT confirming
        ), ranked AS (
            SELECT latency_ms, ROW_NUMBER() OVER (ORDER BY latency_ms) - 1 AS position,
                COUNT(*) OVER () AS timed
            FROM span WHERE latency_ms IS NOT NULL
        ), renewals AS (
            SELECT reason, access_seconds_left, outcome FROM quickbooks_tokenrefresh
            WHERE started_at > %s AND purpose = %s
        )
        SELECT (SELECT COUNT(*) FROM span),
            (SELECT COUNT(*) FROM span WHERE ok),
            (SELECT MIN(latency_ms) FROM ranked WHERE position >= timed / 2),
            (SELECT MIN(latency_ms) FROM ranked WHERE position >= timed * 95 / 100),
            (SELECT COUNT(*) FROM renewals WHERE reason = %s),
            (SELECT COUNT(*) FROM renewals WHERE reason = %s),
            (SELECT COUNT(*) FROM renewals WHERE reason = %s AND access_seconds_left > %s),
            (SELECT COUNT(*) FROM renewals WHERE outcome = %s),
            {_SHARING}
        """,  # noqa: S608
        [
            since,
            until,
            since,
            TokenRefresh.Purpose.REFRESH,
            EXPIRED,
            REFUSED,
            EXPIRED,
            FRESH_ENOUGH.total_seconds(),
            RefreshOutcome.UNKNOWN,
        ],
    )
    return Totals(*row)


def last_scheduled_check(since: dt.datetime) -> dt.datetime | None:
    """When `check_quickbooks` last recorded a check, if that was after `since`."""
    found = list(
        rows(
            "SELECT checked_at FROM quickbooks_connection_health "
            'WHERE checked_at > %s AND "trigger" = %s ORDER BY checked_at DESC LIMIT 1',
            [since, Trigger.COMMAND],
        )
    )
    return moment(found[0][0]) if found else None


def _marks(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))
