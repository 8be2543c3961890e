"""The environment of the tests, and Django in it. conftest.py imports it ahead of all else.

Everything comes from here: no variable of the developer's shell and no `.env` changes a result.
Processes that a test starts, and the workers of pytest-xdist, inherit it.
"""

import atexit
import os
import shutil
import tempfile

import django
from cryptography.fernet import Fernet
from django.conf import settings

CLIENT_ID = "demo-client-id"
CLIENT_SECRET = "demo-client-secret"

# What a developer may have exported for an installation of their own.
_FOREIGN = (
    "ALERT_",
    "ALLOWED_HOSTS",
    "CLINIC_",
    "CRITICAL_",
    "CRONTAB_",
    "CSRF_",
    "DATABASE_URL_FILE",
    "DEBUG",
    "DEFAULT_FROM_EMAIL",
    "DEMO",
    "EMAIL_URL",
    "GOHIGHLEVEL_",
    "HEALTH_",
    "HEARTBEAT_URL",
    "JANE_",
    "MATCHING_KEY",
    "METRICS_TOKEN",
    "QUICKBOOKS_",
    "QUIET_HOURS",
    "SECRET_KEY",
    "SECURE_",
    "SITE_URL",
    "TIME_ZONE",
    "TOKEN_",
    "TRUST_PROXY_",
)


def prepare() -> None:
    """Set every variable that the settings read, once for a whole run."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # prepared by the process that started this worker
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            del os.environ[name]
    os.environ.update(
        DJANGO_SETTINGS_MODULE="config.settings",
        TESTING="1",
        SECRET_KEY="only-for-the-tests-" + "0123456789abcdef" * 3,
        TOKEN_ENCRYPTION_KEYS=Fernet.generate_key().decode(),
        SITE_URL="http://127.0.0.1:8000",
        SECURE_SSL_REDIRECT="False",
        SECURE_COOKIES="False",
        QUICKBOOKS_CLIENT_ID=CLIENT_ID,
        QUICKBOOKS_CLIENT_SECRET=CLIENT_SECRET,
        QUICKBOOKS_DEADLINE_SECONDS="2",
        # Playwright keeps an event loop running in the thread that also uses the database.
        DJANGO_ALLOW_ASYNC_UNSAFE="1",
    )
    if "DATABASE_URL" not in os.environ:  # tests/postgres.py sets one
        folder = tempfile.mkdtemp(prefix="monitor-tests-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["DATABASE_URL"] = f"sqlite:///{folder}/db.sqlite3"


if settings.configured and not settings.TESTING:
    raise RuntimeError("Unset DJANGO_SETTINGS_MODULE: the tests bring settings of their own.")
prepare()
django.setup()
