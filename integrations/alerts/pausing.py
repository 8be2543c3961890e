"""Which incidents nobody is to hear of, because a person has paused their account."""

import datetime as dt

from django.db.models import Exists, OuterRef, Q

from integrations.models import Incident, IntegrationStatus


def paused(now: dt.datetime) -> Q:
    """Of incidents: the account is paused, or was when it ended. One that speaks for several is
    when all of them are.
    """
    pause = IntegrationStatus.objects.filter(
        Q(paused_until__gt=now) | Q(paused_until__gte=OuterRef("ended_at")),
        integration=OuterRef("integration"),
        account=OuterRef("account"),
    )
    parts = Incident.objects.filter(part_of=OuterRef("pk"))
    together = Q(Exists(parts), ~Exists(parts.filter(~Exists(pause))), shared=True)
    return Q(Exists(pause), shared=False) | together
