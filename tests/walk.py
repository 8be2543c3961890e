"""What a newcomer does in the demo, and what every page must live up to, in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    StorageState,
    ViewportSize,
    expect,
)

from tests.demo import Demo

PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# For what waits for an answer of the stand-in; a machine that is busy otherwise may be slow.
PATIENCE_MS = 30_000


class Visitor:
    """A browser window at the demo, with everything that its console complained about."""

    def __init__(self, page: Page, demo: Demo) -> None:
        self.page = page
        self.demo = demo
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, message: ConsoleMessage) -> None:
        # Whatever the content security policy refuses is reported as an error, too.
        if message.type in {"error", "warning"}:
            where = message.location["url"] or self.page.url
            self.complaints.append(f"{where}: {message.text}")

    def go(self, path: str) -> None:
        self.page.goto(f"{self.demo.url}{path}")

    def sign_in(self) -> None:
        self.page.get_by_label("Username").fill(self.demo.user)
        self.page.get_by_label("Password").fill(self.demo.password)
        self.page.get_by_role("button", name="Log in").click()

    def card(self, company: str) -> Locator:
        return self.page.get_by_role("article", name=f"QuickBooks · {company}")

    def sees(self, company: str, state: str) -> None:
        """The card says so, and not from memory: its fragment has been there."""
        card = self.card(company)
        expect(card).to_have_attribute("hx-trigger", "every 60s", timeout=PATIENCE_MS)
        expect(card.locator(".state strong")).to_have_text(state)

    def consent(self, company: str) -> None:
        """At the stand-in's authorize page."""
        self.page.get_by_role("radio", name=company).check()
        self.page.get_by_role("button", name="Connect").click()

    def control(self, button: str, company: str = "") -> None:
        """Press a button of the control page, and come back to the dashboard."""
        self.page.goto(self.demo.control_url)
        place = self.page.get_by_role("form", name=company) if company else self.page
        place.get_by_role("button", name=button).click()
        self.page.get_by_role("link", name="Back to the dashboard").click()

    def minute_passes(self) -> None:
        """For a page whose clock was installed before it was opened."""
        # htmx takes this class off as it sets up a card's timer, a moment after the swap.
        expect(self.page.locator("article.htmx-added")).to_have_count(0)
        self.page.clock.fast_forward("01:01")


@contextmanager
def visiting(
    browser: Browser, demo: Demo, session: StorageState | None = None
) -> Iterator[Visitor]:
    context = browser.new_context(storage_state=session, viewport=DESKTOP)
    try:
        yield Visitor(context.new_page(), demo)
    finally:
        context.close()


# A colour on its way from light to dark has the contrast of neither.
SETTLE = """() => document.getAnimations()
  .filter((each) => each.effect.getComputedTiming().endTime < Infinity)
  .forEach((each) => each.finish())"""

UNFOLD = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"


def lives_up(page: Page) -> list[str]:
    """What is wrong with the page, for eyes, ears and thumbs: light, dark, small and large."""
    found = []
    for size in (DESKTOP, PHONE):
        page.set_viewport_size(size)
        if size is PHONE:
            page.evaluate(UNFOLD)
            if (wide := page.evaluate("document.documentElement.scrollWidth")) > size["width"]:
                found.append(f"scrolls sideways: {wide} wide")
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.evaluate(SETTLE)
            violations = Axe().run(page).response["violations"]
            found += [
                f"{scheme} at {size['width']}: {violation['id']} at {node['target']}"
                for violation in violations
                for node in violation["nodes"]
            ]
    return found
