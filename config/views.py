"""Error pages: JSON under /api/, plain words everywhere else."""

import sys

from django.db import Error as AnyDatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views.decorators.csrf import csrf_exempt, requires_csrf_token


def _answer(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        return JsonResponse({"error": {"status": status, "message": text}}, status=status)
    # No request, no context processors: they would ask the session, and so the database.
    return HttpResponse(
        render_to_string("error.html", {"title": title, "text": text}), status=status
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 400, "That request was not understood", "Please go back and try again.")


@requires_csrf_token
def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(
        request,
        403,
        "You may not do that",
        "Your account lacks the permission. Ask whoever manages the accounts here.",
    )


def form_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's protection against forms from elsewhere; whoever meets it has done nothing wrong."""
    return _answer(
        request,
        403,
        "That did not go through",
        "Nothing was changed. The page may have been open for too long: please go back, load it "
        "again and repeat it. If that does not help, allow cookies for this site.",
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404, "There is no such page", "The address may be misspelt.")


@csrf_exempt  # a 404 is a 404 for a POST too
def nothing_here(request: HttpRequest, rest: str) -> HttpResponse:
    """An address under /api/ that does not exist."""
    return _answer(request, 404, "", "There is no such address.")


def server_error(request: HttpRequest) -> HttpResponse:
    """A database that is away is a 503 with its own words, everything else a plain 500."""
    if isinstance(sys.exc_info()[1], AnyDatabaseError):
        return _answer(
            request,
            503,
            "The monitor's database does not answer",
            "Nothing can be shown or recorded right now. QuickBooks itself is not affected. "
            "Ask your IT person to look at the database of this server.",
        )
    return _answer(
        request,
        500,
        "Something went wrong on our side",
        "The error has been logged. QuickBooks itself is not affected.",
    )
