"""What the stand-ins for vendors have in common: an HTTP server on the loopback interface.

The demo and the tests run on them, production refuses them. They write to the raw socket, because
what a vendor or a network does at its worst is no matter for an HTTP library.
"""

import contextlib
import socket
import struct
import sys
import threading
from abc import ABC, abstractmethod
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, ClassVar, Self

from django.conf import settings

MAX_BODY = 1 << 20  # bytes of a request
POLL_SECONDS = 0.05
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST instead of FIN


class StandIn(ThreadingTCPServer, ABC):
    """One vendor on a local port, from start() to stop(). `url` leads there."""

    vendor: ClassVar[str]
    # Not HTTPServer, which asks the DNS for this machine's full name when it starts.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: type["Handler"], port: int = 0, host: str = "127.0.0.1") -> None:
        """`port` 0: any that is free. Raises RuntimeError in production, OSError if it is taken."""
        if not (getattr(settings, "DEMO", False) or getattr(settings, "TESTING", False)):
            raise RuntimeError(
                f"The {self.vendor} simulator runs only in the demo and in the tests."
            )
        self._open: set[socket.socket] = set()
        self._thread: threading.Thread | None = None
        super().__init__((host, port), handler)
        self.port: int = self.server_address[1]
        self.url = f"http://{host}:{self.port}"

    @abstractmethod
    def let_go(self) -> None:
        """End whatever hangs."""

    def start(self) -> Self:
        self._thread = threading.Thread(
            target=self.serve_forever,
            args=(POLL_SECONDS,),
            name=f"{self.vendor} simulator",
            daemon=True,
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """At once: whatever hangs is let go, and kept-alive connections are closed as well."""
        if self._thread:
            self.shutdown()
            self._thread.join()
            self._thread = None
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.let_go()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        with contextlib.suppress(OSError):
            if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == RESET_ON_CLOSE:
                # Without the FIN that would turn the reset into a mere end.
                self.close_request(request)
                return
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that hung up is daily bread here
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler, ABC):
    """The requests of one connection, one after the other, each answered by `respond`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every kept-alive answer waits 40 ms for a delayed ACK

    @abstractmethod
    def respond(self) -> None:
        """Read the request's body, and answer on the raw `connection`, or mistreat it."""

    def do_GET(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        self.respond()

    def log_message(self, format: str, *args: object) -> None:
        """Silent: each stand-in's world has its calls on record."""


def head(status: int, headers: dict[str, str]) -> bytes:
    """Status line and headers."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def reset_on_close(connection: socket.socket) -> None:
    """Let the close that follows be an RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
