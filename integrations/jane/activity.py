"""When a membership is active. Pure.

Its status says so and its end, if given, has not passed in the clinic's zone; or no status is
given and its end lies ahead. A status that is in neither list below is kept as it came, and the
membership counts as unknown: never as active.
"""

import datetime as dt

UNKNOWN = "unknown"  # no status was given
REMOVED = "removed"  # ours: it vanished from a newer list


def _as_written(words: str) -> frozenset[str]:
    """Words with a comma between; those of several words also with a hyphen or an underscore."""
    known = [" ".join(word.split()) for word in words.split(",")]
    return frozenset(word.replace(" ", join) for word in known for join in " -_")


ACTIVE_WORDS = _as_written(
    "active, current, enabled, in good standing, live, ongoing, renewed, valid"
)
INACTIVE_WORDS = _as_written(
    "archived, canceled, cancelled, closed, completed, deactivated, deleted, disabled, ended, "
    "expired, finished, frozen, inactive, lapsed, none, not active, not started, on hold, paused, "
    f"pending, refunded, {REMOVED}, scheduled, suspended, terminated, upcoming, void, voided"
)


def is_active(status: str, ends_on: dt.date | None, today: dt.date) -> bool:
    """`today` is the clinic's; a membership that ends today is still active."""
    if ends_on is not None and ends_on < today:
        return False
    return status in ACTIVE_WORDS or (status == UNKNOWN and ends_on is not None)


def is_unknown(status: str, ends_on: dt.date | None, today: dt.date) -> bool:
    """Nothing tells whether it is active. What has a known end in the past has ended."""
    if ends_on is not None and ends_on < today:
        return False
    if status == UNKNOWN:
        return ends_on is None
    return status not in ACTIVE_WORDS and status not in INACTIVE_WORDS
