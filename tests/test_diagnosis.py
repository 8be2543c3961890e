"""What an answer means: the fault table as it comes over the wire, and all that is not in it.

The bodies are Intuit's own, byte for byte, as recorded.
"""

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from integrations.http import ExchangeError, Failure
from integrations.levels import Level
from quickbooks.diagnosis import (
    TRANSIENT,
    Code,
    Diagnosis,
    Reply,
    diagnose,
    diagnose_failure,
    scrub,
)
from quickbooks.words import WORDS

PIECE = "AB01570127472xkApQcsuqTXgmXTmslIuWq7qhxlcMWHfC"
EXPIRED = (
    b'{"warnings":null,"intuitObject":null,"fault":{"error":[{"message":"message='
    b'AuthenticationFailed; errorCode=003200; statusCode=401","detail":"Token expired: '
    + PIECE.encode()
    + b'","code":"3200","element":null}],"type":"AUTHENTICATION"},"report":null,"queryResponse":'
    b'null,"batchItemResponse":[],"attachableResponse":[],"syncErrorResponse":null,"requestId":'
    b'null,"time":1601391072830,"status":null,"cdcresponse":[]}'
)
NOT_PERMITTED = (
    b'{"warnings":null,"intuitObject":null,"fault":{"error":[{"message":"message='
    b'ApplicationAuthorizationFailed; errorCode=003100; statusCode=403","detail":null,"code":'
    b'"3100","element":null}],"type":"SERVICE"},"report":null,"queryResponse":null,'
    b'"batchItemResponse":[],"attachableResponse":[],"syncErrorResponse":null,"requestId":null,'
    b'"time":1601391072830,"status":null,"cdcresponse":[]}'
)
THROTTLED_JSON = (
    b'{"fault":{"error":[{"message":"message=ThrottleExceeded; errorCode=003001; statusCode=429",'
    b'"detail":"The request limit was reached.  Try again later","code":"3001"}],"type":'
    b'"SERVICE"},"time":1601391072830}'
)
THROTTLED = (
    b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<IntuitResponse time='
    b'"2016-06-29T06:58:50.262-07:00" xmlns="http://schema.intuit.com/finance/v3">\n    <Fault '
    b'type="SERVICE">\n        <Error code="3001">\n            <Message>message=ThrottleExceeded;'
    b" errorCode=003001; statusCode=429</Message>\n            <Detail>The request limit was "
    b"reached.  Try again later</Detail>\n        </Error>\n    </Fault>\n</IntuitResponse>\n"
)
WRONG_COMPANY = (
    b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><IntuitResponse xmlns='
    b'"http://schema.intuit.com/finance/v3" time="2020-09-29T06:58:50.262-07:00"><Fault type='
    b'"AuthenticationFault"><Error code="100"><Message>General Authentication Error</Message>'
    b"<Detail>AuthenticationErrorGeneral: SRV-110-Authentication Failure , statusCode: 401"
    b"</Detail></Error></Fault></IntuitResponse>"
)
NO_ACCESS = (
    b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?><IntuitResponse xmlns='
    b'"http://schema.intuit.com/finance/v3" time="2020-09-29T06:58:50.262-07:00"><Fault type='
    b'"AuthorizationFault"><Error code="120"><Message>Authorization Failure</Message><Detail>'
    b"AuthorizationFailure: -11014-You do not have access to use QuickBooks Online Plus. , "
    b"statusCode: 401</Detail></Error></Fault></IntuitResponse>"
)
ENDED = (
    b'{"Fault":{"Error":[{"Message":"Invalid Company Status","Detail":"Subscription period has '
    b"ended or canceled or there was a billing problem : You can't add data to QuickBooks Online "
    b'Plus","code":"6190","element":""}],"type":"ValidationFault"},"time":'
    b'"2020-09-29T06:58:50.262-07:00"}'
)
APPLICATION = (
    b'{"Fault":{"Error":[{"Message":"An application error has occurred while processing your '
    b'request","Detail":"System Failure Error","code":"10000"}],"type":"SystemFault"},"time":'
    b'"2020-09-29T06:58:50.262-07:00"}'
)
PROXY = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body></html>\r\n"
LOGIN = b"<!DOCTYPE html><html><body>Sign in to the guest network</body></html>"


def read(status: int, body: bytes) -> Diagnosis:
    return diagnose(Reply(status=status, body=body, intuit_tid="1-68a3-7c"))


def fault(kind: str, code: str, message: str = "", *, form: str = "service") -> bytes:
    """A fault in one of the forms that programs read."""
    if form == "xml":
        return (
            '<IntuitResponse xmlns="http://schema.intuit.com/finance/v3">'
            f'<Fault type="{kind}"><Error code="{code}"><Message>{message}</Message></Error>'
            "</Fault></IntuitResponse>"
        ).encode()
    if form == "gateway":
        error = {"message": message, "detail": None, "code": code, "element": None}
        return json.dumps({"fault": {"error": [error], "type": kind}, "time": 1}).encode()
    error = {"Message": message, "Detail": "", "code": code}
    return json.dumps({"Fault": {"Error": [error], "type": kind}, "time": "now"}).encode()


# ── the table of facts/quickbooks ─────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("status", "body", "code", "kind", "number", "told"),
    [
        (401, EXPIRED, "intuit_unavailable", "AUTHENTICATION", "3200", "Token expired"),
        (
            401,
            WRONG_COMPANY,
            "wrong_company_or_environment",
            "AuthenticationFault",
            "100",
            "SRV-110-Authentication Failure",
        ),
        (401, NO_ACCESS, "access_denied", "AuthorizationFault", "120", "do not have access"),
        (
            403,
            NOT_PERMITTED,
            "wrong_company_or_environment",
            "SERVICE",
            "3100",
            "ApplicationAuthorizationFailed",
        ),
        (429, THROTTLED, "throttled", "SERVICE", "3001", "ThrottleExceeded"),
        (429, THROTTLED_JSON, "throttled", "SERVICE", "3001", "ThrottleExceeded"),
        (400, ENDED, "subscription_ended", "ValidationFault", "6190", "Invalid Company Status"),
        (500, APPLICATION, "intuit_unavailable", "SystemFault", "10000", "application error"),
        (502, PROXY, "intuit_unavailable", "", "", "not QuickBooks'"),
        (503, PROXY, "intuit_unavailable", "", "", "not QuickBooks'"),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else None,
)
def test_it_reads_every_row_of_the_fault_table(
    status: int, body: bytes, code: str, kind: str, number: str, told: str
) -> None:
    found = read(status, body)
    assert found.code == code
    assert found.http_status == status
    assert (found.fault_type, found.fault_code) == (kind, number)
    assert told in found.message
    assert found.intuit_tid == "1-68a3-7c"
    assert not found.ok


def test_it_asks_for_a_refresh_after_3200_and_after_nothing_else() -> None:
    others = [WRONG_COMPANY, NO_ACCESS, NOT_PERMITTED, THROTTLED, ENDED, APPLICATION, PROXY, LOGIN]
    assert read(401, EXPIRED).token_refused
    assert not any(read(401, body).token_refused for body in others)
    assert not any(read(status, EXPIRED).token_refused for status in (200, 400, 403, 429, 500))


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        # The same code with another status is another thing.
        (400, EXPIRED, "unexpected_reply"),
        (403, EXPIRED, "unexpected_reply"),
        (429, EXPIRED, "throttled"),
        (503, EXPIRED, "intuit_unavailable"),
        (403, WRONG_COMPANY, "unexpected_reply"),
        (500, WRONG_COMPANY, "intuit_unavailable"),
        (401, NOT_PERMITTED, "unexpected_reply"),
        (500, NOT_PERMITTED, "intuit_unavailable"),
        (403, NO_ACCESS, "access_denied"),
        (500, NO_ACCESS, "intuit_unavailable"),
        (401, THROTTLED, "unexpected_reply"),
        (503, THROTTLED, "intuit_unavailable"),
        (403, ENDED, "subscription_ended"),
        (500, ENDED, "intuit_unavailable"),
        (401, APPLICATION, "unexpected_reply"),
        (200, APPLICATION, "intuit_unavailable"),
        (200, ENDED, "subscription_ended"),
        # The same code of another type as well: 3200 is also a code of a proxy of theirs.
        (401, fault("SERVICE", "3200", form="gateway"), "unexpected_reply"),
        (401, fault("AUTHENTICATION", "100", form="gateway"), "unexpected_reply"),
        (401, fault("AuthorizationFault", "100", form="xml"), "unexpected_reply"),
        (400, fault("ValidationFault", "6240"), "unexpected_reply"),
        # And without its number the text has to say it.
        (401, fault("AuthorizationFault", "", "You do not have access"), "access_denied"),
    ],
)
def test_it_judges_status_type_code_and_text_together(status: int, body: bytes, code: str) -> None:
    assert read(status, body).code == code


@pytest.mark.parametrize("form", ["gateway", "service", "xml"])
def test_it_reads_the_same_fault_in_every_form(form: str) -> None:
    found = read(403, fault("SERVICE", "3100", "ApplicationAuthorizationFailed", form=form))
    assert found.code == "wrong_company_or_environment"
    assert (found.fault_type, found.fault_code) == ("SERVICE", "3100")
    assert found.message == "ApplicationAuthorizationFailed"


def test_it_takes_leading_zeros_and_letter_case_as_they_come() -> None:
    assert read(401, fault("Authentication", "003200", form="gateway")).token_refused


@pytest.mark.parametrize("status", [200, 301, 302, 400, 401, 403, 404, 407, 418])
def test_it_takes_a_page_of_html_for_no_verdict(status: int) -> None:
    assert read(status, LOGIN).code == "unexpected_reply"
    assert read(status, b"").code == "unexpected_reply"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 599])
def test_it_blames_intuit_for_every_error_of_a_server(status: int) -> None:
    assert read(status, LOGIN).code == "intuit_unavailable"


def test_it_takes_a_429_for_throttling_in_any_form() -> None:
    assert read(429, LOGIN).code == "throttled"
    assert read(429, b"").code == "throttled"


# ── a 200 is not health ───────────────────────────────────────────────────────────────────────
def company(**fields: Any) -> bytes:
    info = {"CompanyName": "Harbour Physio", "Id": "1", "EmployerId": "12-3456789", **fields}
    return json.dumps({"CompanyInfo": info, "time": "2020-09-29T06:58:50.262-07:00"}).encode()


def subscription(value: object) -> bytes:
    return (
        company(NameValue=[{"Name": "Sku", "Value": "Plus"}, {"Name": "SubscriptionStatus"}])
        if (value is None)
        else company(NameValue=[{"Name": "SubscriptionStatus", "Value": value}])
    )


@pytest.mark.parametrize(
    "status", ["TRIAL", "TRIALOPTIN", "SUBSCRIBED", "PAID", "paid", "", "SOMETHING_NEW", 7, None]
)
def test_it_is_content_with_subscriptions_that_are_alive_or_unknown(status: object) -> None:
    found = read(200, subscription(status))
    assert found.code == "ok"
    assert found.ok
    assert found.message == ""
    assert found.company_name == "Harbour Physio"


@pytest.mark.parametrize(
    "status", ["EXPIRED", "RESTRICTED", "SUSPENDED", "CANCELED", "CANCELLED", "expired"]
)
def test_it_sees_that_a_readable_company_may_no_longer_be_written(status: str) -> None:
    found = read(200, subscription(status))
    assert found.code == "subscription_ended"
    assert not found.ok
    assert found.message == f"SubscriptionStatus {status.upper()}"
    assert found.company_name == "Harbour Physio"


@pytest.mark.parametrize("pairs", [None, [], {}, "x", [None], [["Name"]], [{"Value": "EXPIRED"}]])
def test_it_is_content_without_a_subscription_status(pairs: object) -> None:
    assert read(200, company(NameValue=pairs)).code == "ok"


def test_it_keeps_nothing_of_the_company_but_its_name() -> None:
    body = company(Email={"Address": "owner@clinic.example"}, LegalName="Owner Person")
    found = read(200, body)
    for private in ("12-3456789", "owner@", "Owner Person"):
        assert private not in repr(found)
        assert private not in repr(Reply(status=200, body=body))


@pytest.mark.parametrize("status", [201, 204, 206, 304])
def test_it_takes_a_company_for_good_only_with_status_200(status: int) -> None:
    assert read(status, company()).code == "unexpected_reply"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[]",
        b'"CompanyInfo"',
        b'{"CompanyInfo":null}',
        b'{"CompanyInfo":[]}',
        b'{"CompanyInfo":{}}',
        b'{"CompanyInfo":{"CompanyName":"Harbour',
        b'{"CompanyInfo":{"CompanyName":"\xff\xc0"}}',
        b"{'CompanyInfo': 1}",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"fault":' * 50_000,
        b"<a>" * 50_000,
        b"1" * 10_000,
        b"\x00" * 100,
        LOGIN,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_it_recognizes_what_is_not_quickbooks_answer(body: bytes) -> None:
    assert read(200, body).code == "unexpected_reply"


# ── never an exception, never a death sentence ────────────────────────────────────────────────
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FAULTS = st.fixed_dictionaries(
    {},
    optional={
        name: st.fixed_dictionaries(
            {},
            optional={
                "type": JSON_VALUES
                | st.sampled_from(["AUTHENTICATION", "AuthenticationFault", "SERVICE"]),
                "error": JSON_VALUES
                | st.lists(st.dictionaries(st.sampled_from(["code", "message"]), JSON_VALUES)),
                "Error": JSON_VALUES
                | st.lists(st.dictionaries(st.sampled_from(["code", "Detail"]), JSON_VALUES)),
            },
        )
        | JSON_VALUES
        for name in ("fault", "Fault", "CompanyInfo")
    },
)
BODIES = (
    st.binary(max_size=300)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | FAULTS.map(lambda value: json.dumps(value).encode())
    | st.text(max_size=60).map(lambda text: fault("X", "1", text, form="xml"))
    | st.sampled_from([EXPIRED, WRONG_COMPANY, NO_ACCESS, NOT_PERMITTED, THROTTLED, ENDED, PROXY])
)


@settings(deadline=None)
@given(status=st.integers(0, 999), body=BODIES, tid=st.text(max_size=200))
@example(status=401, body=EXPIRED, tid="")
@example(status=200, body=b'<?xml version="1.0" encoding="none"?><a/>', tid="")
@example(status=200, body=b'<?xml version="1.0" encoding="utf-7"?><a/>', tid="")
@example(status=200, body='<?xml version="1.0"?><a/>'.encode("utf-16"), tid="\x00")
@example(status=200, body=b'{"CompanyInfo":{"Id":{"a":[1]},"CompanyName":[1]}}', tid="")
def test_it_never_raises_and_never_declares_a_grant_dead(
    status: int, body: bytes, tid: str
) -> None:
    found = diagnose(Reply(status=status, body=body, intuit_tid=tid))
    assert found.code not in {
        Code.RECONNECT_REQUIRED,
        Code.REFRESH_RESPONSE_LOST,
        Code.NOT_CONFIGURED,
        Code.NOT_CONNECTED,
        Code.DISCONNECTED_HERE,
        Code.FOREIGN_COPY,
        Code.APP_CREDENTIALS_REJECTED,
    }
    texts = [found.fault_type, found.fault_code, found.message, found.intuit_tid]
    limits = [60, 20, 500, 100]
    assert all(len(text) <= limit for text, limit in zip(texts, limits, strict=True))
    assert all(text.isprintable() for text in [*texts, found.company_name])
    assert found.ok is (found.code is Code.OK)
    assert found.code is not Code.OK or status == 200


@pytest.mark.parametrize("kind", ["fault", "Fault"])
@pytest.mark.parametrize("where", ["type", "code", "message"])
def test_it_survives_nesting_of_any_depth_wherever_text_is_expected(kind: str, where: str) -> None:
    for depth in (*range(880, 1000, 4), 5_000):
        deep = "[" * depth + "]" * depth
        error = f'[{{"{where}":{deep}}}]'
        body = f'{{"{kind}":{{"type":{deep if where == "type" else 1},"error":{error}}}}}'
        assert read(500, body.encode()).code == "intuit_unavailable"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_it_expands_no_entities(encoding: str) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
    for outer, inner in zip("bcdefgh", "abcdefg", strict=True):
        bomb += f'<!ENTITY {outer} "{f"&{inner};" * 10}">'
    body = f"{bomb}]><IntuitResponse><Fault type='&h;'><Error/></Fault></IntuitResponse>"
    found = read(500, body.encode(encoding))
    assert (found.code, found.fault_type) == ("intuit_unavailable", "")


@pytest.mark.parametrize(
    "text", ["a." * 5000, "a-" * 5000, "a" * 10_000, "a@" * 5000, "RT1-" * 3000]
)
def test_it_scrubs_a_hostile_text_in_no_time(text: str) -> None:
    began = time.thread_time()
    scrub(text)
    assert time.thread_time() - began < 0.2


# ── scrubbing ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "secret",
    [
        PIECE,
        "AB11570127472xkApQcsuqTXgmXTmslIuWq7qhxlcMWHfC",
        "RT1-39-H3-1785429816rcysb9dns1ofreknypnm",
        "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2IiwiYWxnIjoiZGlyIn0..Zm9vYmFy.c2VjcmV0",
        "eyJlbmMi",
        "Bearer abcdef",
        "Basic ZGVtbzpkZW1v",
        "c2VjcmV0IGluIHRoZSBtaWRkbGUgb2YgYSB0b2tlbg1",
        "owner@clinic.example",
        "first.last+books@mail.clinic.example",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "Token expired: {}", "it was {}, he said", "<{}>", "'{}'"]
)
def test_it_removes_what_looks_like_a_secret(secret: str, around: str) -> None:
    cleaned = scrub(around.format(secret))
    assert "[removed]" in cleaned
    words = secret.split()[-1]
    assert not any(words[at : at + 6] in cleaned for at in range(max(1, len(words) - 5)))


def test_it_removes_the_piece_of_the_token_that_intuit_repeats() -> None:
    for piece in (PIECE, PIECE[:5], "AB0…", "x", "eyJ"):
        found = read(401, EXPIRED.replace(PIECE.encode(), piece.encode()))
        assert found.message.endswith("Token expired: [removed]")


def test_it_keeps_what_support_needs() -> None:
    assert "errorCode=003200; statusCode=401" in read(401, EXPIRED).message
    assert "-11014-You do not have access to use QuickBooks Online Plus" in (
        read(401, NO_ACCESS).message
    )


@pytest.mark.parametrize("form", ["gateway", "service", "xml"])
def test_it_stores_one_printable_line_of_500_characters_at_most(form: str) -> None:
    noise = "beginning \x7f\u202e " + ("x" * 20 + " ") * 3000
    if form != "xml":  # XML has no way to write these
        noise = "beginning \x00\x1b[31m\r\n\t\u2028" + noise
    found = read(500, fault("SystemFault", "1" * 5000, noise, form=form))
    assert found.message.startswith("beginning ")
    assert len(found.message) <= 500
    assert found.message.isprintable()
    assert found.fault_code == "1" * 20


def test_it_cleans_the_transaction_id() -> None:
    found = diagnose(Reply(status=500, body=b"", intuit_tid="1-ab<script>\x00\r\n;'" + "9" * 200))
    assert found.intuit_tid.startswith("1-abscript9")
    assert len(found.intuit_tid) == 100


# ── no answer ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure.TIMEOUT, "timeout"),
        (Failure.NETWORK, "network_unreachable"),
        (Failure.TOO_LARGE, "unexpected_reply"),
        (Failure.BROKEN, "unexpected_reply"),
    ],
)
def test_it_says_what_a_missing_answer_means(failure: Failure, code: str) -> None:
    found = diagnose_failure(ExchangeError(failure, sent=True, detail="in a few words"))
    assert found == Diagnosis(code=Code(code), message="in a few words")
    assert found.http_status is None


def test_it_knows_every_way_of_getting_no_answer() -> None:
    for failure in Failure:
        assert diagnose_failure(ExchangeError(failure, sent=False, detail="")).code in TRANSIENT


# ── the contract's table ──────────────────────────────────────────────────────────────────────
CONTRACT = [
    ("ok", "nobody", "healthy"),
    ("not_configured", "administrator", "unknown"),
    ("not_connected", "clinic", "unknown"),
    ("disconnected_here", "clinic", "warning"),
    ("reconnect_required", "clinic", "critical"),
    ("refresh_response_lost", "clinic", "critical"),
    ("app_credentials_rejected", "administrator", "critical"),
    ("wrong_company_or_environment", "administrator", "critical"),
    ("foreign_copy", "administrator", "warning"),
    ("access_denied", "clinic", "critical"),
    ("subscription_ended", "clinic", "critical"),
    ("throttled", "nobody", "warning"),
    ("intuit_unavailable", "intuit", "warning"),
    ("network_unreachable", "administrator", "warning"),
    ("timeout", "intuit", "warning"),
    ("unexpected_reply", "administrator", "warning"),
]
DEAD = {
    "not_configured",
    "not_connected",
    "disconnected_here",
    "reconnect_required",
    "refresh_response_lost",
}


def test_it_knows_the_codes_of_the_contract_and_no_other() -> None:
    assert [code.value for code in Code] == [code for code, _, _ in CONTRACT]


@pytest.mark.parametrize(("code", "who_acts", "status"), CONTRACT)
def test_it_ranks_each_code_as_the_contract_does(code: str, who_acts: str, status: str) -> None:
    assert Code(code).level is Level(status)
    assert WORDS[Code(code)].who_acts == who_acts
    assert Code(code).connected is (code not in DEAD)


def test_it_lets_the_last_five_of_the_contract_grow_worse() -> None:
    assert {code.value for code in TRANSIENT} == {code for code, _, _ in CONTRACT[-5:]}


def test_a_diagnosis_is_ok_only_with_the_code_ok() -> None:
    for code in Code:
        assert replace(Diagnosis(code=Code.OK), code=code).ok is (code is Code.OK)
