"""What people are told of a state in a message: every state there is, filled in and with a link."""

import datetime as dt
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from pytest_django import Settings

from integrations.base import Explanation
from integrations.gohighlevel.states import State
from integrations.jane.words import WORDS as JANE_WORDS
from integrations.registry import all_integrations, get_integration
from quickbooks.diagnosis import Code
from quickbooks.models import MeteredCalls, OAuthToken, RefreshOutcome, TokenRefresh
from quickbooks.words import ALLOWANCE_USED_UP
from quickbooks.words import WORDS as QUICKBOOKS_WORDS
from tests import jane
from tests.conftest import HARBOUR
from tests.support import add_check

pytestmark = pytest.mark.django_db

SINCE = dt.datetime(2026, 11, 17, 9, 45, tzinfo=dt.UTC)  # a Tuesday
NOW = SINCE + dt.timedelta(hours=3)

QUICKBOOKS = [("quickbooks", account, code.value) for code in Code for account in (HARBOUR, "")]
JANE = [("jane", "", state) for state in [*JANE_WORDS, "not_configured"]]
GOHIGHLEVEL = [("gohighlevel", "", state) for state in [*State, "not_configured"]]


@pytest.fixture(autouse=True)
def set_up(settings: Settings) -> None:
    settings.SITE_URL = "https://monitor.clinic.example"
    settings.TIME_ZONE = "UTC"


def company(**values: Any) -> OAuthToken:
    return OAuthToken.objects.create(
        realm_id=HARBOUR, company_name="Harbour Physio", state="live", **values
    )


def explained(slug: str, state: str, account: str = "") -> Explanation:
    integration = get_integration(slug)
    assert integration is not None
    return integration.explain(account, state, since=SINCE, now=NOW)


@pytest.mark.parametrize(("slug", "account", "state"), [*QUICKBOOKS, *JANE, *GOHIGHLEVEL])
def test_every_state_of_the_contract_is_explained(
    slug: str, account: str, state: str, staff_client: Client
) -> None:
    if account:
        company()
    found = explained(slug, state, account)
    for text in (found.title, found.impact, found.next_step):
        assert text
        assert not {"{", "}"} & set(text)
        assert "None" not in text
    url = urlsplit(found.fix_url)
    assert f"{url.scheme}://{url.netloc}" == "https://monitor.clinic.example"
    assert staff_client.get(f"{url.path}?{url.query}").status_code == 200
    assert found.reference == ""


@pytest.mark.parametrize("slug", ["quickbooks", "jane", "gohighlevel"])
def test_a_state_that_nobody_knows_any_more_is_no_error(slug: str) -> None:
    found = explained(slug, "a_thing_of_the_past")
    assert "a thing of the past" in found.title
    assert "Tuesday at 9:45 am" in found.impact


def test_a_dead_grant_is_told_with_the_company_the_time_and_the_link_to_its_fix_page() -> None:
    company()
    found = explained("quickbooks", "reconnect_required", HARBOUR)
    assert found.title == "QuickBooks is disconnected"
    assert found.impact.startswith("Payment tracking stopped Tuesday at 9:45 am.")
    assert "choose Harbour Physio" in found.next_step
    assert found.fix_url == f"https://monitor.clinic.example/quickbooks/fix/?realm={HARBOUR}"


def test_without_a_company_there_is_still_a_sentence() -> None:
    found = explained("quickbooks", "reconnect_required")
    assert "choose your company" in found.next_step
    assert found.fix_url == "https://monitor.clinic.example/quickbooks/fix/"


def test_the_allowance_of_the_month_is_called_by_its_name(settings: Settings) -> None:
    settings.QUICKBOOKS_MONTHLY_ALLOWANCE = 100
    counter = MeteredCalls.objects.create(
        client_id=settings.QUICKBOOKS_CLIENT_ID, month=NOW.date().replace(day=1), count=99
    )
    throttled = explained("quickbooks", "throttled", HARBOUR)
    assert throttled.title == QUICKBOOKS_WORDS[Code.THROTTLED].title
    assert "We try again at 1:00 pm." in throttled.next_step
    MeteredCalls.objects.filter(pk=counter.pk).update(count=100)
    used_up = explained("quickbooks", "throttled", HARBOUR)
    assert used_up.title == ALLOWANCE_USED_UP.title
    assert "until December 1." in used_up.impact


def test_who_disconnected_it_is_said(django_user_model: Any) -> None:
    user = django_user_model.objects.create_user("Sam")
    company(disconnected_at=SINCE, disconnected_by=user)
    impact = explained("quickbooks", "disconnected_here", HARBOUR).impact
    assert impact.startswith("Sam disconnected it on November 17.")


def test_the_reference_is_that_of_the_newest_failure_since_then() -> None:
    company()
    minute = dt.timedelta(minutes=1)
    for at, diagnosis, tid in (
        (SINCE - minute, "intuit_unavailable", "1-before"),
        (SINCE, "intuit_unavailable", "1-first"),
        (SINCE + minute, "intuit_unavailable", "1-second"),
        (SINCE + 2 * minute, "timeout", ""),
        (SINCE + 3 * minute, "ok", "1-good"),
    ):
        add_check(checked_at=at, diagnosis=diagnosis, intuit_tid=tid)
    assert explained("quickbooks", "intuit_unavailable", HARBOUR).reference == "1-second"


def test_for_a_dead_grant_it_is_that_of_the_refused_renewal() -> None:
    """The checks that follow ask nobody, so they have none."""
    company(generation=3)
    add_check(checked_at=SINCE, diagnosis="reconnect_required")
    for generation, tid in ((2, "1-an-older-grant"), (3, "1-refused")):
        TokenRefresh.objects.create(
            realm_id=HARBOUR,
            purpose=TokenRefresh.Purpose.REFRESH,
            generation=generation,
            started_at=SINCE,
            outcome=RefreshOutcome.REJECTED,
            intuit_tid=tid,
        )
    assert explained("quickbooks", "reconnect_required", HARBOUR).reference == "1-refused"


def test_a_silence_of_jane_is_explained_by_what_the_others_saw(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = [jane.SECRET]
    jane.came(SINCE - dt.timedelta(minutes=90))
    found = explained("jane", "stale")
    assert found.impact.startswith("ClinicSync last delivered at 8:15 am.")
    assert found.next_step == jane.card(NOW).next_step
    assert found.fix_url == "https://monitor.clinic.example/integrations/jane/set-up/"


def test_trouble_at_gohighlevel_leads_to_its_set_up_page_where_that_helps() -> None:
    rejected = explained("gohighlevel", "token_rejected")
    assert "since Tuesday at 9:45 am" in rejected.impact
    assert rejected.fix_url == "https://monitor.clinic.example/integrations/gohighlevel/set-up/"
    waiting = explained("gohighlevel", "unavailable")
    assert waiting.fix_url == "https://monitor.clinic.example/dashboard/#card-gohighlevel-"


def test_no_integration_is_forgotten() -> None:
    assert {slug for slug, _, _ in [*QUICKBOOKS, *JANE, *GOHIGHLEVEL]} == set(all_integrations())
