"""Rescue files: new tokens that the database did not take, encrypted under `var/rescue/`.

Written and flushed to the disk before the commit is retried, read first by the next refresher.
"""

import datetime as dt
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from integrations.crypto import EncryptionError, Sealed, seal, unseal

logger = logging.getLogger(__name__)

_SEALED = ("access_token", "refresh_token")


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A pair of tokens on its way into the database. `values` are columns of `OAuthToken`."""

    realm_id: str
    generation: int
    journal_id: int
    outcome: str
    intuit_tid: str
    values: Mapping[str, Any]


def _path(realm_id: str, generation: int) -> Path:
    return Path(settings.VAR_DIR) / "rescue" / f"{realm_id}-{generation}.sealed"


def write(parcel: Parcel) -> None:
    """Put the parcel on the disk, durably. A disk that refuses is logged; the retries go on."""
    path = _path(parcel.realm_id, parcel.generation)
    document = {
        **parcel.__dict__,
        "values": {
            name: value.isoformat() if isinstance(value, dt.datetime) else value
            for name, value in parcel.values.items()
        },
        "times": [n for n, value in parcel.values.items() if isinstance(value, dt.datetime)],
    }
    text = seal(json.dumps(document), f"rescue:{parcel.realm_id}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        logger.critical(
            "No rescue file for company %s: %s. The new tokens exist in this process alone.",
            parcel.realm_id,
            error.strerror,
        )


def find(realm_id: str, generation: int) -> Parcel | None:
    """The parcel of an earlier refresh of this generation, if there is one that can be opened."""
    path = _path(realm_id, generation)
    try:
        document = json.loads(unseal(path.read_text(), f"rescue:{realm_id}"))
        values = document.pop("values")
        for name in document.pop("times"):
            values[name] = dt.datetime.fromisoformat(values[name])
        for name in _SEALED:
            values[name] = Sealed(values[name])
        return Parcel(**document, values=values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EncryptionError):
        logger.error("The rescue file of company %s cannot be read; it is left alone.", realm_id)
        return None


def discard(parcel: Parcel) -> None:
    """Forget a parcel that has arrived. One that stays is harmless: its generation is over."""
    try:
        _path(parcel.realm_id, parcel.generation).unlink(missing_ok=True)
    except OSError as error:
        logger.error(
            "The rescue files of company %s cannot be reached: %s.", parcel.realm_id, error.strerror
        )
