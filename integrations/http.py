"""The only door to the network: a wall-clock deadline, a size cap, no redirects.

`timeout=` of requests bounds the wait for each byte, not the whole exchange; an answer that
drips one byte a second holds it for ever. Here every connection keeps a second handle on its
socket, and a timer shuts that down at the deadline, whatever the exchange is doing then:
connecting, in the TLS handshake, or reading.
https://requests.readthedocs.io/en/latest/user/quickstart/#timeouts
"""

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from enum import StrEnum
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, IncompleteRead, InvalidChunkLength

BODY_CAP = 1024 * 1024
# A connection that has been idle may have been forgotten by a router on the way, silently;
# the next request on it would hang until its deadline and look like an outage.
IDLE_SECONDS = 30
# A connection that closes later than this has not closed just as it was used again.
AT_ONCE_SECONDS = 1.0
# As many as the threads of `check_quickbooks`, so that none of them waits for a connection.
POOL_SIZE = 32

# Counts the time in which the machine was suspended, where the platform can tell.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> float:
    """Seconds on a clock that never jumps back and does not stop during a suspension."""
    return time.clock_gettime(_CLOCK)


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


class Deadline:
    """A point in time after which an exchange is given up, on the boot clock.

    It starts when it is made. One deadline serves one exchange. `sent`: a first byte may have
    left, at `sent_at` on the boot clock; `kept`: on a connection that had served an earlier one.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = boot_clock() + seconds
        self._lock = threading.Lock()
        self._wire: socket.socket | None = None
        self.expired = False
        self.sent = False
        self.sent_at = 0.0
        self.kept = False

    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._ends_at - boot_clock())

    def watch(self, wire: socket.socket | None) -> None:
        with self._lock:
            self._wire = wire
            if self.expired:
                _shut_down(wire)

    def expire(self) -> None:
        with self._lock:
            self.expired = True
            _shut_down(self._wire)


def _shut_down(wire: socket.socket | None) -> None:
    if wire is not None:
        try:
            wire.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected yet, or closed by the other side: nothing is left to stop


_current: ContextVar[Deadline] = ContextVar("deadline")


class _Bounded:
    """Mixed into urllib3's connections: obeys the deadline of the current exchange."""

    _wire: socket.socket | None = None
    _used_at = 0.0

    def _new_conn(self) -> socket.socket:
        deadline = _current.get()
        self._used_at = 0.0
        last_error: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in _resolve(
            self._dns_host,  # type: ignore[attr-defined]
            self.port,  # type: ignore[attr-defined]
            deadline,
        ):
            sock = socket.socket(family, kind, protocol)
            try:
                # A handle of its own: TLS wraps and detaches the first one.
                self._wire = socket.socket(fileno=os.dup(sock.fileno()))
                deadline.watch(self._wire)
                sock.settimeout(max(deadline.remaining(), 0.001))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
                return sock
            except OSError as error:
                last_error = error
                sock.close()
                self._let_go()
        if deadline.expired:
            # Our own shutdown can end `connect` as a broken pipe, which urllib3 takes for an
            # early answer: it would go on without a connection.
            raise TimeoutError("not connected in time")
        raise last_error

    @property
    def is_connected(self) -> bool:
        fresh = boot_clock() - self._used_at < IDLE_SECONDS
        return fresh and bool(super().is_connected)  # type: ignore[misc]

    def send(self, data: Any) -> None:
        deadline = _current.get()
        if self.sock is None:  # type: ignore[attr-defined]
            self.connect()  # type: ignore[attr-defined]
        deadline.watch(self._wire)
        # After connecting and before the first byte, and again before the body, which has the
        # token: a process that was suspended until now must not send a request that somebody
        # else may have repeated meanwhile. Half a request does nothing at the other side.
        if deadline.expired or deadline.remaining() <= 0:
            raise TimeoutError("too late to send")
        now = boot_clock()
        if not deadline.sent:
            deadline.sent_at, deadline.kept = now, self._used_at > 0
        deadline.sent = True
        self._used_at = now
        super().send(data)  # type: ignore[misc]

    def _let_go(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        self._let_go()


def _resolve(host: str, port: int, deadline: Deadline) -> list[Any]:
    """`getaddrinfo` within the deadline; it cannot be interrupted, so it is left behind."""
    found: list[Any] = []
    errors: list[OSError] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(deadline.remaining())
    if errors:
        raise errors[0]
    if not found:
        raise TimeoutError("the name was not resolved in time")
    return list(found)


class _PlainConnection(_Bounded, HTTPConnection):
    pass


class _TLSConnection(_Bounded, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TLSPool}


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
    token = _current.set(deadline)
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
        _current.reset(token)


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
