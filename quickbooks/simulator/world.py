"""All the truth about companies, grants, tokens and codes, in memory, under one lock.

The rules follow what Intuit does where that is known, the harsher report where reports disagree.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace

from quickbooks.simulator.grants import Access, Code, Company, Grant, InvalidGrant
from quickbooks.simulator.tokens import TokenAnswer, fingerprint, new_code
from quickbooks.simulator.traffic import Call, Traffic

CODE_SECONDS = 600
SETTINGS = (
    "client_id",
    "client_secret",
    "rotate_after",
    "grace",
    "revoke_on_dead_token",
    "access_seconds",
    "refresh_seconds",
    "hard_seconds",
)


class World(Traffic):
    """One app at Intuit, and the companies that gave it consent."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        client_id: str = "demo-client-id",
        client_secret: str = "demo-client-secret",
        rotate_after: float | None = 86400,
        grace: float = 0,
        revoke_on_dead_token: bool = False,
        access_seconds: float = 3600,
        refresh_seconds: float = 8726400,
        hard_seconds: float = 157680000,
    ) -> None:
        super().__init__()
        self.now = now
        self.client_id = client_id
        self.client_secret = client_secret
        self.rotate_after = rotate_after  # 0: every refresh rotates; None: none does
        self.grace = grace  # 0: the previous value dies at once (QuickBooks-V3-PHP-SDK#324)
        self.revoke_on_dead_token = revoke_on_dead_token
        self.access_seconds = access_seconds
        self.refresh_seconds = refresh_seconds
        self.hard_seconds = hard_seconds
        self.companies: dict[str, Company] = {}
        self._codes: dict[str, Code] = {}
        self._grants: list[Grant] = []
        self._current: dict[str, Grant] = {}
        self._owners: dict[str, Grant] = {}  # every refresh token ever issued

    # ── companies ───────────────────────────────────────────────────────────
    def add_company(
        self, realm_id: str, name: str, *, legal_name: str = "", subscription_status: str = "PAID"
    ) -> Company:
        with self._lock:
            company = Company(realm_id, name, legal_name or name, subscription_status)
            self.companies[realm_id] = company
            return company

    def set_subscription(self, realm_id: str, status: str) -> None:
        """PAID, TRIAL, EXPIRED, SUSPENDED…: the company stays readable in any case."""
        with self._lock:
            self.companies[realm_id] = replace(self.companies[realm_id], subscription_status=status)

    # ── OAuth ───────────────────────────────────────────────────────────────
    def grant(self, realm_id: str) -> TokenAnswer:
        """A new consent. One active connection per company and app: it kills the earlier one."""
        with self._lock:
            return self._answer(self._new_grant(realm_id))

    def new_code(self, realm_id: str, redirect_uri: str) -> str:
        """What the authorize page sends back with the browser."""
        with self._lock:
            code = new_code()
            expires_at = self.now() + CODE_SECONDS
            self._codes[code] = Code(self.companies[realm_id].realm_id, redirect_uri, expires_at)
            return code

    def exchange(self, code: str, redirect_uri: str) -> TokenAnswer:
        """Once: a second exchange also kills what the first one made (oauth-jsclient#173)."""
        with self._lock:
            issued = self._codes.get(code)
            if issued and issued.grant:
                issued.grant.kill()
            if not issued or issued.grant or issued.redirect_uri != redirect_uri:
                raise InvalidGrant
            if self.now() >= issued.expires_at:
                raise InvalidGrant
            issued.grant = self._new_grant(issued.realm_id)
            return self._answer(issued.grant)

    def refresh(self, refresh_token: str) -> TokenAnswer:
        """Always a new access token; a new refresh token only when the current one is old."""
        with self._lock:
            grant, now = self._owners.get(refresh_token), self.now()
            # Another app's client id gets invalid_grant for a perfectly live token.
            if not grant or grant.client_id != self.client_id:
                raise InvalidGrant
            if not grant.accepts(refresh_token, now, self.grace):
                if self.revoke_on_dead_token:
                    self._current[grant.realm_id].kill()
                raise InvalidGrant(dead_token=True)
            due = self.rotate_after is not None and now >= grant.rotated_at + self.rotate_after
            if due and refresh_token == grant.refresh_token:
                grant.rotate(now, self.refresh_seconds)
                self._owners[grant.refresh_token] = grant
            return self._answer(grant)

    def revoke(self, token: str) -> bool:
        """End the grant of a live token of either kind; False for a dead or unknown one."""
        with self._lock:
            now = self.now()
            grant = self._owners.get(token)
            if grant and not grant.accepts(token, now, self.grace):
                return False
            grant = grant or self._holder(token)
            if grant:
                grant.kill()
            return grant is not None

    def check_access(self, access_token: str, realm_id: str) -> Access:
        """Expired, revoked and unknown are one answer; another company's token is its own."""
        with self._lock:
            grant = self._holder(access_token)
            if not grant:
                return Access.TOKEN_EXPIRED
            return Access.OK if grant.realm_id == realm_id else Access.WRONG_COMPANY

    def expire_access_tokens(self, realm_id: str | None = None) -> None:
        """As if an hour had passed; the grants live on."""
        with self._lock:
            for realm, grant in self._current.items():
                if realm_id in (None, realm):
                    grant.access.clear()

    def revoke_grant(self, realm_id: str) -> None:
        """The user disconnects in QuickBooks. There is no webhook for it (DotNET-SDK#184)."""
        with self._lock:
            if realm_id in self._current:
                self._current[realm_id].kill()

    # ── what the tests and the control page ask ─────────────────────────────
    def is_live(self, refresh_token: str) -> bool:
        """Would a refresh with it succeed?"""
        with self._lock:
            grant = self._owners.get(refresh_token)
            return grant is not None and grant.accepts(refresh_token, self.now(), self.grace)

    def live_refresh_token(self, realm_id: str) -> str | None:
        """The current value, if the company's grant is live."""
        with self._lock:
            grant = self._current.get(realm_id)
            return grant.refresh_token if grant and self.is_live(grant.refresh_token) else None

    def access_expires_at(self, realm_id: str) -> float | None:
        """When the company's youngest access token expires, if one is valid."""
        with self._lock:
            grant, now = self._current.get(realm_id), self.now()
            return (
                max((end for end in grant.access.values() if end > now), default=None)
                if grant
                else None
            )

    def call_presenting(
        self, endpoint: str, token: str, *, grant_type: str = "", code: str = ""
    ) -> Call:
        """The record of a request that arrives with a refresh token or a code."""
        with self._lock:
            owner = self._owners.get(token) or self._codes.get(code)
            dead = token in self._owners and not self.is_live(token)
            realm_id = owner.realm_id if owner else ""
            return Call(endpoint, self.now(), realm_id, grant_type, fingerprint(token), dead)

    # ── across a restart of the demo ────────────────────────────────────────
    def to_json(self) -> str:
        """Companies, grants and settings; not the codes, the faults and the calls."""
        with self._lock:
            state = {
                "settings": {name: getattr(self, name) for name in SETTINGS},
                "companies": [asdict(company) for company in self.companies.values()],
                "grants": [asdict(grant) for grant in self._grants],
            }
            return json.dumps(state)

    @classmethod
    def from_json(cls, text: str, *, now: Callable[[], float] = time.time) -> "World":
        """The world as it was when to_json() was called."""
        state = json.loads(text)
        world = cls(now=now, **state["settings"])
        for company in state["companies"]:
            world.companies[company["realm_id"]] = Company(**company)
        for values in state["grants"]:
            world._adopt(Grant(**values))
        return world

    def _new_grant(self, realm_id: str) -> Grant:
        self.revoke_grant(realm_id)
        company = self.companies[realm_id]
        grant = Grant.new(
            company.realm_id, self.client_id, self.now(), self.refresh_seconds, self.hard_seconds
        )
        self._adopt(grant)
        return grant

    def _adopt(self, grant: Grant) -> None:
        self._grants.append(grant)
        self._current[grant.realm_id] = grant
        self._owners |= dict.fromkeys([*grant.retired, grant.refresh_token], grant)

    def _answer(self, grant: Grant) -> TokenAnswer:
        now = self.now()
        return TokenAnswer(
            access_token=grant.mint(now, self.access_seconds),
            refresh_token=grant.refresh_token,
            expires_in=round(self.access_seconds),
            x_refresh_token_expires_in=round(grant.refresh_expires_at - now),
            x_refresh_token_hard_expires_in=round(grant.hard_expires_at - now),
        )

    def _holder(self, access_token: str) -> Grant | None:
        now = self.now()
        return next(
            (grant for grant in self._grants if grant.access.get(access_token, 0) > now), None
        )
