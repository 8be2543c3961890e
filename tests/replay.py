"""The whole chain under a seeded sky: probe, check, commit, incident, outbox, mail.

Time jumps from check to check; everything else is real: the requests to the stand-in for Intuit,
the tokens that are renewed each hour, the database, the mail server.
"""

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field

from django.conf import settings

from integrations.alerts import delivery
from integrations.alerts.reminders import remind
from integrations.models import Alert, Incident, Recipient
from integrations.outages import correlate
from quickbooks import grants
from quickbooks.evidence import Context
from quickbooks.models import Trigger
from quickbooks.probe import probe
from quickbooks.simulator.world import World
from quickbooks.sweep import sweep
from tests.conftest import HARBOUR
from tests.weather import SLOT, Sky, Spell


@dataclass
class Result:
    """What came of it. `delays`: from the begin of a real outage to its first message."""

    checks: int = 0
    outages: int = 0
    blips: int = 0
    missed: list[Spell] = field(default_factory=list)
    unrecovered: list[Spell] = field(default_factory=list)
    doubled: list[Spell] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    incidents: int = 0
    most_alerts: int = 0
    reminders: int = 0
    slowest: dt.timedelta = dt.timedelta()

    def __str__(self) -> str:
        return (
            f"{self.checks:,} checks, {self.outages} real outages, {self.blips} blips: "
            f"{len(self.missed)} missed, {len(self.doubled)} told twice, "
            f"{len(self.unrecovered)} without exactly one recovery, "
            f"{len(self.false)} false alarms; {self.incidents} incidents, at most "
            f"{self.most_alerts} messages each and {self.reminders} reminders in all; "
            f"slowest first message after {self.slowest.total_seconds() / 60:.0f} min"
        )


class Replay:
    """One company under one sky. Needs a connected company and the stand-in at work."""

    def __init__(self, sky: Sky, world: World) -> None:
        self.sky, self.world = sky, world
        self.now = sky.begin
        self.revoked: Spell | None = None
        self.result = Result()
        world.now = lambda: self.now.timestamp()

    def connect(self) -> None:
        code = self.world.new_code(HARBOUR, settings.QUICKBOOKS_REDIRECT_URI)
        grants.connect(HARBOUR, code, None, self.now)

    def run(self) -> Result:
        self.connect()
        for moment in self.sky.checks():
            self._go_to(moment)
            sweep([HARBOUR], self.now, confirm=True, pause=self._pause)
            correlate(self.now)
            self._send(self.now + dt.timedelta(minutes=1))
            self.result.checks += 1
        return self._judged()

    def _send(self, now: dt.datetime) -> None:
        """What cron does a minute later, whenever there is anything to do."""
        if Incident.objects.filter(next_reminder_at__lte=now).exists():
            remind(now)
        if Alert.objects.filter(state=Alert.State.QUEUED, due_at__lte=now).exists():
            delivery.deliver(now)

    def _pause(self, seconds: float) -> None:
        self._go_to(self.now + dt.timedelta(seconds=seconds))

    def _go_to(self, moment: dt.datetime) -> None:
        self.now = moment
        spell = self.sky.at(moment)
        self.world.clear_faults()
        if spell is None or spell.kind != "ended":
            self.world.set_subscription(HARBOUR, "PAID")
        if spell is None and self.revoked:
            self.revoked = None
            self.connect()
            probe(HARBOUR, trigger=Trigger.CONNECT, now=moment, fresh=True, context=ANA)
        if spell is None or spell.kind == "gap":
            return
        if spell.kind == "revoked":
            if self.revoked is None:
                self.world.revoke_grant(HARBOUR)
            self.revoked = spell
        elif spell.kind == "ended":
            self.world.set_subscription(HARBOUR, "EXPIRED")
        else:
            self.world.set_fault("api", spell.fault)

    def _judged(self) -> Result:
        result, sky = self.result, self.sky
        sent = Alert.objects.filter(state=Alert.State.SENT).select_related("incident")
        opened = {a.incident_id: a for a in sent if a.kind == Alert.Kind.OPENED}
        counts = Counter((a.incident_id, a.kind) for a in sent)
        incidents = list(Incident.objects.all())
        result.blips = sum(spell.kind == "blip" for spell in sky.spells)
        for spell in sky.truth():
            result.outages += 1
            mine = [
                incident
                for incident in incidents
                if incident.pk in opened and spell.begin <= incident.started_at < spell.end
            ]
            if not mine:
                result.missed.append(spell)
                continue
            if len(mine) > 1:
                result.doubled.append(spell)
            if sum(counts[i.pk, Alert.Kind.RECOVERED] for i in mine) != 1:
                result.unrecovered.append(spell)
            told = opened[mine[0].pk].sent_at
            assert told is not None
            result.slowest = max(result.slowest, told - spell.begin)
        rough = [spell for spell in sky.spells if spell.kind not in {"blip", "gap"}]
        for incident in incidents:
            if incident.pk in opened and not any(
                spell.begin <= incident.started_at < spell.end for spell in rough
            ):
                result.false.append(f"{incident} {incident.started_at}")
            each = sum(
                counts[incident.pk, kind] for kind in (Alert.Kind.OPENED, Alert.Kind.RECOVERED)
            )
            result.most_alerts = max(result.most_alerts, each)
        result.incidents = len(incidents)
        result.reminders = sum(n for (_, kind), n in counts.items() if kind == Alert.Kind.REMINDER)
        return result


ANA = Context(attended="Ana")


def owner() -> Recipient:
    return Recipient.objects.create(name="Owner", key="owner", email="owner@clinic.example")


__all__ = ["SLOT", "Replay", "Result", "Sky", "owner"]
