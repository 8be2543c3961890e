"""The signed link in a message by which somebody answers for an incident without an account.

It names the incident and the recipient, carries no secret of either, and is good for as long as
the incident is open and the recipient is switched on.
"""

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.urls import reverse

from integrations.models import Incident, Recipient

SALT = "integrations.answers"


def answer_url(incident: Incident, recipient: Recipient) -> str:
    """The absolute address of the page where this recipient answers for this incident."""
    return settings.SITE_URL + page_of(_signer().sign(f"{incident.pk}-{recipient.pk}"))


def page_of(token: str) -> str:
    """The path and query of that page. The token travels in the query, and not in the path: of a
    request that is refused (its host, its CSRF token), logs show the path."""
    return f"{reverse('integrations:answer')}?link={token}"


def find(token: str) -> tuple[Incident, Recipient] | None:
    """Who answers for what; None when the link is not ours, or has nobody or nothing behind it."""
    try:
        incident_id, recipient_id = map(int, _signer().unsign(token).split("-"))
    except BadSignature:
        return None
    incident = Incident.objects.select_related("part_of").filter(pk=incident_id).first()
    recipient = Recipient.objects.filter(pk=recipient_id, active=True).first()
    return (incident, recipient) if incident and recipient else None


def _signer() -> Signer:
    # A tilde, because mail programs end a link at a colon or a dot.
    return Signer(salt=SALT, sep="~")
