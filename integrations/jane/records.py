"""What a snapshot changes, written down. The only writer of memberships.

In SQL that both databases understand: every delivery passes here, and compiling these few
statements with the ORM costs more than the database takes to run them (`make bench`).
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from integrations.jane.activity import REMOVED, is_active, is_unknown
from integrations.jane.models import Kind
from integrations.jane.parsing import Snapshot, Term
from integrations.jane.values import stored_day

SOURCE = "jane"

# Makes the person or locks it, whoever else has news of the same one, and gives no row where
# something newer is known; else how many memberships there are to compare with.
_PERSON = """
    INSERT INTO integrations_person (source, person_id, email_hash, known_at)
    VALUES (%s, %s, %s, %s)
    ON CONFLICT (source, person_id) DO UPDATE
        SET known_at = excluded.known_at, email_hash = {email}
        WHERE integrations_person.known_at <= excluded.known_at
    RETURNING (SELECT COUNT(*) FROM jane_membership m
               WHERE m.person_id = integrations_person.person_id)
"""
_KNOWN = """
    SELECT key, vendor_id, plan, status, starts_on, ends_on
    FROM jane_membership WHERE person_id = %s
"""
_WRITE = """
    INSERT INTO jane_membership (person_id, key, vendor_id, plan, status, starts_on, ends_on,
        changed_at, first_seen_at)
    VALUES {rows}
    ON CONFLICT (person_id, key) DO UPDATE SET vendor_id = excluded.vendor_id,
        plan = excluded.plan, status = excluded.status, starts_on = excluded.starts_on,
        ends_on = excluded.ends_on, changed_at = excluded.changed_at
    RETURNING id, key
"""
_NOTE = "INSERT INTO jane_membershipchange (membership_id, at, kind, status, ends_on) VALUES {rows}"


@dataclass(frozen=True, kw_only=True)
class _Change:
    kind: Kind
    term: Term


def save(snapshot: Snapshot, now: dt.datetime) -> None:
    """Put a snapshot into effect, inside of a transaction; one older than what is known has none.

    A snapshot without a clock counts as of its receipt. Raises `DatabaseError`.
    """
    with connection.cursor() as cursor:
        count = _lock_person(cursor, snapshot, now)
        if count is None:
            return
        known = _known(cursor, snapshot.person_id) if count else {}
        changes = list(_changes(snapshot, known, timezone.localdate(now)))
        if changes:
            _write(cursor, snapshot.person_id, changes, now)


def _lock_person(cursor: CursorWrapper, snapshot: Snapshot, now: dt.datetime) -> int | None:
    """How many of the person's memberships are known; None where the snapshot is out of date."""
    told = snapshot.email_hash is not None or not settings.MATCHING_KEY
    email = "excluded.email_hash" if told else "integrations_person.email_hash"
    values = [SOURCE, snapshot.person_id, snapshot.email_hash or "", _at(snapshot.at or now)]
    cursor.execute(_PERSON.format(email=email), values)
    row = cursor.fetchone()
    return row and int(row[0])


def _known(cursor: CursorWrapper, person_id: str) -> dict[str, Term]:
    cursor.execute(_KNOWN, [person_id])
    return {
        key: Term(
            key=key,
            vendor_id=vendor_id,
            plan=plan,
            status=status,
            starts_on=stored_day(starts_on),
            ends_on=stored_day(ends_on),
        )
        for key, vendor_id, plan, status, starts_on, ends_on in cursor.fetchall()
    }


def _changes(snapshot: Snapshot, known: dict[str, Term], today: dt.date) -> Iterable[_Change]:
    for term in snapshot.terms:
        before = known.get(term.key)
        if before != term:
            yield _Change(kind=_kind(before, term, today), term=term)
    told = {term.key for term in snapshot.terms}
    for key, term in known.items():
        gone = snapshot.complete or (snapshot.single and not term.vendor_id)
        if key not in told and gone and term.status != REMOVED:
            yield _Change(kind=Kind.REMOVED, term=replace(term, status=REMOVED))


def _kind(before: Term | None, after: Term, today: dt.date) -> Kind:
    if before is None or before.status == REMOVED:
        return Kind.APPEARED
    active = is_active(after.status, after.ends_on, today)
    over = not active and not is_unknown(after.status, after.ends_on, today)
    if over and is_active(before.status, before.ends_on, today):
        return Kind.ENDED
    later = before.ends_on and after.ends_on and after.ends_on > before.ends_on
    return Kind.RENEWED if active and later else Kind.CHANGED


def _write(
    cursor: CursorWrapper, person_id: str, changes: Sequence[_Change], now: dt.datetime
) -> None:
    at = _at(now)
    rows = [
        [
            *[person_id, change.term.key, change.term.vendor_id, change.term.plan],
            *[change.term.status, _day(change.term.starts_on), _day(change.term.ends_on), at, at],
        ]
        for change in changes
    ]
    cursor.execute(_WRITE.format(rows=_marks(rows)), list(chain.from_iterable(rows)))
    ids = {key: pk for pk, key in cursor.fetchall()}
    notes = [
        [ids[term.key], at, change.kind.value, term.status, _day(term.ends_on)]
        for change in changes
        for term in [change.term]
    ]
    cursor.execute(_NOTE.format(rows=_marks(notes)), list(chain.from_iterable(notes)))


def _marks(rows: Sequence[Sequence[Any]]) -> str:
    return ", ".join(f"({', '.join(['%s'] * len(row))})" for row in rows)


def _at(moment: dt.datetime | None) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)


def _day(date: dt.date | None) -> str | None:
    return date.isoformat() if date else None
