"""How bad is it: four levels, and everything that hangs on a level alone."""

from enum import StrEnum


class Level(StrEnum):
    """A status. Each level owns its word, its icon and its exit code for monitoring plugins.

    Colours live in the style sheet under the level's value; an icon and a word always stand
    beside them, because a colour alone says nothing to many people.
    """

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"

    @property
    def label(self) -> str:
        return {
            Level.HEALTHY: "Working",
            Level.WARNING: "Needs a look",
            Level.CRITICAL: "Not working",
            Level.UNKNOWN: "Not known",
        }[self]

    @property
    def icon(self) -> str:
        return {
            Level.HEALTHY: "✔",
            Level.WARNING: "▲",
            Level.CRITICAL: "✖",
            Level.UNKNOWN: "○",
        }[self]

    @property
    def exit_code(self) -> int:
        """https://www.monitoring-plugins.org/doc/guidelines.html#AEN78"""
        return {Level.HEALTHY: 0, Level.WARNING: 1, Level.CRITICAL: 2, Level.UNKNOWN: 3}[self]

    @property
    def plugin_word(self) -> str:
        return {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN"}[self.exit_code]

    @property
    def severity(self) -> int:
        """For sorting and for "the worst wins": critical, warning, unknown, healthy."""
        return {Level.CRITICAL: 3, Level.WARNING: 2, Level.UNKNOWN: 1, Level.HEALTHY: 0}[self]


def worst(levels: list[Level]) -> Level:
    """The worst of them; unknown of none."""
    return max(levels, key=lambda level: level.severity, default=Level.UNKNOWN)
