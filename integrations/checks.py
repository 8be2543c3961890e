"""What `manage.py check` says of settings that are allowed, and do not do what they seem to."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from config.env import is_loopback
from integrations.alerts.channels import mail_is_only_printed


def mail_reaches_people(**kwargs: Any) -> list[CheckMessage]:
    """Alerts by mail are wanted, and there is no mail server."""
    if not settings.ALERT_EMAILS or not mail_is_only_printed():
        return []
    return [
        Warning(
            "ALERT_EMAILS is set and EMAIL_URL is not: alerts are printed, and reach nobody.",
            hint="Set EMAIL_URL to the mail server, smtp+tls://user:password@host:587.",
            id="integrations.W001",
        )
    ]


def mail_password_is_protected(**kwargs: Any) -> list[CheckMessage]:
    """The mail server's password would cross a network in clear text."""
    encrypted = settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL
    if not settings.EMAIL_HOST_PASSWORD or encrypted or is_loopback(settings.EMAIL_HOST):
        return []
    return [
        Warning(
            "EMAIL_URL sends a password to another machine without encryption.",
            hint="Write smtp+tls:// (port 587) or smtp+ssl:// (port 465) instead of smtp://.",
            id="integrations.W002",
        )
    ]
