"""The dashboard and the history, as somebody who opens them sees them.

The integrations here are made up: what a card shows must not depend on who the vendor is.
"""

import datetime as dt
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import DjangoAssertNumQueries, Settings
from pytest_django.live_server_helper import LiveServer

from dashboard import live, visits
from dashboard.headline import headline
from integrations import registry
from integrations.base import Action, Assessment, Cell, Event, Explanation, Integration, Metric
from integrations.explanations import unexplained
from integrations.levels import Level
from integrations.status import Evidence, commit

DASHBOARD, HISTORY = "/dashboard/", "/dashboard/history/"
CARD = "/dashboard/cards/books/1/"
LOGIN = "/admin/login/?next=/dashboard/"
HOUR = dt.timedelta(hours=1)
FIX = Action(label="Fix Connection", url="/fix/", permission="quickbooks.manage_connection")


class Books(Integration):
    """Made-up bookkeeping with as many accounts as a test wants."""

    slug = "books"
    name = "Books"
    accounts: ClassVar[list[Assessment]] = []
    events: ClassVar[list[Event]] = []
    figures: ClassVar[list[Metric]] = []
    ran: ClassVar[dt.datetime | None] = None
    checked: ClassVar[list[tuple[str, int | None]]] = []
    answer: ClassVar[Assessment | None] = None
    failing: ClassVar[bool] = False
    gate: ClassVar[threading.Event | None] = None

    def assess(self, now: dt.datetime, accounts: Sequence[str] | None = None) -> list[Assessment]:
        if accounts is None:
            return self.accounts[:12]
        return [found for found in self.accounts if found.account in accounts]

    def check(self, account: str, now: dt.datetime, user_id: int | None) -> Assessment | None:
        self.checked.append((account, user_id))
        if self.failing:
            raise ValueError("a fault of ours")
        if self.gate:
            self.gate.wait(10)
        return self.answer or super().check(account, now, user_id)

    def account_count(self) -> int:
        return len(self.accounts)

    def history(self, account: str, now: dt.datetime) -> list[Event]:
        return self.events

    def last_scheduled_run(self, now: dt.datetime) -> dt.datetime | None:
        return self.ran

    def metrics(self, now: dt.datetime) -> list[Metric]:
        return self.figures

    def explain(
        self, account: str, state: str, *, since: dt.datetime, now: dt.datetime
    ) -> Explanation:
        return unexplained(self.name, state, since=since, now=now, fix_url="")


class Bookings(Integration):
    """Another one, which is not set up."""

    slug = "bookings"
    name = "Bookings"

    def assess(self, now: dt.datetime, accounts: Sequence[str] | None = None) -> list[Assessment]:
        missing = assessment(
            integration="bookings",
            account="",
            name="Bookings",
            level=Level.UNKNOWN,
            headline="Not set up",
            title="Bookings isn't set up yet",
            alarming=False,
            next_step="Missing: the webhook.",
        )
        return [missing] if accounts is None or "" in accounts else []

    def explain(
        self, account: str, state: str, *, since: dt.datetime, now: dt.datetime
    ) -> Explanation:
        return unexplained(self.name, state, since=since, now=now, fix_url="")


@pytest.fixture(autouse=True)
def integrations(settings: Settings, now: dt.datetime) -> Iterator[None]:
    settings.INTEGRATIONS = ["tests.test_dashboard.Books", "tests.test_dashboard.Bookings"]
    registry.all_integrations.cache_clear()
    Books.accounts, Books.events, Books.figures, Books.checked = [assessment()], [], [], []
    Books.ran, Books.answer, Books.failing, Books.gate = now, None, False, None
    yield
    registry.all_integrations.cache_clear()


def assessment(**values: Any) -> Assessment:
    """An account that works; `values` say what is different."""
    known: dict[str, Any] = {
        "integration": "books",
        "account": "1",
        "name": "Books · Harbour Physio",
        "level": Level.HEALTHY,
        "state": "ok",
        "title": "Connected",
        "headline": "Connected",
        "impact": "Payment tracking is working.",
        "next_step": "Nothing to do.",
        "who_acts": "nobody",
        "checked_at": timezone.now(),
    }
    return Assessment(**{**known, **values})


def broken(**values: Any) -> Assessment:
    known: dict[str, Any] = {
        "level": Level.CRITICAL,
        "state": "reconnect_required",
        "title": "Books is disconnected",
        "headline": "Disconnected",
        "impact": "Payment tracking stopped.",
        "next_step": "Sign in as an administrator.",
        "who_acts": "clinic",
        "action": FIX,
        "links": [Action(label="Send link", url="mailto:?body=x")],
        "since": timezone.now() - 3 * HOUR,
    }
    return assessment(**{**known, **values})


def strip_of(now: dt.datetime, *troubled: int) -> list[Cell]:
    """48 slices, the last of which ends now; slice 3 was not checked."""
    start = now - 24 * HOUR
    return [
        Cell(
            starts_at=start + index * HOUR / 2,
            level=None if index == 3 else Level.CRITICAL if index in troubled else Level.HEALTHY,
            label="2 of 2 checks OK",
        )
        for index in range(48)
    ]


class Elements(HTMLParser):
    """The elements of a page: tag and attributes, in order, and its text."""

    def __init__(self, page: Any) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(page if isinstance(page, str) else page.content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [
            attributes
            for found, attributes in self.found
            if found == tag and wanted.items() <= attributes.items()
        ]


def fragment(client: Client, url: str) -> HttpResponse:
    """As htmx asks for it."""
    response = client.get(url, headers={"HX-Request": "true"})
    assert isinstance(response, HttpResponse)
    return response


def texts(page: Any) -> str:
    """What a person reads, on one line."""
    return " ".join(Elements(page).text.split())


# --- Who may look ------------------------------------------------------------------------------


@pytest.mark.django_db
def test_nobody_is_sent_to_the_login_and_back(client: Client) -> None:
    for url in (DASHBOARD, HISTORY):
        response = client.get(url)
        assert response.status_code == 302
        assert response["Location"] == f"/admin/login/?next={url}"
    assert client.get(CARD)["Location"] == LOGIN
    assert Books.checked == []


@pytest.mark.django_db
def test_a_person_who_is_not_on_the_staff_is_told_no(client: Client) -> None:
    client.force_login(User.objects.create_user("patient"))
    for url in (DASHBOARD, HISTORY):
        response = client.get(url)
        assert response.status_code == 403
        assert "You may not do that" in response.content.decode()
    assert fragment(client, CARD).status_code == 401
    assert Books.checked == []


@pytest.mark.django_db
@pytest.mark.parametrize("url", [CARD, f"{CARD}?stored=1", DASHBOARD])
def test_a_fragment_after_the_end_of_the_session_sends_the_whole_page_to_the_login(
    client: Client, url: str
) -> None:
    response = fragment(client, url)
    assert response.status_code == 401
    assert response["HX-Redirect"] == LOGIN
    assert response.content == b""


def test_the_pages_are_never_cached(staff_client: Client) -> None:
    for url in (DASHBOARD, HISTORY, CARD):
        assert "no-store" in staff_client.get(url)["Cache-Control"]


# --- The page and its cards --------------------------------------------------------------------


def test_every_card_asks_the_vendor_as_soon_as_the_page_is_there(staff_client: Client) -> None:
    cards = Elements(staff_client.get(DASHBOARD)).all("article")
    asked = [(card["hx-get"], card["hx-trigger"], card["hx-swap"]) for card in cards]
    assert asked == [
        (CARD, "load", "outerHTML"),
        ("/dashboard/cards/bookings/-/", "load", "outerHTML"),
    ]
    assert Books.checked == []  # the page itself waits for nobody


def test_a_fragment_is_a_live_check_and_then_follows_the_database_every_minute(
    staff_client: Client, staff: User
) -> None:
    (card,) = Elements(fragment(staff_client, CARD)).all("article")
    assert Books.checked == [("1", staff.pk)]
    assert (card["hx-get"], card["hx-trigger"]) == (f"{CARD}?stored=1", "every 60s")
    assert card["hx-swap"] == "outerHTML"

    (again,) = Elements(fragment(staff_client, card["hx-get"])).all("article")
    assert again == card
    assert len(Books.checked) == 1  # that one asked nobody


def test_the_empty_account_has_a_url(staff_client: Client) -> None:
    page = texts(fragment(staff_client, "/dashboard/cards/bookings/-/"))
    assert "Bookings isn't set up yet" in page
    assert "Missing: the webhook." in page


def test_a_card_whose_check_is_under_way_asks_again_in_two_seconds(staff_client: Client) -> None:
    Books.answer = assessment(checking=True)
    response = fragment(staff_client, CARD)
    (card,) = Elements(response).all("article")
    assert (card["hx-get"], card["hx-trigger"]) == (f"{CARD}?stored=1", "load delay:2s")
    assert Elements(response).all("p", **{"class": "busy now"})


def test_a_fragment_brings_the_headline_of_everything(staff_client: Client) -> None:
    Books.answer = broken()  # just found out; the database may not even have taken it
    page = Elements(fragment(staff_client, CARD))
    (said,) = page.all("div", id="headline")
    assert said["hx-swap-oob"] == "true"
    assert "1 thing needs you: Books is disconnected (3 h)" in page.text
    assert page.all("title")


@pytest.mark.parametrize("path", ["nobody/1", "books/2", "books/%00"])
def test_there_is_no_card_of_a_stranger(staff_client: Client, path: str) -> None:
    assert fragment(staff_client, f"/dashboard/cards/{path}/").status_code == 404


def test_a_page_that_shows_an_account_which_is_gone_is_loaded_again(staff_client: Client) -> None:
    Books.accounts = []
    response = fragment(staff_client, f"{CARD}?stored=1")
    assert response.status_code == 404
    assert response["HX-Refresh"] == "true"


def test_without_javascript_the_page_refreshes_itself_once_and_probes(staff_client: Client) -> None:
    page = staff_client.get(DASHBOARD).content.decode()
    assert '<noscript><meta http-equiv="refresh" content="0; url=?live=1"></noscript>' in page

    page = staff_client.get(f"{DASHBOARD}?live=1").content.decode()
    assert [account for account, _ in Books.checked] == ["1"]
    assert "http-equiv" not in page
    assert {card["hx-trigger"] for card in Elements(page).all("article")} == {"every 60s"}


def test_one_that_hangs_delays_none_of_the_others(
    staff_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PATIENCE_SECONDS", 0.3)
    Books.gate = threading.Event()
    try:
        page = staff_client.get(f"{DASHBOARD}?live=1")
    finally:
        Books.gate.set()
    hanging, other = Elements(page).all("article")
    assert hanging["hx-trigger"] == "load delay:2s"
    assert other["hx-trigger"] == "every 60s"


def test_a_check_that_fails_on_our_side_shows_the_last_known_state(
    staff_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    Books.failing = True
    page = texts(staff_client.get(f"{DASHBOARD}?live=1"))
    assert "This check could not be made. What you see is the last known result." in page
    assert "a fault of ours" in caplog.text
    assert "a fault of ours" not in page


def test_what_is_wrong_comes_first(staff_client: Client) -> None:
    Books.accounts = [
        assessment(account="1"),
        broken(account="2", who_acts="intuit"),
        broken(account="3", level=Level.WARNING),
    ]
    shown = [card["id"] for card in Elements(staff_client.get(DASHBOARD)).all("article")]
    assert shown == ["card-books-3", "card-books-2", "card-books-1", "card-bookings-"]


def test_a_card_says_everything_that_is_known(staff_client: Client, now: dt.datetime) -> None:
    Books.accounts = [
        broken(
            facts=["Score 87.5 % (84 of 96)", "read OK 3 hours ago · renewed 4 hours ago"],
            strip=strip_of(now, 46, 47),
            support=[("intuit_tid", "1-abc")],
            notice="This result could not be saved.",
        )
    ]
    response = staff_client.get(DASHBOARD)
    page = texts(response)
    for text in (
        "Books · Harbour Physio",
        "Disconnected",
        "not working since",
        "Payment tracking stopped.",
        "Sign in as an administrator.",
        "Score 87.5 % (84 of 96)",
        "read OK 3 hours ago · renewed 4 hours ago",
        "This result could not be saved.",
        "The last 24 hours in 48 slices: 2 not working, 45 working, 1 not checked.",
        "Details for support",
        "1-abc",
    ):
        assert text in page
    slices = [rect["class"] for rect in Elements(response).all("rect")]
    assert slices == ["healthy"] * 3 + ["gap"] + ["healthy"] * 42 + ["critical"] * 2


def test_the_button_is_there_for_whoever_may_press_it(staff_client: Client, client: Client) -> None:
    Books.accounts = [broken()]
    page = Elements(staff_client.get(DASHBOARD))
    assert page.all("a", href="/fix/", **{"class": "button primary"})
    assert page.all("a", href="mailto:?body=x")

    client.force_login(User.objects.create_user("receptionist", is_staff=True))
    page = Elements(client.get(DASHBOARD))
    assert not page.all("a", href="/fix/")
    assert page.all("a", href="mailto:?body=x")
    assert "Books is disconnected" in page.text
    assert "Send the link to someone who may." in page.text


def test_an_action_that_changes_something_is_a_form(staff_client: Client) -> None:
    Books.accounts = [broken(action=Action(label="Check now", url="/check/?realm=1", post=True))]
    page = Elements(fragment(staff_client, CARD))
    assert page.all("form", method="post", action="/check/?realm=1")
    assert page.all("input", name="csrfmiddlewaretoken")


def test_a_hostile_name_stays_a_name(staff_client: Client) -> None:
    evil = '<script>alert("1")</script>'
    Books.accounts = [
        broken(name=evil, facts=[evil], support=[("x", evil)], title=evil, account=account)
        for account in ("1", "2")
    ]
    Books.events = [event(timezone.now(), 2, 1, Level.WARNING, title=evil)]
    Books.figures = [Metric(label=evil, value=evil, note=evil)]
    for url in (DASHBOARD, CARD, HISTORY, f"{HISTORY}?q={evil}", f"{HISTORY}?account={evil}"):
        page = staff_client.get(url).content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page


@pytest.mark.parametrize("url", [DASHBOARD, f"{DASHBOARD}?live=1", CARD, HISTORY, "/nowhere/"])
def test_nothing_on_a_page_needs_more_than_our_own_files(staff_client: Client, url: str) -> None:
    Books.accounts = [broken(strip=strip_of(timezone.now(), 40))]
    Books.events = [event(timezone.now(), 2, 1)]
    page = Elements(staff_client.get(url))
    assert not page.all("style")
    assert all("src" in script for script in page.all("script"))
    for tag, attributes in page.found:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert not attributes.get(name, "").startswith(("http", "//", "javascript:"))


def test_queries_do_not_grow_with_the_companies(
    staff_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries, now: dt.datetime
) -> None:
    Books.accounts = [broken(account=str(n), strip=strip_of(now, 40)) for n in range(12)]
    staff_client.cookies[visits.COOKIE] = (now - 20 * HOUR).isoformat()
    # Session, person, what they may do, statuses; the schedule's runs, alerts that do not go out.
    for url, most in ((DASHBOARD, 7), (f"{CARD}?stored=1", 5)):
        with django_assert_max_num_queries(most):
            staff_client.get(url)


# --- The headline ------------------------------------------------------------------------------

OUTAGE: dict[str, Any] = {
    "level": Level.WARNING,
    "title": "Books is having problems",
    "who_acts": "vendor",
    "action": None,
}
NOT_SET_UP: dict[str, Any] = {
    "account": "",
    "level": Level.UNKNOWN,
    "title": "Not set up",
    "alarming": False,
}
OTHER: dict[str, Any] = {"integration": "bookings"}


@pytest.mark.parametrize(
    ("level", "sentence", "accounts"),
    [
        (Level.HEALTHY, "Everything works", [{}]),
        (Level.HEALTHY, "Everything works", [{}, NOT_SET_UP]),
        (Level.UNKNOWN, "Nothing is set up yet", [NOT_SET_UP]),
        # Offline: set up all the same.
        (Level.UNKNOWN, "No answer", [{**NOT_SET_UP, "title": "No answer", "alarming": True}]),
        (Level.HEALTHY, "Books is paused. Everything else works", [{"paused": True}, OTHER]),
        (Level.HEALTHY, "2 are paused. Everything else works", [*[{"paused": True}] * 2, OTHER]),
        (Level.UNKNOWN, "Nothing is set up yet", []),
        (Level.UNKNOWN, "Not checked yet", [{"level": Level.UNKNOWN, "title": "Not checked yet"}]),
        (
            Level.WARNING,
            "Books is having problems. Nothing for you to do.",
            [OUTAGE, {**NOT_SET_UP, "integration": "bookings"}],
        ),
        (
            Level.WARNING,
            "Books is having problems (Harbour Physio), and 1 more. Nothing for you to do.",
            [OUTAGE, OUTAGE],
        ),
        (
            Level.WARNING,
            "Working again. Making sure (Harbour Physio). 1 more has trouble, too. "
            "Nothing for you to do.",
            [{**OUTAGE, "title": "Working again. Making sure."}, OUTAGE],
        ),
        (
            Level.WARNING,
            "Working again. Making sure. 2 more have trouble, too. Nothing for you to do.",
            [
                {**OUTAGE, "title": "Working again. Making sure."},
                *[{**OUTAGE, **OTHER}] * 2,
            ],
        ),
        (
            Level.CRITICAL,
            "1 thing needs you: Books is disconnected (3 h)",
            [{"broken": 1}, {"integration": "bookings", **OUTAGE}],
        ),
        (
            Level.CRITICAL,
            "2 things need you. First: Books is disconnected (Harbour Physio, 3 h)",
            [{"broken": 1}, {"broken": 1}, {}],
        ),
        (
            Level.CRITICAL,
            "At least 12 things need you. First: Books is disconnected (Harbour Physio, 3 h)",
            [{"broken": 1}] * 12,
        ),
    ],
)
def test_the_headline_says_what_matters_most(
    level: Level, sentence: str, accounts: list[dict[str, Any]], now: dt.datetime
) -> None:
    found = [
        broken(since=now - 3 * HOUR) if "broken" in values else assessment(**values)
        for values in accounts
    ]
    said = headline(found, now)
    assert (said.level, said.sentence) == (level, sentence)


def test_the_headline_tells_when_the_newest_check_was(
    staff_client: Client, settings: Settings
) -> None:
    settings.TIME_ZONE = "America/Vancouver"
    at = dt.datetime(2026, 11, 22, 20, 41, tzinfo=dt.UTC)
    Books.accounts = [assessment(checked_at=at - HOUR), assessment(checked_at=at)]
    assert "Checked 12:41 pm, updates by itself" in texts(staff_client.get(DASHBOARD))


# --- More companies than twelve ----------------------------------------------------------------


def test_of_a_thousand_companies_the_worst_twelve_are_shown(staff_client: Client) -> None:
    Books.accounts = [assessment(account=str(number)) for number in range(1000)]
    page = Elements(staff_client.get(DASHBOARD))
    assert len(page.all("article", **{"class": "card healthy folded"})) == 12
    assert "988 more" in page.text
    assert page.all("a", href=f"{HISTORY}#search")
    Books.accounts = Books.accounts[:12]
    assert "more" not in texts(staff_client.get(DASHBOARD))


# --- Since the last visit, metrics, the checker -------------------------------------------------


def test_what_happened_since_the_last_visit_is_told(staff_client: Client, now: dt.datetime) -> None:
    Books.accounts = [broken(since=now - HOUR, strip=strip_of(now, 20, 21, 46, 47))]
    assert "Since your last visit" not in texts(staff_client.get(DASHBOARD))  # the first one

    staff_client.cookies[visits.COOKIE] = (now - 20 * HOUR).isoformat()
    page = texts(staff_client.get(DASHBOARD))
    assert "Since your last visit" in page
    assert "Books · Harbour Physio: Books is disconnected" in page
    assert page.count("had trouble, healed") == 1

    # Looking again a moment later is the same visit.
    assert "Since your last visit" in texts(staff_client.get(DASHBOARD))

    staff_client.cookies[visits.COOKIE] = (now - HOUR / 2).isoformat()
    assert "Since your last visit" not in texts(staff_client.get(DASHBOARD))


def test_the_last_visit_is_remembered_out_of_reach_of_scripts(staff_client: Client) -> None:
    cookie = staff_client.get(DASHBOARD).cookies[visits.COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == DASHBOARD
    # What an open page fetches by itself is nobody's visit.
    assert visits.COOKIE not in fragment(staff_client, DASHBOARD).cookies


@pytest.mark.parametrize("value", ["", "yesterday", "2026-13-40", "|", "9999-01-01T00:00:00+00:00"])
def test_a_cookie_that_makes_no_sense_is_a_first_visit(value: str, now: dt.datetime) -> None:
    request = RequestFactory().get(DASHBOARD)
    request.COOKIES[visits.COOKIE] = value
    assert visits.visit(request, now).since is None


def test_a_visit_goes_back_a_day_at_most_and_ends_after_half_an_hour(now: dt.datetime) -> None:
    request = RequestFactory().get(DASHBOARD)
    request.COOKIES[visits.COOKIE] = (now - 100 * HOUR).isoformat()
    first = visits.visit(request, now)
    assert first.since == now - 24 * HOUR

    request.COOKIES[visits.COOKIE] = first.cookie
    assert visits.visit(request, now + HOUR / 4).since == now - 24 * HOUR + HOUR / 4
    assert visits.visit(request, now + HOUR).since == now


def test_metrics_are_tiles_and_the_technical_ones_are_folded_away(staff_client: Client) -> None:
    Books.figures = [
        Metric(label="Checks", value="96", note="last 24 h"),
        Metric(label="Latency, median", value="212 ms", technical=True),
    ]
    page = staff_client.get(DASHBOARD).content.decode()
    plain, folded = page.split('<details id="technical">')
    assert "Checks" in plain
    assert "Books · last 24 h" in plain
    assert "212 ms" not in plain
    assert "For your IT person" in folded
    assert "212 ms" in folded


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (None, "The checker has not run in the last 24 hours. Set up cron (README)."),
        (0.2, "Checker ran"),
        (5, "The checker has not run for 5 h"),
    ],
)
def test_the_checker_is_watched_too(
    staff_client: Client, now: dt.datetime, hours: float | None, words: str
) -> None:
    Books.ran = None if hours is None else now - hours * HOUR
    assert words in texts(staff_client.get(DASHBOARD))


# --- History -----------------------------------------------------------------------------------


def event(
    now: dt.datetime,
    started: float,
    ended: float,
    level: Level = Level.HEALTHY,
    title: str = "Connected",
) -> Event:
    return Event(
        starts_at=now - started * HOUR,
        ends_at=now - ended * HOUR,
        level=level,
        title=title,
        note="9 checks",
    )


def test_the_history_shows_the_last_24_hours_with_their_gaps(
    staff_client: Client, now: dt.datetime
) -> None:
    Books.accounts = [assessment(facts=["Score 99.0 % (95 of 96)"], strip=strip_of(now))]
    Books.events = [event(now, 2, 0.5), event(now, 3, 2.5, Level.WARNING, "Books was slow")]
    response = staff_client.get(HISTORY)
    page = texts(response)
    for text in ("Score 99.0 % (95 of 96)", "Books was slow", "9 checks", "1 not checked"):
        assert text in page
    assert "Bookings" not in page  # nothing is set up there, so nothing was recorded
    titles = [rect["class"] for rect in Elements(response).all("rect")]
    assert titles.count("gap") == 1
    assert "2 of 2 checks OK" in page


def test_a_history_without_anything_says_so(staff_client: Client) -> None:
    Books.accounts = []
    assert "Nothing has been checked yet" in texts(staff_client.get(HISTORY))


def test_a_company_is_found_by_its_id_and_by_its_name(
    staff_client: Client, now: dt.datetime
) -> None:
    names = [*(f"Clinic {number}" for number in range(20)), "Lakeside Dental"]
    Books.accounts = [
        assessment(account=str(number), name=f"Books · {name}", strip=strip_of(now))
        for number, name in enumerate(names)
    ]
    commit(
        Evidence(
            integration="books",
            account="20",
            name="Lakeside Dental",
            level=Level.HEALTHY,
            state="ok",
            checked_at=now,
        )
    )
    assert "Lakeside" not in texts(staff_client.get(HISTORY))  # beyond the worst twelve
    assert "Search for the other 9." in texts(staff_client.get(HISTORY))
    for query in ("?q=lakeside", "?q=20", "?account=20"):
        page = texts(staff_client.get(HISTORY + query))
        assert "Books · Lakeside Dental" in page
        assert "Clinic" not in page


@pytest.mark.parametrize("text", ["zebra", "%00", "%F0%9F%A6%93", "x" * 5000])
def test_a_search_without_a_match_says_so(staff_client: Client, text: str) -> None:
    response = staff_client.get(f"{HISTORY}?q={text}")
    assert response.status_code == 200
    assert staff_client.get(f"{HISTORY}?account=zebra").status_code == 404


# --- Other pages -------------------------------------------------------------------------------


def test_the_error_page_needs_neither_request_nor_database() -> None:
    page = render_to_string("error.html", {"title": "Something <went> wrong", "text": "Sorry."})
    assert "Something &lt;went&gt; wrong" in page
    assert "Sorry." in page
    assert "Sign out" not in page


def test_the_demo_says_on_every_page_that_it_is_one(
    staff_client: Client, settings: Settings
) -> None:
    assert "stand-ins play QuickBooks" not in texts(staff_client.get(DASHBOARD))
    settings.DEMO, settings.DEMO_CONTROL_URL = True, "http://127.0.0.1:9/"
    for url in (DASHBOARD, HISTORY):
        page = Elements(staff_client.get(url))
        assert "Demo: stand-ins play QuickBooks and the others." in page.text
        assert page.all("a", href="http://127.0.0.1:9/")


def test_signing_out_is_a_button_on_every_page(staff_client: Client) -> None:
    page = Elements(staff_client.get(HISTORY))
    assert page.all("form", method="post", action="/admin/logout/")
    assert page.all("a", href=HISTORY, **{"aria-current": "page"})


@pytest.fixture
def fix_page() -> dict[str, Any]:
    """What the view hands to the page that says what is wrong and how to fix it."""
    return {
        "assessment": broken(),
        "company_name": "Harbour Physio",
        "realm_id": "1",
        "may_connect": True,
        "connect_url": "/connect/?realm=1",
        "share_url": "https://clinic.example/fix/?realm=1",
        "missing_settings": [],
        "take_over_url": "",
        "disconnect_url": "",
        "confirm_disconnect": False,
    }


def rendered(context: dict[str, Any], **changes: Any) -> Elements:
    return Elements(render_to_string("quickbooks/fix.html", {**context, **changes}))


PRIMARY = {"class": "button primary"}


def test_the_fix_page_has_one_button(fix_page: dict[str, Any]) -> None:
    page = rendered(fix_page)
    assert [link["href"] for link in page.all("a", **PRIMARY)] == ["/connect/?realm=1"]
    assert "administrator in QuickBooks" in page.text
    assert "choose the company Harbour Physio" in page.text
    assert not page.all("form")

    nobody = rendered(fix_page, assessment=None, company_name="", realm_id="")
    assert "Connect QuickBooks" in nobody.text
    assert len(nobody.all("a", **PRIMARY)) == 1


def test_the_fix_page_gives_the_link_to_whoever_may_not_connect(fix_page: dict[str, Any]) -> None:
    page = rendered(fix_page, may_connect=False)
    assert not page.all("a", href="/connect/?realm=1")
    assert page.all("input", value="https://clinic.example/fix/?realm=1")
    (mail,) = page.all("a", **PRIMARY)
    assert mail["href"].startswith("mailto:?subject=")
    assert mail["href"].endswith("body=https%3A%2F%2Fclinic.example%2Ffix%2F%3Frealm%3D1")


def test_the_fix_page_does_not_offer_what_would_not_help(fix_page: dict[str, Any]) -> None:
    """Reconnecting cures neither an outage nor an unpaid bill, and a healthy one needs no cure."""
    bill = broken(action=Action(label="Open QuickBooks", url="https://qbo.example/"))
    slow = broken(action=Action(label="Check now", url="/check/", post=True))
    page = rendered(fix_page, assessment=bill)
    assert [link["href"] for link in page.all("a", **PRIMARY)] == ["https://qbo.example/"]
    page = rendered(fix_page, assessment=slow)
    assert page.all("form", action="/check/")
    page = rendered(fix_page, assessment=replace(slow, action=None))
    assert [link["href"] for link in page.all("a", **PRIMARY)] == [DASHBOARD]
    page = rendered(fix_page, assessment=assessment())
    assert [link["href"] for link in page.all("a", **PRIMARY)] == [DASHBOARD]
    page = rendered(fix_page, missing_settings=["QUICKBOOKS_CLIENT_ID"])
    assert "QUICKBOOKS_CLIENT_ID" in page.text
    assert not page.all("a", **PRIMARY)


@pytest.mark.parametrize(
    "changes",
    [
        {"take_over_url": "/post/"},
        {"disconnect_url": "/post/"},
        {"disconnect_url": "/post/", "confirm_disconnect": True},
    ],
)
def test_what_changes_the_connection_is_posted_with_its_company(
    fix_page: dict[str, Any], changes: dict[str, Any]
) -> None:
    page = rendered(fix_page, **changes)
    assert page.all("form", method="post", action="/post/")
    assert page.all("input", name="realm", value="1")
    if "disconnect_url" in changes:
        (confirmed,) = page.all("input", name="confirm")
        assert "required" in confirmed
    if "confirm_disconnect" in changes:
        assert not page.all("a", href="/connect/?realm=1")


# --- In a browser ------------------------------------------------------------------------------


# htmx takes this class off a new card as it sets up the card's timer, a moment after the swap.
ASKING_EVERY_MINUTE = 'article[hx-trigger="every 60s"]:not(.htmx-added)'


def a_minute_passes(page: Page) -> None:
    """Time leaps, but not before the timers that it has to set off are running."""
    expect(page.locator(ASKING_EVERY_MINUTE)).to_have_count(2)
    page.clock.fast_forward(61_000)


@pytest.fixture
def open_page(page: Page, live_server: LiveServer, client: Client, staff: User) -> Page:
    """The dashboard on a phone, its cards checked; a test may make its time leap."""
    client.force_login(staff)
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page.set_viewport_size({"width": 390, "height": 844})
    page.clock.install()
    page.goto(f"{live_server.url}{DASHBOARD}")
    expect(page.locator(ASKING_EVERY_MINUTE)).to_have_count(2)
    return page


@pytest.mark.browser
@pytest.mark.parametrize("answer", [{"status": 503, "body": "away"}, {"body": "Guest wifi"}])
def test_an_open_page_says_when_it_cannot_update_and_when_it_can_again(
    open_page: Page, answer: dict[str, Any]
) -> None:
    banner = open_page.locator("#stale")
    expect(banner).to_be_hidden()
    open_page.route("**/cards/**", lambda route: route.fulfill(**answer))
    a_minute_passes(open_page)
    expect(banner).to_have_text(re.compile(r"Can't update since \d+:\d\d .m\. Trying again\."))
    expect(open_page.locator("article")).to_have_count(2)
    expect(open_page.locator("h1")).to_have_text(re.compile("Everything works"))

    open_page.unroute("**/cards/**")
    a_minute_passes(open_page)
    expect(banner).to_be_hidden()


@pytest.mark.browser
def test_a_card_that_could_not_be_fetched_at_first_is_fetched_again(open_page: Page) -> None:
    open_page.route("**/cards/**", lambda route: route.abort())
    open_page.reload()
    expect(open_page.locator("#stale")).to_be_visible()
    open_page.unroute("**/cards/**")
    open_page.clock.fast_forward(16_000)
    expect(open_page.locator(ASKING_EVERY_MINUTE)).to_have_count(2)
    expect(open_page.locator("#stale")).to_be_hidden()


@pytest.mark.browser
def test_an_open_page_turns_red_and_leaves_open_what_was_opened(open_page: Page) -> None:
    Books.accounts = [broken(support=[("intuit_tid", "1-abc")], action=FIX)]
    a_minute_passes(open_page)
    expect(open_page).to_have_title(re.compile("^✖ 1 thing needs you: Books is disconnected"))
    expect(open_page.locator("#announce")).to_have_text(re.compile("1 thing needs you"))
    button = open_page.get_by_role("link", name="Fix Connection")
    expect(button).to_be_in_viewport(ratio=1)
    box = button.bounding_box()
    assert box is not None
    assert box["height"] >= 48

    open_page.get_by_text("Details for support").click()
    Books.accounts = [replace(Books.accounts[0], impact="It is still broken.")]
    a_minute_passes(open_page)
    expect(open_page.get_by_text("It is still broken.")).to_be_visible()
    expect(open_page.get_by_text("1-abc")).to_be_visible()


@pytest.mark.browser
def test_after_the_end_of_the_session_the_whole_page_is_the_login(open_page: Page) -> None:
    open_page.context.clear_cookies()
    a_minute_passes(open_page)
    expect(open_page).to_have_url(re.compile(re.escape(LOGIN)))
