"""What is stored for every integration alike."""

from integrations.models.alerts import Alert, Recipient
from integrations.models.deliveries import (
    DeliveryCount,
    Outcome,
    Person,
    WebhookDelivery,
    WebhookRefusal,
)
from integrations.models.incidents import Incident, IncidentNote
from integrations.models.runs import ScheduledRun
from integrations.models.status import IntegrationStatus

__all__ = [
    "Alert",
    "DeliveryCount",
    "Incident",
    "IncidentNote",
    "IntegrationStatus",
    "Outcome",
    "Person",
    "Recipient",
    "ScheduledRun",
    "WebhookDelivery",
    "WebhookRefusal",
]
