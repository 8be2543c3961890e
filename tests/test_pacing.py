"""The budget: a thousand companies are watched all month, and nobody is ever blocked for it."""

import datetime as dt
import random
from collections import Counter

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from integrations.models import IntegrationStatus
from quickbooks import pacing
from quickbooks.integration import QuickBooks
from quickbooks.models import ConnectionHealthCheck, GrantState, MeteredCalls, OAuthToken
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from quickbooks.words import ALLOWANCE_USED_UP
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import add_check, check, connect, run

NOVEMBER = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
QUARTER = 15 * MINUTE
ALLOWANCE = 500_000


# ── the arithmetic ────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("companies", "month", "allowance", "expected"),
    [
        (1_000, 11, ALLOWANCE, dt.timedelta(hours=2, minutes=24)),
        (1_000, 10, ALLOWANCE, dt.timedelta(hours=2, minutes=28, seconds=48)),
        (5_000, 11, ALLOWANCE, dt.timedelta(hours=12)),
        (1_000, 11, 4 * ALLOWANCE, dt.timedelta(minutes=36)),
        (104, 11, ALLOWANCE, QUARTER),
        (1, 11, ALLOWANCE, QUARTER),
        (0, 11, ALLOWANCE, QUARTER),
        (1, 11, 1_000, dt.timedelta(minutes=72)),
    ],
)
def test_the_interval_spends_three_fifths_of_the_allowance(
    companies: int, month: int, allowance: int, expected: dt.timedelta, settings: Settings
) -> None:
    settings.QUICKBOOKS_MONTHLY_ALLOWANCE = allowance
    assert pacing.interval(companies, NOVEMBER.replace(month=month)) == expected


@pytest.mark.parametrize(
    ("interval", "said"),
    [(QUARTER, "15 min"), (144 * MINUTE, "2 h 24 min"), (12 * HOUR, "12 h")],
)
def test_an_interval_is_said_in_hours_and_minutes(interval: dt.timedelta, said: str) -> None:
    assert pacing.told(interval) == said


def test_a_healthy_company_is_asked_when_its_interval_has_passed() -> None:
    def asked(every: dt.timedelta, age: dt.timedelta) -> bool:
        return pacing.choose(["1"], {"1": NOVEMBER - age}, every, NOVEMBER) == ["1"]

    assert asked(144 * MINUTE, 144 * MINUTE)
    assert not asked(144 * MINUTE, 143 * MINUTE)
    # Of exactly ten slots: the tenth run may start a little earlier than the first did.
    assert asked(150 * MINUTE, 149 * MINUTE)
    assert not asked(150 * MINUTE, 148 * MINUTE)


def test_whatever_is_not_known_to_be_healthy_is_asked_at_every_run() -> None:
    healthy = {"2": NOVEMBER - MINUTE, "3": NOVEMBER - DAY}
    assert pacing.choose(["1", "2", "3", "4"], healthy, HOUR, NOVEMBER) == ["1", "3", "4"]


@hypothesis_settings(deadline=None)
@given(st.integers(1, 20_000), st.integers(1, 12))
def test_no_number_of_companies_and_no_month_spends_more(companies: int, month: int) -> None:
    first = NOVEMBER.replace(month=month, day=1)
    month_length = (first.replace(day=28) + 4 * DAY).replace(day=1) - first.replace(day=1)
    every = pacing.interval(companies, first)
    spacing = next(
        number
        for number in range(1, 10_000)
        if pacing.choose(["1"], {"1": first - number * QUARTER}, every, first)
    )
    calls = companies * (month_length / (spacing * QUARTER))
    if every > QUARTER:
        assert calls <= 0.6 * ALLOWANCE + 1
    assert calls <= 0.61 * ALLOWANCE


# ── a month of a thousand companies ───────────────────────────────────────────────────────────
class Month:
    """Runs of the schedule, each a few seconds late, over companies that break and recover."""

    COMPANIES = 1_000
    BEGINS = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
    RUNS = 30 * 96

    def __init__(self, *, paced: bool) -> None:
        chance = random.Random(2026)
        self.calls = 0  # metered: those that succeed
        self.free = 0
        self.calls_by_day: Counter[int] = Counter()
        self.largest_run = self.longest_wait = 0
        self.blocked_on: int | None = None
        names = [str(number) for number in range(self.COMPANIES)]
        broken_until: dict[str, dt.datetime] = {}
        well: dict[str, dt.datetime] = {}
        recovering: set[str] = set()
        for number in range(self.RUNS):
            now = self.BEGINS + number * QUARTER + chance.uniform(0.8, 40) * MINUTE / 60
            every = pacing.interval(self.COMPANIES, now) if paced else QUARTER
            asked = pacing.choose(names, well, every, now) if paced else names
            if number:
                self.largest_run = max(self.largest_run, len(asked))
            for name in asked:
                # Every two months on average, for half a day on average.
                if name not in broken_until and chance.random() < 1 / (96 * 60):
                    broken_until[name] = now + chance.expovariate(2) * DAY
                if broken_until.get(name, now) > now:
                    self.free += 1
                    well.pop(name, None)
                    recovering.add(name)
                    continue
                broken_until.pop(name, None)
                self._count(now)
                if name in recovering:  # a recovery takes two
                    recovering.discard(name)
                else:
                    if name in well:
                        wait = round((now - well[name]) / MINUTE)
                        self.longest_wait = max(self.longest_wait, wait)
                    well[name] = now

    def _count(self, now: dt.datetime) -> None:
        self.calls += 1
        self.calls_by_day[now.day] += 1
        if self.calls == ALLOWANCE:
            self.blocked_on = now.day


def test_a_month_of_a_thousand_companies(capsys: pytest.CaptureFixture[str]) -> None:
    paced, unpaced = Month(paced=True), Month(paced=False)
    share = paced.calls / ALLOWANCE
    with capsys.disabled():
        print(
            f"\n1,000 companies, 30 days: {paced.calls:,} metered calls ({share:.1%} of the "
            f"allowance), {sum(paced.calls_by_day[day] for day in range(1, 8)):,} of them in the "
            f"first seven days, {paced.free:,} free ones of broken companies; at most "
            f"{paced.largest_run} in one run after the first, at most {paced.longest_wait} min "
            f"between two reads of a healthy one. Every 15 minutes: {unpaced.calls:,}, blocked "
            f"on day {unpaced.blocked_on}."
        )
    assert share <= 0.6
    assert paced.blocked_on is None
    assert sum(paced.calls_by_day[day] for day in range(1, 8)) <= ALLOWANCE * 0.6 * 7 / 30 + 1_000
    assert unpaced.blocked_on is not None
    assert unpaced.blocked_on <= 7
    # Spread out, and nobody waits for long because of that.
    assert paced.largest_run < 400
    assert paced.longest_wait <= 144 + 75


# ── which ones, from what is stored ───────────────────────────────────────────────────────────
def company(realm_id: str, *, status: dict[str, object] | None = None, **values: object) -> None:
    OAuthToken.objects.create(realm_id=realm_id, state=GrantState.LIVE, **values)
    IntegrationStatus.objects.create(
        integration="quickbooks",
        account=realm_id,
        **{
            "name": realm_id,
            "level": "healthy",
            "raw_level": "healthy",
            "state": "ok",
            "since": NOVEMBER - DAY,
            "checked_at": NOVEMBER - HOUR,
            **(status or {}),
        },
    )


@pytest.mark.django_db
def test_only_the_healthy_ones_are_spared(settings: Settings) -> None:
    settings.QUICKBOOKS_MONTHLY_ALLOWANCE = 5_000
    company("1")
    company("2", status={"checked_at": NOVEMBER - 3 * HOUR})
    company("3", status={"raw_level": "warning"})  # a blip, not yet confirmed
    company("4", status={"failing_since": NOVEMBER - HOUR})  # works again, to be made sure
    OAuthToken.objects.create(realm_id="5", state=GrantState.LIVE)  # never checked
    company("6")
    OAuthToken.objects.filter(realm_id="6").update(state=GrantState.REJECTED)  # by a renewal
    company("7")
    OAuthToken.objects.filter(realm_id="7").update(in_doubt_since=NOVEMBER)
    everyone = [str(number) for number in range(1, 8)]
    with CaptureQueriesContext(connection) as asked:
        assert pacing.due(everyone, NOVEMBER) == ["2", "3", "4", "5", "6", "7"]
    assert len(asked) == 1


def test_at_the_full_rate_nothing_is_asked_of_the_database() -> None:
    # pytest-django refuses every statement of a test that has not asked for a database.
    assert pacing.due([HARBOUR, NORTHSIDE], NOVEMBER) == [HARBOUR, NORTHSIDE]


def test_those_that_fall_due_together_are_spread_over_the_next_runs() -> None:
    names = [str(number) for number in range(1_000)]
    seen = {name: NOVEMBER - 3 * HOUR - int(name) * MINUTE / 60 for name in names}
    runs = []
    for number in range(6):
        now = NOVEMBER + number * QUARTER
        chosen = pacing.choose(names, seen, 144 * MINUTE, now)
        seen |= dict.fromkeys(chosen, now)
        runs.append(len(chosen))
    assert runs == [209, 209, 209, 209, 164, 0]


# ── the command, the card, the word for it ────────────────────────────────────────────────────
@pytest.fixture
def scarce(world: World, simulator: Simulator, settings: Settings) -> None:
    """Two companies, and an allowance that lets each be read every two hours or so."""
    settings.QUICKBOOKS_ENVIRONMENT = "production"
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5
    settings.QUICKBOOKS_CONFIRM_DELAYS = (0,)
    settings.QUICKBOOKS_MONTHLY_ALLOWANCE = 1_200
    connect(world, HARBOUR)
    connect(world, NORTHSIDE)
    world.reset_counters()


def asked_of(world: World) -> list[str]:
    found = sorted(call.realm_id for call in world.calls("api"))
    world.reset_counters()
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("scarce")
def test_the_schedule_spares_healthy_companies_and_nobody_else_does(world: World) -> None:
    both = sorted([HARBOUR, NORTHSIDE])
    code, text = run("check_quickbooks", "--confirm")
    assert (code, asked_of(world)) == (0, both)  # the first time
    code, text = run("check_quickbooks", "--confirm")
    assert (code, asked_of(world)) == (0, [])
    # What is stored is the answer.
    assert text.startswith("QUICKBOOKS OK - 2 companies: 2 OK")
    assert text.count(" answered in ") == 2

    assert run("check_quickbooks")[0] == 0
    assert asked_of(world) == both
    assert run("check_quickbooks", "--confirm", "--realm", HARBOUR)[0] == 0
    assert asked_of(world) == [HARBOUR]

    world.set_subscription(NORTHSIDE, "EXPIRED")
    check(NORTHSIDE)
    asked_of(world)
    for _ in range(2):
        code, text = run("check_quickbooks", "--confirm", "--quiet")
        assert (code, asked_of(world)) == (2, [NORTHSIDE])
    assert "Harbour" not in text
    assert ConnectionHealthCheck.objects.filter(realm_id=HARBOUR).count() == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("scarce")
def test_silence_is_judged_by_the_interval(settings: Settings) -> None:
    now = timezone.now()
    OAuthToken.objects.update(connected_at=now - DAY)
    every = pacing.interval(2, now)
    for realm_id in (HARBOUR, NORTHSIDE):
        add_check(realm_id, checked_at=now - 2 * every + MINUTE)
    assert run("check_quickbooks", "--cached")[0] == 0
    settings.QUICKBOOKS_MONTHLY_ALLOWANCE = 500_000
    assert run("check_quickbooks", "--cached")[0] == 3
    # What is broken is asked at every run, so there half an hour is a long silence.
    settings.QUICKBOOKS_MONTHLY_ALLOWANCE = 1_200
    add_check(NORTHSIDE, checked_at=now - 40 * MINUTE, diagnosis="access_denied")
    assert "Northside Physio: no check since" in run("check_quickbooks", "--cached")[1]


@pytest.mark.django_db
def test_the_card_says_which_interval_applies_and_why(settings: Settings) -> None:
    now = timezone.now()
    ours = {
        "state": GrantState.LIVE,
        "client_id": settings.QUICKBOOKS_CLIENT_ID,
        "environment": settings.QUICKBOOKS_ENVIRONMENT,
        "site_url": settings.SITE_URL,
    }
    OAuthToken.objects.bulk_create(
        OAuthToken(realm_id=str(number), **ours) for number in range(1, 1_001)
    )
    OAuthToken.objects.create(realm_id="2000", state=GrantState.DISCONNECTED)
    add_check("1", checked_at=now - MINUTE)
    add_check("2", checked_at=now - MINUTE, diagnosis="access_denied")
    every = pacing.told(pacing.interval(1_000, now))
    assert every.startswith("2 h ")
    sentence = f"Checked every {every}: 1,000 companies share this month's 500,000 calls."
    healthy, broken = QuickBooks().assess(now, ["1"])[0], QuickBooks().assess(now, ["2"])[0]
    assert sentence in healthy.facts
    assert not [fact for fact in broken.facts if fact.startswith("Checked every")]
    metric = next(m for m in QuickBooks().metrics(now) if m.label == "Interval of checks")
    assert (metric.value, metric.note) == (every, "1,000 companies, 500,000 calls a month")
    assert metric.technical

    OAuthToken.objects.exclude(realm_id="1").delete()
    assert not [f for f in QuickBooks().assess(now, ["1"])[0].facts if f.startswith("Checked")]
    metric = next(m for m in QuickBooks().metrics(now) if m.label == "Interval of checks")
    assert (metric.value, metric.note) == ("15 min", "1 company, 500,000 calls a month")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("scarce")
def test_an_allowance_that_is_used_up_is_called_so_everywhere(
    world: World, settings: Settings, staff_client: Client
) -> None:
    world.set_fault("api", "throttled")
    run("check_quickbooks", "--confirm")
    row = IntegrationStatus.objects.get(account=HARBOUR)
    assert (row.raw_state, row.needs_person) == ("throttled", False)

    MeteredCalls.objects.create(
        client_id=settings.QUICKBOOKS_CLIENT_ID,
        month=timezone.now().date().replace(day=1),
        count=settings.QUICKBOOKS_MONTHLY_ALLOWANCE,
    )
    code, text = run("check_quickbooks", "--confirm")
    assert code == 1
    assert f"Harbour Physio: {ALLOWANCE_USED_UP.title}" in text
    told = staff_client.get(f"/api/admin/quickbooks/connection-status?realm_id={HARBOUR}").json()
    assert told["diagnosis"]["code"] == "throttled"
    assert told["diagnosis"]["title"] == ALLOWANCE_USED_UP.title
    assert told["diagnosis"]["who_acts"] == "administrator"
    [card] = QuickBooks().assess(timezone.now(), [HARBOUR])
    assert (card.title, card.who_acts) == (ALLOWANCE_USED_UP.title, "administrator")
    assert IntegrationStatus.objects.get(account=HARBOUR).needs_person
