"""/metrics: what is stored, in the text format of Prometheus. It calls nobody and writes nothing.

Counters come from tables that are only added to, not from this process: there are several of it,
and they are restarted.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from itertools import chain

from django.conf import settings
from django.db.models import Count, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from integrations.levels import Level
from integrations.models import Alert, DeliveryCount, IntegrationStatus, Outcome
from integrations.registry import all_integrations
from integrations.samples import ACCOUNT
from integrations.signatures import Message, bearer

DELIVERY_OUTCOMES = (*Outcome.values, DeliveryCount.REPEATED, DeliveryCount.REFUSED)


# Without the exemption a POST gets the CSRF page; nothing but GET does anything here.
@csrf_exempt
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """GET with `Authorization: Bearer METRICS_TOKEN`. Without a token set there is no such page."""
    if not settings.METRICS_TOKEN:
        raise Http404
    if request.method not in {"GET", "HEAD"}:
        return HttpResponseNotAllowed(["GET", "HEAD"])
    now = timezone.now()
    holds = bearer([settings.METRICS_TOKEN])(Message(headers=request.headers, body=b"", now=now))
    if not holds:
        return HttpResponse(
            "This takes the METRICS_TOKEN of this installation.\n",
            status=401,
            headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
            content_type="text/plain",
        )
    # A registry of its own: the library's global one is about the process, not the product.
    registry = CollectorRegistry()
    registry.register(_Stored(now))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Stored:
    """A collector of what the database knows at one moment."""

    def __init__(self, now: dt.datetime) -> None:
        self._now = now

    def collect(self) -> Iterable[Metric]:
        vendors = [one.samples(self._now) for one in all_integrations().values()]
        return _merged(chain(_core(), *vendors))


def _merged(families: Iterable[Metric]) -> Iterable[Metric]:
    """Each family once, with the samples of all that add to it, as the format demands."""
    found: dict[str, Metric] = {}
    for family in families:
        if family.name in found:
            found[family.name].samples.extend(family.samples)
        else:
            found[family.name] = family
    return found.values()


def _core() -> Iterator[Metric]:
    """What is known of every integration alike. A statement a family."""
    yield _levels()
    yield _deliveries()
    yield _alerts()


def _levels() -> Metric:
    family = GaugeMetricFamily(
        "integration_level",
        "What the monitor stands by: 0 healthy, 1 warning, 2 critical, 3 unknown.",
        labels=ACCOUNT,
    )
    statuses = IntegrationStatus.objects.order_by("integration", "account")
    for slug, account, level in statuses.values_list("integration", "account", "level"):
        family.add_metric([slug, account], Level(level).exit_code)
    return family


def _deliveries() -> Metric:
    family = CounterMetricFamily(
        "webhook_deliveries",
        "Deliveries of vendors by what became of them, test deliveries left out.",
        labels=["integration", "outcome"],
    )
    # Zeros as well: the first of its kind would not be seen to increase anything otherwise.
    counts = {
        (slug, outcome): 0
        for slug, integration in all_integrations().items()
        if integration.webhook
        for outcome in DELIVERY_OUTCOMES
    }
    slots = DeliveryCount.objects.values_list("integration", "outcome")
    for slug, outcome, count in slots.annotate(Sum("count")):
        counts[slug, outcome] = count
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _alerts() -> Metric:
    """From the outbox itself: it is short, and a row that was tried or sent stays there."""
    family = CounterMetricFamily(
        "alerts",
        "Alerts by kind that were sent or withdrawn, and attempts to send one that failed.",
        labels=["kind", "outcome"],
    )
    counts = {(kind, outcome): 0 for kind in Alert.Kind.values for outcome in ("sent", "withdrawn")}
    failed = dict.fromkeys(Alert.Kind.values, 0)
    rows = Alert.objects.order_by().values_list("kind", "state")
    for kind, state, count, attempts in rows.annotate(Count("id"), Sum("attempts")):
        failed[kind] += attempts
        if state != Alert.State.QUEUED:
            counts[kind, state] = count
    for labels, count in counts.items():
        family.add_metric(labels, count)
    for kind, count in failed.items():
        family.add_metric([kind, "failed"], count)
    return family
