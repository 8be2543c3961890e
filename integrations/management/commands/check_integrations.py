"""Assess all integrations and write their status down."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error as AnyDatabaseError
from django.utils import timezone

from integrations.base import Assessment
from integrations.levels import Level, worst
from integrations.registry import assess_all
from integrations.status import commit, forget


class Command(BaseCommand):
    help = "Assesses all integrations. Exit: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quiet", action="store_true", help="print nothing, for cron")

    def handle(self, *args: Any, quiet: bool, **options: Any) -> None:
        now = timezone.now()
        try:
            found = assess_all(now)
            for assessment in found:
                if _is_of_an_account(assessment):
                    commit(
                        integration=assessment.integration,
                        account=assessment.account,
                        name=assessment.name,
                        level=assessment.level,
                        state=assessment.state,
                        needs_person=assessment.needs_a_person,
                        checked_at=assessment.judged_at or assessment.checked_at or now,
                        since=assessment.since,
                    )
                if assessment.account:
                    # Written while there was no account yet.
                    forget(assessment.integration, "")
        except AnyDatabaseError:
            self.stdout.write("INTEGRATIONS UNKNOWN - the monitor's database does not answer")
            sys.exit(Level.UNKNOWN.exit_code)
        for assessment in [] if quiet else found:
            word = assessment.level.plugin_word
            self.stdout.write(f"{assessment.name}: {word} - {assessment.title}")
        # What was never set up does not alarm anybody.
        set_up = [a.level for a in found if a.state != "not_configured"]
        sys.exit(worst(set_up).exit_code)


def _is_of_an_account(assessment: Assessment) -> bool:
    """False where it only says that there is none yet, for nobody would ever take that back."""
    nameless = not assessment.account and assessment.level is Level.UNKNOWN
    return not nameless or assessment.state == "not_configured"
