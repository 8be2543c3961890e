"""What cron starts: every job of the settings runs, guarded and written down, whatever it finds."""

import datetime as dt
import fcntl
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.utils.module_loading import import_string
from pytest_django import Settings

from config.jobs import command, lock_file
from integrations import heartbeat
from integrations.models import ScheduledRun
from tests.support import EchoServer, Server, refusing, within

# What is optional and not set up is no news; QuickBooks is what the product is for.
SAID = {"check_quickbooks": "QUICKBOOKS UNKNOWN - QuickBooks isn't connected"}
CHECK = ("check_quickbooks", "--confirm", "--quiet")

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Settings) -> None:
    settings.VAR_DIR = tmp_path


@pytest.mark.parametrize("job", django_settings.CRONJOBS, ids=lambda job: str(job[2][0]))
def test_a_job_runs_as_cron_calls_it(
    job: tuple[str, str, list[str]], capfd: pytest.CaptureFixture[str], now: dt.datetime
) -> None:
    _, function, arguments = job
    import_string(function)(*arguments)
    said = capfd.readouterr().out
    expected = SAID.get(arguments[0], "")
    assert said.startswith(expected)
    assert bool(said) == bool(expected)
    run = ScheduledRun.objects.get()
    assert (run.job, run.ok) == (arguments[0], True)
    assert run.finished_at is not None
    assert now <= run.started_at <= run.finished_at


def test_a_run_that_overlaps_the_last_one_ends_at_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with lock_file("check_quickbooks").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        command(*CHECK)
        assert not ScheduledRun.objects.exists()
        command("check_integrations", "--quiet")  # another job has a lock of its own
    assert [run.job for run in ScheduledRun.objects.all()] == ["check_integrations"]
    command(*CHECK)
    assert ScheduledRun.objects.count() == 2
    assert capfd.readouterr().err == ""


def test_the_demo_does_not_keep_the_real_thing_waiting(settings: Settings) -> None:
    real = lock_file("check_quickbooks")
    settings.DEMO = True
    assert lock_file("check_quickbooks") != real


def test_without_a_place_for_the_lock_it_runs_all_the_same(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.VAR_DIR = tmp_path / "file" / "var"
    (tmp_path / "file").write_text("")
    command(*CHECK)
    assert ScheduledRun.objects.get().ok
    assert "check_quickbooks runs without its lock" in caplog.text


def test_a_job_that_breaks_off_is_logged_and_does_not_end_with_0(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(SystemExit) as ended:
        command("check_quickbooks", "--no-such-option")
    assert ended.value.code == 1
    assert "check_quickbooks broke off" in caplog.text
    run = ScheduledRun.objects.get()
    assert (run.ok, run.finished_at is None) == (False, False)
    command(*CHECK)  # and it holds no lock


@pytest.mark.parametrize("job", ["check_quickbooks", "check_integrations"])
def test_a_database_that_does_not_answer_is_no_verdict(
    job: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with refusing("quickbooks_oauthtoken"), pytest.raises(SystemExit) as ended:
        command(job, "--quiet")
    assert ended.value.code == 1
    assert "UNKNOWN - the monitor's database does not answer" in capfd.readouterr().out
    assert not ScheduledRun.objects.get().ok


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", ["INSERT", "UPDATE"])
def test_a_run_that_cannot_be_written_down_does_its_work(
    statement: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with refusing("integrations_scheduledrun", statement):
        command(*CHECK)
    assert SAID["check_quickbooks"] in capfd.readouterr().out
    assert "A run of check_quickbooks could not be recorded: OperationalError" in caplog.text
    assert not ScheduledRun.objects.filter(ok=True).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="a server that hangs up")
def test_the_end_of_a_run_outlives_its_connection() -> None:
    def hang_up(execute: Callable[..., Any], sql: str, *others: Any) -> Any:
        if "quickbooks_oauthtoken" in sql:
            connection.connection.close()
        return execute(sql, *others)

    with connection.execute_wrapper(hang_up), pytest.raises(SystemExit):
        command(*CHECK)
    run = ScheduledRun.objects.get()
    assert (run.ok, run.finished_at is None) == (False, False)


# ── the heartbeat ─────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def listener(settings: Settings) -> Iterator[EchoServer]:
    with EchoServer() as server:
        settings.HEARTBEAT_URL = f"{server.url}ping/secret-id"
        yield server


def test_each_good_run_of_the_checker_is_a_heartbeat(listener: EchoServer) -> None:
    command(*CHECK)
    command(*CHECK)
    command("check_integrations", "--quiet")
    command("sync_gohighlevel", "--quiet")
    assert len(listener.requests) == 2


def test_a_run_that_was_not_good_is_none(listener: EchoServer) -> None:
    with refusing("quickbooks_oauthtoken"), pytest.raises(SystemExit):
        command(*CHECK)
    with pytest.raises(SystemExit):
        command("check_quickbooks", "--no-such-option")
    assert listener.requests == []


def broken(server: Server, accepted: socket.socket) -> None:
    accepted.recv(4096)
    accepted.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")


def silent(server: Server, accepted: socket.socket) -> None:
    server.over.wait(10)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (broken, "The heartbeat was answered with HTTP 500"),
        (silent, "The heartbeat did not arrive: no complete answer within the deadline"),
        (None, "The heartbeat did not arrive: the connection was refused"),
    ],
    ids=["error", "silence", "nobody"],
)
def test_a_heartbeat_that_does_not_arrive_changes_nothing_and_tells_no_secret(
    serve: Callable[[Server, socket.socket], None] | None,
    why: str,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "PATIENCE_SECONDS", 0.3)
    caplog.set_level(logging.DEBUG)
    with Server(serve or silent) as server:
        port = server.port if serve else closed_port()
        settings.HEARTBEAT_URL = f"http://127.0.0.1:{port}/ping/secret-id"
        with within(5):
            command(*CHECK)
    assert ScheduledRun.objects.get().ok
    ours = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert ours == [why]
    assert "secret-id" not in " ".join(ours)
