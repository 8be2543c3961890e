"""After a new key was put first in TOKEN_ENCRYPTION_KEYS: encrypt everything with it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from integrations.crypto import EncryptionError
from quickbooks import grants


class Command(BaseCommand):
    help = "Encrypts every stored token with the first key of TOKEN_ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            changed = grants.rotate_keys()
        except EncryptionError as error:
            raise CommandError(f"Nothing is lost, but not all was rotated: {error}.") from None
        self.stdout.write(f"{changed} companies are encrypted with the first key.")
