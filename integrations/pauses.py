"""Pausing an account: nobody is alerted of it until a time, for a reason."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from integrations import status, telling, times
from integrations.access import person, staff_page
from integrations.models import IntegrationStatus
from integrations.silences import PauseForm, for_input, next_opening, resume_url


@require_http_methods(["GET", "HEAD", "POST"])
@staff_page
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Asks until when and why, and pauses the `?account=`; or offers to end the pause."""
    now, row = timezone.now(), _row(request, slug)
    form = PauseForm(request.POST if request.method == "POST" else None, now)
    if form.is_valid():
        until = form.cleaned_data["until"]
        status.pause(slug, row.account, until, form.cleaned_data["reason"], person(request))
        messages.success(
            request,
            f"{telling.whose(row)} is paused until {times.since_when(until, now)}. "
            "It is checked all the same.",
        )
        return redirect("dashboard:index")
    return render(
        request,
        "incidents/pause.html",
        {
            "row": row,
            "whose": telling.whose(row),
            "paused_until": times.since_when(row.paused_until, now)
            if row.paused_until and row.paused_until > now
            else "",
            "resume_url": resume_url(slug, row.account),
            "form": form,
            "until": request.POST.get("until") or for_input(next_opening(now)),
        },
        status=400 if request.method == "POST" else 200,
    )


@require_POST
@staff_page
def resume(request: HttpRequest, slug: str) -> HttpResponse:
    """Ends the pause of the `?account=`."""
    row = _row(request, slug)
    status.pause(slug, row.account, None, "", person(request))
    messages.success(
        request,
        f"The pause of {telling.whose(row)} is over. What is wrong is told after the next check.",
    )
    return redirect("dashboard:index")


def _row(request: HttpRequest, slug: str) -> IntegrationStatus:
    account = request.GET.get("account", "")
    wanted = account if account.isprintable() else None
    return get_object_or_404(IntegrationStatus, integration=slug, account=wanted)
