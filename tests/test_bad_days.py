"""Bad days of our own: the database locked, away or refusing, the disk full, discovery gone."""

import datetime as dt
import json
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, InterfaceError, connection, connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from quickbooks import grants, lease, rescue, tokens
from quickbooks.models import (
    ConnectionHealthCheck,
    DiscoveryDocument,
    GrantState,
    OAuthToken,
    ProbeClaim,
    Trigger,
)
from quickbooks.probe import probe
from quickbooks.simulator.grants import Access
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import (
    Server,
    check,
    connect,
    decide,
    links_of,
    refusing,
    run,
    set_out,
    stored,
    text_of,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("simulator")]
# What closes, swaps or shares the database connection cannot sit in one long transaction.
for_real = pytest.mark.django_db(transaction=True)

HISTORY = "quickbooks_connection_health"
CARD = f"/dashboard/cards/quickbooks/{HARBOUR}/"
STATUS = "/api/admin/quickbooks/connection-status"
NOTICE = "This result could not be saved: the monitor's database did not take it."
MINUTE = dt.timedelta(minutes=1)


class Interrupted(World):
    """Something else happens on this machine while Intuit reads the company."""

    meanwhile: Callable[[], None] | None = None

    def check_access(self, access_token: str, realm_id: str) -> Access:
        if self.meanwhile:
            self.meanwhile()
        return super().check_access(access_token, realm_id)


@pytest.fixture
def world() -> Interrupted:
    world = Interrupted(rotate_after=0)
    world.add_company(HARBOUR, "Harbour Physio")
    world.add_company(NORTHSIDE, "Northside Physio")
    return world


@pytest.fixture(autouse=True)
def room(settings: Settings, tmp_path: Path) -> Path:
    """Where rescue files go."""
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5
    settings.VAR_DIR = tmp_path / "var"
    return tmp_path / "var" / "rescue"


@pytest.fixture
def browser_of_staff(staff_client: Client) -> Client:
    """A browser that is shown what a person would see, also when something breaks."""
    staff_client.raise_request_exception = False
    return staff_client


# ── a result that the database does not take ──────────────────────────────────────────────────
def test_a_card_shows_the_result_and_that_it_was_not_saved(
    world: World, staff_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    connect(world)
    world.set_fault("api", "no_access")
    with refusing("INSERT", HISTORY):
        response = staff_client.get(CARD)
    text = text_of(response)
    assert response.status_code == 200
    assert NOTICE in text
    assert "QuickBooks refuses us access" in text
    assert not ConnectionHealthCheck.objects.exists()
    assert f"The check of company {HARBOUR} (access_denied) could not be recorded" in caplog.text


def test_a_good_result_that_was_not_saved_is_shown_as_good(
    world: World, staff_client: Client
) -> None:
    connect(world)
    with refusing("INSERT", HISTORY):
        text = text_of(staff_client.get(CARD))
    assert NOTICE in text
    assert "QuickBooks answered at" in text


def test_the_api_answers_with_the_result_all_the_same(world: World, staff_client: Client) -> None:
    connect(world)
    world.set_fault("api", "throttled")
    with refusing("INSERT", HISTORY):
        response = staff_client.get(STATUS)
    found = response.json()
    assert response.status_code == 200
    assert (found["status"], found["diagnosis"]["code"]) == ("warning", "throttled")
    assert found["error"]["http_status"] == 429
    assert found["health"]["checks"] == 0


def test_check_now_says_that_it_was_not_saved(world: World, staff_client: Client) -> None:
    connect(world)
    with refusing("INSERT", HISTORY):
        response = staff_client.post("/quickbooks/check/", {"realm": HARBOUR})
    assert NOTICE in text_of(staff_client.get(response["Location"]))


@for_real
@pytest.mark.parametrize(
    "pieces",
    [
        ("UPDATE", "quickbooks_oauthtoken"),
        ("INSERT", "integrations_integrationstatus"),
        ("DELETE", "quickbooks_probeclaim"),
    ],
)
def test_a_result_is_saved_as_a_whole_or_not_at_all(
    world: World, now: dt.datetime, pieces: tuple[str, str]
) -> None:
    connect(world)
    with refusing(*pieces) as refused:
        outcome = probe(HARBOUR, trigger=Trigger.API, now=now, fresh=True)
    assert refused
    assert outcome.check is not None
    assert outcome.check.ok
    saved = ConnectionHealthCheck.objects.exists()
    assert outcome.recorded is saved
    assert (stored().last_success_at is not None) is saved


def test_the_next_check_after_a_lost_one_works(world: World, now: dt.datetime) -> None:
    connect(world)
    with refusing("INSERT", HISTORY):
        assert not probe(HARBOUR, trigger=Trigger.API, now=now).recorded
    claim = ProbeClaim.objects.get()
    assert claim.expires_at - claim.started_at == dt.timedelta(seconds=5 * 5)
    assert probe(HARBOUR, trigger=Trigger.API, now=now).checking
    ProbeClaim.objects.update(expires_at=now - MINUTE)  # it runs out by itself
    assert check().ok


# ── a database that somebody else has locked ──────────────────────────────────────────────────
@pytest.fixture
def impatient() -> Iterator[None]:
    """Our connections give up on a lock after 50 ms."""
    options = connection.settings_dict["OPTIONS"]
    before = dict(options)
    connection.close()
    if connection.vendor == "sqlite":
        options["timeout"] = 0.05
    else:
        options["options"] = f"{options.get('options', '')} -c lock_timeout=50ms"
    yield
    connection.close()
    options.clear()
    options.update(before)


@contextmanager
def locked(world: Interrupted) -> Iterator[None]:
    """From the moment in which Intuit reads the company, nobody else can write a check."""
    done, held = threading.Event(), threading.Event()

    def hold() -> None:
        if connection.vendor == "sqlite":
            with sqlite3.connect(connection.settings_dict["NAME"]) as other:
                other.execute("BEGIN IMMEDIATE")
                held.set()
                done.wait(10)
                other.rollback()
            other.close()
            return
        ours = connections["default"]  # of this thread
        ours.set_autocommit(False)
        with ours.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {HISTORY} IN EXCLUSIVE MODE")
            held.set()
            done.wait(10)
        ours.rollback()
        ours.close()

    locker = threading.Thread(target=hold)

    def lock() -> None:
        world.meanwhile = None
        locker.start()
        assert held.wait(10)

    world.meanwhile = lock
    yield
    done.set()
    locker.join()


@for_real
@pytest.mark.usefixtures("impatient")
def test_a_locked_database_hides_no_result_on_the_page(
    world: Interrupted, staff_client: Client
) -> None:
    connect(world)
    with locked(world):
        text = text_of(staff_client.get(CARD))
    assert NOTICE in text
    assert "QuickBooks answered at" in text
    assert not ConnectionHealthCheck.objects.exists()


@for_real
@pytest.mark.usefixtures("impatient")
def test_a_locked_database_hides_no_result_of_the_command(world: Interrupted) -> None:
    connect(world)
    world.set_subscription(HARBOUR, "EXPIRED")
    with locked(world):
        code, text = run("check_quickbooks")
    assert code == 2
    assert text.startswith("QUICKBOOKS CRITICAL - Harbour Physio: Your QuickBooks subscription")
    assert f"({NOTICE})" in text
    assert len(text.splitlines()) == 1


# ── a database that is away ───────────────────────────────────────────────────────────────────
@contextmanager
def database_away() -> Iterator[None]:
    """No connection can be made; those that there were are gone."""
    name = connection.settings_dict["NAME"]
    connection.close()
    connection.settings_dict["NAME"] = "/nowhere/at/all"
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = name


@for_real
def test_pages_say_in_plain_words_that_the_database_is_away(
    world: World, browser_of_staff: Client
) -> None:
    connect(world)
    pages = ["/dashboard/", CARD, "/dashboard/history/", "/quickbooks/fix/", "/admin/"]
    assert {browser_of_staff.get(page).status_code for page in pages} == {200}
    with database_away():
        for page in pages:
            response = browser_of_staff.get(page)
            assert response.status_code == 503
            text = text_of(response)
            assert "The monitor's database does not answer" in text
            assert "QuickBooks itself is not affected." in text
            for word in ("Traceback", "OperationalError", "nowhere"):
                assert word not in response.content.decode()
    # It comes back without a restart.
    assert {browser_of_staff.get(page).status_code for page in pages} == {200}


@for_real
def test_the_api_says_so_in_json(browser_of_staff: Client) -> None:
    with database_away():
        for path in (STATUS, f"{STATUS}?realm_id={HARBOUR}", "/api/admin/integrations"):
            response = browser_of_staff.get(path)
            assert response.status_code == 503
            assert response.json()["error"]["status"] == 503


@for_real
def test_the_command_says_so_in_a_line(settings: Settings) -> None:
    with database_away():
        assert run("check_quickbooks") == (
            3,
            "QUICKBOOKS UNKNOWN - the monitor's database does not answer\n",
        )
        code, text = run("check_integrations")
        assert (code, len(text.splitlines())) == (3, 1)


@for_real
def test_a_load_balancer_learns_that_the_database_is_away(client: Client) -> None:
    assert client.get("/readyz").status_code == 200
    with database_away():
        response = client.get("/readyz")
        assert (response.status_code, response.content) == (503, b"the database does not answer\n")
        assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_a_load_balancer_learns_that_the_database_is_not_migrated(client: Client) -> None:
    [(app, newest)] = MigrationLoader(connection).graph.leaf_nodes("quickbooks")
    MigrationRecorder(connection).record_unapplied(app, newest)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert b"not migrated: run manage.py migrate" in response.content
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_the_health_endpoints_are_never_redirected_and_take_any_host(
    client: Client, settings: Settings, path: str
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = client.get(path, headers={"Host": "10.0.0.7"})
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain")


def test_healthz_does_not_ask_the_database(client: Client) -> None:
    with refusing(""):
        assert client.get("/healthz").content == b"ok\n"


def test_an_ordinary_error_is_a_500_in_plain_words(
    browser_of_staff: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def bug(execute: Any, sql: str, *rest: Any) -> Any:
        if "quickbooks_" in sql:
            raise ZeroDivisionError("a bug of ours")
        return execute(sql, *rest)

    with connection.execute_wrapper(bug):
        page = browser_of_staff.get("/quickbooks/fix/")
        answer = browser_of_staff.get("/api/admin/integrations")
    assert (page.status_code, answer.status_code) == (500, 500)
    assert "Something went wrong on our side" in text_of(page)
    assert answer.json()["error"]["status"] == 500
    assert b"bug" not in page.content + answer.content
    assert "ZeroDivisionError: a bug of ours" in caplog.text


# ── a pair of tokens that the database does not take ──────────────────────────────────────────
COMMIT = ("UPDATE", "quickbooks_oauthtoken", '"access_token"')


class Killed(BaseException):
    """The process is told to end."""


def killed_while_saving(world: World, now: dt.datetime) -> None:
    """A renewal whose commit is refused once, and whose process then ends."""
    connect(world)
    attempts: list[str] = []

    def refuse(execute: Any, sql: str, *rest: Any) -> Any:
        if all(piece in sql for piece in COMMIT):
            attempts.append(sql)
            raise DatabaseError("no") if len(attempts) == 1 else Killed
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse), pytest.raises(Killed):
        check(now=now + 31 * MINUTE)
    assert len(attempts) == 2
    assert stored().generation == 1


@for_real
def test_tokens_that_could_not_be_committed_wait_sealed_in_a_file_of_ours_alone(
    world: World, now: dt.datetime, room: Path
) -> None:
    killed_while_saving(world, now)
    [path] = room.iterdir()
    assert path.name == f"{HARBOUR}-1.sealed"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(room.stat().st_mode) == 0o700
    live = world.live_refresh_token(HARBOUR)
    assert live
    content = path.read_text()
    assert content.startswith("gAAAA")
    assert not any(live[at : at + 8] in content for at in range(len(live) - 8))


@for_real
def test_the_next_refresher_reads_the_file_first(
    world: World, now: dt.datetime, room: Path
) -> None:
    killed_while_saving(world, now)
    world.reset_counters()
    made = check(now=now + 32 * MINUTE)
    assert made.ok
    row = stored()
    assert (row.generation, row.state, row.in_doubt_since) == (2, GrantState.LIVE, None)
    assert row.refresh_token == world.live_refresh_token(HARBOUR)
    # Nobody asked Intuit again: the old token is dead, and presenting it could end the grant.
    assert world.calls("token") == []
    assert list(room.iterdir()) == []


@for_real
def test_a_person_who_disconnects_meets_the_rescued_tokens(
    world: World, now: dt.datetime, room: Path
) -> None:
    killed_while_saving(world, now)
    assert grants.disconnect(HARBOUR, None, now) == ""
    assert world.live_refresh_token(HARBOUR) is None
    assert list(room.iterdir()) == []


@for_real
def test_a_short_refusal_is_outlasted(world: World, now: dt.datetime, room: Path) -> None:
    connect(world)
    with refusing(*COMMIT, times=2) as refused:
        assert check(now=now + 31 * MINUTE).ok
    assert len(refused) == 2
    assert stored().refresh_token == world.live_refresh_token(HARBOUR)
    assert list(room.iterdir()) == []


@for_real
def test_a_long_refusal_ends_in_a_page_of_plain_words_and_a_file(
    world: World, browser_of_staff: Client, settings: Settings, room: Path
) -> None:
    connect(world)
    settings.QUICKBOOKS_DEADLINE_SECONDS = 0.5  # the retries go on for six of these
    OAuthToken.objects.update(access_expires_at=timezone.now())
    with refusing(*COMMIT):
        response = browser_of_staff.post("/quickbooks/check/", {"realm": HARBOUR})
    assert response.status_code == 503
    assert "The monitor's database does not answer" in text_of(response)
    assert len(list(room.iterdir())) == 1
    assert not ProbeClaim.objects.exists()
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5
    assert check().ok
    assert stored().generation == 2


@for_real
@pytest.mark.parametrize("error", [InterfaceError, RuntimeError, KeyboardInterrupt])
def test_whatever_stops_the_commit_the_tokens_are_kept(
    world: World, now: dt.datetime, room: Path, error: type[BaseException]
) -> None:
    connect(world)
    attempts: list[str] = []

    def stop(execute: Any, sql: str, *rest: Any) -> Any:
        if all(piece in sql for piece in COMMIT) and not attempts:
            attempts.append(sql)
            raise error("in the middle of it")
        return execute(sql, *rest)

    with connection.execute_wrapper(stop):
        if error is InterfaceError:  # a connection that was lost: the next one works
            assert check(now=now + 31 * MINUTE).ok
        else:
            with pytest.raises(error):
                check(now=now + 31 * MINUTE)
            assert len(list(room.iterdir())) == 1
    assert check(now=now + 32 * MINUTE).ok
    assert stored().refresh_token == world.live_refresh_token(HARBOUR)


@for_real
def test_a_connection_that_was_not_committed_is_there_after_all(
    world: World, browser_of_staff: Client, settings: Settings, now: dt.datetime
) -> None:
    back = decide(set_out(browser_of_staff))
    settings.QUICKBOOKS_DEADLINE_SECONDS = 0.5
    with refusing(*COMMIT):
        assert browser_of_staff.get(back).status_code == 503
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5
    world.reset_counters()
    # Setting out again would do, but it is not even needed.
    assert tokens.obtain_access(HARBOUR, now=now, trigger="token", patience=0).generation == 1
    assert stored().state == GrantState.LIVE
    assert world.calls("token") == []


@for_real
def test_a_full_disk_is_logged_as_critical_and_stops_nothing_else(
    world: World, now: dt.datetime, room: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect(world)
    room.mkdir(parents=True)
    (room / f"{HARBOUR}-1.{os.getpid()}").symlink_to("/dev/full")
    with refusing(*COMMIT, times=1):
        assert check(now=now + 31 * MINUTE).ok
    [record] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert record.getMessage() == (
        f"No rescue file for company {HARBOUR}: No space left on device. "
        "The new tokens exist in this process alone."
    )
    assert stored().refresh_token == world.live_refresh_token(HARBOUR)


@for_real
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe", b"gAAAAA", b"{}"])
def test_a_file_that_cannot_be_read_is_left_alone_and_stops_nothing(
    world: World, room: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    connect(world)
    room.mkdir(parents=True)
    path = room / f"{HARBOUR}-1.sealed"
    path.write_bytes(content)
    assert check().ok
    assert path.read_bytes() == content
    assert f"The rescue file of company {HARBOUR} cannot be read" in caplog.text


@for_real
def test_a_file_of_another_company_or_generation_is_not_used(
    world: World, now: dt.datetime, room: Path
) -> None:
    killed_while_saving(world, now)
    connect(world, NORTHSIDE)
    [path] = room.iterdir()
    path.rename(room / f"{NORTHSIDE}-1.sealed")
    assert check(NORTHSIDE).ok
    assert stored(NORTHSIDE).refresh_token == world.live_refresh_token(NORTHSIDE)
    OAuthToken.objects.filter(realm_id=HARBOUR).update(generation=5)
    (room / f"{NORTHSIDE}-1.sealed").rename(room / f"{HARBOUR}-1.sealed")
    assert rescue.find(HARBOUR, 5) is None
    assert stored().generation == 5


@for_real
def test_a_folder_for_rescue_files_that_cannot_be_entered_stops_nothing(
    world: World, now: dt.datetime, settings: Settings, tmp_path: Path
) -> None:
    connect(world)
    settings.VAR_DIR = tmp_path / "file"
    settings.VAR_DIR.write_text("no folder")
    made = check(now=now + 31 * MINUTE)
    assert (made.ok, made.refreshed) == (True, True)
    assert stored().generation == 2


def test_the_lease_lasts_six_deadlines(settings: Settings) -> None:
    settings.QUICKBOOKS_DEADLINE_SECONDS = 10
    assert lease.lease_length() == dt.timedelta(seconds=60)


# ── discovery ─────────────────────────────────────────────────────────────────────────────────
BROKEN_DISCOVERY = [
    "unavailable",
    "html",
    "wrong_shape",
    "empty",
    "deep_nesting",
    "close",
    "redirect",
]


@pytest.mark.parametrize("fault", BROKEN_DISCOVERY)
def test_an_outage_of_discovery_stops_no_renewal(
    world: World, now: dt.datetime, fault: str
) -> None:
    connect(world)
    DiscoveryDocument.objects.update(fetched_at=now - dt.timedelta(days=90))
    before = DiscoveryDocument.objects.get().document
    world.set_fault("discovery", fault)
    made = check(now=now + 31 * MINUTE)
    assert (made.ok, made.refreshed) == (True, True)
    assert DiscoveryDocument.objects.get().document == before


def test_a_discovery_that_hangs_stops_no_renewal_either(
    world: World, now: dt.datetime, settings: Settings
) -> None:
    connect(world)
    settings.QUICKBOOKS_DEADLINE_SECONDS = 0.3
    DiscoveryDocument.objects.all().update(fetched_at=now - dt.timedelta(days=90))
    world.set_fault("discovery", "hang")
    assert check(now=now + 31 * MINUTE).refreshed


@pytest.mark.parametrize("fault", BROKEN_DISCOVERY)
def test_without_any_discovery_no_secret_goes_anywhere(
    world: World, now: dt.datetime, fault: str
) -> None:
    connect(world)
    DiscoveryDocument.objects.all().delete()
    world.set_fault("discovery", fault)
    made = check(now=now + 31 * MINUTE)
    assert made.diagnosis in {"unexpected_reply", "network_unreachable"}
    assert made.message.startswith("renewal: discovery: ")
    assert world.calls("token") == []
    assert stored().in_doubt_since is None
    assert not DiscoveryDocument.objects.exists()


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://203.0.113.7/tokens",  # unencrypted, to somewhere
        "https://oauth.platform.intuit.com/tokens",  # a demo's secrets stay at home
        "ftp://127.0.0.1/tokens",
        "//127.0.0.1/tokens",
        "",
        None,
        ["https://127.0.0.1/"],
    ],
)
def test_a_discovery_that_sends_us_elsewhere_is_not_believed(
    world: World, now: dt.datetime, settings: Settings, endpoint: object
) -> None:
    connect(world)
    known = DiscoveryDocument.objects.get()
    document = json.dumps({**known.document, "token_endpoint": endpoint}).encode()

    def serve(server: Server, client: Any) -> None:
        client.recv(65536)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % len(document) + document)

    with Server(serve) as server:
        settings.QUICKBOOKS_DISCOVERY_URL = f"http://127.0.0.1:{server.port}/"
        made = check(now=now + 31 * MINUTE)
    assert made.diagnosis == "unexpected_reply"
    assert made.message == "renewal: discovery: the answer is not a discovery document"
    assert DiscoveryDocument.objects.get() == known


def test_a_broken_discovery_is_told_to_who_wants_to_connect(
    world: World, staff_client: Client, staff: User, simulator: Simulator
) -> None:
    for fault in BROKEN_DISCOVERY:
        world.set_fault("discovery", fault)
        response = staff_client.get("/quickbooks/connect/")
        assert "QuickBooks can't be reached right now" in text_of(response)
        assert "Start again" in links_of(response)
