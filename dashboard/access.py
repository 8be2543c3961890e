"""Who may look: the staff. Everybody else is sent where they can become that, or is told no."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

View = Callable[..., HttpResponse]


def staff_page(view: View) -> View:
    """A whole page: the login for nobody, 403 for a person who is not on the staff."""

    def refuse(request: HttpRequest) -> HttpResponse:
        if is_fragment(request):
            return _session_over(request)
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())

    return _guard(view, refuse)


def staff_fragment(view: View) -> View:
    """A piece of a page: a login form inside of a card would help nobody."""
    return _guard(view, _session_over)


def is_fragment(request: HttpRequest) -> bool:
    """htmx asks, for a piece of a page that is open already."""
    return request.headers.get("HX-Request") == "true"


def _guard(view: View, refuse: Callable[[HttpRequest], HttpResponse]) -> View:
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated and request.user.is_staff:
            return view(request, *args, **kwargs)
        return refuse(request)

    return guarded


def _session_over(request: HttpRequest) -> HttpResponse:
    login = redirect_to_login(reverse("dashboard:index"))
    if not is_fragment(request):
        return login
    # https://htmx.org/headers/hx-redirect/: the whole page goes there.
    return HttpResponse(status=401, headers={"HX-Redirect": login.url})
