"""How two systems find that they mean the same person without either's address being kept."""

import hmac
import unicodedata
from typing import Any

from django.conf import settings


def email_hash(address: Any) -> str:
    """A keyed hash of an e-mail address; empty without `MATCHING_KEY` or without an address.

    Still personal data: it serves to recognise a person, and whoever has the key can test
    addresses against it. So the key is one of its own, and without it nothing is made.
    """
    key: str = settings.MATCHING_KEY
    if not key or not isinstance(address, str):
        return ""
    normalised = unicodedata.normalize("NFKC", address).strip().casefold()
    name, _, domain = normalised.rpartition("@")
    if not name or not domain:
        return ""
    return hmac.digest(key.encode(), normalised.encode("utf-8", "replace"), "sha256").hex()
