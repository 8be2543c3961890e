"""What every test may ask for."""

import tests.environment  # isort: skip  # noqa: F401  # before any model

import datetime as dt
import ipaddress
import shutil
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations import inbox
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World

HARBOUR = "4620816365291234170"
NORTHSIDE = "4620816365291234188"


# The files that take longest, which are to be begun first.
LONG = ("test_replay", "test_browser", "test_promise", "test_demo", "test_crashes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)))


@pytest.fixture(autouse=True, scope="session")
def only_this_machine() -> Iterator[None]:
    """No test talks to another machine, not even to ask for its address."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    look_up = socket.getaddrinfo

    def refuse_strangers(address: Any) -> None:
        if isinstance(address, tuple) and not _is_loopback(str(address[0])):
            raise AssertionError(f"A test wanted to connect to {address[0]}.")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        refuse_strangers(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        refuse_strangers(address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host and not _is_loopback(str(host)):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process knows of its database does not hold for the next test's."""
    monkeypatch.setattr(inbox, "_stored_shapes", set())


@pytest.fixture
def now() -> dt.datetime:
    """The present, taken once. The real one: leases go by the clock of the database."""
    return timezone.now()


@pytest.fixture
def world() -> World:
    """Intuit's side: two companies, no consent yet."""
    world = World()
    world.add_company(HARBOUR, "Harbour Physio")
    world.add_company(NORTHSIDE, "Northside Physio")
    return world


@pytest.fixture
def simulator(world: World, settings: Settings) -> Iterator[Simulator]:
    """Intuit on a local port; the settings lead there."""
    with Simulator(world) as running:
        settings.QUICKBOOKS_DISCOVERY_URL = running.discovery_url
        settings.QUICKBOOKS_API_URL = running.api_url
        yield running


@pytest.fixture
def staff(db: None) -> User:
    """On the staff, with the permission to connect and disconnect."""
    user = User.objects.create_user("staff", email="staff@clinic.example", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="manage_connection"))
    return user


@pytest.fixture
def staff_client(staff: User) -> Client:
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The browser of the system; Playwright's own would have to be downloaded."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail("The browser tests need Chromium; `make test` installs it.")
    # As root, Chromium has no sandbox to offer.
    return {**browser_type_launch_args, "executable_path": found, "args": ["--no-sandbox"]}
