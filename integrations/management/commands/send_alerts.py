"""Deliver the alerts that are due. What cron runs every minute."""

import datetime as dt
import logging
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error as AnyDatabaseError
from django.utils import timezone

from integrations.alerts.delivery import deliver
from integrations.alerts.forecasts import foresee
from integrations.alerts.recipients import seed
from integrations.alerts.reminders import remind
from integrations.alerts.watcher import watch
from integrations.levels import Level
from integrations.runs import WorkNotDone

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Sends the alerts that are due. Safe to run in two places at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quiet", action="store_true", help="print only what failed")

    def handle(self, *args: Any, quiet: bool, **options: Any) -> None:
        now = timezone.now()
        try:
            # Before anything happens, so that the admin has them and a test alert can be sent.
            seed()
            for queue in (watch, foresee, remind):
                _whatever_happens(queue, now)
            tally = deliver(now)
        except AnyDatabaseError:
            self.stdout.write("ALERTS UNKNOWN - the monitor's database does not answer")
            raise WorkNotDone(Level.UNKNOWN.exit_code) from None
        if tally.failed or not quiet:
            self.stdout.write(f"Alerts: {tally}")


def _whatever_happens(queue: Callable[[dt.datetime], int], now: dt.datetime) -> None:
    """A fault in what is still to be queued must not keep back what is queued already."""
    try:
        queue(now)
    except AnyDatabaseError:
        raise
    except Exception:
        logger.exception("%s broke off", queue.__name__)
