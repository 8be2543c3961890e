"""The product's addresses, and beside them the yardstick: a bare page for people signed in."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from quickbooks.models import ConnectionHealthCheck


@login_required
def bare(request: HttpRequest) -> HttpResponse:
    """One indexed query, and no template."""
    newest = ConnectionHealthCheck.objects.order_by("-checked_at", "-id").first()
    return HttpResponse(f"{newest}\n", content_type="text/plain")


urlpatterns = [path("bench/bare/", bare), path("", include("config.urls"))]
