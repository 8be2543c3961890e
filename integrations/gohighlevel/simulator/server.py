"""The stand-in as an HTTP server on the loopback interface."""

import threading

from integrations.gohighlevel.simulator.answers import Answer, answer, endpoint_of, faulty
from integrations.gohighlevel.simulator.world import World
from integrations.stand_in import MAX_BODY, Handler, StandIn, head, reset_on_close

FLOOD = 2 * MAX_BODY


class Simulator(StandIn):
    """GoHighLevel on a local port."""

    vendor = "GoHighLevel"

    def __init__(self, world: World, port: int = 0) -> None:
        super().__init__(_Handler, port)
        self.world = world

    def let_go(self) -> None:
        self.world.clear_faults()


class _Handler(Handler):
    server: Simulator

    def respond(self) -> None:
        length = self.headers.get("Content-Length", "")
        body = self.rfile.read(min(int(length), MAX_BODY)) if length.isdecimal() else b""
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
        self.connection.sendall(head(status, headers | {"Content-Length": str(len(body))}) + body)

    def _mistreat(self, fault: str, released: threading.Event) -> None:
        if fault == "hang":
            released.wait()
        elif fault == "reset":
            reset_on_close(self.connection)
        elif fault == "flood":
            self.connection.sendall(head(200, {"Content-Length": str(FLOOD)}) + b" " * FLOOD)
        else:  # drip: each single read succeeds in time
            self.connection.sendall(head(200, {"Content-Length": "100000"}))
            while not released.wait(0.05):
                self.connection.sendall(b" ")
