"""Hand-over links: a QuickBooks administrator without an account reconnects one company.

The token of a link is the row's id, signed. What the link is good for stands in the row alone, so
that it can be taken back, works once, and ends with the incident that it was made for.
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from integrations import incidents
from integrations.models import Incident, IntegrationStatus
from quickbooks import links, provenance, words
from quickbooks.diagnosis import Code
from quickbooks.models import GrantState, HandOver, OAuthToken

# Who has mended it, in the words of the incident.
BY_LINK = "the hand-over link"
# What a QuickBooks administrator ends by signing in again.
HELPED = frozenset(code for code in Code if words.WORDS[code].button == "Fix Connection")
# So many links of a company are good at a time.
MOST_LIVE = 5


# As a request has it.
Person = AbstractBaseUser | AnonymousUser


class Gone(Exception):
    """The link is no longer good for anything."""


def incident_of(company: OAuthToken) -> Incident | None:
    """The open incident of a company that a new sign-in would end, if any."""
    return _mendable().filter(account=company.realm_id).first()


def _mendable() -> QuerySet[Incident]:
    """The open incidents that a new sign-in would end."""
    strayed = provenance.through_a_link().filter(realm_id=OuterRef("account"))
    # Of what works again, and is only being made sure of, nobody is to replace the grant.
    recovering = IntegrationStatus.objects.filter(
        integration="quickbooks", account=OuterRef("account"), recovering_since__isnull=False
    )
    return Incident.objects.filter(
        Q(cause__in=HELPED) | Q(Exists(strayed), cause=Code.WRONG_COMPANY_OR_ENVIRONMENT),
        ~Exists(recovering),
        integration="quickbooks",
        shared=False,
        ended_at=None,
    )


def make(company: OAuthToken, user: Person, now: dt.datetime) -> HandOver | None:
    """A new link; None when there is nothing that it could mend. Of too many the oldest end."""
    with transaction.atomic():
        incident = incident_of(company)
        if incident is None:
            return None
        # Of two who make one at once, the second counts the link of the first.
        Incident.objects.select_for_update(no_key=True).get(pk=incident.pk)
        row = HandOver.objects.create(
            incident=incident, realm_id=company.realm_id, created_at=now, created_by_id=user.pk
        )
        incidents.add_note(incident, now, f"{user.get_username()} made a hand-over link.")
        for old in live().filter(realm_id=company.realm_id)[MOST_LIVE:]:
            if _unspent().filter(pk=old.pk).update(revoked_at=now):
                incidents.add_note(incident, now, "The oldest hand-over link was taken back.")
    return row


def take_back(row: HandOver, user: Person, now: dt.datetime) -> bool:
    """End it. False when it was used, or taken back, before."""
    with transaction.atomic():
        done = _unspent().filter(pk=row.pk).update(revoked_at=now)
        if done:
            who = user.get_username()
            incidents.add_note(row.incident, now, f"{who} took a hand-over link back.")
    return bool(done)


def live() -> QuerySet[HandOver]:
    """The links that somebody can still finish with."""
    # Subqueries and no joins: with a join, Django's UPDATE asks all of it in a subquery, which
    # PostgreSQL does not look at again after it has waited for somebody else's UPDATE.
    incident = _mendable().filter(pk=OuterRef("incident_id"))
    company = OAuthToken.objects.filter(realm_id=OuterRef("realm_id")).exclude(
        state__in=[GrantState.PENDING, GrantState.DISCONNECTED]
    )
    return _unspent().filter(Exists(incident), Exists(company))


def _unspent() -> QuerySet[HandOver]:
    return HandOver.objects.filter(used_at=None, revoked_at=None)


def startable() -> QuerySet[HandOver]:
    """The links with which somebody may set out."""
    return live().filter(attempts__lt=HandOver.MOST_ATTEMPTS)


def url_of(row: HandOver) -> str:
    """The absolute address that is sent to the administrator."""
    return f"{settings.SITE_URL}{links.page('hand_over')}?link={_signer().sign(str(row.pk))}"


def find(token: str) -> HandOver | None:
    """The link with which somebody may set out; None, whatever the reason may be."""
    try:
        pk = int(_signer().unsign(token))
    except BadSignature:
        return None
    return startable().filter(pk=pk).first()


def set_out(row: HandOver, now: dt.datetime) -> bool:
    """Somebody begins; False when the link has ended, or has been tried too often."""
    first = row.opened_at is None
    with transaction.atomic():
        begun = startable().filter(pk=row.pk)
        if not begun.update(attempts=F("attempts") + 1, opened_at=Coalesce("opened_at", now)):
            return False
        if first:
            text = "Somebody with a hand-over link was sent to QuickBooks to sign in."
            incidents.add_note(row.incident, now, text)
    return True


@contextmanager
def spending(row: HandOver, now: dt.datetime) -> Iterator[None]:
    """Use the link up for what happens inside; if that fails, it was not used.

    The UPDATE decides: of two who come back at once, one exchanges. Raises `Gone`.
    """
    if not live().filter(pk=row.pk).update(used_at=now):
        raise Gone
    try:
        yield
    except BaseException:
        HandOver.objects.filter(pk=row.pk, used_at=now).update(used_at=None)
        raise
    incidents.add_note(row.incident, now, "Somebody signed in at QuickBooks with a hand-over link.")


def _signer() -> Signer:
    # A tilde, because mail programs end a link at a colon or a dot. With the site, so that the
    # links of an installation are not good at a copy of it.
    return Signer(salt=f"quickbooks.hand_over {settings.SITE_URL}", sep="~")
