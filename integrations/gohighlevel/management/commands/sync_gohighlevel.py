"""Pull all contacts from GoHighLevel, map them, record the run; answer as a monitoring plugin."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error as AnyDatabaseError
from django.utils import timezone

from integrations.gohighlevel.calls import TakenOver
from integrations.gohighlevel.mapping import Counts
from integrations.gohighlevel.models import Result
from integrations.gohighlevel.set_up import missing_settings, problem_with_settings
from integrations.gohighlevel.states import State, title
from integrations.gohighlevel.sync import Outcome, RunningAlready, synchronize
from integrations.levels import Level
from integrations.runs import WorkNotDone


class Command(BaseCommand):
    help = (
        "Pulls all contacts from GoHighLevel and maps them to Jane's persons. "
        "Exit code: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."
    )

    pause: Callable[[float], None] = staticmethod(time.sleep)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quiet", action="store_true", help="print only what is not OK")

    def handle(self, *args: Any, **options: Any) -> None:
        missing = missing_settings()
        if missing and options["quiet"]:
            sys.exit(Level.UNKNOWN.exit_code)  # cron runs this whether or not it is set up
        # Cron mails whatever is printed: progress is for a person who watches.
        watched = options["verbosity"] > 1 or (self.stdout.isatty() and not options["quiet"])
        try:
            level, text = self._sync(missing, watched)
        except AnyDatabaseError:
            self.stdout.write("GOHIGHLEVEL UNKNOWN - the monitor's database does not answer")
            raise WorkNotDone(Level.UNKNOWN.exit_code) from None
        if level is not Level.HEALTHY or not options["quiet"]:
            self.stdout.write(f"GOHIGHLEVEL {level.plugin_word} - {text}")
        sys.exit(level.exit_code)

    def _sync(self, missing: list[str], watched: bool) -> tuple[Level, str]:
        if missing:
            return Level.UNKNOWN, f"not set up: {' and '.join(missing)} missing"
        if problem := problem_with_settings():
            return Level.UNKNOWN, f"not set up: {problem}"
        tell = self.stdout.write if watched else _silent
        try:
            outcome = synchronize(
                settings.GOHIGHLEVEL_LOCATION_ID, timezone.now(), pause=self.pause, tell=tell
            )
        except RunningAlready:
            return Level.HEALTHY, "a sync is running already"
        except TakenOver:
            return Level.WARNING, "another process took this run over and goes on with it"
        return _told(outcome)


def _silent(text: str) -> None:
    pass


def _told(outcome: Outcome) -> tuple[Level, str]:
    if outcome.counts is None:
        return State(outcome.state).level, f"{title(outcome.state)}: {outcome.why}"
    text = _counted(outcome.counts)
    if outcome.result == Result.PARTIAL:
        return Level.WARNING, f"{outcome.why}; {text}"
    return Level.HEALTHY, text


def _counted(counts: Counts) -> str:
    names = ("contacts", "mapped", "unmatched", "ambiguous")
    figures = {name: getattr(counts, name) for name in names}
    words = ", ".join(f"{figure:,} {name}" for name, figure in figures.items())
    return f"{words} | {' '.join(f'{name}={figure}' for name, figure in figures.items())}"
