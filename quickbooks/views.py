"""Connect, reconnect, disconnect: the pages that a person goes through."""

import datetime as dt
import logging
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from integrations.base import Action
from integrations.crypto import EncryptionError
from quickbooks import authorization, links, oauth, tokens, words
from quickbooks.diagnosis import Code
from quickbooks.integration import QuickBooks, notice_of
from quickbooks.models import REALM_PATTERN, GrantState, OAuthToken, Trigger
from quickbooks.probe import UnknownCompany, latest_check, probe

logger = logging.getLogger(__name__)
View = Callable[..., HttpResponse]


def staff_only(view: View) -> View:
    """Nobody goes to the login, people who are not staff to 403; never cached."""

    @never_cache
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            # Not the query: a callback's holds an authorization code.
            return redirect_to_login(
                request.get_full_path() if request.path != reverse("quickbooks:callback") else "/"
            )
        if not request.user.is_staff:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return guarded


def manager_only(view: View) -> View:
    @staff_only
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.has_perm(links.MANAGE):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return guarded


def _realm_asked(value: str | None) -> str:
    """The realm id of a parameter, "" without one; 404 when it is not digits."""
    if value and not re.fullmatch(REALM_PATTERN, value):
        raise Http404
    return value or ""


def _row(realm_id: str) -> OAuthToken:
    row = OAuthToken.objects.exclude(state=GrantState.PENDING).filter(realm_id=realm_id).first()
    if row is None:
        raise Http404
    return row


@require_GET
@staff_only
def fix(request: HttpRequest) -> HttpResponse:
    """What is wrong, what is needed, one button. Without `?realm=`: the worst-off company."""
    realm_id = _realm_asked(request.GET.get("realm"))
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
    foreign = assessment.state == Code.FOREIGN_COPY and may_connect
    live = row is not None and (row.state != GrantState.DISCONNECTED or row.revocation_error)
    query = f"?realm={realm_id}" if realm_id else ""
    return render(
        request,
        "quickbooks/fix.html",
        {
            "assessment": assessment,
            "company_name": str(row) if row else "",
            "realm_id": realm_id,
            "may_connect": may_connect,
            "connect_url": reverse("quickbooks:connect") + query,
            "share_url": links.fix_url(realm_id),
            "missing_settings": tokens.missing_settings(),
            "take_over_url": reverse("quickbooks:take_over") if foreign else "",
            "disconnect_url": reverse("quickbooks:disconnect") if live and may_connect else "",
            "confirm_disconnect": confirm,
        },
    )


@require_GET
@manager_only
def connect(request: HttpRequest) -> HttpResponse:
    """Straight to Intuit's consent page; `?realm=` reconnects that company."""
    now = timezone.now()
    realm_id = _realm_asked(request.GET.get("realm"))
    if missing := tokens.missing_settings():
        return _problem(
            request,
            "QuickBooks can't be connected yet",
            f"These settings are missing on the server: {', '.join(missing)}.",
            "Ask your IT person to enter them; the README says how. Nothing was changed.",
            [],
        )
    try:
        endpoints = oauth.discover(now)
    except oauth.OAuthError:
        return _problem(
            request,
            "QuickBooks can't be reached right now",
            "Our server got no answer from Intuit when it asked where to sign in.",
            "Nothing was changed. Please try again in a few minutes.",
            [_start_again(realm_id)],
        )
    state = authorization.begin(request, realm_id, now)
    return HttpResponseRedirect(oauth.authorization_url(endpoints, state))


@require_GET
@staff_only
def callback(request: HttpRequest) -> HttpResponse:
    """Back from Intuit. Nothing is exchanged unless everything fits."""
    now, query = timezone.now(), request.GET
    # Of a request, logs and reports show the address: from here on without the code.
    request.META["QUERY_STRING"] = ""
    asked = authorization.consume(request, query.get("state", ""), now)
    if asked is None:
        return _problem(
            request,
            "This sign-in has expired or was used already",
            "For safety each sign-in at QuickBooks works once, for 30 minutes, in the browser "
            "where it began.",
            "Nothing was changed. If you clicked twice, it may have worked the first time: "
            "look at the dashboard. Otherwise start again.",
            [_start_again(""), _to_dashboard()],
        )
    again = [_start_again(asked.realm_id), _to_dashboard()]
    if not request.user.has_perm(links.MANAGE):
        raise PermissionDenied
    if error := query.get("error"):
        return _declined(request, error, again)
    code, realm_id = query.get("code", ""), query.get("realmId", "")
    if not code or not re.fullmatch(REALM_PATTERN, realm_id):
        return _problem(
            request,
            "QuickBooks did not say which company",
            "The answer that came back from QuickBooks was not complete.",
            "Nothing was changed. Start again and choose your company.",
            again,
        )
    if asked.realm_id and asked.realm_id != realm_id:
        return _other_company(request, asked.realm_id, realm_id)
    return _exchange(request, realm_id, code, now, again)


def _exchange(
    request: HttpRequest, realm_id: str, code: str, now: dt.datetime, again: list[Action]
) -> HttpResponse:
    title, next_step = "QuickBooks was not connected", "Nothing was changed. Please start again."
    try:
        tokens.connect(
            realm_id, code, request.user.pk, now, patience=settings.QUICKBOOKS_DEADLINE_SECONDS
        )
    except tokens.RenewalPending as pending:
        return _problem(request, title, _unfinished(pending), next_step, again)
    except oauth.GrantRejected:
        text = "Intuit did not accept the sign-in; it may have taken too long."
        return _problem(request, title, text, next_step, again)
    except oauth.AppRejected:
        told = words.WORDS[Code.APP_CREDENTIALS_REJECTED]
        return _problem(request, told.title, f"{title}.", told.next_step, again)
    except oauth.NoVerdict:
        minute = round(6 * settings.QUICKBOOKS_DEADLINE_SECONDS)
        return _problem(
            request,
            title,
            "Intuit's answer did not arrive, so we don't know whether it went through there.",
            f"Please wait {minute} seconds, then start again.",
            again,
        )
    except oauth.OAuthError:
        text = "Our server could not reach Intuit to finish."
        return _problem(request, title, text, next_step, again)
    except EncryptionError:
        text = "TOKEN_ENCRYPTION_KEYS on the server can't be used."
        return _problem(request, title, text, "Ask your IT person to check it.", again)
    outcome = probe(realm_id, trigger=Trigger.CONNECT, now=timezone.now(), fresh=True)
    _tell(request, realm_id, notice_of(outcome))
    return redirect("dashboard:index")


def _tell(request: HttpRequest, realm_id: str, notice: str) -> None:
    assessment = QuickBooks().assess(timezone.now(), [realm_id])[0]
    name = assessment.name.removeprefix("QuickBooks · ")
    if assessment.state == Code.OK:
        messages.success(request, f"{name} is connected: QuickBooks has just answered.")
    else:
        text = f"{name} is authorized, but the first check says: {assessment.title}. {notice}"
        messages.warning(request, text.strip())


def _declined(request: HttpRequest, error: str, again: list[Action]) -> HttpResponse:
    if error == "access_denied":
        title, text = "You cancelled at QuickBooks", "No permission was given."
    else:
        title, text = "QuickBooks could not finish the sign-in", "Intuit reported an error."
    return _problem(request, title, text, "Nothing was changed.", again)


def _other_company(request: HttpRequest, asked: str, came: str) -> HttpResponse:
    rows = OAuthToken.objects.filter(realm_id__in=[asked, came])
    known = {row.realm_id: str(row) for row in rows}
    wanted = known.get(asked, f"company {asked}")
    chosen = known.get(came, f"another company (…{came[-4:]})")
    return _problem(
        request,
        "That is another company",
        f"You set out to reconnect {wanted}, but chose {chosen} at QuickBooks.",
        "Nothing was changed. Which one do you want to connect?",
        [
            Action(label=f"Choose {wanted}", url=_connect_url(asked)),
            Action(label=f"Connect {chosen}", url=_connect_url(came)),
        ],
    )


@require_POST
@staff_only
def check_now(request: HttpRequest) -> HttpResponse:
    """A new probe, whatever others have just asked."""
    realm_id = _realm_asked(request.POST.get("realm") or request.GET.get("realm"))
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
@manager_only
def disconnect(request: HttpRequest) -> HttpResponse:
    """Revoke at Intuit, then forget; asks first."""
    row = _row(_realm_asked(request.POST.get("realm")))
    now = timezone.now()
    if not request.POST.get("confirm"):
        return _fix_page(request, row.realm_id, now, confirm=True)
    try:
        problem = tokens.disconnect(
            row.realm_id, request.user.pk, now, patience=settings.QUICKBOOKS_DEADLINE_SECONDS
        )
    except tokens.RenewalPending as pending:
        return _problem(
            request,
            f"{row} was not disconnected",
            _unfinished(pending),
            "Nothing was changed. Please try again then.",
            [_to_dashboard()],
        )
    probe(row.realm_id, trigger=Trigger.DASHBOARD, now=now)  # brings the status up to date
    if problem:
        messages.warning(
            request,
            f"{row} is disconnected here, but Intuit could not be told ({problem}). "
            "Disconnect once more to try again, or remove the app in QuickBooks.",
        )
    else:
        messages.success(request, f"{row} is disconnected. Its history stays.")
    return redirect("dashboard:index")


@require_POST
@manager_only
def take_over(request: HttpRequest) -> HttpResponse:
    """This installation has replaced the one that was connected."""
    row = _row(_realm_asked(request.POST.get("realm")))
    if tokens.take_over(row.realm_id):
        logger.warning("Company %s was taken over by this installation.", row.realm_id)
        messages.success(request, f"This installation now looks after {row}.")
    else:
        messages.warning(request, f"{row} was not taken over: please try again in a minute.")
    return redirect("dashboard:index")


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
    return render(
        request, "quickbooks/disconnected.html", {"reconnect_url": reverse("quickbooks:fix")}
    )


def _unfinished(pending: tokens.RenewalPending) -> str:
    until = timezone.localtime(pending.until) if pending.until else None
    when = f"; the next try is possible at {until:%H:%M:%S}" if until else ""
    return f"A renewal with QuickBooks is unfinished{when}."


def _connect_url(realm_id: str) -> str:
    return reverse("quickbooks:connect") + (f"?realm={realm_id}" if realm_id else "")


def _start_again(realm_id: str) -> Action:
    return Action(label="Start again", url=_connect_url(realm_id))


def _to_dashboard() -> Action:
    return Action(label="Go to the dashboard", url=reverse("dashboard:index"))


def _problem(
    request: HttpRequest, title: str, text: str, next_step: str, actions: list[Action]
) -> HttpResponse:
    context = {"title": title, "text": text, "next_step": next_step, "actions": actions}
    return render(request, "quickbooks/problem.html", context)
