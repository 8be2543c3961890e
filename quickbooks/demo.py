"""The demo's past: a clinic whose QuickBooks has been watched for four weeks.

The weather is the same at every first start, but told relative to now. The connection itself is
made the real way, over HTTP with the stand-in for Intuit; only the history is written by hand.
"""

import datetime as dt
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from integrations import status
from integrations.levels import Level
from quickbooks import grants, tokens
from quickbooks.diagnosis import Code
from quickbooks.models import (
    EXPIRED,
    FRESH_ENOUGH,
    ConnectionHealthCheck,
    OAuthToken,
    RefreshOutcome,
    TokenRefresh,
    Trigger,
)
from quickbooks.simulator.world import World

HARBOUR = ("4620816365291234170", "Harbour Physio")
NORTHSIDE = ("4620816365291234188", "Northside Physio")
PAST = dt.timedelta(days=28)
INTERVAL = dt.timedelta(minutes=15)
HOUR = dt.timedelta(hours=1)
CONFIRM_AFTER = (dt.timedelta(seconds=20), dt.timedelta(seconds=80))


def new_world() -> World:
    """Intuit's side: two companies to choose from, no consent yet."""
    world = World()
    world.add_company(*HARBOUR)
    world.add_company(*NORTHSIDE)
    return world


def seed(world: World, person: User, now: dt.datetime) -> None:
    """Connect Harbour Physio four weeks ago and tell what happened since.

    Needs an empty database, and the stand-in serving `world` where the settings lead.
    """
    realm_id, name = HARBOUR
    begin = _quarter(now) - PAST
    past = _Past(begin=begin, end=now)
    past.happen()
    # Connecting adds one generation to those of all the renewals in between.
    OAuthToken.objects.create(realm_id=realm_id, generation=len(past.renewals))
    world.now = begin.timestamp
    code = world.new_code(realm_id, settings.QUICKBOOKS_REDIRECT_URI)
    grants.connect(realm_id, code, person.pk, begin)
    world.now = time.time
    TokenRefresh.objects.update(generation=0, started_at=begin, finished_at=begin)
    TokenRefresh.objects.bulk_create(past.renewals, batch_size=500)
    ConnectionHealthCheck.objects.bulk_create(past.checks, batch_size=500)
    tokens.note_read(realm_id, past.generation, past.checks[-1].checked_at, name, ok=True)
    for moment in (past.well_since, past.checks[-1].checked_at):
        status.commit(
            status.Evidence(
                integration="quickbooks",
                account=realm_id,
                name=name,
                level=Level.HEALTHY,
                state=Code.OK,
                checked_at=moment,
            )
        )


def _quarter(moment: dt.datetime) -> dt.datetime:
    """The last quarter of an hour, when cron starts a check."""
    return moment.replace(minute=moment.minute // 15 * 15, second=0, microsecond=0)


@dataclass(frozen=True)
class _Spell:
    """Bad weather: what fails in it, and how many of the checks do."""

    begin: dt.datetime
    end: dt.datetime
    code: Code
    share: float = 1.0


def _weather(now: dt.datetime) -> list[_Spell]:
    quarter, minute = _quarter(now), dt.timedelta(minutes=1)
    outage = quarter - dt.timedelta(days=9) - minute
    blip = quarter - 5 * HOUR
    evening = timezone.localtime(now - dt.timedelta(days=16)).replace(hour=18, minute=0)
    return [
        _Spell(evening, evening + 3 * HOUR, Code.TIMEOUT, share=0.5),
        _Spell(outage, outage + 25 * minute, Code.INTUIT_UNAVAILABLE),
        _Spell(blip, blip + minute / 6, Code.NETWORK_UNREACHABLE),
    ]


@dataclass
class _Past:
    """What the checks and renewals of the four weeks left behind, oldest first."""

    begin: dt.datetime
    end: dt.datetime
    checks: list[ConnectionHealthCheck] = field(default_factory=list)
    renewals: list[TokenRefresh] = field(default_factory=list)
    generation: int = 1

    def __post_init__(self) -> None:
        self._chance = random.Random(2026)  # noqa: S311 - weather, not a secret
        self._weather = _weather(self.end)
        self._expires_at = self.begin + HOUR
        self._rotated_at = self.well_since = self.begin

    def happen(self) -> None:
        for moment in self._schedule():
            trouble = self._trouble(moment)
            self._check(moment, trouble)
            if not trouble:
                continue
            # The command repeats a transient failure before it reports one.
            for pause in CONFIRM_AFTER:
                trouble = self._trouble(moment + pause)
                self._check(moment + pause, trouble, confirming=True)
                if not trouble:
                    break

    def _schedule(self) -> Iterator[dt.datetime]:
        moment = self.begin + INTERVAL
        while moment < self.end - dt.timedelta(seconds=10):
            yield moment + dt.timedelta(seconds=self._chance.uniform(0.8, 2.4))
            moment += INTERVAL

    def _trouble(self, moment: dt.datetime) -> _Spell | None:
        for spell in self._weather:
            if spell.begin <= moment < spell.end and self._chance.random() < spell.share:
                return spell
        return None

    def _check(self, moment: dt.datetime, spell: _Spell | None, confirming: bool = False) -> None:
        check = ConnectionHealthCheck(
            realm_id=HARBOUR[0],
            checked_at=moment,
            ok=spell is None,
            diagnosis=spell.code if spell else Code.OK,
            trigger=Trigger.COMMAND,
            confirming=confirming,
        )
        if spell is None:
            check.http_status, check.intuit_tid = 200, self._tid(moment)
            check.refreshed = self._renew_if_due(moment)
            check.latency_ms = round(self._chance.lognormvariate(math.log(290), 0.22))
            if self.checks and not self.checks[-1].ok:
                self.well_since = moment
        elif spell.code is Code.INTUIT_UNAVAILABLE:
            check.http_status = 503
            check.message = "HTTP 503 with 162 bytes that are not QuickBooks'"
            check.latency_ms = self._chance.randint(90, 160)
        elif spell.code is Code.TIMEOUT:
            check.message = "no complete answer within the deadline"
            check.latency_ms = self._chance.randint(10_000, 10_030)
        else:
            check.message = "the host name cannot be resolved"
            check.latency_ms = self._chance.randint(3, 9)
        check.generation = self.generation
        self.checks.append(check)

    def _renew_if_due(self, moment: dt.datetime) -> bool:
        if self._expires_at - moment > FRESH_ENOUGH:
            return False
        rotated = moment - self._rotated_at >= dt.timedelta(hours=24)
        self.renewals.append(
            TokenRefresh(
                realm_id=HARBOUR[0],
                purpose=TokenRefresh.Purpose.REFRESH,
                generation=self.generation,
                owner=f"{self._chance.getrandbits(128):032x}",
                trigger=Trigger.COMMAND,
                reason=EXPIRED,
                access_seconds_left=round((self._expires_at - moment).total_seconds()),
                started_at=moment,
                finished_at=moment + dt.timedelta(milliseconds=self._chance.randint(250, 500)),
                outcome=RefreshOutcome.ROTATED if rotated else RefreshOutcome.SAME,
                intuit_tid=self._tid(moment),
            )
        )
        self._rotated_at = moment if rotated else self._rotated_at
        self._expires_at = moment + HOUR
        self.generation += 1
        return True

    def _tid(self, moment: dt.datetime) -> str:
        return f"1-{int(moment.timestamp()):08x}-{self._chance.getrandbits(96):024x}"
