"""Recipients, incidents and queued alerts for tests, and a run of the delivery."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from integrations import incidents
from integrations.alerts import delivery, recipients
from integrations.levels import Level
from integrations.models import Alert, Incident, Recipient
from tests.conftest import HARBOUR

# Tuesday, 9:45 am in UTC, which is the tests' time zone.
NINE_45 = dt.datetime(2026, 11, 24, 9, 45, tzinfo=dt.UTC)
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
# Sending takes a few milliseconds; a machine that is busy otherwise may take seconds.
PATIENT = 10.0
# For servers that hang.
SHORT = 0.5


def add_recipient(email: str = "owner@clinic.example", **values: Any) -> Recipient:
    return Recipient.objects.create(
        **{"name": email.partition("@")[0], "email": email, "key": recipients.key_of(email)}
        | values
    )


def add_url(url: str, **values: Any) -> Recipient:
    """A recipient by way of Apprise."""
    key = recipients.key_of(url)
    field = Recipient._meta.get_field("url")
    sealed = field.seal_for(key, url)
    return Recipient.objects.create(**{"name": "the team", "key": key, "url": sealed} | values)


def open_incident(
    account: str = HARBOUR,
    name: str = "Harbour Physio",
    *,
    cause: str = "reconnect_required",
    at: dt.datetime = NINE_45,
    level: Level = Level.CRITICAL,
    who_acts: str = "clinic",
    tell: bool = True,
) -> Incident:
    """It began and was confirmed at once, and people are told."""
    whose = incidents.Account("quickbooks", account, name)
    trouble = incidents.Trouble(cause=cause, level=level, who_acts=who_acts, started_at=at)
    incidents.fail(whose, trouble, at, tell=tell, paused=False)
    found = incidents.open_of(whose)
    assert found is not None
    return found


def fail_together(parts: Sequence[Incident], *, at: dt.datetime = NINE_45) -> Incident:
    """This server is offline, which is one incident that speaks for all of these."""
    found = incidents.fail_together(
        incidents.Account("", "", "This server"),
        incidents.Trouble(
            cause="server_offline",
            level=Level.UNKNOWN,
            who_acts="administrator",
            started_at=at,
            transient=True,
        ),
        [(part.integration, part.account) for part in parts],
        at,
    )
    incidents.tell_opened(found, at)
    return found


def close_incident(incident: Incident, at: dt.datetime, *, fixed_by: str = "") -> None:
    whose = incidents.Account(incident.integration, incident.account, incident.name)
    incidents.end(whose, at, at, fixed_by=fixed_by)


def alert_of(incident: Incident, kind: str) -> Alert:
    return Alert.objects.get(incident=incident, kind=kind)


def deliver(at: dt.datetime, deadline: float = PATIENT) -> delivery.Tally:
    return delivery.deliver(at, deadline=deadline)
