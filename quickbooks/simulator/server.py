"""The stand-in as an HTTP server on the loopback interface."""

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any, Self

from django.conf import settings

from integrations.demo import DemoPart
from quickbooks.simulator import endpoints, pages
from quickbooks.simulator.request import Request, is_loopback
from quickbooks.simulator.wire import RESET_ON_CLOSE, Reply, Wire
from quickbooks.simulator.world import World

MAX_BODY = 1 << 20
POLL_SECONDS = 0.05


class Simulator:
    """Intuit on a local port, from start() to stop()."""

    def __init__(
        self,
        world: World,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        home_url: str | None = None,
        on_change: Callable[[World], None] | None = None,
        others: Mapping[str, DemoPart] | None = None,
    ) -> None:
        if not (getattr(settings, "DEMO", False) or getattr(settings, "TESTING", False)):
            raise RuntimeError("The QuickBooks simulator runs only in the demo and in the tests.")
        if not is_loopback(host):
            raise ValueError(
                f"The QuickBooks simulator listens on this machine only, not on {host!r}."
            )
        self.world = world
        self.home_url = home_url
        self.others = others or {}
        self._on_change = on_change
        self._saving = threading.Lock()
        self._server = _Server((host, port), self)
        self._thread: threading.Thread | None = None
        self.port: int = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self.api_url = self.url
        self.discovery_url = self.url + endpoints.DISCOVERY
        self.control_url = self.url + pages.CONTROL

    def start(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(POLL_SECONDS,),
            name="quickbooks-simulator",
            daemon=True,
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """At once: whatever hangs is let go, and kept-alive connections are closed as well."""
        if self._thread:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        self._server.hang_up()
        self.world.release()

    def changed(self) -> None:
        """Before the answer goes out: what a client has been told must survive a restart."""
        if self._on_change:
            with self._saving:  # one at a time, so that an older state never overwrites a newer one
                self._on_change(self.world)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class _Server(ThreadingTCPServer):
    # Not HTTPServer, which asks the DNS for this machine's full name when it starts.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        self.simulator = simulator
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)

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

    def hang_up(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that hung up is daily bread here
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every kept-alive answer waits 40 ms for a delayed ACK

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the calls are on record in the world."""

    def _serve(self) -> None:
        simulator = self.server.simulator
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            self._send(Reply.json(400, {}))
            return
        request = Request(self.command, self.path, self.headers, self.rfile.read(int(length)))
        if len(request.body) < int(length):  # its sender died in the middle
            self.close_connection = True
        elif not request.is_local:
            self._send(Reply.json(403, {}))
        elif endpoint := endpoints.endpoint_of(request):
            self._serve_machine(request, endpoint)
        else:
            self._send(
                pages.respond(
                    simulator.world,
                    request,
                    simulator.home_url,
                    simulator.changed,
                    simulator.others,
                )
            )

    def _serve_machine(self, request: Request, endpoint: str) -> None:
        simulator = self.server.simulator
        world = simulator.world
        wire = Wire(self.connection, world.released(), world.now(), request.bearer)
        call = endpoints.record(world, request, endpoint)
        world.arrive(call, wire.gone)
        try:
            fault = world.take_fault(endpoint)
            wire.released.wait(world.latency / 2)
            if not fault or fault.processes:
                wire.answer = endpoints.process(world, request, call, simulator.url)
                if endpoint in ("token", "revoke"):
                    simulator.changed()
            wire.released.wait(world.latency / 2)
            reply = wire.answer
            if fault:
                world.note(call, fault.status, f"fault:{fault.name}")
                reply = fault.act(wire)
            # Off the books before the last byte: the client's next call may come on its heels.
            world.leave(call)
            if reply:
                self._send(reply)
            else:
                self.close_connection = True
        except OSError:
            self.close_connection = True
        finally:
            world.leave(call)

    def _send(self, reply: Reply) -> None:
        self.connection.sendall(reply.encode(close=self.close_connection))
