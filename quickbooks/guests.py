"""The pages of a hand-over link, for a QuickBooks administrator who has no account here.

A guest learns the name of the one company and whether reconnecting it worked; nothing else, and
no page of the staff. Looking at a page changes nothing: mail scanners open links, too.
"""

import datetime as dt
import re

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from integrations.base import Action
from integrations.crypto import EncryptionError
from quickbooks import authorization, grants, hand_over, oauth, tokens
from quickbooks.diagnosis import Code
from quickbooks.evidence import Context
from quickbooks.integration import QuickBooks
from quickbooks.models import REALM_PATTERN, HandOver, OAuthToken, Trigger
from quickbooks.pages import problem
from quickbooks.probe import probe
from quickbooks.tokens import RenewalPending

# What the browser's session remembers: the link it began with, and what came of it.
_BEGAN, _CAME = "hand_over", "handed_over"

_UNCHANGED = "Nothing was changed."
_START_AGAIN = f"{_UNCHANGED} Please start again."
_TRY_LATER = f"{_UNCHANGED} Please try again in a few minutes."
_TELL_THE_CLINIC = f"{_UNCHANGED} Please tell the clinic that it did not work."


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def hand_over_page(request: HttpRequest) -> HttpResponse:
    """What is needed, and one button. The token travels in the query or the form, and not in the
    path: of a request that is refused (its host, its CSRF token), logs show the path."""
    now = timezone.now()
    token = (request.POST if request.method == "POST" else request.GET).get("link", "")
    request.META["QUERY_STRING"] = ""
    row = hand_over.find(token)
    if row is None:
        return _gone(request)
    if request.method == "POST":
        return _set_out(request, row, now)
    context = {"company_name": _name_of(row.realm_id), "link": token}
    return _unlisted(render(request, "quickbooks/hand_over.html", context))


@never_cache
@require_safe
def thanks(request: HttpRequest) -> HttpResponse:
    """It is done."""
    came = request.session.get(_CAME)
    if came is None:
        return _gone(request)
    return _unlisted(render(request, "quickbooks/hand_over_thanks.html", came))


def is_guest(request: HttpRequest) -> bool:
    """Nobody of the staff, in a browser where a hand-over link was begun with."""
    return _BEGAN in request.session and not (
        request.user.is_authenticated and request.user.is_staff
    )


def expired(request: HttpRequest) -> HttpResponse:
    """Back from Intuit with a state that is good for nothing."""
    return _problem(
        request,
        "This sign-in has expired or was used already",
        "For safety each sign-in at QuickBooks works once, for 30 minutes, in the browser where "
        "it began.",
        "If you clicked twice, it may have worked the first time. Otherwise please open the link "
        "that you were sent once more.",
        request.session.get(_BEGAN),
    )


def finish(request: HttpRequest, row: HandOver, now: dt.datetime) -> HttpResponse:
    """Back from Intuit with the right state. Exchanges if everything else fits as well."""
    query, name = request.GET, _name_of(row.realm_id)
    error, code, realm_id = (query.get(key, "") for key in ("error", "code", "realmId"))
    if error:
        return _problem(
            request,
            "You cancelled at QuickBooks"
            if error == "access_denied"
            else "QuickBooks could not finish the sign-in",
            "No permission was given.",
            _START_AGAIN,
            row.pk,
        )
    if not code or not re.fullmatch(REALM_PATTERN, realm_id):
        text = "The answer that came back from QuickBooks was not complete."
        title = "QuickBooks did not say which company"
        return _problem(request, title, text, _START_AGAIN, row.pk)
    if realm_id != row.realm_id:
        text = f"You were asked to reconnect {name}, and chose another company at QuickBooks."
        next_step = f"{_UNCHANGED} Please start again and choose {name}."
        return _problem(request, "That is another company", text, next_step, row.pk)
    try:
        with hand_over.spending(row, now):
            patience = settings.QUICKBOOKS_DEADLINE_SECONDS
            grants.connect(realm_id, code, request.user.pk, now, patience=patience)
    except hand_over.Gone:
        return _gone(request)
    except (RenewalPending, oauth.OAuthError, EncryptionError) as failure:
        return _failed(request, row, failure)
    request.session[_CAME] = {"company_name": name, "trouble": _first_check(realm_id)}
    return redirect("quickbooks:hand_over_thanks")


def _set_out(request: HttpRequest, row: HandOver, now: dt.datetime) -> HttpResponse:
    title = "QuickBooks can't be reached right now"
    if tokens.missing_settings():
        text = "Something has to be mended on the clinic's server first."
        return _problem(request, title, text, _TELL_THE_CLINIC, row.pk)
    try:
        endpoints = oauth.discover(now)
    except oauth.OAuthError:
        text = "Our server got no answer when it asked where to sign in."
        return _problem(request, title, text, _TRY_LATER, row.pk)
    if not hand_over.set_out(row, now):
        return _gone(request)
    request.session[_BEGAN] = row.pk
    if not request.session.session_key:
        request.session.create()
    state = authorization.begin(request, row.realm_id, now, hand_over=row)
    # A page that leads on, and no redirect: our policy (form-action) would have to name every
    # host that Intuit leads through.
    context = {"url": oauth.authorization_url(endpoints, state)}
    return _unlisted(render(request, "quickbooks/hand_over_onward.html", context))


def _failed(request: HttpRequest, row: HandOver, failure: Exception) -> HttpResponse:
    next_step = _START_AGAIN
    match failure:
        case RenewalPending():
            text = "A renewal of this connection is still under way."
            next_step = f"{_UNCHANGED} Please wait a minute, then start again."
        case oauth.GrantRejected():
            text = "QuickBooks did not accept the sign-in; it may have taken too long."
        case oauth.AppRejected() | EncryptionError():
            text = "Something has to be mended on the clinic's server first."
            next_step = _TELL_THE_CLINIC
        case oauth.NoVerdict():
            minute = round(6 * settings.QUICKBOOKS_DEADLINE_SECONDS)
            text = (
                "QuickBooks' answer did not arrive, so we don't know whether it went through there."
            )
            next_step = f"Please wait {minute} seconds, then start again."
        case _:
            text, next_step = "Our server could not reach QuickBooks to finish.", _TRY_LATER
    return _problem(request, "QuickBooks was not connected", text, next_step, row.pk)


def _first_check(realm_id: str) -> str:
    """What the first check of the new grant found wrong; empty when QuickBooks answered."""
    context = Context(attended=hand_over.BY_LINK)
    probe(realm_id, trigger=Trigger.CONNECT, now=timezone.now(), fresh=True, context=context)
    assessment = QuickBooks().assess(timezone.now(), [realm_id])[0]
    return "" if assessment.state == Code.OK else assessment.title


def _gone(request: HttpRequest) -> HttpResponse:
    """The same for everybody and every reason."""
    title = "This link is no longer valid"
    text = "Please ask the clinic that sent it for a new one."
    next_step = "If you have just reconnected QuickBooks, there is nothing more to do."
    return _problem(request, title, text, next_step, None)


def _problem(
    request: HttpRequest, title: str, text: str, next_step: str, link: int | None
) -> HttpResponse:
    """`link`: the id of the one to begin again with, if it still is good for that."""
    row = hand_over.startable().filter(pk=link).first() if link else None
    again = [Action(label="Start again", url=hand_over.url_of(row))] if row else []
    return _unlisted(problem(request, title, text, next_step, again))


def _unlisted(response: HttpResponse) -> HttpResponse:
    response["X-Robots-Tag"] = "noindex, nofollow"
    # Of a style sheet as well, access logs show where it was asked for. (With `no-referrer`,
    # browsers send a form's `Origin: null`.)
    response["Referrer-Policy"] = "strict-origin"
    return response


def _name_of(realm_id: str) -> str:
    return str(OAuthToken.objects.only("company_name", "realm_id").get(realm_id=realm_id))
