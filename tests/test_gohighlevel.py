"""GoHighLevel: what each answer means, what people read, what the command prints and returns."""

import datetime as dt
import socket
import threading
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from integrations.base import Assessment, Movement
from integrations.gohighlevel.contact import identifier, moment
from integrations.gohighlevel.demo import LocalGoHighLevel
from integrations.gohighlevel.integration import GoHighLevel
from integrations.gohighlevel.limits import Limits
from integrations.gohighlevel.models import Location, LocationCheck, Result, SyncRun
from integrations.gohighlevel.simulator.server import Simulator
from integrations.gohighlevel.simulator.world import LOCATION_ID, TOKEN, World
from integrations.gohighlevel.states import OK, WORDS, State
from integrations.levels import Level
from integrations.models import IntegrationStatus
from integrations.status import Evidence, commit
from tests.gohighlevel import (
    Clock,
    assessed,
    configure,
    contact,
    event,
    everything_stored,
    newest_run,
    numbers,
    sync,
    told,
)
from tests.gohighlevel import clock as clock
from tests.gohighlevel import impatient as impatient
from tests.gohighlevel import running as running
from tests.gohighlevel import set_up as set_up
from tests.processes import wait_for
from tests.support import PERSONAL, refusing, within

pytestmark = pytest.mark.django_db

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)


@pytest.fixture
def ghl(clock: Clock) -> World:
    return World(30, clock)


def add_check(at: dt.datetime, state: str = OK) -> LocationCheck:
    return LocationCheck.objects.create(
        location_id=LOCATION_ID, checked_at=at, ok=state == OK, state=state, trigger="dashboard"
    )


def add_run(at: dt.datetime, result: str = Result.OK, state: str = OK, **more: Any) -> SyncRun:
    return SyncRun.objects.create(
        location_id=LOCATION_ID,
        started_at=at - dt.timedelta(minutes=1),
        heartbeat_at=at,
        finished_at=at,
        result=result,
        state=state,
        **more,
    )


def check(now: dt.datetime) -> Assessment:
    found = GoHighLevel().check("", now, None)
    assert found is not None
    return found


# ── states ──────────────────────────────────────────────────────────────────


def test_without_settings_it_is_not_set_up_and_says_what_is_missing(
    settings: Settings, now: dt.datetime
) -> None:
    found = assessed(now)
    assert (found.level, found.state, found.account) == (Level.UNKNOWN, "not_configured", "")
    assert found.facts == ["Missing: GOHIGHLEVEL_TOKEN and GOHIGHLEVEL_LOCATION_ID"]
    assert [link.label for link in found.links] == ["Set-up help"]
    assert sync() == (
        3,
        "GOHIGHLEVEL UNKNOWN - not set up: GOHIGHLEVEL_TOKEN and GOHIGHLEVEL_LOCATION_ID missing\n",
    )
    # Cron runs it every hour, also for who has no GoHighLevel; that is nothing to mail about.
    assert sync("--quiet") == (3, "")
    settings.GOHIGHLEVEL_TOKEN = TOKEN
    assert assessed(now).facts == ["Missing: GOHIGHLEVEL_LOCATION_ID"]


def test_the_levels_and_those_who_act_are_those_of_the_contract() -> None:
    assert {state: (state.level.value, state.who_acts) for state in State} == {
        "in_step": ("healthy", "nobody"),
        "never_synced": ("warning", "administrator"),
        "late": ("warning", "administrator"),
        "throttled": ("warning", "nobody"),
        "unavailable": ("warning", "vendor"),
        "token_rejected": ("critical", "administrator"),
        "wrong_location": ("critical", "administrator"),
        "uninstalled": ("critical", "administrator"),
    }


@pytest.mark.usefixtures("set_up")
def test_set_up_and_not_synced_yet(now: dt.datetime) -> None:
    found = assessed(now)
    assert (found.state, found.headline) == ("never_synced", "Not synced yet")
    assert found.metrics == {
        "contacts": 0,
        "contacts_mapped": 0,
        "contacts_unmatched": 0,
        "contacts_ambiguous": 0,
        "last_sync_at": None,
        "last_sync_result": None,
    }
    assert GoHighLevel().assess(now, ["elsewhere"]) == []
    assert GoHighLevel().check("elsewhere", now, None) is None


@pytest.mark.usefixtures("set_up")
def test_in_step_until_no_run_has_completed_for_three_hours(now: dt.datetime) -> None:
    add_run(now - 3 * HOUR)
    assert assessed(now).state == "in_step"
    later = assessed(now + 2 * HOUR)
    assert (later.state, later.headline) == ("late", "Not synced for 5 hours")
    assert later.since == now - 3 * HOUR
    assert assessed(now + 70 * HOUR).headline == "Not synced for 3 days"


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize(
    ("state", "overruled"),
    [
        ("token_rejected", True),
        ("unavailable", True),
        ("wrong_location", False),
        ("throttled", False),
    ],
)
def test_what_a_later_good_probe_says_about_a_failed_run(
    now: dt.datetime, state: str, overruled: bool
) -> None:
    add_run(now - 2 * HOUR)
    add_run(now - HOUR, Result.FAILED, state)
    assert assessed(now).state == state
    assert assessed(now).since == now - HOUR
    add_check(now - dt.timedelta(minutes=5))
    assert assessed(now).state == ("in_step" if overruled else state)


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(("search", "state"), [(None, "in_step"), ("403", "wrong_location")])
def test_a_location_that_was_refused_in_a_probe_is_cleared_by_a_later_good_probe(
    ghl: World, now: dt.datetime, search: str | None, state: str
) -> None:
    """A refused search is not: the probe knows nothing of the scope for contacts."""
    assert sync()[0] == 0
    ghl.set_fault("location", None if search else "403")
    ghl.set_fault("search", search)
    assert sync()[0] == 2
    assert newest_run().in_probe == (search is None)
    ghl.clear_faults()
    assert check(now + HOUR).state == state


@pytest.mark.usefixtures("set_up")
def test_health_is_as_old_as_the_status_says(now: dt.datetime) -> None:
    add_run(now - HOUR)
    with CaptureQueriesContext(connection) as asked:
        assert assessed(now).since is None
    assert len(asked) == 1
    commit(
        Evidence(
            integration="gohighlevel",
            account="",
            name="GoHighLevel",
            level=Level.HEALTHY,
            state="in_step",
            checked_at=now - 7 * HOUR,
        )
    )
    found = assessed(now)
    assert (found.state, found.since, found.judged_at) == ("in_step", now - 7 * HOUR, None)
    IntegrationStatus.objects.update(level=Level.WARNING.value)
    assert assessed(now).since is None, "that was when trouble began"


@pytest.mark.usefixtures("set_up")
def test_never_synced_is_as_old_as_the_first_that_is_known(now: dt.datetime) -> None:
    Location.objects.create(location_id=LOCATION_ID, installed_at=now - 9 * HOUR)
    assert assessed(now).since == now - 9 * HOUR
    for hours in (3, 2):
        add_check(now - hours * HOUR)
    found = assessed(now)
    assert (found.state, found.since) == ("never_synced", now - 3 * HOUR)


@pytest.mark.usefixtures("set_up")
def test_what_is_not_of_today_says_its_day(now: dt.datetime, settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    sunday = dt.datetime(2026, 11, 22, 15, 29, tzinfo=dt.UTC)
    friday = sunday + 5 * DAY
    add_run(sunday - HOUR)
    add_run(sunday, Result.FAILED, "unavailable")
    found = assessed(friday)
    assert [tile.value for tile in found.tiles][1] == "Sunday at 2:29 pm"
    assert found.facts[:2] == [
        "Synced Sunday at 2:29 pm, all well",
        "The sync of Sunday at 3:29 pm did not finish",
    ]
    assert assessed(sunday).facts[1] == "The sync of 3:29 pm did not finish"


@pytest.mark.usefixtures("set_up")
def test_calls_left_are_told_on_their_day_alone(now: dt.datetime) -> None:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    Location.objects.create(location_id=LOCATION_ID, calls_left=1, calls_left_at=midnight)
    assert "1 call left today" in assessed(midnight + HOUR).facts
    Location.objects.update(calls_left_at=midnight - HOUR)
    assert not [fact for fact in assessed(midnight + HOUR).facts if "left today" in fact]


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GOHIGHLEVEL_TOKEN", "pit-…"),
        ("GOHIGHLEVEL_TOKEN", "pit- 1"),
        ("GOHIGHLEVEL_LOCATION_ID", "https://app.gohighlevel.com/location/ve9EPM428h8vShlRW1KT"),
        ("GOHIGHLEVEL_LOCATION_ID", "x" * 65),
        ("GOHIGHLEVEL_LOCATION_ID", "…"),
    ],
)
def test_a_setting_that_cannot_be_right_is_told_in_words_and_nobody_is_asked(
    ghl: World, now: dt.datetime, settings: Settings, name: str, value: str
) -> None:
    setattr(settings, name, value)
    found = check(now)
    assert (found.state, found.level) == ("not_configured", Level.UNKNOWN)
    (fact,) = found.facts
    assert fact.startswith(f"{name} is malformed: ")
    # Somebody has begun to set it up, so cron tells it as well.
    for arguments in ((), ("--quiet",)):
        assert sync(*arguments) == (3, f"GOHIGHLEVEL UNKNOWN - not set up: {fact}\n")
    assert value not in fact.replace("“…”", "")
    assert not ghl.calls
    assert GoHighLevel().history("", now) == []
    assert GoHighLevel().last_movement(now) is None


@pytest.mark.usefixtures("set_up")
def test_a_failing_check_counts_from_the_first_in_a_row(now: dt.datetime) -> None:
    add_run(now - HOUR)
    for minutes, state in [(50, "unavailable"), (40, OK), (30, "throttled"), (20, "unavailable")]:
        add_check(now - dt.timedelta(minutes=minutes), state)
    found = assessed(now)
    assert (found.state, found.since) == ("unavailable", now - dt.timedelta(minutes=30))
    assert found.last_success_at == now - dt.timedelta(minutes=40)
    assert found.who_acts == "vendor"


@pytest.mark.usefixtures("set_up")
def test_uninstalled_comes_before_everything_else(now: dt.datetime) -> None:
    add_check(now, "token_rejected")
    Location.objects.create(location_id=LOCATION_ID, uninstalled_at=now - HOUR)
    found = assessed(now)
    assert (found.state, found.level, found.since) == ("uninstalled", Level.CRITICAL, now - HOUR)
    assert "install the app again" in found.next_step
    assert found.links[0].url == "/admin/gohighlevel/location/"
    assert found.links[0].permission == "gohighlevel.change_location"


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize("state", State)
def test_the_words_are_complete_and_say_what_is_not_affected(
    now: dt.datetime, state: State
) -> None:
    words = WORDS[state]
    text = words.headline + words.title + words.impact + words.next_step
    assert not PERSONAL.search(text)
    assert words.next_step.endswith(".")
    if state is not State.IN_STEP:
        assert "Nothing in Jane, GoHighLevel or QuickBooks is affected." in words.impact
    if state.who_acts == "administrator":
        assert "IT person" in words.next_step


@pytest.mark.usefixtures("set_up")
def test_the_card_of_a_clinic_in_step(now: dt.datetime, settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    noon = now.replace(hour=12, minute=30, second=0, microsecond=0)
    Location.objects.create(
        location_id=LOCATION_ID,
        mapped=1180,
        unmatched=20,
        ambiguous=4,
        calls_left=198_400,
        calls_left_at=noon,
    )
    add_run(noon - dt.timedelta(minutes=15))
    found = assessed(noon)
    assert found.facts == [
        "Synced 12:15 pm, all well",
        "1,180 of 1,204 contacts mapped",
        "20 unmatched · 4 ambiguous",
        "198,400 calls left today",
    ]
    assert [(link.label, link.permission) for link in found.links] == [
        ("20 unmatched", "gohighlevel.view_contactmapping"),
        ("4 ambiguous", "gohighlevel.view_contactmapping"),
        ("Set-up help", ""),
    ]
    assert numbers(found) == (1204, 1180, 20, 4)
    tiles = [(tile.label, tile.value, tile.note) for tile in assessed(noon).tiles]
    assert tiles == [
        ("Contacts mapped", "98 %", "1,180 of 1,204"),
        ("Last sync", "12:15 pm", "OK"),
    ]


@pytest.mark.usefixtures("set_up")
def test_the_card_and_its_tiles_take_one_statement(now: dt.datetime) -> None:
    add_run(now - HOUR)
    add_check(now)
    with CaptureQueriesContext(connection) as asked:
        assessed(now)
    assert len(asked) == 1


@pytest.mark.usefixtures("set_up")
def test_the_history_has_runs_and_failures_newest_first(now: dt.datetime) -> None:
    add_run(now - 30 * HOUR)
    add_run(now - 4 * HOUR, contacts=1204)
    add_run(now - 3 * HOUR, Result.PARTIAL, why="2 contacts came without a usable id")
    for minutes, state in [(100, "unavailable"), (90, "unavailable"), (80, OK)]:
        add_check(now - dt.timedelta(minutes=minutes), state)
    add_run(now - HOUR, Result.FAILED, "throttled", seen=400)
    found = GoHighLevel().history("", now)
    assert [(event.title, event.level.value, event.note) for event in found] == [
        ("Sync: GoHighLevel asked us to slow down", "warning", "400 contacts read"),
        ("GoHighLevel is having problems", "warning", "2 checks"),
        ("Synced in part", "warning", "0 contacts, 2 contacts came without a usable id"),
        ("Synced", "healthy", "1,204 contacts"),
    ]
    assert GoHighLevel().history("elsewhere", now) == []


# ── answers ─────────────────────────────────────────────────────────────────

LOCATION_ANSWERS = [
    ("401", "token_rejected", 401),
    ("403", "wrong_location", 403),
    ("404", "wrong_location", 404),
    ("400", "wrong_location", 400),
    ("422", "wrong_location", 422),
    ("wrong_id", "wrong_location", 200),
    ("429", "throttled", 429),
    ("500", "unavailable", 500),
    ("503", "unavailable", 503),
    ("html", "unavailable", 200),
    ("malformed", "unavailable", 200),
    ("empty", "unavailable", 200),
    ("flood", "unavailable", 200),
    ("reset", "unavailable", None),
    ("hang", "unavailable", None),
    ("drip", "unavailable", 200),
]
EXIT_CODES = {"token_rejected": 2, "wrong_location": 2, "throttled": 1, "unavailable": 1}


@pytest.mark.usefixtures("running", "impatient")
@pytest.mark.parametrize(("fault", "state", "status"), LOCATION_ANSWERS)
def test_each_answer_to_the_probe_has_its_state_its_row_and_its_exit_code(
    ghl: World,
    now: dt.datetime,
    fault: str,
    state: str,
    status: int | None,
) -> None:
    ghl.set_fault("location", fault)
    assert check(now).state == state
    (row,) = LocationCheck.objects.all()
    assert (row.state, row.ok, row.http_status, row.trigger) == (state, False, status, "dashboard")
    exit_code, text = sync()
    assert exit_code == EXIT_CODES[state]
    assert text.startswith(f"GOHIGHLEVEL {'WARNING' if exit_code == 1 else 'CRITICAL'} - ")
    assert not PERSONAL.search(text + everything_stored())
    assert TOKEN not in text + everything_stored()
    run = newest_run()
    assert (run.result, run.state, run.pages) == ("failed", state, 0)
    assert assessed(now + HOUR).metrics["last_sync_result"] == "failed"
    # What may be over in a moment was asked for several times, the rest once.
    tries = 5 if state in {"throttled", "unavailable"} else 1
    assert LocationCheck.objects.filter(trigger="command").count() == tries


SEARCH_ANSWERS = [
    ("401", "token_rejected"),
    ("403", "wrong_location"),
    ("422", "unavailable"),
    ("429", "throttled"),
    ("503", "unavailable"),
    ("malformed", "unavailable"),
    ("flood", "unavailable"),
    ("reset", "unavailable"),
    ("hang", "unavailable"),
]


@pytest.mark.usefixtures("running", "impatient")
@pytest.mark.parametrize(("fault", "state"), SEARCH_ANSWERS)
def test_each_answer_to_the_search_has_its_state_and_leaves_the_numbers(
    ghl: World, now: dt.datetime, fault: str, state: str
) -> None:
    assert sync()[0] == 0
    before = numbers(assessed(now))
    ghl.add()
    ghl.set_fault("search", fault)
    assert sync()[0] == EXIT_CODES[state]
    found = assessed(now + dt.timedelta(seconds=30))
    assert found.state == state
    assert numbers(found) == before
    ghl.clear_faults()
    assert sync()[0] == 0
    assert numbers(assessed(now + dt.timedelta(minutes=1)))[0] == 31


@pytest.mark.usefixtures("running")
def test_the_dashboard_shares_a_probe_of_the_last_twenty_seconds(
    ghl: World, now: dt.datetime
) -> None:
    for seconds in (0, 10, 19, 21):
        assert check(now + dt.timedelta(seconds=seconds)).state == "never_synced"
    assert ghl.calls["location"] == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("running")
def test_a_vendor_that_hangs_holds_one_thread_and_the_others_see_what_is_stored(
    ghl: World, now: dt.datetime
) -> None:
    ghl.set_fault("location", "hang")

    def first() -> None:
        try:
            check(now)
        finally:
            connection.close()

    held = threading.Thread(target=first)
    held.start()
    wait_for(lambda: ghl.calls["location"] == 1, "the probe that hangs")
    with within(5):
        found = check(now)
    assert (found.checking, found.state) == (True, "never_synced")
    assert ghl.calls["location"] == 1
    ghl.clear_faults()
    held.join()
    after = check(now + dt.timedelta(seconds=1))
    assert (after.checking, after.state) == (False, "unavailable")


@pytest.mark.usefixtures("running")
def test_the_claim_of_a_probe_that_died_runs_out(ghl: World, now: dt.datetime) -> None:
    until = now + dt.timedelta(seconds=10)
    Location.objects.create(location_id=LOCATION_ID, probing_until=until)
    assert check(now).checking
    assert not check(until).checking
    assert ghl.calls["location"] == 1


@pytest.mark.usefixtures("running")
def test_no_probe_while_the_vendor_has_asked_for_rest(ghl: World, now: dt.datetime) -> None:
    ghl.retry_after = 60
    ghl.fail_next("location", "429")
    assert check(now).state == "throttled"
    assert check(now + dt.timedelta(seconds=50)).state == "throttled"
    assert ghl.calls["location"] == 1
    assert check(now + dt.timedelta(seconds=61)).state == "never_synced"


@pytest.mark.usefixtures("running")
def test_the_command_prints_one_line_with_figures_and_in_quiet_only_trouble(ghl: World) -> None:
    assert sync() == (
        0,
        "GOHIGHLEVEL OK - 30 contacts, 10 mapped, 20 unmatched, 0 ambiguous "
        "| contacts=30 mapped=10 unmatched=20 ambiguous=0\n",
    )
    assert sync("--quiet") == (0, "")
    ghl.set_fault("location", "401")
    assert sync("--quiet") == (
        2,
        "GOHIGHLEVEL CRITICAL - GoHighLevel doesn't accept our token: "
        "the token is not accepted (401)\n",
    )


@pytest.mark.usefixtures("running")
def test_a_database_that_does_not_answer_is_one_sentence() -> None:
    with refusing("gohighlevel_syncrun"):
        assert sync() == (3, "GOHIGHLEVEL UNKNOWN - the monitor's database does not answer\n")


def test_the_stand_in_starts_nowhere_but_in_the_demo_and_the_tests(settings: Settings) -> None:
    settings.TESTING = settings.DEMO = False
    with pytest.raises(RuntimeError, match="demo"):
        Simulator(World())


def test_its_reset_is_one_and_no_mere_end(ghl: World, running: Simulator) -> None:
    ghl.set_fault("location", "reset")
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as client:
        client.sendall(f"GET /locations/{LOCATION_ID} HTTP/1.1\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):
            client.recv(1)


# ── reading ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("  abc ", "abc"),
        (82000020, "82000020"),
        (True, ""),
        (None, ""),
        (["x"], ""),
        (10**30, ""),
        ("a\x00b", ""),
        ("\ud800", ""),
        ("x" * 64, "x" * 64),
        ("x" * 65, ""),
    ],
)
def test_an_id_is_text_that_can_be_stored(given: Any, read: str) -> None:
    assert identifier(given) == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("2026-11-22T09:15:02.123Z", "2026-11-22T09:15:02.123000+00:00"),
        ("2026-11-22T09:15:02+02:00", "2026-11-22T07:15:02+00:00"),
        (1795338902123, "2026-11-22T09:15:02.123000+00:00"),
        ("1795338902123", "2026-11-22T09:15:02.123000+00:00"),
        (1795338902, "2026-11-22T09:15:02+00:00"),
        ("0001-01-01T00:00:00+14:00", None),
        (float("inf"), None),
        (10**400, None),
        ("soon", None),
        (True, None),
        ({}, None),
    ],
)
def test_a_time_is_read_from_what_senders_write(given: Any, read: str | None) -> None:
    found = moment(given)
    assert (found and found.isoformat()) == read


def test_limits_are_read_from_headers_and_nonsense_is_no_limit() -> None:
    told = Limits.read(
        {
            "X-RateLimit-Limit-Daily-Remaining": "0",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Interval-Milliseconds": "500",
        }
    )
    assert (told.used_up, told.rest) == (True, 0.5)
    assert Limits.read({"Retry-After": "30"}).rest == 30
    odd = Limits.read({"Retry-After": "Wed, 21 Oct", "X-RateLimit-Remaining": "9" * 40})
    assert (odd.rest, odd.left, odd.interval) == (0, None, 10)


def test_the_set_up_steps_name_every_setting_and_show_no_secret(settings: Settings) -> None:
    configure(settings)
    text = "\n".join(
        f"{step.title} {step.text} {step.code}" for step in GoHighLevel().set_up_steps()
    )
    for name in ("TOKEN", "LOCATION_ID", "PERSON_FIELD", "WEBHOOK_SECRETS", "WEBHOOK_PUBLIC_KEYS"):
        assert f"GOHIGHLEVEL_{name}" in text
    assert "locations.readonly" in text and "contacts.readonly" in text
    assert "http://127.0.0.1:8000/webhooks/gohighlevel/" in text
    for secret in (TOKEN, settings.MATCHING_KEY, *settings.GOHIGHLEVEL_WEBHOOK_SECRETS):
        assert secret not in text


def test_the_last_movement_is_the_vendors_own_clock_and_says_when_we_looked(
    now: dt.datetime, running: Simulator, ghl: World, settings: Settings
) -> None:
    movement = GoHighLevel().last_movement
    assert movement(now) == Movement(at=None, watched_until=None)
    ghl.change(3, at=now - HOUR)
    sync()
    run = newest_run()
    later = timezone.now() + HOUR
    found = movement(later)
    assert found is not None and found.at is not None
    assert abs(found.at - (now - HOUR)) < dt.timedelta(seconds=1)
    assert found.watched_until == run.finished_at
    # A run that failed has not looked.
    add_run(later - HOUR / 2, Result.FAILED, "unavailable")
    assert movement(later) == found
    told(event("ContactUpdate", ghl.contact_id(3), timezone.now()))
    heard = contact(ghl.contact_id(3)).heard_at
    assert heard is not None and run.finished_at is not None and heard > run.finished_at
    found = movement(later)
    assert found is not None and found.watched_until == heard
    settings.GOHIGHLEVEL_TOKEN = ""
    assert movement(later) is None


@pytest.mark.django_db(transaction=True)
def test_the_demo_mends_an_uninstallation_of_before_it_was_started(
    now: dt.datetime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(settings)
    part = LocalGoHighLevel()
    assert part.state() == ""
    told(event("UNINSTALL", at=now))
    assert part.state() == "The app is uninstalled."
    sent: list[str] = []

    def send(self: LocalGoHighLevel, kind: str) -> None:
        sent.append(kind)
        told(event(kind, at=timezone.now()))

    monkeypatch.setattr(LocalGoHighLevel, "_tell", send)
    press = part.buttons()["works"].press
    press()
    press()
    assert sent == ["INSTALL"]
    assert part.state() == ""
