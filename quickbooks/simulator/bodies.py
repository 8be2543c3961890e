"""Intuit's error bodies in their four forms, from recorded answers.

The same code occurs with several HTTP statuses and in several forms, and JSON is not a given even
when JSON was asked for (python-quickbooks#43).
"""

from datetime import UTC, datetime, timedelta, timezone
from html import escape

from quickbooks.simulator.wire import HTML, XML, Reply

PACIFIC = timezone(timedelta(hours=-8))
SHOWN = 80  # characters of a refused token that come back in the detail: the header and some secret


def intuit_time(now: float) -> str:
    """`2020-09-29T06:58:50.262-07:00`"""
    return datetime.fromtimestamp(now, UTC).astimezone(PACIFIC).isoformat(timespec="milliseconds")


def gateway_json(
    status: int, now: float, kind: str, code: str, message: str, detail: str | None
) -> Reply:
    """The API gateway: lower case, epoch milliseconds, many nulls (python-quickbooks#250)."""
    error = {"message": message, "detail": detail, "code": code, "element": None}
    body: dict[str, object] = {"warnings": None, "intuitObject": None}
    body |= {"fault": {"error": [error], "type": kind}}
    body |= {
        "report": None,
        "queryResponse": None,
        "batchItemResponse": [],
        "attachableResponse": [],
    }
    body |= {"syncErrorResponse": None, "requestId": None, "time": int(now * 1000), "status": None}
    return Reply.json(status, body | {"cdcresponse": []})


def service_json(
    status: int, now: float, kind: str, code: str, message: str, detail: str, **extra: str
) -> Reply:
    """QuickBooks itself: capitals and a date. `element` may be missing."""
    error = {"Message": message, "Detail": detail, "code": code, **extra}
    return Reply.json(status, {"Fault": {"Error": [error], "type": kind}, "time": intuit_time(now)})


def service_xml(status: int, now: float, kind: str, code: str, message: str, detail: str) -> Reply:
    """QuickBooks again, on one line (python-quickbooks#120)."""
    return Reply.text(
        status,
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
        f'<IntuitResponse xmlns="http://schema.intuit.com/finance/v3" time="{intuit_time(now)}">'
        f'<Fault type="{kind}"><Error code="{code}">'
        f"<Message>{escape(message, quote=False)}</Message>"
        f"<Detail>{escape(detail, quote=False)}</Detail></Error></Fault></IntuitResponse>",
        XML,
    )


def gateway_xml(status: int, now: float, kind: str, code: str, message: str, detail: str) -> Reply:
    """The gateway's other form: indented, attributes the other way round (python-quickbooks#83)."""
    return Reply.text(
        status,
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f'<IntuitResponse time="{intuit_time(now)}" xmlns="http://schema.intuit.com/finance/v3">\n'
        f'    <Fault type="{kind}">\n        <Error code="{code}">\n'
        f"            <Message>{escape(message, quote=False)}</Message>\n"
        f"            <Detail>{escape(detail, quote=False)}</Detail>\n"
        "        </Error>\n    </Fault>\n</IntuitResponse>\n",
        XML,
    )


def html(status: int, title: str, text: str, *, tid: bool = False) -> Reply:
    """A proxy's page."""
    return Reply.text(
        status,
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n"
        f"<body>\n<center><h1>{title}</h1></center>\n<hr><p>{text}</p>\n</body></html>\n",
        HTML,
        tid=tid,
    )


def oauth_error(status: int, error: str, description: str = "") -> Reply:
    """RFC 6749, 5.2: the only thing that is a verdict, and only with status 400 or 401."""
    return Reply.json(
        status, {"error": error} | ({"error_description": description} if description else {})
    )


def token_expired(now: float, bearer: str) -> Reply:
    """Expired or revoked. The detail quotes a piece of the token: scrub it before storing."""
    detail = f"Token expired: {bearer[:SHOWN]}"
    if len(bearer) < 100:
        detail = "Malformed bearer token: too short or too long"
    message = "message=AuthenticationFailed; errorCode=003200; statusCode=401"
    return gateway_json(401, now, "AUTHENTICATION", "3200", message, detail)


def wrong_company(now: float) -> Reply:
    """A live token of another company. XML, whatever was asked for (oauth-jsclient#135)."""
    detail = "AuthenticationErrorGeneral: SRV-110-Authentication Failure , statusCode: 401"
    return service_xml(
        401, now, "AuthenticationFault", "100", "General Authentication Error", detail
    )


def no_access(now: float) -> Reply:
    """Whoever connected is no longer an administrator there."""
    detail = (
        "AuthorizationFailure: -11014-You do not have access to use QuickBooks Online Plus."
        " , statusCode: 401"
    )
    return service_xml(401, now, "AuthorizationFault", "120", "Authorization Failure", detail)


def not_authorized(now: float) -> Reply:
    """Sandbox against production, or no permission (oauth-jsclient#2)."""
    message = "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403"
    return gateway_json(403, now, "SERVICE", "3100", message, None)


THROTTLED = "message=ThrottleExceeded; errorCode=003001; statusCode=429"
THROTTLED_DETAIL = "The request limit was reached.  Try again later"
INVALID_COMPANY_STATUS = "Invalid Company Status"
SUBSCRIPTION_ENDED_DETAIL = (
    "Subscription period has ended or canceled or there was a billing problem : You can't add"
    " data to QuickBooks Online Plus because your trial or subscription period ended, you canceled"
    " your subscription, or there was a billing problem. To see or change your subscription status,"
    " click 'Your Account' at the upper-right of the screen, and click on Resubscribe link or"
    " contact your administrator."
)


def throttled(now: float) -> Reply:
    """Mostly XML."""
    return gateway_xml(429, now, "SERVICE", "3001", THROTTLED, THROTTLED_DETAIL)


def throttled_json(now: float) -> Reply:
    """Sometimes JSON."""
    return gateway_json(429, now, "SERVICE", "3001", THROTTLED, THROTTLED_DETAIL)


def subscription_ended(now: float) -> Reply:
    """On writes; on reads sometimes."""
    return service_json(
        400,
        now,
        "ValidationFault",
        "6190",
        INVALID_COMPANY_STATUS,
        SUBSCRIPTION_ENDED_DETAIL,
        element="",
    )


def subscription_ended_xml(now: float) -> Reply:
    """The same in the other form."""
    return service_xml(
        400, now, "ValidationFault", "6190", INVALID_COMPANY_STATUS, SUBSCRIPTION_ENDED_DETAIL
    )


def application_error(now: float, status: int = 500) -> Reply:
    """A failure of QuickBooks itself (quickbooks-ruby's spec/fixtures/generic_error.xml)."""
    message = "An application error has occurred while processing your request"
    detail = "System Failure Error: java.lang.NullPointerException"
    return service_json(status, now, "SystemFault", "10000", message, detail)


def fault_in_200(now: float) -> Reply:
    """The status says that all is well, the body does not."""
    return application_error(now, 200)


def firewall(status: int) -> Reply:
    """A box on the clinic's own network answers, in the place of Intuit."""
    return html(status, "Web access blocked", "Sign in to the network to continue. Policy 4711.")


BAD_GATEWAY = html(502, "502 Bad Gateway", "nginx", tid=True)
UNAVAILABLE = html(
    503, "503 Service Temporarily Unavailable", "The service is temporarily unavailable."
)
INVALID_GRANT_DESCRIBED = oauth_error(400, "invalid_grant", "Incorrect or invalid refresh token")
