"""The OAuth `state`: random, bound to a session and a company, used once, 30 minutes long."""

import datetime as dt
import hashlib
import secrets

from django.http import HttpRequest

from quickbooks.models import AuthorizationRequest


def begin(request: HttpRequest, realm_id: str, now: dt.datetime) -> str:
    """Write down that this person sets out to connect `realm_id` ("" for any); the state."""
    state = secrets.token_urlsafe(32)
    AuthorizationRequest.objects.filter(created_at__lt=now - AuthorizationRequest.LIFETIME).delete()
    AuthorizationRequest.objects.create(
        state_hash=_digest(state),
        session_hash=_session_of(request),
        user_id=request.user.pk or 0,
        realm_id=realm_id,
        created_at=now,
    )
    return state


def consume(request: HttpRequest, state: str, now: dt.datetime) -> AuthorizationRequest | None:
    """What this state was made for, once. None if it is wrong, stale, used or somebody else's.

    The DELETE decides: of two simultaneous callbacks exactly one deletes the row.
    """
    rows = AuthorizationRequest.objects.filter(
        state_hash=_digest(state),
        session_hash=_session_of(request),
        user_id=request.user.pk or 0,
        created_at__gte=now - AuthorizationRequest.LIFETIME,
    )
    found = rows.first()
    return found if found is not None and rows.filter(pk=found.pk).delete()[0] else None


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _session_of(request: HttpRequest) -> str:
    return _digest(request.session.session_key or "")
