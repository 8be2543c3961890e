"""The score and the aggregates: counted by hand here, by two databases there."""

import datetime as dt

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries, Settings

from integrations.levels import Level
from quickbooks import figures
from quickbooks.diagnosis import TRANSIENT, Code
from quickbooks.health import (
    CELLS,
    Score,
    Spell,
    counted,
    level_of,
    scores,
    spells,
    summarize,
    window_start,
)
from quickbooks.models import ConnectionHealthCheck
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import add_check

# A time of day that is a whole number of slices, so that a slice begins at each half hour.
NOW = dt.datetime(2026, 11, 22, 9, 30, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)


def made(minutes_ago: float, code: str = "ok", realm_id: str = HARBOUR, **more: object) -> None:
    add_check(realm_id, checked_at=NOW - minutes_ago * MINUTE, diagnosis=code, **more)


# ── score ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("successes", "checks", "value"),
    [
        (95, 96, 99.0),
        (84, 96, 87.5),
        (1, 3, 33.3),
        (2, 3, 66.7),
        (0, 5, 0.0),
        (5, 5, 100.0),
        (1999, 2000, 100.0),
        (0, 0, None),
    ],
)
def test_a_score_is_successes_of_checks_to_one_decimal(
    successes: int, checks: int, value: float | None
) -> None:
    assert Score(checks=checks, successes=successes).value == value


def test_a_score_names_its_counts() -> None:
    assert str(Score(checks=96, successes=84)) == "87.5 % (84 of 96)"
    assert str(Score()) == "no checks yet"


@pytest.mark.django_db
def test_it_counts_the_window_and_nothing_around_it() -> None:
    made(0)
    made(1, "timeout")
    made(24 * 60 - 1, "throttled")
    made(24 * 60, "timeout")  # a day ago to the second: no longer
    made(24 * 60 + 1, "timeout")
    made(-1, "timeout")  # somebody's clock is ahead
    score = scores([HARBOUR], NOW)[HARBOUR]
    assert (score.checks, score.successes, score.value) == (3, 1, 33.3)


@pytest.mark.django_db
def test_the_window_is_a_setting(settings: Settings) -> None:
    settings.HEALTH_WINDOW_HOURS = 2
    made(119)
    made(121, "timeout")
    assert window_start(NOW) == NOW - 2 * HOUR
    assert scores([HARBOUR], NOW)[HARBOUR].value == 100


@pytest.mark.django_db
def test_repeats_that_only_confirm_count_nowhere() -> None:
    made(10)
    made(5, "timeout", confirming=True)
    assert scores([HARBOUR], NOW)[HARBOUR].checks == 1
    assert summarize(counted(window_start(NOW), NOW)).checks == 1


@pytest.mark.django_db
def test_every_company_has_its_own_score_in_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    made(1)
    made(2, "timeout")
    made(3, realm_id=NORTHSIDE)
    made(4, realm_id="3")
    with django_assert_num_queries(1):
        found = scores([HARBOUR, NORTHSIDE, "2"], NOW)
    assert {realm_id: score.value for realm_id, score in found.items()} == {
        HARBOUR: 50.0,
        NORTHSIDE: 100.0,
        "2": None,
    }


@pytest.mark.django_db
def test_no_company_makes_no_trouble() -> None:
    assert scores([], NOW) == {}


@pytest.mark.django_db
def test_the_slices_add_up_to_the_score() -> None:
    made(0)  # the very end still belongs to the last slice
    made(29, "timeout")
    made(31)
    made(24 * 60 - 0.1)  # the very beginning to the first
    score = scores([HARBOUR], NOW)[HARBOUR]
    assert CELLS == 48
    assert score.cells == {0: (1, 1), 46: (1, 1), 47: (2, 1)}
    assert sum(checks for checks, _ in score.cells.values()) == score.checks == 4


@pytest.mark.django_db
def test_slices_are_right_across_the_change_of_the_clocks(settings: Settings) -> None:
    settings.TIME_ZONE = "America/Vancouver"
    for hours in range(24):
        made(60 * hours + 15)
    score = scores([HARBOUR], NOW)[HARBOUR]
    assert score.cells == {47 - 2 * hours: (1, 1) for hours in range(24)}


# ── aggregates ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db
def test_a_summary_counts_failures_by_diagnosis_the_most_frequent_first(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for latency in range(1, 101):
        made(latency, latency_ms=latency * 10)
    for _ in range(3):
        made(5, "timeout", latency_ms=10_000)
    made(5, "reconnect_required", latency_ms=None)
    with django_assert_num_queries(3):
        summary = summarize(ConnectionHealthCheck.objects.all())
    assert (summary.checks, summary.successes) == (104, 100)
    assert summary.failures == [("timeout", 3), ("reconnect_required", 1)]
    # Nearest rank among the 103 that have a latency.
    assert summary.latency_median == 520
    assert summary.latency_p95 == 980
    assert str(summary.score) == "96.2 % (100 of 104)"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("latencies", "median", "p95"),
    [([], None, None), ([None], None, None), ([7], 7, 7), ([1, 2], 2, 2), ([3, 1, 2], 2, 3)],
)
def test_quantiles_of_a_few(latencies: list[int | None], median: int, p95: int) -> None:
    for latency in latencies:
        made(1, latency_ms=latency)
    summary = summarize(ConnectionHealthCheck.objects.all())
    assert (summary.latency_median, summary.latency_p95) == (median, p95)


@pytest.mark.django_db
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-5, 200),
            st.sampled_from(["ok", "ok", "timeout", "reconnect_required"]),
            st.none() | st.integers(0, 20),
            st.booleans(),
        ),
        max_size=12,
    )
)
@example(rows=[(minutes, "ok", 7, False) for minutes in (-1, 0, 119, 120, 121)])
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_dashboard_and_the_admin_count_alike(
    rows: list[tuple[int, str, int | None, bool]],
) -> None:
    ConnectionHealthCheck.objects.all().delete()
    for minutes, code, latency, confirming in rows:
        made(minutes, code, latency_ms=latency, confirming=confirming)
    since = NOW - 2 * HOUR
    summary, totals = summarize(counted(since, NOW)), figures.totals(since, NOW)
    inside = [code for minutes, code, _, confirms in rows if 0 <= minutes < 120 and not confirms]
    assert summary.checks == totals.checks == len(inside)
    assert summary.successes == totals.successes == inside.count("ok")
    assert summary.latency_median == totals.latency_median
    assert summary.latency_p95 == totals.latency_p95


@pytest.mark.django_db
def test_it_knows_when_cron_last_asked() -> None:
    made(70, trigger="command")
    made(10, trigger="dashboard")
    assert figures.last_scheduled_check(NOW - 24 * HOUR) == NOW - 70 * MINUTE
    assert figures.last_scheduled_check(NOW - HOUR) is None


# ── spells ────────────────────────────────────────────────────────────────────────────────────
def test_checks_of_one_diagnosis_in_a_row_are_one_spell() -> None:
    told = ["ok", "ok", "timeout", "timeout", "timeout", "ok"]
    found = spells((NOW + number * MINUTE, code) for number, code in enumerate(told))
    assert found == [
        Spell("ok", NOW + 5 * MINUTE, NOW + 5 * MINUTE, 1),
        Spell("timeout", NOW + 2 * MINUTE, NOW + 4 * MINUTE, 3),
        Spell("ok", NOW, NOW + MINUTE, 2),
    ]
    assert [spell.level for spell in found] == [Level.HEALTHY, Level.WARNING, Level.HEALTHY]
    assert spells([]) == []


def test_a_spell_of_another_version_has_an_unknown_level() -> None:
    assert Spell("no_longer_known", NOW, NOW, 1).level is Level.UNKNOWN


# ── levels that grow ──────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("code", list(Code))
@pytest.mark.parametrize("minutes", [59, 60, 600])
def test_only_transient_trouble_grows_and_only_without_a_success(code: Code, minutes: int) -> None:
    grown = code in TRANSIENT and minutes >= 60
    expected = Level.CRITICAL if grown else code.level
    ago = NOW - minutes * MINUTE
    assert level_of(code, NOW, ago, None) is expected
    assert level_of(code, NOW, None, ago) is expected
    # A success counts, however long ago the connection was made.
    assert level_of(code, NOW, NOW, NOW - 99 * HOUR) is code.level
    assert level_of(code, NOW, None, None) is code.level


def test_how_long_is_a_setting(settings: Settings) -> None:
    settings.CRITICAL_AFTER_MINUTES = 5
    assert level_of(Code.TIMEOUT, NOW, NOW - 5 * MINUTE, None) is Level.CRITICAL


def test_every_level_has_a_word_an_icon_and_an_exit_code() -> None:
    for one in ("label", "icon", "plugin_word", "exit_code", "severity"):
        assert len({getattr(level, one) for level in Level}) == len(Level)
