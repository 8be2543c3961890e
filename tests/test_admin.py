"""The admin, as somebody who opens it sees it."""

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from integrations.crypto import EncryptedTextField
from integrations.levels import Level
from integrations.models import IntegrationStatus
from integrations.paginator import CappedPaginator
from integrations.status import Evidence, commit
from quickbooks.admin import companies
from quickbooks.admin.journal import LEVELS
from quickbooks.diagnosis import Code
from quickbooks.models import (
    ConnectionHealthCheck,
    GrantState,
    OAuthToken,
    RefreshOutcome,
    TokenRefresh,
    Trigger,
)
from quickbooks.probe import Outcome, UnknownCompany
from tests.conftest import HARBOUR, NORTHSIDE

pytestmark = pytest.mark.django_db

CHECKS = "/admin/quickbooks/connectionhealthcheck/"
COMPANIES = "/admin/quickbooks/oauthtoken/"
JOURNAL = "/admin/quickbooks/tokenrefresh/"
STATUSES = "/admin/integrations/integrationstatus/"


def account(*codenames: str) -> Client:
    """Somebody on the staff with these permissions."""
    user = User.objects.create_user(f"staff {'-'.join(codenames)}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def client() -> Client:
    """Somebody who may see everything and manage the connection."""
    return account(
        "view_connectionhealthcheck",
        "view_oauthtoken",
        "view_tokenrefresh",
        "view_integrationstatus",
        "manage_connection",
    )


@pytest.fixture
def harbour(settings: Settings) -> OAuthToken:
    now = timezone.now()
    row = OAuthToken.objects.create(
        realm_id=HARBOUR,
        company_name="Harbour Physio",
        state=GrantState.LIVE,
        generation=3,
        access_expires_at=now + dt.timedelta(minutes=42, seconds=30),
        refresh_expires_at=now + dt.timedelta(days=90, hours=1),
        minted_at=now - dt.timedelta(minutes=18),
        last_success_at=now - dt.timedelta(minutes=2, seconds=10),
        client_id=settings.QUICKBOOKS_CLIENT_ID,
        environment=settings.QUICKBOOKS_ENVIRONMENT,
        site_url=settings.SITE_URL,
        connected_at=now - dt.timedelta(days=20),
    )
    OAuthToken.objects.update(
        access_token=OAuthToken.seal("access_token", HARBOUR, "access-in-plain-text"),
        refresh_token=OAuthToken.seal("refresh_token", HARBOUR, "refresh-in-plain-text"),
    )
    return row


def check(minutes_ago: float = 5, code: Code = Code.OK, **fields: Any) -> ConnectionHealthCheck:
    values: dict[str, Any] = {
        "realm_id": HARBOUR,
        "checked_at": timezone.now() - dt.timedelta(minutes=minutes_ago),
        "ok": code is Code.OK,
        "diagnosis": code.value,
        "latency_ms": 200,
        "trigger": Trigger.COMMAND,
    }
    return ConnectionHealthCheck.objects.create(**{**values, **fields})


def page(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, (url, answer.status_code)
    return answer.content.decode()


def text(html: str) -> str:
    """What is read: no tags, one space between words."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def rows(html: str) -> list[str]:
    """The rows of the list."""
    found = re.search(r'id="result_list".*?<tbody>(.*?)</tbody>', html, re.DOTALL)
    return [text(row) for row in re.findall(r"<tr>.*?</tr>", found[1], re.DOTALL)] if found else []


# --- The check history ------------------------------------------------------------------------


def test_a_row_says_company_result_diagnosis_latency_trigger_and_tid(
    client: Client, harbour: OAuthToken
) -> None:
    check(code=Code.TIMEOUT, latency_ms=10_000, trigger=Trigger.API, intuit_tid="1-abc")
    [row] = rows(page(client, CHECKS))
    assert row.startswith("Harbour Physio ")
    assert row.endswith("▲ Failed QuickBooks is answering too slowly 10,000 ms API 1-abc")


def test_a_result_is_an_icon_and_a_word_beside_its_colour(
    client: Client, harbour: OAuthToken
) -> None:
    check()
    check(code=Code.RECONNECT_REQUIRED)
    check(code=Code.TIMEOUT)
    check(code=Code.OK, diagnosis="of_an_older_version", ok=False)
    html = page(client, CHECKS)
    for level, icon, word in (
        ("healthy", "✔", "OK"),
        ("critical", "✖", "Failed"),
        ("warning", "▲", "Failed"),
        ("unknown", "○", "Failed"),
    ):
        label = f'class="level level-{level}"><span aria-hidden="true">{icon}</span> {word}<'
        assert label in html


def test_the_last_24_hours_are_shown_at_first_and_all_time_on_request(client: Client) -> None:
    check(minutes_ago=5, intuit_tid="tid-today")
    check(minutes_ago=25 * 60, intuit_tid="tid-yesterday")
    check(minutes_ago=9 * 24 * 60, intuit_tid="tid-long-ago")
    shown = [len(rows(page(client, CHECKS + query))) for query in ("", "?span=7d", "?span=all")]
    assert shown == [1, 2, 3]
    assert "tid-today" in rows(page(client, CHECKS))[0]


def test_two_days_of_the_clinics_calendar_are_included(client: Client, settings: Settings) -> None:
    settings.TIME_ZONE = "America/Vancouver"
    with timezone.override("America/Vancouver"):
        for hour_utc in ("2026-03-03T07:59", "2026-03-03T08:00", "2026-03-05T07:59"):
            at = dt.datetime.fromisoformat(f"{hour_utc}:00+00:00")
            check(checked_at=at, intuit_tid=hour_utc)
        check(checked_at=dt.datetime(2026, 3, 5, 8, 0, tzinfo=dt.UTC))
        html = page(client, f"{CHECKS}?first=2026-03-03&last=2026-03-04")
    found = rows(html)
    assert len(found) == 2
    assert found[0].endswith("2026-03-05T07:59")
    assert found[1].endswith("2026-03-03T08:00")
    assert "March 3, 2026 to March 4, 2026" in text(html)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("first=2026-03-05&last=2026-03-01", "The first day is after the last."),
        ("first=yesterday", "Enter a valid date."),
        ("last=9999-12-31", "Ensure this value is less than or equal to"),
    ],
)
def test_impossible_days_are_said_and_the_last_24_hours_shown(
    client: Client, query: str, said: str
) -> None:
    check(minutes_ago=5)
    check(minutes_ago=30 * 60)
    html = page(client, f"{CHECKS}?{query}")
    assert said in html
    assert len(rows(html)) == 1


def test_the_figures_above_the_list_are_of_what_is_filtered(
    client: Client, harbour: OAuthToken
) -> None:
    for latency in (100, 200, 300, 400):
        check(latency_ms=latency)
    check(code=Code.TIMEOUT, latency_ms=10_000)
    check(code=Code.TIMEOUT, latency_ms=10_000, confirming=True)
    check(code=Code.THROTTLED, latency_ms=50, realm_id=NORTHSIDE)
    check(minutes_ago=25 * 60, code=Code.NETWORK_UNREACHABLE)

    shown = text(page(client, CHECKS))
    assert "Score 66.7 % Checks 6, 4 OK" in shown
    assert "QuickBooks is answering too slowly : 1" in shown
    assert "QuickBooks asked us to slow down : 1" in shown

    shown = text(page(client, f"{CHECKS}?company={HARBOUR}"))
    assert "Score 80.0 % Checks 5, 4 OK" in shown
    assert "Latency, median 300 ms Latency, 95th percentile 10000 ms" in shown
    assert "QuickBooks asked us to slow down : " not in shown

    assert "Score 100.0 % Checks 4, 4 OK" in text(page(client, f"{CHECKS}?result=True"))


def test_a_diagnosis_above_the_list_leads_to_its_checks(client: Client) -> None:
    check()
    check(code=Code.TIMEOUT)
    html = page(client, CHECKS)
    [link] = re.findall(r'<li><a href="([^"]+)">QuickBooks is answering too slowly</a>: 1', html)
    assert len(rows(page(client, CHECKS + link))) == 1


@pytest.mark.parametrize(
    ("query", "counted"),
    [
        ("?span=7d", True),
        ("?first=2026-10-26&last=2026-11-01", True),
        ("?first=2026-10-26&last=2026-11-02", False),
        ("?last=2026-11-02", False),
        ("?span=all", False),
    ],
)
def test_no_more_than_seven_days_are_added_up(client: Client, query: str, counted: bool) -> None:
    check()
    with CaptureQueriesContext(
        connection,
    ) as asked:
        shown = text(page(client, CHECKS + query))
    assert ("Choose at most 7 days" in shown) is not counted
    assert any("GROUP BY" in query["sql"] for query in asked) is counted


def test_a_week_in_which_the_clocks_go_back_is_a_week(client: Client, settings: Settings) -> None:
    settings.TIME_ZONE = "America/Vancouver"
    with timezone.override("America/Vancouver"):
        shown = text(page(client, f"{CHECKS}?first=2026-10-26&last=2026-11-01"))
    assert "Choose at most 7 days" not in shown


def test_a_tid_is_found_exactly_and_in_all_time(client: Client) -> None:
    check(minutes_ago=90 * 24 * 60, intuit_tid="1-6a5f-old")
    check(intuit_tid="1-6a5f-old-and-longer")
    check(intuit_tid="")
    html = page(client, f"{CHECKS}?q=+1-6a5f-old+&span=7d")
    [row] = rows(html)
    assert row.endswith("1-6a5f-old")
    assert rows(page(client, f"{CHECKS}?q=1-6a5f")) == []
    assert rows(page(client, f"{CHECKS}?q=1-6A5F-OLD")) == []


def test_the_search_for_a_tid_uses_its_index(client: Client) -> None:
    ConnectionHealthCheck.objects.bulk_create(
        ConnectionHealthCheck(
            realm_id=HARBOUR,
            checked_at=timezone.now() - dt.timedelta(minutes=number),
            ok=True,
            diagnosis="ok",
            trigger=Trigger.COMMAND,
            intuit_tid=f"tid-{number}",
        )
        for number in range(2000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    history = admin.site.get_model_admin(ConnectionHealthCheck)
    every = ConnectionHealthCheck.objects.order_by("-checked_at", "-id")
    found, _ = history.get_search_results(HttpRequest(), every, "tid-77")
    assert "health_intuit_tid" in found.explain()


def test_the_filters_offer_fixed_choices(client: Client, harbour: OAuthToken) -> None:
    check()
    html = page(client, CHECKS)
    sidebar = text(html[html.index('id="changelist-filter"') :])
    for code in Code:
        assert f"?diagnosis={code.value}" in html
    for choice in ("Failed", "Dashboard", "Command", "API", "Harbour Physio", "Last 7 days"):
        assert choice in sidebar


@pytest.mark.parametrize(
    "query", ["result=False", "diagnosis=timeout", f"company={NORTHSIDE}", "trigger=api"]
)
def test_each_filter_selects(client: Client, query: str) -> None:
    check()
    check(code=Code.TIMEOUT, realm_id=NORTHSIDE, trigger=Trigger.API)
    [row] = rows(page(client, f"{CHECKS}?{query}"))
    assert "too slowly" in row


def test_many_companies_are_picked_by_their_id(client: Client) -> None:
    for number in range(13):
        OAuthToken.objects.create(realm_id=str(number), state=GrantState.LIVE)
    check(realm_id="7")
    check(realm_id="8")
    html = page(client, f"{CHECKS}?company=7&result=True")
    assert len(rows(html)) == 1
    assert '<label for="company-id">' in html
    assert '<input type="hidden" name="result" value="True">' in html
    assert "?company=8" not in html


@pytest.mark.parametrize("url", [CHECKS, JOURNAL, COMPANIES, STATUSES])
@pytest.mark.parametrize(
    "query", ["message__contains=x", "late_pair__startswith=g", "access_token__startswith=g"]
)
def test_no_column_can_be_asked_that_has_no_filter(client: Client, url: str, query: str) -> None:
    assert client.get(f"{url}?{query}").status_code == 400


def test_the_list_has_one_order(client: Client) -> None:
    check(minutes_ago=5, latency_ms=100)
    check(minutes_ago=6, latency_ms=900)
    assert "100 ms" in rows(page(client, f"{CHECKS}?o=-4"))[0]


def _many(count: int) -> None:
    """Checks of the last 24 hours of as many companies as there are rows, at most 40."""
    now = timezone.now()
    for number in range(min(count, 40)):
        OAuthToken.objects.get_or_create(
            realm_id=str(1000 + number), defaults={"state": GrantState.LIVE}
        )
    ConnectionHealthCheck.objects.bulk_create(
        ConnectionHealthCheck(
            realm_id=str(1000 + number % 40),
            checked_at=now - dt.timedelta(minutes=number),
            ok=bool(number % 7),
            diagnosis="ok" if number % 7 else "timeout",
            latency_ms=100 + number,
            trigger=Trigger.COMMAND,
        )
        for number in range(count)
    )


def _queries(ask: Callable[[], object]) -> list[str]:
    with CaptureQueriesContext(connection) as asked:
        ask()
    return [query["sql"] for query in asked]


def test_the_list_asks_as_many_questions_for_300_rows_as_for_20(client: Client) -> None:
    _many(20)
    few = _queries(lambda: page(client, CHECKS))
    _many(280)
    many = _queries(lambda: page(client, CHECKS))
    assert len(rows(page(client, CHECKS))) == 50
    assert len(few) == len(many) <= 11


@pytest.mark.parametrize("query", ["", "?span=7d", "?span=all", "?result=False", "?company=1001"])
def test_the_big_table_is_never_counted(client: Client, query: str) -> None:
    _many(300)
    for sql in _queries(lambda: page(client, CHECKS + query)):
        if "quickbooks_connection_health" not in sql:
            continue
        bounded = re.search(r'WHERE .*"checked_at" >', sql)
        assert bounded or re.search(r"LIMIT (50|51|1001)\b", sql), sql
        assert "DISTINCT" not in sql


def test_a_list_ends_after_a_thousand_rows_and_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedPaginator, "LIMIT", 100)
    _many(99)
    assert "99 in all" in text(page(client, CHECKS))
    _many(2)
    html = page(client, CHECKS)
    assert "The newest 100. Filter or search to find older ones." in text(html)
    assert "?p=2" in html
    assert "?p=3" not in html


def test_a_check_can_be_read_in_full_and_not_changed(client: Client, harbour: OAuthToken) -> None:
    row = check(
        code=Code.ACCESS_DENIED,
        http_status=403,
        fault_type="AuthorizationFault",
        fault_code="120",
        message="You do not have access.",
        intuit_tid="1-abc",
        generation=3,
        refreshed=True,
    )
    url = f"{CHECKS}{row.pk}/change/"
    shown = text(page(client, url))
    for said in (
        "Harbour Physio",
        HARBOUR,
        "✖ Failed",
        "QuickBooks refuses us access",
        "access_denied",
        "Ask a current QuickBooks administrator to sign in here",
        "403",
        "AuthorizationFault",
        "120",
        "You do not have access.",
        "1-abc",
        "200 ms",
        "Command",
    ):
        assert said in shown
    assert client.post(url, {"message": "changed"}).status_code == 403
    assert ConnectionHealthCheck.objects.get() == row


def test_the_next_step_of_every_diagnosis_reads_as_a_sentence(
    client: Client, harbour: OAuthToken
) -> None:
    for code in Code:
        row = check(code=code)
        assert "{" not in text(page(client, f"{CHECKS}{row.pk}/change/"))


@pytest.mark.parametrize("url", [CHECKS, JOURNAL, COMPANIES, STATUSES])
@pytest.mark.parametrize("door", ["add/", "1/delete/", "1/history/"])
def test_machine_rows_have_no_door_to_add_or_delete(url: str, door: str) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    check()
    assert client.get(url + door, follow=True).status_code in {403, 404}
    assert client.post(url, {"action": "delete_selected", "_selected_action": 1}).status_code != 500
    assert ConnectionHealthCheck.objects.count() == 1
    html = page(client, url)
    assert "addlink" not in html[html.index('id="content-main"') :]
    assert 'name="action"' not in html


# --- Companies --------------------------------------------------------------------------------


def company_url(row: OAuthToken) -> str:
    return reverse("admin:quickbooks_oauthtoken_change", args=[row.pk])


def test_the_companies_are_listed_with_their_status(client: Client, harbour: OAuthToken) -> None:
    OAuthToken.objects.create(realm_id=NORTHSIDE, state=GrantState.LIVE, company_name="Northside")
    OAuthToken.objects.create(realm_id="7", company_name="Never finished")
    commit(
        Evidence(
            integration="quickbooks",
            account=HARBOUR,
            name="Harbour Physio",
            level=Level.CRITICAL,
            state=Code.RECONNECT_REQUIRED,
            who_acts="clinic",
            checked_at=timezone.now(),
        )
    )
    first, second = rows(page(client, COMPANIES))
    assert first.startswith("Harbour Physio ✖ Not working QuickBooks is disconnected")
    assert second.startswith("Northside ○ Not checked yet")
    assert rows(page(client, f"{COMPANIES}?state=lost")) == []


def test_the_list_of_companies_asks_as_much_for_300_as_for_10(client: Client) -> None:
    def add(numbers: range) -> None:
        OAuthToken.objects.bulk_create(
            OAuthToken(realm_id=str(number), state=GrantState.LIVE) for number in numbers
        )

    add(range(10))
    few = _queries(lambda: page(client, COMPANIES))
    add(range(10, 300))
    assert len(few) == len(_queries(lambda: page(client, COMPANIES))) <= 7


def test_a_company_page_says_status_score_clocks_and_grant(
    client: Client, harbour: OAuthToken
) -> None:
    check()
    check(code=Code.TIMEOUT)
    check(minutes_ago=1)
    shown = text(page(client, company_url(harbour)))
    assert "✔ Working Connected" in shown
    assert "66.7 % (2 of 3)" in shown
    assert "Last good read 2 minutes ago" in shown.replace("\xa0", " ")
    assert "Renewed 18 minutes ago" in shown.replace("\xa0", " ")
    assert "Access token in 42 minutes" in shown.replace("\xa0", " ")
    assert "Refresh token in 2 months" in shown.replace("\xa0", " ")
    assert "Authorization not told by Intuit" in shown
    assert "Generation 3" in shown
    assert "Doubt none" in shown
    assert "Lease free" in shown
    assert f"Client id {harbour.client_id} Environment sandbox" in shown


def test_a_company_page_says_doubt_lease_and_a_failed_revocation(
    client: Client, harbour: OAuthToken
) -> None:
    now = timezone.now()
    OAuthToken.objects.update(
        in_doubt_since=now,
        lease_until=now + dt.timedelta(minutes=1),
        lease_owner="abc",
        access_expires_at=now - dt.timedelta(hours=3),
        revocation_error="Intuit answered 500",
    )
    shown = text(page(client, company_url(harbour))).replace("\xa0", " ")
    assert "Doubt A renewal was begun on" in shown
    assert "Lease taken until" in shown
    assert "Access token ran out 3 hours ago" in shown
    assert "Revoking failed Intuit answered 500" in shown


def test_a_disconnected_company_has_no_clocks_and_nothing_to_disconnect(
    client: Client, harbour: OAuthToken
) -> None:
    OAuthToken.objects.update(state=GrantState.DISCONNECTED, disconnected_at=timezone.now())
    html = page(client, company_url(harbour))
    assert "No clock is running" in html
    assert reverse("quickbooks:disconnect") not in html
    assert reverse("quickbooks:connect") in html
    # A revocation that failed can be tried again.
    OAuthToken.objects.update(revocation_error="Intuit answered 500")
    assert reverse("quickbooks:disconnect") in page(client, company_url(harbour))


def test_a_company_page_shows_the_last_twenty_checks_and_refreshes(
    client: Client, harbour: OAuthToken, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(25):
        check(minutes_ago=number, intuit_tid=f"check-{number}.")
        TokenRefresh.objects.create(
            realm_id=HARBOUR,
            purpose=TokenRefresh.Purpose.REFRESH,
            generation=number,
            owner="x",
            trigger="command",
            started_at=timezone.now(),
            outcome=RefreshOutcome.REJECTED if number == 24 else RefreshOutcome.SAME,
            detail=f"refresh-{number}.",
        )
    check(realm_id=NORTHSIDE, intuit_tid="of-another-company")
    with django_assert_max_num_queries(11):
        shown = page(client, company_url(harbour))
    assert "check-19." in shown
    assert "check-20." not in shown
    assert "refresh-5." in shown
    assert "refresh-4." not in shown
    assert "✖ rejected" in text(shown)
    assert "of-another-company" not in shown
    assert f"{CHECKS}?company={HARBOUR}" in shown
    assert len(rows(page(client, f"{CHECKS}?company={HARBOUR}"))) == 25


def test_a_company_that_is_still_being_connected_has_no_page(client: Client) -> None:
    pending = OAuthToken.objects.create(realm_id=HARBOUR)
    assert client.get(company_url(pending)).status_code == 404
    assert client.post(f"{COMPANIES}{pending.pk}/check/").status_code == 404
    assert client.get(f"{COMPANIES}nonsense/change/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_check_now_makes_a_new_probe_and_says_what_came(
    client: Client, harbour: OAuthToken, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    asked: list[dict[str, Any]] = []

    def probe(realm_id: str, **options: Any) -> Outcome:
        # The lease has to be committed before the call.
        assert not connection.in_atomic_block
        asked.append({"realm_id": realm_id, **options})
        return Outcome(realm_id=realm_id, check=check(latency_ms=212))

    monkeypatch.setattr(companies, "probe", probe)
    url = f"{COMPANIES}{harbour.pk}/check/"
    answer = client.post(url, follow=True)
    assert answer.redirect_chain == [(company_url(harbour), 302)]
    assert "Harbour Physio: Connected. QuickBooks answered in 212 ms." in answer.content.decode()
    [question] = asked
    assert question.pop("now") - timezone.now() < dt.timedelta(seconds=5)
    assert question == {
        "realm_id": HARBOUR,
        "trigger": Trigger.ADMIN,
        "fresh": True,
        "patience": settings.QUICKBOOKS_DEADLINE_SECONDS,
    }
    assert client.get(url).status_code == 405
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("outcome", "kind", "said"),
    [
        ({"code": Code.TIMEOUT}, "warning", "QuickBooks is answering too slowly."),
        ({"code": Code.RECONNECT_REQUIRED}, "error", "QuickBooks is disconnected."),
        ({"recorded": False}, "error", "could not be saved"),
        ({"reused": True, "checking": True}, "warning", "Another check is still under way."),
        ({"renewal_until": dt.datetime(2026, 11, 22, 12, 1, 5, tzinfo=dt.UTC), "reused": True},
         "warning", "Renewal unfinished, next try at 12:01:05."),
    ],
)  # fmt: skip
def test_check_now_says_what_went_wrong(
    client: Client,
    harbour: OAuthToken,
    monkeypatch: pytest.MonkeyPatch,
    outcome: dict[str, Any],
    kind: str,
    said: str,
) -> None:
    code = outcome.pop("code", Code.OK)
    found = Outcome(realm_id=HARBOUR, check=check(code=code), **outcome)
    monkeypatch.setattr(companies, "probe", lambda *args, **options: found)
    html = client.post(f"{COMPANIES}{harbour.pk}/check/", follow=True).content.decode()
    [message] = re.findall(r'<li class="(\w+)">([^<]+)</li>', html)
    assert message[0] == kind
    assert said in message[1].replace("&#x27;", "'")


def test_a_company_that_is_gone_meanwhile_is_not_found(
    client: Client, harbour: OAuthToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(realm_id: str, **options: Any) -> Outcome:
        raise UnknownCompany(realm_id)

    monkeypatch.setattr(companies, "probe", probe)
    assert client.post(f"{COMPANIES}{harbour.pk}/check/").status_code == 404


def test_disconnect_is_a_form_that_is_asked_about_once_more(
    client: Client, harbour: OAuthToken
) -> None:
    html = page(client, company_url(harbour))
    target = reverse("quickbooks:disconnect")
    form = re.search(rf'<form method="post" action="{target}">(.*?)</form>', html, re.DOTALL)
    assert form is not None
    assert "csrfmiddlewaretoken" in form[1]
    assert f'name="realm" value="{HARBOUR}"' in form[1]
    answer = client.post(target, {"realm": HARBOUR})
    assert answer.status_code == 200
    assert 'name="confirm"' in answer.content.decode()
    harbour.refresh_from_db()
    assert harbour.state == GrantState.LIVE


def test_reconnect_leads_to_intuit_for_this_company(client: Client, harbour: OAuthToken) -> None:
    link = f'href="{reverse("quickbooks:connect")}?realm={HARBOUR}"'
    assert link in page(client, company_url(harbour))


def test_who_may_not_manage_sees_no_way_to_reconnect_or_disconnect(harbour: OAuthToken) -> None:
    html = page(account("view_oauthtoken"), company_url(harbour))
    assert reverse("quickbooks:connect") not in html
    assert reverse("quickbooks:disconnect") not in html
    assert "Check now" in html


def test_each_page_needs_its_permission(harbour: OAuthToken) -> None:
    nobody = account()
    for url in (CHECKS, JOURNAL, COMPANIES, STATUSES, company_url(harbour)):
        assert nobody.get(url).status_code == 403
    assert nobody.post(f"{COMPANIES}{harbour.pk}/check/").status_code == 403
    assert ConnectionHealthCheck.objects.count() == 0


def test_who_is_not_on_the_staff_is_asked_to_sign_in(harbour: OAuthToken) -> None:
    client = Client()
    client.force_login(User.objects.create_user("patient"))
    for answer in (
        client.get(CHECKS),
        client.get(company_url(harbour)),
        client.post(f"{COMPANIES}{harbour.pk}/check/"),
    ):
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")


def test_no_page_holds_a_token_or_its_ciphertext(client: Client, harbour: OAuthToken) -> None:
    column = TokenRefresh._meta.get_field("late_pair")
    assert isinstance(column, EncryptedTextField)
    late = column.seal_for(HARBOUR, "late-in-plain-text")
    entry = TokenRefresh.objects.create(
        realm_id=HARBOUR,
        purpose=TokenRefresh.Purpose.REFRESH,
        generation=3,
        owner="x",
        trigger="command",
        started_at=timezone.now(),
    )
    TokenRefresh.objects.update(late_pair=late)
    row = check()
    secrets = [late, *OAuthToken.objects.values_list("access_token", "refresh_token")[0]]
    assert all(len(secret) > 90 for secret in secrets)
    urls = [
        "/admin/",
        CHECKS,
        COMPANIES,
        JOURNAL,
        STATUSES,
        company_url(harbour),
        f"{JOURNAL}{entry.pk}/change/",
        f"{CHECKS}{row.pk}/change/",
    ]
    for url in urls:
        with CaptureQueriesContext(connection) as asked:
            html = page(client, url)
        assert "in-plain-text" not in html
        assert not any(secret in html for secret in secrets)
        if url.startswith((COMPANIES, JOURNAL)) and url != company_url(harbour):
            columns = [query["sql"].split(" WHERE ")[0] for query in asked]
            assert not any('"access_token"' in sql or '"refresh_token"' in sql for sql in columns)
    assert "Late pair kept: yes" in text(page(client, f"{JOURNAL}{entry.pk}/change/"))
    assert "late pair is kept" in page(client, company_url(harbour))


# --- The journal, the statuses, the front page --------------------------------------------------


def test_the_journal_lists_newest_first_and_filters(client: Client, harbour: OAuthToken) -> None:
    for number, outcome in enumerate((RefreshOutcome.ROTATED, RefreshOutcome.UNKNOWN, "")):
        TokenRefresh.objects.create(
            realm_id=HARBOUR,
            purpose=TokenRefresh.Purpose.REFRESH,
            generation=number,
            owner="x",
            trigger="command",
            started_at=timezone.now(),
            outcome=outcome,
        )
    found = rows(page(client, JOURNAL))
    assert "○ no end recorded" in found[0]
    assert "▲ no readable verdict" in found[1]
    assert "✔ new access and refresh token" in found[2]
    [row] = rows(page(client, f"{JOURNAL}?outcome=unknown"))
    assert row.startswith("Harbour Physio")


def test_every_outcome_of_the_journal_has_a_level() -> None:
    assert set(LEVELS) == set(RefreshOutcome)


def test_every_integrations_status_is_listed_worst_first(client: Client) -> None:
    now = timezone.now()
    for name, level in (("Jane", Level.HEALTHY), ("GoHighLevel", Level.CRITICAL)):
        commit(
            Evidence(
                integration=name.lower(),
                account="",
                name=name,
                level=level,
                state="token_rejected" if level is Level.CRITICAL else "arriving",
                checked_at=now,
            )
        )
    first, second = rows(page(client, STATUSES))
    assert first.startswith("GoHighLevel ✖ Not working token rejected")
    assert second.startswith("Jane ✔ Working arriving")
    assert len(rows(page(client, f"{STATUSES}?level=healthy"))) == 1
    status = IntegrationStatus.objects.get(name="Jane")
    url = f"{STATUSES}{status.pk}/change/"
    assert "arriving" in page(client, url)
    assert client.post(url, {"name": "changed"}).status_code == 403


def test_the_front_page_shows_every_connection_above_the_lists(
    client: Client, harbour: OAuthToken
) -> None:
    check(code=Code.RECONNECT_REQUIRED)
    OAuthToken.objects.update(state=GrantState.REJECTED)
    html = page(client, "/admin/")
    shown = text(html)
    assert "Harbour Physio" in shown
    assert "✖ Not working QuickBooks is disconnected" in shown
    assert "Jane" in shown
    assert html.index("Not working") < html.index(CHECKS)
    assert 'href="/dashboard/"' in html
    for name in ("Check history", "QuickBooks companies", "Token refreshes"):
        assert name.lower() in shown.lower()


def test_users_and_groups_stay_in_the_admin() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    for url in ("/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/group/"):
        assert client.get(url).status_code == 200


def test_the_demo_says_on_every_page_that_it_is_one(client: Client, settings: Settings) -> None:
    assert "This is a demo" not in page(client, CHECKS)
    settings.DEMO = True
    settings.DEMO_CONTROL_URL = "http://127.0.0.1:8001/control/"
    for url in ("/admin/", CHECKS):
        html = page(client, url)
        assert "This is a demo" in html
        assert 'href="http://127.0.0.1:8001/control/"' in html
    assert "This is a demo" in page(Client(), "/admin/login/")


def test_no_page_needs_what_the_content_security_policy_forbids(
    client: Client, harbour: OAuthToken
) -> None:
    row = check()
    for url in (
        "/admin/",
        CHECKS,
        COMPANIES,
        JOURNAL,
        STATUSES,
        company_url(harbour),
        f"{CHECKS}{row.pk}/change/",
    ):
        html = page(client, url)
        assert " style=" not in html
        assert "<style" not in html
        assert not re.search(r"<script(?![^>]*\bsrc=)", html)
        assert not re.search(r"\son\w+=", html)
