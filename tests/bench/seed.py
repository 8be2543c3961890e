"""A past of any length, written by the database itself.

Companies are checked every quarter of an hour and renewed every hour, up to a minute ago. So
installations with the same companies have the same last 24 hours, however long their past is.
"""

import datetime as dt

from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.utils import timezone

from integrations import status
from integrations.levels import Level
from quickbooks.diagnosis import Code
from quickbooks.models import ConnectionHealthCheck, GrantState, OAuthToken, Trigger

STEP_SECONDS = 900
FIRST_REALM = 9341450000000001
MAY = ("manage_connection", "view_connectionhealthcheck")

# `i` counts the checks from the oldest to the newest; one in 48 of a company fails, two a day.
_NUMBERS = """
WITH RECURSIVE
  numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < {rows} - 1),
  facts AS (
    SELECT i, i / {companies} AS step, CAST({first_realm} + i % {companies} AS TEXT) AS realm,
      {last} - ({rows} / {companies} - 1 - i / {companies}) * {every} - i % {companies} AS at
    FROM numbers
  )
"""
_CHECKS = """
INSERT INTO quickbooks_connection_health (
  realm_id, checked_at, ok, diagnosis, http_status, fault_type, fault_code, message, intuit_tid,
  latency_ms, trigger, refreshed, generation, confirming)
{numbers}
SELECT realm, {moment}, step % 48 <> 20, CASE step % 48 WHEN 20 THEN 'timeout' ELSE 'ok' END,
  CASE step % 48 WHEN 20 THEN NULL ELSE 200 END, '', '',
  CASE step % 48 WHEN 20 THEN 'no complete answer within the deadline' ELSE '' END,
  CASE step % 48 WHEN 20 THEN '' ELSE '1-' || i % 9973 * 7919 || '-' || i END,
  CASE step % 48 WHEN 20 THEN 10010 ELSE 200 + i % 9973 * 7919 % 300 END,
  'command', step % 4 = 0, step / 4 + 1, {no}
FROM facts
"""
_RENEWALS = """
INSERT INTO quickbooks_tokenrefresh (
  realm_id, purpose, generation, owner, trigger, reason, access_seconds_left, in_doubt, started_at,
  finished_at, outcome, superseded, detail, intuit_tid, late_pair)
{numbers}
SELECT realm, 'refresh', step / 4 + 1, 'owner ' || i, 'command', 'access token expired', 0,
  {no}, {moment}, {moment}, CASE step % 96 WHEN 0 THEN 'rotated' ELSE 'same' END, {no}, '',
  '1-' || i % 9973 * 6007 || '-' || i, ''
FROM facts WHERE step % 4 = 0
"""


def person() -> User:
    """The office manager: on the staff, may connect and look at the history."""
    user = User.objects.create_user("manager", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=MAY))
    return user


def fill(companies: int, rows: int) -> None:
    """Connected companies, which share this many checks among them."""
    last = timezone.now().replace(microsecond=0) - dt.timedelta(minutes=1)
    for number in range(companies):
        _connect(str(FIRST_REALM + number), f"Clinic {number + 1}", last)
    numbers = _NUMBERS.format(
        rows=rows,
        companies=companies,
        first_realm=FIRST_REALM,
        last=int(last.timestamp()),
        every=STEP_SECONDS,
    )
    postgresql = connection.vendor == "postgresql"
    words = {
        "numbers": numbers,
        "moment": "to_timestamp(at)" if postgresql else "datetime(at, 'unixepoch')",
        "no": "FALSE",
    }
    with connection.cursor() as cursor:
        if not postgresql:
            cursor.execute("PRAGMA synchronous = OFF")
        cursor.execute(_CHECKS.format(**words))
        cursor.execute(_RENEWALS.format(**words))
        if postgresql:  # what autovacuum does; nobody does it for SQLite
            cursor.execute("VACUUM ANALYZE")


def befall(code: Code) -> None:
    """From now on this is what every company's newest check says."""
    now = timezone.now()
    ConnectionHealthCheck.objects.bulk_create(
        ConnectionHealthCheck(
            realm_id=realm_id, checked_at=now, ok=False, diagnosis=code, trigger=Trigger.COMMAND
        )
        for realm_id in OAuthToken.objects.values_list("realm_id", flat=True)
    )


def _connect(realm_id: str, name: str, last: dt.datetime) -> None:
    OAuthToken.objects.create(
        realm_id=realm_id,
        company_name=name,
        state=GrantState.LIVE,
        generation=1,
        access_expires_at=last + dt.timedelta(minutes=30),
        refresh_expires_at=last + dt.timedelta(days=100),
        hard_expires_at=last + dt.timedelta(days=1500),
        minted_at=last - dt.timedelta(minutes=30),
        last_rotated_at=last - dt.timedelta(hours=5),
        last_success_at=last,
        accepted_generation=1,
        client_id=settings.QUICKBOOKS_CLIENT_ID,
        environment=settings.QUICKBOOKS_ENVIRONMENT,
        site_url=settings.SITE_URL,
        connected_at=last - dt.timedelta(days=1100),
    )
    # The model stores sealed values only, and only in an UPDATE.
    OAuthToken.objects.filter(realm_id=realm_id).update(
        access_token=OAuthToken.seal("access_token", realm_id, "a" * 900),
        refresh_token=OAuthToken.seal("refresh_token", realm_id, "r" * 50),
    )
    status.commit(
        integration="quickbooks",
        account=realm_id,
        name=name,
        level=Level.HEALTHY,
        state=Code.OK,
        needs_person=False,
        checked_at=last,
    )
