"""GET /api/admin/incidents, which other people's scripts read."""

import datetime as dt
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from integrations import attention
from integrations.models import Incident
from tests.conftest import HARBOUR, NORTHSIDE
from tests.trouble import HOUR, MINUTE, dead_grant, mend, tell

URL = "/api/admin/incidents"

pytestmark = pytest.mark.django_db


def listed(client: Client, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"{URL}{query}")
    assert answer.status_code == 200
    found: dict[str, list[dict[str, Any]]] = answer.json()
    assert set(found) == {"incidents"}
    return found["incidents"]


def as_told(at: dt.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_an_incident_in_the_form_of_the_contract(staff_client: Client, now: dt.datetime) -> None:
    began = now - 3 * HOUR
    incident = dead_grant(began)
    assert listed(staff_client) == [
        {
            "id": incident.pk,
            "integration": "quickbooks",
            "account": HARBOUR,
            "cause": "reconnect_required",
            "level": "critical",
            "started_at": as_told(began),
            "confirmed_at": as_told(began),
            "acknowledged_at": None,
            "ended_at": None,
        }
    ]


def test_it_lasts_from_the_first_failure_to_the_first_success(
    staff_client: Client, now: dt.datetime
) -> None:
    tell(now - 4 * HOUR, "timeout", scheduled=True)
    tell(now - 4 * HOUR + MINUTE, "timeout", confirmed=True)
    attention.acknowledge(Incident.objects.get(), "Ana", now - 3 * HOUR)
    tell(now - HOUR)
    assert listed(staff_client)[0]["ended_at"] is None, "one success is not sure"
    tell(now - HOUR + MINUTE)
    (found,) = listed(staff_client)
    assert found["started_at"] == as_told(now - 4 * HOUR)
    assert found["confirmed_at"] == as_told(now - 4 * HOUR + MINUTE)
    assert found["acknowledged_at"] == as_told(now - 3 * HOUR)
    assert found["ended_at"] == as_told(now - HOUR)


def test_newest_first_by_integration_and_by_what_is_open(
    staff_client: Client, now: dt.datetime
) -> None:
    dead_grant(now - 9 * HOUR)
    mend(now - 8 * HOUR)
    dead_grant(now - 6 * HOUR, account=NORTHSIDE)
    tell(now - 7 * HOUR, "stale", integration="jane", account="", name="Jane")

    def accounts(query: str) -> list[str]:
        return [found["account"] for found in listed(staff_client, query)]

    assert accounts("") == [NORTHSIDE, "", HARBOUR]
    assert accounts("?open=1") == [NORTHSIDE, ""]
    assert accounts("?open=0") == [NORTHSIDE, "", HARBOUR]
    assert accounts("?integration=quickbooks") == [NORTHSIDE, HARBOUR]
    assert accounts("?integration=quickbooks&open=1") == [NORTHSIDE]
    assert accounts("?integration=gohighlevel") == []


def test_at_most_two_hundred_in_one_statement(
    staff_client: Client, now: dt.datetime, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(203):
        at = now - number * MINUTE
        Incident.objects.create(
            integration="quickbooks",
            account=str(number),
            name="Clinic",
            cause="timeout",
            level="warning",
            who_acts="intuit",
            started_at=at,
            confirmed_at=at,
        )
    with django_assert_num_queries(3):  # session, person, incidents
        found = listed(staff_client)
    assert [one["account"] for one in found] == [str(number) for number in range(200)]


def test_no_open_incident_is_left_out(
    staff_client: Client, now: dt.datetime, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(203):
        dead_grant(now - number * MINUTE, account=str(number))
    with django_assert_num_queries(3):
        found = listed(staff_client, "?open=1")
    assert [one["account"] for one in found] == [str(number) for number in range(203)]


@pytest.mark.parametrize(
    "query", ["?integration=nobody", "?integration=", "?open=yes", "?open=", "?open=2"]
)
def test_a_parameter_that_means_nothing_is_refused(staff_client: Client, query: str) -> None:
    answer = staff_client.get(f"{URL}{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == 400


@pytest.mark.parametrize("url", [URL, f"{URL}/"])
def test_it_is_for_the_staff_and_for_reading(client: Client, staff: User, url: str) -> None:
    assert (client.get(url).status_code, client.get(url).json()["error"]["status"]) == (401, 401)
    client.force_login(User.objects.create_user("guest"))
    assert client.get(url).status_code == 403
    client.force_login(staff)
    answer = client.get(url)
    assert answer.json() == {"incidents": []}
    assert re.search("no-store", answer["Cache-Control"])
    assert client.post(url).status_code == 405
