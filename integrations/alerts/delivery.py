"""Sending what is due: claim, send, mark. At least once, and once in practice.

A claim is one conditional UPDATE, committed before anything is sent; it runs out by itself, so
that a process that was killed delays its alert and loses nothing. No transaction is open while
something is sent. What may have arrived already keeps its Message-ID, so that mail programs
recognise a repeated message.
"""

import datetime as dt
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import F, Min, Q
from django.db.models.functions import Coalesce, Greatest

from integrations import sql, times
from integrations.alerts import channels, claims, pausing, quiet
from integrations.alerts.channels import Failure, Scope
from integrations.alerts.claims import MAIL, Unit
from integrations.alerts.messages import compose
from integrations.deadline import boot_clock
from integrations.models import Alert, Incident, Recipient

Kind, State = Alert.Kind, Alert.State

# Seconds for one send, whatever the other side does.
DEADLINE = 20.0
MINUTE, LONGEST_WAIT = dt.timedelta(minutes=1), dt.timedelta(hours=1)
# By then a run that was held up by a hanging server is over.
OVERDUE = dt.timedelta(minutes=10)


@dataclass
class Tally:
    """What became of the alerts that were due. `held`: not tried, they wait for a better time."""

    sent: int = 0
    failed: int = 0
    held: int = 0

    def __str__(self) -> str:
        return f"{self.sent:,} sent, {self.failed:,} failed, {self.held:,} held"


def deliver(now: dt.datetime, *, deadline: float = DEADLINE) -> Tally:
    """Send all that is due. Safe to run in two places at once. Raises `DatabaseError`."""
    return _Run(now, deadline).finish()


@dataclass
class _Run:
    """`down`: channels and recipients that failed in a way that the next attempt would as well.
    `failed`: the rows that were tried in vain. `paused`: the incidents that nobody is to hear of.
    """

    now: dt.datetime
    deadline: float
    began: float = field(default_factory=boot_clock)
    tally: Tally = field(default_factory=Tally)
    down: set[str | int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    paused: set[int] = field(default_factory=set)

    def finish(self) -> Tally:
        while units := [unit for unit in self._units() if not self._is_down(unit)]:
            self.paused = self._paused()
            for unit in units:
                if not self._is_down(unit):
                    self._deliver(unit)
        self.tally.held += claims.due(self.now).count()
        return self.tally

    def _is_down(self, unit: Unit) -> bool:
        return unit.channel in self.down or unit.recipient in self.down

    def _at(self) -> dt.datetime:
        """The present: `now`, and what this run has taken since."""
        return self.now + dt.timedelta(seconds=boot_clock() - self.began)

    def _units(self) -> list[Unit]:
        rows = claims.due(self.now).filter(~claims.behind())
        if quiet.over(self.now) > self.now:
            rows = rows.filter(claims.URGENT)
        return claims.units(rows)

    def _paused(self) -> set[int]:
        concerned = Incident.objects.filter(pk__in=claims.due(self.now).values("incident"))
        return set(concerned.filter(pausing.paused(self._at())).values_list("pk", flat=True))

    def _deliver(self, unit: Unit) -> None:
        owner = uuid.uuid4().hex
        rows = claims.claim(unit, owner, self.now)
        if void := [
            row for row in rows if row.incident_id in self.paused or _is_void(row, self._at())
        ]:
            claims.release(void, owner, state=State.WITHDRAWN)
            rows = [row for row in rows if row not in void]
        if not rows:
            return
        message = compose(rows, self._at())
        failure = channels.send(rows[0].recipient, message, self.deadline)
        if failure is None:
            self._mark(rows, owner)
            self.tally.sent += len(rows)
        else:
            self._put_off(unit, rows, owner, failure)
            self.tally.failed += len(rows)

    def _mark(self, rows: Sequence[Alert], owner: str) -> None:
        """It has been sent, and a database that hiccups must not make us forget that."""
        at, recipient = self._at(), rows[0].recipient
        for pause in (0.1, 1.0, 5.0, None):
            try:
                with transaction.atomic(durable=True):
                    claims.release(rows, owner, state=State.SENT, sent_at=at, error="")
                    Recipient.objects.filter(pk=recipient.pk).update(
                        last_sent_at=at, failing_since=None, error=""
                    )
                break
            except (DatabaseError, InterfaceError):
                if pause is None:
                    raise
                connection.close()
                time.sleep(pause)
        if recipient.failing_since:
            # It works again: what it failed to take does not wait any longer.
            waiting = Alert.objects.filter(
                recipient=recipient, state=State.QUEUED, claimed_by="", attempts__gt=0
            )
            late = waiting.filter(due_at__gt=self.now).exclude(pk__in=self.failed)
            claims.update(late, due_at=self.now)

    def _put_off(self, unit: Unit, rows: Sequence[Alert], owner: str, failure: Failure) -> None:
        """Try again later: after 1, 2, 4, … minutes of this alert's or its channel's trouble."""
        at, recipient = self._at(), rows[0].recipient
        attempts = max(row.attempts for row in rows)
        failing_for = at - (recipient.failing_since or at)
        wait = max(MINUTE * 2 ** min(attempts, 10), failing_for + MINUTE)
        due_at, reason = at + min(wait, LONGEST_WAIT), failure.reason[:200]
        claims.release(
            rows,
            owner,
            attempts=F("attempts") + 1,
            error=reason,
            due_at=due_at,
            message_id=rows[0].message_id if failure.doubtful else "",
        )
        self.failed.update(row.pk for row in rows)
        troubled = {recipient.pk}
        if failure.scope is not Scope.MESSAGE:
            whole = failure.scope is Scope.CHANNEL and unit.channel == MAIL
            self.down.add(MAIL if whole else recipient.pk)
            others = Q(recipient__email__gt="") if whole else Q(recipient=recipient)
            troubled |= self._postpone(others, due_at, reason)
        Recipient.objects.filter(pk__in=troubled).update(
            failing_since=Coalesce("failing_since", at), error=reason
        )

    def _postpone(self, others: Q, due_at: dt.datetime, reason: str) -> set[int]:
        """What would only meet the same failure waits as long; whose it is.

        It counts as attempted: a broken channel holds it and not the quiet hours, so whoever was
        to hear of an incident hears of it though it is over by then. It counts so once only: the
        next run then begins with another one, and a message that breaks the channel by itself
        does not keep the others back for ever.
        """
        rows = claims.due(self.now).filter(others)
        troubled = set(rows.order_by().values_list("recipient", flat=True).distinct())
        self.tally.held += claims.update(
            rows, attempts=Greatest(F("attempts"), 1), error=reason, due_at=due_at
        )
        return troubled


def _is_void(row: Alert, now: dt.datetime) -> bool:
    """Nobody needs to be told this any more."""
    if not row.recipient.active:
        return True
    if row.kind != Kind.REMINDER or row.incident is None:
        return False
    incident = row.incident
    snoozed = incident.snoozed_until is not None and incident.snoozed_until > now
    return bool(incident.ended_at or incident.acknowledged_at or snoozed)


def trouble(now: dt.datetime) -> list[str]:
    """What is wrong with the alerts themselves, in sentences for the dashboard.

    One statement while nothing is.
    """
    if not _may_be_trouble(now):
        return []
    found = []
    active = Recipient.objects.filter(active=True)
    if channels.mail_is_only_printed() and active.filter(email__gt="").exists():
        found.append(
            "E-mail is only printed on the server: EMAIL_URL is not set. "
            "Ask your IT person to enter the mail server."
        )
    for recipient in active.filter(failing_since__isnull=False):
        since = times.moment(recipient.failing_since or now, now)
        found.append(
            f"{_way(recipient)} has not gone through since {since}: {recipient.error}. "
            f"Ask your IT person to check {_suspect(recipient)}."
        )
    rows = claims.due(now).filter(~claims.behind(), attempts=0, due_at__lt=now - OVERDUE)
    if quiet.over(now) > now:
        rows = rows.filter(claims.URGENT)
    if oldest := rows.aggregate(oldest=Min("due_at"))["oldest"]:
        since = times.moment(oldest, now)
        found.append(
            f"Alerts have been waiting since {since}: the scheduled job send_alerts does not run. "
            "Ask your IT person to set up cron again (README)."
        )
    return found


def _may_be_trouble(now: dt.datetime) -> bool:
    """In SQL: every load of the dashboard asks, and compiling what follows costs half a page."""
    ((wrong,),) = sql.rows(
        """
        SELECT EXISTS (SELECT 1 FROM integrations_recipient
                       WHERE active AND failing_since IS NOT NULL)
            OR EXISTS (SELECT 1 FROM integrations_alert
                       WHERE state = 'queued' AND attempts = 0 AND due_at < %s)
            OR (%s AND EXISTS (SELECT 1 FROM integrations_recipient
                               WHERE active AND email > ''))
        """,
        [now - OVERDUE, channels.mail_is_only_printed()],
    )
    return bool(wrong)


def _way(recipient: Recipient) -> str:
    """ "E-mail to owner@…": enough to know whose, and nothing that a passer-by could use."""
    if recipient.email:
        return f"E-mail to {recipient.email.partition('@')[0]}@…"
    return f"The alert to {recipient.name}"


def _suspect(recipient: Recipient) -> str:
    """Where the cause of its failure is to be found."""
    if not recipient.email:
        return "the service, and its URL in the admin"
    if "refused this address" in recipient.error:
        return "the address in the admin"
    if "refused our login" in recipient.error:
        return "the user and the password in EMAIL_URL"
    return "the mail server, and EMAIL_URL"
