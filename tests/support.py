"""What several test files do alike: connect a company, check it, refuse statements, be a server."""

import datetime as dt
import io
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from integrations.deadline import boot_clock
from quickbooks import grants
from quickbooks.models import ConnectionHealthCheck, OAuthToken, Trigger
from quickbooks.probe import probe
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR

HALF_AN_HOUR = dt.timedelta(minutes=30)
# What the stand-in puts into the company's record and nobody may keep.
PERSONAL = re.compile(r"marker", re.IGNORECASE)


def connect(
    world: World, realm_id: str = HARBOUR, *, age: dt.timedelta = HALF_AN_HOUR, user_id: int = 0
) -> OAuthToken:
    """Connect a company as a person does, some time ago: its access token has half of its hour.

    Intuit's record of calls starts anew afterwards.
    """
    code = world.new_code(realm_id, settings.QUICKBOOKS_REDIRECT_URI)
    grants.connect(realm_id, code, user_id or None, timezone.now() - age)
    name = world.companies[realm_id].name
    OAuthToken.objects.filter(realm_id=realm_id).update(company_name=name)
    world.reset_counters()
    return stored(realm_id)


def stored(realm_id: str = HARBOUR) -> OAuthToken:
    """The company as the database has it now."""
    return OAuthToken.objects.get(realm_id=realm_id)


def check(
    realm_id: str = HARBOUR, *, now: dt.datetime | None = None, patience: float = 0.0
) -> ConnectionHealthCheck:
    """A new probe and the row that it left."""
    outcome = probe(
        realm_id,
        trigger=Trigger.COMMAND,
        now=now or timezone.now(),
        fresh=True,
        patience=patience,
    )
    assert outcome.check is not None
    assert outcome.recorded
    assert not outcome.reused
    return ConnectionHealthCheck.objects.get(pk=outcome.check.pk)


def add_check(realm_id: str = HARBOUR, **values: Any) -> ConnectionHealthCheck:
    """A check of the past, as if it had been made then."""
    known: dict[str, Any] = {
        "realm_id": realm_id,
        "checked_at": timezone.now(),
        "ok": True,
        "diagnosis": "ok",
        "http_status": 200,
        "latency_ms": 212,
        "trigger": Trigger.COMMAND,
    }
    known["ok"] = values.get("diagnosis", "ok") == "ok"
    return ConnectionHealthCheck.objects.create(**{**known, **values})


def run(name: str, *arguments: str) -> tuple[int, str]:
    """A management command: its exit code and what it printed."""
    printed = io.StringIO()
    try:
        call_command(name, *arguments, stdout=printed)
    except SystemExit as stop:
        return int(stop.code or 0), printed.getvalue()
    return 0, printed.getvalue()


def set_out(client: Client, realm_id: str = "") -> dict[str, str]:
    """Press the button: what Intuit is asked."""
    response = client.get("/quickbooks/connect/", {"realm": realm_id} if realm_id else {})
    assert response.status_code == 302
    asked = {
        name: value for name, [value] in parse_qs(urlsplit(response["Location"]).query).items()
    }
    return {"page": response["Location"], **asked}


def decide(asked: dict[str, str], realm_id: str = HARBOUR, decision: str = "connect") -> str:
    """Choose a company on Intuit's page: where that sends the browser."""
    form = {name: value for name, value in asked.items() if name != "page"}
    url, origin = urlsplit(asked["page"]), asked["page"].partition("/connect/")[0]
    answer = requests.post(
        url._replace(query="").geturl(),
        {**form, "decision": decision, "realm": realm_id},
        headers={"Origin": origin},
        allow_redirects=False,
        timeout=10,
    )
    assert answer.status_code == 303
    return answer.headers["Location"].removeprefix("http://127.0.0.1:8000")


def text_of(response: Any) -> str:
    """What a person reads on a page, on one line."""
    body = re.sub(r"<(script|style|title)\b.*?</\1>", "", response.content.decode(), flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def links_of(response: Any) -> dict[str, str]:
    """The buttons of a page: what is written on them, and where they lead."""
    found = re.findall(
        r'<a class="button[^"]*" href="([^"]*)">([^<]*)</a>', response.content.decode()
    )
    return {unescape(label): unescape(url) for url, label in found}


@contextmanager
def refusing(*pieces: str, times: int = 1_000_000) -> Iterator[list[str]]:
    """The database refuses statements that contain all the pieces; gives those refused."""
    refused: list[str] = []

    def refuse(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if len(refused) < times and all(piece in sql for piece in pieces):
            refused.append(sql)
            raise OperationalError("the test refuses this statement")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield refused


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens here must not take longer than that."""
    began = boot_clock()
    yield
    assert boot_clock() - began < seconds


class Server:
    """A server on this machine, by a function that has the socket of each connection.

    `connections` counts them, `received` is all that they sent before the function took over
    and what the function adds.
    """

    def __init__(self, serve: "Callable[[Server, socket.socket], None]") -> None:
        self.connections = 0
        self.received = bytearray()
        self.over = threading.Event()
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(accepted)
            threading.Thread(target=self._one, args=[accepted], daemon=True).start()

    def _one(self, accepted: socket.socket) -> None:
        try:
            self._serve(self, accepted)
        except OSError:
            pass  # the client hung up: many of these tests are about that
        finally:
            accepted.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for accepted in self._open:
            accepted.close()


class Echo(BaseHTTPRequestHandler):
    """Answers every GET with an empty object and remembers the headers; keeps connections."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "EchoServer"

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers.items()))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


class EchoServer(ThreadingTCPServer):
    """An orderly server that counts connections and keeps what it was sent."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.connections = 0
        self.requests: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), Echo)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()
