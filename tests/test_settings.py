"""Missing and malformed settings: one clear sentence that names the setting and no secret."""

import ast
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from config.env import Settings

ROOT = Path(__file__).resolve().parent.parent
SECRET = "s3cr3t-v4lue"

MALFORMED = [
    ("DEMO", "perhaps"),
    ("TESTING", "perhaps"),
    ("DEBUG", "perhaps"),
    ("SECRET_KEY", ""),
    ("SITE_URL", "monitor.example.org"),
    ("SITE_URL", "https://"),
    ("SITE_URL", "ftp://monitor.example.org"),
    ("SITE_URL", "http://[::1"),
    ("TOKEN_ENCRYPTION_KEYS", SECRET),
    ("TOKEN_ENCRYPTION_KEYS", f"{'A' * 43}=,{SECRET}"),
    ("QUICKBOOKS_ENVIRONMENT", "live"),
    ("QUICKBOOKS_REDIRECT_URI", "/quickbooks/callback/"),
    ("QUICKBOOKS_DISCOVERY_URL", "http://intuit.example.org/"),
    ("QUICKBOOKS_API_URL", "http://intuit.example.org/"),
    ("QUICKBOOKS_DEADLINE_SECONDS", "soon"),
    ("QUICKBOOKS_DEADLINE_SECONDS", "0"),
    ("QUICKBOOKS_DEADLINE_SECONDS", "61"),
    ("QUICKBOOKS_DEADLINE_SECONDS", "nan"),
    ("QUICKBOOKS_PROBE_REUSE_SECONDS", "-1"),
    ("QUICKBOOKS_CONFIRM_DELAYS", "20;60"),
    ("QUICKBOOKS_CONFIRM_DELAYS", "20,400"),
    ("QUICKBOOKS_MONTHLY_ALLOWANCE", "0"),
    ("QUICKBOOKS_MONTHLY_ALLOWANCE", "1.5"),
    ("JANE_WEBHOOK_SECRETS", f"whsec_{SECRET}!"),
    ("GOHIGHLEVEL_API_URL", "http://gohighlevel.example.org/"),
    ("GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS", SECRET),
    ("CLINIC_HOURS", "always"),
    ("CLINIC_HOURS", "Mon-Fri 08:00-25:00"),
    ("CLINIC_HOURS", "Mon-Fri 18:00-08:00"),
    ("CLINIC_HOURS", "Mon-Fri 08:00-12:00, Fri 11:00-13:00"),
    ("CLINIC_HOURS", "Mo-Fr 08:00-12:00"),
    ("CLINIC_CLOSED_DAYS", "25.12.2026"),
    ("EMAIL_URL", f"mail://monitor:{SECRET}@mail.example.org"),
    ("EMAIL_URL", f"smtp://monitor:{SECRET}@mail.example.org:port"),
    ("ALERT_EMAILS", "owner@clinic.example, somebody"),
    ("ALERT_URLS", SECRET),
    ("QUIET_HOURS", "22-7"),
    ("QUIET_HOURS", "22:00-24:00"),
    ("QUIET_HOURS", "07:00-07:00"),
    ("HEARTBEAT_URL", "hc.example/ping"),
    ("HEALTH_WINDOW_HOURS", "169"),
    ("CRITICAL_AFTER_MINUTES", "an hour"),
    ("DATABASE_URL", f"mysql://root:{SECRET}@db/monitor"),
    ("DATABASE_URL", SECRET),
    ("DATABASE_URL", f"postgress://monitor:{SECRET}@db/monitor"),
    ("DATABASE_URL", f"postgres://monitor:{SECRET}@db:port/monitor"),
    ("SECURE_SSL_REDIRECT", "maybe"),
    ("SECURE_COOKIES", "maybe"),
    ("TRUST_PROXY_SSL_HEADER", "maybe"),
    ("TIME_ZONE", "Vancouver"),
]
# Every text will do for these.
FREE = {
    "ALLOWED_HOSTS",
    "CRONTAB_EXECUTABLE",
    "CSRF_TRUSTED_ORIGINS",
    "DEFAULT_FROM_EMAIL",
    "DEMO_CONTROL_URL",
    "GOHIGHLEVEL_API_VERSION",
    "GOHIGHLEVEL_LOCATION_ID",
    "GOHIGHLEVEL_PERSON_FIELD",
    "GOHIGHLEVEL_TOKEN",
    "GOHIGHLEVEL_WEBHOOK_SECRETS",
    "MATCHING_KEY",
    "METRICS_TOKEN",
    "QUICKBOOKS_CLIENT_ID",
    "QUICKBOOKS_CLIENT_SECRET",
    "SECRET_KEY_FALLBACKS",
}


def names_read() -> set[str]:
    """The settings that config/settings.py reads from the environment."""
    tree = ast.parse((ROOT / "config" / "settings.py").read_text())
    return {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and isinstance(node.args[0], ast.Constant)
    }


def load() -> dict[str, Any]:
    """The settings as they are with the present environment."""
    return runpy.run_path(str(ROOT / "config" / "settings.py"))


@pytest.fixture(autouse=True)
def clean_environment() -> Iterator[None]:
    """Reading a `.env` changes the environment, and files are read once in a process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    environ.FileAwareEnv.ENVIRON.files_cache.clear()


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_a_malformed_setting_is_named_in_one_sentence(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured) as told:
        load()
    sentence = str(told.value)
    assert sentence.startswith(name)
    assert sentence.endswith((".", '"'))
    assert "\n" not in sentence
    assert SECRET not in sentence
    # Nor in what a traceback would add.
    assert told.value.__suppress_context__ or told.value.__context__ is None
    assert not [str(warning.message) for warning in recwarn]


def test_every_setting_has_a_malformed_example_above() -> None:
    assert names_read() - FREE == {name for name, _ in MALFORMED}


@pytest.mark.parametrize(
    ("name", "value"), [("SECRET_KEY", ""), ("TOKEN_ENCRYPTION_KEYS", SECRET), ("DEBUG", "perhaps")]
)
@pytest.mark.parametrize("arguments", [["manage.py", "check"], ["-c", "import config.wsgi"]])
def test_the_command_and_the_server_say_it_and_exit_with_3(
    arguments: list[str], name: str, value: str
) -> None:
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"Settings: {name}")
    assert ended.stderr.count("\n") == 1
    assert SECRET not in ended.stderr


def test_every_setting_may_come_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "client-secret"
    file.write_text(f"{SECRET}\n")
    monkeypatch.delenv("QUICKBOOKS_CLIENT_SECRET")
    monkeypatch.setenv("QUICKBOOKS_CLIENT_SECRET_FILE", str(file))
    assert load()["QUICKBOOKS_CLIENT_SECRET"] == SECRET


@pytest.mark.parametrize("name", ["SECRET_KEY", "QUICKBOOKS_CLIENT_SECRET", "DATABASE_URL"])
def test_a_file_that_is_not_there_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{name}_FILE", "/nowhere/at/all")
    with pytest.raises(ImproperlyConfigured, match=f"^{name}_FILE names a file"):
        load()


@pytest.mark.parametrize("value", ["$SECRET_KEY", "$1a$b", "a#b", "a=b==", "it's", "a b"])
def test_a_value_in_the_env_file_arrives_as_it_is_written(value: str, tmp_path: Path) -> None:
    del os.environ["TESTING"], os.environ["QUICKBOOKS_CLIENT_SECRET"]
    (tmp_path / ".env").write_text(f"# a comment\n\nQUICKBOOKS_CLIENT_SECRET={value}\n")
    assert Settings(tmp_path / ".env").text("QUICKBOOKS_CLIENT_SECRET") == value


def test_a_line_of_the_env_file_that_means_nothing_is_told_without_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del os.environ["TESTING"]
    (tmp_path / ".env").write_text(f"DEBUG=False\nQUICKBOOKS_CLIENT_SECRET = {SECRET}\n")
    with pytest.raises(ImproperlyConfigured, match=r"line 2 of .*\.env") as told:
        Settings(tmp_path / ".env")
    assert SECRET not in str(told.value) + caplog.text


def test_the_environment_wins_over_the_env_file(tmp_path: Path) -> None:
    del os.environ["TESTING"]
    os.environ["QUICKBOOKS_CLIENT_ID"] = "from the environment"
    (tmp_path / ".env").write_text("QUICKBOOKS_CLIENT_ID=from the file\n")
    assert Settings(tmp_path / ".env").text("QUICKBOOKS_CLIENT_ID") == "from the environment"


def test_the_defaults_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in names_read() - {"SECRET_KEY", "TESTING"}:
        monkeypatch.delenv(name, raising=False)
    settings = load()
    expected = {
        "DEBUG": False,
        "SITE_URL": "http://127.0.0.1:8000",
        "ALLOWED_HOSTS": ["127.0.0.1"],
        "CSRF_TRUSTED_ORIGINS": ["http://127.0.0.1:8000"],
        "TIME_ZONE": "UTC",
        "SECURE_SSL_REDIRECT": True,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "TOKEN_ENCRYPTION_KEYS": [],
        "QUICKBOOKS_CLIENT_ID": "",
        "QUICKBOOKS_ENVIRONMENT": "sandbox",
        "QUICKBOOKS_REDIRECT_URI": "http://127.0.0.1:8000/quickbooks/callback/",
        "QUICKBOOKS_API_URL": "https://sandbox-quickbooks.api.intuit.com",
        "QUICKBOOKS_DEADLINE_SECONDS": 10,
        "QUICKBOOKS_PROBE_REUSE_SECONDS": 20,
        "QUICKBOOKS_CONFIRM_DELAYS": (20, 60),
        "QUICKBOOKS_MONTHLY_ALLOWANCE": 500_000,
        "JANE_WEBHOOK_SECRETS": [],
        "GOHIGHLEVEL_API_URL": "https://services.leadconnectorhq.com",
        "GOHIGHLEVEL_API_VERSION": "2021-07-28",
        "GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS": [
            "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg="
        ],
        "MATCHING_KEY": "",
        "CLINIC_HOURS": "Mon-Fri 08:00-18:00",
        "CLINIC_CLOSED_DAYS": [],
        "HEALTH_WINDOW_HOURS": 24,
        "CRITICAL_AFTER_MINUTES": 60,
        "CRONTAB_EXECUTABLE": "/usr/bin/crontab",
    }
    assert {name: settings[name] for name in expected} == expected
    assert "SECURE_PROXY_SSL_HEADER" not in settings
    assert settings["DATABASES"]["default"]["NAME"] == str(ROOT / "var" / "db.sqlite3")


@pytest.mark.parametrize(
    ("url", "port", "tls"),
    [
        ("smtp+tls://monitor:x@mail.example.org", 587, "EMAIL_USE_TLS"),
        ("smtp+tls://monitor:x@mail.example.org:2525", 2525, "EMAIL_USE_TLS"),
        ("smtp+ssl://monitor:x@mail.example.org", 465, "EMAIL_USE_SSL"),
        ("smtps://monitor:x@mail.example.org:465", 465, "EMAIL_USE_SSL"),
    ],
)
def test_mail_goes_to_the_port_where_such_servers_listen(
    url: str, port: int, tls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    settings = load()
    assert settings["EMAIL_PORT"] == port
    assert {name for name in ("EMAIL_USE_TLS", "EMAIL_USE_SSL") if settings.get(name)} == {tls}
