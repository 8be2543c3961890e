"""Counters that are added to, whoever else does so at the same moment. They never go down."""

from collections.abc import Mapping
from typing import Any

from django.db import connection, models


def add(model: type[models.Model], key: Mapping[str, Any], amounts: Mapping[str, int]) -> None:
    """Add to the row of a counter, which need not be there yet. Raises `DatabaseError`.

    `key`: the columns of a unique constraint of the model. One statement, so nothing is lost and
    nobody has to try again. It keeps the row locked until the transaction ends.
    """
    names = [*key, *amounts]
    table = model._meta.db_table
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in amounts)
    statement = (
        f"INSERT INTO {table} ({', '.join(names)}) "  # noqa: S608  # names of our own models
        f"VALUES ({', '.join(['%s'] * len(names))}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sums}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [*key.values(), *amounts.values()])
