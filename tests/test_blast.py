"""What happened in Jane while the books could not be written, to be checked by hand."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries, Settings

from integrations.base import CHANGES_AT_MOST, Change
from integrations.blast import listing, summary
from integrations.jane.integration import Jane
from integrations.jane.models import Kind, Membership, MembershipChange
from integrations.models import Incident
from tests import jane
from tests.conftest import HARBOUR

pytestmark = pytest.mark.django_db

NOON = dt.datetime(2026, 11, 17, 17, 0, tzinfo=dt.UTC)  # in New York
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
NOW = NOON + 3 * HOUR


@pytest.fixture(autouse=True)
def clinic(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = [jane.SECRET]
    settings.TIME_ZONE = "America/New_York"


def incident(**values: Any) -> Incident:
    known: dict[str, Any] = {
        "integration": "quickbooks",
        "account": HARBOUR,
        "name": "Harbour Physio",
        "cause": "reconnect_required",
        "level": "critical",
        "who_acts": "clinic",
        "started_at": NOON,
        "confirmed_at": NOON,
    }
    return Incident.objects.create(**{**known, **values})


def membership(number: int, vendor_id: str | None = None) -> Membership:
    return Membership.objects.create(
        person_id=str(4_000_000 + number),
        key=f"plan:plan of {number}",
        vendor_id=str(82_000_000 + number) if vendor_id is None else vendor_id,
        plan="Mrs Miller's plan",
        status="active",
        changed_at=NOON,
        first_seen_at=NOON,
    )


def happened(kind: Kind, number: int, at: dt.datetime, **more: Any) -> None:
    one = Membership.objects.filter(person_id=str(4_000_000 + number)).first()
    MembershipChange.objects.create(
        membership=one or membership(number, **more), at=at, kind=kind, status="active"
    )


def several(kind: Kind, count: int, start: int) -> None:
    for number in range(count):
        happened(kind, start + number, NOON + (start + number) * MINUTE)


CHECK = "Check by hand that they are in QuickBooks."


@pytest.mark.parametrize(
    ("begun", "renewed", "ended", "text"),
    [
        (7, 3, 1, f"7 memberships began, 3 were renewed and 1 ended in Jane {{}} {CHECK}"),
        (1, 1, 2, f"1 membership began, 1 was renewed and 2 ended in Jane {{}} {CHECK}"),
        (0, 2, 1, f"2 memberships were renewed and 1 ended in Jane {{}} {CHECK}"),
        (0, 0, 2, f"2 memberships ended in Jane {{}} {CHECK}"),
        (
            *(0, 1, 0),
            "1 membership was renewed in Jane {} Check by hand that it is in QuickBooks.",
        ),
    ],
)
def test_it_says_what_may_not_be_in_the_books(
    begun: int, renewed: int, ended: int, text: str
) -> None:
    several(Kind.APPEARED, begun, 0)
    several(Kind.RENEWED, renewed, 20)
    several(Kind.ENDED, ended, 40)
    told = "since then and may not be in the books."
    assert summary(incident(), NOW) == text.format(told)


def test_many_are_told_with_a_separator() -> None:
    memberships = Membership.objects.bulk_create(
        Membership(
            person_id=str(number),
            key=str(number),
            vendor_id=str(number),
            status="active",
            changed_at=NOON,
            first_seen_at=NOON,
        )
        for number in range(1204)
    )
    MembershipChange.objects.bulk_create(
        MembershipChange(membership=one, at=NOON + MINUTE, kind=Kind.RENEWED, status="active")
        for one in memberships
    )
    assert summary(incident(), NOW).startswith("1,204 memberships were renewed in Jane")
    assert len(Jane().changes(NOON, NOW)) == CHANGES_AT_MOST


def test_only_the_outage_counts() -> None:
    happened(Kind.APPEARED, 1, NOON - MINUTE)
    happened(Kind.APPEARED, 2, NOON)
    happened(Kind.APPEARED, 3, NOON + HOUR)
    happened(Kind.APPEARED, 4, NOON + 2 * HOUR)
    over = incident(ended_at=NOON + HOUR)
    assert summary(over, NOW).startswith(
        "2 memberships began in Jane meanwhile and may not be in the books."
    )
    assert [line.rpartition(" ")[2] for line in listing(over, NOW, 10)] == ["82000003", "82000002"]


def test_what_changes_without_beginning_or_ending_is_not_counted() -> None:
    happened(Kind.CHANGED, 1, NOON + MINUTE)
    assert summary(incident(), NOW) == ""
    assert listing(incident(ended_at=NOW), NOW, 10) == []


def test_one_that_ended_and_then_vanished_has_ended_once() -> None:
    happened(Kind.ENDED, 1, NOON + MINUTE)
    happened(Kind.REMOVED, 1, NOON + HOUR)
    happened(Kind.REMOVED, 2, NOON + 2 * MINUTE)
    found = incident()
    assert summary(found, NOW).startswith("2 memberships ended in Jane")
    assert listing(found, NOW, 10) == [
        "November 17, 1:00 pm: ended, 82000001",
        "November 17, 12:02 pm: ended, 82000002",
    ]


def test_the_list_has_ids_and_the_clinic_s_time_newest_first() -> None:
    happened(Kind.APPEARED, 1, NOON + MINUTE)
    happened(Kind.RENEWED, 2, NOON + 2 * MINUTE)
    happened(Kind.ENDED, 3, NOON + 3 * MINUTE)
    found = incident()
    assert listing(found, NOW, 10) == [
        "November 17, 12:03 pm: ended, 82000003",
        "November 17, 12:02 pm: was renewed, 82000002",
        "November 17, 12:01 pm: began, 82000001",
    ]
    assert listing(found, NOW, 1) == ["November 17, 12:03 pm: ended, 82000003"]


def test_no_name_is_told_where_the_vendor_gave_no_id() -> None:
    happened(Kind.APPEARED, 1, NOON + MINUTE, vendor_id="")
    assert Jane().changes(NOON, NOW) == [
        Change(at=NOON + MINUTE, what="begun", reference="patient 4000001")
    ]


@pytest.mark.parametrize("slug", ["gohighlevel", "jane", ""])
def test_trouble_elsewhere_leaves_the_books_alone(slug: str) -> None:
    happened(Kind.APPEARED, 1, NOON + MINUTE)
    found = incident(integration=slug, account="", name="Another")
    assert (summary(found, NOW), listing(found, NOW, 10)) == ("", [])


def test_a_shared_incident_counts_when_a_part_keeps_the_books() -> None:
    happened(Kind.APPEARED, 1, NOON + MINUTE)
    shared = incident(integration="", account="", name="This server is offline", shared=True)
    assert summary(shared, NOW) == ""
    incident(integration="gohighlevel", account="", part_of=shared)
    assert summary(shared, NOW) == ""
    incident(part_of=shared)
    assert summary(shared, NOW).startswith("1 membership began in Jane")
    assert len(listing(shared, NOW, 10)) == 1


def test_where_jane_is_not_watched_nothing_is_said(settings: Settings) -> None:
    happened(Kind.APPEARED, 1, NOON + MINUTE)
    settings.JANE_WEBHOOK_SECRETS = []
    found = incident()
    assert (summary(found, NOW), listing(found, NOW, 10)) == ("", [])


def test_through_the_door_of_jane() -> None:
    """A membership sold, renewed and cancelled, as ClinicSync delivers it."""
    found = incident()
    month = dt.timedelta(days=30)
    soon, later = ((NOON + n * month).date().isoformat() for n in (1, 2))
    first = jane.held(end_date=soon)
    jane.deliver(jane.snapshot(NOON + MINUTE, passes=[first]), NOON + MINUTE)
    renewed = jane.held(end_date=later)
    jane.deliver(jane.snapshot(NOON + HOUR, passes=[renewed]), NOON + HOUR)
    cancelled = jane.held(end_date=later, status="cancelled")
    jane.deliver(jane.snapshot(NOON + 2 * HOUR, passes=[cancelled]), NOON + 2 * HOUR)
    assert summary(found, NOW).startswith("1 membership began, 1 was renewed and 1 ended in Jane")
    assert [line.partition(": ")[2] for line in listing(found, NOW, 10)] == [
        "ended, 82000020",
        "was renewed, 82000020",
        "began, 82000020",
    ]


def test_one_statement_each_by_the_index_on_time(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    happened(Kind.APPEARED, 1, NOON + MINUTE)
    found = incident()
    with django_assert_num_queries(1) as asked:
        summary(found, NOW)
    with django_assert_num_queries(1) as listed:
        listing(found, NOW, 10)
    if connection.vendor == "sqlite":  # PostgreSQL reads so small a table as a whole
        for query in (asked.captured_queries[0], listed.captured_queries[0]):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                assert "change_newest" in str(cursor.fetchall())
