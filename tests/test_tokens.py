"""The refresh protocol, point by point, where the state machine would only get by chance."""

import datetime as dt
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import DatabaseError

from integrations.crypto import Secret
from integrations.deadline import boot_clock
from quickbooks import grants, oauth, rescue, tokens
from quickbooks import lease as leases
from quickbooks.diagnosis import Code
from quickbooks.models import DiscoveryDocument, GrantState, OAuthToken, TokenRefresh
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def connected(simulator: Simulator, world: World, now: dt.datetime, settings: Any) -> World:
    """Harbour Physio is connected; every renewal rotates, and the old value dies at once."""
    world.rotate_after = 0
    grants.connect(HARBOUR, world.new_code(HARBOUR, settings.QUICKBOOKS_REDIRECT_URI), None, now)
    world.reset_counters()
    return world


def row() -> OAuthToken:
    return OAuthToken.objects.get(realm_id=HARBOUR)


def take() -> leases.Lease | None:
    return leases.take(
        HARBOUR,
        row().generation,
        purpose=TokenRefresh.Purpose.REFRESH,
        trigger="test",
        states=(GrantState.LIVE,),
    )


def age_the_lease() -> None:
    OAuthToken.objects.update(lease_until=leases.database_now() - dt.timedelta(seconds=1))


def obtain(now: dt.datetime, **more: Any) -> tokens.Access:
    return tokens.obtain_access(HARBOUR, now=now, trigger="test", patience=0, **more)


def why_not(now: dt.datetime, **more: Any) -> Code:
    with pytest.raises(tokens.NoAccess) as caught:
        obtain(now, **more)
    return caught.value.diagnosis.code


def test_it_uses_a_token_with_more_than_two_minutes_left(
    connected: World, now: dt.datetime
) -> None:
    assert not obtain(now + HOUR - dt.timedelta(seconds=121)).refreshed
    assert connected.calls("token") == []


def test_it_renews_a_token_with_two_minutes_left(connected: World, now: dt.datetime) -> None:
    access = obtain(now + HOUR - dt.timedelta(seconds=120))
    assert (access.refreshed, access.generation) == (True, 2)
    assert len(connected.calls("token")) == 1


def test_the_journal_proves_that_nothing_was_renewed_before_its_time(
    connected: World, now: dt.datetime
) -> None:
    OAuthToken.objects.update(access_expires_at=now + dt.timedelta(seconds=119))
    assert obtain(now).refreshed
    journal = TokenRefresh.objects.get(purpose="refresh")
    assert not journal.was_early
    journal.access_seconds_left = 121
    assert journal.was_early


def test_it_keeps_three_clocks_as_intuit_states_them(connected: World, now: dt.datetime) -> None:
    token = row()
    assert token.access_expires_at == now + HOUR
    assert token.refresh_expires_at == now + dt.timedelta(seconds=8726400)
    assert token.hard_expires_at == now + dt.timedelta(seconds=157680000)


def test_it_does_not_take_an_absent_hard_expiry_for_zero(
    connected: World, now: dt.datetime
) -> None:
    before = row().hard_expires_at
    pair = oauth.TokenPair(
        access_token=Secret("a"),
        refresh_token=Secret("b"),
        expires_in=3600,
        refresh_expires_in=None,
        hard_expires_in=None,
        intuit_tid="",
    )
    lease = take()
    assert lease
    tokens.settle(lease, tokens.Answer(result=pair, rotated=True), now)
    assert (row().hard_expires_at, row().refresh_expires_at) == (before, None)


def test_a_holder_that_wakes_up_late_sends_nothing(
    connected: World, now: dt.datetime, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = take()
    assert lease
    later = boot_clock() + settings.QUICKBOOKS_DEADLINE_SECONDS + 1
    monkeypatch.setattr("integrations.deadline.boot_clock", lambda: later)
    answer = tokens.ask(lease, oauth.discover(now))
    assert isinstance(answer.result, oauth.NotSent)
    assert connected.calls("token") == []
    tokens.settle(lease, answer, now)
    assert (row().lease_until, row().in_doubt_since) == (None, None)


def test_a_late_answer_is_kept_on_the_journal_and_overwrites_nothing(
    connected: World, now: dt.datetime
) -> None:
    connected.grace = 86400
    endpoints = oauth.discover(now)
    sleeper = take()
    assert sleeper
    late = tokens.ask(sleeper, endpoints)
    assert isinstance(late.result, oauth.TokenPair)
    age_the_lease()
    assert obtain(now + HOUR).refreshed  # somebody else renews meanwhile
    kept = row()
    tokens.settle(sleeper, late, now)
    after, journal = row(), TokenRefresh.objects.get(pk=sleeper.journal_id)
    assert (after.generation, after.refresh_token) == (kept.generation, kept.refresh_token)
    assert journal.superseded
    assert late.result.refresh_token in journal.late_pair


def test_a_late_answer_clears_the_verdict_that_was_reached_without_it(
    connected: World, now: dt.datetime
) -> None:
    endpoints = oauth.discover(now)
    sleeper = take()
    assert sleeper
    late = tokens.ask(sleeper, endpoints)  # rotated; the stored value is dead from here on
    age_the_lease()
    assert why_not(now + HOUR) == Code.REFRESH_RESPONSE_LOST
    tokens.settle(sleeper, late, now)
    assert row().state == GrantState.LIVE
    assert connected.is_live(row().refresh_token)


def test_a_rejection_without_doubt_asks_to_reconnect_and_ends_the_asking(
    connected: World, now: dt.datetime
) -> None:
    connected.revoke_grant(HARBOUR)
    for _ in range(20):
        assert why_not(now + HOUR) == Code.RECONNECT_REQUIRED
    assert sum(call.dead_token for call in connected.calls("token")) == 1


def test_after_a_lost_answer_nobody_asks_before_the_lease_is_over(
    connected: World, now: dt.datetime
) -> None:
    connected.fail_next("token", "lost_answer")
    assert why_not(now + HOUR) == Code.NETWORK_UNREACHABLE
    for _ in range(5):
        with pytest.raises(tokens.RenewalPending) as pending:
            obtain(now + HOUR)
        assert pending.value.until == row().lease_until
    assert len(connected.calls("token")) == 1
    age_the_lease()
    assert why_not(now + HOUR) == Code.REFRESH_RESPONSE_LOST
    assert why_not(now + HOUR) == Code.REFRESH_RESPONSE_LOST
    assert len(connected.calls("token")) == 2


def test_after_a_lost_answer_the_grace_of_intuit_is_used(
    connected: World, now: dt.datetime
) -> None:
    connected.grace = 86400
    connected.fail_next("token", "lost_answer")
    why_not(now + HOUR)
    age_the_lease()
    assert obtain(now + HOUR).refreshed
    assert row().in_doubt_since is None


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("status_500", Code.INTUIT_UNAVAILABLE),
        ("status_503", Code.INTUIT_UNAVAILABLE),
        ("throttled_token", Code.THROTTLED),
        ("bare_400", Code.UNEXPECTED_REPLY),
        ("json_400_other", Code.UNEXPECTED_REPLY),
        ("html", Code.UNEXPECTED_REPLY),
        ("html_401", Code.UNEXPECTED_REPLY),
        ("redirect", Code.UNEXPECTED_REPLY),
        ("empty", Code.UNEXPECTED_REPLY),
        ("deep_nesting", Code.UNEXPECTED_REPLY),
        ("flood", Code.UNEXPECTED_REPLY),
        ("truncated", Code.UNEXPECTED_REPLY),
        ("reset", Code.NETWORK_UNREACHABLE),
        ("close", Code.NETWORK_UNREACHABLE),
        ("no_refresh_token", Code.UNEXPECTED_REPLY),
    ],
)
def test_what_is_no_verdict_changes_no_verdict(
    connected: World, now: dt.datetime, fault: str, code: Code
) -> None:
    connected.fail_next("token", fault)
    assert why_not(now + HOUR) == code
    assert row().state == GrantState.LIVE
    assert row().in_doubt_since is not None
    assert TokenRefresh.objects.get(purpose="refresh").outcome == "unknown"


def test_rejected_app_keys_say_nothing_about_the_grant(
    connected: World, now: dt.datetime, settings: Any
) -> None:
    connected.client_secret = "changed at Intuit"
    assert why_not(now + HOUR) == Code.APP_CREDENTIALS_REJECTED
    token = row()
    assert (token.state, token.lease_until, token.in_doubt_since) == (GrantState.LIVE, None, None)
    connected.client_secret = settings.QUICKBOOKS_CLIENT_SECRET
    assert obtain(now + HOUR).refreshed


def test_a_hostile_answer_sets_nothing_but_the_tokens(connected: World, now: dt.datetime) -> None:
    connected.fail_next("token", "hostile_keys")
    assert obtain(now + HOUR).refreshed
    assert connected.is_live(row().refresh_token)


def test_what_was_not_sent_frees_the_lease_and_restores_the_earlier_doubt(
    connected: World, simulator: Simulator, now: dt.datetime
) -> None:
    doubt = now - HOUR
    OAuthToken.objects.update(in_doubt_since=doubt)
    simulator.stop()
    assert why_not(now + HOUR) == Code.NETWORK_UNREACHABLE
    assert (row().lease_until, row().in_doubt_since) == (None, doubt)


def test_an_expiring_token_still_serves_when_no_new_one_can_be_had(
    connected: World, now: dt.datetime
) -> None:
    connected.fail_next("token", "status_503")
    access = obtain(now + HOUR - dt.timedelta(seconds=60))
    assert access.generation == 1


def test_who_finds_the_lease_taken_uses_the_token_while_it_is_valid(
    connected: World, now: dt.datetime
) -> None:
    assert take()
    assert obtain(now + HOUR - dt.timedelta(seconds=60)).generation == 1
    with pytest.raises(tokens.RenewalPending):
        obtain(now + HOUR)
    assert connected.calls("token") == []


def test_who_waits_gets_the_result_of_the_holder(connected: World, now: dt.datetime) -> None:
    lease = take()
    assert lease
    waits: list[float] = []

    def holder_finishes(seconds: float) -> None:
        waits.append(seconds)
        tokens.settle(lease, tokens.ask(lease, oauth.discover(now)), now + HOUR)

    access = tokens.obtain_access(
        HARBOUR, now=now + HOUR, trigger="test", patience=5, pause=holder_finishes
    )
    assert (access.generation, len(waits)) == (2, 1)
    assert len(connected.calls("token")) == 1


def test_a_commit_that_fails_is_repeated_until_it_succeeds(
    connected: World,
    now: dt.datetime,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    tmp_path: Any,
) -> None:
    settings.VAR_DIR = tmp_path
    commit, failures = leases.commit_parcel, iter([True, True, False])

    def commit_sometimes(parcel: rescue.Parcel) -> None:
        if next(failures):
            raise DatabaseError
        commit(parcel)

    monkeypatch.setattr(leases, "commit_parcel", commit_sometimes)
    in_between: list[bool] = []
    access = obtain(
        now + HOUR, pause=lambda seconds: in_between.append(any((tmp_path / "rescue").iterdir()))
    )
    assert access.generation == 2
    assert in_between == [True, True], "a kill between the attempts would have lost the pair"
    assert list((tmp_path / "rescue").iterdir()) == []


def test_a_pair_that_could_not_be_committed_is_found_by_the_next_check(
    connected: World,
    now: dt.datetime,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    tmp_path: Any,
) -> None:
    settings.VAR_DIR = tmp_path
    waited: list[float] = []
    with monkeypatch.context() as broken:

        def refuse(parcel: rescue.Parcel) -> None:
            raise DatabaseError

        broken.setattr(leases, "commit_parcel", refuse)
        broken.setattr(leases, "boot_clock", lambda: boot_clock() + sum(waited))
        with pytest.raises(DatabaseError):
            obtain(now + HOUR, pause=waited.append)
    lease = leases.lease_length().total_seconds()
    assert lease <= sum(waited) < 2 * lease, "tried again for the length of the lease"
    (file,) = (tmp_path / "rescue").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    live = connected.live_refresh_token(HARBOUR)
    assert live and live not in file.read_text()
    assert obtain(now + HOUR).generation == 2
    assert row().refresh_token == live
    assert len(connected.calls("token")) == 1
    assert not file.exists()


def test_other_keys_present_nothing(connected: World, now: dt.datetime, settings: Any) -> None:
    settings.QUICKBOOKS_CLIENT_ID = "another-app"
    assert why_not(now + HOUR) == Code.WRONG_COMPANY_OR_ENVIRONMENT
    settings.QUICKBOOKS_CLIENT_ID = connected.client_id
    settings.QUICKBOOKS_ENVIRONMENT = "production"
    assert why_not(now + HOUR) == Code.WRONG_COMPANY_OR_ENVIRONMENT
    settings.QUICKBOOKS_ENVIRONMENT = "sandbox"
    settings.SITE_URL = "https://copy.example"
    assert why_not(now + HOUR) == Code.FOREIGN_COPY
    assert connected.calls("token") == []


def test_a_copy_that_is_disconnected_leaves_the_originals_grant_alone(
    connected: World, now: dt.datetime, settings: Any
) -> None:
    settings.SITE_URL = "https://copy.example"
    assert grants.disconnect(HARBOUR, None, now) == ""
    assert connected.calls("revoke") == []
    assert connected.live_refresh_token(HARBOUR)


def test_disconnecting_and_reconnecting_wait_for_a_revocation_that_may_still_be_at_work(
    connected: World, now: dt.datetime, settings: Any
) -> None:
    connected.fail_next("revoke", "error_after")
    assert grants.disconnect(HARBOUR, None, now) != ""
    code = connected.new_code(HARBOUR, settings.QUICKBOOKS_REDIRECT_URI)
    with pytest.raises(tokens.RenewalPending):
        grants.connect(HARBOUR, code, None, now)
    age_the_lease()
    grants.connect(HARBOUR, code, None, now)
    assert row().state == GrantState.LIVE


def test_new_keys_read_what_old_ones_wrote_and_rotating_makes_the_old_ones_superfluous(
    connected: World, now: dt.datetime, settings: Any
) -> None:
    old, new = settings.TOKEN_ENCRYPTION_KEYS, [Fernet.generate_key().decode()]
    before = row().refresh_token
    settings.TOKEN_ENCRYPTION_KEYS = new + old
    assert grants.rotate_keys() == 1
    settings.TOKEN_ENCRYPTION_KEYS = new
    assert row().refresh_token == before
    settings.TOKEN_ENCRYPTION_KEYS = old
    assert why_not(now) == Code.NOT_CONFIGURED


def test_an_outage_of_discovery_does_not_stop_a_renewal(connected: World, now: dt.datetime) -> None:
    DiscoveryDocument.objects.update(fetched_at=now - dt.timedelta(days=30))
    connected.set_fault("discovery", "unavailable")
    assert obtain(now + HOUR).refreshed


def test_a_discovery_document_never_sends_secrets_to_a_stranger(
    simulator: Simulator, world: World, now: dt.datetime, settings: Any
) -> None:
    world.set_fault("discovery", "html")
    with pytest.raises(oauth.NotSent):
        oauth.discover(now)
    assert DiscoveryDocument.objects.count() == 0


def test_a_firewalls_page_is_no_revocation(connected: World, now: dt.datetime) -> None:
    connected.fail_next("revoke", "bare_400")
    assert grants.disconnect(HARBOUR, None, now) == "HTTP 400 without a verdict"
    assert row().refresh_token == connected.live_refresh_token(HARBOUR)
