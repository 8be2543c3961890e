"""Real processes on the test's own database and simulator: forked children, and gunicorn."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from config.server import gunicorn_command
from quickbooks import grants
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World

# For whatever must happen at all; a machine that is busy otherwise is no reason to fail.
PATIENCE = 60.0
# A module, and what PostgreSQL calls the sessions of the processes that it forks.
DRIVER = "tests.refresh_driver"


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Poll until it holds, and fail if it does not within a generous time."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.002)


def connect(world: World, realm_id: str) -> None:
    """A new grant for this company, by way of an authorization code."""
    code = world.new_code(realm_id, settings.QUICKBOOKS_REDIRECT_URI)
    grants.connect(realm_id, code, None, timezone.now())


def database_url() -> str:
    """The URL of the test database: the one that the settings were read from names its sibling."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{quote(name)}").geturl()


class Child:
    """One process that a driver forked."""

    def __init__(self, driver: "Driver", pid: int) -> None:
        self._driver = driver
        self.pid = pid

    def has(self, event: str) -> bool:
        return event in self._driver.events[self.pid]

    def wait(self, event: str) -> Any:
        """`told`, `done` (returns the result), `stopped`, `ended` (returns the exit code)."""
        return self._driver.wait(self.pid, event)

    def result(self) -> Any:
        """What the job came to, when the process is over."""
        done = self.wait("done")
        assert self.wait("ended") == 0, f"{done}\n{self._driver.log()}"
        return done

    def kill(self) -> bool:
        """`kill -9`; False if it was over already."""
        if not self.has("ended"):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        return bool(self.wait("ended") == -signal.SIGKILL)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


class Driver:
    """The test's side of `tests.refresh_driver`."""

    def __init__(self, process: "subprocess.Popen[str]", gate: int, errors: IO[str]) -> None:
        self._process = process
        self._gate = gate
        self._errors = errors
        self._news = threading.Condition()
        self._settings: dict[str, Any] = {}
        self._children: list[Child] = []
        self.events: dict[int, dict[str, Any]] = defaultdict(dict)
        threading.Thread(target=self._listen, daemon=True).start()

    @contextmanager
    def at_work(self, simulator: Simulator, folder: Path, *, deadline: float) -> Iterator["Driver"]:
        """For one test: its simulator, a folder in the place of `var/`. Nobody outlives it."""
        self._settings = {
            "QUICKBOOKS_DISCOVERY_URL": simulator.discovery_url,
            "QUICKBOOKS_API_URL": simulator.api_url,
            "QUICKBOOKS_DEADLINE_SECONDS": deadline,
            "VAR_DIR": str(folder),
        }
        try:
            yield self
        finally:
            while self._children:
                self._children.pop().kill()

    def start(
        self,
        what: str,
        *interrupts: dict[str, Any],
        gated: bool = False,
        deadline: float | None = None,
        **given: Any,
    ) -> Child:
        """Fork a process for this job; with `gated` it waits for `open_gate`."""
        own = {} if deadline is None else {"QUICKBOOKS_DEADLINE_SECONDS": deadline}
        job = {
            "what": what,
            "given": given,
            "interrupts": interrupts,
            "gated": gated,
            "settings": {**self._settings, **own},
        }
        assert self._process.stdin is not None
        with self._news:
            self.events[0].pop("forked", None)
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        child = Child(self, self.wait(0, "forked"))
        self._children.append(child)
        child.wait("ready")
        return child

    def run(self, what: str, *interrupts: dict[str, Any], **given: Any) -> Any:
        """Do this job in a process of its own and return its result."""
        return self.start(what, *interrupts, **given).result()

    def open_gate(self, children: int) -> None:
        """Let as many waiting children go, at once."""
        os.write(self._gate, b"x" * children)

    def wait(self, pid: int, event: str) -> Any:
        with self._news:
            came = self._news.wait_for(lambda: event in self.events[pid], PATIENCE)
            assert came, f"process {pid} was never {event}\n{self.log()}"
            return self.events[pid][event]

    def log(self) -> str:
        """The last of what the processes wrote to stderr."""
        return _read(self._errors)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            with self._news:
                self.events[event.pop("pid")].update(event)
                self._news.notify_all()


@contextmanager
def driver() -> Iterator[Driver]:
    """A warm driver for a whole module of tests; it and its children end with the block."""
    exit_end, entry_end = os.pipe()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", DRIVER, str(exit_end)],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": database_url(), "PGAPPNAME": DRIVER},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            pass_fds=[exit_end],
            start_new_session=True,
        )
        try:
            running = Driver(process, entry_end, errors)
            running.wait(0, "ready")
            yield running
        finally:
            _end(process)
            os.close(exit_end)
            os.close(entry_end)


class WebServer:
    """gunicorn as `make run` starts it, on a port of its own that outlives a crash."""

    def __init__(
        self, listening: socket.socket, errors: IO[str], environment: dict[str, str], app: str
    ) -> None:
        self.port: int = listening.getsockname()[1]
        self._listening = listening
        self._errors = errors
        self._environment = environment
        self._app = app
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """2 workers of 8 threads each, ready to answer."""
        command = gunicorn_command(self.port)
        command[command.index("--bind") + 1] = f"fd://{self._listening.fileno()}"
        command[command.index("config.wsgi:application")] = self._app
        self._process = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": database_url(), **self._environment},
            stderr=self._errors,
            pass_fds=[self._listening.fileno()],
            start_new_session=True,
        )
        wait_for(self._ready, "gunicorn")

    def kill(self) -> None:
        """`kill -9` to all of its processes; whoever connects meanwhile waits in the queue."""
        if self._process is not None:
            _end(self._process)

    def get(self, path: str, session: str = "", **headers: str) -> tuple[int, str]:
        """Status and body of one request on a connection of its own."""
        web = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            return get(web, path, session, **headers)
        finally:
            web.close()

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, _read(self._errors)
        with suppress(OSError, http.client.HTTPException):
            return self.get("/readyz")[0] == 200
        return False


def get(
    web: http.client.HTTPConnection, path: str, session: str, **headers: str
) -> tuple[int, str]:
    """One request on a connection that may serve several."""
    cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={session}"} if session else {}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    web.request("GET", path, headers={**cookie, **named})
    answer = web.getresponse()
    return answer.status, answer.read().decode()


@contextmanager
def gunicorn(
    environment: dict[str, str], app: str = "config.wsgi:application"
) -> Iterator[WebServer]:
    """A server on the test's database that ends with the block."""
    with socket.socket() as listening, tempfile.TemporaryFile("w+") as errors:
        # Bound here and handed over: a port that is merely free now may be taken in a moment.
        listening.bind(("127.0.0.1", 0))
        # Listening here, too: between two lives of the server nobody is turned away.
        listening.listen(128)
        server = WebServer(listening, errors, environment, app)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@contextmanager
def web_server(simulator: Simulator, *, deadline: float) -> Iterator[WebServer]:
    """A server whose QuickBooks is the simulator."""
    environment = {
        "QUICKBOOKS_DISCOVERY_URL": simulator.discovery_url,
        "QUICKBOOKS_API_URL": simulator.api_url,
        "QUICKBOOKS_DEADLINE_SECONDS": str(deadline),
    }
    with gunicorn(environment) as server:
        yield server


def _read(errors: IO[str]) -> str:
    errors.seek(0)
    return errors.read()[-4000:]


def _end(process: "subprocess.Popen[Any]") -> None:
    """It and all that it started, at once, also what is suspended: a session of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def sessions(staff: User, count: int) -> list[str]:
    """As many browsers in which this person is signed in."""
    found = []
    for _ in range(count):
        client = Client()
        client.force_login(staff)
        found.append(client.cookies[settings.SESSION_COOKIE_NAME].value)
    return found
