"""cron for real: the jobs are put into a crontab, read from it as cron reads it, and started as
cron starts them, without an environment, on a database and a QuickBooks of their own."""

import datetime as dt
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from pytest_django import Settings

from config import schedule
from config.cron_environment import as_lines
from integrations.models import IntegrationStatus, ScheduledRun
from quickbooks.models import ConnectionHealthCheck
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests import cron
from tests.demo import copy_tree
from tests.processes import database_url
from tests.support import connect

NOON = dt.datetime(2026, 11, 22, 12, 0)
FOREIGN = "MAILTO=clinic@clinic.example\n# backups\n30 2 * * * /usr/local/bin/backup --all\n"


class Installation:
    """The product in a folder of its own, with a crontab, as a person sets it up."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.tree = copy_tree(folder)
        self.home = folder / "home"
        self.home.mkdir()
        self.crontab = cron.make_crontab(folder / "cron")
        self.table = self.crontab.with_name("table")
        self.table.write_text(FOREIGN)
        self._settings = {**settings, "CRONTAB_EXECUTABLE": str(self.crontab)}
        self.configure()

    def configure(self, **settings: str) -> None:
        """All settings are in `.env`: cron hands none over."""
        (self.tree / ".env").write_text(as_lines(self._settings | settings))

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.tree,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def due(self, at: dt.datetime) -> list[cron.Line]:
        return [line for line in cron.lines(self.table.read_text()) if line.is_due(at)]

    def line(self, name: str) -> cron.Line:
        """The one that runs this job, found by what `crontab show` says of it."""
        shown = self.manage("crontab", "show").stdout.splitlines()
        position = next(number for number, line in enumerate(shown) if name in line)
        ours = [line for line in cron.lines(self.table.read_text()) if "manage.py" in line.command]
        return ours[position]


@pytest.fixture
def installed(tmp_path: Path, world: World, simulator: Simulator) -> Installation:
    """Harbour Physio is connected, and `manage.py crontab add` was run."""
    connect(world)
    names = ("SECRET_KEY", "SITE_URL", "QUICKBOOKS_CLIENT_ID", "QUICKBOOKS_CLIENT_SECRET")
    settings = {name: str(getattr(django_settings, name)) for name in names}
    installation = Installation(
        tmp_path,
        settings
        | {
            "TOKEN_ENCRYPTION_KEYS": ",".join(django_settings.TOKEN_ENCRYPTION_KEYS),
            "DATABASE_URL": database_url(),
            "QUICKBOOKS_DISCOVERY_URL": simulator.discovery_url,
            "QUICKBOOKS_API_URL": simulator.api_url,
            "QUICKBOOKS_DEADLINE_SECONDS": "20",
            "QUICKBOOKS_CONFIRM_DELAYS": "0",
        },
    )
    added = installation.manage("crontab", "add")
    assert added.returncode == 0, added.stderr
    assert added.stderr == ""
    return installation


def until(happened: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        if happened():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("it did not happen within half a minute")


def runs_of(job: str) -> list[ScheduledRun]:
    return list(ScheduledRun.objects.filter(job=job).order_by("started_at"))


# ── the jobs at work ──────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db(transaction=True)
def test_what_cron_starts_leaves_its_rows(installed: Installation, world: World) -> None:
    assert len(installed.due(NOON.replace(minute=8))) == 1  # alerts, every minute
    for line in [*installed.due(NOON), *installed.due(NOON.replace(minute=7))]:
        # Nothing is wrong, so nothing is mailed.
        assert cron.run(line, installed.home) == (0, "")

    check = ConnectionHealthCheck.objects.get()
    assert (check.realm_id, check.ok, check.trigger) == ("4620816365291234170", True, "command")
    assert IntegrationStatus.objects.get(integration="quickbooks").level == "healthy"
    assert len(world.calls("api")) == 1
    runs = {run.job: run for run in ScheduledRun.objects.all()}
    assert runs.keys() == {job.name for job in schedule.JOBS}
    assert all(run.ok and run.finished_at for run in runs.values())


@pytest.mark.django_db(transaction=True)
def test_a_run_that_overlaps_the_last_one_ends_at_once(
    installed: Installation, world: World
) -> None:
    world.fail_next("api", "hang")
    line = installed.line("check_quickbooks")
    with cron.started(line, installed.home) as first:
        until(lambda: world.in_flight("api"), first)
        assert cron.run(line, installed.home) == (0, "")
        assert first.poll() is None  # still waiting for its answer
        world.release()
        first.communicate(timeout=60)
    assert len(runs_of("check_quickbooks")) == 1
    assert len(world.calls("api")) == 2  # the one that hung and its own repeat


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_killed_is_on_record_and_in_nobodys_way(
    installed: Installation, world: World
) -> None:
    world.fail_next("api", "hang")
    line = installed.line("check_quickbooks")
    with cron.started(line, installed.home) as first:
        until(lambda: world.in_flight("api"), first)
        cron.kill(first)
    installed.configure(QUICKBOOKS_DEADLINE_SECONDS="0.5")
    assert cron.run(line, installed.home)[0] == 0
    killed, after = runs_of("check_quickbooks")
    assert killed.finished_at is None
    assert not killed.ok
    assert after.ok


@pytest.mark.django_db(transaction=True)
def test_a_run_that_breaks_off_says_so_and_does_not_end_with_0(installed: Installation) -> None:
    settings = installed.tree / "config" / "schedule.py"
    settings.write_text(settings.read_text().replace('"--confirm"', '"--conform"'))
    assert installed.manage("crontab", "add").returncode == 0
    code, said = cron.run(installed.line("check_quickbooks"), installed.home)
    assert code == 1
    assert "check_quickbooks broke off" in said
    assert "unrecognized arguments: --conform" in said
    [run] = runs_of("check_quickbooks")
    assert (run.ok, run.finished_at is None) == (False, False)


@pytest.mark.django_db(transaction=True)
def test_any_other_scheduler_runs_the_same_jobs(installed: Installation) -> None:
    def started(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "config.jobs", *arguments],
            cwd=installed.tree,
            env={},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = started("check_quickbooks", "--confirm", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ConnectionHealthCheck.objects.count() == 1
    [run] = runs_of("check_quickbooks")
    assert run.ok
    unknown = started("flush", "--no-input")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("usage: python -m config.jobs NAME [OPTIONS]")


# ── putting them there ────────────────────────────────────────────────────────────────────────
@pytest.fixture
def crontab(tmp_path: Path, settings: Settings) -> Path:
    """A crontab with somebody else's job; gives its table."""
    program = cron.make_crontab(tmp_path / "cron")
    settings.CRONTAB_EXECUTABLE = str(program)
    table = program.with_name("table")
    table.write_text(FOREIGN)
    return table


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("crontab", *arguments)
    return capsys.readouterr().out


def test_the_lines_are_guarded_and_the_first_run_is_told(
    crontab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, "add")
    assert re.search(r"^\*/15 \* \* \* \*   check_quickbooks --confirm --quiet$", told, re.M)
    assert re.search(
        r"^The first check starts at \d+:(00|15|30|45) [ap]m, in \d+ min\.$", told, re.M
    )
    table = crontab.read_text()
    assert table.startswith(FOREIGN)
    ours = table.removeprefix(FOREIGN).splitlines()
    assert len(ours) == len(schedule.JOBS)
    for line in ours:
        assert "timeout -k 5 600" in line
        assert "--settings=config.settings" in line
        assert line.endswith(f"# quickbooks connection monitor in {django_settings.BASE_DIR}")


def test_adding_again_replaces_and_removing_leaves_the_others_alone(
    crontab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "add")
    once = crontab.read_text()
    said(capsys, "add")
    assert crontab.read_text() == once
    assert said(capsys, "remove") == f"Removed from the crontab: {len(schedule.JOBS)} jobs.\n"
    assert crontab.read_text() == FOREIGN
    assert said(capsys, "remove") == "There was nothing to remove from the crontab.\n"
    assert "no jobs of this installation" in said(capsys, "show")


def test_a_job_that_has_changed_is_replaced_too(
    crontab: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    today = settings.CRONJOBS
    settings.CRONJOBS = [("*/5 * * * *", "config.jobs.command", ["check_quickbooks"])]
    said(capsys, "add")
    settings.CRONJOBS = today
    assert "has changed since: run `manage.py crontab add`" in said(capsys, "show")
    said(capsys, "add")
    ours = [line for line in cron.lines(crontab.read_text()) if "manage.py" in line.command]
    assert len(ours) == len(today)
    assert "has changed" not in said(capsys, "show")


def test_a_line_of_an_earlier_version_fails_in_plain_words(crontab: Path) -> None:
    with pytest.raises(CommandError, match="Run `manage.py crontab add` again"):
        call_command("crontab", "run", "0123456789abcdef")


def test_there_may_be_no_crontab_yet(crontab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crontab.unlink()
    said(capsys, "add", "-v0")
    assert len(cron.lines(crontab.read_text())) == len(schedule.JOBS)


FORGETFUL = "#!/bin/sh\nexit 0\n"
REFUSING = "#!/bin/sh\n[ $1 = -l ] || { echo 'clinic may not use cron' >&2; exit 1; }\n"
UNREADABLE = "#!/bin/sh\necho 'the spool is locked' >&2\nexit 1\n"
SPEECHLESS = "#!/bin/sh\nexit 1\n"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (None, "no cron to be used on this machine: .*crontab \\(No such file or directory\\)"),
        ("#!/nowhere/sh\n", "no cron to be used on this machine"),
        (REFUSING, "was not accepted: clinic may not use cron"),
        (SPEECHLESS, "was not accepted: it ended with 1"),
        (UNREADABLE, "cannot be read: the spool is locked"),
        (FORGETFUL, "took the jobs, and does not have them"),
    ],
    ids=["none", "broken", "refusing", "speechless", "unreadable", "forgetful"],
)
def test_without_a_cron_that_works_it_fails(
    program: str | None, why: str, tmp_path: Path, settings: Settings
) -> None:
    made = tmp_path / "crontab" if program is None else cron.make_crontab(tmp_path / "c", program)
    settings.CRONTAB_EXECUTABLE = str(made)
    with pytest.raises(CommandError, match=why):
        call_command("crontab", "add")


@pytest.mark.parametrize("folder", ["My Clinic", "100%", "it's"])
def test_a_folder_that_no_line_can_hold_is_refused(
    folder: str, crontab: Path, settings: Settings
) -> None:
    settings.CRONTAB_DJANGO_MANAGE_PATH = f"/srv/{folder}/manage.py"
    with pytest.raises(CommandError, match=re.escape(f"/srv/{folder}/manage.py has a character")):
        call_command("crontab", "add")
    assert crontab.read_text() == FOREIGN


def test_an_interpreter_in_such_a_folder_is_refused(
    crontab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/home/the clinic/.venv/bin/python")
    with pytest.raises(CommandError, match="^/home/the clinic/.venv/bin/python has a character"):
        call_command("crontab", "add")


def test_a_guard_that_cron_would_not_find_is_refused(crontab: Path, settings: Settings) -> None:
    settings.CRONTAB_COMMAND_PREFIX = "gtimeout -k 5 600"
    with pytest.raises(CommandError, match="Cron would not find `gtimeout`"):
        call_command("crontab", "add")
