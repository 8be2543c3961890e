"""Who hears of what. The first recipients come from the settings, all others from the admin."""

import hashlib
import logging

from django.conf import settings

from integrations.crypto import EncryptionError
from integrations.models import Incident, Recipient

log = logging.getLogger(__name__)


def seed() -> None:
    """Make a recipient of each address in `ALERT_EMAILS` and `ALERT_URLS` that was never one.

    It hears of everything until edited; switched off in the admin, it stays switched off. An
    Apprise URL that cannot be stored for want of a key is left out: what is told to the others
    must not fail for it.
    """
    wanted = {key_of(address): address for address in settings.ALERT_EMAILS}
    wanted |= {key_of(url): url for url in settings.ALERT_URLS}
    known = Recipient.objects.filter(key__in=wanted).values_list("key", flat=True)
    missing = wanted.keys() - set(known)
    for key in [key for key in wanted if key in missing]:
        try:
            values = _values(key, wanted[key])
        except EncryptionError as error:
            log.error("ALERT_URLS: one of them cannot be stored, %s", error)
            continue
        Recipient.objects.get_or_create(key=key, defaults=values)


def key_of(target: str) -> str:
    """What identifies a recipient without telling its secrets."""
    return hashlib.sha256(target.strip().lower().encode()).hexdigest()


def _values(key: str, target: str) -> dict[str, object]:
    if "://" not in target:
        return {"name": target[:100], "email": target}
    column = Recipient._meta.get_field("url")
    service = target.partition("://")[0]
    return {"name": f"{service} (from the settings)", "url": column.seal_for(key, target)}


def active() -> list[Recipient]:
    """All that are switched on, with those that the settings name."""
    seed()
    return list(Recipient.objects.filter(active=True).order_by("pk"))


def concerned(incident: Incident) -> list[Recipient]:
    """Those whose business an incident is: by its kind, its integration and its company.

    A shared incident is the business of whoever is concerned by one of its parts.
    """
    places = {(incident.integration, incident.account)}
    if incident.shared:
        places = set(incident.parts.values_list("integration", "account"))
    return [
        recipient
        for recipient in active()
        if _wants(recipient, incident.who_acts)
        and any(_watches(recipient, *place) for place in places)
    ]


def of_account(integration: str, account: str, who_acts: str) -> list[Recipient]:
    """Those who hear of something that is no incident (yet)."""
    return [
        recipient
        for recipient in active()
        if _wants(recipient, who_acts) and _watches(recipient, integration, account)
    ]


def _wants(recipient: Recipient, who_acts: str) -> bool:
    return recipient.wants in {Recipient.Wants.EVERYTHING, who_acts}


def _watches(recipient: Recipient, integration: str, account: str) -> bool:
    if recipient.integrations and integration not in recipient.integrations:
        return False
    # Companies narrow down an integration that has them; the others have no account.
    return not recipient.accounts or not account or account in recipient.accounts
