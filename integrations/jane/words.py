"""What people read about Jane: for a clinic manager who is not technical.

Jane keeps everything that it has; what can be missing is what arrives here.
"""

import datetime as dt
from dataclasses import dataclass

from integrations.levels import Level

_SAFE = "Nothing in Jane is lost, and QuickBooks is watched separately."


@dataclass(frozen=True, kw_only=True)
class Words:
    """The texts of one state, with `{…}` for what only the moment knows."""

    level: Level
    headline: str
    title: str
    impact: str
    next_step: str
    who_acts: str


WORDS: dict[str, Words] = {
    "arriving": Words(
        level=Level.HEALTHY,
        headline="Arriving",
        title="Jane's memberships are arriving",
        impact="ClinicSync last delivered {last}. What changes in Jane shows here within the hour.",
        next_step="Nothing to do.",
        who_acts="nobody",
    ),
    "quiet_closed": Words(
        level=Level.HEALTHY,
        headline="Quiet: the clinic is closed",
        title="Jane is quiet: the clinic is closed",
        impact="ClinicSync last delivered {last}. Quiet is normal outside of opening hours.",
        next_step="Nothing to do.",
        who_acts="nobody",
    ),
    "just_opened": Words(
        level=Level.HEALTHY,
        headline="Quiet: the clinic has just opened",
        title="Jane is quiet: the clinic has just opened",
        impact="ClinicSync last delivered {last}. A day's first delivery can take an hour.",
        next_step="Nothing to do.",
        who_acts="nobody",
    ),
    "late": Words(
        level=Level.WARNING,
        headline="Late: nothing for {silence} of opening time",
        title="Jane's memberships are late",
        impact="ClinicSync last delivered {last}. Memberships that were sold or changed since "
        f"then may be missing here. {_SAFE}",
        next_step="",  # depends on what other integrations saw
        who_acts="",
    ),
    "stale": Words(
        level=Level.CRITICAL,
        headline="Stale: nothing for {silence} of opening time",
        title="Jane's memberships have stopped arriving",
        impact="ClinicSync last delivered {last}. Memberships that were sold or changed since "
        f"then are missing here. {_SAFE}",
        next_step="",
        who_acts="",
    ),
    "never_seen": Words(
        level=Level.WARNING,
        headline="Waiting for the first delivery",
        title="ClinicSync has not delivered anything yet",
        impact="Memberships are not watched until it does. "
        "Nothing in Jane or QuickBooks is affected.",
        next_step="Ask your IT person to enter our address and key in ClinicSync; "
        "the set-up page has both, and can send a test.",
        who_acts="administrator",
    ),
    "parse_failing": Words(
        level=Level.WARNING,
        headline="Arriving, but not understood",
        title="We don't understand what ClinicSync delivers",
        impact="New memberships may be missing here {since}. "
        f"ClinicSync may have changed its data. {_SAFE}",
        next_step="Ask your IT person to look at the details below, "
        "and to show them to whoever maintains this monitor.",
        who_acts="administrator",
    ),
    "auth_failing": Words(
        level=Level.WARNING,
        headline="Deliveries are refused",
        title="Deliveries from ClinicSync are refused",
        impact="They come without the right key, so new memberships may be missing here {since}. "
        f"{_SAFE}",
        next_step="Ask your IT person to compare the key in ClinicSync with the one that is "
        "set up here.",
        who_acts="administrator",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """Where the fault of a silence most likely is, and what to do about it."""

    next_step: str
    who_acts: str


REGISTRATION = Suspect(
    next_step="{witness} has moved since then, so our registration at ClinicSync is suspect. "
    "Ask your IT person to compare address and key there with our set-up page.",
    who_acts="administrator",
)
VENDOR = Suspect(
    next_step="Nothing has moved in {witness} either, so ClinicSync or Jane is silent. Nothing has "
    "to be changed here; if it lasts, ClinicSync's support can say more.",
    who_acts="vendor",
)
NO_WITNESS = Suspect(
    next_step="Ask your IT person to look in ClinicSync whether it still delivers to us. If it "
    "does, compare address and key with our set-up page; if not, its support has to act.",
    who_acts="administrator",
)


def duration(length: dt.timedelta) -> str:
    """ "2 h 10 min"."""
    hours, minutes = divmod(int(length.total_seconds()) // 60, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes or not hours else ""]
    return " ".join(filter(None, parts))


def count(number: int, one: str) -> str:
    """ "1 delivery", "1,204 deliveries"."""
    many = f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    return f"{number:,} {one if number == 1 else many}"
