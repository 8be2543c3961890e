"""What Prometheus reads at /metrics, what the counters count, and the alert rules beside it."""

import datetime as dt
import importlib
import re
import threading
from typing import Any

import pytest
import yaml
from django.apps import apps
from django.conf import settings as current
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from integrations.gohighlevel.models import Location
from integrations.jane.integration import Jane
from integrations.models import DeliveryCount, IntegrationStatus, WebhookDelivery, WebhookRefusal
from integrations.webhooks import TEST_HEADER, TEST_SIGNER
from quickbooks.counts import BOUNDS, NO_ANSWER, bucket, count
from quickbooks.models import (
    CheckCount,
    ConnectionHealthCheck,
    GrantState,
    MeteredCalls,
    OAuthToken,
    Trigger,
)
from quickbooks.probe import probe
from quickbooks.simulator.world import World
from tests import jane
from tests.alerts import HOUR, NINE_45, add_recipient, close_incident, deliver, open_incident
from tests.conftest import HARBOUR, NORTHSIDE
from tests.mail import Fault, mail_server
from tests.support import add_check, check, connect

pytestmark = pytest.mark.django_db

TOKEN = "a token for scraping"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
DOCS = current.BASE_DIR / "docs"
CHECKS, LATENCY = "quickbooks_checks_total", "quickbooks_check_latency_seconds"
DELIVERIES, ALERTS = "webhook_deliveries_total", "alerts_total"
DAY = dt.timedelta(days=1)

# Name and labels, as the contract has them.
CONTRACT = {
    "integration_level": {"integration", "account"},
    "integration_health_score": {"integration", "account"},
    "integration_last_success_timestamp_seconds": {"integration", "account"},
    "quickbooks_last_renewed_timestamp_seconds": {"account"},
    "quickbooks_days_to_reauthorization": {"account"},
    CHECKS: {"account", "diagnosis"},
    LATENCY: set(),
    "quickbooks_metered_calls": {"month"},
    DELIVERIES: {"integration", "outcome"},
    "gohighlevel_contacts": {"state"},
    ALERTS: {"kind", "outcome"},
}


@pytest.fixture(autouse=True)
def token(settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN


def families() -> dict[str, Metric]:
    """A scrape as Prometheus makes it, without a session, by the name that people write."""
    response = Client().get("/metrics", headers=AUTHORIZED)
    assert response.status_code == 200
    found = list(text_string_to_metric_families(response.content.decode()))
    names = [f"{one.name}_total" if one.type == "counter" else one.name for one in found]
    assert len(names) == len(set(names)), "a family stands in one place"
    return dict(zip(names, found, strict=True))


def samples() -> dict[str, dict[tuple[str, ...], float]]:
    """Name → values of the labels in alphabetical order of the labels → value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families().values():
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


def deliveries() -> dict[str, float]:
    """What came of Jane's deliveries, without the zeros."""
    counts = samples()[DELIVERIES]
    return {outcome: value for (slug, outcome), value in counts.items() if slug == "jane" and value}


# --- The door ---------------------------------------------------------------------------------


def test_the_token_opens_it_and_nothing_else_is_needed() -> None:
    response = Client().get("/metrics", headers=AUTHORIZED)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "no-store" in response["Cache-Control"]
    assert not response.cookies


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": "Bearer tökén"},
        {"Authorization": f"Basic {TOKEN}"},
        {"x-api-key": TOKEN},
    ],
)
def test_without_the_token_it_is_401_and_tells_nothing(given: dict[str, str]) -> None:
    response = Client().get("/metrics", headers=given)
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert b"integration_level" not in response.content


def test_being_on_the_staff_is_no_token(staff_client: Client) -> None:
    assert staff_client.get("/metrics").status_code == 401
    assert staff_client.get("/metrics", {"token": TOKEN}).status_code == 401


@pytest.mark.parametrize("given", [{}, AUTHORIZED, {"Authorization": "Bearer "}])
def test_without_a_token_set_there_is_no_such_page(
    settings: Settings, staff_client: Client, given: dict[str, str]
) -> None:
    settings.METRICS_TOKEN = ""
    assert staff_client.get("/metrics", headers=given).status_code == 404
    assert Client().post("/metrics", headers=given).status_code == 404


def test_only_get_and_head() -> None:
    head = Client().head("/metrics", headers=AUTHORIZED)
    assert (head.status_code, head.content) == (200, b"")
    assert head["Content-Type"].startswith("text/plain")
    for method in ("post", "put", "delete", "options"):
        response = getattr(Client(enforce_csrf_checks=True), method)("/metrics", headers=AUTHORIZED)
        assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


def test_the_token_does_not_travel_over_plain_http(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = Client().get("/metrics", headers=AUTHORIZED)
    assert response.status_code == 301
    assert response["Location"].startswith("https://")


# --- QuickBooks, seen from outside ---------------------------------------------------------------


@pytest.mark.usefixtures("simulator")
def test_what_happens_to_quickbooks_is_seen(world: World) -> None:
    connect(world)
    connect(world, NORTHSIDE)
    check()
    check(NORTHSIDE)
    before = samples()
    assert before["integration_level"][HARBOUR, "quickbooks"] == 0
    assert before["integration_health_score"][HARBOUR, "quickbooks"] == 100
    assert before[CHECKS][HARBOUR, "ok"] == 1
    assert before[f"{LATENCY}_count"][()] == 2

    world.set_fault("api", "no_access")
    broken = check()
    after = samples()
    assert after["integration_level"][HARBOUR, "quickbooks"] == 2
    assert after["integration_level"][NORTHSIDE, "quickbooks"] == 0
    assert after["integration_health_score"][HARBOUR, "quickbooks"] == 50
    assert after[CHECKS][HARBOUR, "ok"] == 1
    assert after[CHECKS][HARBOUR, "access_denied"] == 1
    assert after[f"{LATENCY}_count"][()] == sum(after[CHECKS].values()) == 3
    assert after[f"{LATENCY}_bucket"]["+Inf",] == 3
    last_success = "integration_last_success_timestamp_seconds"
    assert after[last_success] == before[last_success]
    assert after[last_success][HARBOUR, "quickbooks"] < broken.checked_at.timestamp()


@pytest.mark.usefixtures("simulator")
def test_what_only_confirms_another_check_counts_nowhere(world: World, now: dt.datetime) -> None:
    connect(world)
    check()
    probe(HARBOUR, trigger=Trigger.COMMAND, now=now, fresh=True, confirming=True)
    assert ConnectionHealthCheck.objects.count() == 2
    found = samples()
    assert found[CHECKS] == {(HARBOUR, "ok"): 1}
    assert found[f"{LATENCY}_count"][()] == 1


@pytest.mark.usefixtures("simulator")
def test_a_check_that_asked_nobody_has_no_latency(world: World) -> None:
    connect(world)
    world.revoke_grant(HARBOUR)
    OAuthToken.objects.update(access_expires_at=NINE_45 - 400 * DAY)
    assert check().diagnosis == "reconnect_required"
    found = samples()
    assert found[CHECKS] == {(HARBOUR, "ok"): 0, (HARBOUR, "reconnect_required"): 1}
    assert found[f"{LATENCY}_count"][()] == 0
    assert found["quickbooks_days_to_reauthorization"] == {(HARBOUR,): 0}


@pytest.mark.usefixtures("simulator")
def test_a_check_that_the_database_did_not_take_is_not_counted(world: World) -> None:
    connect(world)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        count(add_check())
        raise ZeroDivisionError
    assert samples()[CHECKS] == {(HARBOUR, "ok"): 0}


@pytest.mark.usefixtures("simulator")
def test_the_clocks_of_the_grant(world: World, now: dt.datetime) -> None:
    renewed = connect(world, age=dt.timedelta(minutes=10)).minted_at
    assert renewed is not None
    OAuthToken.objects.update(
        refresh_expires_at=now + 90 * DAY, hard_expires_at=now + 12 * DAY + HOUR
    )
    found = samples()
    assert found["quickbooks_last_renewed_timestamp_seconds"] == {
        (HARBOUR,): pytest.approx(renewed.timestamp())
    }
    days = found["quickbooks_days_to_reauthorization"][HARBOUR,]
    assert days == pytest.approx(12.04, abs=0.01)


@pytest.mark.usefixtures("simulator")
def test_what_a_person_disconnected_here_has_no_clocks(world: World) -> None:
    connect(world)
    OAuthToken.objects.update(state=GrantState.DISCONNECTED)
    found = samples()
    assert "quickbooks_last_renewed_timestamp_seconds" not in found
    assert "quickbooks_days_to_reauthorization" not in found
    OAuthToken.objects.update(state=GrantState.PENDING)
    assert CHECKS not in samples()


def test_the_metered_calls_of_this_month(settings: Settings, now: dt.datetime) -> None:
    month = now.date().replace(day=1)
    for client_id, when, calls in (
        (settings.QUICKBOOKS_CLIENT_ID, month, 123),
        (settings.QUICKBOOKS_CLIENT_ID, month - DAY, 999),
        ("another app", month, 999),
    ):
        MeteredCalls.objects.create(client_id=client_id, month=when, count=calls)
    assert samples()["quickbooks_metered_calls"] == {(f"{now:%Y-%m}",): 123}


# --- The counts of checks --------------------------------------------------------------------

# Milliseconds on both sides of each bound, and none at all.
LATENCIES = [None, 0, *(round(1000 * bound) + step for bound in BOUNDS[:-1] for step in (0, 1))]


def test_the_histogram_puts_each_latency_under_its_bound() -> None:
    for latency_ms in LATENCIES:
        count(add_check(latency_ms=latency_ms))
    found = samples()
    known = [latency_ms / 1000 for latency_ms in LATENCIES if latency_ms is not None]
    for (bound,), value in found[f"{LATENCY}_bucket"].items():
        assert value == sum(latency <= float(bound) for latency in known), bound
    assert len(found[f"{LATENCY}_bucket"]) == len(BOUNDS)
    assert found[f"{LATENCY}_sum"][()] == pytest.approx(sum(known))
    assert bucket(None) == NO_ANSWER


def test_the_counters_begin_with_the_history_that_is_there() -> None:
    for number, latency_ms in enumerate(LATENCIES):
        realm_id = (HARBOUR, NORTHSIDE)[number % 2]
        count(add_check(realm_id, latency_ms=latency_ms))
        count(add_check(realm_id, latency_ms=latency_ms, diagnosis="timeout"))
        add_check(realm_id, latency_ms=latency_ms, confirming=True)
    columns = ("realm_id", "diagnosis", "bucket", "count", "latency_ms")
    counted = set(CheckCount.objects.values_list(*columns))
    CheckCount.objects.all().delete()
    migration = importlib.import_module("quickbooks.migrations.0002_hand_over_and_counts")
    with CaptureQueriesContext(connection) as seen:
        migration.count_history(apps, None)
    assert set(CheckCount.objects.values_list(*columns)) == counted
    assert len([each for each in seen if each["sql"].startswith("SELECT")]) == 1


@pytest.mark.django_db(transaction=True)
def test_no_check_is_lost_where_many_are_counted_at_once() -> None:
    """Each in its transaction, with another write behind the count, as a check has it."""
    workers, each, failures = 8, 20, []
    made = ConnectionHealthCheck(
        realm_id=HARBOUR, checked_at=NINE_45, ok=True, diagnosis="ok", latency_ms=120
    )
    status = IntegrationStatus.objects.create(
        integration="quickbooks",
        account=HARBOUR,
        name="Harbour Physio",
        level="healthy",
        state="ok",
        since=NINE_45,
        checked_at=NINE_45,
    )

    def work() -> None:
        try:
            for _ in range(each):
                with transaction.atomic():
                    count(made)
                    IntegrationStatus.objects.filter(pk=status.pk).update(checked_at=NINE_45)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    row = CheckCount.objects.get()
    assert (row.count, row.latency_ms) == (workers * each, workers * each * 120)


# --- Deliveries, contacts, alerts -----------------------------------------------------------------


def test_deliveries_by_what_became_of_them(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = [jane.SECRET]
    assert deliveries() == {}
    wanted = jane.snapshot(NINE_45, passes=[jane.held()])
    jane.post(wanted)
    jane.post(wanted)
    jane.post(wanted)
    jane.post(jane.snapshot(NINE_45, person=7, passes=[]))
    jane.post({"event_topic": "something else"})
    jane.post("no JSON")
    jane.post(wanted, **{"x-api-key": "a forged one"})
    expected = {"stored": 2, "repeated": 2, "ignored": 1, "unreadable": 1, "refused": 1}
    assert deliveries() == expected

    body, headers = Jane.webhook.test_message(NINE_45) or (b"", {})
    test = jane.post(body, **headers, **{TEST_HEADER: TEST_SIGNER.sign("jane")})
    assert test.json() == {"status": "stored"}
    assert deliveries() == expected, "a test counts nowhere"

    WebhookDelivery.objects.all().delete()
    WebhookRefusal.objects.all().delete()
    assert deliveries() == expected, "a counter does not go down with the history"


def test_the_counters_begin_with_the_deliveries_that_are_there(settings: Settings) -> None:
    settings.JANE_WEBHOOK_SECRETS = [jane.SECRET]
    for person in (1, 2, 2, 2):
        jane.post(jane.snapshot(NINE_45, person=person, passes=[]))
    jane.post("no JSON")
    for _ in range(3):
        jane.post({}, **{"x-api-key": "a forged one"})
    jane.came(NINE_45, is_test=True, repeats=5)
    expected = {"stored": 2, "repeated": 2, "unreadable": 1, "refused": 3}
    assert deliveries() == expected
    DeliveryCount.objects.all().delete()
    migration = importlib.import_module("integrations.migrations.0003_incidents_and_alerts")
    migration.count_deliveries(apps, None)
    assert deliveries() == expected


def test_a_delivery_that_has_no_effect_is_counted_as_it_is_kept(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JANE_WEBHOOK_SECRETS = [jane.SECRET]

    def bug(*args: Any) -> None:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(Jane.webhook, "apply", bug)
    jane.post(jane.snapshot(NINE_45, passes=[]))
    assert deliveries() == {"unreadable": 1}


def test_the_first_of_a_kind_is_an_increase() -> None:
    """Prometheus sees none in a series that begins with 1."""
    found = samples()
    outcomes = {"stored", "ignored", "unreadable", "repeated", "refused"}
    vendors = {"jane", "gohighlevel"}
    assert found[DELIVERIES] == {(slug, what): 0 for slug in vendors for what in outcomes}
    assert len(found[ALERTS]) == 6 * 3
    assert not any(found[ALERTS].values())


def test_jane_and_gohighlevel_have_one_account_without_a_name(
    settings: Settings, now: dt.datetime
) -> None:
    settings.JANE_WEBHOOK_SECRETS = [jane.SECRET]
    settings.GOHIGHLEVEL_TOKEN, settings.GOHIGHLEVEL_LOCATION_ID = "token", "someLocation"
    found = samples()
    assert "integration_last_success_timestamp_seconds" not in found
    assert set(found["gohighlevel_contacts"].values()) == {0}
    jane.came(now - HOUR)
    Location.objects.create(location_id="someLocation", mapped=1180, unmatched=20, ambiguous=4)
    found = samples()
    assert found["integration_last_success_timestamp_seconds"] == {
        ("", "jane"): pytest.approx((now - HOUR).timestamp())
    }
    assert found["gohighlevel_contacts"] == {
        ("mapped",): 1180,
        ("unmatched",): 20,
        ("ambiguous",): 4,
    }


def test_alerts_by_what_became_of_them(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    add_recipient()
    with mail_server() as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port

        def alerts() -> dict[tuple[str, ...], float]:
            return {labels: value for labels, value in samples()[ALERTS].items() if value}

        incident = open_incident()
        assert alerts() == {}, "what only waits is not counted"
        server.fault = Fault.LATER
        deliver(NINE_45)
        assert alerts() == {("opened", "failed"): 1}
        deliver(NINE_45 + HOUR)
        assert alerts() == {("opened", "failed"): 2}
        server.fault = Fault.NONE
        deliver(NINE_45 + 4 * HOUR)
        assert alerts() == {("opened", "failed"): 2, ("opened", "sent"): 1}
        close_incident(incident, NINE_45 + 5 * HOUR)
        deliver(NINE_45 + 6 * HOUR)
        assert alerts() == {
            ("opened", "failed"): 2,
            ("opened", "sent"): 1,
            ("recovered", "sent"): 1,
        }


# --- What it costs, and what it must not say -----------------------------------------------------


def add_company(number: int, now: dt.datetime) -> None:
    realm_id = str(9341450000000000 + number)
    OAuthToken.objects.create(
        realm_id=realm_id,
        company_name=f"Clinic {number}",
        state=GrantState.LIVE,
        minted_at=now,
        last_success_at=now,
        hard_expires_at=now + 100 * DAY,
        client_id=current.QUICKBOOKS_CLIENT_ID,
        environment=current.QUICKBOOKS_ENVIRONMENT,
    )
    count(add_check(realm_id))
    IntegrationStatus.objects.create(
        integration="quickbooks",
        account=realm_id,
        name=f"Clinic {number}",
        level="healthy",
        state="ok",
        since=now,
        checked_at=now,
    )


@pytest.fixture
def everything(settings: Settings, now: dt.datetime) -> None:
    """All three integrations with something to tell."""
    settings.JANE_WEBHOOK_SECRETS = [jane.SECRET]
    settings.GOHIGHLEVEL_TOKEN, settings.GOHIGHLEVEL_LOCATION_ID = "token", "someLocation"
    Location.objects.create(location_id="someLocation", name="Marker location", mapped=3)
    jane.post(jane.snapshot(now, passes=[jane.held()]))
    add_recipient("marker@clinic.example", name="Marker")
    for number in range(3):
        add_company(number, now)
    open_incident("9341450000000000", "Marker")


@pytest.mark.usefixtures("everything")
def test_it_takes_the_same_few_statements_for_any_number_of_companies(now: dt.datetime) -> None:
    with CaptureQueriesContext(connection) as few:
        assert len(samples()["integration_level"]) == 3
    for number in range(3, 50):
        add_company(number, now)
    with CaptureQueriesContext(connection) as many:
        assert len(samples()["integration_level"]) == 50
    assert len(many) == len(few) <= 12


@pytest.mark.usefixtures("everything", "simulator")
def test_it_asks_no_vendor_and_writes_nothing(world: World) -> None:
    with CaptureQueriesContext(connection) as seen:
        samples()
    for statement in seen:
        assert re.match(r"\s*(SELECT|WITH)\b", statement["sql"]), statement["sql"]
    assert world.calls() == []


@pytest.mark.usefixtures("everything")
def test_nobody_is_named() -> None:
    OAuthToken.objects.update(company_name="Marker", site_url="https://marker.example")
    IntegrationStatus.objects.update(name="Marker")
    text = Client().get("/metrics", headers=AUTHORIZED).content.decode()
    assert "marker" not in text.lower()
    assert "@" not in text
    assert "someLocation" not in text


def test_labels_are_escaped(now: dt.datetime) -> None:
    hostile = '4620"} 1\n# \\ ü'
    IntegrationStatus.objects.create(
        integration="quickbooks",
        account=hostile,
        name="Harbour Physio",
        level="unknown",
        state="ok",
        since=now,
        checked_at=now,
    )
    assert samples()["integration_level"] == {(hostile, "quickbooks"): 3}


# --- The contract, the page about it, and the rules ----------------------------------------------


@pytest.mark.usefixtures("everything")
def test_the_names_and_labels_are_those_of_the_contract() -> None:
    found = families()
    assert set(found) == set(CONTRACT)
    for name, family in found.items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == CONTRACT[name], name
        assert family.documentation
    assert {name for name, one in found.items() if one.type == "counter"} == {
        name for name in CONTRACT if name.endswith("_total")
    }
    assert found[LATENCY].type == "histogram"


@pytest.mark.usefixtures("everything")
def test_the_docs_name_what_there_is() -> None:
    page = (DOCS / "prometheus.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)(?:\{([a-z,]+)\})?` \| (\w+) \|", page, re.M)
    found = families()
    assert {name: kind for name, _, kind in rows} == {
        name: family.type for name, family in found.items()
    }
    assert {name: set(filter(None, labels.split(","))) for name, labels, _ in rows} == CONTRACT
    assert f"job_name: {rules()['name']}" in page
    for path in re.findall(r"\]\(([^)#]+)\)", page):
        assert (DOCS / path).exists()


def rules() -> dict[str, Any]:
    (group,) = yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text())["groups"]
    assert isinstance(group, dict)
    return group


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression reads: names that are not labels, functions or operators."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', "", expression)
    bare = re.sub(r"\b(on|by) *\([^)]*\)", "", bare)
    names = set(re.findall(r"[a-z_]{2,}(?! *\()\b", bare))
    return names - {"and", "or", "unless", "sum", "by", "on"}


@pytest.mark.usefixtures("everything")
def test_the_rules_are_about_what_there_is() -> None:
    found = families()
    used = set()
    for rule in rules()["rules"]:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[A-Z][A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"\d+[mhd]", rule.get("for", "1m"))
        assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
        assert set(rule["annotations"]) == {"summary", "description"}
        names = metrics_in(rule["expr"])
        assert names and names <= set(found), rule["alert"]
        used |= names
        for values in re.findall(r'outcome="(\w+)"', rule["expr"]):
            outcomes = {s.labels.get("outcome") for name in names for s in found[name].samples}
            assert values in outcomes
        for matched in re.findall(r'integration!?="(\w+)"', rule["expr"]):
            assert matched in {"quickbooks", "jane", "gohighlevel"}
    alerts = [rule["alert"] for rule in rules()["rules"]]
    assert len(alerts) == len(set(alerts))
    # By these nobody would want to be woken.
    assert set(CONTRACT) - used == {
        "integration_health_score",
        LATENCY,
        "quickbooks_metered_calls",
        "gohighlevel_contacts",
    }
