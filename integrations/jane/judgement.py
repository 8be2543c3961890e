"""What is to be said about Jane now, from what is stored."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from integrations.base import Movement
from integrations.deliveries import Traffic
from integrations.hours import Hours
from integrations.jane import words
from integrations.jane.figures import Known
from integrations.jane.silence import Silence, State, judge_silence

# ClinicSync writes to everybody in one push; what moved elsewhere within it is no evidence.
ONE_PUSH = dt.timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """`state` is the contract's word. `wording` names the texts, which can be finer."""

    state: str
    wording: words.Words
    since: dt.datetime | None = None
    silence: Silence | None = None


def judge(traffic: Traffic, known: Known, now: dt.datetime, hours: Hours) -> Judgement:
    """A silence that is critical counts most, whatever causes it; then what keeps everything
    out, then what garbles it, then a silence that is young.
    """
    silence = judge_silence(traffic.good_at, now, hours) if traffic.good_at else None
    if silence is None or silence.state is not State.STALE:
        if traffic.auth_failing:
            return _told("auth_failing", since=known.refused_from)
        if traffic.parse_failing:
            return _told("parse_failing", since=known.unreadable_from)
    if silence is None:
        return _told("never_seen")
    wording = "just_opened" if silence.just_opened else silence.state
    return Judgement(
        state=silence.state.value,
        wording=words.WORDS[wording],
        since=silence.alarm_at or known.healthy_since,
        silence=silence,
    )


def _told(state: str, since: dt.datetime | None = None) -> Judgement:
    return Judgement(state=state, wording=words.WORDS[state], since=since)


def is_alarm(silence: Silence | None) -> bool:
    return silence is not None and silence.state in {State.LATE, State.STALE}


def suspect(
    last_at: dt.datetime, movements: Mapping[str, Movement | None]
) -> tuple[words.Suspect, str]:
    """Whose fault a silence most likely is, and the witness's name.

    `movements`: what other integrations can tell, by their names. Who has not looked since the
    silence began is no witness, and without any a person has to look.
    """
    since = last_at + ONE_PUSH
    seen = {
        name: movement
        for name, movement in movements.items()
        if movement and movement.watched_until and movement.watched_until > since
    }
    if not seen:
        return words.NO_WITNESS, ""
    moved = [name for name, movement in seen.items() if movement.at and movement.at > since]
    if moved:
        return words.REGISTRATION, moved[0]
    return words.VENDOR, " or ".join(seen)
