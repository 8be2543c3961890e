"""What `manage.py check` says of settings that do not do what they seem to."""

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

CONSOLE = "django.core.mail.backends.console.EmailBackend"


def warned() -> list[str]:
    return [str(found.id) for found in run_checks() if str(found.id).startswith("integrations.")]


def test_alerts_by_mail_without_a_mail_server(settings: Settings) -> None:
    settings.EMAIL_BACKEND = CONSOLE
    assert warned() == []
    settings.ALERT_EMAILS = ["owner@clinic.example"]
    assert warned() == ["integrations.W001"]
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    assert warned() == []


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, ["integrations.W002"]),
        ({"EMAIL_USE_TLS": True}, []),
        ({"EMAIL_USE_SSL": True}, []),
        ({"EMAIL_HOST": "127.0.0.1"}, []),
        ({"EMAIL_HOST": "localhost"}, []),
        ({"EMAIL_HOST_PASSWORD": ""}, []),
    ],
)
def test_a_mail_password_in_clear_text(
    settings: Settings, values: dict[str, object], found: list[str]
) -> None:
    settings.EMAIL_HOST, settings.EMAIL_HOST_PASSWORD = "mail.example.org", "s3cr3t"
    for name, value in values.items():
        setattr(settings, name, value)
    assert warned() == found
