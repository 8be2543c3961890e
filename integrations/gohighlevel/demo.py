"""GoHighLevel in the demo: a location whose contacts are mostly the clinic's people."""

import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.db.models import F
from django.utils import timezone

from integrations.deadline import Deadline
from integrations.demo import FIRST_PERSON, PEOPLE, Button, DemoPart, email
from integrations.gohighlevel.models import Location, LocationCheck, SyncRun
from integrations.gohighlevel.probing import REUSE
from integrations.gohighlevel.simulator.server import Simulator
from integrations.gohighlevel.simulator.world import (
    ENDPOINTS,
    LOCATION_ID,
    PERSON_FIELD,
    TOKEN,
    World,
)
from integrations.gohighlevel.sync import synchronize
from integrations.http import ExchangeError, exchange, pooled_session
from integrations.set_up import webhook_url

SECRET = "the demo's workflow"  # noqa: S105  # opens nothing anywhere else
# Contacts beside the clinic's people: strangers, and second contacts of somebody.
STRANGERS, DOUBLES = 9, 2
HOURS_OF_PAST = 24

TROUBLES = {
    "revoked": ("401", "Somebody revokes the token", "GoHighLevel rejects the token."),
    "scope": ("403", "The token loses a scope", "The token may not read this location."),
    "throttled": ("429", "Too many calls", "GoHighLevel throttles: too many calls."),
    "down": ("503", "GoHighLevel is down", "GoHighLevel answers with errors of its own."),
    "hangs": ("hang", "GoHighLevel hangs", "GoHighLevel takes the question and never answers."),
}


class LocalGoHighLevel(DemoPart):
    title = "What GoHighLevel does"

    def __init__(self) -> None:
        self._world = _world()
        self._trouble = ""

    @staticmethod
    def settings(site: str, port: int) -> dict[str, str]:
        return {
            "GOHIGHLEVEL_TOKEN": TOKEN,
            "GOHIGHLEVEL_LOCATION_ID": LOCATION_ID,
            "GOHIGHLEVEL_API_URL": f"http://127.0.0.1:{port}",
            "GOHIGHLEVEL_PERSON_FIELD": PERSON_FIELD,
            "GOHIGHLEVEL_WEBHOOK_SECRETS": SECRET,
        }

    def seed(self, now: dt.datetime) -> None:
        with self._serving():
            synchronize(LOCATION_ID, now, pause=time.sleep, tell=lambda line: None)
        run = SyncRun.objects.get()
        SyncRun.objects.bulk_create(_earlier(run, hours) for hours in range(1, HOURS_OF_PAST))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        with self._serving():
            yield

    def state(self) -> str:
        sentences = [TROUBLES[self._trouble][2]] if self._trouble else []
        if _uninstalled():
            sentences.append("The app is uninstalled.")
        return " ".join(sentences)

    def buttons(self) -> Mapping[str, Button]:
        return {
            "works": Button(
                label="GoHighLevel works again",
                hint="The token is good, and the app is installed.",
                press=self._mend,
            ),
            **{
                name: Button(label=label, hint=state, press=partial(self._break, name))
                for name, (_, label, state) in TROUBLES.items()
            },
            "uninstalled": Button(
                label="Somebody uninstalls the app",
                hint="GoHighLevel tells it by a webhook.",
                press=self._uninstall,
            ),
        }

    @contextmanager
    def _serving(self) -> Iterator[None]:
        with Simulator(self._world, urlsplit(settings.GOHIGHLEVEL_API_URL).port or 0):
            yield

    def _break(self, name: str) -> None:
        self._world.clear_faults()
        for endpoint in ENDPOINTS:
            self._world.set_fault(endpoint, TROUBLES[name][0])
        self._trouble = name
        _forget_the_last_check()

    def _mend(self) -> None:
        self._world.clear_faults()
        self._trouble = ""
        _forget_the_last_check()
        if _uninstalled():
            self._tell("INSTALL")

    def _uninstall(self) -> None:
        self._tell("UNINSTALL")

    def _tell(self, kind: str) -> None:
        now = timezone.now().isoformat()
        document = {"type": kind, "locationId": LOCATION_ID, "timestamp": now}
        try:
            exchange(
                pooled_session(),
                "POST",
                webhook_url("gohighlevel"),
                Deadline(10),
                data=json.dumps(document).encode(),
                headers={"x-api-key": SECRET},
            )
        except ExchangeError:
            pass  # the product is being stopped


def _uninstalled() -> bool:
    """As the product knows it, which outlives this process."""
    found = Location.objects.filter(location_id=LOCATION_ID).exclude(uninstalled_at=None).exists()
    connection.close()
    return found


def _forget_the_last_check() -> None:
    """Whoever breaks something and goes back to the dashboard wants to see it at once."""
    recent = LocationCheck.objects.filter(checked_at__gt=timezone.now() - REUSE)
    recent.update(checked_at=F("checked_at") - REUSE)
    Location.objects.update(rest_until=None)
    connection.close()


def _world() -> World:
    """Every third of the people is known by id, the others by e-mail."""
    world = World()
    for number in range(PEOPLE + STRANGERS):
        person = FIRST_PERSON + number
        by_id = number % 3 == 0 and number < PEOPLE
        fields = [{"id": PERSON_FIELD, "value": str(person)}] if by_id else []
        world.add(email=email(person), customFields=fields)
    for number in range(1, 1 + DOUBLES):
        world.add(email=email(FIRST_PERSON + number), customFields=[])
    return world


def _earlier(run: SyncRun, hours: int) -> SyncRun:
    """The same run, so many hours ago."""
    age = dt.timedelta(hours=hours)
    past = SyncRun.objects.get(pk=run.pk)
    past.pk = None
    past.created = past.updated = 0
    past.started_at -= age
    past.heartbeat_at -= age
    assert past.finished_at is not None
    past.finished_at -= age
    return past
