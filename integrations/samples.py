"""What several integrations tell Prometheus alike: each adds its own accounts to a family."""

import datetime as dt

from prometheus_client.metrics_core import GaugeMetricFamily

ACCOUNT = ("integration", "account")


def health_score() -> GaugeMetricFamily:
    """Without samples yet; values are percentages."""
    return GaugeMetricFamily(
        "integration_health_score",
        "Successful checks of the score's window, in percent; no sample without checks.",
        labels=ACCOUNT,
    )


def last_success(integration: str, accounts: dict[str, dt.datetime | None]) -> GaugeMetricFamily:
    """When it last worked, for each account that it ever worked for."""
    family = GaugeMetricFamily(
        "integration_last_success_timestamp_seconds",
        "When the vendor last answered or delivered as it should, in Unix time.",
        labels=ACCOUNT,
    )
    for account, at in accounts.items():
        if at is not None:
            family.add_metric([integration, account], at.timestamp())
    return family
