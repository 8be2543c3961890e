"""The life of an incident; with `integrations.attention` the only writer of `Incident`.
Called in the caller's transaction.

One row from the first failure to the first success of the recovery. It changes cause inside
itself and is opened again when the trouble is back before anybody was told of the recovery.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db.models import QuerySet

from integrations.alerts import outbox
from integrations.levels import Level
from integrations.models import Incident, IncidentNote
from integrations.registry import get_integration

# Trouble that is back so soon is the same trouble. The recovery is told only afterwards, so that
# nobody hears "works again" about something that flaps.
REOPEN_WITHIN = dt.timedelta(minutes=15)
# A check that falls due at the end of that time starts a moment later.
JITTER = dt.timedelta(minutes=1)
FIRST_REMINDER = dt.timedelta(hours=4)
# Who acts, when it is not left to time or to a vendor.
PEOPLE = ("clinic", "administrator")


class Account(NamedTuple):
    """Whose incident: the slug of the integration, the account and its name."""

    integration: str
    account: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What is wrong, since when, and what was tried: (time, sentence), oldest first.

    `transient`: it may be over by itself, and others may have it with the same cause.
    """

    cause: str
    level: Level
    who_acts: str
    started_at: dt.datetime
    transient: bool = False
    receipts: Sequence[tuple[dt.datetime, str]] = ()


def of(account: Account) -> QuerySet[Incident]:
    return Incident.objects.filter(
        integration=account.integration, account=account.account, shared=False
    )


def open_of(account: Account) -> Incident | None:
    """The one that is open, if any."""
    return of(account).filter(ended_at=None).first()


def fail(account: Account, trouble: Trouble, now: dt.datetime, *, tell: bool, paused: bool) -> None:
    """There is confirmed trouble: open the incident, or go on with it. `tell`: alert people.

    A pause opens none and tells nobody. Raises `IntegrityError` when somebody else has just
    opened it.
    """
    if paused:
        return
    incident = open_of(account)
    if incident is None:
        incident = _reopened(account, trouble, now) or _opened(account, trouble, now)
        _note_all(incident, trouble.receipts)
    elif incident.cause != trouble.cause:
        _changed(incident, trouble, now)
        _note_all(incident, trouble.receipts)
    elif incident.level != trouble.level.value:
        _changed(incident, trouble, now)
    if incident.part_of_id and not trouble.transient:
        # Whatever the others have, this one's trouble is its own by now.
        incident.part_of = None
        incident.save(update_fields=["part_of"])
    if tell and incident.part_of_id is None:
        tell_opened(incident, now)


def tell_opened(incident: Incident, now: dt.datetime) -> None:
    """Queue the first message for everybody whose business it is and who has none yet."""
    first = Incident.objects.filter(pk=incident.pk, alerted_at=None).update(
        alerted_at=now, next_reminder_at=now + FIRST_REMINDER
    )
    told = outbox.opened(incident, now)
    if first and told:
        people = "1 recipient" if told == 1 else f"{told} recipients"
        add_note(incident, now, f"A person is needed or should know: {people} alerted.")
    incident.alerted_at = incident.alerted_at or now


def fail_together(
    account: Account, trouble: Trouble, parts: Iterable[tuple[str, str]], now: dt.datetime
) -> Incident:
    """The one incident that speaks for several. `parts`: (integration, account) of each.

    What was about to be told of a part alone is not told any more. Raises `IntegrityError`.
    """
    mine = Incident.objects.filter(
        integration=account.integration, account=account.account, shared=True, ended_at=None
    )
    incident = _first(mine)
    if incident is None:
        incident = _reopened(account, trouble, now, shared=True) or _opened(
            account, trouble, now, shared=True
        )
        _note_all(incident, trouble.receipts)
    elif (incident.cause, incident.level) != (trouble.cause, trouble.level.value):
        _changed(incident, trouble, now)
    wanted = set(parts)
    alone = Incident.objects.filter(ended_at=None, shared=False).exclude(part_of=incident)
    joining = [part for part in alone if (part.integration, part.account) in wanted]
    # The incidents before their alerts, as everywhere: two processes must not wait for each other.
    Incident.objects.filter(pk__in=[part.pk for part in joining]).update(part_of=incident)
    outbox.withdraw_all(joining)
    return incident


def _first(shared: QuerySet[Incident]) -> Incident | None:
    """A shared incident, locked before any of its parts is: of two processes that see to it at
    the same time, one waits for the other, and not each for the other.
    """
    return shared.select_for_update(no_key=True).first()


def pass_on(incident: Incident, account: Account, trouble: Trouble, now: dt.datetime) -> None:
    """The shared incident looks like another's now, and goes on as that. Raises
    `IntegrityError`."""
    incident.integration, incident.account, incident.name = account
    incident.cause, incident.level = trouble.cause, trouble.level.value
    incident.who_acts = trouble.who_acts
    incident.save(update_fields=["integration", "account", "name", "cause", "level", "who_acts"])
    add_note(incident, now, f"What fails alike points to {account.name} now.")
    _note_all(incident, trouble.receipts)
    if trouble.level is Level.CRITICAL:
        outbox.hurry(incident, now)


def release(incident: Incident, *, keep: set[tuple[str, str]]) -> int:
    """Its open parts speak for themselves again, but for those to `keep`; how many it keeps."""
    _first(Incident.objects.filter(pk=incident.pk))
    parts = list(incident.parts.filter(ended_at=None))
    gone = [part.pk for part in parts if (part.integration, part.account) not in keep]
    if gone:
        Incident.objects.filter(pk__in=gone).update(part_of=None)
    return len(parts) - len(gone)


def end_together(incident: Incident, ended_at: dt.datetime | None, now: dt.datetime) -> None:
    """The shared incident is over. `ended_at` None: none of its parts works again, each has
    another trouble by now or is not watched any more, so there is no recovery to tell of."""
    close(incident, ended_at or now, now, fixed_by="")
    if ended_at is None:
        outbox.withdraw_all([incident])
        return
    outbox.recovered(incident, now, due_at=now + REOPEN_WITHIN + JITTER)


def _opened(
    account: Account, trouble: Trouble, now: dt.datetime, *, shared: bool = False
) -> Incident:
    incident = Incident.objects.create(
        shared=shared,
        integration=account.integration,
        account=account.account,
        name=account.name,
        cause=trouble.cause,
        level=trouble.level.value,
        who_acts=trouble.who_acts,
        started_at=trouble.started_at,
        confirmed_at=now,
    )
    add_note(
        incident,
        trouble.started_at,
        f"First failure: {_words(account.integration, trouble.cause)}.",
    )
    return incident


def _reopened(
    account: Account, trouble: Trouble, now: dt.datetime, *, shared: bool = False
) -> Incident | None:
    """The last incident, if its end was premature and nobody has been told of it."""
    recent = trouble.started_at - REOPEN_WITHIN - JITTER
    mine = Incident.objects.filter(
        integration=account.integration, account=account.account, shared=shared
    )
    last = mine.filter(closed_at__gte=recent).order_by("-closed_at").first()
    if last is None or not outbox.withdraw_recovery(last):
        return None
    Incident.objects.filter(pk=last.pk).update(
        ended_at=None,
        closed_at=None,
        fixed_by="",
        part_of=None,
        cause=trouble.cause,
        level=trouble.level.value,
        who_acts=trouble.who_acts,
        next_reminder_at=now + FIRST_REMINDER if last.alerted_at else None,
    )
    last.refresh_from_db()
    add_note(last, now, f"It was not over: {_words(account.integration, trouble.cause)}.")
    return last


def _changed(incident: Incident, trouble: Trouble, now: dt.datetime) -> None:
    another = incident.cause != trouble.cause
    if another:
        slug = incident.integration
        was, now_is = _words(slug, incident.cause), _words(slug, trouble.cause)
        add_note(incident, now, f"The cause changed from “{was}” to “{now_is}”.")
    elif trouble.level is Level.CRITICAL:
        add_note(incident, now, "It has lasted so long that it is critical now.")
    incident.cause = trouble.cause
    incident.level = trouble.level.value
    incident.who_acts = trouble.who_acts
    incident.save(update_fields=["cause", "level", "who_acts"])
    if trouble.level is Level.CRITICAL:
        outbox.hurry(incident, now)
    if another and not trouble.transient and trouble.who_acts in PEOPLE:
        _ask_anew(incident, now)


def _ask_anew(incident: Incident, now: dt.datetime) -> None:
    """Who has heard of a blip, or answered to it, has to hear that a person is needed now."""
    if outbox.anew(incident, now):
        Incident.objects.filter(pk=incident.pk).update(
            acknowledged_at=None,
            acknowledged_by="",
            snoozed_until=None,
            snooze_reason="",
            next_reminder_at=now + FIRST_REMINDER,
        )


def end(account: Account, ended_at: dt.datetime, now: dt.datetime, *, fixed_by: str) -> None:
    """It works again, for sure, since `ended_at`."""
    incident = open_of(account)
    if incident is None:
        return
    close(incident, ended_at, now, fixed_by=fixed_by)
    # What a person mended does not come back by itself, and that person should be thanked.
    wait = dt.timedelta() if fixed_by else REOPEN_WITHIN + JITTER
    outbox.recovered(incident, now, due_at=now + wait)


def close(incident: Incident, ended_at: dt.datetime, now: dt.datetime, *, fixed_by: str) -> None:
    Incident.objects.filter(pk=incident.pk, ended_at=None).update(
        ended_at=ended_at, closed_at=now, fixed_by=fixed_by, next_reminder_at=None
    )
    incident.ended_at, incident.closed_at, incident.fixed_by = ended_at, now, fixed_by
    outbox.withdraw_reminders(incident)
    add_note(incident, now, f"Over. Mended by {fixed_by}." if fixed_by else "Over, by itself.")


def drop(account: Account, now: dt.datetime, state: str) -> None:
    """A person wanted it so, or there is nothing to watch: no recovery, and nobody to tell."""
    incident = open_of(account)
    if incident is None:
        return
    add_note(incident, now, f"Closed: {_words(account.integration, state)}.")
    Incident.objects.filter(pk=incident.pk).update(
        ended_at=now, closed_at=now, next_reminder_at=None, part_of=None
    )
    outbox.withdraw_all([incident])


def note(account: Account, at: dt.datetime, text: str) -> None:
    """A receipt on the open incident, if there is one."""
    incident = open_of(account)
    if incident is not None:
        add_note(incident, at, text)


def add_note(incident: Incident, at: dt.datetime, text: str) -> None:
    IncidentNote.objects.create(incident=incident, at=at, text=text[:300])


def _note_all(incident: Incident, receipts: Iterable[tuple[dt.datetime, str]]) -> None:
    IncidentNote.objects.bulk_create(
        IncidentNote(incident=incident, at=at, text=text[:300]) for at, text in receipts
    )


def _words(slug: str, cause: str) -> str:
    integration = get_integration(slug)
    return integration.title_of(cause) if integration else cause.replace("_", " ")
