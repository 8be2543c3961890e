"""The OAuth `state`: random, bound to a session and a company, used once, 30 minutes long.

Besides, it belongs either to a person of the staff or to a hand-over link.
"""

import datetime as dt
import hashlib
import secrets

from django.db.models import QuerySet
from django.http import HttpRequest

from quickbooks.models import AuthorizationRequest, HandOver


def begin(
    request: HttpRequest, realm_id: str, now: dt.datetime, *, hand_over: HandOver | None = None
) -> str:
    """Write down that this person sets out to connect `realm_id` ("" for any); the state.

    With a hand-over link it does not matter who that is. The session must exist.
    """
    state = secrets.token_urlsafe(32)
    AuthorizationRequest.objects.filter(created_at__lt=now - AuthorizationRequest.LIFETIME).delete()
    AuthorizationRequest.objects.create(
        state_hash=_digest(state),
        session_hash=_session_of(request),
        user_id=None if hand_over else request.user.pk,
        hand_over=hand_over,
        realm_id=realm_id,
        created_at=now,
    )
    return state


def consume(request: HttpRequest, state: str, now: dt.datetime) -> AuthorizationRequest | None:
    """What this state was made for, once. None if it is wrong, stale, used or somebody else's."""
    rows = _of_session(request, state, now).filter(hand_over=None)
    return _consumed(rows.filter(user_id=request.user.pk or 0))


def consume_handed_over(
    request: HttpRequest, state: str, now: dt.datetime
) -> AuthorizationRequest | None:
    """The same for a state that a hand-over link began in this browser. None if it is no such."""
    if not request.session.session_key:
        return None
    rows = _of_session(request, state, now).filter(user=None, hand_over__isnull=False)
    return _consumed(rows.select_related("hand_over"))


def _of_session(
    request: HttpRequest, state: str, now: dt.datetime
) -> QuerySet[AuthorizationRequest]:
    return AuthorizationRequest.objects.filter(
        state_hash=_digest(state),
        session_hash=_session_of(request),
        created_at__gte=now - AuthorizationRequest.LIFETIME,
    )


def _consumed(rows: QuerySet[AuthorizationRequest]) -> AuthorizationRequest | None:
    """The DELETE decides: of two simultaneous callbacks exactly one deletes the row."""
    found = rows.first()
    return found if found is not None and rows.filter(pk=found.pk).delete()[0] else None


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _session_of(request: HttpRequest) -> str:
    return _digest(request.session.session_key or "")
