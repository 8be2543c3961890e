"""The set-up page, and its test delivery over real HTTP through the real endpoint."""

import datetime as dt
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from integrations.deliveries import traffic
from integrations.gohighlevel.models import LocationCheck
from integrations.models import WebhookDelivery, WebhookRefusal
from integrations.registry import get_integration
from tests.support import text_of

VENDORS = {"jane": "JANE_WEBHOOK_SECRETS", "gohighlevel": "GOHIGHLEVEL_WEBHOOK_SECRETS"}


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest, settings: Settings) -> str:
    """One of them, set up."""
    setattr(settings, VENDORS[request.param], ["a secret of ours"])
    settings.GOHIGHLEVEL_TOKEN, settings.GOHIGHLEVEL_LOCATION_ID = "token", "location"
    return str(request.param)


def press(client: Client, vendor: str) -> str:
    """Send a test delivery: what the page says then."""
    path = f"/integrations/{vendor}/test-delivery/"
    return text_of(client.post(path, follow=True))


@pytest.mark.django_db
def test_the_page_tells_the_address_and_what_to_paste(
    staff_client: Client, vendor: str, settings: Settings
) -> None:
    settings.SITE_URL = "https://monitor.example.org"
    page = staff_client.get(f"/integrations/{vendor}/set-up/")
    assert page.status_code == 200
    assert f'value="https://monitor.example.org/webhooks/{vendor}/"' in page.content.decode()
    text = text_of(page)
    assert VENDORS[vendor] in text
    assert "Send a test delivery" in text
    assert "a secret of ours" not in page.content.decode()


@pytest.mark.django_db
def test_every_vendor_says_what_is_missing_before_it_is_set_up(staff_client: Client) -> None:
    for vendor in VENDORS:
        text = text_of(staff_client.get(f"/integrations/{vendor}/set-up/"))
        assert "as soon as a secret is set up" in text
        integration = get_integration(vendor)
        assert integration is not None
        (card,) = integration.assess(timezone.now())
        assert card.state == "not_configured"
        assert [link.url for link in card.links] == [f"/integrations/{vendor}/set-up/"]


@pytest.mark.django_db
@pytest.mark.parametrize("scope", ["token_rejected", "wrong_location"])
def test_a_card_that_an_administrator_must_mend_has_the_steps_as_its_button(
    staff_client: Client, vendor: str, scope: str
) -> None:
    now = timezone.now()
    staff_client.post(f"/webhooks/{vendor}/", b"{}", "application/json")
    LocationCheck.objects.create(
        location_id="location", checked_at=now, ok=False, state=scope, trigger="command"
    )
    integration = get_integration(vendor)
    assert integration is not None
    (card,) = integration.assess(now + dt.timedelta(minutes=1))
    assert card.who_acts == "administrator"
    assert card.action is not None
    assert card.action.label == "See set-up steps"
    assert staff_client.get(card.action.url).status_code == 200
    assert card.action.url not in [link.url for link in card.links]


@pytest.mark.django_db(transaction=True)
def test_a_test_delivery_arrives_and_counts_nowhere(
    staff_client: Client, vendor: str, live_server: LiveServer, settings: Settings
) -> None:
    settings.SITE_URL = live_server.url
    for _ in range(2):
        assert "The test delivery arrived." in press(staff_client, vendor)
    rows = WebhookDelivery.objects.all()
    assert [(row.integration, row.is_test) for row in rows] == [(vendor, True)] * 2
    found = traffic(vendor, timezone.now())
    assert (found.accepted, found.unreadable, found.last_at) == (0, 0, None)


@pytest.mark.django_db(transaction=True)
def test_the_result_stands_beside_the_button(
    staff_client: Client, vendor: str, live_server: LiveServer, settings: Settings
) -> None:
    settings.SITE_URL = live_server.url
    path = f"/integrations/{vendor}/test-delivery/"
    answer = staff_client.post(path)
    address, _, anchor = answer["Location"].partition("#")
    page = staff_client.get(address).content.decode()
    assert page.count("The test delivery arrived.") == 1
    *_, section = page.partition(f'<h2 id="{anchor}">Does it arrive?</h2>')
    assert "The test delivery arrived." in section.partition("Send a test delivery")[0]


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[type[BaseHTTPRequestHandler]]:
    """Some other server stands where SITE_URL leads."""

    class Other(BaseHTTPRequestHandler):
        status = 404

        def do_POST(self) -> None:
            self.send_response(self.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        settings.SITE_URL = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield Other
        server.shutdown()
        thread.join()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "different secrets"), (301, "redirects (301)"), (404, "answered 404"), (200, "200")],
)
def test_what_answers_in_our_place_is_told(
    staff_client: Client,
    vendor: str,
    elsewhere: type[BaseHTTPRequestHandler],
    status: int,
    told: str,
) -> None:
    elsewhere.status = status  # type: ignore[attr-defined]
    text = press(staff_client, vendor)
    assert told in text
    assert "arrived" not in text


@pytest.mark.django_db
def test_an_address_that_nobody_answers_is_told(
    staff_client: Client, vendor: str, settings: Settings
) -> None:
    settings.SITE_URL = "http://127.0.0.1:9"
    assert "did not get through" in press(staff_client, vendor)


@pytest.mark.django_db
def test_a_real_delivery_with_a_wrong_key_is_counted_as_refused(client: Client) -> None:
    for vendor in VENDORS:
        path = f"/webhooks/{vendor}/"
        headers = {"x-api-key": "guess"}
        answer = client.post(path, b"{}", content_type="application/json", headers=headers)
        assert answer.status_code == 401
        assert client.get(path).status_code == 405
    assert WebhookRefusal.objects.count() == len(VENDORS)


@pytest.mark.django_db
def test_only_staff_may_look_and_press(client: Client) -> None:
    for vendor in VENDORS:
        assert client.get(f"/integrations/{vendor}/set-up/").status_code == 302
        assert client.post(f"/integrations/{vendor}/test-delivery/").status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ["quickbooks", "nobody"])
def test_there_is_no_such_page_for_others(staff_client: Client, slug: str) -> None:
    assert staff_client.get(f"/integrations/{slug}/set-up/").status_code == 404
    assert staff_client.post(f"/integrations/{slug}/test-delivery/").status_code == 404
