"""The demo from a copy without any state: connected, broken, fixed, stopped, started again."""

import html
import http.cookiejar
import json
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from config.server import problem_with
from tests import demo
from tests.conftest import HARBOUR

# What can be broken at the other vendors, and what their cards say then.
OTHERS = [
    ("silent", "jane", "late"),
    ("changed", "jane", "parse_failing"),
    ("revoked", "gohighlevel", "token_rejected"),
    ("scope", "gohighlevel", "wrong_location"),
    ("throttled", "gohighlevel", "throttled"),
    ("down", "gohighlevel", "unavailable"),
    ("uninstalled", "gohighlevel", "uninstalled"),
]


class Person:
    """A browser's cookies and forms, without the browser."""

    def __init__(self, place: demo.Demo) -> None:
        self.place = place
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )

    def get(self, url: str) -> tuple[str, str]:
        """The address where it ended, and the page."""
        return self._open(urllib.request.Request(urllib.parse.urljoin(self.place.url, url)))

    def post(self, url: str, **form: str) -> tuple[str, str]:
        form["csrfmiddlewaretoken"] = next((c.value or "" for c in self.jar), "")
        url = urllib.parse.urljoin(self.place.url, url)
        body = urllib.parse.urlencode(form).encode()
        return self._open(urllib.request.Request(url, body, {"Referer": self.place.url}))

    def _open(self, request: urllib.request.Request) -> tuple[str, str]:
        with self.opener.open(request, timeout=30) as answer:
            return answer.geturl(), answer.read().decode()

    def sign_in(self) -> str:
        url, _ = self.get("/")
        return self.post(url, username=self.place.user, password=self.place.password)[0]

    def cards(self) -> dict[str, str]:
        """The state of each integration, its card asked live as a browser asks it."""
        for slug in ("jane", "gohighlevel"):
            self.get(f"/dashboard/cards/{slug}/-/")
        found = json.loads(self.get("/api/admin/integrations")[1])["integrations"]
        return {card["integration"]: card["state"] for card in found}

    def status(self) -> dict[str, Any]:
        found = self.get("/api/admin/quickbooks/connection-status?fresh=1")[1]
        status = json.loads(found)
        assert isinstance(status, dict)
        return status


def test_from_nothing_to_a_connected_company_and_through_trouble(tmp_path: Path) -> None:
    tree = demo.copy_tree(tmp_path)
    with demo.running(tree) as first:
        person = Person(first)
        assert person.sign_in() == f"{first.url}/dashboard/"
        page = person.get("/dashboard/")[1]
        assert "Harbour Physio" in page
        assert first.control_url in page  # the banner leads to the control page

        status = person.status()
        assert status["diagnosis"]["code"] == "ok"
        assert status["company"] == {"realm_id": HARBOUR, "name": "Harbour Physio"}
        assert status["health"]["checks"] >= 95
        assert 98 <= status["health"]["score"] < 100  # there was a blip

        healthy = {"quickbooks": "ok", "jane": "arriving", "gohighlevel": "in_step"}
        assert person.cards() == healthy
        for action, slug, state in OTHERS:
            person.post(first.control_url, action=f"{slug}:{action}")
            assert person.cards() == {**healthy, slug: state}
            person.post(first.control_url, action=f"{slug}:works")
        assert person.cards() == healthy

        person.post(first.control_url, action="disconnect", realm=HARBOUR)
        assert person.status()["diagnosis"]["code"] == "reconnect_required"

        consent, page = person.get(f"/quickbooks/connect/?realm={HARBOUR}")
        form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
        answers = {name: html.unescape(value) for name, value in form.items()}
        url, _ = person.post(consent.split("?")[0], **answers, realm=HARBOUR, decision="connect")
        assert url.startswith(f"{first.url}/dashboard/")
        assert person.status()["diagnosis"]["code"] == "ok"

    port = int(first.url.rsplit(":", 1)[1])
    until = time.monotonic() + 20
    while problem_with(port) and time.monotonic() < until:
        time.sleep(0.1)  # the server lets its last requests end
    assert problem_with(port) == ""

    # Another port, the same clinic: what was done is still there.
    with demo.running(tree) as second:
        person = Person(second)
        assert second.password == first.password
        assert person.sign_in() == f"{second.url}/dashboard/"
        assert person.status()["diagnosis"]["code"] == "ok"
