"""Connect, refresh, disconnect: what may be done with a grant, and in which order.

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
from integrations.http import Failure, boot_clock
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
ANY_STATE = tuple(GrantState)


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


def _is_ours(row: OAuthToken) -> bool:
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
        row = _read_row(realm_id)
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
            if presented is not None and _read_row(realm_id).generation > presented:
                continue  # a newer pair came meanwhile, from whoever was slower
            if usable:
                return _access(row, now, refreshed)
            raise NoAccess(_diagnosis_of(error), refreshed=presented is not None) from None
        if usable:
            return _access(row, now, refreshed)
        if boot_clock() >= give_up_at:
            raise RenewalPending(_read_row(realm_id).lease_until)
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


def _read_row(realm_id: str) -> OAuthToken:
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


def connect(
    realm_id: str,
    code: str,
    user_id: int | None,
    now: dt.datetime,
    *,
    patience: float = 0.0,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Exchange an authorization code, once, and make its grant the company's.

    Raises `OAuthError` (nothing changed), `RenewalPending`, `EncryptionError`, `DatabaseError`.
    """
    endpoints = oauth.discover(now)
    OAuthToken.objects.get_or_create(realm_id=realm_id)
    lease = _take_for_person(realm_id, TokenRefresh.Purpose.CONNECT, patience=patience, pause=pause)
    try:
        answer = Answer(result=oauth.exchange_code(endpoints, code, lease.deadline), rotated=True)
    except oauth.OAuthError as error:
        answer = Answer(result=error)
    grant = {
        "client_id": settings.QUICKBOOKS_CLIENT_ID,
        "environment": settings.QUICKBOOKS_ENVIRONMENT,
        "site_url": settings.SITE_URL,
        "connected_at": now,
        "connected_by_id": user_id,
        "disconnected_at": None,
        "disconnected_by_id": None,
        "revocation_error": "",
    }
    settle(lease, answer, now, grant=grant, pause=pause)
    if isinstance(answer.result, oauth.OAuthError):
        raise answer.result


def disconnect(
    realm_id: str,
    user_id: int | None,
    now: dt.datetime,
    *,
    patience: float = 0.0,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Revoke at Intuit, then forget. Returns what went wrong with revoking, empty if nothing.

    The tokens of a failed revocation are kept, unused, so that it can be tried again. A copy of
    another installation, or one with other keys, forgets without telling Intuit: the grant is
    not its own to end. Raises `RenewalPending`, `DatabaseError`.
    """
    problem, endpoints = "", None
    try:
        endpoints = oauth.discover(now)
    except oauth.OAuthError as error:
        problem = error.detail
    lease = _take_for_person(
        realm_id, TokenRefresh.Purpose.DISCONNECT, patience=patience, pause=pause
    )
    row = OAuthToken.objects.get(realm_id=realm_id)
    # A dead token is not presented again, not even to be revoked.
    revocable = row.state in {GrantState.LIVE, GrantState.DISCONNECTED} and _is_ours(row)
    still_at_work, tid = False, ""
    if not revocable:
        problem = ""
    elif endpoints is not None:
        try:
            tid = _revoke(lease, endpoints)
        except oauth.OAuthError as error:
            problem, tid = error.detail, error.intuit_tid
            still_at_work = isinstance(error, oauth.NoVerdict)
        except EncryptionError:
            problem = "the stored token cannot be decrypted"
    if not leases.forget(
        lease, user_id, now, problem=problem, still_at_work=still_at_work, tid=tid
    ):
        raise RenewalPending(None)  # a late answer has brought newer tokens meanwhile
    return problem


def _revoke(lease: leases.Lease, endpoints: dict[str, str]) -> str:
    token = leases.refresh_token_of(lease)
    if not token:
        return ""
    try:
        return oauth.revoke(endpoints, token, lease.deadline)
    except oauth.GrantRejected as error:
        return error.intuit_tid  # dead already: that is what was wanted
    except oauth.AppRejected as error:
        if error.detail == "invalid_request":  # the same, in the words of this endpoint
            return error.intuit_tid
        raise
    except oauth.NoVerdict as error:
        if error.status == 400:  # Intuit's answer for a token that is no longer live
            return error.intuit_tid
        raise


def _take_for_person(
    realm_id: str,
    purpose: TokenRefresh.Purpose,
    *,
    patience: float,
    pause: Callable[[float], None],
) -> leases.Lease:
    give_up_at = boot_clock() + patience
    while True:
        row = _read_row(realm_id)
        lease = leases.take(
            realm_id, row.generation, purpose=purpose, trigger="person", states=ANY_STATE
        )
        if lease is not None:
            return lease
        if boot_clock() >= give_up_at:
            raise RenewalPending(row.lease_until)
        pause(0.05)


def take_over(realm_id: str) -> bool:
    """This installation has replaced the original: make the grant its own.

    False when somebody is at work on the grant, or it is no foreign copy.
    """
    row = OAuthToken.objects.get(realm_id=realm_id)
    clock = leases.database_now()
    return bool(
        OAuthToken.objects.filter(realm_id=realm_id, generation=row.generation)
        .exclude(site_url=settings.SITE_URL)
        .filter(Q(lease_until=None) | Q(lease_until__lt=clock))
        .update(site_url=settings.SITE_URL, generation=row.generation + 1)
    )


def rotate_keys() -> int:
    """Encrypt every stored token with the first key; the number of companies.

    Conditional on the generation that was read, so that a refresh in between is not undone.
    Raises `EncryptionError` naming the companies that no key opens, when all others are done.
    """
    changed, closed = 0, set()
    rows = OAuthToken.objects.exclude(refresh_token="").order_by("pk")
    for realm_id in list(rows.values_list("realm_id", flat=True)):
        row = _read_row(realm_id)  # with what waits in a rescue file
        try:
            values = {
                name: OAuthToken.seal(name, realm_id, getattr(row, name))
                for name in ("access_token", "refresh_token")
            }
        except EncryptionError:
            closed.add(realm_id)
            continue
        changed += OAuthToken.objects.filter(pk=row.pk, generation=row.generation).update(**values)
    for entry in TokenRefresh.objects.exclude(late_pair=""):
        try:
            late_pair = TokenRefresh.seal_late_pair(entry.realm_id, entry.late_pair)
        except EncryptionError:
            closed.add(entry.realm_id)
            continue
        TokenRefresh.objects.filter(pk=entry.pk).update(late_pair=late_pair)
    if closed:
        raise EncryptionError(f"no key opens what is stored of {', '.join(sorted(closed))}")
    return changed


def expires_soonest(row: OAuthToken) -> dt.datetime | None:
    """When a person must authorize again at the latest, over the two long clocks."""
    clocks = [at for at in (row.refresh_expires_at, row.hard_expires_at) if at is not None]
    return min(clocks, default=None)
