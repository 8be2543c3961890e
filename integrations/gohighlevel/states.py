"""The states of the contract: how bad each is, who acts, and what people read about it.

For a clinic manager who is not technical. `{since}` is filled in when that is known.
"""

from dataclasses import dataclass
from enum import StrEnum

from integrations.levels import Level

# What a check or a run has in the place of a state when nothing was wrong.
OK = "ok"


class State(StrEnum):
    """Why the card looks as it does; the values are part of the contract."""

    IN_STEP = "in_step"
    NEVER_SYNCED = "never_synced"
    LATE = "late"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    TOKEN_REJECTED = "token_rejected"  # noqa: S105
    WRONG_LOCATION = "wrong_location"
    UNINSTALLED = "uninstalled"

    @property
    def level(self) -> Level:
        if self is State.IN_STEP:
            return Level.HEALTHY
        return Level.CRITICAL if self in _CRITICAL else Level.WARNING

    @property
    def who_acts(self) -> str:
        if self in {State.IN_STEP, State.THROTTLED}:
            return "nobody"
        return "vendor" if self is State.UNAVAILABLE else "administrator"

    @property
    def transient(self) -> bool:
        """It may be over in a moment, and asking again does no harm."""
        return self in {State.THROTTLED, State.UNAVAILABLE}


_CRITICAL = {State.TOKEN_REJECTED, State.WRONG_LOCATION, State.UNINSTALLED}
# What a check or a run can end with, for the filters of the admin.
FAILURES = (State.THROTTLED, State.UNAVAILABLE, State.TOKEN_REJECTED, State.WRONG_LOCATION)


@dataclass(frozen=True, kw_only=True)
class Words:
    """The texts of one state."""

    headline: str
    title: str
    impact: str
    next_step: str


_SAFE = "Nothing in Jane, GoHighLevel or QuickBooks is affected."

WORDS: dict[State, Words] = {
    State.IN_STEP: Words(
        headline="In step",
        title="In step",
        impact="The contacts in GoHighLevel are known here and compared with Jane.",
        next_step="Nothing to do.",
    ),
    State.NEVER_SYNCED: Words(
        headline="Not synced yet",
        title="GoHighLevel hasn't been synced yet",
        impact=f"Its contacts have not been compared with Jane so far. {_SAFE}",
        next_step="The first sync starts by itself within the hour. If it does not, "
        "ask your IT person to check this server's schedule.",
    ),
    State.LATE: Words(
        headline="Not synced for {hours}",
        title="GoHighLevel hasn't been synced for a while",
        impact=f"Contacts may be a little out of date. {_SAFE}",
        next_step="Ask your IT person to check this server's schedule: the sync should run "
        "every hour.",
    ),
    State.THROTTLED: Words(
        headline="Asked to slow down",
        title="GoHighLevel asked us to slow down",
        impact=f"Contacts may be a little out of date. {_SAFE}",
        next_step="Nothing to do. The sync goes on by itself where it stopped.",
    ),
    State.UNAVAILABLE: Words(
        headline="GoHighLevel is having problems",
        title="GoHighLevel is having problems",
        impact=f"Contacts may be a little out of date. {_SAFE} "
        "The problem is at GoHighLevel or on the way there.",
        next_step="Nothing to do. We keep trying and go on by ourselves when it works.",
    ),
    State.TOKEN_REJECTED: Words(
        headline="Access refused",
        title="GoHighLevel doesn't accept our token",
        impact=f"Contacts have not been compared since {{since}}. {_SAFE}",
        next_step="Ask your IT person to make a new private integration token in GoHighLevel "
        "and enter it here. About ten minutes.",
    ),
    State.WRONG_LOCATION: Words(
        headline="Wrong location",
        title="GoHighLevel refuses us this location",
        impact=f"Contacts have not been compared since {{since}}. {_SAFE}",
        next_step="Ask your IT person to check the location id and what the token may read "
        "(its scopes). About ten minutes.",
    ),
    State.UNINSTALLED: Words(
        headline="Uninstalled",
        title="The app was uninstalled in GoHighLevel",
        impact=f"GoHighLevel has not told us about changes since {{since}}. {_SAFE}",
        next_step="If that was a mistake, ask your IT person to install the app again; that "
        "clears this by itself. If the app is not wanted any more, they can say so in the admin.",
    ),
}


def counted(contacts: int) -> str:
    """ "1 contact", "1,204 contacts"."""
    return f"{contacts:,} contact{'' if contacts == 1 else 's'}"


def title(code: str) -> str:
    """What people read for a state, or for the code of a check or a run."""
    if code == OK:
        return "OK"
    return WORDS[State(code)].title if code in set(State) else code
