"""The pages: everything is read from the database, `now` is taken once and passed down."""

from collections.abc import Sequence

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard import cards, live, metrics, visits
from dashboard import history as histories
from dashboard.headline import AT_MOST, headline
from integrations.access import is_fragment, staff_fragment, staff_page
from integrations.alerts import delivery
from integrations.base import Assessment
from integrations.registry import all_integrations, assess_all, get_integration

FEW = 3


@require_safe
@staff_page
def index(request: HttpRequest) -> HttpResponse:
    """The dashboard as it is stored; its cards ask the vendors. `?live=1` asks before."""
    now = timezone.now()
    probing = request.GET.get("live") == "1"
    assessments = assess_all(now)
    if probing:
        assessments = live.check_all(assessments, now, request.user.pk)
    assessments = cards.standing(assessments, now)
    visit = visits.visit(request, now)
    happenings = visits.happenings(assessments, visit.since, now)
    shown = [
        cards.card(
            assessment,
            now=now,
            may=request.user.has_perm,
            asking=cards.asking_next(assessment) if probing else cards.Asking.LIVE_AT_ONCE,
        )
        for assessment in assessments
    ]
    response = render(
        request,
        "dashboard/index.html",
        {
            "page": "dashboard",
            "live": probing,
            "fragment": is_fragment(request),
            "headline": headline(assessments, now),
            "cards": shown,
            # A few cards give the one with a strip more room; many are all alike.
            "even": len(shown) > FEW or not any(card.strip for card in shown),
            "more": _more(assessments),
            "happenings": happenings[: visits.LINES],
            "more_happenings": len(happenings) - visits.LINES,
            "metrics": metrics.metrics(assessments, now),
            "checker": metrics.checker(now),
            "unsent": delivery.trouble(now),
        },
    )
    # An open page fetches its figures by itself; that is nobody's visit.
    if not is_fragment(request):
        visits.remember(response, visit.cookie)
    return response


@require_safe
@staff_fragment
def card(request: HttpRequest, slug: str, account: str) -> HttpResponse:
    """One card and the headline. Asks the vendor, or with `?stored=1` the database alone."""
    now = timezone.now()
    integration = get_integration(slug)
    account = "" if account == cards.NO_ACCOUNT else account
    if integration is None or not account.isprintable():
        raise Http404
    stored_only = request.GET.get("stored") == "1"
    checked = None if stored_only else integration.check(account, now, request.user.pk)
    everything = assess_all(now)
    if checked:
        everything = _with(everything, checked)
    elif _find(everything, slug, account) is None:
        # Beyond the worst twelve.
        everything += integration.assess(now, [account])
    everything = cards.standing(everything, now)
    shown = _find(everything, slug, account)
    if shown is None:
        if stored_only and is_fragment(request):
            # It was on the page a minute ago, so the page is out of date.
            return HttpResponse(status=404, headers={"HX-Refresh": "true"})
        raise Http404
    return render(
        request,
        "dashboard/fragment.html",
        {
            "card": cards.card(
                shown, now=now, may=request.user.has_perm, asking=cards.asking_next(shown)
            ),
            "headline": headline(everything, now),
        },
    )


@require_safe
@staff_page
def history(request: HttpRequest) -> HttpResponse:
    """The last 24 hours: of the worst, of one (`?account=`), or of those that `?q=` finds."""
    now = timezone.now()
    account, text = _clean(request.GET.get("account", "")), _clean(request.GET.get("q", ""))
    more = ""
    if account:
        records = histories.of_account(account, now)
    elif text:
        records = histories.search(text, now)
    else:
        assessments = cards.stored(now)
        records, more = histories.of_everything(assessments, now), _more(assessments)
    return render(
        request,
        "dashboard/history.html",
        {
            "page": "history",
            "wanted": account or text,
            "records": records,
            "more": more,
            "time_zone": timezone.get_current_timezone_name(),
        },
        status=404 if account and not records else 200,
    )


def _find(everything: Sequence[Assessment], slug: str, account: str) -> Assessment | None:
    for assessment in everything:
        if (assessment.integration, assessment.account) == (slug, account):
            return assessment
    return None


def _with(everything: Sequence[Assessment], fresh: Assessment) -> list[Assessment]:
    """The fresh assessment in place of the stored one: the database may not have taken it."""
    key = (fresh.integration, fresh.account)
    return [fresh, *(a for a in everything if (a.integration, a.account) != key)]


def _more(assessments: Sequence[Assessment]) -> str:
    """How many accounts there are beyond those shown, empty for none."""
    hidden = 0
    for slug, integration in all_integrations().items():
        shown = sum(assessment.integration == slug for assessment in assessments)
        if shown >= AT_MOST:
            hidden += integration.account_count() - shown
    return f"{hidden:,}" if hidden else ""


def _clean(text: str) -> str:
    """What a person may have meant; a database refuses NUL."""
    return "".join(letter for letter in text if letter.isprintable()).strip()[:100]
