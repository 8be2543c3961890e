"""commit(): the only writer of `IntegrationStatus`."""

import datetime as dt

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Value, When

from integrations.levels import Level
from integrations.models import IntegrationStatus


def commit(
    *,
    integration: str,
    account: str,
    name: str,
    level: Level,
    state: str,
    needs_person: bool,
    checked_at: dt.datetime,
    since: dt.datetime | None = None,
) -> None:
    """Write down how an account fares, judged from evidence of `checked_at`.

    One conditional UPDATE: an older judgement never replaces a newer one, and `since` stays
    where the present spell (of health, of trouble, of not knowing) began, so that a change of
    cause does not make an outage look younger. A new spell began at `since`, or with this very
    evidence. Raises `DatabaseError`.
    """
    rows = IntegrationStatus.objects.filter(integration=integration, account=account)
    current = rows.filter(checked_at__lte=checked_at)
    spell = "trouble" if level in {Level.WARNING, Level.CRITICAL} else level.value
    values = {
        "name": name,
        "level": level.value,
        "severity": level.severity,
        "state": state,
        "needs_person": needs_person,
        "spell": spell,
        "checked_at": checked_at,
    }
    began = since or checked_at
    kept = Case(When(spell=spell, then=F("since")), default=Value(began))
    if current.update(since=kept, **values) or rows.exists():
        return
    try:
        with transaction.atomic():
            IntegrationStatus.objects.create(
                integration=integration, account=account, since=began, **values
            )
    except IntegrityError:
        # Somebody else made the row in between; the same rules apply to it.
        current.update(since=kept, **values)


def forget(integration: str, account: str) -> None:
    """An account that is no more, or that only stood for there being none."""
    IntegrationStatus.objects.filter(integration=integration, account=account).delete()
