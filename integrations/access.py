"""Who may look: the staff. Everybody else is sent where they can become that, or is told no."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.views.decorators.cache import never_cache

View = Callable[..., HttpResponse]


def staff_page(view: View) -> View:
    """A whole page: the login for nobody, 403 for a person who is not on the staff."""
    return _guard(view, lambda request: _refuse(request, request.get_full_path()))


def staff_page_with_secrets(view: View) -> View:
    """The same for a page whose query must not travel on to the login and into its address."""
    return _guard(view, lambda request: _refuse(request, _home()))


def staff_fragment(view: View) -> View:
    """A piece of a page: a login form inside of a card would help nobody."""
    return _guard(view, _session_over)


def permitted_page(permission: str) -> Callable[[View], View]:
    """A page for those of the staff who have a permission, 403 for the others."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return staff_page(guarded)

    return decorate


def is_fragment(request: HttpRequest) -> bool:
    """htmx asks, for a piece of a page that is open already."""
    return request.headers.get("HX-Request") == "true"


def person(request: HttpRequest) -> str:
    """Who is at the screen, as colleagues know them."""
    user = request.user
    return user.get_full_name() or user.get_username() if user.is_authenticated else ""


def _guard(view: View, refuse: Callable[[HttpRequest], HttpResponse]) -> View:
    @never_cache
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated and request.user.is_staff:
            return view(request, *args, **kwargs)
        return refuse(request)

    return guarded


def _refuse(request: HttpRequest, wanted: str) -> HttpResponse:
    if is_fragment(request):
        return _session_over(request)
    if request.user.is_authenticated:
        raise PermissionDenied
    return redirect_to_login(wanted)


def _session_over(request: HttpRequest) -> HttpResponse:
    login = redirect_to_login(_home())
    if not is_fragment(request):
        return login
    # https://htmx.org/headers/hx-redirect/: the whole page goes there.
    return HttpResponse(status=401, headers={"HX-Redirect": login.url})


def _home() -> str:
    return resolve_url(settings.LOGIN_REDIRECT_URL)
