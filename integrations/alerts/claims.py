"""What is due, what goes out together, and whose hands it is in."""

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from integrations.alerts.messages import digest_id, message_id
from integrations.levels import Level
from integrations.models import Alert
from integrations.sql import database_now

Kind, State = Alert.Kind, Alert.State

CLAIM = dt.timedelta(minutes=10)
# So many alike make one message.
DIGEST = 3
# Rows that are looked at together.
BATCH = 2_000
MAIL = "mail"

# Quiet hours hold all but these.
URGENT = Q(kind=Kind.OPENED, incident__level=Level.CRITICAL.value) | Q(kind=Kind.TEST)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What goes out in one message, under `message_id`."""

    rows: Sequence[int]
    recipient: int
    channel: str
    message_id: str


def due(now: dt.datetime) -> QuerySet[Alert]:
    """Queued, due, and in nobody's hands."""
    unclaimed = Q(claimed_until=None) | Q(claimed_until__lt=database_now())
    return Alert.objects.filter(unclaimed, state=State.QUEUED, due_at__lte=now)


def behind() -> Q:
    """Later news of an incident of which the recipient does not have the first message yet."""
    first = Alert.objects.filter(
        recipient=OuterRef("recipient"),
        incident=OuterRef("incident"),
        kind=Kind.OPENED,
        state=State.QUEUED,
    )
    return Q(Exists(first), kind__in=[Kind.REMINDER, Kind.RECOVERED])


def units(rows: QuerySet[Alert]) -> list[Unit]:
    """The messages that these rows make, the least tried and oldest first. One query."""
    groups = defaultdict[tuple[Any, ...], list[int]](list)
    channels: dict[int, str] = {}
    ids: dict[int, str] = {}
    found = rows.order_by("attempts", "due_at", "pk").values_list(
        *("pk", "recipient", "recipient__email", "kind", "message_id", "queued_at", "facts"),
        *("incident__integration", "incident__cause"),
    )
    for pk, recipient, email, kind, known_id, queued_at, facts, slug, cause in found[:BATCH]:
        ids[pk] = known_id or message_id(pk, queued_at)
        channels[recipient] = MAIL if email else f"url:{recipient}"
        alike: tuple[Any, ...] = (pk,)
        if known_id:  # what may have arrived in one message stays in one message
            alike = (known_id,)
        elif kind == Kind.FORECAST:
            alike = (kind, facts.get("title"))
        elif cause:
            alike = (kind, slug, cause)
        groups[recipient, alike].append(pk)
    made = []
    for (recipient, _), members in groups.items():
        together = len({ids[pk] for pk in members}) == 1 or len(members) >= DIGEST
        for pks in [members] if together else [[pk] for pk in members]:
            names = {ids[pk] for pk in pks}
            made.append(
                Unit(
                    rows=pks,
                    recipient=recipient,
                    channel=channels[recipient],
                    message_id=names.pop() if len(names) == 1 else digest_id(uuid.uuid4().hex),
                )
            )
    return made


def claim(unit: Unit, owner: str, now: dt.datetime) -> list[Alert]:
    """Those of its rows that nobody else has, committed as ours for ten minutes."""
    taken = update(
        due(now).filter(pk__in=unit.rows),
        claimed_by=owner,
        claimed_until=database_now() + CLAIM,
        message_id=unit.message_id,
    )
    if not taken:
        return []
    mine = Alert.objects.filter(pk__in=unit.rows, claimed_by=owner)
    return list(mine.select_related("recipient", "incident").order_by("pk"))


def update(rows: QuerySet[Alert], **values: Any) -> int:
    """One conditional UPDATE of its own; how many rows it hit.

    Two that touch the same rows in another order would wait for each other for ever on
    PostgreSQL, so what somebody else is just changing is left out.
    """
    with transaction.atomic(durable=True):
        free = rows.order_by().select_for_update(skip_locked=True, of=("self",))
        return Alert.objects.filter(pk__in=free.values("pk")).update(**values)


def release(rows: Sequence[Alert], owner: str, **values: Any) -> int:
    """Settle what is still ours, and let it go; how many rows that were."""
    mine = Alert.objects.filter(
        pk__in=[row.pk for row in rows], claimed_by=owner, state=State.QUEUED
    )
    return mine.update(claimed_by="", claimed_until=None, **values)
