"""The only door to the network: a wall-clock deadline, a size cap, no redirects."""

import socket
import threading
from collections.abc import Iterator, Mapping
from enum import StrEnum
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, IncompleteRead, InvalidChunkLength

from integrations.connections import POOLS, current
from integrations.deadline import Deadline, boot_clock

BODY_CAP = 1024 * 1024
# A connection that closes later than this has not closed just as it was used again.
AT_ONCE_SECONDS = 1.0
# As many as the threads of `check_quickbooks`, so that none of them waits for a connection.
POOL_SIZE = 32


class Failure(StrEnum):
    """Why there is no usable answer."""

    TIMEOUT = "timeout"
    NETWORK = "network"
    TOO_LARGE = "too_large"
    BROKEN = "broken"


class ExchangeError(Exception):
    """No complete answer. Carries nothing of the request: that can hold secrets.

    `sent`: whether a first byte of the request may have left this machine. `status` and
    `headers` are those of an answer that at least began.
    """

    def __init__(
        self,
        failure: Failure,
        *,
        sent: bool,
        detail: str,
        begun: requests.Response | None = None,
    ) -> None:
        super().__init__(detail)
        self.failure = failure
        self.sent = sent
        self.detail = detail
        self.status = begun.status_code if begun is not None else None
        self.headers: Mapping[str, str] = begun.headers if begun is not None else {}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS


def prepare(session: requests.Session) -> None:
    """Make a session obey: bounded connections, no environment, no memory."""
    session.trust_env = False  # a .netrc would replace the Authorization header
    # One session serves all companies: what an answer sets must not reach the next request.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = _Adapter(pool_connections=4, pool_maxsize=POOL_SIZE)
    session.mount("https://", adapter)
    session.mount("http://", adapter)


_session: requests.Session | None = None
_session_lock = threading.Lock()


def pooled_session() -> requests.Session:
    """The one session of this process; connections are kept and shared by its threads."""
    global _session
    with _session_lock:
        if _session is None:
            _session = requests.Session()
            prepare(_session)
        return _session


def exchange(
    session: requests.Session, method: str, url: str, deadline: Deadline, **options: Any
) -> requests.Response:
    """One request and its whole answer, read, capped and never redirected.

    An answer that is complete counts even if the deadline has passed while it was read. A GET
    whose kept connection ends at once and without a byte of an answer is asked again on another
    one: the other side may close a connection at the very moment in which it is used again,
    which is no outage (RFC 9112, 9.3.1). Nothing else is ever repeated here.
    Raises `ExchangeError` for everything that is not a complete HTTP answer.
    """
    while True:
        try:
            return _attempt(session, method, url, deadline, options)
        except ExchangeError as error:
            unanswered = error.failure is Failure.NETWORK and error.status is None
            at_once = deadline.kept and boot_clock() - deadline.sent_at < AT_ONCE_SECONDS
            if method != "GET" or not (unanswered and at_once):
                raise
            deadline.sent = deadline.kept = False


def _attempt(
    session: requests.Session, method: str, url: str, deadline: Deadline, options: dict[str, Any]
) -> requests.Response:
    # `identity`: the cap then counts what is really read, and no decompressor is in play.
    options["headers"] = {**(options.get("headers") or {}), "Accept-Encoding": "identity"}
    timer = threading.Timer(deadline.remaining(), deadline.expire)
    timer.daemon = True
    token = current.set(deadline)
    response: requests.Response | None = None
    try:
        if deadline.remaining() <= 0:
            raise TimeoutError("too late to start")
        timer.start()
        # Not `session.request` on the given object: a subclass routes that one back here.
        response = requests.Session.request(
            session,
            method,
            url,
            stream=True,
            allow_redirects=False,
            verify=certifi.where(),
            timeout=max(deadline.remaining(), 0.001),
            **options,
        )
        response._content = _read(response, deadline)
        response._content_consumed = True  # type: ignore[attr-defined]
        return response
    except ExchangeError:
        raise
    # ValueError: urllib3 and http.client raise it for some malformed answers.
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        raise _classified(error, deadline, response) from None
    finally:
        timer.cancel()
        deadline.watch(None)
        current.reset(token)


def _read(response: requests.Response, deadline: Deadline) -> bytes:
    body = bytearray()
    raw = response.raw
    try:
        while chunk := raw.read(64 * 1024, decode_content=False):
            body += chunk
            if len(body) > BODY_CAP:
                raise ExchangeError(
                    Failure.TOO_LARGE,
                    sent=True,
                    detail=f"the answer is larger than {BODY_CAP} bytes",
                    begun=response,
                )
    except BaseException:
        raw.close()  # what is left on this connection is not the start of an answer
        raise
    framed = "Content-Length" in response.headers or raw.chunked
    if deadline.expired and not framed:
        # Without a length the end that our own shutdown made looks like the end of the answer.
        raise TimeoutError("cut off at the deadline")
    raw.release_conn()
    return bytes(body)


def _classified(
    error: Exception, deadline: Deadline, begun: requests.Response | None
) -> ExchangeError:
    chain = list(_causes(error))
    if deadline.expired or any(isinstance(e, (TimeoutError, requests.Timeout)) for e in chain):
        failure, detail = Failure.TIMEOUT, "no complete answer within the deadline"
    elif any(isinstance(e, (IncompleteRead, InvalidChunkLength)) for e in chain):
        failure, detail = Failure.BROKEN, "the answer ended before it was complete"
    elif any(_malformed(e) for e in chain) or not any(isinstance(e, OSError) for e in chain):
        failure, detail = Failure.BROKEN, "the answer is not HTTP"
    else:
        failure, detail = Failure.NETWORK, _network_detail(chain)
    return ExchangeError(failure, sent=deadline.sent, detail=detail, begun=begun)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what it wraps; the libraries wrap in four different ways."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        reason = getattr(error, "reason", None)
        error = (
            inner
            or (reason if isinstance(reason, BaseException) else None)
            or error.__cause__
            or error.__context__
        )


def _malformed(error: BaseException) -> bool:
    """http.client's own complaints about what came, except about nothing having come."""
    return type(error).__module__ == "http.client" and type(error).__name__ not in {
        "RemoteDisconnected",
        "NotConnected",
    }


def _network_detail(chain: list[BaseException]) -> str:
    """The kind of trouble in a few words; messages of libraries can repeat a URL."""
    for error in chain:
        if isinstance(error, socket.gaierror):
            return "the host name cannot be resolved"
        if type(error).__module__ == "ssl":
            return "no secure connection (TLS)"
        if isinstance(error, ConnectionRefusedError):
            return "the connection was refused"
        if isinstance(error, (ConnectionResetError, BrokenPipeError)):
            return "the connection was reset"
    return "the connection failed"
