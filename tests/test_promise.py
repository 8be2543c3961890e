"""The promise as a state machine: whatever happens in whatever order, the monitor never breaks
what it watches.

Two actors play processes that hold a lease, wait for an answer, sleep and wake, or die. The
steps are the product's own (`take`, `ask`, `settle`), interleaved by hypothesis; Intuit is the
simulator over real HTTP, the lease lives in the real database. Both clocks, the database's and
the boot clock, jump together.
"""

import datetime as dt
from collections import Counter
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import DatabaseError
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from integrations import connections, deadline, http
from quickbooks import grants, oauth, rescue, tokens
from quickbooks import lease as leases
from quickbooks.diagnosis import Code
from quickbooks.models import (
    DiscoveryDocument,
    GrantState,
    OAuthToken,
    RefreshOutcome,
    TokenRefresh,
)
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.tokens import fingerprint
from quickbooks.simulator.world import World

REALM = "4620816365291234170"
ACTORS = st.sampled_from(["first", "second"])
# For what people do: 0 in one of six draws.
RARELY = st.sampled_from([1, 2, 3, 4, 5, 0])
# Answers that say nothing about the grant, processed at Intuit or not.
MUTE = ["lost_answer", "garbage_after", "error_after", "no_refresh_token"]
DEAF = [
    "status_503",
    "status_500",
    "throttled_token",
    "bare_400",
    "json_400_other",
    "html",
    "reset",
]
real_boot_clock = deadline.boot_clock
real_commit = leases.commit_parcel


class Weather:
    """What the machine bends: the clocks, and a database that refuses to commit."""

    def __init__(self) -> None:
        self.jumped = 0.0
        self.refusals = 0

    def boot_clock(self) -> float:
        return real_boot_clock() + self.jumped

    def now(self) -> dt.datetime:
        return timezone.now() + dt.timedelta(seconds=self.jumped)

    def commit_parcel(self, parcel: rescue.Parcel) -> None:
        if self.refusals:
            self.refusals -= 1
            raise DatabaseError("refused for the test")
        real_commit(parcel)

    def pause(self, seconds: float) -> None:
        self.jumped += max(seconds, 1.0)


class Actor:
    def __init__(self, lease: leases.Lease) -> None:
        self.lease = lease
        self.answer: tokens.Answer | None = None


class Promise(RuleBasedStateMachine):
    """The row, Intuit, and two processes that try to break the one against the other."""

    weather: Weather
    tally: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.actors: dict[str, Actor] = {}

    @initialize(grace=st.sampled_from([0, 86400]), harsh=st.booleans())
    def connect_first(self, grace: float, harsh: bool) -> None:
        for model in (TokenRefresh, OAuthToken, DiscoveryDocument):
            model.objects.all().delete()
        self.weather.jumped, self.weather.refusals = 0.0, 0
        self.world = World(
            now=lambda: self.weather.now().timestamp(),
            rotate_after=0,
            grace=grace,
            revoke_on_dead_token=harsh,
        )
        self.world.add_company(REALM, "Harbour Physio")
        self.simulator = Simulator(self.world).start()
        self.generation = 0
        self.rejected: set[str] = set()  # fingerprints that were rejected, written down
        self.crashes = 0
        self.ended_at_intuit = self.doubt = False
        with self._at_intuit():
            self._reconnect()

    def teardown(self) -> None:
        if hasattr(self, "simulator"):
            self.never_stuck()
            self.simulator.stop()
            for path in (django_settings.VAR_DIR / "rescue").glob("*"):
                path.unlink()

    def _at_intuit(self) -> Any:
        return override_settings(
            QUICKBOOKS_DISCOVERY_URL=self.simulator.discovery_url,
            QUICKBOOKS_API_URL=self.simulator.api_url,
        )

    # ── a process, step by step ─────────────────────────────────────────────
    @rule(name=ACTORS)
    def take_the_lease(self, name: str) -> None:
        row = self._row()
        if name in self.actors or tokens.standing_verdict(row):
            return
        lease = self._take(row.generation)
        if lease:
            self.actors[name] = Actor(lease)

    @precondition(lambda self: self.generation > 1)
    @rule(age=st.integers(1, 3))
    def never_lease_what_is_no_longer_the_row(self, age: int) -> None:
        assert self._take(self.generation - age) is None

    @rule(
        name=ACTORS,
        fault=st.sampled_from([None, None, None, *MUTE, *MUTE, *DEAF, "invalid_client"]),
    )
    def ask(self, name: str, fault: str | None) -> None:
        self.take_the_lease(name)
        actor = self.actors.get(name)
        if actor is None or actor.answer is not None:
            return
        if fault:
            self.world.fail_next("token", fault)
        before = len(self.world.calls("token"))
        row = self._row()
        with self._at_intuit():
            actor.answer = tokens.ask(actor.lease, oauth.discover(self.weather.now()))
        arrived = self.world.calls("token")[before:]
        self.world.clear_faults()
        assert len(arrived) <= 1
        for call in arrived:
            self._judge_presentation(actor, row, call.refresh_fingerprint, call.dead_token)
            if call.outcome != "ok" and "invalid_" not in call.outcome:
                self.doubt = True
        if not arrived:
            assert isinstance(actor.answer.result, oauth.NotSent)

    def _judge_presentation(
        self, actor: Actor, row: OAuthToken, presented: str, dead: bool
    ) -> None:
        """Points 2, 3, 6 and 7 of the promise, at the moment a token reaches Intuit."""
        assert row.lease_owner == actor.lease.owner, "presented without holding the lease"
        assert row.lease_until and row.lease_until > self.weather.now(), "presented too late"
        assert presented == fingerprint(row.refresh_token), "an older token was presented"
        assert row.state == GrantState.LIVE, "presented against the verdict"
        assert presented not in self.rejected, "a dead token was presented again"
        if dead:
            assert self.ended_at_intuit or self.doubt or actor.lease.in_doubt_since
            if self.world.revoke_on_dead_token:
                self.ended_at_intuit = True
        self.tally["presented"] += 1
        self.tally["presented dead"] += dead

    @precondition(lambda self: self._answered())
    @rule(pick=st.integers(0, 2), refusals=st.sampled_from([0, 0, 0, 1, 3, 500]))
    def settle(self, pick: int, refusals: int) -> None:
        answered = self._answered()
        actor = self.actors.pop(answered[pick % len(answered)])
        assert actor.answer is not None
        before = self._row()
        self.weather.refusals = refusals
        gave_up = False
        try:
            tokens.settle(actor.lease, actor.answer, self.weather.now(), pause=self.weather.pause)
        except DatabaseError:
            gave_up = True
            self.tally["rescued"] += 1
        self.weather.refusals = 0
        result, after = actor.answer.result, self._row()
        if gave_up:
            assert rescue.find(REALM, actor.lease.generation) is not None
            self.doubt = True
        elif isinstance(result, oauth.TokenPair):
            self._judge_saved(actor, result, before, after)
        elif isinstance(result, oauth.GrantRejected):
            if after.state != GrantState.LIVE:
                self.rejected.add(fingerprint(before.refresh_token))
        else:
            assert after.state == before.state, "no verdict, and yet the state changed"
        if isinstance(result, oauth.NoVerdict) and before.lease_owner == actor.lease.owner:
            assert after.lease_until == before.lease_until, "released though in doubt"
            assert after.in_doubt_since

    def _judge_saved(
        self, actor: Actor, pair: oauth.TokenPair, before: OAuthToken, after: OAuthToken
    ) -> None:
        """Point 5: committed when its generation is still the row's, else kept, never used."""
        if before.generation == actor.lease.generation:
            assert after.generation == before.generation + 1
            assert (after.refresh_token, after.state) == (pair.refresh_token, GrantState.LIVE)
            assert after.in_doubt_since is None
            return
        assert (after.generation, after.state) == (before.generation, before.state)
        assert after.refresh_token == before.refresh_token
        late = TokenRefresh.objects.get(pk=actor.lease.journal_id)
        assert late.superseded and pair.refresh_token in late.late_pair
        self.tally["kept on the journal"] += 1

    @precondition(lambda self: self.actors)
    @rule(pick=st.integers(0, 2))
    def crash(self, pick: int) -> None:
        names = sorted(self.actors)
        self.actors.pop(names[pick % len(names)])
        self.crashes += 1
        self.doubt = True
        self.tally["crashed"] += 1

    @rule(seconds=st.sampled_from([1, 11, 61, 61, 61, 3600]))
    def everybody_sleeps(self, seconds: int) -> None:
        """Holders that are suspended wake up later: some late to send, some past their lease."""
        self.weather.jumped += seconds

    @rule(name=ACTORS)
    def a_holder_oversleeps(self, name: str) -> None:
        """Its answer is there, its lease is over, and somebody else renews before it wakes."""
        self.ask(name=name, fault=None)
        self.weather.jumped += 61
        self.somebody_needs_access(fault=None, refused=True)

    # ── whole operations, by other processes ────────────────────────────────
    @rule(fault=st.sampled_from([None, None, "lost_answer", "status_503"]), refused=st.booleans())
    def somebody_needs_access(self, fault: str | None, refused: bool) -> None:
        if fault:
            self.world.fail_next("token", fault)
        before, row = len(self.world.calls("token")), self._row()
        valid = (
            not refused
            and not tokens.standing_verdict(row)
            and row.access_expires_at
            and (row.access_expires_at - self.weather.now() > dt.timedelta(seconds=125))
        )
        in_doubt = row.in_doubt_since
        self._whole_check(refused=row.generation if refused else None)
        arrived = self.world.calls("token")[before:]
        self.world.clear_faults()
        assert len(arrived) <= 1
        if valid:
            assert not arrived, "a valid access token, and yet the token endpoint was asked"
        for call in arrived:
            assert call.refresh_fingerprint not in self.rejected
            self.tally["presented"] += 1
            self.tally["presented dead"] += call.dead_token
            if call.dead_token:
                assert self.ended_at_intuit or self.doubt or in_doubt
                if self.world.revoke_on_dead_token:
                    self.ended_at_intuit = True
            if call.outcome != "ok" and "invalid_" not in call.outcome:
                self.doubt = True
        after = self._row()
        if after.state in {GrantState.REJECTED, GrantState.LOST}:
            self.rejected.add(fingerprint(after.refresh_token))

    @rule(mood=RARELY)
    def the_user_disconnects_at_intuit(self, mood: int) -> None:
        if mood:
            return
        self.world.revoke_grant(REALM)
        self.ended_at_intuit = True

    @rule(mood=RARELY)
    def a_person_reconnects(self, mood: int) -> None:
        if mood and self._row().state == GrantState.LIVE:
            return
        with self._at_intuit():
            try:
                self._reconnect()
            except tokens.RenewalPending:
                return
        self.tally["reconnected"] += 1

    @rule(mood=RARELY, fault=st.sampled_from([None, "status_503"]))
    def a_person_disconnects(self, mood: int, fault: str | None) -> None:
        if mood:
            return
        if fault:
            self.world.fail_next("revoke", fault)
        with self._at_intuit():
            try:
                problem = grants.disconnect(REALM, None, self.weather.now())
            except tokens.RenewalPending:
                return
            finally:
                self.world.clear_faults()
        row = self._row()
        assert row.state == GrantState.DISCONNECTED
        assert bool(row.refresh_token) == bool(problem), "a failed revocation is kept, no other"
        self.ended_at_intuit = True

    # ── what always holds ───────────────────────────────────────────────────
    @invariant()
    def the_row_is_sound(self) -> None:
        if not hasattr(self, "generation"):
            return
        row = self._row()
        assert row.generation >= self.generation, "a generation went back"
        self.generation = row.generation
        if row.state == GrantState.LIVE:
            assert row.access_token and row.refresh_token, "a live grant without its tokens"

    @invariant()
    def nothing_is_lost_without_a_reason(self) -> None:
        if not hasattr(self, "generation"):
            return
        row = self._row()
        healthy = not (self.doubt or self.ended_at_intuit or self.actors)
        if row.state == GrantState.LIVE and healthy:
            assert self.world.is_live(row.refresh_token), "the stored token does not work"

    @invariant()
    def every_call_is_in_the_journal(self) -> None:
        if hasattr(self, "generation"):
            assert len(self.world.calls("token")) <= TokenRefresh.objects.count()

    def never_stuck(self) -> None:
        """After the last lease has run out, one check knows: it works, or exactly why not."""
        self.world.clear_faults()
        self.doubt = self.doubt or bool(self.actors)
        self.actors.clear()
        self.weather.jumped += 4000
        code = self._whole_check()
        allowed = {Code.OK, Code.DISCONNECTED_HERE}
        if self.ended_at_intuit:
            allowed |= {Code.RECONNECT_REQUIRED}
        if self.doubt:
            allowed |= {Code.REFRESH_RESPONSE_LOST}
        assert code in allowed, f"ended as {code}"
        self.tally[f"ended as {code}"] += 1
        dead = sum(call.dead_token for call in self.world.calls("token"))
        self.tally["machines"] += 1
        # The first one that finds out, once more for a crash between answer and commit, and
        # once for each time that the doubt came from an answer nobody could read.
        unclear = TokenRefresh.objects.filter(outcome__in=["", RefreshOutcome.UNKNOWN]).count()
        reconnections = TokenRefresh.objects.filter(purpose="connect").count()
        late = TokenRefresh.objects.filter(outcome=RefreshOutcome.REJECTED).count()
        assert dead <= reconnections + self.crashes + unclear + late

    def _answered(self) -> list[str]:
        return sorted(name for name, actor in self.actors.items() if actor.answer)

    # ── helpers ─────────────────────────────────────────────────────────────
    def _row(self) -> OAuthToken:
        return OAuthToken.objects.get(realm_id=REALM)

    def _take(self, generation: int) -> leases.Lease | None:
        return leases.take(
            REALM,
            generation,
            purpose=TokenRefresh.Purpose.REFRESH,
            trigger="test",
            states=(GrantState.LIVE,),
        )

    def _reconnect(self) -> None:
        code = self.world.new_code(REALM, django_settings.QUICKBOOKS_REDIRECT_URI)
        grants.connect(REALM, code, None, self.weather.now())
        self.ended_at_intuit = self.doubt = False

    def _whole_check(self, refused: int | None = None) -> Code:
        with self._at_intuit():
            try:
                tokens.obtain_access(
                    REALM,
                    now=self.weather.now(),
                    trigger="test",
                    patience=0,
                    refused=refused,
                    pause=self.weather.pause,
                )
            except tokens.NoAccess as error:
                return error.diagnosis.code
            except tokens.RenewalPending:
                return Code.TIMEOUT
        return Code.OK


@pytest.mark.django_db(transaction=True)
def test_it_never_breaks_the_connection_that_it_watches(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Any, capsys: Any
) -> None:
    weather = Weather()
    monkeypatch.setattr(leases, "database_now", weather.now)
    monkeypatch.setattr(leases, "commit_parcel", weather.commit_parcel)
    for module in (deadline, connections, http, leases, tokens):
        monkeypatch.setattr(module, "boot_clock", weather.boot_clock)
    settings.QUICKBOOKS_DEADLINE_SECONDS = 10
    settings.VAR_DIR = tmp_path
    Promise.weather, Promise.tally = weather, Counter()
    run_state_machine_as_test(Promise, settings=SEARCH)
    with capsys.disabled():
        print(f"\nthe promise: {dict(sorted(Promise.tally.items()))}")
    for reached in ("presented dead", "kept on the journal", "rescued", "crashed"):
        assert Promise.tally[reached], f"the search never got as far as: {reached}"


SEARCH = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
