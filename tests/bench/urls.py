"""The product's addresses, and beside them the yardsticks: a bare page, and a bare insert."""

import secrets

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from integrations.models import Outcome, WebhookDelivery
from quickbooks.models import ConnectionHealthCheck


@login_required
def bare(request: HttpRequest) -> HttpResponse:
    """One indexed query, and no template."""
    newest = ConnectionHealthCheck.objects.order_by("-checked_at", "-id").first()
    return HttpResponse(f"{newest}\n", content_type="text/plain")


@csrf_exempt
def insert(request: HttpRequest) -> HttpResponse:
    """A row in the table in which deliveries go, and nothing else: the body is not even read."""
    now = timezone.now()
    WebhookDelivery.objects.create(
        integration="bench",
        event_key=secrets.token_hex(),
        received_at=now,
        last_received_at=now,
        scheme="none",
        size=0,
        outcome=Outcome.STORED,
    )
    return HttpResponse("stored\n", content_type="text/plain")


urlpatterns = [
    path("bench/bare/", bare),
    path("bench/insert/", insert),
    path("", include("config.urls")),
]
