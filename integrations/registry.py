"""slug → integration, from `settings.INTEGRATIONS`."""

import datetime as dt
from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

from integrations.base import Assessment, Integration


@cache
def all_integrations() -> dict[str, Integration]:
    """Every integration by its slug, in the order of the settings."""
    found = [import_string(path)() for path in settings.INTEGRATIONS]
    return {integration.slug: integration for integration in found}


def get_integration(slug: str) -> Integration | None:
    return all_integrations().get(slug)


def assess_all(now: dt.datetime) -> list[Assessment]:
    """What is stored about everything, in the order of the settings."""
    return [
        assessment
        for integration in all_integrations().values()
        for assessment in integration.assess(now)
    ]
