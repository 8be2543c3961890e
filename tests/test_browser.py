"""A newcomer's walk through the demo: sign in, connect, break, fix; and every page on the way.

The demo is the real one, from a copy of the tree: `make run`'s own server, stand-in and history.
"""

import os
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, StorageState, expect

from config.first_run import write_env
from config.server import problem_with
from tests import demo as demos
from tests.conftest import HARBOUR
from tests.processes import wait_for
from tests.walk import DESKTOP, PHONE, Visitor, lives_up, visiting

pytestmark = pytest.mark.browser

CONNECTED, DISCONNECTED = "Connected", "Disconnected"
NORTHSIDE_NAME, HARBOUR_NAME = "Northside Physio", "Harbour Physio"
DISCONNECT = "The user disconnects in QuickBooks"
PAGES = {
    "dashboard": "/dashboard/",
    "history": "/dashboard/history/",
    "incidents": "/incidents/",
    "pause page": f"/integrations/quickbooks/pause/?account={HARBOUR}",
    "fix page": f"/quickbooks/fix/?realm={HARBOUR}",
    "problem page": "/quickbooks/callback/?state=used-already",
    "disconnected page": f"/quickbooks/disconnected/?realmId={HARBOUR}",
    "hand-over link that has ended": "/quickbooks/hand-over/",
    "missing page": "/nowhere/",
    "set-up of Jane": "/integrations/jane/set-up/",
    "set-up of GoHighLevel": "/integrations/gohighlevel/set-up/",
    "admin": "/admin/",
    "checks": "/admin/quickbooks/connectionhealthcheck/",
    "companies": "/admin/quickbooks/oauthtoken/",
    "company": "/admin/quickbooks/oauthtoken/1/change/",
    "hand-over links": "/admin/quickbooks/handover/",
    "deliveries": "/admin/integrations/webhookdelivery/",
    "memberships": "/admin/jane/membership/",
    "contacts": "/admin/gohighlevel/contactmapping/",
    "syncs": "/admin/gohighlevel/syncrun/",
    "incidents in the admin": "/admin/integrations/incident/",
    "recipients": "/admin/integrations/recipient/",
    "alerts": "/admin/integrations/alert/",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demos.Demo]:
    tree = demos.copy_tree(tmp_path_factory.mktemp("demo"))
    port = demos.own_port()
    write_env(tree / ".env", port)
    with (tree / ".env").open("a") as settings:
        # Every load is to ask, also a second after another one did; and what hangs does so until
        # it is let go, however slow this machine is.
        settings.write("QUICKBOOKS_PROBE_REUSE_SECONDS=0\nQUICKBOOKS_DEADLINE_SECONDS=60\n")
    with demos.running(tree, port) as running:
        yield running


@pytest.fixture(scope="module")
def session(browser: Browser, demo: demos.Demo) -> StorageState:
    """A browser's cookies after signing in."""
    with visiting(browser, demo) as visitor:
        visitor.go("/")
        visitor.sign_in()
        visitor.sees(HARBOUR_NAME, CONNECTED)
        return visitor.page.context.storage_state()


@pytest.fixture
def visitor(browser: Browser, demo: demos.Demo, session: StorageState) -> Iterator[Visitor]:
    """Signed in; at the end the console must have been silent."""
    with visiting(browser, demo, session) as visitor:
        yield visitor
        assert visitor.complaints == []


def test_a_newcomer_connects_breaks_and_fixes(browser: Browser, demo: demos.Demo) -> None:
    with visiting(browser, demo) as visitor:
        page = visitor.page
        visitor.go("/")
        visitor.sign_in()
        expect(page).to_have_url(f"{demo.url}/dashboard/")
        expect(page.get_by_text("Demo: stand-ins play QuickBooks and the others.")).to_be_visible()
        visitor.sees(HARBOUR_NAME, CONNECTED)
        expect(page.get_by_role("heading", level=1)).to_contain_text("Everything works")

        visitor.go("/quickbooks/connect/")
        visitor.consent(NORTHSIDE_NAME)
        expect(page).to_have_url(f"{demo.url}/dashboard/")
        expect(page.get_by_text(f"{NORTHSIDE_NAME} is connected")).to_be_visible()
        visitor.sees(NORTHSIDE_NAME, CONNECTED)

        page.get_by_role("link", name="Break it here").click()
        expect(page).to_have_url(demo.control_url)
        visitor.control(DISCONNECT, NORTHSIDE_NAME)
        visitor.sees(NORTHSIDE_NAME, DISCONNECTED)
        visitor.sees(HARBOUR_NAME, CONNECTED)
        card = visitor.card(NORTHSIDE_NAME)
        expect(card).to_contain_text("Payment tracking stopped")
        expect(card).to_contain_text(f"QuickBooks administrator and choose {NORTHSIDE_NAME}")
        expect(page.get_by_role("heading", level=1)).to_contain_text("1 thing needs you")
        expect(page).to_have_title(re.compile("1 thing needs you"))

        card.get_by_role("link", name="Fix Connection").click()
        visitor.consent(NORTHSIDE_NAME)
        visitor.sees(NORTHSIDE_NAME, CONNECTED)
        expect(page.get_by_role("heading", level=1)).to_contain_text("Everything works")
        assert visitor.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_for_everybody(visitor: Visitor, name: str) -> None:
    """Light and dark, phone and desktop; also checks that no page complains in the console."""
    visitor.go(PAGES[name])
    if name == "dashboard":
        visitor.sees(HARBOUR_NAME, CONNECTED)
    assert lives_up(visitor.page) == []
    if name == "missing page":
        visitor.complaints.clear()  # the browser remarks on every 404


def test_the_login_is_for_everybody(browser: Browser, demo: demos.Demo) -> None:
    with visiting(browser, demo) as visitor:
        visitor.go("/dashboard/")
        expect(visitor.page.get_by_label("Username")).to_be_visible()
        assert lives_up(visitor.page) == []
        assert visitor.complaints == []


def test_a_broken_card_is_for_everybody_and_its_button_at_hand(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go("/dashboard/")
    visitor.sees(HARBOUR_NAME, CONNECTED)
    visitor.control(DISCONNECT, HARBOUR_NAME)
    visitor.sees(HARBOUR_NAME, DISCONNECTED)
    wrong = lives_up(page)
    page.set_viewport_size(PHONE)
    page.reload()
    visitor.sees(HARBOUR_NAME, DISCONNECTED)
    button = visitor.card(HARBOUR_NAME).get_by_role("link", name="Fix Connection").bounding_box()
    visitor.card(HARBOUR_NAME).get_by_role("link", name="Incident").click()
    page.get_by_role("button", name="I’m on it").click()
    expect(page.get_by_text("You are on it.")).to_be_visible()
    wrong += lives_up(page)
    page.get_by_role("link", name="Fix it").click()
    wrong += lives_up(page)
    page.get_by_role("link", name="Fix Connection").click()
    wrong += lives_up(page)  # the stand-in's authorize page
    visitor.consent(HARBOUR_NAME)
    visitor.sees(HARBOUR_NAME, CONNECTED)
    assert wrong == []
    assert button is not None
    assert button["height"] >= 48
    assert button["y"] + button["height"] <= PHONE["height"]


def test_a_long_note_in_the_history_wraps(visitor: Visitor) -> None:
    """On a desktop, too: a sync that failed says why, in up to 200 characters."""
    page = visitor.page
    visitor.go(PAGES["history"])
    note = page.get_by_role("cell", name=re.compile("contacts")).first
    note.evaluate("(cell, text) => { cell.textContent = text; }", "25 syncs, 231 contacts, " * 8)
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_the_result_of_a_test_delivery_is_in_sight(visitor: Visitor) -> None:
    visitor.go(PAGES["set-up of Jane"])
    visitor.page.get_by_role("button", name="Send a test delivery").click()
    expect(visitor.page.get_by_text("The test delivery arrived.")).to_be_in_viewport()


def test_an_administrator_without_an_account_fixes_a_connection(
    browser: Browser, demo: demos.Demo, visitor: Visitor
) -> None:
    """In a real browser, because of what its policies let a form lead to."""
    page = visitor.page
    visitor.control(DISCONNECT, HARBOUR_NAME)
    visitor.sees(HARBOUR_NAME, DISCONNECTED)
    visitor.go(PAGES["fix page"])
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label(re.compile("Link made")).input_value()
    wrong = lives_up(page)
    with visiting(browser, demo) as guest:
        guest.page.goto(link)
        wrong += lives_up(guest.page)
        guest.page.get_by_role("button", name="Go on to QuickBooks").click()
        guest.consent(HARBOUR_NAME)
        expect(guest.page.get_by_role("heading", level=1)).to_contain_text("Thank you.")
        wrong += lives_up(guest.page)
        guest.go("/dashboard/")
        expect(guest.page.get_by_label("Username")).to_be_visible()
        assert guest.complaints == []
    visitor.go("/dashboard/")
    visitor.sees(HARBOUR_NAME, CONNECTED)
    assert wrong == []


def test_the_control_page_is_for_everybody(visitor: Visitor, demo: demos.Demo) -> None:
    visitor.page.goto(demo.control_url)
    assert lives_up(visitor.page) == []


def test_a_hanging_quickbooks_holds_up_nobody(
    browser: Browser, demo: demos.Demo, session: StorageState, visitor: Visitor
) -> None:
    """While one card waits for it, every other page is there, and says that it is checking."""
    visitor.control("QuickBooks hangs")
    card = visitor.card(HARBOUR_NAME)
    expect(card.get_by_text("Checking…")).to_be_visible()
    expect(card).to_have_attribute("hx-trigger", "load")
    expect(card.locator(".state strong")).to_have_text(CONNECTED)  # what was known before

    # On another computer: one browser asks the same address only once at a time.
    with visiting(browser, demo, session) as colleague:
        colleague.go("/dashboard/")
        other = colleague.card(HARBOUR_NAME)
        expect(other).to_have_attribute("hx-trigger", "load delay:2s")
        expect(other.get_by_text("Checking…")).to_be_visible()
        colleague.page.get_by_role("link", name="History").click()
        expect(colleague.page.get_by_role("heading", name="The last 24 hours")).to_be_visible()
        expect(card).to_have_attribute("hx-trigger", "load")  # still without an answer

        colleague.control("Everything works again")
        colleague.sees(HARBOUR_NAME, CONNECTED)
        assert colleague.complaints == []


def test_a_session_that_ends_sends_the_whole_page_to_the_login(visitor: Visitor) -> None:
    page = visitor.page
    page.clock.install()
    visitor.go("/dashboard/")
    visitor.sees(HARBOUR_NAME, CONNECTED)
    page.context.clear_cookies()
    visitor.minute_passes()
    expect(page.get_by_label("Username")).to_be_visible()
    assert page.url.startswith(f"{visitor.demo.url}/admin/login/?next=/dashboard/")
    assert all("401" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()


def test_a_page_left_open_says_that_it_cannot_update(visitor: Visitor) -> None:
    """The last test: it ends the demo."""
    page = visitor.page
    page.clock.install()
    visitor.go("/dashboard/")
    visitor.sees(HARBOUR_NAME, CONNECTED)
    expect(page.locator("#stale")).to_be_hidden()
    os.kill(visitor.demo.pid, signal.SIGTERM)
    port = int(visitor.demo.url.rsplit(":", 1)[1])
    wait_for(lambda: not problem_with(port), "the end of the server")
    visitor.minute_passes()
    expect(page.locator("#stale")).to_contain_text("Can't update since")
    expect(visitor.card(HARBOUR_NAME)).to_be_visible()
    # The browser and htmx have much to say about a server that is gone.
    assert not [each for each in visitor.complaints if not re.search("htmx|ERR_CONN", each)]
    visitor.complaints.clear()
