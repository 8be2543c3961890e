"""commit(): from evidence to what we stand by; the only writer of `IntegrationStatus`.

`decide` is pure: what is stored and new evidence give what is to be stored and what that means
for the incident. `commit` writes it with one UPDATE that is conditional on the version it was
decided from, so that of two processes with the same news one opens the incident and the other
finds it open.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from django.db import IntegrityError, transaction

from integrations import incidents
from integrations.base import Assessment, Symptom
from integrations.levels import Level
from integrations.models import IntegrationStatus
from integrations.registry import get_integration

# The schedule's rhythm, less what a run may start late or early.
SLOT = dt.timedelta(minutes=14)
# Evidence that is older by so much is not late: the clock was wrong when the newer was written.
WRONG_CLOCK = dt.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Something that was tried, in a sentence."""

    at: dt.datetime
    text: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was found out about an account at `checked_at`.

    `alarming`: trouble that somebody should hear of, if it is no blip. `transient`: it may be
    over in a moment, and needs confirming; `confirmed`: the repeats have failed as well.
    `scheduled`: a run of the schedule asked. `attended`: a person has just mended it. `since`:
    when it began, where that is known better than by this very evidence. `success_at`: the
    newest success; a recovery needs one that is newer than the trouble (None: this is one).
    `receipts`: what was tried, oldest first.
    """

    integration: str
    account: str
    name: str
    level: Level
    state: str
    checked_at: dt.datetime
    who_acts: str = "nobody"
    alarming: bool = True
    transient: bool = False
    confirmed: bool = False
    scheduled: bool = False
    attended: str = ""
    since: dt.datetime | None = None
    success_at: dt.datetime | None = None
    symptom: Symptom = Symptom.NONE
    receipts: Sequence[Receipt] = ()

    @property
    def failing(self) -> bool:
        return self.alarming and self.level is not Level.HEALTHY


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is stored of a status, apart from its names."""

    level: Level
    state: str
    since: dt.datetime
    failing_since: dt.datetime | None = None
    confirmed: bool = False
    recovering_since: dt.datetime | None = None
    scheduled_failure_at: dt.datetime | None = None


class Step(Enum):
    """What a change of status means for the incident."""

    NOTHING = "nothing"
    FAILING = "failing"  # confirmed: there has to be an incident
    ALARM = "alarm"  # and people have to be told at once
    RECOVERING = "recovering"
    OVER = "over"
    DROPPED = "dropped"  # a person wanted it so, or there is nothing to watch any more


def decide(before: Standing | None, evidence: Evidence) -> tuple[Standing, Step]:
    """What to stand by now. Pure."""
    at = evidence.checked_at
    began = evidence.since or at
    if before is None:
        before = Standing(level=Level.UNKNOWN, state=evidence.state, since=began)
    if evidence.failing:
        return _failing(before, evidence, began)
    healthy = evidence.level is Level.HEALTHY
    if not (healthy and before.failing_since and before.confirmed):
        # Well as ever, a blip that is over, or trouble that nobody is to be alarmed by.
        step = Step.DROPPED if before.confirmed else Step.NOTHING
        return _shown(before, evidence, began), step
    if evidence.success_at is not None and evidence.success_at <= before.failing_since:
        # Nothing is wrong at the moment (a clinic that is closed), and nothing has worked yet.
        quiet = _shown(before, evidence, began)
        return replace(quiet, failing_since=before.failing_since, confirmed=True), Step.NOTHING
    first = before.recovering_since
    if evidence.attended or (first and at > first):
        # Calm without a success may have been shown before; it works since this one.
        return replace(_shown(before, evidence, at), since=first or at), Step.OVER
    return replace(before, recovering_since=first or at), Step.RECOVERING


def _failing(before: Standing, evidence: Evidence, began: dt.datetime) -> tuple[Standing, Step]:
    at, first = evidence.checked_at, before.scheduled_failure_at
    since = before.failing_since or began
    lasting = before.failing_since is not None and at - before.failing_since >= SLOT
    confirmed = before.confirmed or evidence.confirmed or not evidence.transient or lasting
    after = replace(
        before,
        failing_since=since,
        confirmed=confirmed,
        recovering_since=None,
        scheduled_failure_at=first or (at if evidence.scheduled else None),
    )
    if not confirmed:
        return after, Step.NOTHING
    shown = _shown(before, evidence, since)
    after = replace(after, level=shown.level, state=shown.state, since=shown.since)
    # Whether a transient one is told, and as whose, is seen when all have been asked.
    return after, Step.FAILING if evidence.transient else Step.ALARM


def _shown(before: Standing, evidence: Evidence, began: dt.datetime) -> Standing:
    """The evidence as it is. `since` stays where the present spell (of health, of trouble, of
    not knowing) began, so that a change of cause does not make an outage look younger."""
    same = _spell(before.level) == _spell(evidence.level)
    return Standing(
        level=evidence.level, state=evidence.state, since=before.since if same else began
    )


def _spell(level: Level) -> str:
    return "trouble" if level in {Level.WARNING, Level.CRITICAL} else level.value


def commit(evidence: Evidence) -> None:
    """Write down how an account fares, and what follows from it: the incident and its alerts.

    An older judgement never replaces a newer one. All of it is one transaction. Raises
    `DatabaseError`.
    """
    while not _try(evidence):
        pass  # somebody else has changed the row in between, so what was decided is void


def _try(evidence: Evidence) -> bool:
    rows = IntegrationStatus.objects.filter(
        integration=evidence.integration, account=evidence.account
    )
    row = rows.first()
    late = row.checked_at - evidence.checked_at if row else dt.timedelta()
    if dt.timedelta() < late < WRONG_CLOCK:
        return True
    after, step = decide(_standing(row) if row else None, evidence)
    values = {
        "name": evidence.name,
        "level": after.level.value,
        "severity": after.level.severity,
        "state": after.state,
        "needs_person": evidence.who_acts in {"clinic", "administrator"},
        "since": after.since,
        "checked_at": evidence.checked_at,
        "raw_level": evidence.level.value,
        "raw_state": evidence.state,
        "symptom": evidence.symptom.value if evidence.failing else "",
        "failing_since": after.failing_since,
        "confirmed": after.confirmed,
        "recovering_since": after.recovering_since,
        "scheduled_failure_at": after.scheduled_failure_at,
        "success_at": _success_at(evidence) or (row.success_at if row else None),
    }
    try:
        with transaction.atomic():
            if row is None:
                row = IntegrationStatus.objects.create(
                    integration=evidence.integration, account=evidence.account, **values
                )
            elif not rows.filter(version=row.version).update(version=row.version + 1, **values):
                return False
            _follow(step, row, after, evidence)
    except IntegrityError:
        return False  # somebody else made the row, or the incident, in between
    return True


def _success_at(evidence: Evidence) -> dt.datetime | None:
    if evidence.success_at is None and evidence.level is Level.HEALTHY:
        return evidence.checked_at
    return evidence.success_at


def _standing(row: IntegrationStatus) -> Standing:
    return Standing(
        level=row.get_level,
        state=row.state,
        since=row.since,
        failing_since=row.failing_since,
        confirmed=row.confirmed,
        recovering_since=row.recovering_since,
        scheduled_failure_at=row.scheduled_failure_at,
    )


def _follow(step: Step, row: IntegrationStatus, after: Standing, evidence: Evidence) -> None:
    account = incidents.Account(evidence.integration, evidence.account, evidence.name)
    at = evidence.checked_at
    paused = bool(row.paused_until and row.paused_until > at)
    match step:
        case Step.FAILING | Step.ALARM:
            incidents.fail(
                account,
                incidents.Trouble(
                    cause=evidence.state,
                    level=evidence.level,
                    who_acts=evidence.who_acts,
                    transient=evidence.transient,
                    started_at=after.failing_since or at,
                    receipts=[(receipt.at, receipt.text) for receipt in evidence.receipts],
                ),
                at,
                tell=step is Step.ALARM,
                paused=paused,
            )
        case Step.RECOVERING:
            incidents.note(account, at, "Works again. Making sure with a second check.")
        case Step.OVER:
            incidents.end(account, after.since, at, fixed_by=evidence.attended)
        case Step.DROPPED:
            incidents.drop(account, at, evidence.state)


def outlasted_a_slot(row: IntegrationStatus) -> bool:
    """Two checks of the schedule have failed in the present trouble: it is no blip."""
    first = row.scheduled_failure_at
    return bool(row.confirmed and first and row.checked_at - first >= SLOT)


def evidence_of(assessment: Assessment, now: dt.datetime, *, scheduled: bool) -> Evidence:
    """What an assessment of stored facts says about the status."""
    integration = get_integration(assessment.integration)
    vendor = f"{integration.name} · " if integration else ""
    return Evidence(
        integration=assessment.integration,
        account=assessment.account,
        # As its own checks call it.
        name=assessment.name.removeprefix(vendor),
        level=assessment.level,
        state=assessment.state,
        who_acts=assessment.who_acts,
        checked_at=assessment.judged_at or assessment.checked_at or now,
        since=assessment.since,
        success_at=assessment.last_success_at,
        alarming=assessment.alarming,
        transient=assessment.transient,
        scheduled=scheduled,
        symptom=assessment.symptom,
    )


def forget(integration: str, account: str) -> None:
    """An account that is no more, or that only stood for there being none."""
    IntegrationStatus.objects.filter(integration=integration, account=account).delete()


def pause(integration: str, account: str, until: dt.datetime | None, reason: str, by: str) -> bool:
    """Open no incident and alert nobody until then; None ends a pause. False: no such status."""
    rows = IntegrationStatus.objects.filter(integration=integration, account=account)
    return bool(
        rows.update(
            paused_until=until,
            pause_reason=reason if until else "",
            paused_by=by if until else "",
        )
    )
