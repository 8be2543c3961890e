"""The schedule, the record of its runs, and who notices when it stands still."""

import datetime as dt
from collections.abc import Sequence

import pytest
from django.core.management import get_commands
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from config import schedule
from config.schedule import ALERTS, CHECKER, JOBS, Job
from dashboard.metrics import checker
from integrations import runs
from integrations.alerts.watcher import watch
from integrations.models import Alert, Recipient, ScheduledRun
from tests import cron

NOW = dt.datetime(2026, 11, 22, 12, 37, 20, tzinfo=dt.UTC)
NOON = NOW.replace(hour=12, minute=0, second=0)
SECOND, MINUTE, HOUR = dt.timedelta(seconds=1), dt.timedelta(minutes=1), dt.timedelta(hours=1)

RHYTHMS = st.sampled_from([1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60]).flatmap(
    lambda every: st.tuples(st.just(every), st.integers(0, every - 1))
)
MOMENTS = st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2027, 1, 1), timezones=st.just(dt.UTC))


# ── when ──────────────────────────────────────────────────────────────────────────────────────
@given(RHYTHMS, MOMENTS)
def test_the_arithmetic_is_what_cron_reads_in_the_line(
    rhythm: tuple[int, int], now: dt.datetime
) -> None:
    job = Job(name="any", every=rhythm[0], minute=rhythm[1])
    [line] = cron.lines(f"{job.expression} true")
    minute = now.replace(second=0, microsecond=0)
    coming = (minute + count * MINUTE for count in range(1, 62))
    assert job.next_run(now) == next(at for at in coming if line.is_due(at))
    assert line.is_due(job.slot(now))
    assert job.slot(now) <= now < job.next_run(now)
    every_minute = [minute - count * MINUTE for count in range(180)]
    passed = [at for at in every_minute if line.is_due(at) and at > now - 2 * HOUR]
    assert job.slots(now - 2 * HOUR, now) == sorted(passed)


@pytest.mark.parametrize(("every", "minute"), [(0, 0), (7, 0), (90, 0), (15, 15), (15, -1)])
def test_a_rhythm_that_cron_cannot_keep_is_refused(every: int, minute: int) -> None:
    with pytest.raises(ValueError, match="any"):
        Job(name="any", every=every, minute=minute)


def test_these_are_the_jobs() -> None:
    assert [(expression, *options) for expression, _, options in schedule.crontab()] == [
        ("*/15 * * * *", "check_quickbooks", "--confirm", "--quiet"),
        ("7 * * * *", "sync_gohighlevel", "--quiet"),
        ("*/15 * * * *", "check_integrations", "--quiet"),
        ("* * * * *", "send_alerts", "--quiet"),
    ]


# ── the record ────────────────────────────────────────────────────────────────────────────────
def ran(
    job: Job, *starts: dt.datetime, ok: bool = True, lasting: dt.timedelta | None = SECOND
) -> None:
    """Runs that started then. `lasting` None: they never finished."""
    ScheduledRun.objects.bulk_create(
        ScheduledRun(
            job=job.name,
            started_at=at + SECOND,
            finished_at=at + SECOND + lasting if lasting else None,
            ok=ok and lasting is not None,
        )
        for at in starts
    )


def quarters(first: dt.datetime, last: dt.datetime) -> Sequence[dt.datetime]:
    return CHECKER.slots(first - SECOND, last)


@pytest.mark.django_db
def test_a_run_is_written_down_and_forgotten_after_two_days() -> None:
    old = [NOW - 48 * HOUR - count * MINUTE for count in range(1, 251)]
    ran(ALERTS, *old)
    ran(CHECKER, *old[:5])
    for number in range(3):
        run = runs.begin(ALERTS.name, NOW + number * MINUTE)
        runs.finish(run, NOW + number * MINUTE + SECOND, ok=True)
    kept = ScheduledRun.objects.filter(job=ALERTS.name).order_by("-started_at")
    # The three, and the last one from before: without it the standstill would be forgotten.
    assert [run.started_at for run in kept] == [
        *[NOW + number * MINUTE for number in (2, 1, 0)],
        old[0] + SECOND,
    ]
    assert ScheduledRun.objects.filter(job=CHECKER.name).count() == 5


@pytest.mark.django_db
def test_the_last_good_run_is_remembered_however_long_ago() -> None:
    ran(CHECKER, NOW - 90 * HOUR)
    ran(CHECKER, *[NOW - (50 + count) * HOUR for count in range(10)], ok=False)
    runs.finish(runs.begin(CHECKER.name, NOW), NOW, ok=False)
    found = runs.review(NOW)
    assert found is not None
    assert found.good == NOW - 90 * HOUR + SECOND
    assert ScheduledRun.objects.count() == 3


@pytest.mark.django_db
def test_a_run_with_nothing_to_do_is_cheap() -> None:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        runs.finish(runs.begin(ALERTS.name, NOW), NOW, ok=True)
    statements = [q["sql"] for q in asked if "SAVEPOINT" not in q["sql"]]
    assert len(statements) == 3


# ── the dashboard's line ──────────────────────────────────────────────────────────────────────
def line(now: dt.datetime = NOW) -> str:
    shown = checker(now)
    return f"▲ {shown.sentence}" if shown.late else shown.sentence


@pytest.fixture
def alerts_go_out(db: None) -> None:
    ran(ALERTS, *ALERTS.slots(NOW - 5 * MINUTE, NOW))


@pytest.mark.usefixtures("alerts_go_out")
class TestTheLine:
    def test_all_is_well(self) -> None:
        ran(CHECKER, *quarters(NOW - 24 * HOUR, NOW))
        assert line() == "Checker ran 12:30 pm, next 12:45 pm"

    def test_a_new_installation_has_missed_nothing(self) -> None:
        ran(CHECKER, NOON + 30 * MINUTE)
        assert line() == "Checker ran 12:30 pm, next 12:45 pm"

    def test_a_run_that_is_under_way_is_a_run(self) -> None:
        ran(CHECKER, *quarters(NOW - 2 * HOUR, NOON + 15 * MINUTE))
        ran(CHECKER, NOON + 30 * MINUTE, lasting=None)
        assert line() == "Checker ran 12:30 pm, next 12:45 pm"

    def test_the_one_that_is_just_due_is_not_missed_yet(self) -> None:
        ran(CHECKER, *quarters(NOW - 2 * HOUR, NOON + 30 * MINUTE))
        quarter_to = NOON + 45 * MINUTE
        assert line(quarter_to + 30 * SECOND) == "Checker ran 12:30 pm, next 1:00 pm"
        assert "1 run missed" in line(quarter_to + 3 * MINUTE)

    def test_missed_failed_and_killed_runs_are_counted(self) -> None:
        slots = quarters(NOW - 30 * HOUR, NOW)
        ran(CHECKER, *slots[:100], *slots[103:-6], slots[-1])
        ran(CHECKER, slots[-2], ok=False)
        ran(CHECKER, slots[-3], slots[-4], lasting=None)
        ran(CHECKER, slots[-5] + 5 * MINUTE, slots[-6])  # late, but there
        assert line() == (
            "Checker ran 12:30 pm, next 12:45 pm"
            " · 3 runs missed, 1 failed, 2 broken off in the last 24 hours"
        )
        assert "missed" not in line(NOW + 25 * HOUR)

    def test_what_was_missed_before_yesterday_is_past(self) -> None:
        ran(CHECKER, NOW - 40 * HOUR, *quarters(NOW - 24 * HOUR, NOW))
        assert line() == "Checker ran 12:30 pm, next 12:45 pm"

    def test_a_standstill_is_missed_although_its_beginning_is_forgotten(self) -> None:
        ran(CHECKER, NOW - 70 * HOUR, NOON, NOON + 15 * MINUTE, NOON + 30 * MINUTE)
        assert line().endswith("next 12:45 pm · 93 runs missed in the last 24 hours")

    def test_cron_has_stopped(self) -> None:
        ran(CHECKER, *quarters(NOW - 24 * HOUR, NOON - 45 * MINUTE))
        assert line() == (
            "▲ The checker has not run for 1 h, since 11:15 am. Ask your IT person whether cron "
            "still runs · 5 runs missed in the last 24 hours"
        )

    def test_runs_that_never_succeed(self) -> None:
        ran(CHECKER, *quarters(NOW - 3 * HOUR, NOON - 45 * MINUTE))
        ran(CHECKER, *quarters(NOON - 30 * MINUTE, NOW), ok=False)
        assert line() == (
            "▲ The checker runs, but it has not come to its end since 11:15 am. Ask your IT "
            "person to look at its output · 5 runs failed in the last 24 hours"
        )

    def test_one_failure_is_no_reason_to_worry(self) -> None:
        ran(CHECKER, *quarters(NOW - 3 * HOUR, NOON + 15 * MINUTE))
        ran(CHECKER, NOON + 30 * MINUTE, ok=False)
        assert line() == ("Checker ran 12:30 pm, next 12:45 pm · 1 run failed in the last 24 hours")


@pytest.mark.django_db
def test_checks_without_alerts_are_half_a_schedule() -> None:
    """As after an update that brought the job, and nobody ran `crontab add` again."""
    ran(CHECKER, NOON + 30 * MINUTE)
    assert line() == "Checker ran 12:30 pm, next 12:45 pm"
    ran(CHECKER, NOON + 15 * MINUTE)
    assert line().startswith("▲ The checker ran 12:30 pm, but alerts are not sent: send_alerts ")


@pytest.mark.django_db
def test_the_line_costs_one_statement() -> None:
    ran(CHECKER, *quarters(NOW - 24 * HOUR, NOW))
    with CaptureQueriesContext(connection) as asked:
        checker(NOW)
    assert len(asked) == 1


# ── people are told ───────────────────────────────────────────────────────────────────────────
@pytest.fixture
def owner(db: None) -> Recipient:
    return Recipient.objects.create(name="IT", key="1", email="it@clinic.example")


def told(now: dt.datetime = NOW) -> list[str]:
    watch(now)
    return list(Alert.objects.order_by("pk").values_list("facts__subject", flat=True))


def minutes(first: dt.datetime, last: dt.datetime) -> Sequence[dt.datetime]:
    return ALERTS.slots(first - SECOND, last)


@pytest.mark.usefixtures("owner")
class TestTheWatcher:
    def test_nobody_is_told_that_all_is_well(self) -> None:
        ran(CHECKER, *quarters(NOW - 3 * HOUR, NOW))
        ran(ALERTS, *minutes(NOW - 3 * HOUR, NOW))
        with CaptureQueriesContext(connection) as asked:
            assert told() == []
        assert len(asked) == 3  # with ours

    def test_nor_before_anything_has_run(self) -> None:
        assert told() == []
        ran(ALERTS, *minutes(NOW - 3 * HOUR, NOW))
        assert told() == []  # somebody else starts the checks

    def test_checks_that_do_not_run_while_alerts_do(self) -> None:
        ran(CHECKER, *quarters(NOW - 3 * HOUR, NOON))
        ran(ALERTS, *minutes(NOW - 3 * HOUR, NOW + 3 * HOUR))
        assert told(NOON + 46 * MINUTE) == []  # the next one may be just at work
        subject = "The connections have not been checked since 12:00 pm"
        assert told(NOON + 48 * MINUTE) == [subject]
        assert told(NOON + 49 * MINUTE) == [subject]
        assert told(NOON + 3 * HOUR) == [subject]
        alert = Alert.objects.get()
        assert alert.kind == "watcher"
        assert alert.facts["lines"] == [
            "Job: check_quickbooks --confirm --quiet",
            "Last good run: 2026-11-22 12:00 UTC",
        ]
        assert alert.facts["url"] == "http://127.0.0.1:8000/dashboard/"
        assert {"title", "impact", "next_step"} < alert.facts.keys()

    def test_the_next_standstill_is_another(self) -> None:
        ran(ALERTS, *minutes(NOW - 3 * HOUR, NOW + 5 * HOUR))
        ran(CHECKER, NOON)
        assert len(told(NOON + HOUR)) == 1
        ran(CHECKER, NOON + 65 * MINUTE)
        assert len(told(NOON + 100 * MINUTE)) == 1
        assert len(told(NOON + 120 * MINUTE)) == 2

    def test_checks_that_run_and_never_come_to_an_end(self) -> None:
        ran(ALERTS, *minutes(NOW - 3 * HOUR, NOW))
        ran(CHECKER, *quarters(NOON - HOUR, NOW), lasting=None)
        assert told() == ["The connections have not been checked"]
        ScheduledRun.objects.filter(job=CHECKER.name).first().delete()  # type: ignore[union-attr]
        assert len(told(NOW + MINUTE)) == 1  # not once more when the oldest are forgotten

    def test_the_machine_was_off(self) -> None:
        ran(CHECKER, *quarters(NOON - 5 * HOUR, NOON - 3 * HOUR))
        ran(ALERTS, *minutes(NOON - 5 * HOUR, NOON - 3 * HOUR))
        started = NOON + 4 * MINUTE
        ran(ALERTS, started)
        subject = "Nothing was watched between 9:00 am and 12:04 pm"
        assert told(started + 2 * SECOND) == [subject]
        facts = Alert.objects.get().facts
        assert facts["title"] == "Nothing was watched for 3 h 4 min"
        assert facts["lines"] == [
            "Last run before: 2026-11-22 09:00 UTC",
            "First run after: 2026-11-22 12:04 UTC",
        ]
        # The checks need a quarter of an hour to be back, which is nobody's fault.
        ran(ALERTS, *minutes(started + MINUTE, NOON + 2 * HOUR))
        assert told(started + 10 * MINUTE) == [subject]
        ran(CHECKER, *quarters(NOON + 15 * MINUTE, NOON + 2 * HOUR))
        assert told(NOON + 2 * HOUR) == [subject]

    def test_if_they_do_not_come_back_that_is_told_too(self) -> None:
        ran(CHECKER, NOON - 3 * HOUR)
        ran(ALERTS, NOON - 3 * HOUR, *minutes(NOON, NOON + HOUR))
        assert len(told(NOON + 44 * MINUTE)) == 1
        assert len(told(NOON + 48 * MINUTE)) == 2

    def test_an_hour_off_is_not_worth_a_message(self) -> None:
        ran(CHECKER, NOON - 50 * MINUTE)
        ran(ALERTS, NOON - 50 * MINUTE, NOON)
        assert told(NOON + SECOND) == []

    def test_quiet_hours_hold_it(self, settings: Settings) -> None:
        settings.QUIET_HOURS = "22:00-07:00"
        night = NOON.replace(hour=3)
        ran(CHECKER, night - 3 * HOUR)
        ran(ALERTS, night - 3 * HOUR, night)
        assert len(told(night + SECOND)) == 1
        assert Alert.objects.get().due_at == night.replace(hour=7)

    def test_it_is_the_administrators_business(self, owner: Recipient) -> None:
        Recipient.objects.filter(pk=owner.pk).update(wants=Recipient.Wants.CLINIC)
        ran(CHECKER, NOON - 3 * HOUR)
        ran(ALERTS, NOON - 3 * HOUR, NOON)
        assert told(NOON + SECOND) == []


def test_every_job_of_the_schedule_is_a_command_of_ours() -> None:
    assert {job.name for job in JOBS} <= get_commands().keys()
