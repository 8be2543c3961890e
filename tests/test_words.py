"""What people read: the whole table, every code, filled in with whatever is known."""

import datetime as dt
import re
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from integrations import times
from quickbooks import links, words
from quickbooks.diagnosis import Code
from quickbooks.judgement import Judgement, judge, judge_nothing
from quickbooks.models import ConnectionHealthCheck, GrantState, MeteredCalls, OAuthToken
from quickbooks.words import ALLOWANCE_USED_UP, STRAYED, WORDS, Words
from tests.conftest import HARBOUR
from tests.support import add_check

# Code; title, payments, next step and button, as agreed on. What goes on is indented more.
AGREED = """
ok
  Connected
  QuickBooks answered at {time}. Payment tracking is working.
  Nothing to do.
  -
not_configured
  QuickBooks isn't set up yet
  Payment tracking hasn't started. Jane bookings and card payments are not affected.
  Ask your IT person to enter the QuickBooks app keys, once. About 15 minutes.
  See set-up steps
not_connected
  QuickBooks isn't connected yet
  Payment tracking starts when you connect. Nothing in Jane or QuickBooks is affected.
  Sign in as a QuickBooks administrator and choose your company. About two minutes.
  Connect QuickBooks
disconnected_here
  QuickBooks was disconnected here
  {person} disconnected it on {date}. Payment tracking has been off since then.
  If that was intended, nothing to do. Otherwise sign in again as a QuickBooks
    administrator.
  Fix Connection
reconnect_required
  QuickBooks is disconnected
  Payment tracking stopped {since}. Jane bookings and card payments still work, and nothing
    already in QuickBooks is lost.
  Sign in as a QuickBooks administrator and choose {company}. About two minutes. Not an
    administrator? Send the link to one.
  Fix Connection
refresh_response_lost
  QuickBooks is disconnected: a renewal got lost
  Payment tracking stopped {since}, most likely because an answer from QuickBooks never
    reached us. Nobody did anything wrong.
  as above
  Fix Connection
app_credentials_rejected
  QuickBooks doesn't accept our app keys
  Payment tracking stopped {since}. Jane is not affected.
  Your IT person must replace the keys. Signing in again will not fix this.
  Send to IT
wrong_company_or_environment
  The wrong QuickBooks company is connected
  Payment tracking can't be trusted since {since}: it would look at the wrong books. We
    changed nothing there.
  Ask your IT person to check which company and which keys, test or real, are set up.
  Send to IT
foreign_copy
  This is a copy of another installation
  Nothing is renewed from here, so that the original keeps working.
  If this server has replaced the original, ask your IT person to take over.
  Take over
access_denied
  QuickBooks refuses us access
  Payment tracking stopped {since}. Whoever connected QuickBooks may no longer be an
    administrator there.
  Ask a current QuickBooks administrator to sign in here, or send them the link.
  Fix Connection
subscription_ended
  Your QuickBooks subscription needs attention
  New payments can't be entered in QuickBooks. Existing records can still be read.
  Ask the account owner to check billing in QuickBooks. Reconnecting won't help. We'll
    notice when it works again.
  Open QuickBooks
throttled, brief
  QuickBooks asked us to slow down
  Payment tracking may be a few minutes late. Nothing is lost.
  Nothing to do. We try again at {time}.
  -
throttled, month
  This month's QuickBooks allowance is used up
  Payments can't be checked until {date}. Nothing shows a fault in your connection.
  Please don't reconnect. Your IT person can raise the allowance; otherwise it resumes on
    {date}.
  Send to IT
intuit_unavailable
  QuickBooks is having problems
  Payment tracking has been waiting since {since}. The problem is at QuickBooks, not at your
    clinic.
  Please don't reconnect; it won't help. We keep checking and will tell you when it works.
  Check now
network_unreachable
  Our server can't reach QuickBooks
  Payment tracking has been waiting since {since}. QuickBooks itself may be fine.
  If this lasts over an hour, ask your IT person to check this server's internet connection.
  Send to IT
timeout
  QuickBooks is answering too slowly
  Payment tracking has been delayed since {since}. QuickBooks has not refused us.
  Nothing to do now. We keep checking; reconnecting would not make it faster.
  Check now
unexpected_reply
  We got an answer we don't understand
  Payment tracking can't be confirmed since {since}. Something between us and QuickBooks may
    be in the way.
  If this lasts over an hour, ask your IT person to check the firewall. Details are below.
  Send to IT
"""


def agreed() -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    texts: list[str] = []
    for line in AGREED.strip().splitlines():
        if line.startswith("    "):
            texts[-1] += f" {line.strip()}"
        elif line.startswith("  "):
            texts.append("" if line.strip() == "-" else line.strip())
        else:
            texts = rows[line] = []
    rows["refresh_response_lost"][2] = rows["reconnect_required"][2]  # "as above"
    rows["throttled"] = rows.pop("throttled, brief")
    return rows


def texts_of(entry: Words) -> list[str]:
    return [entry.title, entry.impact, entry.next_step, entry.button]


# ── the table ─────────────────────────────────────────────────────────────────────────────────
def test_it_has_words_for_every_code_and_for_nothing_else() -> None:
    assert set(WORDS) == set(Code)
    assert set(agreed()) == {code.value for code in Code} | {"throttled, month"}


@pytest.mark.parametrize("code", list(Code))
def test_it_says_what_was_agreed_on(code: Code) -> None:
    assert texts_of(WORDS[code]) == agreed()[code]


def test_it_says_what_was_agreed_on_when_the_month_is_used_up() -> None:
    assert texts_of(ALLOWANCE_USED_UP) == agreed()["throttled, month"]
    assert ALLOWANCE_USED_UP.who_acts == "administrator"


@pytest.mark.parametrize("entry", [*WORDS.values(), ALLOWANCE_USED_UP, STRAYED])
def test_it_speaks_of_payment_tracking_and_not_of_payments_that_are_missing(entry: Words) -> None:
    told = " ".join(texts_of(entry)).lower()
    assert "missing payment" not in told
    assert not re.search(r"\b(token|oauth|api|grant|http|realm|invalid_grant)\b", told)


def test_it_calls_a_stored_code_that_it_no_longer_knows_by_its_name() -> None:
    assert words.title("reconnect_required") == "QuickBooks is disconnected"
    assert words.title("from_another_version") == "from_another_version"


# ── filled in ─────────────────────────────────────────────────────────────────────────────────
def company(code: Code, settings: Settings, **fields: object) -> OAuthToken:
    """A company about which this is to be said."""
    state = {
        Code.DISCONNECTED_HERE: GrantState.DISCONNECTED,
        Code.RECONNECT_REQUIRED: GrantState.REJECTED,
        Code.REFRESH_RESPONSE_LOST: GrantState.LOST,
    }.get(code, GrantState.LIVE)
    values: dict[str, object] = {
        "realm_id": HARBOUR,
        "state": state,
        "client_id": settings.QUICKBOOKS_CLIENT_ID,
        "environment": settings.QUICKBOOKS_ENVIRONMENT,
        "site_url": settings.SITE_URL,
    }
    if code is Code.FOREIGN_COPY:
        values["site_url"] = "https://original.example"
    return OAuthToken.objects.create(**{**values, **fields})


def judged(now: dt.datetime) -> Judgement:
    [found] = judge(now)
    return found


def filled(judgement: Judgement) -> str:
    told = f"{judgement.title} | {judgement.impact} | {judgement.next_step} | {judgement.button}"
    assert "{" not in told
    assert "}" not in told
    assert "None" not in told
    return told


ALL_BUT_THESE = [c for c in Code if c not in {Code.NOT_CONFIGURED, Code.NOT_CONNECTED}]


@pytest.mark.django_db
@pytest.mark.parametrize("code", ALL_BUT_THESE)
def test_it_fills_in_every_text_of_a_company_that_is_well_known(
    code: Code, settings: Settings, now: dt.datetime
) -> None:
    person = User.objects.create_user("maria")
    company(
        code,
        settings,
        company_name="Harbour Physio",
        connected_at=now - dt.timedelta(days=20),
        last_success_at=now - dt.timedelta(hours=3),
        disconnected_at=now - dt.timedelta(hours=2),
        disconnected_by=person,
    )
    add_check(diagnosis=code, checked_at=now - dt.timedelta(minutes=2))
    judgement = judged(now)
    assert judgement.code is code
    told = filled(judgement)
    assert ("Harbour Physio" in told) is ("{company}" in " ".join(texts_of(WORDS[code])))
    assert ("maria" in told) is (code is Code.DISCONNECTED_HERE)
    assert links.action(judgement) or code in {Code.OK, Code.THROTTLED}


@pytest.mark.django_db
@pytest.mark.parametrize("code", ALL_BUT_THESE)
def test_it_fills_in_every_text_of_a_company_of_which_nothing_is_known(
    code: Code, settings: Settings, now: dt.datetime
) -> None:
    company(code, settings)
    add_check(diagnosis=code, http_status=None, latency_ms=None)
    judgement = judged(now + dt.timedelta(seconds=1))
    assert judgement.code is code
    told = filled(judgement)
    assert ("Company 4620816365291234170" in told) is (
        "{company}" in " ".join(texts_of(WORDS[code]))
    )
    assert ("Somebody disconnected it on" in told) is (code is Code.DISCONNECTED_HERE)


@pytest.mark.django_db
def test_it_has_words_for_a_company_that_was_never_checked(
    settings: Settings, now: dt.datetime
) -> None:
    company(Code.OK, settings)
    judgement = judged(now)
    assert judgement.code is None
    assert judgement.title == "Not checked yet."
    assert judgement.connected
    filled(judgement)


@pytest.mark.django_db
def test_it_has_words_before_anything_is_set_up_or_connected(settings: Settings) -> None:
    assert judge_nothing().code is Code.NOT_CONNECTED
    filled(judge_nothing())
    settings.QUICKBOOKS_CLIENT_SECRET = ""
    assert judge_nothing().code is Code.NOT_CONFIGURED
    filled(judge_nothing())


@pytest.mark.django_db
def test_it_tells_a_used_up_month_from_a_busy_moment(settings: Settings) -> None:
    now = dt.datetime(2026, 12, 9, 15, 20, tzinfo=dt.UTC)
    company(Code.THROTTLED, settings)
    add_check(diagnosis=Code.THROTTLED, checked_at=now)
    assert judged(now).next_step == "Nothing to do. We try again at 3:30 pm."
    settings.QUICKBOOKS_MONTHLY_ALLOWANCE = 1000
    MeteredCalls.objects.create(
        client_id=settings.QUICKBOOKS_CLIENT_ID, month=dt.date(2026, 12, 1), count=1000
    )
    judgement = judged(now)
    assert judgement.title == "This month's QuickBooks allowance is used up"
    assert judgement.impact.startswith("Payments can't be checked until January 1.")
    assert judgement.who_acts == "administrator"
    assert links.action(judgement) is not None
    filled(judgement)


@pytest.mark.django_db
def test_a_company_may_have_braces_in_its_name(settings: Settings, now: dt.datetime) -> None:
    company(Code.RECONNECT_REQUIRED, settings, company_name="{since} & {0} Co", connected_at=None)
    assert "choose {since} & {0} Co." in judged(now).next_step


# ── times ─────────────────────────────────────────────────────────────────────────────────────
VANCOUVER = ZoneInfo("America/Vancouver")
TUESDAY = dt.datetime(2026, 11, 17, 9, 45, tzinfo=VANCOUVER)


@pytest.mark.parametrize(
    ("later", "told"),
    [
        (dt.timedelta(minutes=1), "Tuesday at 9:45 am"),
        (dt.timedelta(days=6), "Tuesday at 9:45 am"),
        (dt.timedelta(days=7), "November 17 at 9:45 am"),  # Tuesday would be ambiguous
        (dt.timedelta(days=40), "November 17 at 9:45 am"),
    ],
)
def test_it_says_since_when_in_the_clinics_zone(later: dt.timedelta, told: str) -> None:
    with timezone.override(VANCOUVER):
        moment = TUESDAY.astimezone(dt.UTC)
        assert times.since_when(moment, moment + later) == told
        assert times.moment(moment, moment + later) == (told if later.days else "9:45 am")


@pytest.mark.parametrize(
    ("away", "told"),
    [
        (dt.timedelta(minutes=-5), "at 9:45 am"),
        (dt.timedelta(minutes=5), "at 9:45 am"),
        (dt.timedelta(days=6), "on Tuesday at 9:45 am"),
        (dt.timedelta(days=-6), "on Tuesday at 9:45 am"),  # a time to come
        (dt.timedelta(days=-7), "on November 17 at 9:45 am"),
    ],
)
def test_a_moment_has_the_preposition_of_its_sentence(away: dt.timedelta, told: str) -> None:
    with timezone.override(VANCOUVER):
        assert times.at_moment(TUESDAY.astimezone(dt.UTC), TUESDAY + away) == told


@pytest.mark.parametrize(
    ("hour", "told"),
    [(0, "12:05 am"), (1, "1:05 am"), (11, "11:05 am"), (12, "12:05 pm"), (23, "11:05 pm")],
)
def test_it_writes_the_time_of_day_as_people_do(hour: int, told: str) -> None:
    with timezone.override(VANCOUVER):
        assert times.clock(TUESDAY.replace(hour=hour, minute=5)) == told


@pytest.mark.django_db
def test_it_says_since_when_payment_tracking_stopped(settings: Settings) -> None:
    settings.TIME_ZONE = "America/Vancouver"
    company(Code.RECONNECT_REQUIRED, settings, company_name="Harbour Physio")
    add_check(diagnosis=Code.RECONNECT_REQUIRED, checked_at=TUESDAY)
    with timezone.override(VANCOUVER):
        judgement = judged(TUESDAY + dt.timedelta(minutes=3))
    assert judgement.impact.startswith("Payment tracking stopped Tuesday at 9:45 am. Jane bookings")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (31 * 60, "31 minutes ago"),
        (3600, "1 hour ago"),
        (5 * 3600, "5 hours ago"),
        (86400, "1 day ago"),
        (30 * 86400, "30 days ago"),
        (-5, "just now"),
    ],
)
def test_it_says_how_long_ago_in_one_unit(seconds: int, told: str) -> None:
    assert times.ago(TUESDAY - dt.timedelta(seconds=seconds), TUESDAY) == told


# ── mails to IT ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.django_db
def test_a_mail_to_it_holds_code_time_and_transaction_id(
    settings: Settings, now: dt.datetime
) -> None:
    company(Code.UNEXPECTED_REPLY, settings, company_name="Harbour & Sons")
    add_check(
        diagnosis=Code.UNEXPECTED_REPLY, http_status=403, message="HTTP 403", intuit_tid="1-68a3-7c"
    )
    action = links.action(judged(now + dt.timedelta(seconds=1)))
    assert action is not None
    assert action.label == "Send to IT"
    assert action.url.startswith("mailto:?subject=QuickBooks%3A%20We%20got")
    for piece in ("unexpected_reply", "1-68a3-7c", "HTTP status: 403", "Harbour & Sons"):
        assert quote(piece) in action.url
    check = ConnectionHealthCheck.objects.get()
    assert quote(f"{timezone.localtime(check.checked_at):%Y-%m-%d %H:%M}") in action.url
