"""All settings, read from the environment or from `.env` beside manage.py.

The README lists each of them with its default.
"""

import warnings
import zoneinfo
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from config.env import Settings, mail_address, service_url
from config.schedule import crontab
from integrations.alerts.quiet import parse as parse_quiet_hours
from integrations.hours import parse_date, parse_week
from integrations.signatures import ed25519_key, standard_key

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"

env = Settings(BASE_DIR / ".env")

# The demo runs against a stand-in for Intuit on this machine; `manage.py demo` sets it.
DEMO = env.flag("DEMO", False)
TESTING = env.flag("TESTING", False)
DEMO_CONTROL_URL = env.text("DEMO_CONTROL_URL")

DEBUG = env.flag("DEBUG", False)
SECRET_KEY = env.required(
    "SECRET_KEY", "`make run` writes one into .env; in production bring a random one of your own."
)
SECRET_KEY_FALLBACKS = env.items("SECRET_KEY_FALLBACKS")

# --- Where this installation lives -----------------------------------------------------------
SITE_URL = env.url("SITE_URL", "http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", urlsplit(SITE_URL).hostname or "")
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS", SITE_URL)
CSRF_FAILURE_VIEW = "config.views.form_refused"

# --- QuickBooks ------------------------------------------------------------------------------
TOKEN_ENCRYPTION_KEYS = env.fernet_keys("TOKEN_ENCRYPTION_KEYS")
QUICKBOOKS_CLIENT_ID = env.text("QUICKBOOKS_CLIENT_ID")
QUICKBOOKS_CLIENT_SECRET = env.text("QUICKBOOKS_CLIENT_SECRET")
QUICKBOOKS_ENVIRONMENT = env.choice("QUICKBOOKS_ENVIRONMENT", "sandbox", ("sandbox", "production"))
QUICKBOOKS_REDIRECT_URI = env.url("QUICKBOOKS_REDIRECT_URI", f"{SITE_URL}/quickbooks/callback/")
QUICKBOOKS_DISCOVERY_URL = env.url(
    "QUICKBOOKS_DISCOVERY_URL",
    {
        "sandbox": "https://developer.intuit.com/.well-known/openid_sandbox_configuration/",
        "production": "https://developer.intuit.com/.well-known/openid_configuration/",
    }[QUICKBOOKS_ENVIRONMENT],
    loopback_http_only=True,
)
QUICKBOOKS_API_URL = env.url(
    "QUICKBOOKS_API_URL",
    {
        "sandbox": "https://sandbox-quickbooks.api.intuit.com",
        "production": "https://quickbooks.api.intuit.com",
    }[QUICKBOOKS_ENVIRONMENT],
    loopback_http_only=True,
).rstrip("/")
QUICKBOOKS_DEADLINE_SECONDS = env.number("QUICKBOOKS_DEADLINE_SECONDS", 10, 0.05, 60)
QUICKBOOKS_PROBE_REUSE_SECONDS = env.number("QUICKBOOKS_PROBE_REUSE_SECONDS", 20, 0, 600)
QUICKBOOKS_CONFIRM_DELAYS = env.numbers("QUICKBOOKS_CONFIRM_DELAYS", "20,60", 300)
QUICKBOOKS_MONTHLY_ALLOWANCE = env.integer(
    "QUICKBOOKS_MONTHLY_ALLOWANCE", 500_000, 1, 1_000_000_000
)

# --- Jane through ClinicSync, and GoHighLevel ---------------------------------------------------
JANE_WEBHOOK_SECRETS = env.checked(
    "JANE_WEBHOOK_SECRETS", env.items("JANE_WEBHOOK_SECRETS"), standard_key
)
GOHIGHLEVEL_TOKEN = env.text("GOHIGHLEVEL_TOKEN")
GOHIGHLEVEL_LOCATION_ID = env.text("GOHIGHLEVEL_LOCATION_ID")
GOHIGHLEVEL_API_URL = env.url(
    "GOHIGHLEVEL_API_URL", "https://services.leadconnectorhq.com", loopback_http_only=True
).rstrip("/")
GOHIGHLEVEL_API_VERSION = env.text("GOHIGHLEVEL_API_VERSION", "2021-07-28")
GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS = env.checked(
    "GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS",
    # HighLevel's own; ten public receivers agree on it.
    env.items(
        "GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS",
        "MCowBQYDK2VwAyEAi2HR1srL4o18O8BRa7gVJY7G7bupbN3H9AwJrHCDiOg=",
    ),
    ed25519_key,
)
GOHIGHLEVEL_WEBHOOK_SECRETS = env.items("GOHIGHLEVEL_WEBHOOK_SECRETS")
GOHIGHLEVEL_PERSON_FIELD = env.text("GOHIGHLEVEL_PERSON_FIELD")
# Recognises a person by e-mail without keeping the address; empty turns that rule off.
MATCHING_KEY = env.text("MATCHING_KEY")
# When silence means something, in TIME_ZONE.
(CLINIC_HOURS,) = env.checked(
    "CLINIC_HOURS", [env.text("CLINIC_HOURS") or "Mon-Fri 08:00-18:00"], parse_week
)
CLINIC_CLOSED_DAYS = env.checked("CLINIC_CLOSED_DAYS", env.items("CLINIC_CLOSED_DAYS"), parse_date)

# --- Judging -----------------------------------------------------------------------------------
HEALTH_WINDOW_HOURS = env.integer("HEALTH_WINDOW_HOURS", 24, 1, 168)
CRITICAL_AFTER_MINUTES = env.integer("CRITICAL_AFTER_MINUTES", 60, 1, 10_080)
# A fourth integration is one line here (and its app below if it has tables).
INTEGRATIONS = [
    "quickbooks.integration.QuickBooks",
    "integrations.jane.integration.Jane",
    "integrations.gohighlevel.integration.GoHighLevel",
]

# --- Django ------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "config.apps.MonitorAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "csp",
    "integrations",  # before django_crontab: `manage.py crontab` is ours
    "django_crontab",
    "integrations.jane",
    "integrations.gohighlevel",
    "quickbooks",
    "dashboard",
]
MIDDLEWARE = [
    "config.middleware.HealthEndpoints",
    "django.middleware.security.SecurityMiddleware",
    "config.middleware.Webhooks",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# "SQLite does not support indexes with non-key columns": it goes without them, and works.
SILENCED_SYSTEM_CHECKS = ["models.W040"]
# Under /api/ both spellings are routed by hand; a redirect would lose a script's patience.
APPEND_SLASH = True
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.site",
            ],
        },
    },
]

# --- Telling people ----------------------------------------------------------------------------
# Without EMAIL_URL mail is printed where `send_alerts` runs.
globals().update(env.email("EMAIL_URL", "consolemail://"))
EMAIL_TIMEOUT = 15  # for a single step; `integrations.alerts.channels` bounds the whole
DEFAULT_FROM_EMAIL = env.text(
    "DEFAULT_FROM_EMAIL", f"Connection monitor <monitor@{urlsplit(SITE_URL).hostname}>"
)
ALERT_EMAILS = env.checked("ALERT_EMAILS", env.items("ALERT_EMAILS"), mail_address)
ALERT_URLS = env.checked("ALERT_URLS", env.items("ALERT_URLS"), service_url)
(QUIET_HOURS,) = env.checked("QUIET_HOURS", [env.text("QUIET_HOURS")], parse_quiet_hours)
HEARTBEAT_URL = env.text("HEARTBEAT_URL") and env.url("HEARTBEAT_URL", "https://hc.example/ping")
METRICS_TOKEN = env.text("METRICS_TOKEN")

# --- Database ----------------------------------------------------------------------------------
_database_url = env.text("DATABASE_URL") or f"sqlite:///{quote(str(VAR_DIR))}/db.sqlite3"
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its warnings repeat the password
        _database: dict[str, Any] = dict(environ.Env.db_url_config(_database_url))
except Exception:  # its parser raises whatever it stumbles over
    raise ImproperlyConfigured(
        "DATABASE_URL is not a database URL such as postgres://user:password@host/name."
    ) from None
if _database.get("ENGINE") == "django.db.backends.sqlite3":
    try:
        Path(_database["NAME"]).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"DATABASE_URL names a folder that cannot be made ({error.strerror})."
        ) from None
    # IMMEDIATE: two writers queue instead of failing on an upgrade of their lock.
    # FULL: a token pair that was committed survives a power cut.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
    if TESTING:  # several processes share the test database: a file, not memory
        _database["TEST"] = {"NAME": str(Path(_database["NAME"]).with_suffix(".test.sqlite3"))}
elif _database.get("ENGINE") == "django.db.backends.postgresql":
    # A new connection for each request costs 8 of 11 ms; a token must not sit in a write cache.
    _database["CONN_MAX_AGE"] = 600
    _database["CONN_HEALTH_CHECKS"] = True
    _options = _database.setdefault("OPTIONS", {})
    _options["options"] = f"{_options.get('options', '')} -c synchronous_commit=on".strip()
else:
    raise ImproperlyConfigured("DATABASE_URL must name PostgreSQL or SQLite.")
# Leases are committed before a call goes out, so no request may sit inside a transaction.
_database["ATOMIC_REQUESTS"] = False
DATABASES = {"default": _database}

# --- People ------------------------------------------------------------------------------------
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "dashboard:index"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- Transport and browser safety --------------------------------------------------------------
SECURE_SSL_REDIRECT = env.flag("SECURE_SSL_REDIRECT", not DEBUG)
_secure_cookies = env.flag("SECURE_COOKIES", not DEBUG)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _secure_cookies
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_SSL_REDIRECT else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_SSL_REDIRECT
SECURE_HSTS_PRELOAD = SECURE_SSL_REDIRECT
if env.flag("TRUST_PROXY_SSL_HEADER", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Lax, not Strict: the way back from Intuit is a navigation from another site.
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- Time, language, files ---------------------------------------------------------------------
LANGUAGE_CODE = "en-us"
USE_TZ = True
TIME_ZONE = env.text("TIME_ZONE", "UTC")
if TIME_ZONE not in zoneinfo.available_timezones():
    raise ImproperlyConfigured(
        f"TIME_ZONE must be a name such as America/Vancouver, not {TIME_ZONE!r}."
    )
STATIC_URL = "/static/"
# Not under var/: a container's volume would bring the files of an older version back.
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or TESTING
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG or TESTING
WHITENOISE_KEEP_ONLY_HASHED_FILES = True

# --- Errors and logs ---------------------------------------------------------------------------
# Django's own page shows the variables of every frame, and frames here hold tokens.
DEFAULT_EXCEPTION_REPORTER = "config.debug.ReporterWithoutVariables"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": [], "level": "WARNING", "propagate": True},
        "quickbooks": {"level": "INFO"},
        "integrations": {"level": "INFO"},
    },
}

# --- Schedule: `manage.py crontab add` ----------------------------------------------------------
CRONJOBS = crontab()
# Cron starts with an empty environment, so the line itself names the settings.
CRONTAB_DJANGO_SETTINGS_MODULE = "config.settings"
CRONTAB_DJANGO_MANAGE_PATH = str(BASE_DIR / "manage.py")
# django-crontab never stops a hanging job.
CRONTAB_COMMAND_PREFIX = "timeout -k 5 600"
# Two projects under one user keep their hands off each other's lines.
CRONTAB_COMMENT = f"quickbooks connection monitor in {BASE_DIR}"
CRONTAB_EXECUTABLE = env.text("CRONTAB_EXECUTABLE", "/usr/bin/crontab")
