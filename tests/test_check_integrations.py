"""`check_integrations`: what is stored is judged and written down, and nobody is called."""

import datetime as dt

import pytest
from django.utils import timezone
from pytest_django import Settings

from integrations.gohighlevel.models import LocationCheck
from integrations.models import Incident, IntegrationStatus, Outcome, WebhookDelivery
from quickbooks.evidence import Context
from quickbooks.models import GrantState, OAuthToken, Trigger
from quickbooks.probe import probe
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR
from tests.support import add_check, check, connect, run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def everything_but_quickbooks(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = ["a secret of ours"]
    settings.GOHIGHLEVEL_TOKEN, settings.GOHIGHLEVEL_LOCATION_ID = "token", "location"
    settings.CLINIC_HOURS = "Mon-Sun 00:00-24:00"


def arrived(ago: dt.timedelta) -> None:
    at = timezone.now() - ago
    WebhookDelivery.objects.create(
        integration="jane",
        event_key=f"id:{at}",
        received_at=at,
        last_received_at=at,
        scheme="x-api-key",
        size=1,
        outcome=Outcome.STORED,
    )


def stored() -> dict[str, tuple[str, str]]:
    rows = IntegrationStatus.objects.all()
    return {row.integration: (row.level, row.state) for row in rows}


def test_what_has_just_been_set_up_has_a_status() -> None:
    code, text = run("check_integrations")
    assert code == 1
    assert "Jane / ClinicSync: WARNING - ClinicSync has not delivered anything yet" in text
    never = {"jane": ("warning", "never_seen"), "gohighlevel": ("warning", "never_synced")}
    assert stored() == never


def test_a_status_changes_with_what_is_known() -> None:
    arrived(dt.timedelta(hours=5))
    LocationCheck.objects.create(
        location_id="location",
        checked_at=timezone.now(),
        ok=False,
        state="token_rejected",
        trigger="command",
    )
    assert run("check_integrations")[0] == 2
    bad = {"jane": ("critical", "stale"), "gohighlevel": ("critical", "token_rejected")}
    assert stored() == bad

    arrived(dt.timedelta(minutes=5))
    run("check_integrations")
    assert stored() == bad, "one look at it proves little"
    run("check_integrations")
    assert stored() == {**bad, "jane": ("healthy", "arriving")}


def test_for_cron_it_prints_nothing_whatever_it_finds() -> None:
    code, text = run("check_integrations", "--quiet")
    assert (code, text) == (1, "")
    assert set(stored()) == {"jane", "gohighlevel"}


def test_a_judgement_from_silence_is_newer_than_what_was_written_meanwhile(
    settings: Settings,
) -> None:
    arrived(dt.timedelta(hours=5))
    run("check_integrations")
    settings.JANE_WEBHOOK_SECRETS = []
    run("check_integrations")
    assert stored()["jane"] == ("unknown", "not_configured")
    settings.JANE_WEBHOOK_SECRETS = ["a secret of ours"]
    run("check_integrations")
    assert stored()["jane"] == ("critical", "stale")
    began = IntegrationStatus.objects.get(integration="jane").since
    # 90 minutes of opening time after the last delivery the trouble began.
    assert dt.timedelta(hours=3) < timezone.now() - began < dt.timedelta(hours=4)


def test_what_stood_for_no_account_goes_when_there_is_one(settings: Settings) -> None:
    settings.QUICKBOOKS_CLIENT_ID = ""
    run("check_integrations")
    assert stored()["quickbooks"] == ("unknown", "not_configured")
    settings.QUICKBOOKS_CLIENT_ID = "demo-client-id"
    OAuthToken.objects.create(realm_id=HARBOUR, state=GrantState.DISCONNECTED, generation=1)
    run("check_integrations")
    rows = IntegrationStatus.objects.filter(integration="quickbooks")
    assert [row.account for row in rows] == [HARBOUR]


def test_what_ends_between_two_checks_began_with_the_last_and_not_with_the_health_before(
    simulator: Simulator, world: World, settings: Settings, now: dt.datetime
) -> None:
    connect(world, age=dt.timedelta(days=4))
    for hours in (72, 1):
        check(now=now - dt.timedelta(hours=hours))
    settings.QUICKBOOKS_CLIENT_ID = "another"
    run("check_integrations")
    incident = Incident.objects.get()
    assert incident.cause == "wrong_company_or_environment"
    assert incident.started_at == now - dt.timedelta(hours=1)


def test_while_a_reconnection_is_made_sure_of_nothing_is_judged(
    simulator: Simulator, world: World, now: dt.datetime
) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    OAuthToken.objects.update(access_expires_at=now - dt.timedelta(hours=1))
    check(now=now - dt.timedelta(minutes=20))
    assert Incident.objects.get().ended_at is None
    connect(world, age=dt.timedelta(minutes=1))
    run("check_integrations")
    assert Incident.objects.get().ended_at is None
    ana = Context(attended="Ana")
    probe(HARBOUR, trigger=Trigger.CONNECT, now=now, fresh=True, context=ana)
    assert Incident.objects.get().fixed_by == "Ana"


def test_a_company_with_a_long_name_is_judged_like_any_other(
    simulator: Simulator, world: World
) -> None:
    connect(world)
    OAuthToken.objects.update(company_name="x" * 200)
    add_check()
    run("check_integrations")
    assert stored()["quickbooks"] == ("healthy", "ok")
