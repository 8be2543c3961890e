"""The page behind the signed link in a message: it asks before it acts, and needs no login."""

from collections.abc import Callable
from functools import wraps

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from integrations import answers, attention, telling, times
from integrations.silences import SnoozeForm

ON_IT, LATER = "on-it", "later"


def _unlisted(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The address is the key, so it must not travel.

    `strict-origin`: of a style sheet as well, access logs show where it was asked for. And not
    `no-referrer`, under which a browser sends `Origin: null` with the form and Django's CSRF check
    refuses it.
    """

    @wraps(view)
    def unlisted(request: HttpRequest) -> HttpResponse:
        response = view(request)
        response["X-Robots-Tag"] = "noindex, nofollow"
        response["Referrer-Policy"] = "strict-origin"
        return response

    return unlisted


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@_unlisted
def page(request: HttpRequest) -> HttpResponse:
    """GET asks: mail programs and their scanners open every link. POST acts."""
    token = (request.POST if request.method == "POST" else request.GET).get("link", "")
    request.META["QUERY_STRING"] = ""
    found = answers.find(token)
    if found is None:
        raise Http404
    incident, recipient = found
    now, speaker, answer = timezone.now(), telling.speaker(incident), request.POST.get("answer")
    form = SnoozeForm(request.POST if answer == LATER else None, now)
    if answer == ON_IT or (answer == LATER and form.is_valid()):
        with transaction.atomic():
            if answer == ON_IT:
                attention.acknowledge(speaker, recipient.name, now)
            elif speaker.acknowledged_at is None:
                reason = form.cleaned_data["reason"]
                attention.snooze(speaker, form.until, reason, recipient.name, now)
        return redirect(answers.page_of(token))
    snoozed = speaker.snoozed_until if not speaker.acknowledged_at else None
    return render(
        request,
        "incidents/answer.html",
        {
            "incident": speaker,
            "link": token,
            "title": telling.explain(speaker, now).title,
            "whose": telling.whose(speaker),
            "since": times.since_when(speaker.started_at, now),
            "works_again": telling.works_again(speaker),
            "ended": times.since_when(speaker.ended_at, now) if speaker.ended_at else "",
            "answered": times.moment(speaker.acknowledged_at, now)
            if speaker.acknowledged_at
            else "",
            "quiet_until": times.moment(snoozed, now) if snoozed and snoozed > now else "",
            "snooze": form,
        },
        status=400 if request.method == "POST" else 200,
    )
