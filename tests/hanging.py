"""People who open the dashboard while QuickBooks is well, and while it hangs.

A load is the page and then the fragments that its cards ask for, as htmx asks for them. Used by
the test, which counts, and by `make bench`, which measures.
"""

import datetime as dt
import http.client
import statistics
import threading
import time
from collections.abc import Callable
from html.parser import HTMLParser

from django.db.models import F

from quickbooks.models import ConnectionHealthCheck, OAuthToken
from quickbooks.simulator.world import World
from tests.processes import PATIENCE, WebServer, get

DASHBOARD = "/dashboard/"


class _Fragments(HTMLParser):
    """The addresses that htmx fetches as soon as the page is there."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("hx-trigger") == "load" and (url := found.get("hx-get")):
            self.urls.append(url)


def load_dashboard(server: WebServer, session: str) -> float:
    """The seconds until the page and all of its cards are there."""
    web = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    began = time.perf_counter()
    try:
        status, page = get(web, DASHBOARD, session)
        assert status == 200
        urls = _Fragments(page).urls
        assert urls, "no card of the dashboard asks for its fragment"
        for url in urls:
            assert get(web, url, session, HX_Request="true")[0] == 200
    finally:
        web.close()
    return time.perf_counter() - began


def open_dashboards(
    server: WebServer,
    sessions: list[str],
    loads: int,
    last_one: Callable[[], None] = lambda: None,
) -> list[float]:
    """The seconds of as many loads, one after the other in each session, these side by side.

    `last_one` is called when all but one are complete: nobody else may be waiting then.
    """
    found: list[float] = []
    errors: list[BaseException] = []
    left = iter(range(loads))
    lock = threading.Lock()

    def visit(session: str) -> None:
        while not errors:
            with lock:
                if next(left, None) is None:
                    return
            try:
                seconds = load_dashboard(server, session)
            except BaseException as error:
                errors.append(error)
                last_one()
                return
            with lock:
                found.append(seconds)
                if len(found) == loads - 1:
                    last_one()

    threads = [threading.Thread(target=visit, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found


def nobody_has_asked_lately() -> None:
    """No finished probe is young enough to be shared."""
    while_ago = dt.timedelta(minutes=2)
    ConnectionHealthCheck.objects.update(checked_at=F("checked_at") - while_ago)
    # What was found out before the grant would say nothing about it.
    OAuthToken.objects.update(connected_at=F("connected_at") - while_ago)


def measure_hanging(
    server: WebServer, world: World, sessions: list[str], *, pairs: int = 7, loads: int = 80
) -> dict[str, float]:
    """Loads with a healthy and with a hanging QuickBooks in turn; as many at a time as sessions.

    `healthy_ms` and `hanging_ms` are the medians of the medians of each turn, `ratio` the median
    of their ratios; `least_calls`, `most_calls` and `most_in_flight` are of the hanging turns.
    The server's deadline must be longer than a turn takes.
    """
    healthy: list[float] = []
    hanging: list[float] = []
    calls: list[int] = []
    peaks: list[int] = []
    open_dashboards(server, sessions, 2 * len(sessions))
    for _ in range(pairs):
        nobody_has_asked_lately()
        healthy.append(_median_ms(open_dashboards(server, sessions, loads)))
        nobody_has_asked_lately()
        world.reset_counters()
        world.set_fault("api", "hang")
        try:
            found = open_dashboards(server, sessions, loads, world.clear_faults)
        finally:
            world.clear_faults()
        hanging.append(_median_ms(found))
        calls.append(len(world.calls("api")))
        peaks.append(world.max_in_flight("api"))
    return {
        "healthy_ms": statistics.median(healthy),
        "hanging_ms": statistics.median(hanging),
        "ratio": statistics.median(b / a for a, b in zip(healthy, hanging, strict=True)),
        "least_calls": min(calls),
        "most_calls": max(calls),
        "most_in_flight": max(peaks),
    }


def _median_ms(seconds: list[float]) -> float:
    return 1000 * statistics.median(seconds)
