"""Which contact and which Jane person belong together. The rules, in the order in which they count:

1. The contact carries a person's id. The only one to carry it: mapped. Several: all ambiguous.
2. With `MATCHING_KEY`, its e-mail is known. One person has it, no other contact without an id
   has it, and no contact carries that person's id: mapped. A person has it, but something of
   that does not hold: ambiguous. It is never guessed.
3. Otherwise unmatched.

mapped + unmatched + ambiguous = contacts; those that are gone count nowhere. One statement
judges all contacts of a location, or just the groups that a change has touched. The caller
holds the lock of the location (`storage.locked`).
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count

from integrations.gohighlevel.models import ContactMapping, Location, Mapping, Rule
from integrations.models import Person
from integrations.sql import rows

# Counted by windows, and looked up in tables that have indexes: without statistics SQLite takes
# the join of a grouped table for a small one and scans it for each row, which took 79 s for
# 50,000 contacts. The || keeps PostgreSQL from walking along the index of person ids in search of
# the smallest, which took 92 s. Both take less than a second now.
_JUDGE = f"""
    WITH live AS MATERIALIZED (
        SELECT id, external_id, email_hash,
            COUNT(*) OVER (PARTITION BY external_id) AS same_id,
            COUNT(*) OVER (PARTITION BY external_id, email_hash) AS same_email
        FROM gohighlevel_contactmapping
        WHERE location_id = %(location)s AND state <> '{Mapping.GONE}' {{touched}}
    ), known AS MATERIALIZED (
        SELECT id, external_id, same_id, same_email,
            CASE WHEN external_id = '' AND {{by_email}} THEN (
                SELECT COUNT(*) FROM integrations_person p
                WHERE NOT (p.email_hash = '') AND p.email_hash = live.email_hash
            ) ELSE 0 END AS persons,
            CASE WHEN external_id = '' AND {{by_email}} THEN (
                SELECT MIN(p.person_id || '') FROM integrations_person p
                WHERE NOT (p.email_hash = '') AND p.email_hash = live.email_hash
            ) END AS person_id
        FROM live
    ), compared AS MATERIALIZED (
        SELECT id, external_id, same_id, persons, person_id,
            persons = 1 AND same_email = 1 AND person_id NOT IN (
                SELECT external_id FROM live WHERE external_id <> '') AS only_one
        FROM known
    ), judged AS MATERIALIZED (
        SELECT id,
            CASE WHEN external_id <> '' AND same_id = 1 THEN '{Mapping.MAPPED}'
                WHEN external_id <> '' THEN '{Mapping.AMBIGUOUS}'
                WHEN persons = 0 THEN '{Mapping.UNMATCHED}'
                WHEN only_one THEN '{Mapping.MAPPED}'
                ELSE '{Mapping.AMBIGUOUS}' END AS state,
            CASE WHEN external_id <> '' THEN '{Rule.EXTERNAL_ID}'
                WHEN persons > 0 THEN '{Rule.EMAIL}'
                ELSE '{Rule.NONE}' END AS rule,
            CASE WHEN external_id <> '' AND same_id = 1 THEN external_id
                WHEN external_id = '' AND only_one THEN person_id
                ELSE '' END AS person_id
        FROM compared
    )
    UPDATE gohighlevel_contactmapping
    SET state = judged.state, rule = judged.rule, person_id = judged.person_id
    FROM judged
    WHERE judged.id = gohighlevel_contactmapping.id
        AND (gohighlevel_contactmapping.state <> judged.state
            OR gohighlevel_contactmapping.rule <> judged.rule
            OR gohighlevel_contactmapping.person_id <> judged.person_id)
"""  # noqa: S608  # names of our own; values travel as parameters

# One part for each index; the conditions are worded as those of the partial indexes, or SQLite
# does not use them.
_TOUCHED = """
    AND id IN (
        SELECT id FROM gohighlevel_contactmapping WHERE location_id = %(location)s
            AND NOT (external_id = '') AND external_id IN ({ids})
        UNION SELECT id FROM gohighlevel_contactmapping WHERE location_id = %(location)s
            AND NOT (email_hash = '') AND email_hash IN ({hashes}) AND external_id = ''
        UNION SELECT id FROM gohighlevel_contactmapping WHERE location_id = %(location)s
            AND contact_id = %(contact)s)
"""

_TALLY = f"""
    SELECT state, COUNT(*) FROM gohighlevel_contactmapping
    WHERE location_id = %(location)s
        AND state IN ('{Mapping.MAPPED}', '{Mapping.UNMATCHED}', '{Mapping.AMBIGUOUS}')
        {{touched}}
    GROUP BY state
"""  # noqa: S608  # names of our own; values travel as parameters
COUNTED = (Mapping.MAPPED, Mapping.UNMATCHED, Mapping.AMBIGUOUS)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The contacts of a location by what is known of them."""

    mapped: int
    unmatched: int
    ambiguous: int

    @property
    def contacts(self) -> int:
        return self.mapped + self.unmatched + self.ambiguous


def match_all(location_id: str) -> Counts:
    """Judge every contact of the location."""
    _execute(location_id, {}, touched="")
    return count(location_id)


def match_groups(
    location_id: str,
    contact_id: str,
    person_ids: Collection[str],
    hashes: Collection[str],
    before: str,
) -> None:
    """Judge one contact, and those that shared or share a person's id or an address with it.

    `before` is the state that the contact itself had before it was written. Only what was
    touched is counted: a whole location takes longer than all the rest, under its lock.
    """
    # A person whose id a contact begins or ceases to carry may be another contact's by e-mail;
    # and whether a person is to be had by e-mail depends on who carries the id.
    people = Person.objects.exclude(email_hash="")
    named = people.filter(person_id__in=set(person_ids) - {""})
    addresses = (set(hashes) - {""}) | set(named.values_list("email_hash", flat=True))
    alike = people.filter(email_hash__in=addresses)
    ids = set(person_ids) | set(alike.values_list("person_id", flat=True))
    values: dict[str, Any] = {"location": location_id, "contact": contact_id}
    touched = _TOUCHED.format(ids=_list("id", ids, values), hashes=_list("hash", addresses, values))
    others = f"{touched} AND contact_id <> %(contact)s"
    were = Counter(_tally(values, others))
    were[before] += 1
    _execute(location_id, values, touched=touched)
    after = _tally(values, touched)
    _adjust(location_id, {state: after.get(state, 0) - were[state] for state in COUNTED})


def count(location_id: str) -> Counts:
    """Count the contacts, and write the numbers down for the card."""
    counted = ContactMapping.objects.filter(location_id=location_id, state__in=COUNTED)
    found = dict(counted.order_by().values_list("state").annotate(Count("pk")))
    counts = Counts(**{str(state): found.get(state, 0) for state in COUNTED})
    Location.objects.filter(location_id=location_id).update(
        mapped=counts.mapped, unmatched=counts.unmatched, ambiguous=counts.ambiguous
    )
    return counts


def _tally(values: dict[str, Any], touched: str) -> dict[str, int]:
    return dict(rows(_TALLY.format(touched=touched), values))


def _adjust(location_id: str, change: dict[Mapping, int]) -> None:
    """Add the differences to the numbers of the card."""
    if not any(change.values()):
        return
    location = Location.objects.get(location_id=location_id)
    figures = {state.value: getattr(location, state) + change[state] for state in COUNTED}
    if min(figures.values()) < 0:
        count(location_id)  # they were wrong before, and no column holds that
    else:
        Location.objects.filter(pk=location.pk).update(**figures)


def _list(prefix: str, wanted: Collection[str], values: dict[str, Any]) -> str:
    """Marks for a list of values, which join the parameters."""
    # Without the empty text: most rows may have it, and PostgreSQL would read them all.
    named = {f"{prefix}{number}": value for number, value in enumerate(sorted(set(wanted) - {""}))}
    values.update(named)
    return ", ".join(f"%({name})s" for name in named) or "NULL"


def _execute(location_id: str, values: dict[str, Any], *, touched: str) -> None:
    by_email = "TRUE" if settings.MATCHING_KEY else "FALSE"
    statement = _JUDGE.format(touched=touched, by_email=by_email)
    with connection.cursor() as cursor:
        cursor.execute(statement, {"location": location_id, **values})
