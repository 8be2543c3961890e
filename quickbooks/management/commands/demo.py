"""The demo: the product beside stand-ins for Intuit and the other vendors, on data of its own.

The process that a person starts becomes one whose settings are the demo's. That one holds the
stand-in and starts the web server as its child; when either ends, both do.
"""

import base64
import datetime as dt
import fcntl
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils import timezone
from django.utils.crypto import salted_hmac

from config.env import is_loopback
from config.schedule import JOBS
from config.server import HOST, free_port, gunicorn_command, port_number, problem_with
from config.static_files import collect_if_changed
from integrations.demo import DemoPart, part_classes
from integrations.models import ScheduledRun
from quickbooks import demo, grants
from quickbooks.probe import companies
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World

DATABASE: Path = settings.VAR_DIR / "demo.sqlite3"
MEMORY: Path = settings.VAR_DIR / "demo-simulator.json"
LOCK: Path = settings.VAR_DIR / "demo.lock"
MAIL: Path = settings.VAR_DIR / "demo-mail"
MANAGE = str(settings.BASE_DIR / "manage.py")
# The simulator's own; they open nothing anywhere else.
CLIENT_ID, CLIENT_SECRET = "demo-client-id", "demo-client-secret"
# What an answer of the stand-in takes, so that the figures look like Intuit's.
LATENCY_SECONDS = 0.25


class Command(BaseCommand):
    help = "Serves the demo: the product beside a stand-in for Intuit, with an invented clinic."
    # The checks of the settings in .env say nothing about the demo.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=port_number, default=8000)

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        if problem := problem_with(port):
            raise CommandError(problem)
        if not settings.DEMO:
            become_the_demo(port)
        if problem := what_is_real():
            raise CommandError(f"The demo does not start, because {problem}.")
        with only_one():
            self._serve(port)

    def _serve(self, port: int) -> None:
        simulator_port = urlsplit(settings.QUICKBOOKS_API_URL).port or 0
        parts = {slug: part() for slug, part in part_classes().items()}
        person, world = _prepare(simulator_port, parts)
        collect_if_changed()
        connections.close_all()
        with Simulator(
            world,
            simulator_port,
            home_url=f"{settings.SITE_URL}/dashboard/",
            on_change=_remember,
            others=parts,
        ) as simulator:
            server = subprocess.Popen(
                _ending_with_us(gunicorn_command(port)), cwd=settings.BASE_DIR
            )
            with ExitStack() as stack:
                stack.enter_context(_stopped_by_signals(server))
                _wait_until_up(server, port)
                for part in parts.values():
                    stack.enter_context(part.at_work())
                self.stdout.write(
                    "\nThis is a demo: the clinic is invented, and so is all that it uses.\n"
                    f"Open {settings.SITE_URL}/  sign in as {person} / {_password()}\n"
                    f"Break things at {simulator.control_url}\n"
                    f"Its owner's mail is put into {MAIL.relative_to(settings.BASE_DIR)}/\n"
                    "Stop with Ctrl+C. What you did is kept; to begin again, delete var/demo*.\n"
                )
                self.stdout.flush()
                ended = _work_until_it_ends(server)
        _remember(world)
        sys.exit(ended)


def become_the_demo(port: int) -> None:
    """Replace this process by one with the demo's settings. Does not return."""
    if settings.QUICKBOOKS_CLIENT_ID or settings.QUICKBOOKS_CLIENT_SECRET:
        raise CommandError(
            "The demo does not start where the keys of a real app are set. `make run` serves the "
            "real thing; for the demo remove QUICKBOOKS_CLIENT_ID and QUICKBOOKS_CLIENT_SECRET."
        )
    demo_settings = _settings(port)
    # NAME_FILE would win over NAME.
    no_files = {f"{name}_FILE": "" for name in demo_settings}
    connections.close_all()
    sys.stdout.flush()
    os.execve(
        sys.executable,
        [sys.executable, MANAGE, "demo", "--port", str(port)],
        {**os.environ, **no_files, **demo_settings},
    )


def _settings(port: int) -> dict[str, str]:
    simulator_port = free_port(port + 1)
    site, intuit = f"http://{HOST}:{port}", f"http://{HOST}:{simulator_port}"
    others: dict[str, str] = {}
    for number, part in enumerate(part_classes().values(), start=2):
        others |= part.settings(site, free_port(port + number))
    # A key of its own, so that no token of the demo is ever under a real one.
    key = base64.urlsafe_b64encode(_digest("token key")).decode()
    return {
        "DEMO": "True",
        "DEMO_CONTROL_URL": f"{intuit}/control",
        "DEBUG": "False",
        "DATABASE_URL": f"sqlite:///{quote(str(DATABASE))}",
        "SITE_URL": site,
        "ALLOWED_HOSTS": HOST,
        "CSRF_TRUSTED_ORIGINS": site,
        "SECURE_SSL_REDIRECT": "False",
        "SECURE_COOKIES": "False",
        "TOKEN_ENCRYPTION_KEYS": key,
        # Nobody outside hears of what is played here.
        "EMAIL_URL": f"filemail:///{quote(str(MAIL))}",
        "ALERT_EMAILS": "owner@clinic.example",
        "ALERT_URLS": "",
        "QUIET_HOURS": "",
        "HEARTBEAT_URL": "",
        "METRICS_TOKEN": "",
        "QUICKBOOKS_CLIENT_ID": CLIENT_ID,
        "QUICKBOOKS_CLIENT_SECRET": CLIENT_SECRET,
        "QUICKBOOKS_ENVIRONMENT": "sandbox",
        "QUICKBOOKS_REDIRECT_URI": f"{site}/quickbooks/callback/",
        "QUICKBOOKS_DISCOVERY_URL": f"{intuit}/.well-known/openid_sandbox_configuration/",
        "QUICKBOOKS_API_URL": intuit,
        **others,
    }


def what_is_real() -> str:
    """Which of the settings is not the demo's, so that nothing real is touched; empty if none."""
    if (settings.QUICKBOOKS_CLIENT_ID, settings.QUICKBOOKS_CLIENT_SECRET) != (
        CLIENT_ID,
        CLIENT_SECRET,
    ):
        return "DEMO is set beside the keys of a real app; remove DEMO from .env"
    for name in ("QUICKBOOKS_DISCOVERY_URL", "QUICKBOOKS_API_URL"):
        if not is_loopback(urlsplit(getattr(settings, name)).hostname):
            return f"{name} leads away from this machine"
    if settings.DATABASES["default"]["NAME"] != str(DATABASE):
        return "DATABASE_URL names another database than the demo's"
    return ""


@contextmanager
def only_one() -> Iterator[None]:
    """Two demos at once would overwrite each other's memory."""
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError("The demo is running already, on another port.") from None
        yield


def _prepare(simulator_port: int, parts: Mapping[str, DemoPart]) -> tuple[User, World]:
    """Both sides as they were left, or as new when either side's memory is gone."""
    world = _recall() if DATABASE.exists() else None
    if world is None:
        MEMORY.unlink(missing_ok=True)
        for ending in ("", "-wal", "-shm"):
            Path(f"{DATABASE}{ending}").unlink(missing_ok=True)
    call_command("migrate", interactive=False, verbosity=0)
    # A demo that was off overnight has missed nothing.
    ScheduledRun.objects.all().delete()
    person, _ = User.objects.get_or_create(
        username="demo", defaults={"is_staff": True, "is_superuser": True}
    )
    if not person.check_password(_password()):
        person.set_password(_password())
        person.save()
    if world is None:
        world = demo.new_world()
        with Simulator(world, simulator_port):
            now = timezone.now()
            demo.seed(world, person, now)
            for part in parts.values():
                part.seed(now)
        # Only now: an interrupted start begins again.
        _remember(world)
    world.latency = LATENCY_SECONDS
    # On another port than last time SITE_URL differs, but it is no copy.
    for realm_id in companies():
        grants.take_over(realm_id)
    return person, world


def _remember(world: World) -> None:
    """Write the stand-in's state, whole or not at all."""
    text = json.dumps({"key": _digest("memory").hex(), "world": world.to_json()})
    fresh = MEMORY.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(MEMORY)


def _recall() -> World | None:
    """The stand-in's state; None if there is none, or another SECRET_KEY encrypted the tokens."""
    try:
        state = json.loads(MEMORY.read_text())
        if state["key"] != _digest("memory").hex():
            return None
        return World.from_json(state["world"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _password() -> str:
    """The same at each start of this installation, another one elsewhere."""
    return _digest("password").hex()[:12]


def _digest(purpose: str) -> bytes:
    return salted_hmac(f"quickbooks demo {purpose}", "", algorithm="sha256").digest()


def _ending_with_us(command: list[str]) -> list[str]:
    """Even after kill -9 nothing of the demo stays behind, where the system offers that."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", *command] if setpriv else command


@contextmanager
def _stopped_by_signals(server: "subprocess.Popen[bytes]") -> Iterator[None]:
    """SIGTERM and Ctrl+C end the block; its end ends the server."""
    endings = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def stop(number: int, frame: object) -> None:
        for ending in endings:
            signal.signal(ending, signal.SIG_IGN)
        raise SystemExit(0)

    for ending in endings:
        signal.signal(ending, stop)
    try:
        yield
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_until_up(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Only then say where to go; or the server has ended and said why."""
    for _ in range(300):
        if server.poll() is not None:
            return
        asking = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            asking.request("GET", "/healthz")
            asking.getresponse()
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        finally:
            asking.close()


def _work_until_it_ends(server: "subprocess.Popen[bytes]") -> int:
    """What cron does in an installation: each job when it is due, and all of them once now."""
    started: dict[str, dt.datetime] = {}
    while server.poll() is None:
        for job in JOBS:
            slot = job.slot(timezone.now())
            if started.get(job.name) == slot:
                continue
            started[job.name] = slot
            command = [sys.executable, "-m", "config.jobs", job.name, *job.options]
            subprocess.run(
                _ending_with_us(command), cwd=settings.BASE_DIR, timeout=600, check=False
            )
        try:
            server.wait(timeout=60 - time.time() % 60)
        except subprocess.TimeoutExpired:
            pass
    return server.returncode
