"""Reminders: when, how often, and when not."""

import datetime as dt

import pytest
from pytest_django import Settings

from integrations import attention, status
from integrations.alerts.reminders import MOST, remind
from integrations.levels import Level
from integrations.models import Alert, Incident, IntegrationStatus, Recipient
from tests.alerts import (
    HOUR,
    MINUTE,
    NINE_45,
    add_recipient,
    close_incident,
    fail_together,
    open_incident,
)

pytestmark = pytest.mark.django_db

FOUR_HOURS = NINE_45 + 4 * HOUR
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def owner(settings: Settings) -> Recipient:
    settings.CLINIC_HOURS = "Mon-Fri 08:00-12:00, Mon-Fri 13:00-18:00"
    return add_recipient()


def reminded(days: int) -> list[dt.datetime]:
    """When reminders are queued, if somebody looks on every full hour."""
    found = []
    for hours in range(days * 24):
        at = NINE_45 + 15 * MINUTE + hours * HOUR
        if remind(at):
            found.append(at)
    return found


def test_after_four_hours_then_at_each_days_opening_and_at_most_seven_times() -> None:
    open_incident()
    found = reminded(20)
    opening = NINE_45.replace(hour=8, minute=0)
    assert found[0] == FOUR_HOURS + 15 * MINUTE
    # Tuesday's next is Wednesday; nobody is there on the weekend.
    assert [round((at - opening) / DAY) for at in found[1:]] == [1, 2, 3, 6, 7, 8]
    assert {at.hour for at in found[1:]} == {8}
    assert len(found) == MOST
    assert list(Alert.objects.filter(kind="reminder").values_list("key", flat=True)) == [
        f"incident:{Incident.objects.get().pk}:reminder:{number}" for number in range(MOST, 0, -1)
    ]


def test_a_clinic_without_hours_is_reminded_every_day(settings: Settings) -> None:
    settings.CLINIC_CLOSED_DAYS = [f"{NINE_45.date() + n * DAY}" for n in range(100)]
    open_incident()
    found = reminded(4)[:4]
    assert [at.date() - NINE_45.date() for at in found] == [n * DAY for n in range(4)]


@pytest.mark.parametrize("who_acts", ["nobody", "intuit", "vendor"])
def test_where_nobody_can_act_nobody_is_reminded(who_acts: str) -> None:
    open_incident(cause="intuit_unavailable", level=Level.WARNING, who_acts=who_acts)
    assert reminded(3) == []


def test_an_answer_or_the_recovery_ends_them() -> None:
    answered = open_incident("1", "North")
    over = open_incident("2", "South")
    attention.acknowledge(answered, "Dana", NINE_45 + HOUR)
    close_incident(over, NINE_45 + HOUR)
    assert reminded(3) == []


def test_a_snooze_puts_them_off() -> None:
    incident = open_incident()
    attention.snooze(incident, NINE_45 + 2 * DAY, "The bank is closed", "Dana", NINE_45 + HOUR)
    assert reminded(3)[0] == NINE_45 + 2 * DAY + 15 * MINUTE


def test_a_snooze_does_not_begin_the_seven_anew() -> None:
    incident = open_incident()
    Incident.objects.update(reminders=MOST, next_reminder_at=None)
    attention.snooze(incident, NINE_45 + 2 * DAY, "Later", "Dana", NINE_45 + DAY)
    assert reminded(4) == []


def test_a_pause_holds_them_until_it_is_over() -> None:
    pause(open_incident(), NINE_45 + 6 * HOUR)
    assert reminded(1)[0] == NINE_45 + 6 * HOUR + 15 * MINUTE


def test_what_speaks_for_several_is_held_while_all_of_them_are_paused() -> None:
    parts = [open_incident(str(n), f"Clinic {n}", tell=False) for n in range(2)]
    fail_together(parts)
    pause(parts[0], NINE_45 + 9 * HOUR)
    pause(parts[1], NINE_45 + 6 * HOUR)
    assert reminded(1)[0] == NINE_45 + 6 * HOUR + 15 * MINUTE


def pause(incident: Incident, until: dt.datetime) -> None:
    IntegrationStatus.objects.create(
        integration=incident.integration,
        account=incident.account,
        name=incident.name,
        level="critical",
        state=incident.cause,
        since=NINE_45,
        checked_at=NINE_45,
    )
    status.pause(incident.integration, incident.account, until, "Moving", "Dana")


def test_two_that_look_at_once_remind_once() -> None:
    incident = open_incident()
    stale = Incident.objects.get(pk=incident.pk)
    assert remind(FOUR_HOURS) == 1
    assert not attention.count_reminder(stale, None)
    assert remind(FOUR_HOURS) == 0


def test_quiet_hours_hold_them(settings: Settings) -> None:
    settings.QUIET_HOURS = "12:00-15:00"
    open_incident()
    assert remind(FOUR_HOURS) == 1
    assert Alert.objects.get(kind="reminder").due_at == NINE_45.replace(hour=15, minute=0)
