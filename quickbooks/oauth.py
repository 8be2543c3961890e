"""Intuit's OAuth endpoints: authorize, exchange, refresh, revoke. The only user of intuit-oauth.

intuit-oauth builds the requests; what it leaves open is closed here: it has no timeout, fetches
discovery at every construction, copies every key of an answer onto the client, and its errors
carry the request with the refresh token in it.
"""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from intuitlib.client import AuthClient
from intuitlib.enums import Scopes
from intuitlib.exceptions import AuthClientError

from config.env import is_safe_for_secrets
from integrations.crypto import Secret
from integrations.deadline import Deadline
from integrations.http import ExchangeError, Failure, exchange, prepare
from quickbooks.diagnosis import clean, clean_tid
from quickbooks.models import DiscoveryDocument

# The errors of RFC 6749, section 5.2. Anything else is no verdict.
_APP_ERRORS = {
    "invalid_client",
    "unauthorized_client",
    "invalid_request",
    "unsupported_grant_type",
    "invalid_scope",
}
# The last resort, and only for Intuit's own discovery URL: a demo's secrets stay at home.
# https://developer.intuit.com/app/developer/qbo/docs/develop/authentication-and-authorization
_INTUIT_ENDPOINTS = {
    "issuer": "https://oauth.platform.intuit.com/op/v1",
    "authorization_endpoint": "https://appcenter.intuit.com/connect/oauth2",
    "token_endpoint": "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
    "revocation_endpoint": "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
    "jwks_uri": "https://oauth.platform.intuit.com/op/v1/jwks",
    "userinfo_endpoint": "https://accounts.platform.intuit.com/v1/openid_connect/userinfo",
}
_DISCOVERY_LIFETIME = dt.timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class TokenPair:
    """A token answer. Durations are seconds; a clock that Intuit did not state is None."""

    access_token: Secret
    refresh_token: Secret
    expires_in: int
    refresh_expires_in: int | None
    hard_expires_in: int | None
    intuit_tid: str


class OAuthError(Exception):
    """No new pair. The message is safe to store and to show."""

    def __init__(self, detail: str, intuit_tid: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.intuit_tid = intuit_tid


class GrantRejected(OAuthError):
    """`invalid_grant`: expired, rotated away, revoked and never issued look the same."""


class AppRejected(OAuthError):
    """Intuit does not accept our client id and secret, or the request as such."""


class NoVerdict(OAuthError):
    """Sent, and no readable verdict came back: it may or may not have taken effect.

    `failure` is None when an answer came and could not be read as one. `page`: it was HTML or
    XML, as a firewall's is.
    """

    def __init__(
        self,
        detail: str,
        intuit_tid: str = "",
        *,
        failure: Failure | None,
        status: int | None,
        page: bool = False,
    ) -> None:
        super().__init__(detail, intuit_tid)
        self.failure = failure
        self.status = status
        self.page = page


class NotSent(OAuthError):
    """Not a byte of it left this machine."""

    def __init__(self, detail: str, failure: Failure) -> None:
        super().__init__(detail)
        self.failure = failure


class _Client(AuthClient):  # type: ignore[misc]  # intuit-oauth has no types
    """One call's client: bounded, without discovery, without anything from the environment."""

    def __init__(self, endpoints: dict[str, str], deadline: Deadline | None = None) -> None:
        self._endpoints = endpoints
        self._deadline = deadline
        super().__init__(
            settings.QUICKBOOKS_CLIENT_ID,
            settings.QUICKBOOKS_CLIENT_SECRET,
            settings.QUICKBOOKS_REDIRECT_URI,
            environment=settings.QUICKBOOKS_DISCOVERY_URL,
        )
        prepare(self)
        self.include_refresh_token_hard_expires_in = True

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        if method == "GET":  # the constructor asks for discovery, which is known already
            known = requests.Response()
            known.status_code = 200
            known._content = json.dumps(self._endpoints).encode()
            return known
        assert self._deadline is not None
        options.pop("auth", None)
        # The library would copy every key of the answer onto this object (`verify`, `auth`…);
        # it gets an empty body and we read the real one.
        self.answer = exchange(self, method, url, self._deadline, **options)
        shown = requests.Response()
        shown.status_code = self.answer.status_code
        shown._content = b""
        return shown


def authorization_url(endpoints: dict[str, str], state: str) -> str:
    """Where the person gives consent."""
    url: str = _Client(endpoints).get_authorization_url([Scopes.ACCOUNTING], state_token=state)
    return url


def exchange_code(endpoints: dict[str, str], code: str, deadline: Deadline) -> TokenPair:
    """Turn an authorization code into tokens, once. Raises `OAuthError`."""
    return _read_pair(_call(endpoints, deadline, lambda client: client.get_bearer_token(code)))


def refresh(endpoints: dict[str, str], refresh_token: Secret, deadline: Deadline) -> TokenPair:
    """Present a refresh token, once. Raises `OAuthError`."""
    return _read_pair(_call(endpoints, deadline, lambda client: client.refresh(refresh_token)))


def revoke(endpoints: dict[str, str], refresh_token: Secret, deadline: Deadline) -> str:
    """End the grant at Intuit; returns the intuit_tid. Raises `OAuthError`."""
    answer = _call(endpoints, deadline, lambda client: client.revoke(refresh_token))
    tid = clean_tid(answer.headers.get("intuit_tid", ""))
    if _is_page(answer):  # Intuit's is empty; a page is a firewall's
        raise NoVerdict("HTTP 200 with a page", tid, failure=None, status=answer.status_code)
    return tid


def _call(
    endpoints: dict[str, str], deadline: Deadline, ask: Callable[[Any], Any]
) -> requests.Response:
    """Returns a 200; everything else becomes the `OAuthError` that it means."""
    client = _Client(endpoints, deadline)
    try:
        ask(client)
        answer: requests.Response = client.answer
    except AuthClientError:
        # Its `.response.request` holds the refresh token and the client secret.
        raise _meaning(client.answer) from None
    except ExchangeError as error:
        if error.sent:
            raise NoVerdict(error.detail, failure=error.failure, status=error.status) from None
        raise NotSent(error.detail, error.failure) from None
    finally:
        client.close()
    return answer


def _meaning(answer: requests.Response) -> OAuthError:
    tid = clean_tid(answer.headers.get("intuit_tid", ""))
    document = _json_object(answer)
    error = document.get("error")
    if answer.status_code in {400, 401} and isinstance(error, str):
        if error == "invalid_grant":
            return GrantRejected("invalid_grant", tid)
        if error in _APP_ERRORS:
            return AppRejected(error, tid)
    return NoVerdict(
        f"HTTP {answer.status_code} without a verdict",
        tid,
        failure=None,
        status=answer.status_code,
        page=_is_page(answer),
    )


def _read_pair(answer: requests.Response) -> TokenPair:
    tid = clean_tid(answer.headers.get("intuit_tid", ""))
    document = _json_object(answer)
    access, new_refresh = document.get("access_token"), document.get("refresh_token")
    if not (isinstance(access, str) and access and isinstance(new_refresh, str) and new_refresh):
        raise NoVerdict(
            "HTTP 200 without a pair of tokens", tid, failure=None, status=answer.status_code
        )
    return TokenPair(
        access_token=Secret(access),
        refresh_token=Secret(new_refresh),
        expires_in=_seconds(document.get("expires_in")) or 3600,  # Intuit's, if it is not said
        refresh_expires_in=_seconds(document.get("x_refresh_token_expires_in")),
        hard_expires_in=_seconds(document.get("x_refresh_token_hard_expires_in")),
        intuit_tid=tid,
    )


def _json_object(answer: requests.Response) -> dict[str, Any]:
    try:
        document = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_page(answer: requests.Response) -> bool:
    return answer.content.lstrip().startswith(b"<")


def _seconds(value: Any) -> int | None:
    """Seconds until an expiry; absent or absurd means unknown, never zero."""
    try:
        seconds = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds <= 10 * 365 * 86400 else None


def discover(now: dt.datetime) -> dict[str, str]:
    """Intuit's endpoints: the stored document, fetched anew once a day.

    An outage of the discovery host has stopped refreshes elsewhere (oauth-pythonclient#18), so
    an old document is as good as none newer. Raises `NotSent` when there is none at all.
    """
    url = settings.QUICKBOOKS_DISCOVERY_URL
    stored = DiscoveryDocument.objects.filter(url=url).first()
    if stored and now - stored.fetched_at < _DISCOVERY_LIFETIME:
        return dict(stored.document)
    try:
        document = _fetch_discovery(url)
    except OAuthError:
        if stored:
            return dict(stored.document)
        if _is_intuits(url):
            return dict(_INTUIT_ENDPOINTS)
        raise
    DiscoveryDocument.objects.update_or_create(
        url=url, defaults={"document": document, "fetched_at": now}
    )
    return document


def _fetch_discovery(url: str) -> dict[str, str]:
    session = requests.Session()
    prepare(session)
    try:
        answer = exchange(session, "GET", url, Deadline(settings.QUICKBOOKS_DEADLINE_SECONDS))
    except ExchangeError as error:
        raise NotSent(f"discovery: {error.detail}", error.failure) from None
    finally:
        session.close()
    document = _json_object(answer)
    found = {name: document.get(name) for name in _INTUIT_ENDPOINTS}
    # Whoever answers here decides where secrets go.
    if answer.status_code != 200 or not all(
        isinstance(endpoint, str)
        and is_safe_for_secrets(endpoint)
        and _is_intuits(endpoint) == _is_intuits(url)
        for endpoint in found.values()
    ):
        raise NotSent("discovery: the answer is not a discovery document", Failure.BROKEN)
    return {name: clean(str(endpoint), 300) for name, endpoint in found.items()}


def _is_intuits(url: str) -> bool:
    return (urlsplit(url).hostname or "").endswith(".intuit.com")
