"""What an alert says that is about no incident: kept in `Alert.facts`, as it is to be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All in plain text. `lines`: details, one a line; `url`: the one page that helps."""

    subject: str
    title: str
    impact: str
    next_step: str
    url: str
    lines: Sequence[str] = ()

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Facts":
        """Raises `TypeError` for one too few or too many."""
        return cls(**stored)
