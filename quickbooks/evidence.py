"""A check as evidence for the company's status."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from integrations.base import Symptom
from integrations.levels import Level
from integrations.status import Evidence, Receipt
from quickbooks import provenance
from quickbooks.diagnosis import TRANSIENT, Code
from quickbooks.health import level_of
from quickbooks.judgement import allowance_is_used_up
from quickbooks.models import OAuthToken
from quickbooks.words import ALLOWANCE_USED_UP, STRAYED, who_acts

# Of these a person has decided, or nothing has begun yet.
NO_ALARM = frozenset({Code.OK, Code.NOT_CONNECTED, Code.DISCONNECTED_HERE})
_SYMPTOMS = {
    Code.NETWORK_UNREACHABLE: Symptom.NO_ANSWER,
    Code.TIMEOUT: Symptom.NO_ANSWER,
    Code.INTUIT_UNAVAILABLE: Symptom.VENDOR_ERROR,
}


@dataclass(frozen=True, kw_only=True)
class Context:
    """What is known about a check beside its answer.

    `scheduled`: the schedule asked. `confirmed`: the last of the repeats, so that a failure
    counts. `attended`: the person who has just reconnected. `receipts`: what was tried before.
    """

    scheduled: bool = False
    confirmed: bool = False
    attended: str = ""
    receipts: Sequence[Receipt] = ()


NOTHING_ELSE = Context()


def evidence(
    row: OAuthToken,
    code: Code,
    at: dt.datetime,
    context: Context = NOTHING_ELSE,
    tried: Sequence[Receipt] = (),
) -> Evidence:
    """What a diagnosis of `at` says about the company's status. `tried`: within this check."""
    level = level_of(code, at, row.last_success_at, row.connected_at)
    acts = who_acts(code)
    if code is Code.THROTTLED and allowance_is_used_up(at):
        acts = ALLOWANCE_USED_UP.who_acts
    elif provenance.strayed(row, code):
        acts = STRAYED.who_acts
    return Evidence(
        integration="quickbooks",
        account=row.realm_id,
        name=str(row),
        level=level,
        state=code.value,
        who_acts=acts,
        checked_at=at,
        alarming=code not in NO_ALARM,
        transient=code in TRANSIENT,
        confirmed=context.confirmed,
        scheduled=context.scheduled,
        attended=context.attended if level is Level.HEALTHY else "",
        symptom=symptom(code),
        receipts=[*context.receipts, *tried],
    )


def symptom(code: Code | None) -> Symptom:
    """How a failure with this diagnosis looks from here."""
    return _SYMPTOMS.get(code, Symptom.NONE) if code else Symptom.NONE
