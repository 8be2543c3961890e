"""The way to Intuit's consent page and back: nothing is exchanged unless everything fits."""

import datetime as dt
import re

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from integrations.access import permitted_page, staff_page_with_secrets
from integrations.base import Action
from integrations.crypto import EncryptionError
from quickbooks import authorization, grants, guests, links, oauth, tokens, words
from quickbooks.diagnosis import Code
from quickbooks.evidence import Context
from quickbooks.integration import QuickBooks, notice_of
from quickbooks.models import REALM_PATTERN, OAuthToken, Trigger
from quickbooks.pages import problem, realm_asked, start_again, to_dashboard, unfinished
from quickbooks.probe import probe
from quickbooks.tokens import RenewalPending


@require_GET
@permitted_page(links.MANAGE)
def connect(request: HttpRequest) -> HttpResponse:
    """Straight to Intuit's consent page; `?realm=` reconnects that company."""
    now = timezone.now()
    realm_id = realm_asked(request.GET.get("realm"))
    if missing := tokens.missing_settings():
        return problem(
            request,
            "QuickBooks can't be connected yet",
            f"These settings are missing on the server: {', '.join(missing)}.",
            "Ask your IT person to enter them; the README says how. Nothing was changed.",
            [],
        )
    try:
        endpoints = oauth.discover(now)
    except oauth.OAuthError:
        return problem(
            request,
            "QuickBooks can't be reached right now",
            "Our server got no answer from Intuit when it asked where to sign in.",
            "Nothing was changed. Please try again in a few minutes.",
            [start_again(realm_id)],
        )
    state = authorization.begin(request, realm_id, now)
    return HttpResponseRedirect(oauth.authorization_url(endpoints, state))


@never_cache
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Back from Intuit: one of the staff, or somebody whom a hand-over link has sent there."""
    now, state = timezone.now(), request.GET.get("state", "")
    # Of a request, logs and reports show the address: from here on without the code.
    request.META["QUERY_STRING"] = ""
    handed = authorization.consume_handed_over(request, state, now)
    if handed is not None and handed.hand_over is not None:
        return guests.finish(request, handed.hand_over, now)
    if guests.is_guest(request):
        return guests.expired(request)
    return _callback_of_staff(request)


@staff_page_with_secrets
def _callback_of_staff(request: HttpRequest) -> HttpResponse:
    """Nothing is exchanged unless everything fits."""
    now, query = timezone.now(), request.GET
    asked = authorization.consume(request, query.get("state", ""), now)
    if asked is None:
        return problem(
            request,
            "This sign-in has expired or was used already",
            "For safety each sign-in at QuickBooks works once, for 30 minutes, in the browser "
            "where it began.",
            "Nothing was changed. If you clicked twice, it may have worked the first time: "
            "look at the dashboard. Otherwise start again.",
            [start_again(""), to_dashboard()],
        )
    again = [start_again(asked.realm_id), to_dashboard()]
    if not request.user.has_perm(links.MANAGE):
        raise PermissionDenied
    if error := query.get("error"):
        return _declined(request, error, again)
    code, realm_id = query.get("code", ""), query.get("realmId", "")
    if not code or not re.fullmatch(REALM_PATTERN, realm_id):
        return problem(
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
        grants.connect(
            realm_id, code, request.user.pk, now, patience=settings.QUICKBOOKS_DEADLINE_SECONDS
        )
    except RenewalPending as pending:
        return problem(request, title, unfinished(pending), next_step, again)
    except oauth.GrantRejected:
        text = "Intuit did not accept the sign-in; it may have taken too long."
        return problem(request, title, text, next_step, again)
    except oauth.AppRejected:
        told = words.WORDS[Code.APP_CREDENTIALS_REJECTED]
        return problem(request, told.title, f"{title}.", told.next_step, again)
    except oauth.NoVerdict:
        minute = round(6 * settings.QUICKBOOKS_DEADLINE_SECONDS)
        return problem(
            request,
            title,
            "Intuit's answer did not arrive, so we don't know whether it went through there.",
            f"Please wait {minute} seconds, then start again.",
            again,
        )
    except oauth.OAuthError:
        text = "Our server could not reach Intuit to finish."
        return problem(request, title, text, next_step, again)
    except EncryptionError:
        text = "TOKEN_ENCRYPTION_KEYS on the server can't be used."
        return problem(request, title, text, "Ask your IT person to check it.", again)
    outcome = probe(
        realm_id,
        trigger=Trigger.CONNECT,
        now=timezone.now(),
        fresh=True,
        context=Context(attended=request.user.get_username()),
    )
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
    return problem(request, title, text, "Nothing was changed.", again)


def _other_company(request: HttpRequest, asked: str, came: str) -> HttpResponse:
    rows = OAuthToken.objects.filter(realm_id__in=[asked, came])
    known = {row.realm_id: str(row) for row in rows}
    wanted = known.get(asked, f"company {asked}")
    chosen = known.get(came, f"another company (…{came[-4:]})")
    return problem(
        request,
        "That is another company",
        f"You set out to reconnect {wanted}, but chose {chosen} at QuickBooks.",
        "Nothing was changed. Which one do you want to connect?",
        [
            Action(label=f"Choose {wanted}", url=links.page("connect", asked)),
            Action(label=f"Connect {chosen}", url=links.page("connect", came)),
        ],
    )
