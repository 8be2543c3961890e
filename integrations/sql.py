"""Questions in SQL whose text both databases understand."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection


def rows(sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
    """All rows of a statement. Times among the parameters become what columns hold."""
    plain: Any
    if isinstance(parameters, Mapping):
        plain = {name: _plain(value) for name, value in parameters.items()}
    else:
        plain = [_plain(value) for value in parameters]
    with connection.cursor() as cursor:
        cursor.execute(sql, plain)
        return list(cursor.fetchall())


def moment(value: Any) -> dt.datetime | None:
    """A time of a column that no model field converts: SQLite has them in UTC without saying so."""
    found = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    if isinstance(found, dt.datetime) and found.tzinfo is None:
        return found.replace(tzinfo=dt.UTC)
    return found if isinstance(found, dt.datetime) else None


def database_now() -> dt.datetime:
    """The clock that decides leases and claims: now, and not at the start of the transaction."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT clock_timestamp()")
            stamp: dt.datetime = cursor.fetchone()[0]
            return stamp
        cursor.execute("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')")
        return dt.datetime.fromisoformat(cursor.fetchone()[0]).replace(tzinfo=dt.UTC)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value
