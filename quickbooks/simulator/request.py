"""One HTTP request, read to its end."""

import contextlib
import ipaddress
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Message = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("latin-1"), keep_blank_values=True))

    @property
    def bearer(self) -> str:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else ""

    @property
    def is_local(self) -> bool:
        """No page of another site may reach in, neither by name (Host) nor by form (Origin)."""
        origin = self.headers.get("Origin")
        hosts = [f"http://{self.headers.get('Host', 'localhost')}", *([origin] if origin else [])]
        return all(is_loopback(host_of(url)) for url in hosts)


def host_of(url: str) -> str | None:
    """The host that a web address names; None for anything else."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        return parts.hostname if parts.scheme in ("http", "https") else None
    return None


def is_loopback(host: str | None) -> bool:
    """This machine, by name or by number."""
    with contextlib.suppress(ValueError):
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    return False
