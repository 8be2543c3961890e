"""One company's consent for the one app, and the three clocks that it lives by."""

from dataclasses import dataclass, field
from enum import StrEnum

from quickbooks.simulator.tokens import new_access_token, new_refresh_token


@dataclass(frozen=True, slots=True)
class Company:
    """A QuickBooks company."""

    realm_id: str
    name: str
    legal_name: str
    subscription_status: str


@dataclass(slots=True)
class Grant:
    """Live until revoked or replaced; a dead one is kept, so that its tokens are recognized."""

    realm_id: str
    client_id: str
    hard_expires_at: float
    refresh_token: str = field(repr=False)
    rotated_at: float
    refresh_expires_at: float
    live: bool = True
    retired: list[str] = field(default_factory=list, repr=False)
    access: dict[str, float] = field(default_factory=dict, repr=False)

    @classmethod
    def new(cls, realm_id: str, client_id: str, now: float, seconds: float, hard: float) -> "Grant":
        """A fresh consent: the clock that no rotation winds up again starts here."""
        expires = now + min(seconds, hard)
        return cls(realm_id, client_id, now + hard, new_refresh_token(expires), now, expires)

    def accepts(self, refresh_token: str, now: float, grace: float) -> bool:
        """Only the current value and, in its grace, the one just before it; never an older one."""
        if not self.live or now >= self.refresh_expires_at:
            return False
        if refresh_token == self.refresh_token:
            return True
        return self.retired[-1:] == [refresh_token] and now < self.rotated_at + grace

    def rotate(self, now: float, seconds: float) -> None:
        """A new value winds up the 100 days, but never past the hard expiry of November 2025."""
        self.retired.append(self.refresh_token)
        self.rotated_at = now
        self.refresh_expires_at = min(now + seconds, self.hard_expires_at)
        self.refresh_token = new_refresh_token(self.refresh_expires_at)

    def mint(self, now: float, seconds: float) -> str:
        """One more access token; the earlier ones stay valid until their own expiry."""
        self.access = {token: end for token, end in self.access.items() if end > now}
        token = new_access_token()
        self.access[token] = now + seconds
        return token

    def kill(self) -> None:
        """A revocation takes the access tokens along: calls turn 401 at once."""
        self.live = False
        self.access.clear()


class InvalidGrant(Exception):
    """Expired, rotated away, revoked and never issued look the same from outside."""

    def __init__(self, *, dead_token: bool = False) -> None:
        super().__init__("invalid_grant")
        self.dead_token = dead_token


class Access(StrEnum):
    """The verdict on an access token; the refusals are named like their faults."""

    OK = "ok"
    TOKEN_EXPIRED = "token_expired"
    WRONG_COMPANY = "wrong_company"


@dataclass(slots=True)
class Code:
    """An authorization code. It outlives its use, because a second use has consequences."""

    realm_id: str
    redirect_uri: str
    expires_at: float
    grant: Grant | None = None
