"""What a vendor's folder brings to the demo: a stand-in, a past, and buttons that break things.

The demo runs the product against stand-ins on this machine. Nothing here runs in production.
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from django.conf import settings
from django.utils.module_loading import import_string

# The invented people: whichever stand-in speaks of one means the same as the others.
PEOPLE = 220
FIRST_PERSON = 4_000_001


def email(person: int) -> str:
    """Of a domain that is reserved for examples (RFC 2606), and with the word by which the tests
    find out who keeps an address."""
    return f"Marker.{person}@patients.example"


@dataclass(frozen=True, kw_only=True)
class Button:
    """A button of the control page. `press` does what the label says."""

    label: str
    hint: str
    press: Callable[[], None]


class DemoPart(ABC):
    """One vendor in the demo. Made once in the process that holds the stand-ins."""

    title: ClassVar[str]

    @staticmethod
    @abstractmethod
    def settings(site: str, port: int) -> dict[str, str]:
        """The environment of the demo: the vendor's settings lead to this very part.

        `site` is the product's address, `port` a free one for the stand-in.
        """

    @abstractmethod
    def seed(self, now: dt.datetime) -> None:
        """Write the past into the demo's new database."""

    @abstractmethod
    def at_work(self) -> AbstractContextManager[None]:
        """The stand-in is there until the block ends; the product is, too."""

    @abstractmethod
    def state(self) -> str:
        """What is broken at the moment, in a sentence; empty: nothing."""

    @abstractmethod
    def buttons(self) -> Mapping[str, Button]:
        """By the names that the control page's form sends."""


def part_classes() -> dict[str, type[DemoPart]]:
    """The parts of all integrations that bring one, by slug."""
    found = {}
    for path in settings.INTEGRATIONS:
        integration = import_string(path)
        if integration.demo:
            found[integration.slug] = import_string(integration.demo)
    return found
