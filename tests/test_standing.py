"""What status and incident add to a card: blips, recoveries, what fails alike, pauses, people."""

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from dashboard.headline import headline
from integrations import attention, status
from integrations.base import Action, Assessment, Symptom
from integrations.jane.models import Kind, Membership, MembershipChange
from integrations.levels import Level
from integrations.models import Incident, Recipient
from integrations.outages import correlate
from integrations.standing import stand
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import check, connect
from tests.trouble import HOUR, MINUTE, dead_grant, mend, tell

NOW = dt.datetime(2026, 3, 4, 12, 0, 2, tzinfo=dt.UTC)
SLOT = 15 * MINUTE
CHECK_NOW = Action(label="Check now", url="/quickbooks/check/", post=True)
FIX = Action(label="Fix Connection", url="/quickbooks/connect/")
TO_IT = Action(label="Send to IT", url="mailto:")

pytestmark = pytest.mark.django_db


def assessed(state: str = "ok", **values: Any) -> Assessment:
    """What QuickBooks' newest check says by itself."""
    healthy = state == "ok"
    known: dict[str, Any] = {
        "integration": "quickbooks",
        "account": HARBOUR,
        "name": "QuickBooks · Harbour Physio",
        "level": Level.HEALTHY if healthy else Level.CRITICAL,
        "headline": "Connected" if healthy else "Disconnected",
        "title": "Connected" if healthy else "QuickBooks is disconnected",
        "impact": "Payment tracking is working." if healthy else "Payment tracking stopped.",
        "next_step": "Nothing to do." if healthy else "Sign in.",
        "who_acts": "nobody" if healthy else "clinic",
        "action": None if healthy else FIX,
        "since": NOW - 9 * HOUR,
        "checked_at": NOW,
        "last_success_at": NOW - SLOT,
    }
    return Assessment(state=state, **{**known, **values})


def slow(**values: Any) -> Assessment:
    """A transient failure, which after so long without a success would be red by itself."""
    known = {"title": "QuickBooks is answering too slowly", "action": CHECK_NOW}
    return assessed(**{"state": "timeout", **known, "who_acts": "intuit", **values})


def shown(assessment: Assessment, now: dt.datetime = NOW) -> Assessment:
    (found,) = stand([assessment], now)
    return found


def labels(assessment: Assessment) -> list[str]:
    return [link.label for link in assessment.links]


# --- Blips and recoveries ----------------------------------------------------------------------


def test_where_nothing_is_wrong_one_statement_says_so(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    many = [assessed(account=str(number)) for number in range(12)]
    for one in many:
        tell(NOW, account=one.account)
    with django_assert_num_queries(1):
        assert stand(many, NOW) == many
    with django_assert_num_queries(0):
        assert stand([], NOW) == []


def test_a_single_failure_is_amber_whatever_it_looks_like_and_asks_nothing_of_anybody() -> None:
    tell(NOW - HOUR)
    tell(NOW, "timeout")
    card = shown(slow())
    assert card.level is Level.WARNING
    assert card.headline == card.title == "The last check failed. Checking again."
    assert card.impact == (
        "It last answered 15 minutes ago. "
        "A single failure proves nothing: most are over in a minute."
    )
    assert card.next_step.startswith("Nothing to do.")
    assert not card.needs_a_person
    assert (card.since, card.state) == (NOW, "timeout")
    assert card.action is None
    assert labels(card) == ["Check now"], "no button, and still possible"
    assert headline([card], NOW).sentence == (
        "The last check failed. Checking again. Nothing for you to do."
    )


def test_what_only_it_can_mend_is_not_sent_to_it_before_it_is_confirmed() -> None:
    tell(NOW, "network_unreachable", who_acts="administrator")
    card = shown(slow(state="network_unreachable", who_acts="administrator", action=TO_IT))
    assert (card.action, labels(card), card.who_acts) == (None, [], "nobody")


def test_a_confirmed_failure_stands_as_it_is() -> None:
    tell(NOW - MINUTE, "timeout")
    tell(NOW, "timeout", confirmed=True)
    card = shown(slow())
    assert (card.title, card.level) == (slow().title, slow().level)
    assert labels(card) == ["Incident"], "there is nothing that anybody could be on"


def test_evidence_that_the_status_does_not_know_yet_speaks_for_itself() -> None:
    """A renewal that was refused between two checks, say."""
    tell(NOW, "timeout")
    assert shown(assessed("reconnect_required")) == assessed("reconnect_required")


def test_a_recovery_is_amber_until_it_is_sure_and_green_at_once_for_a_person() -> None:
    dead_grant(NOW - 3 * HOUR)
    tell(NOW)
    card = shown(assessed())
    assert (card.level, card.headline) == (Level.WARNING, "Working again")
    assert card.title == "Working again. Making sure."
    assert (card.since, card.spell) == (NOW, "working")
    assert not card.needs_a_person
    assert labels(card) == ["Incident"]
    tell(NOW + MINUTE)
    assert shown(assessed()) == assessed()

    dead_grant(NOW + HOUR)
    mend(NOW + 2 * HOUR)
    assert shown(assessed()) == assessed()


# --- Several that fail alike -------------------------------------------------------------------


def sweep(at: dt.datetime, state: str, symptom: Symptom = Symptom.NONE) -> None:
    """Two companies, checked alike."""
    for realm, name in ((HARBOUR, "Harbour Physio"), (NORTHSIDE, "Northside Physio")):
        known = {"scheduled": True, "confirmed": True, "symptom": symptom}
        tell(at, state, account=realm, name=name, **known)
    correlate(at + MINUTE)


def test_our_own_network_is_grey_and_blames_no_vendor() -> None:
    sweep(NOW, "network_unreachable", Symptom.NO_ANSWER)
    cards = stand(
        [
            slow(state="network_unreachable", account=realm, action=TO_IT, who_acts="administrator")
            for realm in (HARBOUR, NORTHSIDE)
        ],
        NOW + HOUR,
    )
    shared = Incident.objects.get(shared=True)
    for card in cards:
        assert card.level is Level.UNKNOWN
        assert card.headline == card.title == "This server is offline"
        assert "Please don't reconnect anything" in card.next_step
        assert (card.since, card.spell) == (NOW, "no answer")
        assert card.action == TO_IT
        assert card.links[-1].url == f"/incidents/{shared.pk}/"
    assert headline(cards, NOW).level is Level.UNKNOWN
    assert headline(cards, NOW).sentence.startswith("This server is offline")


def test_a_vendors_outage_leaves_nothing_to_fix() -> None:
    sweep(NOW, "intuit_unavailable", Symptom.VENDOR_ERROR)
    card = shown(slow(state="intuit_unavailable", level=Level.WARNING), NOW + HOUR)
    assert card.title == "QuickBooks is having problems"
    assert card.next_step.startswith("Nothing to fix here.")
    assert (card.level, card.who_acts, card.action) == (Level.WARNING, "vendor", None)
    assert labels(card) == ["Check now", "Incident"]


def test_a_dead_grant_among_them_keeps_its_own_words() -> None:
    sweep(NOW, "intuit_unavailable", Symptom.VENDOR_ERROR)
    card = shown(assessed("reconnect_required"))
    assert (card.title, card.action) == ("QuickBooks is disconnected", FIX)


# --- People ------------------------------------------------------------------------------------


def test_who_is_on_it_and_the_way_to_the_incident() -> None:
    incident = dead_grant(NOW - HOUR)
    card = shown(assessed("reconnect_required"))
    assert card.action == FIX, "the one button stays the fix"
    assert labels(card) == ["I’m on it", "Incident"]
    on_it, page = card.links
    assert (on_it.post, on_it.url) == (
        True,
        f"/incidents/{incident.pk}/acknowledge/?back=dashboard",
    )
    assert page.url == f"/incidents/{incident.pk}/"

    attention.snooze(incident, NOW + 20 * HOUR, "Waiting for the accountant", "Ana", NOW)
    card = shown(assessed("reconnect_required"))
    assert card.facts == ["No reminder until Thursday at 8:00 am: Waiting for the accountant"]
    assert shown(assessed("reconnect_required"), NOW + 21 * HOUR).facts == []

    attention.acknowledge(incident, "Ana", NOW - 10 * MINUTE)
    card = shown(assessed("reconnect_required"))
    assert card.facts == ["Ana has been on it since 11:50 am"]
    assert labels(card) == ["Incident"]


def test_a_pause_says_until_when_and_why_and_alarms_nobody() -> None:
    dead_grant(NOW - HOUR)
    status.pause("quickbooks", HARBOUR, NOW + 45 * HOUR, "Moving the books", "Ana")
    card = shown(assessed("reconnect_required", notice="Renewal unfinished."))
    assert card.notice == "Paused until Friday at 9:00 am: Moving the books Renewal unfinished."
    assert card.level is Level.CRITICAL, "what is wrong is not hidden"
    assert not card.needs_a_person
    assert "End the pause" in labels(card)
    other = assessed(account=NORTHSIDE)
    said = headline([card, other], NOW)
    assert (said.level, said.sentence) == (
        Level.HEALTHY,
        "QuickBooks · Harbour Physio is paused. Everything else works",
    )
    assert headline([card], NOW).sentence == "Everything is paused"
    assert not shown(assessed("reconnect_required"), NOW + 46 * HOUR).paused


# --- What may be missing in the books ----------------------------------------------------------


@pytest.fixture
def memberships(settings: Settings) -> None:
    """Two that began half an hour ago in Jane."""
    settings.JANE_WEBHOOK_SECRETS = ["secret"]
    for number in (1, 2):
        one = Membership.objects.create(
            person_id=str(number),
            key=f"plan:{number}",
            vendor_id=str(number),
            plan="Plan",
            status="active",
            changed_at=NOW,
            first_seen_at=NOW,
        )
        MembershipChange.objects.create(
            membership=one, at=NOW - HOUR / 2, kind=Kind.APPEARED, status="active"
        )


@pytest.mark.usefixtures("memberships")
def test_what_may_be_missing_is_told_once_and_not_asked_for_every_card(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    cards = [assessed("reconnect_required", account=str(number)) for number in range(12)]
    for number, one in enumerate(cards):
        dead_grant(NOW - HOUR - number * MINUTE, account=one.account)
    with django_assert_max_num_queries(3):
        found = stand(cards, NOW)
    told = [fact for one in found for fact in one.facts]
    assert len(told) == 1
    assert told[0].startswith("2 memberships began in Jane")
    assert found[-1].facts == told, "on the card of what has been down for longest"


@pytest.mark.usefixtures("memberships")
def test_of_several_that_fail_together_it_is_told_of_the_same_one_whoever_is_first() -> None:
    other = {"integration": "gohighlevel", "account": "", "name": "GoHighLevel"}
    for minutes in (40, 25, 10):
        at = NOW - minutes * MINUTE
        for whose in ({}, other):
            tell(at, "timeout", scheduled=True, confirmed=True, **whose)
        correlate(at)
    cards = [assessed("timeout", level=Level.WARNING), assessed("timeout", **other)]
    # A card that has just been asked stands in front of the others.
    for ordered in (cards, cards[::-1]):
        told = [one.integration for one in stand(ordered, NOW) if "2 memberships" in str(one.facts)]
        assert told == ["quickbooks"]


# --- Where people look -------------------------------------------------------------------------


@pytest.mark.usefixtures("simulator")
def test_a_check_by_hand_is_told_like_any_other(
    staff_client: Client, world: World, settings: Settings
) -> None:
    settings.QUICKBOOKS_PROBE_REUSE_SECONDS = 0
    connect(world)
    check()
    world.set_fault("api", "unavailable")
    answer = staff_client.get(f"/dashboard/cards/quickbooks/{HARBOUR}/").content.decode()
    assert "The last check failed. Checking again." in answer
    assert "Nothing for you to do" in answer
    (card,) = [
        found
        for found in staff_client.get("/api/admin/integrations").json()["integrations"]
        if found["account"] == HARBOUR
    ]
    assert (card["status"], card["state"]) == ("warning", "intuit_unavailable")
    assert card["title"] == "The last check failed. Checking again."
    # The verdict of a real call is told as it is.
    verdict = staff_client.get("/api/admin/quickbooks/connection-status?fresh=1").json()
    assert verdict["diagnosis"]["title"] == "QuickBooks is having problems"


@pytest.mark.usefixtures("simulator")
def test_a_red_card_offers_i_am_on_it_and_tells_who_is(staff_client: Client, world: World) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    world.expire_access_tokens(HARBOUR)
    check()
    incident = Incident.objects.get()
    url = f"/incidents/{incident.pk}/acknowledge/?back=dashboard"
    assert f'action="{url}"' in staff_client.get("/dashboard/").content.decode()
    assert staff_client.post(url)["Location"] == "/dashboard/"
    page = staff_client.get("/dashboard/").content.decode()
    assert "staff has been on it since" in page
    assert f'action="{url}"' not in page
    history = staff_client.get("/dashboard/history/")
    assert f'href="/incidents/{incident.pk}/">Since ' in history.content.decode()
    assert 'href="/incidents/">All incidents' in history.content.decode()


def test_a_way_that_alerts_do_not_take_is_told(staff_client: Client, now: dt.datetime) -> None:
    Recipient.objects.create(
        name="Ana",
        key="ana",
        email="ana@clinic.example",
        failing_since=now - HOUR,
        error="connection refused",
    )
    page = staff_client.get("/dashboard/").content.decode()
    assert "E-mail to ana@… has not gone through since" in page
    assert "ana@clinic.example" not in page
