"""From what is stored to a state of the contract; pure."""

import datetime as dt
from dataclasses import dataclass

from integrations.gohighlevel.figures import Known
from integrations.gohighlevel.models import Result
from integrations.gohighlevel.states import OK, State

# The sync runs every hour; two of them may fail before anybody is told.
LATE = dt.timedelta(hours=3)


@dataclass(frozen=True)
class Judgement:
    """`since`: when this spell of trouble or of health began; None where nobody noted that."""

    state: State
    since: dt.datetime | None


def judge(known: Known, now: dt.datetime) -> Judgement:
    """The worst that is known to hold now.

    A probe that succeeded since overrules a run that failed for want of a valid token or of an
    answer, or in its own probe. It says nothing about a scope that is missing for the search,
    nor about calls that are used up.
    """
    if known.uninstalled_at:
        return Judgement(State.UNINSTALLED, known.uninstalled_at)
    check, ended, completed = known.check, known.ended, known.completed
    if check and check.state != OK:
        return Judgement(State(check.state), check.failing_since)
    if ended and ended.result == Result.FAILED and ended.state in set(State):
        state = State(ended.state)
        overruled = state in {State.TOKEN_REJECTED, State.UNAVAILABLE} or (
            state is State.WRONG_LOCATION and ended.in_probe
        )
        if not (overruled and known.last_ok_at and known.last_ok_at > ended.at):
            return Judgement(state, ended.at)
    if completed is None:
        return Judgement(State.NEVER_SYNCED, known.first_at)
    if now - completed.at > LATE:
        return Judgement(State.LATE, completed.at)
    return Judgement(State.IN_STEP, known.healthy_since)
