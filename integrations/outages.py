"""Ours or theirs: what several accounts that fail alike say about the cause.

Nothing answers at all: that is this server's own network. One vendor's accounts fail while
others answer, or while it answers with errors: that is the vendor's outage. Either is one
incident that speaks for all of them. Only evidence counts: what answered or failed to answer
since the trouble began, never what a status page says.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError, transaction

from integrations import incidents, times
from integrations.base import Explanation, Symptom
from integrations.incidents import Account, Trouble
from integrations.levels import Level, worst
from integrations.models import Incident, IntegrationStatus
from integrations.registry import all_integrations, get_integration
from integrations.sql import rows
from integrations.status import commit, evidence_of, outlasted_a_slot

OFFLINE = "server_offline"
# A single account proves nothing about others.
ALIKE = 2
WITNESSES = 10


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Several failures with one cause. `slug`: the vendor whose outage it is, "" for our own
    network."""

    slug: str
    failing: Sequence[IntegrationStatus]
    answering: Sequence[IntegrationStatus]

    @property
    def started_at(self) -> dt.datetime:
        return min(row.failing_since for row in self.failing if row.failing_since)

    @property
    def cause(self) -> str:
        return self.failing[0].raw_state if self.slug else OFFLINE

    @property
    def level(self) -> Level:
        # Grey: of what lies behind our own network nothing is known.
        return worst([row.get_level for row in self.failing]) if self.slug else Level.UNKNOWN

    @property
    def who_acts(self) -> str:
        return "vendor" if self.slug else "administrator"

    @property
    def outlasted_a_slot(self) -> bool:
        return any(map(outlasted_a_slot, self.failing))


def judge(statuses: Sequence[IntegrationStatus]) -> list[Verdict]:
    """What fails alike among the statuses of all accounts. Pure."""
    failing = [row for row in statuses if row.failing_since and row.symptom]
    if not failing:
        return []
    began = _all_failing_since(failing)
    answering = [row for row in statuses if _answered_since(row, began)]
    errors = [row for row in failing if row.symptom == Symptom.VENDOR_ERROR]
    if not answering and not errors:
        return [Verdict(slug="", failing=failing, answering=[])] if len(failing) >= ALIKE else []
    found = []
    for slug in dict.fromkeys(row.integration for row in failing):
        mine = [row for row in failing if row.integration == slug]
        fine = [row for row in answering if row.integration == slug]
        if len(mine) >= max(ALIKE, len(fine)):
            found.append(Verdict(slug=slug, failing=mine, answering=answering))
    return found


def _all_failing_since(failing: Sequence[IntegrationStatus]) -> dt.datetime | None:
    """From when on an answer speaks against their having one cause."""
    return max((row.failing_since for row in failing if row.failing_since), default=None)


def _answered_since(row: IntegrationStatus, began: dt.datetime | None) -> bool:
    return bool(row.success_at and began and row.success_at > began)


def correlate(now: dt.datetime) -> None:
    """Let one incident speak for what fails alike, let go what does not any more, and tell people
    of what has outlasted a slot of the schedule. For when all have been asked.

    Raises `DatabaseError`.
    """
    if not _anything_wrong():
        return
    failing = _failing()
    if failing and all(row.symptom == Symptom.NO_ANSWER for row in failing):
        _ask_the_others(failing, now)
        failing = _failing()
    speaking = list(Incident.objects.filter(shared=True, ended_at=None))
    if speaking or (len(failing) >= ALIKE and any(row.confirmed for row in failing)):
        _join(failing, speaking, now)
    _tell([row for row in failing if outlasted_a_slot(row)], now)


def _anything_wrong() -> bool:
    """One cheap question, for nearly always nothing is."""
    [(found,)] = rows(
        """
        SELECT EXISTS (SELECT 1 FROM integrations_integrationstatus
                       WHERE failing_since IS NOT NULL)
            OR EXISTS (SELECT 1 FROM integrations_incident WHERE ended_at IS NULL AND shared)
        """,
        [],
    )
    return bool(found)


def _join(
    failing: Sequence[IntegrationStatus], speaking: Sequence[Incident], now: dt.datetime
) -> None:
    began = _all_failing_since(failing) or now
    answering = IntegrationStatus.objects.filter(success_at__gt=began)
    concerned = {row.pk: row for row in [*answering, *failing]}
    verdicts = {verdict.slug: verdict for verdict in judge(list(concerned.values()))}
    for verdict in verdicts.values():
        if all(_is_paused(row, now) for row in verdict.failing):
            continue
        try:
            with transaction.atomic():
                if verdict.slug not in {incident.integration for incident in speaking}:
                    _go_on(verdict, [i for i in speaking if i.integration not in verdicts], now)
                _speak(verdict, now)
        except IntegrityError:
            pass  # another process has just said the same
    recovering = [row for row in failing if row.recovering_since]
    for incident in speaking:
        known = verdicts.get(incident.integration)
        alike = [*known.failing, *recovering] if known else recovering
        _let_go(incident, {(row.integration, row.account) for row in alike}, now)


def _tell(lasted: Sequence[IntegrationStatus], now: dt.datetime) -> None:
    """Of each that nobody else speaks for."""
    lasting = {
        (row.integration, row.account)
        for row in lasted
        if not row.recovering_since and not _is_paused(row, now)
    }
    if not lasting:
        return
    alone = Incident.objects.filter(ended_at=None, shared=False, part_of=None)
    for incident in alone:
        if (incident.integration, incident.account) in lasting:
            with transaction.atomic():
                incidents.tell_opened(incident, now)


def _is_paused(row: IntegrationStatus, now: dt.datetime) -> bool:
    return row.paused_until is not None and row.paused_until > now


def _failing() -> list[IntegrationStatus]:
    """What failed when it was asked again, or belongs to a vendor who is not asked again so soon.
    Of the others a single failure is a blip, which says nothing about those that really fail.
    """
    repeating = {
        s for s, integration in all_integrations().items() if integration.commits_its_checks
    }
    failing = IntegrationStatus.objects.filter(failing_since__isnull=False)
    return [row for row in failing if row.confirmed or row.integration not in repeating]


def _ask_the_others(failing: Sequence[IntegrationStatus], now: dt.datetime) -> None:
    """Whoever is asked seldom may not have been asked since: one call each tells a lot."""
    for slug, integration in all_integrations().items():
        if integration.commits_its_checks or any(row.integration == slug for row in failing):
            continue
        found = integration.check("", now, None)
        if found is not None and found.level is not Level.UNKNOWN:
            commit(evidence_of(found, now, scheduled=False))


def _go_on(verdict: Verdict, others: Sequence[Incident], now: dt.datetime) -> None:
    """Where the same accounts fail as before, and it only looks like another's trouble now, their
    incident goes on: nobody is to hear of a recovery and of new trouble.
    """
    failing = {(row.integration, row.account) for row in verdict.failing}
    for incident in others:
        parts = incident.parts.filter(ended_at=None).values_list("integration", "account")
        if failing.intersection(parts):
            incidents.pass_on(incident, _account(verdict), _trouble(verdict, now), now)
            return


def _account(verdict: Verdict) -> Account:
    integration = get_integration(verdict.slug)
    return Account(verdict.slug, "", integration.name if integration else "This server")


def _trouble(verdict: Verdict, now: dt.datetime) -> Trouble:
    return Trouble(
        cause=verdict.cause,
        level=verdict.level,
        who_acts=verdict.who_acts,
        transient=True,
        started_at=verdict.started_at,
        receipts=[(now, text) for text in _witnesses(verdict, now)],
    )


def _speak(verdict: Verdict, now: dt.datetime) -> None:
    incident = incidents.fail_together(
        _account(verdict),
        _trouble(verdict, now),
        [(row.integration, row.account) for row in verdict.failing],
        now,
    )
    if verdict.outlasted_a_slot:
        incidents.tell_opened(incident, now)


def _witnesses(verdict: Verdict, now: dt.datetime) -> list[str]:
    """Who failed and who answered, each with its time."""
    failed = [
        f"Witness: {row.name}: {row.raw_state.replace('_', ' ')} at {times.clock(row.checked_at)}."
        for row in verdict.failing[:WITNESSES]
    ]
    if more := len(verdict.failing) - WITNESSES:
        failed += [f"And {more} more fail alike."] if more > 0 else []
    answered = [
        f"Witness: {row.name} answered at {times.clock(row.success_at)}."
        for row in verdict.answering[:WITNESSES]
        if row.success_at
    ]
    return failed + (answered or [f"Nothing answered since {times.clock(verdict.started_at)}."])


def _let_go(incident: Incident, alike: set[tuple[str, str]], now: dt.datetime) -> None:
    """What has another cause by now speaks for itself. When nothing is left it is over."""
    with transaction.atomic():
        if incidents.release(incident, keep=alike):
            return
        ended = [part.ended_at for part in incident.parts.all() if part.ended_at]
        incidents.end_together(incident, max(ended, default=None), now)


def explain(incident: Incident, now: dt.datetime) -> Explanation:
    """What people are told of a shared incident."""
    since = times.since_when(incident.started_at, now)
    page = f"{settings.SITE_URL}/incidents/{incident.pk}/"
    if incident.cause == OFFLINE:
        return Explanation(
            title="This server is offline",
            impact=f"Nothing that we ask has answered since {since}, so payment tracking can't be "
            "confirmed. Your connections may be fine.",
            next_step="Ask your IT person to check this server's internet connection. "
            "Please don't reconnect anything.",
            fix_url=page,
        )
    return Explanation(
        title=f"{incident.name} is having problems",
        impact=f"Payment tracking has been waiting since {since}. "
        f"The problem is at {incident.name}, not at your clinic: several connections fail alike.",
        next_step="Nothing to fix here. Please don't reconnect; it won't help. "
        "We keep checking and will tell you when it works.",
        fix_url=page,
    )
