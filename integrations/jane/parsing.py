"""A snapshot of one patient, reduced to what is used of it. Pure.

The sender's format is not documented, so everything is looked for in several places, and what
is not understood is nothing rather than an error. Of some 113 keys a dozen are looked at.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from integrations.jane.activity import INACTIVE_WORDS, UNKNOWN
from integrations.jane.values import day, identifier, moment, text
from integrations.matching import email_hash
from integrations.webhooks import Unreadable

CLOCK = "last_updated_date_via_api"
PERSON_IDS = ("id", "public_id", "patient_number")
EMAILS = ("email", "email_address", "primary_email")
# Where memberships are looked for, in this order; the first that has any wins.
LISTS = ("passes", "memberships", "membership")
FLAT = ("membership_plan", "membership_status")

_MEMBERSHIP_IDS = ("id", "membership_id", "pass_id", "public_id")
_PLANS = ("name", "package_name", "membership_name", "plan_name", "plan", "membership_plan")
_STATUSES = ("status", "state", "membership_status")
_STARTS = ("start", "membership_start")
_ENDS = ("end", "membership_end", "contract_end", "expir")
# The patient has other dates that begin or end something.
_FLAT_STARTS = ("membership_start",)
_FLAT_ENDS = ("membership_end", "contract_end", "membership_expir")
_MARKS_OF_A_PATIENT = frozenset({CLOCK, "public_id", "patient_number", *LISTS, *FLAT})
_PLAN_LENGTH, _STATUS_LENGTH = 120, 40
# More than anybody holds; a longer list is no list of one patient's memberships.
MOST = 200


@dataclass(frozen=True, kw_only=True)
class Term:
    """A membership as one snapshot tells of it."""

    key: str
    vendor_id: str
    plan: str
    status: str
    starts_on: dt.date | None
    ends_on: dt.date | None

    @property
    def told(self) -> int:
        """How much is told of it."""
        return sum(map(bool, (self.plan, self.status != UNKNOWN, self.starts_on, self.ends_on)))


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """`at` is the vendor's clock. `email_hash` is None where the snapshot has no such key.

    `complete`: it carries a list that could be read as a whole, so what is missing is gone.
    `single`: fields of the patient name the one membership, or say that there is none, so
    another one that is known by its plan alone is gone.
    """

    person_id: str
    at: dt.datetime | None
    email_hash: str | None
    terms: tuple[Term, ...]
    complete: bool
    single: bool


def read_snapshot(document: Any, now: dt.datetime) -> Snapshot:
    """Raises `Unreadable` where nobody is named; of everything else it takes what it can."""
    patient = _patient(document)
    found = _Found()
    for name in LISTS:
        found.look_at(patient.get(name))
        if found.terms:
            break
    told_by_list = bool(found.terms)
    flat = None if told_by_list else _flat(patient)
    if flat:
        found.add(flat)
    elif len(found.terms) == 1:
        found.complete_from(patient)
    over = not told_by_list and _status(patient, FLAT[1:]) in INACTIVE_WORDS
    clock = moment(patient.get(CLOCK), now)
    if clock is None and patient is not document:
        clock = moment(document.get(CLOCK), now)
    return Snapshot(
        person_id=_first_id(patient, PERSON_IDS),
        at=clock,
        email_hash=_email_hash(patient),
        terms=tuple(found.terms[key] for key in sorted(found.terms)),
        complete=found.listed and found.readable,
        single=flat is not None or over,
    )


class _Found:
    """Memberships by their keys, and whether they are all of them."""

    def __init__(self) -> None:
        self.terms: dict[str, Term] = {}
        self.listed = False
        self.readable = True

    def look_at(self, value: Any) -> None:
        if not isinstance(value, (list, dict)):
            return
        self.listed = True
        for entry in _entries(value):
            if isinstance(entry, dict) and _is_package(entry):
                continue
            term = _term(entry) if isinstance(entry, dict) else None
            if term is None or (len(self.terms) >= MOST and term.key not in self.terms):
                # It may be one that we know, so nothing may be said to be missing.
                self.readable = False
            else:
                self.add(term)

    def complete_from(self, patient: Mapping[str, Any]) -> None:
        """The only membership of a list is the one that the patient's own fields speak of."""
        ((key, term),) = self.terms.items()
        if term.status == UNKNOWN:
            term = replace(term, status=_status(patient, FLAT[1:]))
        if term.ends_on is None:
            term = replace(term, ends_on=_first_day(patient, _FLAT_ENDS))
        self.terms[key] = term

    def add(self, term: Term) -> None:
        """Of two with one key the one that tells more, then (by plan) the longer, then the last."""
        other = self.terms.get(term.key)
        if other is None or _rank(term) >= _rank(other):
            self.terms[term.key] = term


def _rank(term: Term) -> tuple[int, dt.date]:
    # Two terms of one plan without an id are two spells; with an id, two versions of one.
    return term.told, (not term.vendor_id and term.ends_on) or dt.date.min


def _patient(document: Any) -> Mapping[str, Any]:
    """The patient, also where it is wrapped. Raises `Unreadable`."""
    if not isinstance(document, dict):
        raise Unreadable("not an object")
    layers = [layer for layer in _layers(document) if _first_id(layer, PERSON_IDS)]
    if not layers:
        raise Unreadable("no person")
    # The outermost that looks like a patient; of those that merely have an id, the innermost.
    marked = (layer for layer in layers if not _MARKS_OF_A_PATIENT.isdisjoint(layer))
    return next(marked, layers[-1])


def _layers(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    data = document.get("data")
    inner = data.get("patient") if isinstance(data, dict) else None
    for layer in (document, data, document.get("patient"), inner):
        if isinstance(layer, dict):
            yield layer


def _entries(value: list[Any] | dict[str, Any]) -> list[Any]:
    """The entries of a list. One object is a list of one, or one whose keys are positions."""
    if isinstance(value, dict):
        numbered = all(key.isdecimal() for key in value)
        value = list(value.values()) if numbered else [value]
    return [entry for entry in value if entry not in (None, [], {})]


def _is_package(entry: Mapping[str, Any]) -> bool:
    """Bought once, and so not a membership."""
    kind = text(entry.get("package_type"), 60).casefold()
    return "membership" not in kind and any(word in kind for word in ("pack", "bundle", "card"))


def _term(entry: Mapping[str, Any]) -> Term | None:
    """None where nothing is told that we know."""
    vendor_id, plan = _first_id(entry, _MEMBERSHIP_IDS), _plan(entry)
    term = Term(
        key=vendor_id or _key_of(plan),
        vendor_id=vendor_id,
        plan=plan,
        status=_status(entry, _STATUSES),
        starts_on=_first_day(entry, _STARTS),
        ends_on=_first_day(entry, _ENDS),
    )
    return term if vendor_id or term.told else None


def _flat(patient: Mapping[str, Any]) -> Term | None:
    """The membership in fields of the patient; None for one who has none."""
    plan = _first_text(patient, FLAT[:1], _PLAN_LENGTH)
    status = _status(patient, FLAT[1:])
    if not plan and (status == UNKNOWN or status in INACTIVE_WORDS):
        return None
    return Term(
        key=_key_of(plan),
        vendor_id="",
        plan=plan,
        status=status,
        starts_on=_first_day(patient, _FLAT_STARTS),
        ends_on=_first_day(patient, _FLAT_ENDS),
    )


def _plan(entry: Mapping[str, Any]) -> str:
    named = entry.get("plan")
    if isinstance(named, dict):
        entry = {**entry, "plan": named.get("name")}
    return _first_text(entry, _PLANS, _PLAN_LENGTH)


def _key_of(plan: str) -> str:
    return f"plan:{plan.casefold()[:_PLAN_LENGTH]}"


def _status(entry: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return _first_text(entry, names, _STATUS_LENGTH).casefold()[:_STATUS_LENGTH] or UNKNOWN


def _email_hash(patient: Mapping[str, Any]) -> str | None:
    for name in EMAILS:
        if name in patient:
            return email_hash(patient[name])
    return None


def _first_id(entry: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next(filter(None, (identifier(entry.get(name)) for name in names)), "")


def _first_text(entry: Mapping[str, Any], names: tuple[str, ...], length: int) -> str:
    return next(filter(None, (text(entry.get(name), length) for name in names)), "")


def _first_day(entry: Mapping[str, Any], prefixes: tuple[str, ...]) -> dt.date | None:
    for prefix in prefixes:
        for name in sorted(name for name in entry if name.startswith(prefix)):
            if found := day(entry[name]):
                return found
    return None
