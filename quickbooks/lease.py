"""The lease on a company's grant, and every UPDATE of an existing `OAuthToken` that it guards.

Who wants to present a token at Intuit takes the lease in one durable transaction that is
committed before the call, and settles the outcome in another one after it. No transaction and
no row lock is open while HTTP runs. The database's clock decides when a lease has run out.
"""

import datetime as dt
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Coalesce

from integrations.crypto import Sealed, Secret
from integrations.deadline import Deadline, boot_clock
from integrations.sql import database_now as database_now  # for whoever asks the lease
from quickbooks import rescue
from quickbooks.models import GrantState, OAuthToken, RefreshOutcome, TokenRefresh
from quickbooks.oauth import TokenPair

logger = logging.getLogger(__name__)


def lease_length() -> dt.timedelta:
    """Six deadlines: the holder's request is over long before anybody else may ask."""
    return dt.timedelta(seconds=6 * settings.QUICKBOOKS_DEADLINE_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to present this generation's token once, until the deadline.

    `in_doubt_since`: the doubt that was there before; None if there was none.
    """

    realm_id: str
    generation: int
    owner: str
    journal_id: int
    in_doubt_since: dt.datetime | None
    deadline: Deadline


def take(
    realm_id: str,
    generation: int,
    *,
    purpose: TokenRefresh.Purpose,
    trigger: str,
    states: tuple[GrantState, ...],
    reason: str = "",
) -> Lease | None:
    """Take the lease if it is free and the row still is what was read; None otherwise.

    From here on an answer may be lost, so `in_doubt_since` is set in the same commit.
    """
    # Started before the lease's own clock is read, so that it ends well before the lease does
    # even if this process is suspended anywhere in between.
    deadline = Deadline(settings.QUICKBOOKS_DEADLINE_SECONDS)
    owner = uuid.uuid4().hex
    rows = OAuthToken.objects.filter(realm_id=realm_id, generation=generation, state__in=states)
    with transaction.atomic(durable=True):
        before = rows.select_for_update().values("in_doubt_since", "access_expires_at").first()
        clock = database_now()
        taken = before is not None and rows.filter(
            Q(lease_until=None) | Q(lease_until__lt=clock)
        ).update(
            lease_owner=owner,
            lease_until=clock + lease_length(),
            in_doubt_since=Coalesce("in_doubt_since", Value(clock)),
        )
        if not taken or before is None:
            return None
        journal = TokenRefresh.objects.create(
            realm_id=realm_id,
            purpose=purpose,
            generation=generation,
            owner=owner,
            trigger=trigger,
            reason=reason,
            in_doubt=before["in_doubt_since"] is not None,
            access_seconds_left=_seconds(before["access_expires_at"], clock),
            started_at=clock,
        )
    return Lease(
        realm_id=realm_id,
        generation=generation,
        owner=owner,
        journal_id=journal.pk,
        in_doubt_since=before["in_doubt_since"],
        deadline=deadline,
    )


def release(lease: Lease, outcome: RefreshOutcome, detail: str, intuit_tid: str = "") -> None:
    """Nothing happened to the grant: free the lease at once and restore the earlier doubt."""
    with transaction.atomic(durable=True):
        _held(lease).update(lease_owner="", lease_until=None, in_doubt_since=lease.in_doubt_since)
        _close_journal(lease, outcome, detail, intuit_tid)


def leave_in_doubt(lease: Lease, detail: str, intuit_tid: str = "") -> None:
    """It is not known what happened. The lease runs out by itself: the request may still be at
    work at Intuit, and nobody may ask again before it is certainly over."""
    with transaction.atomic(durable=True):
        _close_journal(lease, RefreshOutcome.UNKNOWN, detail, intuit_tid)


def reject(lease: Lease, detail: str, intuit_tid: str) -> None:
    """Intuit says that this token is dead: believe it if nothing newer came meanwhile.

    A verdict is passed only by the holder: with somebody else's request under way, this very
    rejection may be the consequence of its success. With doubt, the token probably died with
    an answer that never arrived.
    """
    verdict = GrantState.LOST if lease.in_doubt_since else GrantState.REJECTED
    with transaction.atomic(durable=True):
        _held(lease).filter(state=GrantState.LIVE).update(
            state=verdict, lease_owner="", lease_until=None, in_doubt_since=None
        )
        _close_journal(lease, RefreshOutcome.REJECTED, detail, intuit_tid)


def save_pair(
    lease: Lease,
    pair: TokenPair,
    now: dt.datetime,
    *,
    rotated: bool,
    grant: Mapping[str, Any] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Save a new pair before anybody uses it; with `grant`, the facts of a new authorization.

    If the commit fails, the pair goes encrypted into a rescue file at once, because a kill
    during the retries must not lose it, and the commit is tried again for the lease's length.
    A bug or an interrupt in the commit leaves the file as well.
    """
    values = _pair_values(lease.realm_id, pair, now, rotated=rotated, new_grant=grant is not None)
    outcome = RefreshOutcome.ROTATED if rotated else RefreshOutcome.SAME
    parcel = rescue.Parcel(
        realm_id=lease.realm_id,
        generation=lease.generation,
        journal_id=lease.journal_id,
        outcome=outcome,
        intuit_tid=pair.intuit_tid,
        values={**values, **(grant or {})},
    )
    give_up_at = boot_clock() + lease_length().total_seconds()
    waited = 0.0
    while True:
        try:
            commit_parcel(parcel)
            rescue.discard(parcel)
            return
        except BaseException as error:
            if not waited:
                rescue.write(parcel)
            # InterfaceError is no DatabaseError: a connection that the server has closed.
            temporary = isinstance(error, (DatabaseError, InterfaceError))
            if not temporary or boot_clock() >= give_up_at:
                logger.error(
                    "The new tokens of company %s could not be committed; they wait in a "
                    "rescue file for the next check.",
                    lease.realm_id,
                )
                raise
            connection.close()
            waited = min(2 * waited + 0.05, 5.0)
            pause(waited)


def commit_parcel(parcel: rescue.Parcel) -> None:
    """One transaction: pair, generation + 1, release, journal. Repeating it changes nothing.

    It commits whenever its generation is still the row's, whoever holds the lease by now, and
    clears a verdict reached meanwhile. If the generation has moved, the pair stays encrypted
    on the journal row. Raises `DatabaseError`.
    """
    with transaction.atomic(durable=True):
        journal = TokenRefresh.objects.select_for_update().filter(pk=parcel.journal_id)
        if journal.filter(finished_at__isnull=False, outcome=parcel.outcome).exists():
            return  # an earlier attempt was committed after all
        saved = OAuthToken.objects.filter(
            realm_id=parcel.realm_id, generation=parcel.generation
        ).update(
            generation=parcel.generation + 1,
            state=GrantState.LIVE,
            lease_owner="",
            lease_until=None,
            in_doubt_since=None,
            **parcel.values,
        )
        late: dict[str, Any] = {}
        if not saved:
            late = {"superseded": True, "late_pair": _late_pair(parcel)}
        journal.update(
            outcome=parcel.outcome,
            finished_at=database_now(),
            detail="",
            intuit_tid=parcel.intuit_tid,
            **late,
        )


def _late_pair(parcel: rescue.Parcel) -> Sealed:
    names = ("access_token", "refresh_token")
    pair = OAuthToken(realm_id=parcel.realm_id, **{name: parcel.values[name] for name in names})
    opened = f"{pair.access_token}\n{pair.refresh_token}"
    return TokenRefresh.seal_late_pair(parcel.realm_id, opened)


def _pair_values(
    realm_id: str, pair: TokenPair, now: dt.datetime, *, rotated: bool, new_grant: bool
) -> dict[str, Any]:
    def after(seconds: int | None) -> dt.datetime | None:
        return None if seconds is None else now + dt.timedelta(seconds=seconds)

    values: dict[str, Any] = {
        "access_token": OAuthToken.seal("access_token", realm_id, pair.access_token),
        "refresh_token": OAuthToken.seal("refresh_token", realm_id, pair.refresh_token),
        "access_expires_at": after(pair.expires_in),
        "minted_at": now,
    }
    if rotated:
        values["last_rotated_at"] = now
    if rotated or pair.refresh_expires_in is not None:
        values["refresh_expires_at"] = after(pair.refresh_expires_in)
    # The hard cap stays where it was when an answer does not repeat it.
    if new_grant or pair.hard_expires_in is not None:
        values["hard_expires_at"] = after(pair.hard_expires_in)
    return values


def forget(
    lease: Lease,
    user_id: int | None,
    now: dt.datetime,
    *,
    problem: str,
    still_at_work: bool,
    tid: str,
) -> bool:
    """Disconnected here; False if newer tokens came meanwhile.

    With a `problem` the tokens stay, unused, so that revoking them can be tried again.
    `still_at_work`: the revocation may yet reach Intuit, so the lease keeps a new connection
    waiting until that is over; a late revocation would end the new grant.
    """
    values: dict[str, Any] = {
        "state": GrantState.DISCONNECTED,
        "generation": lease.generation + 1,
        "in_doubt_since": None,
        "disconnected_at": now,
        "disconnected_by_id": user_id,
        "revocation_error": problem[:200],
    }
    if not problem:
        values.update(access_token="", refresh_token="")
    if not still_at_work:
        values.update(lease_owner="", lease_until=None)
    outcome = RefreshOutcome.UNKNOWN if problem else RefreshOutcome.REVOKED
    with transaction.atomic(durable=True):
        forgotten = OAuthToken.objects.filter(
            realm_id=lease.realm_id, generation=lease.generation
        ).update(**values)
        _close_journal(lease, outcome, problem, tid)
    return bool(forgotten)


def _seconds(until: dt.datetime | None, clock: dt.datetime) -> int | None:
    return None if until is None else round((until - clock).total_seconds())


def _held(lease: Lease) -> QuerySet[OAuthToken]:
    return OAuthToken.objects.filter(
        realm_id=lease.realm_id, generation=lease.generation, lease_owner=lease.owner
    )


def _close_journal(lease: Lease, outcome: RefreshOutcome, detail: str, intuit_tid: str) -> None:
    TokenRefresh.objects.filter(pk=lease.journal_id).update(
        outcome=outcome, detail=detail[:200], intuit_tid=intuit_tid, finished_at=database_now()
    )


def refresh_token_of(lease: Lease) -> Secret | None:
    """The token that this lease allows to present, None if a newer one came meanwhile.

    Raises `EncryptionError`.
    """
    row = _held(lease).first()
    return row.refresh_token if row else None
