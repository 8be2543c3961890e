"""Seeded weather for one company: blips, outages, flapping, revocations, and a cron that sleeps.

The same seed gives the same weather. `Sky.truth` says what a person should have heard of it.
"""

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

SLOT = dt.timedelta(minutes=15)
HOUR = dt.timedelta(hours=1)
# Far enough apart that each is an event of its own, whatever is made sure of after it.
APART = 3 * HOUR
FAULTS = ("unavailable", "close", "html", "throttled", "reset")
WEIGHTS = {"blip": 60, "outage": 18, "flapping": 8, "revoked": 6, "ended": 4, "gap": 8}
# Committed at once, so that a single check is enough to tell.
AT_ONCE = {"revoked", "ended"}


@dataclass(frozen=True)
class Spell:
    """Weather of one kind; `fault` is what the stand-in does in it."""

    kind: str
    begin: dt.datetime
    end: dt.datetime
    fault: str = ""
    # Of flapping: the slots that fail, by number from its begin.
    failing: frozenset[int] = frozenset()

    def fails_at(self, at: dt.datetime) -> bool:
        if not self.begin <= at < self.end:
            return False
        return self.kind != "flapping" or (at - self.begin) // SLOT in self.failing


@dataclass
class Sky:
    """The weather from `begin` on for some days."""

    seed: int
    begin: dt.datetime
    days: int
    spells: list[Spell] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        at = self.begin + 6 * HOUR
        while (spell := self._spell(at)).end < self.end - 12 * HOUR:
            self.spells.append(spell)
            at = spell.end + APART + HOUR * self._chance.expovariate(1 / 14)
        self._next = 0

    @property
    def end(self) -> dt.datetime:
        return self.begin + dt.timedelta(days=self.days)

    def _spell(self, at: dt.datetime) -> Spell:
        chance = self._chance
        kind = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        hours = {
            "blip": (1 / 360, 14 / 60),
            "outage": (0.5, 8),
            "flapping": (2, 5),
            "revoked": (0.5, 30),
            "ended": (2, 60),
            "gap": (1, 14),
        }[kind]
        length = HOUR * chance.uniform(*hours)
        failing = frozenset(n for n in range(24) if chance.random() < 0.5)
        return Spell(kind, at, at + length, chance.choice(FAULTS), failing)

    def at(self, moment: dt.datetime) -> Spell | None:
        """What fails at a moment; asked in the order of time."""
        while self._next < len(self.spells) and self.spells[self._next].end <= moment:
            self._next += 1
        if self._next == len(self.spells):
            return None
        spell = self.spells[self._next]
        return spell if spell.fails_at(moment) else None

    def checks(self) -> Iterator[dt.datetime]:
        """When cron runs: each quarter of an hour and a moment, unless it sleeps."""
        gaps = [spell for spell in self.spells if spell.kind == "gap"]
        moment = self.begin
        while moment < self.end:
            if not any(gap.begin <= moment < gap.end for gap in gaps):
                yield moment + dt.timedelta(seconds=self._chance.uniform(0.5, 3))
            moment += SLOT

    def truth(self) -> list[Spell]:
        """What somebody has to hear of: trouble of half an hour or more."""
        real = {"outage", "revoked", "ended"}
        return [s for s in self.spells if s.kind in real and s.end - s.begin >= HOUR / 2]
