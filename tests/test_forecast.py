"""When a person must sign in again: three clocks, told in stages; and renewals that are at risk."""

import datetime as dt
import random
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from integrations.alerts.forecasts import foresee
from integrations.base import Assessment
from integrations.levels import Level
from integrations.models import Alert, IntegrationStatus, Recipient
from quickbooks import grants
from quickbooks.forecast import end_of
from quickbooks.integration import QuickBooks
from quickbooks.models import GrantState, OAuthToken, TokenRefresh
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import add_check, check, connect, links_of, text_of

pytestmark = pytest.mark.django_db

NOON = dt.datetime(2026, 3, 4, 12, 0, tzinfo=dt.UTC)
SECOND, HOUR, DAY = dt.timedelta(seconds=1), dt.timedelta(hours=1), dt.timedelta(days=1)
FIVE_YEARS = 1825 * DAY


@pytest.fixture(autouse=True)
def owner(settings: Settings) -> Recipient:
    settings.TIME_ZONE = "UTC"
    return Recipient.objects.create(name="Owner", key="owner", email="owner@clinic.example")


def company(realm_id: str = HARBOUR, **values: Any) -> OAuthToken:
    """A live grant of this installation, with an hour left of its access token."""
    known: dict[str, Any] = {
        "company_name": "Harbour Physio",
        "state": GrantState.LIVE,
        "generation": 1,
        "client_id": "demo-client-id",
        "environment": "sandbox",
        "site_url": "http://127.0.0.1:8000",
        "access_expires_at": NOON + HOUR,
    }
    return OAuthToken.objects.create(realm_id=realm_id, **{**known, **values})


def ends(**clocks: dt.datetime) -> None:
    OAuthToken.objects.filter(realm_id=HARBOUR).update(**clocks)


def told() -> list[str]:
    """The occasions of the messages, oldest first: "14:2026-03-18"."""
    keys = Alert.objects.order_by("queued_at", "id").values_list("key", flat=True)
    return [key.removeprefix(f"forecast:quickbooks:{HARBOUR}:") for key in keys]


def stages() -> list[int]:
    return [int(occasion.partition(":")[0]) for occasion in told()]


def card(now: dt.datetime) -> Assessment:
    return QuickBooks().assess(now, [HARBOUR])[0]


# ── the three clocks ────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("rolling", "hard", "access", "by", "reason"),
    [
        (20 * DAY, FIVE_YEARS, HOUR, 20 * DAY, "100 days"),
        (99 * DAY, 12 * DAY, HOUR, 12 * DAY, "five years"),
        # Intuit lets the rolling clock never show more than the hard one, and rounds both.
        (12 * DAY - SECOND, 12 * DAY, HOUR, 12 * DAY - SECOND, "five years"),
        (20 * DAY, None, HOUR, 20 * DAY, "100 days"),
        (None, 20 * DAY, HOUR, 20 * DAY, "five years"),
        (20 * DAY, FIVE_YEARS, -HOUR, 20 * DAY, "100 days"),
        # Nothing is left to renew it with: what counts is the rest of its hour.
        (-DAY, FIVE_YEARS, HOUR / 2, HOUR / 2, "100 days"),
        (99 * DAY, -SECOND, HOUR / 2, HOUR / 2, "five years"),
        (-DAY, FIVE_YEARS, -HOUR, None, ""),
        (None, None, HOUR, None, ""),
    ],
)
def test_the_clock_that_runs_out_first_counts(
    rolling: dt.timedelta | None,
    hard: dt.timedelta | None,
    access: dt.timedelta,
    by: dt.timedelta | None,
    reason: str,
) -> None:
    end = end_of(
        company(
            refresh_expires_at=None if rolling is None else NOON + rolling,
            hard_expires_at=None if hard is None else NOON + hard,
            access_expires_at=NOON + access,
        ),
        NOON,
    )
    if by is None:
        assert end is None
    else:
        assert end is not None
        assert end.by == NOON + by
        assert reason in end.reason


@pytest.mark.parametrize(
    "values",
    [
        {"state": GrantState.REJECTED},
        {"state": GrantState.LOST},
        {"state": GrantState.DISCONNECTED},
        {"client_id": "another-app"},
        {"site_url": "https://original.example"},
    ],
)
def test_a_grant_that_is_no_use_has_no_forecast(values: dict[str, Any]) -> None:
    row = company(hard_expires_at=NOON + 5 * DAY, **values)
    assert end_of(row, NOON) is None
    assert QuickBooks().forecasts(NOON) == []
    assert not any("sign in again" in fact for fact in card(NOON).facts)
    assert foresee(NOON) == 0


def test_what_is_foreseen_is_told_in_plain_words() -> None:
    company(refresh_expires_at=NOON + 99 * DAY, hard_expires_at=NOON + 12 * DAY)
    (found,) = QuickBooks().forecasts(NOON)
    assert (found.account, found.name, found.by) == (HARBOUR, "Harbour Physio", NOON + 12 * DAY)
    assert found.reason == "QuickBooks asks for a new sign-in every five years"
    assert found.explanation.title == "QuickBooks needs a new sign-in by Monday, March 16"
    assert "choose Harbour Physio" in found.explanation.next_step
    assert found.explanation.fix_url.endswith(f"/quickbooks/fix/?realm={HARBOUR}")
    ends(hard_expires_at=NOON + 31 * DAY)
    assert QuickBooks().forecasts(NOON) == []


@pytest.mark.parametrize(
    ("left", "fact"),
    [
        (30 * DAY, "A person must sign in again by April 3, in 30 days"),
        (12 * DAY, "A person must sign in again by March 16, in 12 days"),
        (DAY, "A person must sign in again by 12:00 pm tomorrow"),
        (3 * HOUR, "A person must sign in again by 3:00 pm today"),
        (31 * DAY, ""),
    ],
)
def test_the_card_says_by_when_and_in_how_many_days(left: dt.timedelta, fact: str) -> None:
    company(hard_expires_at=NOON + left)
    add_check(checked_at=NOON)
    assert [f for f in card(NOON).facts if "sign in again" in f] == ([fact] if fact else [])
    assert card(NOON).metrics["reauthorize_by"] == NOON + left


def test_the_page_that_the_message_leads_to_says_so_and_has_the_button(
    staff_client: Client, now: dt.datetime
) -> None:
    company(hard_expires_at=now + 12 * DAY, access_expires_at=now + HOUR)
    add_check(checked_at=now)
    page = staff_client.get("/quickbooks/fix/", {"realm": HARBOUR})
    assert "in 12 days. Any day before will do." in text_of(page)
    assert links_of(page)["Sign in again"] == f"/quickbooks/connect/?realm={HARBOUR}"
    ends(hard_expires_at=now + 31 * DAY)
    page = staff_client.get("/quickbooks/fix/", {"realm": HARBOUR})
    assert "Nothing to do." in text_of(page)
    assert "Sign in again" not in links_of(page)


# ── the stages ──────────────────────────────────────────────────────────────
def test_a_rolling_clock_that_nothing_winds_up_is_told_five_times_in_120_days() -> None:
    company(refresh_expires_at=NOON + 100 * DAY, hard_expires_at=NOON + FIVE_YEARS)
    days = []
    for hours in range(0, 120 * 24, 3):
        now = NOON + hours * HOUR
        if foresee(now):
            days.append(round((now - NOON) / DAY))
    assert days == [70, 86, 93, 97, 99]
    assert stages() == [30, 14, 7, 3, 1]


def test_over_five_years_of_renewals_nobody_hears_of_anything_but_the_last_thirty_days() -> None:
    company()
    hard, days = NOON + FIVE_YEARS, []
    for day in range(FIVE_YEARS // DAY + 10):
        now = NOON + day * DAY
        rolling = min(now + 101 * DAY, hard) - (day % 3) * SECOND  # a renewal
        over = min(now, hard) + HOUR
        ends(refresh_expires_at=rolling, hard_expires_at=hard, access_expires_at=over)
        if foresee(now):
            days.append(day)
    assert days == [1795, 1811, 1818, 1822, 1824]
    assert {alert.facts["lines"][0] for alert in Alert.objects.all()} == {
        "Why: QuickBooks asks for a new sign-in every five years."
    }


@pytest.mark.parametrize("seed", range(5))
def test_a_day_that_trembles_is_told_no_oftener(seed: int) -> None:
    chance = random.Random(seed)
    company(refresh_expires_at=NOON + 99 * DAY)
    for hours in range(0, 40 * 24, 6):
        now = NOON + hours * HOUR
        ends(hard_expires_at=NOON + 40 * DAY + chance.uniform(-1, 1) * DAY)
        foresee(now)
    assert stages() == [30, 14, 7, 3, 1]


@pytest.mark.parametrize("clock", ["refresh_expires_at", "hard_expires_at"])
def test_a_new_end_begins_anew(clock: str) -> None:
    """Signed in again, or renewed at last, with six days left."""
    company()
    ends(**{clock: NOON + 40 * DAY})
    for day in range(160):
        now = NOON + day * DAY
        if day == 34:
            ends(**{clock: now + 100 * DAY})
        foresee(now)
    assert stages() == [30, 14, 7, 30, 14, 7, 3, 1]


def test_an_installation_that_starts_late_is_not_told_of_what_has_passed() -> None:
    company(hard_expires_at=NOON + 5 * DAY)
    for hours in range(5 * 24):
        foresee(NOON + hours * HOUR)
    assert stages() == [7, 3, 1]


def test_the_message_says_it_all() -> None:
    company(hard_expires_at=NOON + 14 * DAY)
    assert foresee(NOON) == 1
    alert = Alert.objects.get()
    assert (alert.kind, alert.incident, alert.due_at) == ("forecast", None, NOON)
    assert alert.facts == {
        "subject": "Harbour Physio: QuickBooks needs a new sign-in by Wednesday, March 18",
        "title": "QuickBooks needs a new sign-in by Wednesday, March 18",
        "impact": "Payment tracking works until then, and stops if nobody has signed in.",
        "next_step": "Sign in as a QuickBooks administrator and choose Harbour Physio. "
        "About two minutes, on any day before.",
        "url": f"http://127.0.0.1:8000/quickbooks/fix/?realm={HARBOUR}",
        "lines": ["Why: QuickBooks asks for a new sign-in every five years."],
    }


def test_quiet_hours_hold_it(settings: Settings) -> None:
    settings.QUIET_HOURS = "22:00-07:00"
    company(hard_expires_at=NOON + 14 * DAY)
    night = NOON.replace(hour=23)
    assert foresee(night) == 1
    assert Alert.objects.get().due_at == NOON.replace(hour=7) + DAY


def test_it_goes_to_whose_business_it_is(owner: Recipient) -> None:
    people: dict[str, dict[str, Any]] = {
        "it": {"wants": "administrator"},
        "clinic": {"wants": "clinic"},
        "northside": {"wants": "clinic", "accounts": [NORTHSIDE]},
        "jane": {"wants": "everything", "integrations": ["jane"]},
    }
    for name, values in people.items():
        Recipient.objects.create(name=name, key=name, email=f"{name}@clinic.example", **values)
    company(hard_expires_at=NOON + 14 * DAY)
    assert foresee(NOON) == 2
    assert set(Alert.objects.values_list("recipient__name", flat=True)) == {"Owner", "clinic"}


def test_a_paused_company_is_told_of_afterwards() -> None:
    company(hard_expires_at=NOON + 10 * DAY)
    IntegrationStatus.objects.create(
        integration="quickbooks",
        account=HARBOUR,
        name="Harbour Physio",
        level="healthy",
        state="ok",
        since=NOON,
        checked_at=NOON,
        paused_until=NOON + DAY,
    )
    assert foresee(NOON) == 0
    assert foresee(NOON + DAY) == 1
    assert stages() == [14]


def test_companies_are_told_of_each_by_itself() -> None:
    company(hard_expires_at=NOON + 14 * DAY)
    company(NORTHSIDE, company_name="Northside Physio", hard_expires_at=NOON + 3 * DAY)
    assert (foresee(NOON), foresee(NOON + HOUR)) == (2, 0)
    subjects = {alert.facts["subject"].partition(":")[0] for alert in Alert.objects.all()}
    assert subjects == {"Harbour Physio", "Northside Physio"}


def test_a_thousand_companies_with_nothing_to_foresee_cost_one_statement(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(1000):
        realm_id = str(4620816365290000000 + number)
        company(
            realm_id,
            refresh_expires_at=NOON + 99 * DAY,
            hard_expires_at=NOON + FIVE_YEARS,
        )
    with django_assert_num_queries(1):
        assert foresee(NOON) == 0


# ── with Intuit ─────────────────────────────────────────────────────────────
@pytest.mark.django_db(transaction=True)
def test_the_clocks_that_intuit_tells_lead_to_five_messages(
    simulator: Simulator, world: World, now: dt.datetime
) -> None:
    """Renewed once a day until the hard end, which comes after 120 days here."""
    clock = [now]
    world.now = lambda: clock[0].timestamp()
    world.hard_seconds = 120 * DAY.total_seconds()
    grants.connect(
        HARBOUR, world.new_code(HARBOUR, "http://127.0.0.1:8000/quickbooks/callback/"), None, now
    )
    days = []
    for day in range(1, 120):
        clock[0] = now + day * DAY
        assert check(now=clock[0]).ok
        if foresee(clock[0]):
            days.append(day)
    assert days == [90, 106, 113, 117, 119]
    reasons = {alert.facts["lines"][0] for alert in Alert.objects.all()}
    assert reasons == {"Why: QuickBooks asks for a new sign-in every five years."}


@pytest.fixture
def expiring(simulator: Simulator, world: World, now: dt.datetime) -> World:
    """Connected, with a minute left of the access token: every check wants to renew it."""
    connect(world, age=HOUR - dt.timedelta(minutes=1))
    return world


def fail_once(world: World, fault: str, now: dt.datetime) -> None:
    world.set_fault("token", fault)
    assert check(now=now).ok
    OAuthToken.objects.update(lease_until=None)  # as if it had run out by itself


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("fault", "outcome"), [("invalid_client", "app keys rejected"), ("status_503", "no readable")]
)
def test_three_renewals_in_a_row_without_success_are_said_while_it_still_works(
    expiring: World, now: dt.datetime, staff_client: Client, fault: str, outcome: str
) -> None:
    for number in range(2):
        fail_once(expiring, fault, now + number * SECOND)
        assert card(now).level is Level.HEALTHY
        assert foresee(now) == 0
    fail_once(expiring, fault, now + 2 * SECOND)

    found = card(now + 3 * SECOND)
    assert (found.level, found.state) == (Level.WARNING, "ok")
    assert found.title == "Works today, but renewing fails."
    assert (found.who_acts, found.alarming) == ("administrator", False)
    assert found.since is None
    assert found.action is not None
    assert found.action.label == "Send to IT"
    assert "Works today, but renewing fails." in text_of(staff_client.get("/dashboard/"))
    status = staff_client.get("/api/admin/quickbooks/connection-status").json()
    assert (status["diagnosis"]["code"], status["status"]) == ("ok", "healthy")

    assert (foresee(now + 3 * SECOND), foresee(now + 4 * SECOND)) == (1, 0)
    facts = Alert.objects.get().facts
    assert facts["subject"] == "Harbour Physio: QuickBooks works today, but renewing fails"
    assert outcome in facts["lines"][0]
    assert OAuthToken.objects.get().state == GrantState.LIVE


@pytest.mark.django_db(transaction=True)
def test_a_success_ends_it_and_the_next_spell_is_told_again(
    expiring: World, now: dt.datetime
) -> None:
    for number in range(3):
        fail_once(expiring, "invalid_client", now + number * SECOND)
    assert foresee(now + 3 * SECOND) == 1
    expiring.clear_faults()
    assert check(now=now + 4 * SECOND).refreshed
    assert card(now + 5 * SECOND).level is Level.HEALTHY
    assert foresee(now + 5 * SECOND) == 0
    later = now + HOUR - dt.timedelta(minutes=1)
    for number in range(3):
        fail_once(expiring, "invalid_client", later + number * SECOND)
    assert foresee(later + 3 * SECOND) == 1
    assert told() == ["renewing-1", "renewing-2"]


@pytest.mark.django_db(transaction=True)
def test_when_it_works_no_longer_the_diagnosis_speaks(expiring: World, now: dt.datetime) -> None:
    for number in range(3):
        fail_once(expiring, "invalid_client", now + number * SECOND)
    check(now=now + 15 * dt.timedelta(minutes=1))
    found = card(now + 16 * dt.timedelta(minutes=1))
    assert (found.level, found.state) == (Level.CRITICAL, "app_credentials_rejected")
    assert foresee(now + 16 * dt.timedelta(minutes=1)) == 0


def test_only_the_administrator_hears_of_renewals_at_risk(owner: Recipient) -> None:
    Recipient.objects.create(name="It", key="it", email="it@clinic.example", wants="administrator")
    Recipient.objects.filter(pk=owner.pk).update(wants="clinic")
    company()
    add_check(checked_at=NOON)
    for minute in range(3):
        TokenRefresh.objects.create(
            realm_id=HARBOUR,
            purpose=TokenRefresh.Purpose.REFRESH,
            generation=1,
            started_at=NOON + minute * SECOND,
            finished_at=NOON + minute * SECOND,
            outcome="not_sent",
            intuit_tid="1-a-tid" if minute == 2 else "",
        )
    assert foresee(NOON) == 1
    alert = Alert.objects.get()
    assert alert.recipient.name == "It"
    assert alert.facts["lines"] == [
        "Why: The last three renewals failed (not sent).",
        "For support: 1-a-tid",
    ]


@pytest.mark.parametrize(
    "journal",
    [
        [("not_sent", 1), ("not_sent", 1)],
        [("not_sent", 1), ("not_sent", 1), ("same", 1)],
        [("same", 1), ("not_sent", 2), ("not_sent", 2)],
        [("not_sent", 0), ("not_sent", 1), ("not_sent", 1)],
        [("not_sent", 1), ("not_sent", 1), ("", 1)],
    ],
)
def test_less_than_three_in_a_row_is_nothing(journal: list[tuple[str, int]]) -> None:
    company(generation=journal[-1][1])
    add_check(checked_at=NOON)
    for number, (outcome, generation) in enumerate(journal):
        at = NOON + number * SECOND
        TokenRefresh.objects.create(
            realm_id=HARBOUR,
            purpose=TokenRefresh.Purpose.REFRESH,
            generation=generation,
            started_at=at,
            finished_at=at if outcome else None,
            outcome=outcome,
        )
    assert card(NOON).level is Level.HEALTHY
    assert QuickBooks().forecasts(NOON) == []


def test_the_cards_cost_as_many_statements_as_before(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    company(hard_expires_at=NOON + 3 * DAY)
    add_check(checked_at=NOON)
    with django_assert_num_queries(3):
        QuickBooks().assess(NOON)
