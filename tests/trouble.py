"""Trouble as evidence, for the tests of what people see of it and do about it."""

import datetime as dt
from typing import Any

from integrations.base import Symptom
from integrations.levels import Level
from integrations.models import Incident
from integrations.status import Evidence, commit
from tests.conftest import HARBOUR

MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
TRANSIENT = {"timeout", "intuit_unavailable", "network_unreachable"}


def tell(at: dt.datetime, state: str = "ok", **values: Any) -> None:
    """What a check of a company found."""
    known: dict[str, Any] = {
        "integration": "quickbooks",
        "account": HARBOUR,
        "name": "Harbour Physio",
        "level": Level.HEALTHY if state == "ok" else Level.CRITICAL,
        "who_acts": "nobody" if state == "ok" else "clinic",
    }
    if state in TRANSIENT:
        known |= {"level": Level.WARNING, "who_acts": "intuit", "transient": True}
        known["symptom"] = Symptom.NO_ANSWER
    commit(Evidence(state=state, checked_at=at, **{**known, **values}))


def dead_grant(at: dt.datetime, **values: Any) -> Incident:
    """A company that somebody must reconnect since then."""
    tell(at, "reconnect_required", **values)
    return Incident.objects.filter(ended_at=None).latest("pk")


def mend(at: dt.datetime, by: str = "Ana", **values: Any) -> None:
    """Somebody has reconnected it."""
    tell(at, attended=by, **values)
