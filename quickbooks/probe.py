"""The probe: token → client → diagnosis → `ConnectionHealthCheck`, one for many.

Simultaneous requests share one probe per company across processes through a claim in the
database, and a finished one that is young enough. A claim expires by itself, so a process that
died with one blocks nobody for long.
"""

import datetime as dt
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from django.conf import settings
from django.db import Error as AnyDatabaseError
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from integrations.deadline import boot_clock
from integrations.http import ExchangeError
from integrations.status import Receipt, commit
from quickbooks import client, counts, tokens, words
from quickbooks.diagnosis import Code, Diagnosis, diagnose, diagnose_failure
from quickbooks.evidence import NOTHING_ELSE, Context, evidence
from quickbooks.lease import database_now
from quickbooks.models import (
    ConnectionHealthCheck,
    GrantState,
    MeteredCalls,
    OAuthToken,
    ProbeClaim,
    Trigger,
)

logger = logging.getLogger(__name__)


class UnknownCompany(LookupError):
    """No such company was ever connected here."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a request for a probe came to.

    `check`: the newest check, maybe somebody else's (`reused`); None if there is none yet.
    `recorded`: false when the database did not take it. `checking`: somebody else's probe is
    under way. `renewal_until`: a renewal is unfinished; the next try is then.
    """

    realm_id: str
    check: ConnectionHealthCheck | None
    reused: bool = False
    recorded: bool = True
    checking: bool = False
    renewal_until: dt.datetime | None = None


def companies() -> list[str]:
    """The realm ids of all companies that were ever connected."""
    rows = OAuthToken.objects.exclude(state=GrantState.PENDING).order_by("company_name", "realm_id")
    return list(rows.values_list("realm_id", flat=True))


def latest_check(realm_id: str) -> ConnectionHealthCheck | None:
    """The newest check of a company."""
    rows = ConnectionHealthCheck.objects.filter(realm_id=realm_id)
    return rows.order_by("-checked_at", "-id").first()


def under_way(realm_ids: list[str]) -> set[str]:
    """Those of the companies that somebody is probing now."""
    claims = ProbeClaim.objects.filter(realm_id__in=realm_ids, expires_at__gt=database_now())
    return set(claims.values_list("realm_id", flat=True))


def probe(
    realm_id: str,
    *,
    trigger: Trigger,
    now: dt.datetime,
    fresh: bool = False,
    patience: float = 0.0,
    confirming: bool = False,
    context: Context = NOTHING_ELSE,
    pause: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Ask QuickBooks about one company, or share what somebody else has just asked.

    `fresh`: always a new probe, begun after this call. `patience`: seconds to wait for somebody
    else's probe or renewal. `context`: what else is known about this check. Raises
    `UnknownCompany`, and `DatabaseError` when the database does not even say what to ask.
    """
    entered, begun, waited = boot_clock(), now, 0.0
    while True:
        row = _company(realm_id)
        if row.state == GrantState.DISCONNECTED:
            # Somebody wanted it so: that is a status, and no failed check. Of this moment, so
            # that a read which was under way then does not outlast it.
            commit(evidence(row, Code.DISCONNECTED_HERE, begun))
            return Outcome(realm_id=realm_id, check=latest_check(realm_id))
        recent = None if fresh else _reusable(row, begun)
        if recent is not None:
            return Outcome(realm_id=realm_id, check=recent, reused=True)
        owner = _claim(realm_id)
        if owner is not None:
            # Whoever had the claim before may have finished between our look and our claim.
            recent = None if fresh else _reusable(_company(realm_id), begun)
            if recent is not None:
                _claims(realm_id, owner).delete()
                return Outcome(realm_id=realm_id, check=recent, reused=True)
            return _run(row, owner, trigger, begun, patience, confirming, context)
        if waited >= patience:
            return Outcome(
                realm_id=realm_id, check=latest_check(realm_id), reused=True, checking=True
            )
        pause(0.05)
        waited = boot_clock() - entered
        begun = now + dt.timedelta(seconds=waited)


def _company(realm_id: str) -> OAuthToken:
    row = OAuthToken.objects.exclude(state=GrantState.PENDING).filter(realm_id=realm_id).first()
    if row is None:
        raise UnknownCompany(realm_id)
    return row


def _reusable(row: OAuthToken, now: dt.datetime) -> ConnectionHealthCheck | None:
    check = latest_check(row.realm_id)
    if check is None or check.generation != row.generation:
        return None  # connected, disconnected or renewed since
    age = (now - check.checked_at).total_seconds()
    return check if age < settings.QUICKBOOKS_PROBE_REUSE_SECONDS else None


def _claim(realm_id: str) -> str | None:
    """Claim the right to probe this company; None if somebody has it."""
    owner, clock = uuid.uuid4().hex, database_now()
    # Discovery, read, refresh, read again: at the very most a deadline each.
    lasting = dt.timedelta(seconds=5 * settings.QUICKBOOKS_DEADLINE_SECONDS)
    claim = {"owner": owner, "started_at": clock, "expires_at": clock + lasting}
    if ProbeClaim.objects.filter(realm_id=realm_id, expires_at__lt=clock).update(**claim):
        return owner
    if ProbeClaim.objects.filter(realm_id=realm_id).exists():
        return None
    try:
        with transaction.atomic():
            ProbeClaim.objects.create(realm_id=realm_id, **claim)
    except IntegrityError:
        return None
    return owner


def _claims(realm_id: str, owner: str) -> QuerySet[ProbeClaim]:
    return ProbeClaim.objects.filter(realm_id=realm_id, owner=owner)


def _run(
    row: OAuthToken,
    owner: str,
    trigger: Trigger,
    now: dt.datetime,
    patience: float,
    confirming: bool,
    context: Context,
) -> Outcome:
    claim = _claims(row.realm_id, owner)
    try:
        answer = _ask(row, now, trigger, patience)
    except tokens.RenewalPending as pending:
        claim.delete()
        return Outcome(
            realm_id=row.realm_id,
            check=latest_check(row.realm_id),
            reused=True,
            renewal_until=pending.until,
        )
    except BaseException:
        claim.delete()
        raise
    if answer.diagnosis.code is Code.DISCONNECTED_HERE:  # since the row was read
        claim.delete()
        commit(evidence(row, Code.DISCONNECTED_HERE, now))
        return Outcome(realm_id=row.realm_id, check=latest_check(row.realm_id))
    check = _check_of(row.realm_id, answer, trigger, now, confirming)
    recorded = True
    try:
        _record(check, answer, row, context)
    except AnyDatabaseError as error:
        recorded = False
        logger.error(
            "The check of company %s (%s) could not be recorded: %s",
            row.realm_id,
            check.diagnosis,
            type(error).__name__,
        )
    else:
        with suppress(AnyDatabaseError):  # a claim runs out by itself
            claim.delete()
    return Outcome(realm_id=row.realm_id, check=check, recorded=recorded)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    diagnosis: Diagnosis
    generation: int
    refreshed: bool
    latency_ms: int | None = None
    # What was done about a refused token, in sentences.
    tried: tuple[str, ...] = ()


def _ask(row: OAuthToken, now: dt.datetime, trigger: Trigger, patience: float) -> _Answer:
    refused: int | None = None
    refreshed = False
    tried: list[str] = []
    while True:
        try:
            access = tokens.obtain_access(
                row.realm_id, now=now, trigger=trigger, patience=patience, refused=refused
            )
        except tokens.NoAccess as error:
            row.refresh_from_db(fields=["generation"])
            return _Answer(
                diagnosis=error.diagnosis,
                generation=row.generation,
                refreshed=refreshed or error.refreshed,
                tried=(*tried, *_renewing(error)),
            )
        refreshed = refreshed or access.refreshed
        if access.refreshed:
            tried.append("Renewed the access once and asked again.")
        started = boot_clock()
        try:
            diagnosis = diagnose(client.read_company(row.realm_id, access.token))
        except ExchangeError as error:
            diagnosis = diagnose_failure(error)
        latency = round(1000 * (boot_clock() - started))
        # A token minted a moment ago and never accepted: that is Intuit's trouble, and a
        # refresh would only make another such token. And one refresh a probe is enough.
        if not diagnosis.token_refused or access.unproven or refused is not None:
            return _Answer(
                diagnosis=diagnosis,
                generation=access.generation,
                refreshed=refreshed,
                latency_ms=latency,
                tried=tuple(tried),
            )
        refused = access.generation
        tried.append("QuickBooks refused the access token. Read the stored one again.")


def _renewing(error: tokens.NoAccess) -> list[str]:
    if not error.refreshed:
        return []
    return [f"Tried to renew the access once: {words.title(error.diagnosis.code)}."]


def _check_of(
    realm_id: str, answer: _Answer, trigger: Trigger, now: dt.datetime, confirming: bool
) -> ConnectionHealthCheck:
    found = answer.diagnosis
    return ConnectionHealthCheck(
        realm_id=realm_id,
        checked_at=now,
        ok=found.ok,
        diagnosis=found.code,
        http_status=found.http_status,
        fault_type=found.fault_type,
        fault_code=found.fault_code,
        message=found.message,
        intuit_tid=found.intuit_tid,
        latency_ms=answer.latency_ms,
        trigger=trigger,
        refreshed=answer.refreshed,
        generation=answer.generation,
        confirming=confirming,
    )


def _record(
    check: ConnectionHealthCheck, answer: _Answer, row: OAuthToken, context: Context
) -> None:
    """Everything that a check leaves behind, in one transaction."""
    code, found, at = Code(check.diagnosis), answer.diagnosis, check.checked_at
    tried = [Receipt(at=at, text=text) for text in answer.tried]
    read = code in {Code.OK, Code.SUBSCRIPTION_ENDED} and check.http_status == 200
    with transaction.atomic():
        check.save(force_insert=True)
        counts.count(check)
        if read:
            tokens.note_read(
                check.realm_id,
                check.generation,
                check.checked_at,
                found.company_name,
                ok=check.ok,
            )
            _count_metered_call(check.checked_at)
        row.company_name = found.company_name or row.company_name
        commit(evidence(row, code, at, context, tried))


def _count_metered_call(at: dt.datetime) -> None:
    """Successful production reads count against the app's month; sandbox and failures are free."""
    if settings.QUICKBOOKS_ENVIRONMENT != "production":
        return
    counter, _ = MeteredCalls.objects.get_or_create(
        client_id=settings.QUICKBOOKS_CLIENT_ID, month=at.date().replace(day=1)
    )
    MeteredCalls.objects.filter(pk=counter.pk).update(count=F("count") + 1)
