"""From rows of the outbox to a message: the text and the HTML of a letter, and its headers."""

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError
from django.template.loader import render_to_string

from integrations.alerts.channels import Message
from integrations.alerts.digests import NAMED
from integrations.alerts.letters import Letter
from integrations.alerts.writing import bare, write
from integrations.models import Alert

logger = logging.getLogger(__name__)


def compose(rows: Sequence[Alert], now: dt.datetime) -> Message:
    """The message of these rows: one recipient, one kind, all claimed under one `message_id`.

    `incident` and `recipient` of each row should be fetched already.
    """
    try:
        letter = write(rows, now)
    except DatabaseError:
        raise
    except Exception:
        # The words come from the vendors' folders. An alert without them beats none.
        logger.exception("There are no words for alert %s", rows[0].pk)
        letter = bare(rows, now)
    letter = _cleaned(letter)
    context = {
        "letter": letter,
        "recipient": rows[0].recipient,
        "site": settings.SITE_URL,
    }
    return Message(
        subject=letter.subject,
        text=render_to_string("alerts/mail.txt", context),
        html=render_to_string("alerts/mail.html", context),
        headers=_headers(rows),
    )


def message_id(alert_id: int, queued_at: dt.datetime) -> str:
    """The same for every attempt at the same alert, so that a repeated one can be recognised.

    The time tells two databases apart that count from one.
    """
    return f"<alert.{alert_id}.{queued_at:%Y%m%d%H%M%S}@{_host()}>"


def digest_id(owner: str) -> str:
    """For several alerts in one message."""
    return f"<digest.{owner}@{_host()}>"


def _host() -> str:
    return urlsplit(settings.SITE_URL).hostname or "localhost"


def _headers(rows: Sequence[Alert]) -> dict[str, str]:
    first = rows[0]
    headers = {
        "Message-ID": first.message_id,
        "X-Alert-Kind": first.kind,
        "Auto-Submitted": "auto-generated",  # RFC 3834: no holiday reply, please
    }
    incidents = list(dict.fromkeys(row.incident_id for row in rows if row.incident_id))
    if incidents:
        headers["X-Incident"] = ", ".join(map(str, incidents[:NAMED]))
    if roots := _roots(rows):
        headers["In-Reply-To"] = roots[0]
        headers["References"] = " ".join(roots)
    return headers


def _roots(rows: Sequence[Alert]) -> list[str]:
    """The first messages that this recipient had of these incidents: their threads."""
    if rows[0].kind not in {Alert.Kind.REMINDER, Alert.Kind.RECOVERED}:
        return []
    opened = Alert.objects.filter(
        recipient=rows[0].recipient_id,
        incident__in=[row.incident_id for row in rows],
        kind=Alert.Kind.OPENED,
        state=Alert.State.SENT,
    )
    return list(opened.order_by().values_list("message_id", flat=True).distinct()[:NAMED])


def _cleaned(letter: Letter) -> Letter:
    """Names come from elsewhere: a line stays a line, and nothing turns the text around."""
    return replace(
        letter,
        subject=_line(letter.subject),
        about=_line(letter.about),
        title=_line(letter.title),
        when=_line(letter.when),
        next_step=_line(letter.next_step),
        paragraphs=[_line(text) for text in letter.paragraphs],
        lines=[_line(text) for text in letter.lines],
        reference=_line(letter.reference),
    )


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
