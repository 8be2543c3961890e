"""Probe every connected company, record it, and answer as a monitoring plugin does."""

import datetime as dt
import json
import re
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error as AnyDatabaseError
from django.utils import timezone

from integrations.levels import Level, worst
from integrations.outages import correlate
from integrations.runs import WorkNotDone
from quickbooks import pacing, plugin
from quickbooks.api import as_json
from quickbooks.integration import notice_of
from quickbooks.judgement import Judgement, judge, judge_nothing
from quickbooks.models import REALM_PATTERN, GrantState, OAuthToken
from quickbooks.probe import Outcome, UnknownCompany
from quickbooks.sweep import sweep


class Command(BaseCommand):
    help = (
        "Asks QuickBooks about every connected company. "
        "Exit code: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."
    )

    pause: Callable[[float], None] = staticmethod(time.sleep)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--realm", metavar="ID", help="only this company")
        parser.add_argument("--json", action="store_true", help="an array as in the API")
        parser.add_argument("--cached", action="store_true", help="judge what is stored")
        parser.add_argument(
            "--confirm", action="store_true", help="repeat a transient failure before reporting"
        )
        parser.add_argument("--quiet", action="store_true", help="print only what is not OK")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            level = self._check(timezone.now(), **options)
        except AnyDatabaseError:
            self._say("QUICKBOOKS UNKNOWN - the monitor's database does not answer")
            raise WorkNotDone(Level.UNKNOWN.exit_code) from None
        except UnknownCompany as error:
            self._say(f"QUICKBOOKS UNKNOWN - no company {error} was ever connected here")
            level = Level.UNKNOWN
        sys.exit(level.exit_code)

    def _check(
        self,
        now: dt.datetime,
        *,
        realm: str | None,
        cached: bool,
        confirm: bool,
        quiet: bool,
        **options: Any,
    ) -> Level:
        if realm is not None and not re.fullmatch(REALM_PATTERN, realm):
            self._say("QUICKBOOKS UNKNOWN - a company id is made of digits")
            return Level.UNKNOWN
        chosen = [realm] if realm else _connected()
        # The schedule spares healthy companies; a person who asks is answered.
        asked = pacing.due(chosen, now) if confirm and not (realm or cached) else chosen
        outcomes = {} if cached else sweep(asked, now, confirm=confirm, pause=self.pause)
        if not cached:
            now = timezone.now()  # the probes may have taken a while
            correlate(now)
        found = [judge_nothing()] if not chosen else _judge_all(chosen, outcomes, now)
        if realm and not found:
            raise UnknownCompany(realm)
        if cached:
            found = [plugin.as_cached(judgement, now) for judgement in found]
        shown = [j for j in found if not (quiet and j.level is Level.HEALTHY)]
        if options["json"]:
            self._say(json.dumps([as_json(j, _outcome(outcomes, j)) for j in shown]))
        else:
            self._print(shown, found, outcomes)
        level = worst([judgement.level for judgement in found])
        if not all(outcome.recorded for outcome in outcomes.values()):
            raise WorkNotDone(level.exit_code)
        return level

    def _print(
        self, shown: list[Judgement], found: list[Judgement], outcomes: dict[str, Outcome]
    ) -> None:
        if len(found) > 1 and shown:
            self._say(plugin.summary(found))
        for judgement in shown:
            text = plugin.line(judgement)
            outcome = _outcome(outcomes, judgement)
            if outcome and outcome.checking:
                text += " (another check is still under way; this is the last finished one)"
            elif outcome and (notice := notice_of(outcome)):
                text += f" ({notice})"
            # With several companies the data of each would have to follow all of the text.
            if len(found) == 1:
                text += f" | {plugin.performance(judgement)}"
            self._say(text)

    def _say(self, text: str) -> None:
        self.stdout.write(text)


def _connected() -> list[str]:
    rows = OAuthToken.objects.exclude(state__in=[GrantState.PENDING, GrantState.DISCONNECTED])
    found = list(rows.values_list("realm_id", flat=True))
    if found:
        return found
    # Nothing is connected: what was disconnected on purpose is what there is to report.
    rows = OAuthToken.objects.filter(state=GrantState.DISCONNECTED)
    return list(rows.values_list("realm_id", flat=True))


def _judge_all(
    realm_ids: list[str], outcomes: dict[str, Outcome], now: dt.datetime
) -> list[Judgement]:
    unsaved = [o for o in outcomes.values() if not o.recorded]
    found = {j.row.realm_id: j for j in judge(now, realm_ids) if j.row}
    for outcome in unsaved:
        found[outcome.realm_id] = judge(now, [outcome.realm_id], outcome.check)[0]
    return sorted(found.values(), key=lambda judgement: -judgement.level.severity)


def _outcome(outcomes: dict[str, Outcome], judgement: Judgement) -> Outcome | None:
    return outcomes.get(judgement.row.realm_id) if judgement.row else None
