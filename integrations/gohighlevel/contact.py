"""What is read of a contact: ids, a hash, a time. The same for a page of the API and a webhook."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from integrations.gohighlevel.models import ID_LENGTH
from integrations.matching import email_hash

# Milliseconds since 1970 lie above, seconds below.
_MILLISECONDS = 100_000_000_000


@dataclass(frozen=True, kw_only=True)
class Contact:
    """`external_id`, `email_hash`: None where the message says nothing about them."""

    id: str
    external_id: str | None
    email_hash: str | None
    updated_at: dt.datetime | None


def read_contact(record: Mapping[str, Any]) -> Contact | None:
    """None without a usable id."""
    found = identifier(record.get("id"))
    if not found:
        return None
    address = record.get("email")
    return Contact(
        id=found,
        external_id=_person(record),
        email_hash=email_hash(address) if "email" in record else None,
        updated_at=moment(record.get("dateUpdated")),
    )


def identifier(value: Any) -> str:
    """An id as text; empty for what cannot be one, or could not be stored."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if not isinstance(value, str):
        return ""
    text = value.strip()
    # Not clipped: two ids that begin alike are not the same. Printable leaves out NUL and
    # lone surrogates, which PostgreSQL does not take.
    return text if len(text) <= ID_LENGTH and text.isprintable() else ""


def moment(value: Any) -> dt.datetime | None:
    """A time from ISO text or from seconds or milliseconds since 1970; None for anything else."""
    if isinstance(value, str) and value.strip().isdecimal() and value.isascii():
        value = int(value) if len(value) < 20 else None
    try:
        if isinstance(value, str):
            found = dt.datetime.fromisoformat(value.strip())
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) > _MILLISECONDS else value
            found = dt.datetime.fromtimestamp(seconds, dt.UTC)
        else:
            return None
        found = found.replace(tzinfo=found.tzinfo or dt.UTC).astimezone(dt.UTC)
    except (ValueError, OverflowError, OSError):
        return None
    # A time far from any contact's life is a mistake, and arithmetic with it may overflow.
    return found if 1990 <= found.year <= 2100 else None


def _person(record: Mapping[str, Any]) -> str | None:
    """The value of the custom field that holds the Jane person's id."""
    wanted = settings.GOHIGHLEVEL_PERSON_FIELD
    if not wanted:
        return None
    fields = record.get("customFields")
    if isinstance(fields, Mapping):
        return identifier(fields.get(wanted))
    if isinstance(fields, list):
        for field in fields:
            if isinstance(field, Mapping) and field.get("id") == wanted:
                values = (field.get(key) for key in ("value", "fieldValue", "field_value"))
                return identifier(next((value for value in values if value is not None), None))
        return ""
    return None
