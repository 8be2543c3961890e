"""The rows that deliveries leave: one for each event, and a count for each minute of refusals."""

import datetime as dt
import logging
import secrets
from typing import Any

from django.db import Error as AnyDatabaseError
from django.db import connection, transaction

from integrations import counters
from integrations.models import DeliveryCount, WebhookDelivery, WebhookRefusal
from integrations.signatures import Reason

log = logging.getLogger(__name__)

# What this process knows to be stored: to ask for each delivery costs as much as to store it.
_stored_shapes: set[tuple[str, str, str]] = set()
MOST_SHAPES = 1000

_INSERT = """
    INSERT INTO integrations_webhookdelivery (integration, event_key, event_type, event_at,
        received_at, last_received_at, repeats, scheme, size, fingerprint, outcome, error, is_test,
        new_shape)
    VALUES (%s, %s, %s, %s, %s, %s, 0, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (integration, event_key) DO UPDATE
        SET repeats = integrations_webhookdelivery.repeats + 1,
            last_received_at = excluded.last_received_at
    RETURNING repeats
"""


def insert(row: WebhookDelivery) -> bool:
    """Insert a delivery, or note on the one that is there that it came again. True: inserted.

    One statement: the unique constraint decides, whatever else arrives at the same moment.
    Raises `django.db.Error`.
    """
    at = connection.ops.adapt_datetimefield_value
    values: list[Any] = [
        *[row.integration, row.event_key, row.event_type, at(row.event_at)],
        *[at(row.received_at), at(row.received_at), row.scheme, row.size],
        *[row.fingerprint, row.outcome, row.error, row.is_test, _is_new_shape(row)],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
        (repeats,) = cursor.fetchone()
    return bool(repeats == 0)


def _is_new_shape(row: WebhookDelivery) -> bool:
    """Whether others of this kind were stored before, and none with these keys.

    A test delivery is no example of what a vendor sends.
    """
    if row.is_test:
        return False
    shape = (row.integration, row.event_type, row.fingerprint)
    if shape in _stored_shapes:
        return False
    same_kind = WebhookDelivery.objects.filter(
        integration=row.integration, event_type=row.event_type, is_test=False
    )
    if same_kind.filter(fingerprint=row.fingerprint).exists():
        if len(_stored_shapes) >= MOST_SHAPES:
            _stored_shapes.clear()
        _stored_shapes.add(shape)
        return False
    return same_kind.exists()


def count(row: WebhookDelivery, fresh: bool) -> None:
    """For the counters. Last in its transaction, so that nobody waits for long, nor in a circle."""
    if not row.is_test:
        _count_outcome(row.integration, row.outcome if fresh else DeliveryCount.REPEATED)


def _count_outcome(slug: str, outcome: str) -> None:
    slot = secrets.randbelow(DeliveryCount.SLOTS)
    key = {"integration": slug, "outcome": str(outcome), "slot": slot}
    counters.add(DeliveryCount, key, {"count": 1})


def count_refusal(slug: str, reason: Reason, now: dt.datetime) -> None:
    """One more for this reason in this minute. The database's errors are logged, not raised."""
    minute = now.replace(second=0, microsecond=0)
    table = WebhookRefusal._meta.db_table
    at = connection.ops.adapt_datetimefield_value
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (integration, minute, reason, count, last_at) "  # noqa: S608
                "VALUES (%s, %s, %s, 1, %s) ON CONFLICT (integration, minute, reason) "
                f"DO UPDATE SET count = {table}.count + 1, last_at = excluded.last_at",
                [slug, at(minute), str(reason), at(now)],
            )
            _count_outcome(slug, DeliveryCount.REFUSED)
    except AnyDatabaseError as error:
        log.error("%s: a refusal could not be counted (%s)", slug, type(error).__name__)
