"""What helps, and what people are told of a state who are not looking at the card."""

import datetime as dt

from integrations import deliveries, times
from integrations.base import Explanation
from integrations.deliveries import Traffic
from integrations.explanations import card_url, set_up_url, unexplained
from integrations.jane import words
from integrations.jane.figures import SLUG
from integrations.jane.judgement import suspect
from integrations.jane.silence import State
from integrations.jane.webhook import SNAPSHOT
from integrations.registry import all_integrations


def explain(name: str, state: str, *, since: dt.datetime, now: dt.datetime) -> Explanation:
    """The words of a state that began `since`, and for a silence what the others have seen."""
    wording = words.WORDS.get(state)
    if wording is None:
        return unexplained(name, state, since=since, now=now, fix_url=card_url(SLUG))
    traffic = deliveries.traffic(SLUG, now, SNAPSHOT)
    next_step, who_acts = wording.next_step, wording.who_acts
    if state in {State.LATE, State.STALE}:
        next_step, who_acts = alarm_help(traffic, now)
    last = times.at_moment(traffic.good_at, now) if traffic.good_at else "some time ago"
    return Explanation(
        title=wording.title,
        impact=wording.impact.format(last=last, since=f"since {times.moment(since, now)}"),
        next_step=next_step,
        fix_url=set_up_url(SLUG) if who_acts == "administrator" else card_url(SLUG),
    )


def alarm_help(traffic: Traffic, now: dt.datetime) -> tuple[str, str]:
    """What helps against a silence, and who does it: by what came instead of deliveries, or by
    what the other integrations saw.
    """
    if traffic.auth_failing or traffic.parse_failing:
        cause = words.WORDS["auth_failing" if traffic.auth_failing else "parse_failing"]
        return f"{cause.title}. {cause.next_step}", cause.who_acts
    if traffic.good_at is None:
        return words.NO_WITNESS.next_step, words.NO_WITNESS.who_acts
    movements = {
        other.name: other.last_movement(now)
        for slug, other in all_integrations().items()
        if slug != SLUG
    }
    found, witness = suspect(traffic.good_at, movements)
    return found.next_step.format(witness=witness), found.who_acts
