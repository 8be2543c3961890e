"""What people who are not looking at the card are told of a state."""

import datetime as dt

from integrations import times
from integrations.base import Explanation
from integrations.explanations import card_url, set_up_url, unexplained
from integrations.gohighlevel.states import WORDS, State

SLUG = "gohighlevel"


def explain(name: str, state: str, *, since: dt.datetime, now: dt.datetime) -> Explanation:
    """The words of a state that began `since`. Asks nobody, not even the database."""
    if state not in set(State):
        return unexplained(name, state, since=since, now=now, fix_url=card_url(SLUG))
    known = State(state)
    words = WORDS[known]
    return Explanation(
        title=words.title,
        impact=words.impact.format(since=times.since_when(since, now)),
        next_step=words.next_step,
        fix_url=set_up_url(SLUG) if known.who_acts == "administrator" else card_url(SLUG),
    )
