"""QuickBooks' figures for Prometheus: five statements, however many companies there are."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import isinf

from django.db.models import Count, Q, Sum
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from integrations.samples import health_score, last_success
from quickbooks.counts import BOUNDS, NO_ANSWER
from quickbooks.diagnosis import Code
from quickbooks.forecast import expires_soonest
from quickbooks.health import counted, window_start
from quickbooks.judgement import metered_calls
from quickbooks.models import CheckCount, GrantState, OAuthToken

SLUG = "quickbooks"
# Reconnecting is all that is left to do.
DEAD = {GrantState.REJECTED, GrantState.LOST}


def samples(now: dt.datetime) -> Iterator[Metric]:
    """Everything that Prometheus is told; the account is the realm id."""
    companies = list(
        OAuthToken.objects.exclude(state=GrantState.PENDING)
        .only(
            *("realm_id", "state", "minted_at", "last_success_at"),
            *("refresh_expires_at", "hard_expires_at"),
        )
        .order_by("realm_id")
    )
    # What a person disconnected here has no grant that could be renewed or run out.
    granted = [row for row in companies if row.state != GrantState.DISCONNECTED]
    yield last_success(SLUG, {row.realm_id: row.last_success_at for row in companies})
    yield _scores(now)
    yield _renewals(granted)
    yield _days(granted, now)
    yield _checks(companies)
    yield _latencies()
    yield _metered(now)


def _scores(now: dt.datetime) -> Metric:
    family = health_score()
    rows = counted(window_start(now), now).order_by("realm_id").values_list("realm_id")
    found = rows.annotate(Count("id"), successes=Count("id", filter=Q(ok=True)))
    for realm_id, checks, successes in found:
        family.add_metric([SLUG, realm_id], round(100 * successes / checks, 1))
    return family


def _renewals(granted: Iterable[OAuthToken]) -> Metric:
    family = GaugeMetricFamily(
        "quickbooks_last_renewed_timestamp_seconds",
        "When the access token was last renewed, in Unix time; for companies with a grant.",
        labels=["account"],
    )
    for row in granted:
        if row.minted_at:
            family.add_metric([row.realm_id], row.minted_at.timestamp())
    return family


def _days(granted: Iterable[OAuthToken], now: dt.datetime) -> Metric:
    family = GaugeMetricFamily(
        "quickbooks_days_to_reauthorization",
        "Days until a person must sign in again at the latest; 0 when that is now.",
        labels=["account"],
    )
    for row in granted:
        by = now if row.state in DEAD else expires_soonest(row)
        if by:
            family.add_metric([row.realm_id], max(0.0, (by - now) / dt.timedelta(days=1)))
    return family


def _checks(companies: Iterable[OAuthToken]) -> Metric:
    family = CounterMetricFamily(
        "quickbooks_checks",
        "Checks by their diagnosis; those that only confirm another are left out.",
        labels=["account", "diagnosis"],
    )
    # A company's first good check is an increase as well.
    counts = {(row.realm_id, str(Code.OK)): 0 for row in companies}
    rows = CheckCount.objects.values_list("realm_id", "diagnosis").annotate(Sum("count"))
    counts.update({(realm_id, diagnosis): count for realm_id, diagnosis, count in rows})
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    return family


def _latencies() -> Metric:
    """Over all companies: a histogram of each would be ten series a company."""
    timed, milliseconds = Counter[int](), 0
    rows = CheckCount.objects.exclude(bucket=NO_ANSWER).values_list("bucket")
    for bucket, count, latency_ms in rows.annotate(Sum("count"), Sum("latency_ms")):
        timed[bucket] = count
        milliseconds += latency_ms
    cumulative = accumulate(timed[bucket] for bucket in range(len(BOUNDS)))
    return HistogramMetricFamily(
        "quickbooks_check_latency_seconds",
        "How long QuickBooks took to answer the checks that asked it.",
        buckets=[
            ("+Inf" if isinf(bound) else str(bound), count)
            for bound, count in zip(BOUNDS, cumulative, strict=True)
        ],
        sum_value=milliseconds / 1000,
    )


def _metered(now: dt.datetime) -> Metric:
    family = GaugeMetricFamily(
        "quickbooks_metered_calls",
        "Calls of this month that count against the app's allowance, over all companies.",
        labels=["month"],
    )
    family.add_metric([f"{now:%Y-%m}"], metered_calls(now))
    return family
