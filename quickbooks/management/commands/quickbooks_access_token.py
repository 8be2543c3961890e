"""A valid access token for another program of the clinic, so that none refreshes on its own."""

import re
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as AnyDatabaseError
from django.utils import timezone

from quickbooks import tokens, words
from quickbooks.models import REALM_PATTERN, OAuthToken


class Command(BaseCommand):
    help = "Prints a valid access token, refreshed by the one refresher if need be."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("realm", metavar="REALM")

    def handle(self, *args: Any, **options: Any) -> None:
        realm_id = options["realm"]
        if not re.fullmatch(REALM_PATTERN, realm_id):
            raise CommandError("A company id is made of digits.", returncode=3)
        try:
            access = tokens.obtain_access(
                realm_id,
                now=timezone.now(),
                trigger="token",
                patience=settings.QUICKBOOKS_DEADLINE_SECONDS,
            )
        except OAuthToken.DoesNotExist:
            raise CommandError(f"No company {realm_id} is connected.", returncode=3) from None
        except tokens.NoAccess as error:
            code = error.diagnosis.code
            raise CommandError(words.WORDS[code].title, returncode=code.level.exit_code) from None
        except tokens.RenewalPending as pending:
            raise CommandError(
                f"A renewal is unfinished until {pending.until}.", returncode=1
            ) from None
        except AnyDatabaseError:
            raise CommandError("The database does not answer.", returncode=3) from None
        self.stdout.write(access.token)
