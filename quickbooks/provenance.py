"""Whether the present grant of a company came through a hand-over link."""

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from quickbooks.diagnosis import Code
from quickbooks.models import HandOver, OAuthToken


def link_of(row: OAuthToken) -> HandOver | None:
    """The hand-over link by which the present grant came, if it came by one."""
    if row.connected_at is None:
        return None
    made = HandOver.objects.filter(realm_id=row.realm_id, used_at=row.connected_at)
    return made.select_related("created_by").first()


def through_a_link() -> QuerySet[OAuthToken]:
    """The companies whose present grant came by one, and was made with our present settings."""
    link = HandOver.objects.filter(realm_id=OuterRef("realm_id"), used_at=OuterRef("connected_at"))
    return OAuthToken.objects.filter(
        Exists(link),
        client_id=settings.QUICKBOOKS_CLIENT_ID,
        environment=settings.QUICKBOOKS_ENVIRONMENT,
        site_url=settings.SITE_URL,
    )


def strayed(row: OAuthToken, code: Code) -> bool:
    """Whoever had the link signed in for another company: the settings fit, so the clinic mends
    it by signing in again. Which company it was for, Intuit says only after the exchange.
    """
    wrong = code is Code.WRONG_COMPANY_OR_ENVIRONMENT
    return wrong and through_a_link().filter(pk=row.pk).exists()
