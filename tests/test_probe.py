"""The probe, end to end: Intuit's stand-in over real HTTP, the database, and what is left there."""

import datetime as dt
import json
import logging
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection
from django.test import Client
from pytest_django import Settings

from integrations import status
from integrations.levels import Level
from integrations.models import IntegrationStatus
from quickbooks.judgement import judge
from quickbooks.models import (
    ConnectionHealthCheck,
    DiscoveryDocument,
    GrantState,
    MeteredCalls,
    OAuthToken,
    ProbeClaim,
    TokenRefresh,
    Trigger,
)
from quickbooks.probe import Outcome, UnknownCompany, probe, under_way
from quickbooks.simulator.faults import FAULTS
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import PERSONAL, add_check, check, connect, stored, within

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("simulator")]

DEADLINE = 0.3
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture(autouse=True)
def patience(settings: Settings) -> None:
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5


def share(now: dt.datetime, **options: Any) -> Outcome:
    """A probe as the dashboard makes it."""
    return probe(HARBOUR, trigger=Trigger.DASHBOARD, now=now, **options)


# ── every fault ───────────────────────────────────────────────────────────────────────────────
# A fault that is added to the stand-in has to be added here as well.
OF_THE_API = {
    "token_expired": ("intuit_unavailable", 401),
    "wrong_company": ("wrong_company_or_environment", 401),
    "no_access": ("access_denied", 401),
    "not_authorized": ("wrong_company_or_environment", 403),
    "throttled": ("throttled", 429),
    "throttled_json": ("throttled", 429),
    "subscription_ended": ("subscription_ended", 400),
    "subscription_ended_xml": ("subscription_ended", 400),
    "application_error": ("intuit_unavailable", 500),
    "fault_in_200": ("intuit_unavailable", 200),
    "bad_gateway": ("intuit_unavailable", 502),
    "unavailable": ("intuit_unavailable", 503),
    "html": ("unexpected_reply", 200),
    "html_401": ("unexpected_reply", 401),
    "html_403": ("unexpected_reply", 403),
    "redirect": ("unexpected_reply", 302),
    "empty": ("unexpected_reply", 200),
    "deep_nesting": ("unexpected_reply", 200),
    "not_json": ("unexpected_reply", 200),
    "not_utf8": ("unexpected_reply", 200),
    "wrong_shape": ("unexpected_reply", 200),
    "hang": ("timeout", None),
    # Of half an answer the status may be known or not.
    "drip": ("timeout", ...),
    "slow_headers": ("timeout", ...),
    "flood": ("unexpected_reply", 200),
    "flood_length": ("unexpected_reply", 200),
    "reset": ("network_unreachable", None),
    "reset_mid_body": ("network_unreachable", 200),
    "close": ("network_unreachable", None),
    "truncated": ("unexpected_reply", 200),
    "huge_header": ("unexpected_reply", None),
    "no_status_line": ("unexpected_reply", None),
}
SLOW = {"hang", "drip", "slow_headers", "hang_after"}


def test_every_fault_of_the_stand_in_is_expected_here() -> None:
    assert set(OF_THE_API) == {f.name for f in FAULTS.values() if f.where in {"api", "any"}}
    assert set(OF_THE_TOKEN_ENDPOINT) == {
        f.name for f in FAULTS.values() if f.where in {"token", "any"}
    }


@pytest.mark.parametrize("name", OF_THE_API)
def test_a_fault_of_the_api_becomes_a_diagnosis_and_a_row_in_time(
    name: str, world: World, settings: Settings
) -> None:
    connect(world)
    settings.QUICKBOOKS_DEADLINE_SECONDS = DEADLINE if name in SLOW else 5
    world.set_fault("api", name)
    with within(settings.QUICKBOOKS_DEADLINE_SECONDS + 1):
        made = check()
    code, http_status = OF_THE_API[name]
    assert made.diagnosis == code
    assert http_status in (made.http_status, ...)
    assert not made.ok
    assert made.latency_ms is not None
    assert stored().state == GrantState.LIVE  # no answer of the API is a verdict on the grant
    assert IntegrationStatus.objects.get(account=HARBOUR).state == code
    assert not ProbeClaim.objects.exists()


# What the token endpoint does to a renewal, and what is known of the grant afterwards.
OF_THE_TOKEN_ENDPOINT = {
    "invalid_grant": ("reconnect_required", GrantState.REJECTED),
    "invalid_grant_described": ("reconnect_required", GrantState.REJECTED),
    "invalid_client": ("app_credentials_rejected", GrantState.LIVE),
    "bare_400": ("unexpected_reply", GrantState.LIVE),
    "json_400_other": ("unexpected_reply", GrantState.LIVE),
    "status_500": ("intuit_unavailable", GrantState.LIVE),
    "status_503": ("intuit_unavailable", GrantState.LIVE),
    "throttled_token": ("throttled", GrantState.LIVE),
    "lost_answer": ("network_unreachable", GrantState.LIVE),
    "hang_after": ("timeout", GrantState.LIVE),
    "garbage_after": ("unexpected_reply", GrantState.LIVE),
    "error_after": ("intuit_unavailable", GrantState.LIVE),
    "no_refresh_token": ("unexpected_reply", GrantState.LIVE),
    "hostile_keys": ("ok", GrantState.LIVE),
    "bad_gateway": ("intuit_unavailable", GrantState.LIVE),
    "unavailable": ("intuit_unavailable", GrantState.LIVE),
    "html": ("unexpected_reply", GrantState.LIVE),
    "html_401": ("unexpected_reply", GrantState.LIVE),
    "html_403": ("unexpected_reply", GrantState.LIVE),
    "redirect": ("unexpected_reply", GrantState.LIVE),
    "empty": ("unexpected_reply", GrantState.LIVE),
    "deep_nesting": ("unexpected_reply", GrantState.LIVE),
    "not_json": ("unexpected_reply", GrantState.LIVE),
    "not_utf8": ("unexpected_reply", GrantState.LIVE),
    "wrong_shape": ("unexpected_reply", GrantState.LIVE),
    "hang": ("timeout", GrantState.LIVE),
    "drip": ("timeout", GrantState.LIVE),
    "slow_headers": ("timeout", GrantState.LIVE),
    "flood": ("unexpected_reply", GrantState.LIVE),
    "flood_length": ("unexpected_reply", GrantState.LIVE),
    "reset": ("network_unreachable", GrantState.LIVE),
    "reset_mid_body": ("network_unreachable", GrantState.LIVE),
    "close": ("network_unreachable", GrantState.LIVE),
    "truncated": ("unexpected_reply", GrantState.LIVE),
    "huge_header": ("unexpected_reply", GrantState.LIVE),
    "no_status_line": ("unexpected_reply", GrantState.LIVE),
}


@pytest.mark.parametrize("name", OF_THE_TOKEN_ENDPOINT)
def test_a_fault_of_the_token_endpoint_becomes_a_diagnosis_and_a_row_in_time(
    name: str, world: World, settings: Settings, now: dt.datetime
) -> None:
    connect(world)
    settings.QUICKBOOKS_DEADLINE_SECONDS = DEADLINE if name in SLOW else 5
    world.set_fault("token", name)
    with within(settings.QUICKBOOKS_DEADLINE_SECONDS + 1):
        made = check(now=now + 31 * MINUTE)
    code, state = OF_THE_TOKEN_ENDPOINT[name]
    assert made.diagnosis == code
    assert stored().state == state
    assert len(world.calls("token")) == 1
    assert made.refreshed
    assert (made.latency_ms is None) is (code != "ok")  # without a read there is no latency of one
    assert not any(call.dead_token for call in world.calls("token"))


def test_a_hanging_api_after_a_renewal_is_over_in_time_too(
    world: World, settings: Settings, now: dt.datetime
) -> None:
    connect(world)
    settings.QUICKBOOKS_DEADLINE_SECONDS = 2 * DEADLINE  # the renewal before it has to succeed
    world.set_fault("api", "hang")
    with within(4 * DEADLINE + 1):
        made = check(now=now + 31 * MINUTE)
    assert (made.diagnosis, made.refreshed) == ("timeout", True)


# ── what a good check is ──────────────────────────────────────────────────────────────────────
def test_a_valid_access_token_makes_no_call_to_the_token_endpoint(world: World) -> None:
    connect(world)
    for _ in range(3):
        made = check()
        assert (made.ok, made.refreshed, made.diagnosis) == (True, False, "ok")
    assert [call.endpoint for call in world.calls()] == ["api"] * 3
    assert TokenRefresh.objects.filter(purpose="refresh").count() == 0


@pytest.mark.parametrize(("seconds_left", "renewals"), [(121, 0), (119, 1), (-3600, 1)])
def test_it_renews_two_minutes_ahead_and_not_before(
    world: World, now: dt.datetime, seconds_left: int, renewals: int
) -> None:
    connect(world)
    expires_at = stored().access_expires_at
    assert expires_at is not None
    made = check(now=expires_at - dt.timedelta(seconds=seconds_left))
    assert made.ok
    assert made.refreshed is bool(renewals)
    assert len(world.calls("token")) == renewals
    assert made.generation == stored().generation == 1 + renewals


def test_a_row_holds_what_support_and_the_history_need(world: World, now: dt.datetime) -> None:
    connect(world)
    made = check(now=now)
    assert (made.realm_id, made.checked_at, made.trigger) == (HARBOUR, now, "command")
    assert (made.http_status, made.fault_type, made.fault_code, made.message) == (200, "", "", "")
    assert made.intuit_tid.startswith("1-")
    assert made.latency_ms is not None
    assert 0 <= made.latency_ms < 5000
    assert (made.generation, made.confirming) == (1, False)
    world.set_fault("api", "no_access")
    made = check()
    assert (made.http_status, made.fault_type, made.fault_code) == (
        401,
        "AuthorizationFault",
        "120",
    )
    assert "-11014-You do not have access" in made.message
    assert made.intuit_tid.startswith("1-")


def test_the_latency_is_that_of_the_read(world: World, now: dt.datetime) -> None:
    connect(world)
    world.latency = 0.05
    made = check(now=now + 31 * MINUTE)  # renews as well, which takes as long again
    assert made.refreshed
    assert made.latency_ms is not None
    assert made.latency_ms >= 50
    world.latency = 0


@pytest.mark.parametrize("trigger", list(Trigger))
def test_a_row_says_what_made_it_happen(world: World, now: dt.datetime, trigger: Trigger) -> None:
    connect(world)
    probe(HARBOUR, trigger=trigger, now=now)
    assert ConnectionHealthCheck.objects.get().trigger == trigger


def test_rows_are_never_edited(world: World) -> None:
    connect(world)
    made = check()
    made.ok = False
    with pytest.raises(TypeError, match="never edited"):
        made.save()
    with pytest.raises(TypeError, match="never edited"):
        made.save(update_fields=["ok"])
    assert ConnectionHealthCheck.objects.get().ok


def test_it_learns_the_name_and_notices_when_it_changes(world: World) -> None:
    connect(world)
    OAuthToken.objects.update(company_name="")
    check()
    assert stored().company_name == "Harbour Physio"
    world.add_company(HARBOUR, "Harbour Physio & Massage")
    check()
    assert stored().company_name == "Harbour Physio & Massage"
    assert IntegrationStatus.objects.get().name == "Harbour Physio & Massage"


def test_an_ended_subscription_is_seen_although_the_read_succeeds(world: World) -> None:
    connect(world)
    check()
    before = stored().last_success_at
    world.set_subscription(HARBOUR, "SUSPENDED")
    made = check()
    assert (made.diagnosis, made.ok, made.http_status) == ("subscription_ended", False, 200)
    assert stored().last_success_at == before
    world.set_subscription(HARBOUR, "PAID")
    assert check().ok


def test_a_company_that_was_never_connected_is_unknown(now: dt.datetime) -> None:
    with pytest.raises(UnknownCompany):
        share(now)
    OAuthToken.objects.create(realm_id=HARBOUR)  # somebody is connecting it just now
    with pytest.raises(UnknownCompany):
        share(now)


def test_nothing_personal_of_the_company_is_kept_or_shown(
    world: World, caplog: pytest.LogCaptureFixture, staff_client: Client
) -> None:
    connect(world)
    caplog.set_level(logging.DEBUG)
    check()
    pages = [
        staff_client.get(url).content.decode()
        for url in (
            "/dashboard/",
            f"/dashboard/cards/quickbooks/{HARBOUR}/",
            "/dashboard/history/",
            f"/quickbooks/fix/?realm={HARBOUR}",
            "/api/admin/quickbooks/connection-status",
            "/api/admin/integrations",
        )
    ]
    assert ["Harbour Physio" in page for page in pages] == [True] * len(pages)
    rows = [
        str(list(model.objects.values()))
        for model in _all_models()
        if model._meta.app_label in {"quickbooks", "integrations"}
    ]
    for text in (*pages, *rows, caplog.text):
        assert not PERSONAL.search(text)


def _all_models() -> list[Any]:
    from django.apps import apps

    return list(apps.get_models())


# ── 3200 ──────────────────────────────────────────────────────────────────────────────────────
def test_a_refused_access_token_is_renewed_once_and_read_again(world: World) -> None:
    connect(world)
    check()
    world.expire_access_tokens()
    world.reset_counters()
    made = check()
    assert (made.ok, made.refreshed, made.generation) == (True, True, 2)
    assert [call.endpoint for call in world.calls()] == ["api", "token", "api"]
    assert TokenRefresh.objects.get(purpose="refresh").reason == "access token refused"


def test_after_a_revocation_the_dead_token_is_presented_no_more(
    world: World, now: dt.datetime
) -> None:
    connect(world)
    check(now=now)
    world.revoke_on_dead_token = True
    world.revoke_grant(HARBOUR)
    world.reset_counters()
    first = check(now=now + MINUTE)
    assert (first.diagnosis, first.ok, first.http_status) == ("reconnect_required", False, None)
    assert [call.endpoint for call in world.calls()] == ["api", "token"]
    world.reset_counters()
    for turn in range(20):
        made = check(now=now + (2 + 15 * turn) * MINUTE)
        assert made.diagnosis == "reconnect_required"
    assert world.calls() == []
    assert ConnectionHealthCheck.objects.filter(diagnosis="reconnect_required").count() == 21


def test_a_fresh_token_that_was_never_accepted_is_intuits_trouble(world: World) -> None:
    connect(world, age=dt.timedelta(0))
    world.set_fault("api", "token_expired")
    for _ in range(3):
        assert check().diagnosis == "intuit_unavailable"
    assert world.calls("token") == []
    assert stored().state == GrantState.LIVE


def test_a_fresh_token_that_was_accepted_before_may_be_renewed(world: World) -> None:
    connect(world, age=dt.timedelta(0))
    assert check().ok
    world.expire_access_tokens()
    made = check()
    assert (made.ok, made.refreshed) == (True, True)


def test_a_3200_leads_to_one_renewal_a_generation(world: World, now: dt.datetime) -> None:
    connect(world)
    check(now=now)
    world.set_fault("api", "token_expired")
    world.reset_counters()
    assert check(now=now + MINUTE).diagnosis == "intuit_unavailable"
    assert len(world.calls("token")) == 1
    for seconds in (70, 120, 240):  # the new one is unproven: a renewal would only make another
        check(now=now + dt.timedelta(seconds=seconds))
    assert len(world.calls("token")) == 1
    check(now=now + 7 * MINUTE)  # no longer fresh, and still refused
    assert len(world.calls("token")) == 2
    world.clear_faults()
    assert check(now=now + 8 * MINUTE).ok


# ── one probe for many ────────────────────────────────────────────────────────────────────────
def test_a_finished_probe_is_shared_while_it_is_young(
    world: World, now: dt.datetime, settings: Settings
) -> None:
    connect(world)
    first = share(now)
    assert not first.reused
    second = share(now + dt.timedelta(seconds=19.9))
    assert second.reused
    assert (first.check and first.check.pk) == (second.check and second.check.pk)
    third = share(now + dt.timedelta(seconds=20))
    assert not third.reused
    assert len(world.calls("api")) == 2
    assert settings.QUICKBOOKS_PROBE_REUSE_SECONDS == 20


def test_a_failed_probe_is_shared_alike(world: World, now: dt.datetime) -> None:
    connect(world)
    world.set_fault("api", "unavailable")
    share(now)
    second = share(now + MINUTE / 10)
    assert second.reused
    assert second.check is not None
    assert second.check.diagnosis == "intuit_unavailable"
    assert len(world.calls("api")) == 1


def test_nothing_is_shared_when_the_setting_is_zero(
    world: World, now: dt.datetime, settings: Settings
) -> None:
    settings.QUICKBOOKS_PROBE_REUSE_SECONDS = 0
    connect(world)
    assert not share(now).reused
    assert not share(now).reused
    assert len(world.calls("api")) == 2


def test_a_fresh_probe_is_always_new(world: World, now: dt.datetime) -> None:
    connect(world)
    share(now)
    assert not share(now, fresh=True).reused
    assert len(world.calls("api")) == 2


def test_companies_do_not_share(world: World, now: dt.datetime) -> None:
    connect(world)
    connect(world, NORTHSIDE)
    share(now)
    assert not probe(NORTHSIDE, trigger=Trigger.API, now=now).reused
    assert [call.realm_id for call in world.calls("api")] == [HARBOUR, NORTHSIDE]


def test_a_check_from_before_a_reconnection_is_not_shared(world: World, now: dt.datetime) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    assert check(now=now).diagnosis == "reconnect_required"
    connect(world, age=dt.timedelta(0))
    assert not share(now + MINUTE / 20).reused


def claim(now: dt.datetime, seconds: float) -> None:
    """Somebody began a probe; the claim runs out in so many seconds."""
    ProbeClaim.objects.create(
        realm_id=HARBOUR,
        owner="somebody",
        started_at=now,
        expires_at=now + dt.timedelta(seconds=seconds),
    )


@pytest.mark.parametrize("fresh", [False, True])
def test_a_probe_under_way_is_not_waited_for_without_patience(
    world: World, now: dt.datetime, fresh: bool
) -> None:
    connect(world)
    before = check(now=now - MINUTE)
    world.reset_counters()
    claim(now, 60)
    assert under_way([HARBOUR, NORTHSIDE]) == {HARBOUR}
    outcome = share(now, fresh=fresh)
    assert outcome.checking
    assert outcome.reused
    assert outcome.check is not None
    assert outcome.check.pk == before.pk
    assert world.calls() == []
    assert judge(now)[0].checking


def test_a_probe_under_way_is_waited_for_with_patience(
    world: World, now: dt.datetime, settings: Settings
) -> None:
    settings.QUICKBOOKS_PROBE_REUSE_SECONDS = 600
    connect(world)
    claim(now, 60)
    waits: list[float] = []

    def finish(seconds: float) -> None:
        """Its answer arrives while we wait."""
        waits.append(seconds)
        ProbeClaim.objects.all().delete()
        ConnectionHealthCheck.objects.create(
            realm_id=HARBOUR, checked_at=now, ok=True, diagnosis="ok", trigger="api", generation=1
        )

    outcome = share(now, patience=30, pause=finish)
    assert outcome.reused
    assert not outcome.checking
    assert len(waits) == 1
    assert world.calls("api") == []


def test_a_probe_that_finished_just_before_the_claim_is_shared_too(
    world: World, now: dt.datetime
) -> None:
    connect(world)

    def finish_first(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("INSERT") and "quickbooks_probeclaim" in sql:
            add_check(checked_at=now, generation=1)
        return execute(sql, *rest)

    with connection.execute_wrapper(finish_first):
        outcome = share(now)
    assert outcome.reused
    assert world.calls("api") == []
    assert not ProbeClaim.objects.exists()


def test_who_wants_a_fresh_one_waits_and_then_asks_again(world: World, now: dt.datetime) -> None:
    connect(world)
    claim(now, 60)
    outcome = share(
        now, fresh=True, patience=30, pause=lambda _: ProbeClaim.objects.all().delete() and None
    )
    assert not outcome.reused
    assert len(world.calls("api")) == 1


def test_the_claim_of_a_process_that_died_is_taken_over(world: World, now: dt.datetime) -> None:
    connect(world)
    claim(now - MINUTE, 59)
    assert under_way([HARBOUR]) == set()
    outcome = share(now)
    assert not outcome.checking
    assert not outcome.reused
    assert len(world.calls("api")) == 1
    assert not ProbeClaim.objects.exists()


# ── settings that forbid asking ───────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("setting", "value", "code", "level"),
    [
        ("QUICKBOOKS_CLIENT_ID", "another-app", "wrong_company_or_environment", "critical"),
        ("QUICKBOOKS_ENVIRONMENT", "production", "wrong_company_or_environment", "critical"),
        ("SITE_URL", "https://copy.example", "foreign_copy", "warning"),
        ("QUICKBOOKS_CLIENT_ID", "", "not_configured", "unknown"),
        ("QUICKBOOKS_CLIENT_SECRET", "", "not_configured", "unknown"),
        ("TOKEN_ENCRYPTION_KEYS", [], "not_configured", "unknown"),
        ("TOKEN_ENCRYPTION_KEYS", [Fernet.generate_key().decode()], "not_configured", "unknown"),
    ],
)
def test_with_other_settings_no_token_is_presented_at_all(
    world: World,
    settings: Settings,
    now: dt.datetime,
    setting: str,
    value: object,
    code: str,
    level: str,
) -> None:
    connect(world)
    before = {**vars(stored())}
    setattr(settings, setting, value)
    for at in (now, now + 61 * MINUTE):  # with a valid access token and without
        made = check(now=at)
        assert (made.diagnosis, made.ok, made.latency_ms) == (code, False, None)
    assert [call for call in world.calls() if call.endpoint != "discovery"] == []
    [judgement] = judge(now + 61 * MINUTE)
    assert (judgement.code, judgement.level) == (code, level)
    assert {n: v for n, v in vars(stored()).items() if n != "_state"} == {
        n: v for n, v in before.items() if n != "_state"
    }


def test_it_works_again_when_the_settings_are_right_again(
    world: World, settings: Settings, now: dt.datetime
) -> None:
    connect(world)
    site_url, settings.SITE_URL = settings.SITE_URL, "https://copy.example"
    check(now=now)
    settings.SITE_URL = site_url
    assert check(now=now + MINUTE).ok


def test_a_rejected_app_is_not_a_dead_grant(
    world: World, settings: Settings, now: dt.datetime
) -> None:
    connect(world)
    settings.QUICKBOOKS_CLIENT_SECRET = "mistyped"
    made = check(now=now + 31 * MINUTE)
    assert (made.diagnosis, made.message) == ("app_credentials_rejected", "renewal: invalid_client")
    settings.QUICKBOOKS_CLIENT_SECRET = world.client_secret
    assert check(now=now + 32 * MINUTE).ok


# ── money ─────────────────────────────────────────────────────────────────────────────────────
def test_successful_reads_in_production_are_counted(
    world: World, settings: Settings, now: dt.datetime
) -> None:
    settings.QUICKBOOKS_ENVIRONMENT = "production"
    connect(world)
    for _ in range(3):
        check(now=now)
    world.fail_next("api", "unavailable")
    check(now=now)
    world.set_subscription(HARBOUR, "EXPIRED")
    check(now=now)
    [counted] = MeteredCalls.objects.all()
    assert (counted.count, counted.client_id) == (4, settings.QUICKBOOKS_CLIENT_ID)
    assert counted.month == now.date().replace(day=1)


def test_reads_in_the_sandbox_are_free(world: World) -> None:
    connect(world)
    assert check().ok
    assert not MeteredCalls.objects.exists()


# ── the status ────────────────────────────────────────────────────────────────────────────────
def commit(level: Level, state: str, at: dt.datetime) -> IntegrationStatus:
    status.commit(
        status.Evidence(
            integration="quickbooks",
            account=HARBOUR,
            name="Harbour Physio",
            level=level,
            state=state,
            checked_at=at,
        )
    )
    return IntegrationStatus.objects.get()


def test_trouble_began_where_it_began_whatever_its_cause_is_now(now: dt.datetime) -> None:
    commit(Level.HEALTHY, "ok", now)
    assert commit(Level.WARNING, "timeout", now + MINUTE).since == now + MINUTE
    assert commit(Level.CRITICAL, "reconnect_required", now + 2 * MINUTE).since == now + MINUTE
    commit(Level.HEALTHY, "ok", now + 3 * MINUTE)
    assert commit(Level.HEALTHY, "ok", now + 4 * MINUTE).since == now + 3 * MINUTE
    assert commit(Level.UNKNOWN, "not_configured", now + 5 * MINUTE).since == now + 5 * MINUTE
    row = commit(Level.CRITICAL, "access_denied", now + 6 * MINUTE)
    assert (row.since, row.severity, row.state) == (now + 5 * MINUTE, 3, "access_denied")


def test_an_older_judgement_never_replaces_a_newer_one(now: dt.datetime) -> None:
    commit(Level.CRITICAL, "reconnect_required", now)
    row = commit(Level.HEALTHY, "ok", now - MINUTE)
    assert (row.level, row.state, row.checked_at) == ("critical", "reconnect_required", now)


def test_the_last_success_never_goes_back(world: World, now: dt.datetime) -> None:
    connect(world)
    check(now=now)
    check(now=now - MINUTE)
    assert stored().last_success_at == now


@pytest.mark.parametrize("name", ["throttled", "unavailable", "close", "html"])
def test_a_transient_failure_becomes_critical_when_it_lasts(
    world: World, settings: Settings, now: dt.datetime, name: str
) -> None:
    settings.CRITICAL_AFTER_MINUTES = 30
    connect(world)
    check(now=now)
    world.set_fault("api", name)
    check(now=now + 5 * MINUTE)
    row = IntegrationStatus.objects.get()
    assert (row.level, row.raw_level) == ("healthy", "warning"), "it may be a blip"
    assert judge(now + 29 * MINUTE)[0].level is Level.WARNING
    # Also without another check: the page is judged when it is looked at.
    assert judge(now + 30 * MINUTE)[0].level is Level.CRITICAL
    check(now=now + 31 * MINUTE)
    row = IntegrationStatus.objects.get()
    assert (row.level, row.since) == ("critical", now + 5 * MINUTE)
    world.clear_faults()
    check(now=now + 32 * MINUTE)
    assert IntegrationStatus.objects.get().level == "critical", "one success proves little"
    check(now=now + 33 * MINUTE)
    row = IntegrationStatus.objects.get()
    assert (row.level, row.since) == ("healthy", now + 32 * MINUTE)


def test_a_company_that_has_never_answered_is_judged_from_its_connection_on(
    world: World, now: dt.datetime
) -> None:
    connect(world, age=dt.timedelta(0))
    world.set_fault("api", "unavailable")
    check(now=now + MINUTE)
    connected_at = stored().connected_at
    assert connected_at is not None
    assert judge(connected_at + 59 * MINUTE)[0].level is Level.WARNING
    assert judge(connected_at + 60 * MINUTE)[0].level is Level.CRITICAL


def test_a_disconnected_company_is_asked_nothing_and_is_no_failed_check(
    world: World, now: dt.datetime
) -> None:
    connect(world)
    before = check(now=now)
    OAuthToken.objects.update(state=GrantState.DISCONNECTED, disconnected_at=now + MINUTE)
    world.reset_counters()
    outcome = share(now + 2 * MINUTE, fresh=True)
    assert outcome.check is not None
    assert outcome.check.pk == before.pk
    assert world.calls() == []
    assert ConnectionHealthCheck.objects.count() == 1
    assert IntegrationStatus.objects.get().state == "disconnected_here"


def test_a_read_that_was_under_way_does_not_hide_the_disconnection(
    world: World, now: dt.datetime
) -> None:
    connect(world)
    OAuthToken.objects.update(state=GrantState.DISCONNECTED, disconnected_at=now)
    commit(Level.HEALTHY, "ok", now + MINUTE / 60)  # it began after the click and was answered
    share(now + MINUTE)
    row = IntegrationStatus.objects.get()
    assert (row.level, row.state) == ("warning", "disconnected_here")


# ── discovery and the unexpected ──────────────────────────────────────────────────────────────
def test_a_renewal_asks_for_discovery_once_a_day(world: World, now: dt.datetime) -> None:
    connect(world)
    for hours in (1, 2, 3, 23):
        check(now=now + dt.timedelta(hours=hours))
    assert world.calls("discovery") == []
    check(now=now + dt.timedelta(hours=25))
    assert len(world.calls("discovery")) == 1
    assert DiscoveryDocument.objects.count() == 1


def test_a_bug_leaves_no_claim_behind(
    world: World, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(world)

    def broken(document: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(json, "loads", broken)
    with pytest.raises(ZeroDivisionError):
        share(now)
    assert not ProbeClaim.objects.exists()
