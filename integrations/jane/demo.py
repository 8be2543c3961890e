"""ClinicSync in the demo: four weeks of deliveries, and one every minute from now on."""

import datetime as dt
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from integrations.demo import PEOPLE, Button, DemoPart
from integrations.http import ExchangeError
from integrations.jane.models import Membership
from integrations.jane.sender import Clinic, Holding, post
from integrations.jane.webhook import JaneWebhook
from integrations.models import WebhookDelivery
from integrations.set_up import webhook_url
from integrations.signatures import Message
from integrations.webhooks import accept

SECRET = "the demo's ClinicSync"  # noqa: S105  # opens nothing anywhere else
EVERY_SECONDS = 60
PAST, LATELY = dt.timedelta(days=28), dt.timedelta(days=3)
SILENCE = dt.timedelta(hours=2)
SEVERAL = 3


class ClinicSync(DemoPart):
    title = "What ClinicSync does"

    def __init__(self) -> None:
        self._clinic = Clinic(people=PEOPLE)
        self._trouble = ""
        self._sending = threading.Lock()
        self._over = threading.Event()

    @staticmethod
    def settings(site: str, port: int) -> dict[str, str]:
        return {
            "JANE_WEBHOOK_SECRETS": SECRET,
            "MATCHING_KEY": "the demo's own key",
            # Somebody looks at a demo at any hour.
            "CLINIC_HOURS": "Mon-Sun 00:00-24:00",
            "CLINIC_CLOSED_DAYS": "",
        }

    def seed(self, now: dt.datetime) -> None:
        at = now - PAST
        with transaction.atomic():
            for body in self._clinic.snapshots(at):
                at += dt.timedelta(seconds=20)
                _store(body, at)
            while at < now - dt.timedelta(minutes=30):
                lately = at > now - LATELY
                at += dt.timedelta(minutes=25) if lately else dt.timedelta(hours=2)
                _store(self._clinic.next_snapshot(at), at)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._remember()
        connection.close()  # the thread has one of its own
        thread = threading.Thread(target=self._send_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def state(self) -> str:
        return {
            "silent": "ClinicSync is silent.",
            "locked_out": "ClinicSync delivers with a wrong key.",
            "changed": "ClinicSync delivers something that nobody understands.",
        }.get(self._trouble, "")

    def buttons(self) -> Mapping[str, Button]:
        return {
            "works": Button(
                label="ClinicSync works again",
                hint="It delivers at once, and then every minute.",
                press=lambda: self._become(""),
            ),
            "silent": Button(
                label="ClinicSync falls silent",
                hint="As if it had been silent for two hours already.",
                press=self._fall_silent,
            ),
            "locked_out": Button(
                label="The key is changed at one end only",
                hint="Every delivery is refused.",
                press=lambda: self._become("locked_out", SEVERAL),
            ),
            "changed": Button(
                label="ClinicSync changes its data",
                hint="It proves itself, but what it delivers makes no sense.",
                press=lambda: self._become("changed", SEVERAL),
            ),
        }

    def _remember(self) -> None:
        """What was there when the demo was stopped goes on from there."""
        for row in Membership.objects.exclude(starts_on=None).exclude(ends_on=None):
            if row.vendor_id.isdecimal() and row.status != "removed":
                assert row.starts_on is not None
                assert row.ends_on is not None
                holding = Holding(
                    id=int(row.vendor_id),
                    plan=row.plan,
                    status=row.status,
                    starts_on=row.starts_on,
                    ends_on=row.ends_on,
                )
                self._clinic.hold(int(row.person_id), holding)

    def _send_on(self) -> None:
        while not self._over.is_set():
            if self._trouble != "silent":
                self._send()
            self._over.wait(EVERY_SECONDS)

    def _become(self, trouble: str, deliveries: int = 1) -> None:
        self._trouble = trouble
        for _ in range(deliveries):
            self._send()

    def _fall_silent(self) -> None:
        self._trouble = "silent"
        recent = WebhookDelivery.objects.filter(
            integration="jane", last_received_at__gt=timezone.now() - SILENCE
        )
        recent.update(
            received_at=F("received_at") - SILENCE,
            last_received_at=F("last_received_at") - SILENCE,
        )
        connection.close()

    def _send(self) -> None:
        with self._sending:
            body: dict[str, Any] = self._clinic.next_snapshot(timezone.now())
        if self._trouble == "changed":
            # Something new each time, or it would only be a repeat.
            body = {"a new format": timezone.now().isoformat()}
        secret = "another key" if self._trouble == "locked_out" else SECRET
        try:
            post(webhook_url("jane"), secret, body)
        except ExchangeError:
            pass  # the product is being stopped, or busy; the next one comes in a minute


def _store(body: dict[str, Any], at: dt.datetime) -> None:
    text = json.dumps(body, default=str).encode()
    message = Message(headers={"x-api-key": SECRET}, body=text, now=at)
    accept(message, JaneWebhook())
