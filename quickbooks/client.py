"""The probe's one call: read CompanyInfo. One GET, a reply or an error."""

from django.conf import settings

from integrations.crypto import Secret
from integrations.deadline import Deadline
from integrations.http import exchange, pooled_session
from quickbooks.diagnosis import Reply

# The newest; Intuit ignores older ones since August 2025.
MINOR_VERSION = 75


def read_company(realm_id: str, access_token: Secret) -> Reply:
    """Read the company's own record within `QUICKBOOKS_DEADLINE_SECONDS`.

    Raises `integrations.http.ExchangeError` when no complete answer came.
    """
    response = exchange(
        pooled_session(),
        "GET",
        f"{settings.QUICKBOOKS_API_URL}/v3/company/{realm_id}/companyinfo/{realm_id}",
        Deadline(settings.QUICKBOOKS_DEADLINE_SECONDS),
        params={"minorversion": MINOR_VERSION},
        headers={"Accept": "application/json", "Authorization": f"Bearer {access_token}"},
    )
    return Reply(
        status=response.status_code,
        body=response.content,
        intuit_tid=response.headers.get("intuit_tid", ""),
    )
