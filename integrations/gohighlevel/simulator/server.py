"""The stand-in as an HTTP server on the loopback interface."""

import contextlib
import socket
import struct
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Self

from django.conf import settings

from integrations.gohighlevel.simulator.answers import Answer, answer, endpoint_of, faulty
from integrations.gohighlevel.simulator.world import World

MAX_BODY = 1 << 20
POLL_SECONDS = 0.05
FLOOD = 2 * MAX_BODY


class Simulator:
    """GoHighLevel on a local port, from start() to stop()."""

    def __init__(self, world: World, port: int = 0) -> None:
        if not (getattr(settings, "DEMO", False) or getattr(settings, "TESTING", False)):
            raise RuntimeError("The GoHighLevel simulator runs only in the demo and in the tests.")
        self.world = world
        self._server = _Server(("127.0.0.1", port), world)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True
        ).start()
        return self

    def stop(self) -> None:
        """At once: whatever hangs is let go, and kept-alive connections are closed as well."""
        self._server.shutdown()
        self._server.server_close()
        self.world.clear_faults()
        self._server.hang_up()


class _Server(ThreadingTCPServer):
    # Not HTTPServer, which asks the DNS for this machine's full name when it starts.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], world: World) -> None:
        self.world = world
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: clients that hang up are what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every kept-alive answer waits 40 ms for a delayed ACK

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        self._serve(self.rfile.read(min(int(length), MAX_BODY)) if length.isdecimal() else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the calls are counted in the world."""

    def _serve(self, body: bytes) -> None:
        world = self.server.world
        endpoint = endpoint_of(self.command, self.path)
        if endpoint is None:
            self._send((404, {}, b"{}"))
            return
        with world.lock:
            world.calls[endpoint] += 1
            due = answer(world, endpoint, self.path, dict(self.headers.items()), body)
            fault = world.take_fault(endpoint)
            ready = due if fault is None else faulty(world, fault, due)
            released = world.released
        if ready is not None:
            self._send(ready)
        elif fault is not None:
            self.close_connection = True
            self._mistreat(fault, released)

    def _send(self, ready: Answer) -> None:
        status, headers, body = ready
        self.connection.sendall(_head(status, headers | {"Content-Length": str(len(body))}) + body)

    def _mistreat(self, fault: str, released: threading.Event) -> None:
        if fault == "hang":
            released.wait()
        elif fault == "reset":
            # SO_LINGER with no time: the close that follows sends RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif fault == "flood":
            self.connection.sendall(_head(200, {"Content-Length": str(FLOOD)}) + b" " * FLOOD)
        else:  # drip: each single read succeeds in time
            self.connection.sendall(_head(200, {"Content-Length": "100000"}))
            while not released.wait(0.05):
                self.connection.sendall(b" ")


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
