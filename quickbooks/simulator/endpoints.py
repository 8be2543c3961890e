"""Intuit's machine endpoints: who is asking, and the orderly answer."""

import base64
import binascii
import json
import re
from collections.abc import Callable

from quickbooks.simulator import bodies, company_info
from quickbooks.simulator.grants import Access, InvalidGrant
from quickbooks.simulator.request import Request
from quickbooks.simulator.traffic import Call
from quickbooks.simulator.wire import Reply
from quickbooks.simulator.world import World

AUTHORIZE = "/connect/oauth2"
TOKEN = "/oauth2/v1/tokens/bearer"
REVOKE = "/v2/oauth2/tokens/revoke"
DISCOVERY = "/.well-known/openid_sandbox_configuration/"
ELSEWHERE = "/elsewhere"  # where the fault "redirect" points: nobody should ever come here
COMPANY_INFO = re.compile(r"/v3/company/(\d+)/companyinfo/\1")
ROUTES = {
    ("POST", TOKEN): "token",
    ("POST", REVOKE): "revoke",
    ("GET", DISCOVERY): "discovery",
    ("GET", ELSEWHERE): "elsewhere",
    ("POST", ELSEWHERE): "elsewhere",
}


def endpoint_of(request: Request) -> str | None:
    """None: a page for a person, or nothing at all."""
    if request.method == "GET" and COMPANY_INFO.fullmatch(request.path):
        return "api"
    return ROUTES.get((request.method, request.path))


def record(world: World, request: Request, endpoint: str) -> Call:
    """The call as it arrives, before anything is decided."""
    if endpoint == "token":
        form = request.form
        return world.call_presenting(
            endpoint,
            form.get("refresh_token", ""),
            grant_type=form.get("grant_type", ""),
            code=form.get("code", ""),
        )
    if endpoint == "revoke":
        return world.call_presenting(endpoint, _token_to_revoke(request))
    company = COMPANY_INFO.fullmatch(request.path)
    return Call(endpoint, world.now(), realm_id=company[1] if company else "")


def process(world: World, request: Request, call: Call, base: str) -> Reply:
    """Let the request take effect."""
    handlers: dict[str, Callable[[], Reply]] = {
        "api": lambda: _company_info(world, request, call),
        "token": lambda: _token(world, request, call),
        "revoke": lambda: _revoke(world, request),
        "discovery": lambda: _discovery(base),
        "elsewhere": lambda: Reply.json(200, {}),
    }
    reply = handlers[call.endpoint]()
    outcome = call.outcome or ("ok" if reply.status == 200 else str(reply.status))
    world.note(call, reply.status, outcome)
    return reply


def _discovery(base: str) -> Reply:
    document = {
        "issuer": f"{base}/op/v1",
        "authorization_endpoint": base + AUTHORIZE,
        "token_endpoint": base + TOKEN,
        "userinfo_endpoint": f"{base}/v1/openid_connect/userinfo",
        "revocation_endpoint": base + REVOKE,
        "jwks_uri": f"{base}/op/v1/jwks",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "email", "profile", "address", "phone"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "claims_supported": ["aud", "exp", "iat", "iss", "realmid", "sub"],
    }
    return Reply.json(200, document)


def _token(world: World, request: Request, call: Call) -> Reply:
    form = request.form
    if not _knows_the_secret(world, request):
        return _refused(world, call, 401, "invalid_client")
    try:
        if call.grant_type == "refresh_token":
            answer = world.refresh(form.get("refresh_token", ""))
        elif call.grant_type == "authorization_code":
            answer = world.exchange(form.get("code", ""), form.get("redirect_uri", ""))
        else:
            return _refused(world, call, 400, "unsupported_grant_type")
    except InvalidGrant as error:
        return _refused(world, call, 400, "invalid_grant", dead_token=error.dead_token)
    body: dict[str, object] = {
        "access_token": answer.access_token,
        "refresh_token": answer.refresh_token,
        "token_type": "bearer",
        "expires_in": answer.expires_in,
        "x_refresh_token_expires_in": answer.x_refresh_token_expires_in,
    }
    # Only who asks for the five-year clock gets it (November 2025).
    if request.headers.get("x-include-refresh-token-hard-expires-in", "").lower() == "true":
        body["x_refresh_token_hard_expires_in"] = answer.x_refresh_token_hard_expires_in
    return Reply.json(200, body, **{"Cache-Control": "no-cache, no-store"})


def _refused(
    world: World, call: Call, status: int, error: str, *, dead_token: bool = False
) -> Reply:
    world.note(call, status, error, dead_token=dead_token)
    return bodies.oauth_error(status, error)


def _knows_the_secret(world: World, request: Request) -> bool:
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        pair = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return False
    return scheme.lower() == "basic" and pair == f"{world.client_id}:{world.client_secret}"


def _revoke(world: World, request: Request) -> Reply:
    if not _knows_the_secret(world, request):
        return bodies.oauth_error(401, "invalid_client")
    if not world.revoke(_token_to_revoke(request)):
        return bodies.oauth_error(400, "invalid_request")
    return Reply(200)


def _token_to_revoke(request: Request) -> str:
    try:
        body = json.loads(request.body)
    except ValueError:
        return ""
    token = body.get("token") if isinstance(body, dict) else None
    return token if isinstance(token, str) else ""


def _company_info(world: World, request: Request, call: Call) -> Reply:
    access = world.check_access(request.bearer, call.realm_id)
    world.note(call, None, access)
    if access is Access.TOKEN_EXPIRED:
        return bodies.token_expired(world.now(), request.bearer)
    if access is Access.WRONG_COMPANY:
        return bodies.wrong_company(world.now())
    company = world.companies[call.realm_id]
    # XML is the default: JSON is only for who asks for it.
    wants_json = "json" in request.headers.get("Accept", "")
    return (company_info.as_json if wants_json else company_info.as_xml)(company, world.now())
