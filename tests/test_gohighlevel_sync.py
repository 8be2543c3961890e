"""The sync against the stand-in: it obeys limits, survives everything, and ends exactly right."""

import datetime as dt
import logging
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from pytest_django import Settings

from integrations.gohighlevel import client, storage
from integrations.gohighlevel.mapping import match_all
from integrations.gohighlevel.models import ContactMapping, Location, LocationCheck, SyncRun
from integrations.gohighlevel.runs import claim, take_over
from integrations.gohighlevel.simulator.server import Simulator
from integrations.gohighlevel.simulator.world import LOCATION_ID, PERSON_FIELD, World
from tests.gohighlevel import (
    Clock,
    assessed,
    contact,
    event,
    everything_stored,
    fields,
    newest_run,
    numbers,
    person,
    sync,
    told,
    waiting_by,
)
from tests.gohighlevel import clock as clock
from tests.gohighlevel import impatient as impatient
from tests.gohighlevel import running as running
from tests.processes import database_url, wait_for
from tests.support import PERSONAL

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("running", "impatient")]

HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def ghl(clock: Clock) -> World:
    world = World(640, clock)
    world.meter.most = 4
    return world


def age(run: SyncRun, by: dt.timedelta) -> None:
    """As if the run's last sign of life had been so long ago."""
    SyncRun.objects.filter(pk=run.pk).update(heartbeat_at=run.heartbeat_at - by)


def exactly(ghl: World) -> None:
    """Every contact of the vendor is here once, and no other."""
    rows = ContactMapping.objects.exclude(state="gone").values_list("contact_id", flat=True)
    assert sorted(rows) == sorted(ghl.contact_id(number) for number in ghl._from(0))
    assert numbers(assessed(timezone.now()))[0] == ghl.existing


def test_everything_arrives_once_through_throttling_errors_a_hang_and_resets(
    ghl: World, clock: Clock
) -> None:
    for call, fault in enumerate(
        ["429", "ok", "503", "hang", "ok", "reset", "500", "malformed", "ok", "429", "drip", "ok"],
        start=1,
    ):
        if fault != "ok":
            ghl.fail_at("search", call, fault)
    ghl.retry_after = 3
    assert sync()[0] == 0
    exactly(ghl)
    run = newest_run()
    assert (run.result, run.seen, run.created, run.pages) == ("ok", 640, 640, 7)
    assert (run.announced, run.contacts, run.cursor, run.resumed) == (640, 640, None, 0)
    assert ghl.meter.broken == 0
    assert 3 in clock.waits and 10 in clock.waits


def test_a_second_run_changes_nothing_and_counts_only_what_changed(
    ghl: World, now: dt.datetime
) -> None:
    sync()
    before = list(ContactMapping.objects.order_by("pk").values_list("pk", "contact_updated_at"))
    ghl.change(7, at=now, customFields=[{"id": PERSON_FIELD, "value": "somebody"}])
    sync()
    run = newest_run()
    assert (run.seen, run.created, run.updated) == (640, 0, 1)
    assert contact(ghl.contact_id(7)).person_id == "somebody"
    after = dict(ContactMapping.objects.values_list("pk", "contact_updated_at"))
    assert sum(after[pk] != at for pk, at in before) == 1


def test_a_wait_of_any_length_shows_signs_of_life(ghl: World, clock: Clock) -> None:
    ghl.retry_after = 100
    ghl.fail_next("search", "429")
    assert sync()[0] == 0
    assert clock.waits[:4] == [30, 30, 30, 10]
    assert ghl.meter.broken == 0


def test_a_call_that_was_not_answered_is_taken_for_one_that_counted(ghl: World) -> None:
    ghl.meter.most = 3
    ghl.fail_next("search", "reset", "reset")
    assert sync()[0] == 0
    assert ghl.meter.broken == 0


def test_asked_to_wait_too_long_it_stops_and_a_later_run_goes_on(
    ghl: World, clock: Clock, now: dt.datetime
) -> None:
    ghl.retry_after = 3000
    ghl.fail_at("search", 3, "429")
    assert sync() == (
        1,
        "GOHIGHLEVEL WARNING - GoHighLevel asked us to slow down: asked to wait for 3000 s\n",
    )
    run = newest_run()
    assert (run.pages, run.result, run.state) == (2, "failed", "throttled")
    assert assessed(now + MINUTE).state == "throttled"
    assert sync()[0] == 1
    assert sum(ghl.calls.values()) == 4, "it asked although it was told not to"
    clock.pause(3000)
    Location.objects.update(rest_until=timezone.now())
    assert sync()[0] == 0
    exactly(ghl)
    run.refresh_from_db()
    assert (run.pages, run.resumed, run.result) == (7, 2, "ok")
    assert ghl.meter.broken == 0


def test_when_the_days_calls_are_used_up_it_stops_until_the_next_day(
    ghl: World, clock: Clock, now: dt.datetime
) -> None:
    ghl.meter.daily = 4
    assert sync()[0] == 1
    run = newest_run()
    assert (run.pages, run.state, run.why) == (3, "throttled", "the calls of this day are used up")
    assert "0 calls left today" in assessed(timezone.now()).facts
    # Neither the next run nor the dashboard asks on that day.
    assert sync()[0] == 1
    assert sum(ghl.calls.values()) == 4
    Location.objects.update(calls_left_at=now - 24 * HOUR)
    clock.pause(24 * 3600)
    ghl.meter.new_day()
    ghl.meter.daily = 200
    assert sync()[0] == 0
    exactly(ghl)
    assert ghl.meter.broken == 0


def test_a_day_that_ends_with_the_probe_is_over_for_the_search(ghl: World) -> None:
    ghl.meter.daily = 1
    exit_code, text = sync()
    assert (exit_code, "the calls of this day are used up" in text) == (1, True)
    assert dict(ghl.calls) == {"location": 1}
    assert ghl.meter.broken == 0


def test_a_day_that_ends_with_a_page_that_is_too_large_is_over(ghl: World) -> None:
    ghl.meter.most = 100
    ghl.bulk = 30_000
    ghl.meter.daily = 2
    exit_code, text = sync()
    assert (exit_code, "the calls of this day are used up" in text) == (1, True)
    # The next process is told as well.
    assert sync()[0] == 1
    assert dict(ghl.calls) == {"location": 1, "search": 1}
    assert ghl.meter.broken == 0


def test_five_failures_of_one_page_stop_it_and_the_next_run_goes_on_from_there(
    ghl: World, clock: Clock
) -> None:
    ghl.meter.most = 100
    for call in range(3, 8):
        ghl.fail_at("search", call, "503")
    exit_code, text = sync()
    assert exit_code == 1
    assert "an error of GoHighLevel's own (503), 5 times" in text
    assert clock.waits == [1, 2, 4, 8]
    stopped = newest_run()
    assert stopped.pages == 2
    before = ghl.calls["search"]
    assert sync()[0] == 0
    assert ghl.calls["search"] == before + 5
    exactly(ghl)
    assert SyncRun.objects.count() == 1
    assert newest_run().resumed == 1


def test_a_page_that_fails_two_runs_is_left_and_the_list_is_read_anew(ghl: World) -> None:
    """The cursor may be what fails: it is not asked for every hour for ever."""
    ghl.meter.most = 100
    for call in range(3, 8):
        ghl.fail_at("search", call, "503")
    assert sync()[0] == 1
    ghl.set_fault("location", "503")
    assert sync()[0] == 1
    stopped = newest_run()
    assert (stopped.resumed, stopped.in_probe) == (1, True)
    assert stopped.cursor, "GoHighLevel was down, which says nothing about the cursor"
    ghl.clear_faults()
    ghl.set_fault("search", "503")
    assert sync()[0] == 1
    stopped.refresh_from_db()
    assert (stopped.resumed, stopped.in_probe, stopped.cursor) == (2, False, None)
    ghl.clear_faults()
    assert sync()[0] == 0
    assert (SyncRun.objects.count(), newest_run().pages) == (2, 7)
    exactly(ghl)


def test_a_rejected_token_in_the_middle_starts_anew_afterwards(ghl: World) -> None:
    ghl.fail_at("search", 3, "401")
    assert sync()[0] == 2
    assert sync()[0] == 0
    assert [run.result for run in SyncRun.objects.order_by("pk")] == ["failed", "ok"]
    exactly(ghl)


def test_a_cursor_that_is_not_accepted_any_more_is_dropped(ghl: World) -> None:
    ghl.fail_at("search", 3, "422")
    assert sync()[0] == 1
    assert newest_run().cursor is None
    assert sync()[0] == 0
    assert newest_run().pages == 7
    exactly(ghl)


def test_a_list_that_does_not_go_on_ends_the_run_and_nothing_is_gone(ghl: World) -> None:
    sync()
    ghl.set_fault("search", "stuck")
    exit_code, text = sync()
    assert exit_code == 1
    assert "does not go on" in text
    assert not ContactMapping.objects.filter(state="gone").exists()


def test_pages_that_are_too_large_are_asked_for_in_halves(ghl: World) -> None:
    ghl.bulk = 30_000
    ghl.meter.most = 100
    assert sync()[0] == 0
    exactly(ghl)
    assert newest_run().pages == 26  # 25 to a page, and the 40 that 640 leaves


def test_contacts_without_a_usable_id_are_counted_and_the_rest_is_synced(
    ghl: World, now: dt.datetime
) -> None:
    ghl.change(5, id=None)
    ghl.change(6, id="x" * 300)
    ghl.change(7, locationId="anotherLocation00001")
    exit_code, text = sync()
    assert exit_code == 1
    assert "3 contacts came without a usable id; 637 contacts" in text
    assert newest_run().result == "partial"
    found = assessed(now + MINUTE)
    assert found.state == "in_step"
    assert found.metrics["last_sync_result"] == "partial"
    assert any("3 contacts came without a usable id" in fact for fact in found.facts)


def test_what_is_not_there_any_more_is_gone_and_comes_back_when_it_does(ghl: World) -> None:
    sync()
    for number in (3, 10, 639):
        ghl.delete(number)
    assert sync()[0] == 0
    exactly(ghl)
    gone = contact(ghl.contact_id(3))
    assert (gone.state, gone.person_id, gone.external_id, gone.email_hash) == ("gone", "", "", "")
    ghl.restore(3)
    assert sync()[0] == 0
    exactly(ghl)
    assert contact(ghl.contact_id(3)).state == "mapped"


def test_a_list_that_ends_early_makes_nothing_gone(ghl: World) -> None:
    sync()
    ghl.total = 640
    ghl.size = 500
    exit_code, text = sync()
    assert exit_code == 1
    assert "140 contacts that were announced did not come; 640 contacts" in text
    assert not ContactMapping.objects.filter(state="gone").exists()


@pytest.mark.parametrize("size", [0, 300])
def test_a_list_without_a_total_that_lacks_most_of_what_is_known_makes_nothing_gone(
    ghl: World, size: int
) -> None:
    ghl.meter.most = 100
    sync()
    ghl.tells_total, ghl.size = False, size
    exit_code, text = sync()
    assert exit_code == 1
    assert f"no total was told, and only {size} of 640 contacts known here came" in text
    assert newest_run().result == "partial"
    assert not ContactMapping.objects.filter(state="gone").exists()


def test_a_list_without_a_total_that_has_most_of_what_is_known_is_believed(ghl: World) -> None:
    ghl.meter.most = 100
    sync()
    ghl.tells_total, ghl.size = False, 400
    assert sync()[0] == 0
    exactly(ghl)


def test_one_contact_is_told_of_in_the_singular(ghl: World) -> None:
    ghl.change(5, id=None)
    assert "WARNING - 1 contact came without a usable id; 639 contacts" in sync()[1]
    ghl.total = 641
    assert "WARNING - 1 contact that was announced did not come" in sync()[1]


def test_an_older_page_does_not_overwrite_what_is_newer(ghl: World, now: dt.datetime) -> None:
    ghl.change(9, at=now, customFields=[{"id": PERSON_FIELD, "value": "newer"}])
    sync()
    ghl.change(9, at=now - HOUR, customFields=[{"id": PERSON_FIELD, "value": "older"}])
    sync()
    assert contact(ghl.contact_id(9)).external_id == "newer"


def test_what_a_webhook_tells_during_a_run_outlives_the_run(ghl: World) -> None:
    """The pages were made before it: a deletion, a change, and a contact that is new."""
    ghl.meter.most = 100
    sync()
    moments: list[str] = []

    def meanwhile(seconds: float) -> None:
        if not moments:
            later = timezone.now()
            told(event("ContactDelete", ghl.contact_id(0), later))
            told(event("ContactDelete", ghl.contact_id(620), later))
            told(event("ContactUpdate", ghl.contact_id(630), later, **fields("by webhook")))
            told(event("ContactCreate", "brandNew", later, **fields("new person")))
            moments.append("now")

    ghl.fail_at("search", ghl.calls["search"] + 2, "503")
    with waiting_by(_Meanwhile(meanwhile)):
        assert sync()[0] == 0
    assert moments
    # The one page was stored already, the other one comes and still has it.
    assert contact(ghl.contact_id(0)).state == "gone"
    assert contact(ghl.contact_id(620)).state == "gone"
    assert contact(ghl.contact_id(630)).person_id == "by webhook"
    assert contact("brandNew").person_id == "new person"
    assert numbers(assessed(timezone.now()))[0] == 639


class _Meanwhile(Clock):
    def __init__(self, action: Any) -> None:
        super().__init__()
        self._action = action

    def pause(self, seconds: float) -> None:
        super().pause(seconds)
        self._action(seconds)


def test_settings_that_came_later_reach_contacts_that_a_webhook_told_of(
    ghl: World, now: dt.datetime, settings: Settings
) -> None:
    settings.GOHIGHLEVEL_PERSON_FIELD = ""
    told(event("ContactUpdate", ghl.contact_id(3), now, email=ghl.email(3)))
    ContactMapping.objects.update(heard_at=now - HOUR)
    settings.GOHIGHLEVEL_PERSON_FIELD = PERSON_FIELD
    sync()
    assert contact(ghl.contact_id(3)).person_id == ghl.person_id(3)


def test_by_email_only_who_is_alone_with_it_is_mapped(ghl: World) -> None:
    person("p1", ghl.email(1))
    person("p2", ghl.email(2).upper())
    ghl.change(4, email=ghl.email(2))
    sync()
    assert contact(ghl.contact_id(1)).person_id == "p1"
    assert {contact(ghl.contact_id(number)).state for number in (2, 4)} == {"ambiguous"}
    contacts, mapped, unmatched, ambiguous = numbers(assessed(timezone.now()))
    assert (contacts, mapped, unmatched, ambiguous) == (640, 214 + 1, 423, 2)


# ── one at a time ───────────────────────────────────────────────────────────


def test_while_a_run_is_alive_another_says_so_and_asks_nobody(ghl: World, now: dt.datetime) -> None:
    assert claim(LOCATION_ID, now - MINUTE) is not None
    assert sync() == (0, "GOHIGHLEVEL OK - a sync is running already\n")
    assert not ghl.calls
    assert "A sync is under way" in assessed(now).facts
    assert "A sync is under way" not in assessed(now + 2 * MINUTE).facts


def test_of_two_that_find_a_dead_run_one_takes_it_over(now: dt.datetime) -> None:
    dead = claim(LOCATION_ID, now - HOUR)
    assert dead is not None
    seen = SyncRun.objects.get(pk=dead.pk)
    taken = claim(LOCATION_ID, now)
    assert taken is not None
    assert (taken.pk, taken.resumed) == (dead.pk, 1)
    assert claim(LOCATION_ID, now) is None
    assert take_over(seen, now) is None


def test_a_dead_run_of_yesterday_is_closed_and_a_new_one_begins(now: dt.datetime) -> None:
    dead = claim(LOCATION_ID, now - 25 * HOUR)
    new = claim(LOCATION_ID, now)
    assert dead is not None and new is not None
    assert new.pk != dead.pk
    dead.refresh_from_db()
    assert (dead.result, dead.finished_at) == ("failed", now)


def test_taking_a_run_over_does_not_make_it_younger(now: dt.datetime) -> None:
    dead = claim(LOCATION_ID, now - 25 * HOUR)
    taken = claim(LOCATION_ID, now - 2 * HOUR)
    assert dead is not None and taken is not None
    assert (taken.pk, taken.resumed) == (dead.pk, 1)
    # Stopped or dead, it is not gone on with a day after it began.
    stopped = SyncRun.objects.filter(pk=dead.pk)
    stopped.update(finished_at=now, result="failed", state="unavailable", cursor=[1])
    new = claim(LOCATION_ID, now)
    assert new is not None and new.pk != dead.pk
    SyncRun.objects.filter(pk=new.pk).delete()
    stopped.update(finished_at=None, result="", state="")
    new = claim(LOCATION_ID, now)
    assert new is not None and new.pk != dead.pk


def test_a_run_that_was_taken_over_stops_at_its_next_page_and_leaves_no_trace(
    ghl: World,
) -> None:
    def meanwhile(seconds: float) -> None:
        run = newest_run()
        if not run.resumed:
            age(run, 3 * MINUTE)
            assert claim(LOCATION_ID, timezone.now()) is not None

    ghl.fail_at("search", 3, "503")
    with waiting_by(_Meanwhile(meanwhile)):
        exit_code, text = sync()
    assert (exit_code, "took this run over" in text) == (1, True)
    assert ContactMapping.objects.count() == 200
    run = newest_run()
    assert (run.finished_at, run.pages) == (None, 2)
    age(run, 3 * MINUTE)
    ghl.meter.most = 100
    assert sync()[0] == 0
    exactly(ghl)


def test_a_page_that_comes_after_the_takeover_is_not_stored(
    ghl: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = client.search_contacts

    def slow(location_id: str, after: Any, limit: int) -> client.Reply:
        reply = search(location_id, after, limit)
        run = newest_run()
        if run.pages == 3 and not run.resumed:
            age(run, 3 * MINUTE)
            assert claim(LOCATION_ID, timezone.now()) is not None
        return reply

    monkeypatch.setattr(client, "search_contacts", slow)
    assert sync()[0] == 1
    assert ContactMapping.objects.count() == 300
    assert newest_run().pages == 3


@pytest.mark.django_db(transaction=True)
def test_killed_in_the_middle_it_goes_on_from_the_last_page(ghl: World, running: Simulator) -> None:
    ghl.meter.most = 100
    ghl.fail_at("search", 4, "hang")
    process = subprocess.Popen(
        [sys.executable, "manage.py", "sync_gohighlevel"],
        cwd=django_settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": database_url(),
            "GOHIGHLEVEL_API_URL": running.url,
            "GOHIGHLEVEL_TOKEN": ghl.token,
            "GOHIGHLEVEL_LOCATION_ID": LOCATION_ID,
            "GOHIGHLEVEL_PERSON_FIELD": PERSON_FIELD,
        },
    )
    wait_for(lambda: ghl.calls["search"] == 4, "the call that hangs")
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = newest_run()
    assert (run.pages, run.seen, run.finished_at) == (3, 300, None)
    assert numbers(assessed(timezone.now())) == (0, 0, 0, 0)
    assert sync() == (0, "GOHIGHLEVEL OK - a sync is running already\n")
    age(run, 3 * MINUTE)
    assert sync()[0] == 0
    run.refresh_from_db()
    assert (run.pages, run.seen, run.created, run.resumed) == (7, 640, 640, 1)
    exactly(ghl)


# ── what stays here ─────────────────────────────────────────────────────────


def test_nothing_personal_is_stored_logged_or_printed(
    ghl: World, caplog: pytest.LogCaptureFixture, now: dt.datetime
) -> None:
    caplog.set_level(logging.DEBUG)
    for call, fault in enumerate(["malformed", "422"], start=2):
        ghl.fail_at("search", call, fault)
    printed = [sync("-v2")[1] for _ in range(3)]
    about = {name: value for name, value in ghl.contact(1).items() if name != "id"}
    told(event("ContactUpdate", ghl.contact_id(1), now, **about))
    told({**event("ContactCreate", at=now), "data": ghl.contact(2)})
    kept = everything_stored() + caplog.text + "".join(printed)
    assert not PERSONAL.search(kept)
    assert "patients.example.com" not in kept
    assert ghl.token not in kept


def test_progress_is_told_to_whoever_watches(ghl: World) -> None:
    ghl.size = 1500
    ghl.meter.most = 100
    text = sync("-v2")[1]
    assert text.splitlines()[0] == "1,000 of 1,500 contacts"
    assert len(sync()[1].splitlines()) == 1


def test_the_order_of_the_statements_does_not_matter_to_the_numbers(ghl: World) -> None:
    """A recount from nothing gives what the runs and webhooks have arrived at."""
    sync()
    told(event("ContactDelete", ghl.contact_id(3), timezone.now()))
    told(event("ContactCreate", "twin", timezone.now(), **fields(ghl.person_id(6))))
    before = numbers(assessed(timezone.now()))
    assert before == (640, 211 + 1, 426, 2)
    with storage.locked(LOCATION_ID):
        match_all(LOCATION_ID)
    assert numbers(assessed(timezone.now())) == before


def test_each_probe_of_the_command_leaves_a_row(ghl: World) -> None:
    ghl.fail_next("location", "503", "429")
    assert sync()[0] == 0
    rows = LocationCheck.objects.order_by("pk").values_list("state", "trigger")
    assert list(rows) == [
        ("unavailable", "command"),
        ("throttled", "command"),
        ("ok", "command"),
    ]
