"""Reading settings from the environment, so that a wrong one gives one clear sentence.

django-environ parses; this module adds what it leaves out: bounds, choices and messages that
name the setting and never repeat the value of a secret. Every reader raises
`ImproperlyConfigured`.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from email.errors import HeaderParseError
from email.headerregistry import Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured


class Settings:
    """The environment, with `.env` behind it. Each name may also come as `NAME_FILE`."""

    def __init__(self, env_file: Path) -> None:
        if env_file.is_file() and not os.environ.get("TESTING"):
            _refuse_other_lines(env_file)
            # An absolute path: cron starts elsewhere and without an environment.
            environ.FileAwareEnv.read_env(str(env_file))

    def text(self, name: str, default: str = "") -> str:
        try:
            # Past django-environ's readers: they take a leading dollar sign for a reference.
            return str(environ.FileAwareEnv.ENVIRON.get(name, default)).strip()
        except OSError as error:
            raise ImproperlyConfigured(
                f"{name}_FILE names a file that cannot be read ({error.strerror})."
            ) from None

    def required(self, name: str, hint: str) -> str:
        value = self.text(name)
        if not value:
            raise ImproperlyConfigured(f"{name} is not set. {hint}")
        return value

    def items(self, name: str, default: str = "") -> list[str]:
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name, str(default)).lower()
        if value in {"1", "true", "yes", "on"}:
            return True
        if value in {"0", "false", "no", "off", ""}:
            return False
        raise ImproperlyConfigured(f"{name} must be True or False, not {value!r}.")

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.text(name, str(default))
        try:
            number = float(value)
        except ValueError:
            raise ImproperlyConfigured(f"{name} must be a number, not {value!r}.") from None
        if not low <= number <= high:
            raise ImproperlyConfigured(
                f"{name} must lie between {low:g} and {high:g}, not {value}."
            )
        return number

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        number = self.number(name, default, low, high)
        if number != int(number):
            raise ImproperlyConfigured(f"{name} must be a whole number, not {number}.")
        return int(number)

    def numbers(self, name: str, default: str, high: float) -> tuple[float, ...]:
        parts = self.items(name, default)
        try:
            values = tuple(float(part) for part in parts)
        except ValueError:
            raise ImproperlyConfigured(
                f"{name} must be numbers with commas between, such as {default}."
            ) from None
        if any(not 0 <= value <= high for value in values):
            raise ImproperlyConfigured(f"{name}: each number must lie between 0 and {high:g}.")
        return values

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise ImproperlyConfigured(
                f"{name} must be one of {', '.join(choices)}, not {value!r}."
            )
        return value

    def url(self, name: str, default: str, *, loopback_http_only: bool = False) -> str:
        """An absolute http(s) URL without a trailing slash being implied.

        `loopback_http_only`: secrets travel there, so plain http is for this machine alone.
        """
        value = self.text(name, default)
        if not is_web_url(value):
            raise ImproperlyConfigured(
                f"{name} must be a URL such as {default}, with http:// or https:// in front."
            )
        if loopback_http_only and not is_safe_for_secrets(value):
            raise ImproperlyConfigured(
                f"{name} must start with https://; plain http is allowed to this machine only."
            )
        return value

    def checked(
        self, name: str, values: Sequence[str], check: Callable[[str], object]
    ) -> list[str]:
        """The values as they are, if a parser takes each of them; its `ValueError` says why not."""
        for value in values:
            try:
                check(value)
            except ValueError as error:
                raise ImproperlyConfigured(f"{name}: {error}.") from None
        return list(values)

    def email(self, name: str, default: str) -> dict[str, Any]:
        """Django's settings for sending mail, from a URL such as smtp+tls://user:pass@host:587."""
        try:
            found = environ.Env.email_url_config(self.text(name) or default)
        except Exception:  # its parser raises whatever it stumbles over, with the password in it
            raise ImproperlyConfigured(
                f"{name} is not a mail server's URL such as smtp+tls://user:password@host:587."
            ) from None
        # None would hide Django's own default.
        values = {key: value for key, value in found.items() if value is not None}
        # RFC 8314: on 465 TLS begins at once, whatever the scheme says; logins are taken on 587.
        if values.get("EMAIL_USE_TLS") and values.get("EMAIL_PORT") == 465:
            values["EMAIL_USE_SSL"] = values.pop("EMAIL_USE_TLS")
        if values.get("EMAIL_USE_SSL"):
            values.setdefault("EMAIL_PORT", 465)
        if values.get("EMAIL_USE_TLS"):
            values.setdefault("EMAIL_PORT", 587)
        return values

    def fernet_keys(self, name: str) -> list[str]:
        keys = self.items(name)
        for position, key in enumerate(keys, start=1):
            try:
                Fernet(key)
            except ValueError:
                raise ImproperlyConfigured(
                    f"{name}: key number {position} is not a Fernet key. Make one with: "
                    'python -c "from cryptography.fernet import Fernet; '
                    'print(Fernet.generate_key().decode())"'
                ) from None
        return keys


def _refuse_other_lines(env_file: Path) -> None:
    """django-environ would log such a line, with the secret in it, and go on without it."""
    try:
        lines = env_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ImproperlyConfigured(f"{env_file} cannot be read as text by this user.") from None
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("#") and not re.match(r"(export )?\w+=", line):
            raise ImproperlyConfigured(
                f"line {number} of {env_file} is not NAME=value (without spaces around the =)."
            )


def is_web_url(value: str) -> bool:
    """True for an absolute http or https URL with a host."""
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def is_safe_for_secrets(url: str) -> bool:
    """https anywhere, http to this machine only."""
    if not is_web_url(url):
        return False
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname)


def mail_address(value: str) -> None:
    """Raises `ValueError` for what is no e-mail address."""
    try:
        found = Address(addr_spec=value)
    except (HeaderParseError, ValueError, IndexError):
        found = None
    if found is None or not found.username or "." not in found.domain:
        raise ValueError(f"{value!r} is not an e-mail address")


def service_url(value: str) -> None:
    """Raises `ValueError` for what is not even shaped like an Apprise URL; keeps its secrets."""
    if not re.match(r"[a-z][a-z0-9+.-]*://.", value, re.IGNORECASE):
        raise ValueError("each one must look like service://…, as Apprise has them")
