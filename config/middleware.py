"""What machines ask, ahead of the layers that are there for people."""

from collections.abc import Callable

from django.db import Error as AnyDatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve

WEBHOOKS = "/webhooks/"


class HealthEndpoints:
    """Answers `/healthz` and `/readyz` ahead of everything else.

    Probes come by IP address over plain http, so neither the https redirect nor the check of
    the host name may stand in front of them.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/healthz":
            return HttpResponse("ok\n", content_type="text/plain")
        if request.path == "/readyz":
            problem = _not_ready()
            return HttpResponse(
                f"{problem or 'ready'}\n",
                content_type="text/plain",
                status=503 if problem else 200,
            )
        return self.get_response(request)


class Webhooks:
    """Hands a vendor's delivery to its view ahead of sessions, CSRF, messages and the CSP.

    None of these does anything for it, and in a burst they cost as much as storing it. It stands
    behind the SecurityMiddleware: a secret must not be taken over plain http.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(WEBHOOKS):
            return self.get_response(request)
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return self.get_response(request)
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        return response


def _not_ready() -> str | None:
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return "the database is not migrated: run manage.py migrate"
    except AnyDatabaseError:
        return "the database does not answer"
    finally:
        # This middleware stands outside of Django's own handling of broken connections.
        connection.close_if_unusable_or_obsolete()
    return None
