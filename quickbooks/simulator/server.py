"""The stand-in as an HTTP server on the loopback interface."""

import threading
from collections.abc import Callable, Mapping

from integrations.demo import DemoPart
from integrations.stand_in import MAX_BODY, Handler, StandIn
from quickbooks.simulator import endpoints, pages
from quickbooks.simulator.request import Request, is_loopback
from quickbooks.simulator.wire import Reply, Wire
from quickbooks.simulator.world import World


class Simulator(StandIn):
    """Intuit on a local port."""

    vendor = "QuickBooks"

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
        if not is_loopback(host):
            raise ValueError(
                f"The QuickBooks simulator listens on this machine only, not on {host!r}."
            )
        super().__init__(_Handler, port, host)
        self.world = world
        self.home_url = home_url
        self.others = others or {}
        self._on_change = on_change
        self._saving = threading.Lock()
        self.api_url = self.url
        self.discovery_url = self.url + endpoints.DISCOVERY
        self.control_url = self.url + pages.CONTROL

    def let_go(self) -> None:
        self.world.release()

    def changed(self) -> None:
        """Before the answer goes out: what a client has been told must survive a restart."""
        if self._on_change:
            with self._saving:  # one at a time, so that an older state never overwrites a newer one
                self._on_change(self.world)


class _Handler(Handler):
    server: Simulator

    def respond(self) -> None:
        simulator = self.server
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
        simulator = self.server
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
