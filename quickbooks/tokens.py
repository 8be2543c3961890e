"""An access token that may be used: as it is, or refreshed, or the reason why there is none.

The promise of the project is kept here and in `quickbooks.lease`: one at a time, saved before
used, a dead token never presented again, and nothing but evidence changes the verdict.
"""

import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Q

from integrations.crypto import EncryptionError, Secret
from integrations.deadline import boot_clock
from integrations.http import Failure
from quickbooks import lease as leases
from quickbooks import oauth, rescue
from quickbooks.diagnosis import Code, Diagnosis
from quickbooks.models import (
    EXPIRED,
    FRESH_ENOUGH,
    REFUSED,
    GrantState,
    OAuthToken,
    RefreshOutcome,
    TokenRefresh,
)

# One that is nearly over still serves when no new one can be had.
JUST_USABLE = dt.timedelta(seconds=5)


@dataclass(frozen=True, kw_only=True)
class Access:
    """An access token that may be used, and where it comes from."""

    token: Secret
    generation: int
    refreshed: bool
    # Minted within the last five minutes and never yet accepted by QuickBooks.
    unproven: bool


class NoAccess(Exception):
    """There is no access token to be had; the diagnosis says why."""

    def __init__(self, diagnosis: Diagnosis, *, refreshed: bool = False) -> None:
        super().__init__(diagnosis.code.value)
        self.diagnosis = diagnosis
        self.refreshed = refreshed


class RenewalPending(Exception):
    """Somebody else's renewal is unfinished; `until` is when its lease runs out."""

    def __init__(self, until: dt.datetime | None) -> None:
        super().__init__("a renewal is unfinished")
        self.until = until


def missing_settings() -> list[str]:
    """The settings without which nothing can be connected."""
    names = ("QUICKBOOKS_CLIENT_ID", "QUICKBOOKS_CLIENT_SECRET", "TOKEN_ENCRYPTION_KEYS")
    return [name for name in names if not getattr(settings, name)]


def is_foreign_copy(row: OAuthToken) -> bool:
    """Connected under another SITE_URL: this database is a copy of another installation's."""
    return bool(row.site_url) and row.site_url != settings.SITE_URL


def standing_verdict(row: OAuthToken) -> Code | None:
    """Why nothing may be presented for this company, as far as is known without asking."""
    if row.state == GrantState.DISCONNECTED:
        return Code.DISCONNECTED_HERE
    if row.state == GrantState.PENDING:
        return Code.NOT_CONNECTED
    if missing_settings():
        return Code.NOT_CONFIGURED
    if is_foreign_copy(row):
        return Code.FOREIGN_COPY
    if not _same_app(row):
        # Another app's client id gets `invalid_grant` for a perfectly live token.
        return Code.WRONG_COMPANY_OR_ENVIRONMENT
    if row.state == GrantState.REJECTED:
        return Code.RECONNECT_REQUIRED
    if row.state == GrantState.LOST:
        return Code.REFRESH_RESPONSE_LOST
    return None


def is_ours(row: OAuthToken) -> bool:
    """This installation may present the grant: same app, same site, all settings there."""
    return _same_app(row) and not is_foreign_copy(row) and not missing_settings()


def _same_app(row: OAuthToken) -> bool:
    return (row.client_id, row.environment) == (
        settings.QUICKBOOKS_CLIENT_ID,
        settings.QUICKBOOKS_ENVIRONMENT,
    )


def obtain_access(
    realm_id: str,
    *,
    now: dt.datetime,
    trigger: str,
    patience: float,
    refused: int | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Access:
    """An access token that is valid at `now`, refreshed if need be.

    `refused`: the generation whose access token QuickBooks has just refused (3200); a newer one
    is wanted. `patience`: seconds to wait for somebody else's refresh. Raises `NoAccess`,
    `RenewalPending`, `DatabaseError`.
    """
    give_up_at = boot_clock() + patience
    presented: int | None = None  # the generation whose refresh token this call has presented
    while True:
        row = read_row(realm_id)
        refreshed = presented is not None
        if code := standing_verdict(row):
            raise NoAccess(Diagnosis(code=code), refreshed=refreshed)
        wanted = row.generation != refused
        renewed = presented is not None and row.generation > presented
        if wanted and (renewed or _lasts(row, now, FRESH_ENOUGH)):
            return _access(row, now, refreshed)
        usable = wanted and _lasts(row, now, JUST_USABLE)
        try:
            lease = None
            if presented is None:
                endpoints = oauth.discover(now)  # before the lease: may take a deadline itself
                lease = leases.take(
                    realm_id,
                    row.generation,
                    purpose=TokenRefresh.Purpose.REFRESH,
                    trigger=trigger,
                    states=(GrantState.LIVE,),
                    reason=EXPIRED if wanted else REFUSED,
                )
            if lease is not None:
                presented = lease.generation
                answer = _ask_or_release(lease, endpoints)
                settle(lease, answer, now, pause=pause)
                if isinstance(answer.result, _NOT_ABOUT_THE_GRANT):
                    raise answer.result
                continue
        except oauth.OAuthError as error:
            if presented is not None and read_row(realm_id).generation > presented:
                continue  # a newer pair came meanwhile, from whoever was slower
            if usable:
                return _access(row, now, refreshed)
            raise NoAccess(_diagnosis_of(error), refreshed=presented is not None) from None
        if usable:
            return _access(row, now, refreshed)
        if boot_clock() >= give_up_at:
            raise RenewalPending(read_row(realm_id).lease_until)
        pause(0.05)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of presenting a refresh token: a new pair, or the error that says why not."""

    result: oauth.TokenPair | oauth.OAuthError
    rotated: bool = False


def ask(lease: leases.Lease, endpoints: dict[str, str]) -> Answer:
    """Present the leased refresh token once. Raises `EncryptionError`, having sent nothing."""
    token = leases.refresh_token_of(lease)
    if token is None:
        return Answer(result=oauth.NotSent("a newer pair came meanwhile", Failure.NETWORK))
    try:
        pair = oauth.refresh(endpoints, token, lease.deadline)
    except oauth.OAuthError as error:
        return Answer(result=error)
    return Answer(result=pair, rotated=pair.refresh_token != token)


def settle(
    lease: leases.Lease,
    answer: Answer,
    now: dt.datetime,
    *,
    grant: Mapping[str, Any] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Write down what came of it, before anybody uses it. Raises `DatabaseError`."""
    match answer.result:
        case oauth.TokenPair() as pair:
            leases.save_pair(lease, pair, now, rotated=answer.rotated, grant=grant, pause=pause)
        case oauth.GrantRejected(detail=detail, intuit_tid=tid) if grant is None:
            leases.reject(lease, detail, tid)
        case oauth.NoVerdict(detail=detail, intuit_tid=tid):
            leases.leave_in_doubt(lease, detail, tid)
        case oauth.NotSent(detail=detail):
            leases.release(lease, RefreshOutcome.NOT_SENT, detail)
        case oauth.AppRejected(detail=detail, intuit_tid=tid):
            leases.release(lease, RefreshOutcome.APP_REJECTED, detail, tid)
        case oauth.OAuthError(detail=detail, intuit_tid=tid):
            # A rejected authorization code: the grant that was there before is untouched.
            leases.release(lease, RefreshOutcome.REJECTED, detail, tid)


_NOT_ABOUT_THE_GRANT = (oauth.NoVerdict, oauth.NotSent, oauth.AppRejected)


def _ask_or_release(lease: leases.Lease, endpoints: dict[str, str]) -> Answer:
    try:
        return ask(lease, endpoints)
    except EncryptionError:
        leases.release(lease, RefreshOutcome.NOT_SENT, "the stored token cannot be decrypted")
        raise NoAccess(Diagnosis(code=Code.NOT_CONFIGURED)) from None


def read_row(realm_id: str) -> OAuthToken:
    """The company's row, with what a rescue file may have kept for it."""
    row = OAuthToken.objects.get(realm_id=realm_id)
    if parcel := rescue.find(realm_id, row.generation):
        leases.commit_parcel(parcel)
        rescue.discard(parcel)
        row = OAuthToken.objects.get(realm_id=realm_id)
    return row


def _lasts(row: OAuthToken, now: dt.datetime, margin: dt.timedelta) -> bool:
    return row.access_expires_at is not None and row.access_expires_at - now > margin


def _access(row: OAuthToken, now: dt.datetime, refreshed: bool) -> Access:
    try:
        token: Secret = row.access_token
    except EncryptionError:
        raise NoAccess(Diagnosis(code=Code.NOT_CONFIGURED)) from None
    young = row.minted_at is not None and now - row.minted_at < dt.timedelta(minutes=5)
    return Access(
        token=token,
        generation=row.generation,
        refreshed=refreshed,
        unproven=young and row.accepted_generation != row.generation,
    )


_CODE_OF_FAILURE = {
    Failure.TIMEOUT: Code.TIMEOUT,
    Failure.NETWORK: Code.NETWORK_UNREACHABLE,
    Failure.TOO_LARGE: Code.UNEXPECTED_REPLY,
    Failure.BROKEN: Code.UNEXPECTED_REPLY,
}


def _diagnosis_of(error: oauth.OAuthError) -> Diagnosis:
    code, status = Code.UNEXPECTED_REPLY, None
    if isinstance(error, oauth.AppRejected):
        code = Code.APP_CREDENTIALS_REJECTED
    elif isinstance(error, oauth.NotSent):
        code = _CODE_OF_FAILURE[error.failure]
    elif isinstance(error, oauth.NoVerdict):
        status = error.status
        if error.failure is not None:
            code = _CODE_OF_FAILURE[error.failure]
        elif status == 429:
            code = Code.THROTTLED
        elif status is not None and status >= 500:
            code = Code.INTUIT_UNAVAILABLE
    return Diagnosis(
        code=code,
        http_status=status,
        message=f"renewal: {error.detail}",
        intuit_tid=error.intuit_tid,
    )


def note_read(
    realm_id: str, generation: int, checked_at: dt.datetime, company_name: str, *, ok: bool
) -> None:
    """Remember that QuickBooks accepted this generation's access token."""
    rows = OAuthToken.objects.filter(realm_id=realm_id, generation=generation)
    values: dict[str, Any] = {"company_name": company_name} if company_name else {}
    if ok:
        rows = rows.filter(Q(last_success_at=None) | Q(last_success_at__lt=checked_at))
        values["last_success_at"] = checked_at
    rows.update(accepted_generation=generation, **values)
