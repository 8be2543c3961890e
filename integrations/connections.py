"""Connections of urllib3 that end at the deadline of their exchange, whatever they are doing then.

`timeout=` of requests bounds the wait for each byte, not the whole exchange; an answer that
drips one byte a second holds it for ever. Here every connection keeps a second handle on its
socket, and a timer shuts that down at the deadline: while it is connecting, in the TLS handshake,
or reading. https://requests.readthedocs.io/en/latest/user/quickstart/#timeouts
"""

import os
import socket
import threading
from contextvars import ContextVar
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from integrations.deadline import Deadline, boot_clock

# A connection that has been idle may have been forgotten by a router on the way, silently;
# the next request on it would hang until its deadline and look like an outage.
IDLE_SECONDS = 30

# That of the exchange in which this thread is.
current: ContextVar[Deadline] = ContextVar("deadline")


class _Bounded:
    """Mixed into urllib3's connections: obeys the deadline of the current exchange."""

    _wire: socket.socket | None = None
    _used_at = 0.0

    def _new_conn(self) -> socket.socket:
        deadline = current.get()
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
        deadline = current.get()
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


POOLS = {"http": _PlainPool, "https": _TLSPool}
