"""`check_integrations`: what is stored is judged and written down, and nobody is called."""

import datetime as dt

import pytest
from django.utils import timezone
from pytest_django import Settings

from integrations.gohighlevel.models import LocationCheck
from integrations.models import IntegrationStatus, Outcome, WebhookDelivery
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
    assert stored() == {**bad, "jane": ("healthy", "arriving")}


def test_for_cron_it_prints_nothing_whatever_it_finds() -> None:
    code, text = run("check_integrations", "--quiet")
    assert (code, text) == (1, "")
    assert set(stored()) == {"jane", "gohighlevel"}
