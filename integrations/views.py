"""The address at which vendors deliver."""

from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from integrations.registry import get_integration
from integrations.webhooks import receive


# A vendor has no session to forge: it proves itself by key or signature.
@csrf_exempt
@never_cache
def webhook(request: HttpRequest, slug: str) -> JsonResponse:
    """POST a delivery. JSON, whatever the answer."""
    integration = get_integration(slug)
    if integration is None or integration.webhook is None:
        return JsonResponse({"status": "unknown"}, status=404)
    if request.method != "POST":
        return JsonResponse({"status": "only POST"}, status=405, headers={"Allow": "POST"})
    return receive(request, integration.webhook, timezone.now())
