"""Values that look like Intuit's. To a client both kinds of token are opaque."""

import hashlib
import secrets
import string
from dataclasses import dataclass, field

# The protected header of a real access token: a JWE, encrypted directly with A128CBC-HS256.
JWE_HEADER = "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2IiwiYWxnIjoiZGlyIn0"
ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What the token endpoint hands out. The tokens stay out of repr, so out of test reports."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    x_refresh_token_expires_in: int
    x_refresh_token_hard_expires_in: int


def new_access_token() -> str:
    """A JWE with an empty key part (hence the two dots), about 740 characters long."""
    iv, ciphertext, tag = (secrets.token_urlsafe(n) for n in (16, 480, 16))
    return f"{JWE_HEADER}..{iv}.{ciphertext}.{tag}"


def new_refresh_token(expires_at: float) -> str:
    """Like `RT1-39-H3-1785429816rcysb9dns1ofreknypnm`, recorded in 2026."""
    tail = "".join(secrets.choice(ALPHABET) for _ in range(20))
    return f"RT1-{10 + secrets.randbelow(190)}-H0-{int(expires_at)}{tail}"


def new_code() -> str:
    """An authorization code."""
    return f"XAB1{secrets.token_hex(23)}"


def fingerprint(token: str) -> str:
    """Tells tokens apart in the call log without keeping them."""
    return hashlib.sha256(token.encode()).hexdigest()[:16] if token else ""
