"""What a person does with a grant: connect, disconnect, take over; and changing the keys."""

import datetime as dt
import time
from collections.abc import Callable

from django.conf import settings
from django.db.models import Q

from integrations.crypto import EncryptionError
from integrations.deadline import boot_clock
from quickbooks import lease as leases
from quickbooks import oauth
from quickbooks.models import GrantState, OAuthToken, TokenRefresh
from quickbooks.tokens import Answer, RenewalPending, is_ours, read_row, settle

ANY_STATE = tuple(GrantState)


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
    revocable = row.state in {GrantState.LIVE, GrantState.DISCONNECTED} and is_ours(row)
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
        if (
            error.status == 400 and not error.page
        ):  # Intuit's answer for a token that is no longer live
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
        row = read_row(realm_id)
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
        row = read_row(realm_id)  # with what waits in a rescue file
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
