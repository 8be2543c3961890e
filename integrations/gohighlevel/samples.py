"""GoHighLevel's figures for Prometheus, from one statement."""

import datetime as dt
from collections.abc import Iterator

from django.conf import settings
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from integrations.gohighlevel import figures, set_up
from integrations.gohighlevel.models import Mapping
from integrations.samples import last_success


def samples(slug: str, now: dt.datetime) -> Iterator[Metric]:
    """Nothing while it is not set up, but the name of what there would be."""
    contacts = GaugeMetricFamily(
        "gohighlevel_contacts",
        "Contacts by whether the Jane person that they belong to is known.",
        labels=["state"],
    )
    if set_up.is_set_up():
        known = figures.known(settings.GOHIGHLEVEL_LOCATION_ID, now)
        contacts.add_metric([Mapping.MAPPED], known.mapped)
        contacts.add_metric([Mapping.UNMATCHED], known.unmatched)
        contacts.add_metric([Mapping.AMBIGUOUS], known.ambiguous)
        yield last_success(slug, {"": known.last_ok_at})
    yield contacts
