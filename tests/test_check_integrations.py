"""`check_integrations`: what is stored is judged and written down, and nobody is called."""

import datetime as dt

import pytest
from django.utils import timezone
from pytest_django import Settings

from integrations.gohighlevel.models import LocationCheck
from integrations.models import IntegrationStatus, Outcome, WebhookDelivery
from quickbooks.models import GrantState, OAuthToken
from tests.conftest import HARBOUR
from tests.support import run

pytestmark = pytest.mark.django_db


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
