"""The answer of the one call that the monitor makes. A 200 is not health: the status is inside."""

from html import escape

from quickbooks.simulator.bodies import intuit_time
from quickbooks.simulator.grants import Company
from quickbooks.simulator.wire import XML, Reply


def as_xml(company: Company, now: float) -> Reply:
    """The beginning of it."""
    return Reply.text(
        200,
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
        f'<IntuitResponse xmlns="http://schema.intuit.com/finance/v3" time="{intuit_time(now)}">'
        '<CompanyInfo domain="QBO" sparse="false"><Id>1</Id>'
        f"<CompanyName>{escape(company.name)}</CompanyName></CompanyInfo></IntuitResponse>",
        XML,
    )


def as_json(company: Company, now: float) -> Reply:
    """The fields of a recorded answer; the markers let tests prove what is never stored."""
    address = {
        "Id": "1",
        "Line1": "MARKER-ADDRESS 1",
        "City": "MARKER-CITY",
        "PostalCode": "MARKER-ZIP",
    }
    named = {
        "NeoEnabled": "true",
        "IndustryType": "Physical therapists' offices",
        "IndustryCode": "621340",
        "SubscriptionStatus": company.subscription_status,
        "OfferingSku": "QuickBooks Online Plus",
        "PayrollFeature": "false",
        "AccountantFeature": "false",
    }
    info = {
        "CompanyName": company.name,
        "LegalName": company.legal_name,
        "CompanyAddr": address,
        "CustomerCommunicationAddr": address,
        "LegalAddr": address,
        "CustomerCommunicationEmailAddr": {"Address": "marker@example.com"},
        "PrimaryPhone": {"FreeFormNumber": "MARKER-PHONE"},
        "CompanyStartDate": "2019-05-27",
        "EmployerId": "MARKER-EMPLOYER-ID",
        "FiscalYearStartMonth": "January",
        "Country": "CA",
        "Email": {"Address": "marker@example.com"},
        "WebAddr": {},
        "SupportedLanguages": "en",
        "NameValue": [{"Name": name, "Value": value} for name, value in named.items()],
        "domain": "QBO",
        "sparse": False,
        "Id": "1",  # not the realm
        "SyncToken": "4",
        "MetaData": {
            "CreateTime": "2019-05-27T01:05:47-07:00",
            "LastUpdatedTime": intuit_time(now),
        },
    }
    return Reply.json(200, {"CompanyInfo": info, "time": intuit_time(now)})
