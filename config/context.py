"""What every template may ask."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def site(request: HttpRequest) -> dict[str, Any]:
    return {"demo": settings.DEMO, "demo_control_url": getattr(settings, "DEMO_CONTROL_URL", "")}
