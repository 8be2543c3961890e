"""Memberships and their changes for support staff: to be read, found and counted."""

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from integrations.jane.activity import ACTIVE_WORDS, INACTIVE_WORDS
from integrations.jane.admin import in_state, state_of
from integrations.jane.models import Membership, MembershipChange
from tests.jane import SECRET, deliver, held, snapshot
from tests.support import text_of

pytestmark = pytest.mark.django_db

LIST, CHANGES = "/admin/jane/membership/", "/admin/jane/membershipchange/"
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def set_up(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = [SECRET]


@pytest.fixture
def reader(staff: User, staff_client: Client) -> Client:
    """May look, and nothing else."""
    wanted = ["view_membership", "view_membershipchange"]
    staff.user_permissions.add(*Permission.objects.filter(codename__in=wanted))
    return staff_client


@pytest.fixture
def clinic() -> dict[str, Membership]:
    """Memberships by their ids: two active ones, one of them ending soon, and one of each else."""
    now = timezone.now()
    today = timezone.localdate()
    told: dict[int, dict[str, Any]] = {
        1: {"status": "active"},
        2: {"status": "active", "end": (today + 5 * DAY).isoformat()},
        3: {"status": "cancelled"},
        4: {"status": "", "name": "Unsure"},
        5: {"status": "active", "end": (today - DAY).isoformat()},
        6: {"status": "active"},
    }
    for number, fields in told.items():
        entry = held(number, **fields)
        deliver(snapshot(now - DAY, person=100 + number, passes=[entry]), now - DAY)
    deliver(snapshot(now, person=106, passes=[]), now)
    return {row.vendor_id: row for row in Membership.objects.all()}


def shown(client: Client, url: str, **query: str) -> set[str]:
    """Ids of the memberships on a page of the list."""
    response = client.get(url, query)
    assert response.status_code == 200
    return {row.vendor_id for row in response.context["cl"].result_list}


def test_above_the_list_stands_what_it_comes_to(
    reader: Client, clinic: dict[str, Membership]
) -> None:
    text = text_of(reader.get(LIST))
    for figure in (
        "Active 2",
        "Of unknown state 1",
        "Removed 1",
        "Active, ending within 30 days 1",
    ):
        assert figure in text
    assert "Of unknown state 0" in text_of(reader.get(LIST, {"state": "active"}))


def test_the_list_is_narrowed_by_state_and_status(
    reader: Client, clinic: dict[str, Membership]
) -> None:
    assert shown(reader, LIST) == set("123456")
    assert shown(reader, LIST, state="active") == {"1", "2"}
    assert shown(reader, LIST, state="inactive") == {"3", "5", "6"}
    assert shown(reader, LIST, state="unknown") == {"4"}
    assert shown(reader, LIST, status="removed") == {"6"}
    assert shown(reader, LIST, state="inactive", status="active") == {"5"}
    assert shown(reader, LIST, state="nonsense") == set()


def test_a_whole_id_finds_a_membership_and_a_piece_does_not(
    reader: Client, clinic: dict[str, Membership]
) -> None:
    assert shown(reader, LIST, q=" 4 ") == {"4"}
    assert shown(reader, LIST, q="104") == {"4"}
    assert shown(reader, LIST, q="10") == set()
    found = reader.get(CHANGES, {"q": "106"}).context["cl"].result_list
    assert [change.kind for change in found] == ["removed", "appeared"]


def test_columns_cannot_be_guessed_at(reader: Client, clinic: dict[str, Membership]) -> None:
    assert reader.get(LIST, {"plan__contains": "Phys"}).status_code in {302, 400}


def test_a_membership_tells_what_happened_to_it(
    reader: Client, clinic: dict[str, Membership]
) -> None:
    text = text_of(reader.get(f"{LIST}{clinic['6'].pk}/change/"))
    assert "What happened to it" in text
    assert text.index("removed removed") < text.index("appeared active")
    assert "Not active" in text


def test_a_membership_without_an_id_says_so(reader: Client) -> None:
    now = timezone.now()
    deliver(snapshot(now, membership_plan="Gold"), now)
    assert "none, known by its plan" in text_of(reader.get(LIST))


def test_changes_have_a_list_of_their_own(reader: Client, clinic: dict[str, Membership]) -> None:
    page = reader.get(CHANGES, {"kind": "removed"})
    (change,) = page.context["cl"].result_list
    assert (change.membership, change.status) == (clinic["6"], "removed")
    assert reader.get(f"{CHANGES}{change.pk}/change/").status_code == 200
    # A day ago is no part of the last 24 hours.
    assert len(reader.get(CHANGES).context["cl"].result_list) == 1
    assert len(reader.get(CHANGES, {"span": "7d"}).context["cl"].result_list) == 7


def test_an_unknown_row_is_no_error(reader: Client) -> None:
    for address in (f"{LIST}17/change/", f"{LIST}x/change/", f"{CHANGES}17/change/"):
        assert reader.get(address).status_code in {302, 404}


def test_nothing_can_be_changed_not_even_by_a_superuser(
    staff: User, reader: Client, clinic: dict[str, Membership]
) -> None:
    staff.is_superuser = True
    staff.save()
    row, change = clinic["1"], MembershipChange.objects.latest("pk")
    for address in (LIST, CHANGES):
        assert reader.get(f"{address}add/").status_code in {302, 403, 404}
    for address in (f"{LIST}{row.pk}/", f"{CHANGES}{change.pk}/"):
        assert reader.post(f"{address}change/", {"status": "active"}).status_code == 403
        assert reader.post(f"{address}delete/", {"post": "yes"}).status_code in {302, 403, 404}
    assert Membership.objects.count() == 6
    assert Membership.objects.get(pk=row.pk).changed_at == row.changed_at


def test_who_may_not_look_sees_nothing(staff_client: Client, clinic: Any) -> None:
    assert staff_client.get(LIST).status_code == 403
    assert staff_client.get(CHANGES).status_code == 403


def test_a_page_costs_the_same_for_few_and_for_many(
    reader: Client, clinic: dict[str, Membership]
) -> None:
    def statements(address: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            reader.get(address, {"span": "all"} if address == CHANGES else {})
        return len(queries)

    few = {address: statements(address) for address in (LIST, CHANGES)}
    now = timezone.now()
    for number in range(10, 40):
        deliver(snapshot(now, person=number, passes=[held(number)]), now)
    assert {address: statements(address) for address in (LIST, CHANGES)} == few


def test_the_filter_and_the_rule_agree_about_every_word() -> None:
    now, today = timezone.now(), timezone.localdate()
    words = [*sorted(ACTIVE_WORDS | INACTIVE_WORDS), "unknown", "somewhere between", ""]
    ends = (None, today - DAY, today, today + DAY)
    Membership.objects.bulk_create(
        Membership(
            person_id=str(number),
            key=str(place),
            status=word,
            ends_on=end,
            changed_at=now,
            first_seen_at=now,
        )
        for number, word in enumerate(words)
        for place, end in enumerate(ends)
    )
    rows = list(Membership.objects.all())
    for state in ("active", "inactive", "unknown"):
        found = set(Membership.objects.filter(in_state(state, today)))
        assert found == {row for row in rows if state_of(row, today) == state}
        assert found
