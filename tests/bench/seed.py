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
from integrations.gohighlevel.models import (
    ContactMapping,
    Location,
    LocationCheck,
    Result,
    SyncRun,
)
from integrations.jane.models import Kind, Membership, MembershipChange
from integrations.levels import Level
from integrations.models import Outcome, ScheduledRun, WebhookDelivery
from quickbooks.diagnosis import Code
from quickbooks.models import ConnectionHealthCheck, GrantState, OAuthToken, Trigger

STEP_SECONDS = 900
FIRST_REALM = 9341450000000001
LOCATION = "benchLocation"
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


def add_the_others(now: dt.datetime) -> None:
    """Jane and GoHighLevel with a month behind them, and a settings' worth of nothing else."""
    quarter = dt.timedelta(minutes=15)
    moments = [now - number * quarter for number in range(30 * 96)]
    ScheduledRun.objects.bulk_create(
        ScheduledRun(job="check_quickbooks", started_at=at, finished_at=at, ok=True)
        for at in moments[:192]
    )
    WebhookDelivery.objects.bulk_create(
        WebhookDelivery(
            integration="jane",
            event_key=f"id:{number}",
            event_type="snapshot",
            received_at=at,
            last_received_at=at,
            scheme="x-api-key",
            size=9000,
            outcome=Outcome.STORED,
        )
        for number, at in enumerate(moments)
    )
    memberships = Membership.objects.bulk_create(
        Membership(
            person_id=str(number),
            key=str(number),
            vendor_id=str(number),
            plan="Monthly",
            status="active" if number % 6 else "cancelled",
            ends_on=(now + dt.timedelta(days=number % 60)).date(),
            changed_at=moments[number],
            first_seen_at=now - dt.timedelta(days=60),
        )
        for number in range(260)
    )
    MembershipChange.objects.bulk_create(
        MembershipChange(membership=one, at=at, kind=kind, status=one.status, ends_on=one.ends_on)
        for one in memberships
        for at, kind in ((one.first_seen_at, Kind.APPEARED), (one.changed_at, Kind.RENEWED))
    )
    Location.objects.create(
        location_id=LOCATION, mapped=1180, unmatched=20, ambiguous=4, calls_left=190_000
    )
    SyncRun.objects.bulk_create(
        SyncRun(
            location_id=LOCATION,
            started_at=at,
            heartbeat_at=at,
            finished_at=at,
            result=Result.OK,
            state="ok",
            contacts=1204,
            mapped=1180,
            unmatched=20,
            ambiguous=4,
        )
        for at in moments[::4]
    )
    LocationCheck.objects.bulk_create(
        LocationCheck(location_id=LOCATION, checked_at=at, ok=True, state="ok", trigger="command")
        for at in moments[::4]
    )
    ContactMapping.objects.bulk_create(
        ContactMapping(
            location_id=LOCATION,
            contact_id=str(number),
            external_id=str(number),
            contact_updated_at=now,
            state="mapped",
            rule="external_id",
            person_id=str(number),
            first_seen_at=now,
        )
        for number in range(1204)
    )
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")  # what autovacuum does


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
        status.Evidence(
            integration="quickbooks",
            account=realm_id,
            name=name,
            level=Level.HEALTHY,
            state=Code.OK,
            checked_at=last,
        )
    )
