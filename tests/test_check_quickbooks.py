"""`manage.py check_quickbooks`, as Nagios, cron and a person in a terminal meet it."""

import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.utils import timezone
from pytest_django import Settings

from integrations.levels import Level, worst
from quickbooks.management.commands.check_quickbooks import Command
from quickbooks.models import ConnectionHealthCheck, GrantState, OAuthToken
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR, NORTHSIDE
from tests.processes import database_url
from tests.support import add_check, check, connect, run, within

pytestmark = [
    # Companies are probed on threads, and each thread has a database connection of its own.
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("simulator"),
]

MINUTE = dt.timedelta(minutes=1)
PERFORMANCE = r"latency=(\d+\.\d{3}s|U);;;0 score=(\d+\.\d%|U);95:;80:;0;100"


@pytest.fixture(autouse=True)
def patience(settings: Settings) -> None:
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the command would have slept."""
    slept: list[float] = []
    monkeypatch.setattr(Command, "pause", staticmethod(slept.append))
    return slept


def last_checks(successes: int, failures: int) -> None:
    """So many checks in the last hours."""
    now = timezone.now()
    for number in range(successes + failures):
        add_check(
            checked_at=now - (number + 1) * 10 * MINUTE,
            diagnosis="ok" if number >= failures else "timeout",
        )


# ── one company ───────────────────────────────────────────────────────────────────────────────
def test_it_prints_the_line_of_the_contract(world: World) -> None:
    connect(world)
    last_checks(successes=94, failures=1)
    code, text = run("check_quickbooks")
    made = ConnectionHealthCheck.objects.latest("checked_at")
    assert made.latency_ms is not None
    assert text == (
        f"QUICKBOOKS OK - Harbour Physio answered in {made.latency_ms} ms, "
        f"24 h score 99.0 % (95/96) | latency={made.latency_ms / 1000:.3f}s;;;0 "
        "score=99.0%;95:;80:;0;100\n"
    )
    assert code == 0
    assert made.trigger == "command"


def test_it_names_the_window_that_was_set(world: World, settings: Settings) -> None:
    settings.HEALTH_WINDOW_HOURS = 48
    connect(world)
    assert ", 48 h score 100.0 % (1/1)" in run("check_quickbooks")[1]


def ended(world: World, settings: Settings) -> None:
    world.set_subscription(HARBOUR, "EXPIRED")


def revoked(world: World, settings: Settings) -> None:
    world.revoke_grant(HARBOUR)


def unavailable(world: World, settings: Settings) -> None:
    world.set_fault("api", "unavailable")


def silent(world: World, settings: Settings) -> None:
    world.set_fault("api", "close")


def key_lost(world: World, settings: Settings) -> None:
    settings.TOKEN_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]


def copied(world: World, settings: Settings) -> None:
    OAuthToken.objects.update(site_url="https://original.example")


@pytest.mark.parametrize(
    ("happens", "code", "told", "latency"),
    [
        (unavailable, 1, "WARNING - Harbour Physio: QuickBooks is having problems", "s"),
        (silent, 1, "WARNING - Harbour Physio: Our server can't reach QuickBooks", "U"),
        (copied, 1, "WARNING - Harbour Physio: This is a copy of another installation", "U"),
        (revoked, 2, "CRITICAL - Harbour Physio: QuickBooks is disconnected", "U"),
        (ended, 2, "CRITICAL - Harbour Physio: Your QuickBooks subscription needs", "s"),
        (key_lost, 3, "UNKNOWN - Harbour Physio: QuickBooks isn't set up yet", "U"),
    ],
)
def test_exit_code_and_text_say_how_bad_it_is(
    world: World,
    settings: Settings,
    happens: Callable[[World, Settings], None],
    code: int,
    told: str,
    latency: str,
) -> None:
    connect(world)
    happens(world, settings)
    found, text = run("check_quickbooks")
    assert found == code
    assert text.startswith(f"QUICKBOOKS {told}")
    [line] = text.splitlines()
    assert ", 24 h score 0.0 % (0/1) | " in line
    data = re.search(rf" \| {PERFORMANCE}$", line)
    assert data
    assert data[1].endswith(latency)


def test_a_transient_failure_that_lasts_is_critical(world: World) -> None:
    connect(world, age=dt.timedelta(minutes=61))
    world.set_fault("api", "unavailable")
    assert run("check_quickbooks")[0] == 2


def test_a_pipe_in_a_name_does_not_break_the_format(world: World) -> None:
    world.add_company(HARBOUR, "Harbour | Physio |latency=9s")
    connect(world)
    [line] = run("check_quickbooks")[1].splitlines()
    assert line.startswith("QUICKBOOKS OK - Harbour / Physio /latency=9s answered in ")
    assert line.count("|") == 1


def test_every_run_makes_a_new_probe(world: World) -> None:
    connect(world)
    for _ in range(3):
        assert run("check_quickbooks")[0] == 0
    assert len(world.calls("api")) == ConnectionHealthCheck.objects.count() == 3


# ── nothing to check ──────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("options", [(), ("--cached",)])
def test_nothing_connected_is_unknown(options: tuple[str, ...], settings: Settings) -> None:
    code, text = run("check_quickbooks", *options)
    assert (code, text.splitlines()[1:]) == (3, [])
    assert re.match(rf"QUICKBOOKS UNKNOWN - QuickBooks isn't connected yet \| {PERFORMANCE}$", text)
    settings.QUICKBOOKS_CLIENT_ID = ""
    code, text = run("check_quickbooks", *options)
    assert code == 3
    assert text.startswith("QUICKBOOKS UNKNOWN - QuickBooks isn't set up yet |")


def test_a_company_that_is_only_being_connected_is_not_one_yet() -> None:
    OAuthToken.objects.create(realm_id=HARBOUR)
    assert "isn't connected yet" in run("check_quickbooks")[1]


@pytest.mark.parametrize("options", [(), ("--cached",)])
def test_a_disconnection_on_purpose_is_a_warning_and_asks_nobody(
    world: World, options: tuple[str, ...]
) -> None:
    connect(world)
    long_ago = timezone.now() - dt.timedelta(days=3)
    OAuthToken.objects.update(state=GrantState.DISCONNECTED, disconnected_at=long_ago)
    code, text = run("check_quickbooks", *options)
    assert code == 1
    assert text.startswith("QUICKBOOKS WARNING - Harbour Physio: QuickBooks was disconnected here")
    assert world.calls() == []


# ── several companies ─────────────────────────────────────────────────────────────────────────
def several(world: World, **states: str) -> None:
    """Companies in these states, by name."""
    for number, (name, state) in enumerate(states.items()):
        realm_id = f"462081636529123430{number}"
        world.add_company(realm_id, name)
        connect(world, realm_id)
        row = OAuthToken.objects.filter(realm_id=realm_id)
        if state == "critical":
            world.revoke_grant(realm_id)
        if state == "warning":
            row.update(site_url="https://original.example")
        if state == "unknown":
            row.update(access_token=OAuthToken.seal("access_token", "1", "of another row"))


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ("healthy healthy", 0),
        ("healthy unknown", 3),
        ("unknown warning", 1),
        ("unknown warning healthy critical", 2),
        ("critical unknown", 2),
        ("warning healthy", 1),
    ],
)
def test_the_worst_company_decides(world: World, states: str, code: int) -> None:
    named = {f"Company{number}": state for number, state in enumerate(states.split())}
    several(world, **named)
    assert run("check_quickbooks")[0] == code
    assert run("check_quickbooks", "--cached")[0] == code


def test_the_order_of_levels_is_that_of_the_contract() -> None:
    order = [Level.CRITICAL, Level.WARNING, Level.UNKNOWN, Level.HEALTHY]
    for position, level in enumerate(order):
        assert worst(order[position:][::-1]) is level
    assert [level.exit_code for level in order] == [2, 1, 3, 0]
    assert worst([]) is Level.UNKNOWN


def test_several_companies_have_a_summary_first_and_a_line_each(world: World) -> None:
    several(world, Alma="healthy", Bruno="critical", Clara="healthy", Dora="warning")
    code, text = run("check_quickbooks")
    lines = text.splitlines()
    assert code == 2
    assert lines[0] == (
        "QUICKBOOKS CRITICAL - 4 companies: 1 CRITICAL, 1 WARNING, 2 OK"
        " | ok=2 warning=1 critical=1 unknown=0"
    )
    assert [line.partition(" - ")[0] for line in lines[1:]] == [
        "QUICKBOOKS CRITICAL",
        "QUICKBOOKS WARNING",
        "QUICKBOOKS OK",
        "QUICKBOOKS OK",
    ]
    assert lines[1].startswith("QUICKBOOKS CRITICAL - Bruno: QuickBooks is disconnected")
    assert re.match(r"QUICKBOOKS OK - Alma answered in \d+ ms, 24 h score 100.0 %", lines[3])
    # All that follows a second pipe would be taken for performance data.
    assert "|" not in "".join(lines[1:])


def test_quiet_prints_only_what_is_not_ok(world: World) -> None:
    several(world, Alma="healthy", Bruno="healthy")
    assert run("check_quickbooks", "--quiet") == (0, "")
    world.set_subscription("4620816365291234301", "EXPIRED")
    code, text = run("check_quickbooks", "--quiet")
    assert code == 2
    assert [line.split(" ")[3] for line in text.splitlines()] == ["2", "Bruno:"]
    code, text = run("check_quickbooks", "--quiet", "--realm", "4620816365291234301")
    assert text.startswith("QUICKBOOKS CRITICAL - Bruno:")
    assert run("check_quickbooks", "--quiet", "--json")[1].count('"realm_id"') == 1


def test_one_company_that_hangs_delays_none_of_the_others(world: World, settings: Settings) -> None:
    names = {f"Company{number}": "healthy" for number in range(8)}
    several(world, **names)
    settings.QUICKBOOKS_DEADLINE_SECONDS = 2
    world.fail_next("api", "hang")
    with within(2 + 1.5):
        run("check_quickbooks")
    rows = list(ConnectionHealthCheck.objects.values_list("diagnosis", "latency_ms"))
    assert sorted(code for code, _ in rows) == ["ok"] * 7 + ["timeout"]
    assert world.max_in_flight("api") > 1


def test_realm_asks_about_that_company_alone(world: World) -> None:
    connect(world)
    connect(world, NORTHSIDE)
    code, text = run("check_quickbooks", "--realm", NORTHSIDE)
    assert code == 0
    assert text.startswith("QUICKBOOKS OK - Northside Physio answered in ")
    assert [call.realm_id for call in world.calls("api")] == [NORTHSIDE]


@pytest.mark.parametrize("options", [(), ("--cached",)])
@pytest.mark.parametrize(
    ("realm", "told"),
    [
        ("4620816365291239999", "no company 4620816365291239999 was ever connected here"),
        ("../../etc", "a company id is made of digits"),
        ("", "a company id is made of digits"),
        ("٣", "a company id is made of digits"),
        ("1" * 33, "a company id is made of digits"),
    ],
)
def test_a_realm_that_is_not_there_is_unknown(
    world: World, realm: str, told: str, options: tuple[str, ...]
) -> None:
    connect(world)
    assert run("check_quickbooks", "--realm", realm, *options) == (
        3,
        f"QUICKBOOKS UNKNOWN - {told}\n",
    )
    assert world.calls() == []


# ── other forms ───────────────────────────────────────────────────────────────────────────────
def test_json_is_an_array_of_what_the_api_says(world: World, staff_client: Any) -> None:
    connect(world)
    connect(world, NORTHSIDE)
    world.revoke_grant(NORTHSIDE)
    code, text = run("check_quickbooks", "--json")
    printed = json.loads(text)
    assert code == 2
    assert [found["company"]["realm_id"] for found in printed] == [NORTHSIDE, HARBOUR]
    assert [found["status"] for found in printed] == ["critical", "healthy"]
    assert not any(found["reused"] for found in printed)
    answered = staff_client.get("/api/admin/quickbooks/connection-status").json()
    for ours, theirs in zip(printed, answered["connections"], strict=True):
        ours["reused"] = theirs["reused"] = None
        ours["token"]["refreshed"] = theirs["token"]["refreshed"] = None
        assert ours == theirs


def test_json_of_nothing_is_an_array_too() -> None:
    code, text = run("check_quickbooks", "--json")
    [found] = json.loads(text)
    assert code == 3
    assert (found["status"], found["diagnosis"]["code"]) == ("unknown", "not_connected")


def test_cached_judges_what_is_stored_and_calls_nobody(world: World) -> None:
    connect(world)
    add_check(checked_at=timezone.now() - 29 * MINUTE)
    code, text = run("check_quickbooks", "--cached")
    assert code == 0
    assert text.startswith("QUICKBOOKS OK - Harbour Physio answered in 212 ms, 24 h score 100.0 %")
    assert "latency=0.212s;;;0" in text
    assert world.calls() == []
    assert ConnectionHealthCheck.objects.count() == 1


@pytest.mark.parametrize("diagnosis", ["ok", "reconnect_required"])
def test_cached_is_unknown_when_it_is_older_than_two_intervals(
    world: World, diagnosis: str
) -> None:
    connect(world, age=dt.timedelta(hours=2))
    at = timezone.now() - 31 * MINUTE
    add_check(checked_at=at, diagnosis=diagnosis)
    code, text = run("check_quickbooks", "--cached")
    assert code == 3
    assert text.startswith(
        f"QUICKBOOKS UNKNOWN - Harbour Physio: no check since {at:%Y-%m-%d %H:%M} UTC"
    )


def test_cached_is_unknown_before_the_first_check(world: World) -> None:
    connect(world)
    code, text = run("check_quickbooks", "--cached")
    assert code == 3
    assert text.startswith("QUICKBOOKS UNKNOWN - Harbour Physio: no check yet |")


# ── confirming ────────────────────────────────────────────────────────────────────────────────
def test_a_transient_failure_is_confirmed_by_two_repeats(world: World, pauses: list[float]) -> None:
    connect(world)
    world.set_fault("api", "unavailable")
    code, text = run("check_quickbooks", "--confirm")
    assert code == 1
    assert pauses == [20, 60]
    rows = ConnectionHealthCheck.objects.order_by("checked_at")
    assert [row.confirming for row in rows] == [False, True, True]
    assert "24 h score 0.0 % (0/1)" in text


def test_a_blip_is_over_with_the_first_repeat(world: World, pauses: list[float]) -> None:
    connect(world)
    world.fail_next("api", "close")
    code, text = run("check_quickbooks", "--confirm")
    assert code == 0
    assert pauses == [20]
    assert text.startswith("QUICKBOOKS OK - Harbour Physio answered in ")
    # The repeat says how it is now; what counts is that the check itself had failed.
    assert "24 h score 0.0 % (0/1)" in text


def test_the_delays_are_a_setting(world: World, pauses: list[float], settings: Settings) -> None:
    settings.QUICKBOOKS_CONFIRM_DELAYS = (1.0, 2.0, 3.0)
    connect(world)
    world.set_fault("api", "html")
    run("check_quickbooks", "--confirm")
    assert pauses == [1, 2, 3]


@pytest.mark.parametrize("happens", [revoked, ended, copied])
def test_what_waiting_cannot_mend_is_not_repeated(
    world: World,
    settings: Settings,
    pauses: list[float],
    happens: Callable[[World, Settings], None],
) -> None:
    connect(world)
    happens(world, settings)
    run("check_quickbooks", "--confirm")
    assert pauses == []
    assert ConnectionHealthCheck.objects.count() == 1


def test_nothing_is_repeated_unless_it_is_asked_for(world: World, pauses: list[float]) -> None:
    connect(world)
    world.set_fault("api", "unavailable")
    run("check_quickbooks")
    assert pauses == []


# ── bad days ──────────────────────────────────────────────────────────────────────────────────
def manage(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A real process that knows nothing but these settings and where it stands."""
    return subprocess.run(
        [sys.executable, str(django_settings.BASE_DIR / "manage.py"), *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "TESTING": "1", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def of_this_installation(simulator: Simulator) -> dict[str, str]:
    """What `.env` would hold."""
    return {
        "SECRET_KEY": django_settings.SECRET_KEY,
        "DATABASE_URL": database_url(),
        "TOKEN_ENCRYPTION_KEYS": ",".join(django_settings.TOKEN_ENCRYPTION_KEYS),
        "SITE_URL": django_settings.SITE_URL,
        "QUICKBOOKS_CLIENT_ID": django_settings.QUICKBOOKS_CLIENT_ID,
        "QUICKBOOKS_CLIENT_SECRET": django_settings.QUICKBOOKS_CLIENT_SECRET,
        "QUICKBOOKS_DISCOVERY_URL": simulator.discovery_url,
        "QUICKBOOKS_API_URL": simulator.api_url,
    }


def test_it_works_in_a_process_of_its_own(
    world: World, simulator: Simulator, tmp_path: Path
) -> None:
    connect(world)
    world.expire_access_tokens()
    check()  # renews, so that the process finds a token that is valid at both ends
    done = manage("check_quickbooks", cwd=tmp_path, **of_this_installation(simulator))
    assert done.stderr == ""
    assert done.returncode == 0
    assert re.fullmatch(
        r"QUICKBOOKS OK - Harbour Physio answered in \d+ ms, 24 h score 100\.0 % \(2/2\)"
        rf" \| {PERFORMANCE}\n",
        done.stdout,
    )


def test_a_database_that_is_away_is_one_line_and_unknown(tmp_path: Path) -> None:
    done = manage(
        "check_quickbooks",
        cwd=tmp_path,
        SECRET_KEY="x" * 50,
        DATABASE_URL="postgres://nobody:hunter2@127.0.0.1:1/nothing",
    )
    assert done.returncode == 3
    assert done.stdout == "QUICKBOOKS UNKNOWN - the monitor's database does not answer\n"
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_a_folder_for_the_database_that_cannot_be_made_is_one_clear_sentence(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("no folder")
    done = manage(
        "check_quickbooks",
        cwd=tmp_path,
        SECRET_KEY="x" * 50,
        DATABASE_URL=f"sqlite:///{tmp_path}/file/folder/db.sqlite3",
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "Settings: DATABASE_URL names a folder that cannot be made (Not a directory).\n"
    )
