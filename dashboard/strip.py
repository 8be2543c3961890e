"""The last 24 hours as a strip: one small SVG and the same in words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from django.utils.html import format_html
from django.utils.safestring import SafeString

from integrations.base import Cell
from integrations.levels import Level
from integrations.times import clock

PITCH = 10  # units of the drawing from one slice to the next; widths and heights are in site.css


@dataclass(frozen=True, kw_only=True)
class Strip:
    """`drawing` is hidden from screen readers, which get `words` instead."""

    drawing: SafeString
    words: str


def draw(cells: Sequence[Cell], *, told: bool = False) -> Strip | None:
    """None where there is nothing to draw. `told`: each slice says its time and what it was.

    Each level has a height of its own as well as a colour, so that the strip can be read
    without colours and in print.
    """
    if not cells:
        return None
    slices = [_slice(cell.level, position) for position, cell in enumerate(cells)]
    if told:
        slices = [
            format_html("<g><title>{}: {}</title>{}</g>", clock(cell.starts_at), cell.label, drawn)
            for cell, drawn in zip(cells, slices, strict=True)
        ]
    drawing = format_html(
        '<svg class="strip" viewBox="0 0 {} 20" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>",
        PITCH * len(cells),
        SafeString("".join(slices)),
    )
    return Strip(drawing=drawing, words=_in_words(cells))


@cache
def _slice(level: Level | None, position: int) -> SafeString:
    """Kept for the next strip: there are few of them, and every card is made of them."""
    return format_html('<rect class="{}" x="{}"/>', level or "gap", PITCH * position)


def _in_words(cells: Sequence[Cell]) -> str:
    counts = Counter(cell.level for cell in cells)
    order = (Level.CRITICAL, Level.WARNING, Level.UNKNOWN, Level.HEALTHY)
    parts = [f"{counts[level]} {level.label.lower()}" for level in order if counts[level]]
    if counts[None]:
        parts.append(f"{counts[None]} not checked")
    return f"The last 24 hours in {len(cells)} slices: {', '.join(parts)}."
