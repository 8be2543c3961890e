"""The fix page, and what a person can do beside connecting: check, disconnect, take over."""

import datetime as dt
import logging
import re

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from integrations import times
from integrations.access import permitted_page, staff_page
from integrations.levels import Level
from quickbooks import forecast, grants, hand_over, links, tokens
from quickbooks.diagnosis import Code
from quickbooks.integration import QuickBooks, notice_of
from quickbooks.models import REALM_PATTERN, GrantState, HandOver, OAuthToken, Trigger
from quickbooks.pages import problem, realm_asked, to_dashboard, unfinished
from quickbooks.probe import UnknownCompany, latest_check, probe
from quickbooks.tokens import RenewalPending

logger = logging.getLogger(__name__)


def _row(realm_id: str) -> OAuthToken:
    row = OAuthToken.objects.exclude(state=GrantState.PENDING).filter(realm_id=realm_id).first()
    if row is None:
        raise Http404
    return row


@require_GET
@staff_page
def fix(request: HttpRequest) -> HttpResponse:
    """What is wrong, what is needed, one button. Without `?realm=`: the worst-off company."""
    realm_id = realm_asked(request.GET.get("realm"))
    now = timezone.now()
    found = QuickBooks().assess(now, [realm_id] if realm_id else None)
    if not found:
        raise Http404
    return _fix_page(request, found[0].account, now)


def _fix_page(
    request: HttpRequest, realm_id: str, now: dt.datetime, *, confirm: bool = False
) -> HttpResponse:
    assessment = QuickBooks().assess(now, [realm_id])[0]
    may_connect = request.user.has_perm(links.MANAGE)
    row = _row(realm_id) if realm_id else None
    healthy = assessment.level is Level.HEALTHY
    foreign = assessment.state == Code.FOREIGN_COPY and may_connect
    live = row is not None and (row.state != GrantState.DISCONNECTED or row.revocation_error)
    return render(
        request,
        "quickbooks/fix.html",
        {
            "assessment": assessment,
            "company_name": str(row) if row else "",
            "realm_id": realm_id,
            "may_connect": may_connect,
            "connect_url": links.page("connect", realm_id),
            "share_url": links.fix_url(realm_id),
            "sign_in_by": forecast.notice(row, now) if row and healthy else "",
            "missing_settings": tokens.missing_settings(),
            "take_over_url": links.page("take_over") if foreign else "",
            "disconnect_url": links.page("disconnect") if live and may_connect else "",
            "confirm_disconnect": confirm,
            **(_hand_overs(row, now) if row and may_connect and not confirm else {}),
        },
    )


def _hand_overs(company: OAuthToken, now: dt.datetime) -> dict[str, object]:
    """The links that were made for this company, and whether another one can be."""
    rows = hand_over.live().filter(realm_id=company.realm_id).select_related("created_by")
    found = []
    for row in rows:
        url = hand_over.url_of(row)
        found.append(
            {
                "id": row.pk,
                "url": url,
                "mail_url": links.mail_hand_over(str(company), url),
                "made": times.ago(row.created_at, now),
                "by": row.created_by or "somebody",
                "tried": times.ago(row.opened_at, now) if row.opened_at else "",
                "worn_out": row.attempts >= HandOver.MOST_ATTEMPTS,
            }
        )
    return {
        "may_hand_over": hand_over.incident_of(company) is not None,
        "hand_overs": found,
        "most_hand_overs": hand_over.MOST_LIVE,
    }


@require_POST
@staff_page
def check_now(request: HttpRequest) -> HttpResponse:
    """A new probe, whatever others have just asked."""
    realm_id = realm_asked(request.POST.get("realm") or request.GET.get("realm"))
    patience = settings.QUICKBOOKS_DEADLINE_SECONDS
    try:
        outcome = probe(
            realm_id, trigger=Trigger.DASHBOARD, now=timezone.now(), fresh=True, patience=patience
        )
    except UnknownCompany:
        raise Http404 from None
    if notice := notice_of(outcome):
        messages.warning(request, notice)
    return redirect("dashboard:index")


@require_POST
@permitted_page(links.MANAGE)
def disconnect(request: HttpRequest) -> HttpResponse:
    """Revoke at Intuit, then forget; asks first."""
    row = _row(realm_asked(request.POST.get("realm")))
    now = timezone.now()
    if not request.POST.get("confirm"):
        return _fix_page(request, row.realm_id, now, confirm=True)
    try:
        trouble = grants.disconnect(
            row.realm_id, request.user.pk, now, patience=settings.QUICKBOOKS_DEADLINE_SECONDS
        )
    except RenewalPending as pending:
        return problem(
            request,
            f"{row} was not disconnected",
            unfinished(pending),
            "Nothing was changed. Please try again then.",
            [to_dashboard()],
        )
    probe(row.realm_id, trigger=Trigger.DASHBOARD, now=now)  # brings the status up to date
    if trouble:
        messages.warning(
            request,
            f"{row} is disconnected here, but Intuit could not be told ({trouble}). "
            "Disconnect once more to try again, or remove the app in QuickBooks.",
        )
    else:
        messages.success(request, f"{row} is disconnected. Its history stays.")
    return redirect("dashboard:index")


@require_POST
@permitted_page(links.MANAGE)
def take_over(request: HttpRequest) -> HttpResponse:
    """This installation has replaced the one that was connected."""
    row = _row(realm_asked(request.POST.get("realm")))
    if grants.take_over(row.realm_id):
        logger.warning("Company %s was taken over by this installation.", row.realm_id)
        messages.success(request, f"This installation now looks after {row}.")
    else:
        messages.warning(request, f"{row} was not taken over: please try again in a minute.")
    return redirect("dashboard:index")


@require_POST
@permitted_page(links.MANAGE)
def make_hand_over(request: HttpRequest) -> HttpResponse:
    """A link for a QuickBooks administrator without an account."""
    row = _row(realm_asked(request.POST.get("realm")))
    if hand_over.make(row, request.user, timezone.now()) is None:
        messages.warning(request, f"No link was made: a new sign-in would not help {row} now.")
        return redirect(links.page("fix", row.realm_id))
    return redirect(f"{links.page('fix', row.realm_id)}#hand-over")


@require_POST
@permitted_page(links.MANAGE)
def take_hand_over_back(request: HttpRequest) -> HttpResponse:
    """End a link before anybody has used it."""
    pk = request.POST.get("id", "")
    row = get_object_or_404(HandOver, pk=pk if pk.isdecimal() and pk.isascii() else 0)
    if hand_over.take_back(row, request.user, timezone.now()):
        messages.success(request, "The link no longer works.")
    else:
        messages.warning(request, "The link had ended already.")
    return redirect(links.page("fix", row.realm_id))


@never_cache
@require_GET
def disconnected(request: HttpRequest) -> HttpResponse:
    """Where Intuit sends a person who disconnected there. A hint, never evidence.

    Makes a probe of a known company, at most one a minute; shows everybody the same page.
    """
    realm_id = request.GET.get("realmId") or request.GET.get("realm") or ""
    now = timezone.now()
    if re.fullmatch(REALM_PATTERN, realm_id):
        last = latest_check(realm_id)
        if last is None or now - last.checked_at >= dt.timedelta(minutes=1):
            try:
                probe(realm_id, trigger=Trigger.HINT, now=now)
            except UnknownCompany:
                pass  # the same page for everybody
    return render(request, "quickbooks/disconnected.html", {"reconnect_url": links.page("fix")})
