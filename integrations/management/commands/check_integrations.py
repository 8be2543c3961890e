"""Assess all integrations and write their status down."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error as AnyDatabaseError
from django.utils import timezone

from integrations.base import Assessment
from integrations.levels import Level, worst
from integrations.outages import correlate
from integrations.registry import all_integrations, assess_all
from integrations.runs import WorkNotDone
from integrations.status import commit, evidence_of, forget


class Command(BaseCommand):
    help = (
        "Assesses all integrations, opens and closes incidents, queues alerts. "
        "Exit: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--quiet", action="store_true", help="print nothing, for cron")

    def handle(self, *args: Any, quiet: bool, **options: Any) -> None:
        now = timezone.now()
        try:
            found = assess_all(now)
            for assessment in found:
                if _is_of_an_account(assessment):
                    # Whatever is committed with each check was counted then.
                    mine = all_integrations()[assessment.integration].commits_its_checks
                    commit(evidence_of(assessment, now, scheduled=not mine))
                if assessment.account:
                    # Written while there was no account yet.
                    forget(assessment.integration, "")
            correlate(now)
        except AnyDatabaseError:
            self.stdout.write("INTEGRATIONS UNKNOWN - the monitor's database does not answer")
            raise WorkNotDone(Level.UNKNOWN.exit_code) from None
        for assessment in [] if quiet else found:
            word = assessment.level.plugin_word
            self.stdout.write(f"{assessment.name}: {word} - {assessment.title}")
        # What was never set up does not alarm anybody.
        set_up = [a.level for a in found if a.state != "not_configured"]
        sys.exit(worst(set_up).exit_code)


def _is_of_an_account(assessment: Assessment) -> bool:
    """False where it only says that there is none yet, for nobody would ever take that back; and
    where nothing is known yet: of a company whose reconnection is just being made sure of.
    """
    unknown = assessment.level is Level.UNKNOWN
    nameless = unknown and not assessment.account
    unseen = unknown and assessment.checked_at is None and assessment.judged_at is None
    return not (nameless or unseen) or assessment.state == "not_configured"
