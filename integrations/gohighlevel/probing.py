"""The probe: ask for the location, write down what came, one for many."""

import datetime as dt
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q

from integrations.gohighlevel import client
from integrations.gohighlevel.client import ApiError
from integrations.gohighlevel.limits import Limits, over_for_today
from integrations.gohighlevel.models import Location, LocationCheck, Trigger
from integrations.gohighlevel.states import OK

REUSE = dt.timedelta(seconds=20)
# Longer than a probe can take, so that a process that died with it blocks nobody for long.
CLAIM_SECONDS = 1.5 * client.DEADLINE_SECONDS


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a probe came to; `error` is None if all was well."""

    check: LocationCheck
    limits: Limits
    error: ApiError | None = None


def probe(location_id: str, *, trigger: Trigger, now: dt.datetime) -> Probe:
    """Ask, and record it. Raises `DatabaseError`."""
    check = LocationCheck(location_id=location_id, checked_at=now, ok=True, state=OK)
    check.trigger = trigger
    error: ApiError | None = None
    name = ""
    try:
        reply = client.read_location(location_id)
    except ApiError as trouble:
        error, limits = trouble, trouble.limits
        check.ok, check.state, check.message = False, trouble.state, trouble.message[:200]
        check.http_status, check.latency_ms = trouble.status, trouble.latency_ms
    else:
        limits = reply.limits
        check.http_status, check.latency_ms = reply.status, reply.latency_ms
        name = _clean(reply.document.get("name"))
    with transaction.atomic():
        check.save(force_insert=True)
        values = {**told(limits, now), **({"name": name} if name else {})}
        location, _ = Location.objects.get_or_create(location_id=location_id)
        Location.objects.filter(pk=location.pk).update(probing_until=None, **values)
    return Probe(check=check, limits=limits, error=error)


def probe_for_page(location_id: str, now: dt.datetime) -> bool:
    """Probe unless one is fresh, or must not be made now. True: somebody else's is under way.

    A vendor that hangs holds one thread: whoever comes meanwhile goes on with what is stored.
    """
    location, _ = Location.objects.get_or_create(location_id=location_id)
    if _fresh(location_id, now) or _resting(location, now):
        return False
    free = Q(probing_until=None) | Q(probing_until__lte=now)
    until = now + dt.timedelta(seconds=CLAIM_SECONDS)
    if not Location.objects.filter(free, pk=location.pk).update(probing_until=until):
        return True
    # Whoever had the claim before may have finished between our look and our claim.
    if _fresh(location_id, now):
        Location.objects.filter(pk=location.pk).update(probing_until=None)
        return False
    probe(location_id, trigger=Trigger.DASHBOARD, now=now)
    return False


def told(limits: Limits, now: dt.datetime) -> dict[str, object]:
    """What an answer said about the limits, as values of the location."""
    found: dict[str, object] = {}
    if limits.daily_left is not None:
        found |= {"calls_left": limits.daily_left, "calls_left_at": now}
    if limits.rest:
        found["rest_until"] = now + dt.timedelta(seconds=limits.rest)
    return found


def _fresh(location_id: str, now: dt.datetime) -> bool:
    checks = LocationCheck.objects.filter(location_id=location_id)
    return checks.filter(checked_at__gt=now - REUSE).exists()


def _resting(location: Location, now: dt.datetime) -> bool:
    if location.rest_until is not None and location.rest_until > now:
        return True
    return over_for_today(location.calls_left, location.calls_left_at, now)


def _clean(name: object) -> str:
    return name.strip()[:200] if isinstance(name, str) and name.isprintable() else ""
