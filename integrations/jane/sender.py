"""A stand-in for ClinicSync: a clinic with memberships that begin, renew and end.

For the demo and the tests. What it sends is invented, and as full of personal data as the real
thing, each value with the word `Marker`: wherever that turns up, something was kept.
"""

import datetime as dt
import json
import random
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from integrations.deadline import Deadline
from integrations.demo import FIRST_PERSON, email
from integrations.http import exchange, pooled_session
from integrations.jane.parsing import CLOCK

MARKER = "Marker"
DEADLINE_SECONDS = 10
PLANS = ("Monthly Wellness", "Physio Plus", "Massage Monthly", "Family Care")
FIRST_MEMBERSHIP = 82_000_001
# The share of people who have a membership at first; the others begin one some day.
MEMBERS = 0.85
# As a real receiver counted them.
KEYS = 113

VARIANTS = ("passes", "memberships", "membership", "flat", "none")


@dataclass(kw_only=True)
class Holding:
    """A membership at the sender."""

    id: int
    plan: str
    status: str
    starts_on: dt.date
    ends_on: dt.date

    def as_pass(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.plan,
            "package_type": "membership",
            "status": self.status,
            "start_date": self.starts_on.isoformat(),
            "membership_end_date": self.ends_on.isoformat(),
            "notes": f"{MARKER} note on a pass",
        }


def snapshot(
    person: int, at: dt.datetime, holdings: list[Holding], variant: str = "passes"
) -> dict[str, Any]:
    """All that is known of a patient, in the form that `variant` names."""
    body = _patient(person, at)
    if variant in {"passes", "memberships"}:
        body[variant] = [holding.as_pass() for holding in holdings]
    elif variant == "membership":
        body[variant] = holdings[0].as_pass() if holdings else []
    elif variant == "flat" and holdings:
        body["membership_plan"] = holdings[0].plan
        body["membership_status"] = holdings[0].status.title()
        body["membership_end_date"] = holdings[0].ends_on.strftime("%m/%d/%Y")
    if variant == "passes":
        body["passes"].append(
            {"id": person, "package_name": "Ten sessions", "package_type": "package"}
        )
    return body


def post(url: str, secret: str, body: dict[str, Any]) -> int:
    """Deliver a snapshot; the status of the answer. Raises `ExchangeError`."""
    _refuse_production()
    answer = exchange(
        pooled_session(),
        "POST",
        url,
        Deadline(DEADLINE_SECONDS),
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "x-api-key": secret},
    )
    return answer.status_code


@dataclass
class Clinic:
    """People whose memberships change as time goes by, the same way for the same seed."""

    seed: int = 1
    people: int = 40
    holdings: dict[int, list[Holding]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _refuse_production()
        self._random = random.Random(self.seed)  # noqa: S311  # invented people, no secrets
        self._next_id = FIRST_MEMBERSHIP

    def hold(self, person: int, holding: Holding) -> None:
        """Begin with a membership that is known already."""
        self.holdings.setdefault(person, []).append(holding)
        self._next_id = max(self._next_id, holding.id)

    def next_snapshot(self, now: dt.datetime) -> dict[str, Any]:
        """Something happens to somebody, and ClinicSync tells of it."""
        person = self._due(now.date()) or FIRST_PERSON + self._random.randrange(self.people)
        held = self.holdings.setdefault(person, [])
        self._live(held, now.date())
        return snapshot(person, now, held)

    def snapshots(self, now: dt.datetime) -> list[dict[str, Any]]:
        """One of everybody, as when a clinic is connected for the first time."""
        everybody = range(FIRST_PERSON, FIRST_PERSON + self.people)
        for person in everybody:
            if person not in self.holdings:
                member = self._random.random() < MEMBERS
                self.holdings[person] = [self._begin(now.date())] if member else []
        return [snapshot(person, now, self.holdings[person]) for person in everybody]

    def _due(self, today: dt.date) -> int | None:
        """Somebody whose membership runs out: that is when there is something to tell."""
        for person, held in self.holdings.items():
            if any(one.status == "active" and one.ends_on <= today for one in held):
                return person
        return None

    def _live(self, held: list[Holding], today: dt.date) -> None:
        """Most of the time nothing happens; what runs out is mostly renewed."""
        current = next((holding for holding in held if holding.status == "active"), None)
        chance = self._random.random()
        if current is None:
            if not held or chance < 0.1:
                held.append(self._begin(today))
        elif chance < 0.02:
            current.status = self._random.choice(("cancelled", "on hold"))
        elif chance < 0.03:
            held.remove(current)
        elif chance < 0.05 or current.ends_on <= today:
            current.ends_on += dt.timedelta(days=30)

    def _begin(self, today: dt.date) -> Holding:
        begun = today - dt.timedelta(days=self._random.randrange(28))
        self._next_id += 1
        return Holding(
            id=self._next_id,
            plan=self._random.choice(PLANS),
            status="active",
            starts_on=begun,
            ends_on=begun + dt.timedelta(days=30),
        )


def _patient(person: int, at: dt.datetime) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": person,
        "public_id": f"p-{person}",
        "patient_number": str(person),
        CLOCK: at.isoformat(),
        "first_name": f"{MARKER}first{person}",
        "last_name": f"{MARKER}last",
        "preferred_name": f"{MARKER}preferred",
        "email": email(person),
        "mobile_phone": f"555-{MARKER}",
        "birth_date": f"1980-01-01 {MARKER}",
        "health_number": f"{MARKER}9876543210",
        "address": {"street": f"1 {MARKER} Street", "city": f"{MARKER}ville"},
        "medical_alerts": [f"{MARKER} allergy"],
        "notes": f"{MARKER} note",
        "insurance": {"policy": f"{MARKER}-policy", "expires_on": "2027-01-31"},
        "credit_card": {"holder": f"{MARKER} Holder", "expiry": f"{MARKER}/30"},
        "appointments": [
            {"id": 1, "start_at": at.isoformat(), "treatment_name": f"{MARKER} treatment"}
        ],
        "amount_owing": "0.00",
        "balance": 0,
        "total_payment_made": 1234.5,
        "emergency_contact": [],
    }
    for number in range(KEYS - len(body) - 1):
        body[f"field_{number:02}"] = f"{MARKER} {number}"
    return body


def _refuse_production() -> None:
    if not (settings.DEMO or settings.TESTING):
        raise RuntimeError("Invented deliveries are for the demo and the tests.")
