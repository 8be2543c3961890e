"""What a message says, in plain words, before it becomes text and HTML.

The subject and the first line have to say it all: more is not seen on a lock screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.conf import settings
from django.utils.text import Truncator

from integrations.addresses import address
from integrations.levels import Level
from integrations.models import Incident
from integrations.registry import get_integration

# A lock screen shows a line or two of a subject, and what is wrong has to be on it.
_NAME_AT_MOST = 40


class Link(NamedTuple):
    label: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Letter:
    """`about`: whom it concerns; `when`: since when and for how long. `button`: the one link
    that matters, `links` the quieter ones below it. `lines` stand under `lines_title`.
    """

    subject: str
    level: Level
    about: str
    title: str
    when: str = ""
    paragraphs: Sequence[str] = ()
    next_step: str
    button: Link
    lines_title: str = ""
    lines: Sequence[str] = ()
    links: Sequence[Link] = ()
    reference: str = ""

    @property
    def first_line(self) -> str:
        told = named(self.about, self.title)
        return f"{told}. {self.when}." if self.when else f"{told}."

    @property
    def asks_for_something(self) -> bool:
        return not self.next_step.startswith("Nothing to do")


def named(name: str, title: str) -> str:
    return title if not name or title.startswith(name) else f"{name}: {title}"


def in_short(name: str) -> str:
    """A name as subjects have it; the message itself has all of it."""
    return Truncator(" ".join(name.split())).chars(_NAME_AT_MOST)


def thing_of(incident: Incident) -> str:
    integration = get_integration(incident.integration)
    return integration.name if integration else incident.name


def page_of(incident: Incident) -> str:
    return settings.SITE_URL + address("integrations:incident", str(incident.pk))


def dashboard() -> str:
    return settings.SITE_URL + address("dashboard:index")
