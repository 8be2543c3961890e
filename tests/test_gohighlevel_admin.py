"""The admin of GoHighLevel: everything can be read, nothing changed but the one thing."""

import datetime as dt

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from integrations.gohighlevel.models import ContactMapping, Location, LocationCheck, SyncRun
from integrations.gohighlevel.simulator.world import LOCATION_ID
from tests.gohighlevel import assessed, configure
from tests.support import text_of

pytestmark = pytest.mark.django_db

PERSON = "jane-82000077"
MODELS = {"locationcheck": LocationCheck, "syncrun": SyncRun, "contactmapping": ContactMapping}


@pytest.fixture(autouse=True)
def rows(db: None, now: dt.datetime, settings: Settings) -> None:
    configure(settings)
    Location.objects.create(location_id=LOCATION_ID, name="Harbour Physio", mapped=1, ambiguous=1)
    for state, ok in (("ok", True), ("throttled", False)):
        LocationCheck.objects.create(
            location_id=LOCATION_ID, checked_at=now, ok=ok, state=state, latency_ms=120
        )
    for result, state in (("ok", "ok"), ("failed", "unavailable")):
        SyncRun.objects.create(
            location_id=LOCATION_ID,
            started_at=now,
            heartbeat_at=now,
            finished_at=now,
            result=result,
            state=state,
            seen=602,
        )
    SyncRun.objects.create(location_id=LOCATION_ID, started_at=now, heartbeat_at=now)
    for name, state, person_id in (("one", "mapped", PERSON), ("two", "ambiguous", "")):
        ContactMapping.objects.create(
            location_id=LOCATION_ID,
            contact_id=name,
            state=state,
            person_id=person_id,
            email_hash="f" * 64,
            first_seen_at=now,
        )


@pytest.fixture
def admin_page(admin_client: Client) -> Client:
    return admin_client


def page(client: Client, model: str, **query: str) -> str:
    response = client.get(reverse(f"admin:gohighlevel_{model}_changelist"), query)
    assert response.status_code == 200
    return text_of(response)


def test_lists_say_what_they_add_up_to(admin_page: Client) -> None:
    checks = page(admin_page, "locationcheck")
    assert "Last 24 hours" in checks
    assert "2, 1 OK" in checks and "120 ms" in checks
    runs = page(admin_page, "syncrun")
    assert "Contacts read" in runs and "1,204" in runs
    assert "not ended" in runs
    assert "Choose at most 7 days" in page(admin_page, "syncrun", span="all")
    assert "Contacts now" in page(admin_page, "contactmapping")


@pytest.mark.parametrize(
    ("model", "query", "shown", "hidden"),
    [
        ("locationcheck", {"result": "False"}, "Failed", "1 OK"),
        ("locationcheck", {"state": "throttled"}, "asked us to slow down", "1 OK"),
        ("locationcheck", {"trigger": "command"}, "0 location checks", "120 ms"),
        ("syncrun", {"result": "failed"}, "having problems", "not ended"),
        ("syncrun", {"state": "unavailable"}, "having problems", "not ended"),
        ("contactmapping", {"state": "ambiguous"}, "two", PERSON),
        ("contactmapping", {"rule": "email"}, "0 contact mappings", PERSON),
        ("contactmapping", {"q": "one"}, PERSON, "two"),
        ("contactmapping", {"q": PERSON}, PERSON, "two"),
        ("contactmapping", {"q": "tw"}, "0 contact mappings", PERSON),
        ("contactmapping", {"state": "nonsense"}, "0 contact mappings", PERSON),
    ],
)
def test_filters_have_fixed_choices_and_the_search_wants_a_whole_id(
    admin_page: Client, model: str, query: dict[str, str], shown: str, hidden: str
) -> None:
    response = admin_page.get(reverse(f"admin:gohighlevel_{model}_changelist"), query)
    body = text_of(response)
    found = response.context["cl"].result_list
    assert shown in body or (shown.startswith("0 ") and not found)
    assert hidden not in " ".join(str(vars(row)) for row in found)


@pytest.mark.parametrize("model", MODELS)
def test_a_row_can_be_read_and_not_changed(admin_page: Client, model: str) -> None:
    row = MODELS[model].objects.first()  # type: ignore[attr-defined]
    url = reverse(f"admin:gohighlevel_{model}_change", args=[row.pk])
    response = admin_page.get(url)
    assert response.status_code == 200
    body = response.content.decode()
    assert 'name="_save"' not in body
    assert "f" * 64 not in body
    before = list(MODELS[model].objects.order_by("pk").values())  # type: ignore[attr-defined]
    assert admin_page.post(url, {"state": "mapped"}).status_code == 403
    for ending in ("add/", f"{row.pk}/delete/"):
        base = reverse(f"admin:gohighlevel_{model}_changelist")
        assert admin_page.get(base + ending).status_code in {302, 404}
    assert list(MODELS[model].objects.order_by("pk").values()) == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", MODELS)
def test_no_list_counts_a_big_table(admin_page: Client, model: str) -> None:
    with CaptureQueriesContext(connection) as asked:
        page(admin_page, model)
    ours = [query["sql"] for query in asked if f"gohighlevel_{model}" in query["sql"]]
    whole = [sql for sql in ours if "COUNT(" in sql and "LIMIT" not in sql and "WHERE" not in sql]
    assert not whole
    assert len(asked) <= 9


def test_after_a_change_of_location_the_old_one_is_in_neither_list_nor_figures(
    admin_page: Client, now: dt.datetime
) -> None:
    Location.objects.create(location_id="theOldLocation", mapped=7000, unmatched=500)
    ContactMapping.objects.create(
        location_id="theOldLocation", contact_id="oldContact", state="mapped", first_seen_at=now
    )
    shown = page(admin_page, "contactmapping")
    assert "oldContact" not in shown
    assert "7,000" not in shown and "7,502" not in shown
    assert PERSON in shown


def test_who_competes_for_a_person_is_found_by_the_persons_id(
    admin_page: Client, now: dt.datetime
) -> None:
    for name in ("rivalOne", "rivalTwo"):
        ContactMapping.objects.create(
            location_id=LOCATION_ID,
            contact_id=name,
            state="ambiguous",
            external_id="82000020",
            first_seen_at=now,
        )
    assert "82000020" in page(admin_page, "contactmapping", state="ambiguous")
    found = page(admin_page, "contactmapping", q="82000020")
    assert "rivalOne" in found and "rivalTwo" in found
    assert PERSON not in found


def test_who_may_says_that_the_app_is_not_wanted_any_more(now: dt.datetime) -> None:
    Location.objects.update(uninstalled_at=now)
    user = User.objects.create_user("it", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_location"))
    client = Client()
    client.force_login(user)
    url = reverse("admin:gohighlevel_location_changelist")
    form = {"action": "app_not_wanted", "_selected_action": [Location.objects.get().pk]}
    assert "not wanted" not in text_of(client.get(url))
    client.post(url, form)
    assert assessed(now).state == "uninstalled"
    user.user_permissions.add(Permission.objects.get(codename="change_location"))
    assert "The app is not wanted any more" in text_of(client.get(url))
    assert "1 uninstallation settled" in text_of(client.post(url, form, follow=True))
    assert assessed(now).state != "uninstalled"


def test_a_stranger_sees_nothing(staff_client: Client) -> None:
    for model in (*MODELS, "location"):
        assert staff_client.get(f"/admin/gohighlevel/{model}/").status_code == 403
