"""Writing contacts down: from a page of a run, from a webhook, and what is gone.

Older news never overwrites newer news. Every function wants to be inside of `locked`.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import transaction
from django.db.models import Q

from integrations.gohighlevel.contact import Contact
from integrations.gohighlevel.mapping import match_groups
from integrations.gohighlevel.models import ContactMapping, Location, Mapping, SyncRun

# Their search answers from an index that follows what happens; a page may be that far behind.
LAG = dt.timedelta(minutes=5)
FIELDS = [
    *("external_id", "email_hash", "contact_updated_at", "state", "rule", "person_id"),
    *("heard_at", "gone_at", "seen_in"),
]


@contextmanager
def locked(location_id: str) -> Iterator[Location]:
    """A transaction in which nobody else writes contacts of this location."""
    Location.objects.get_or_create(location_id=location_id)
    with transaction.atomic():
        yield Location.objects.select_for_update().get(location_id=location_id)


def store_page(run: SyncRun, contacts: Sequence[Contact], now: dt.datetime) -> tuple[int, int]:
    """Upsert what a page brought, to be matched at the end. How many are new, how many changed."""
    wanted = {contact.id: contact for contact in contacts}
    mine = ContactMapping.objects.filter(location_id=run.location_id, contact_id__in=list(wanted))
    known = {row.contact_id: row for row in mine}
    changed = [row for row in known.values() if _take(row, wanted[row.contact_id], run)]
    new = [
        ContactMapping(
            location_id=run.location_id,
            contact_id=contact.id,
            external_id=contact.external_id or "",
            email_hash=contact.email_hash or "",
            contact_updated_at=contact.updated_at,
            first_seen_at=now,
            seen_in=run,
        )
        for contact in wanted.values()
        if contact.id not in known
    ]
    mine.update(seen_in=run)
    for row in changed:
        row.pk, row.seen_in = None, run  # found again by its own ids
    ContactMapping.objects.bulk_create(
        [*new, *changed],
        update_conflicts=True,
        unique_fields=["location_id", "contact_id"],
        update_fields=FIELDS,
    )
    return len(new), len(changed)


def _take(row: ContactMapping, contact: Contact, run: SyncRun) -> bool:
    """Let a row know what a page says; False if it knew that, or knows better."""
    revived = row.state == Mapping.GONE
    if revived:
        if row.gone_at and row.gone_at > run.started_at:
            return False  # deleted after the page may have been made
        row.state, row.gone_at = Mapping.NEW, None
    elif not _newer(row, contact, run):
        return False
    # A page has all of a contact: what it does not say, the contact does not have.
    before = (row.external_id, row.email_hash, row.contact_updated_at)
    row.external_id, row.email_hash = contact.external_id or "", contact.email_hash or ""
    row.contact_updated_at = contact.updated_at or row.contact_updated_at
    return revived or before != (row.external_id, row.email_hash, row.contact_updated_at)


def _newer(row: ContactMapping, contact: Contact, run: SyncRun) -> bool:
    if row.contact_updated_at is None:
        return True
    if contact.updated_at is not None and contact.updated_at >= row.contact_updated_at:
        return True
    # The clock of a webhook is when it was sent, a little later than the change itself. What was
    # heard well before the run, the run's answers know.
    return row.heard_at is not None and row.heard_at < run.started_at - LAG


def hear(location_id: str, contact: Contact, at: dt.datetime | None, now: dt.datetime) -> None:
    """A webhook told of a contact. `at`: the vendor's clock, None if it told none."""
    row = _find(location_id, contact.id)
    before = row.state if row else ""
    if row is None:
        row = ContactMapping(location_id=location_id, contact_id=contact.id, first_seen_at=now)
    elif row.state == Mapping.GONE:
        if at is None or (row.contact_updated_at and at <= row.contact_updated_at):
            return  # sent before it was deleted, for all that we know
        row.state, row.gone_at, row.contact_updated_at = Mapping.NEW, None, None
    elif at and row.contact_updated_at and at < row.contact_updated_at:
        return
    ids, hashes = {row.external_id}, {row.email_hash}
    if contact.external_id is not None:
        row.external_id = contact.external_id
    if contact.email_hash is not None:
        row.email_hash = contact.email_hash
    if contact.external_id is not None or contact.email_hash is not None:
        row.contact_updated_at = at or row.contact_updated_at
    row.heard_at = now
    row.save()
    ids, hashes = ids | {row.external_id}, hashes | {row.email_hash}
    match_groups(location_id, row.contact_id, ids, hashes, before)


def forget(location_id: str, contact_id: str, at: dt.datetime | None, now: dt.datetime) -> None:
    """A webhook told that a contact was deleted. What is left keeps a late update from it."""
    row = _find(location_id, contact_id)
    before = row.state if row else ""
    if row is None:
        row = ContactMapping(location_id=location_id, contact_id=contact_id, first_seen_at=now)
    elif at and row.contact_updated_at and at < row.contact_updated_at:
        return
    ids, hashes = {row.external_id}, {row.email_hash}
    row.state, row.gone_at, row.heard_at = Mapping.GONE, row.gone_at or now, now
    row.rule = row.person_id = row.external_id = row.email_hash = ""
    row.contact_updated_at = at or now
    row.save()
    match_groups(location_id, contact_id, ids, hashes, before)


def mark_gone(run: SyncRun, now: dt.datetime) -> int:
    """Contacts that a complete run has not seen, and no webhook since it began. How many."""
    rows = ContactMapping.objects.filter(location_id=run.location_id)
    unseen = Q(seen_in=None) | ~Q(seen_in=run)
    unheard = Q(heard_at=None) | Q(heard_at__lt=run.started_at)
    return (
        rows.exclude(state=Mapping.GONE)
        .filter(unseen, unheard)
        .update(
            state=Mapping.GONE,
            gone_at=now,
            contact_updated_at=run.started_at,
            rule="",
            person_id="",
            external_id="",
            email_hash="",
        )
    )


def seen_by(run: SyncRun) -> int:
    """How many different contacts a run has seen."""
    return ContactMapping.objects.filter(seen_in=run).count()


def known(location_id: str) -> int:
    """How many contacts are there for all that is known, counted yet or not."""
    return (
        ContactMapping.objects.filter(location_id=location_id).exclude(state=Mapping.GONE).count()
    )


def _find(location_id: str, contact_id: str) -> ContactMapping | None:
    return ContactMapping.objects.filter(location_id=location_id, contact_id=contact_id).first()
