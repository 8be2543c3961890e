"""What the status and the open incident of an account add to what is assessed of it.

An assessment judges the newest evidence alone. Whether that is a blip or confirmed, a recovery
that has to be made sure of, one of several failures with one cause, paused, or somebody's
business already, stands in the status and on the incident.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from integrations import blast, sql, telling, times
from integrations.addresses import address
from integrations.base import Action, Assessment, Explanation
from integrations.levels import Level
from integrations.models import Incident
from integrations.outages import OFFLINE
from integrations.registry import get_integration
from integrations.silences import pause_url

FAILED = "The last check failed. Checking again."
RECOVERING = "Working again. Making sure."

Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is notable about an account's status."""

    raw_state: str
    failing_since: dt.datetime | None
    confirmed: bool
    recovering_since: dt.datetime | None
    paused_until: dt.datetime | None
    pause_reason: str


def stand(assessments: Sequence[Assessment], now: dt.datetime) -> list[Assessment]:
    """The assessments with that added, in the same order.

    One statement while nothing is wrong, otherwise one more for the incidents and those of
    `blast.summary` for one of them.
    """
    standings = _standings(assessments, now)
    if not standings:
        return list(assessments)
    troubled = [key for key, standing in standings.items() if standing.confirmed]
    incidents = _incidents(troubled) if troubled else {}
    missed = _missed(incidents, now)
    found = []
    for assessment in assessments:
        key = (assessment.integration, assessment.account)
        if standing := standings.get(key):
            incident = incidents.get(key)
            assessment = _stood(assessment, standing, incident, now)
            if line := missed.get(key):
                assessment = replace(assessment, facts=[line, *assessment.facts])
        found.append(assessment)
    return found


def _missed(incidents: Mapping[Key, Incident], now: dt.datetime) -> dict[Key, str]:
    """What may be missing in the books, by the account on whose card it is told.

    Of several that is the first to fail: what happened since then is whole, and it is not known
    to which company it belongs. Always the same one of those that fail together, for a card is
    also fetched alone.
    """
    concerned = {
        key: incident
        for key, incident in incidents.items()
        if incident.shared or _keeps_the_books(key)
    }
    if not concerned:
        return {}
    first = min(
        concerned, key=lambda key: (concerned[key].started_at, not _keeps_the_books(key), key)
    )
    return {first: blast.summary(concerned[first], now)}


def _keeps_the_books(key: Key) -> bool:
    integration = get_integration(key[0])
    return integration is not None and integration.keeps_the_books


def _stood(
    assessment: Assessment, standing: Standing, incident: Incident | None, now: dt.datetime
) -> Assessment:
    # Otherwise the assessment knows more than the status does, and speaks for itself.
    if assessment.state == standing.raw_state:
        if standing.failing_since and not standing.confirmed:
            assessment = _unconfirmed(assessment, standing.failing_since, now)
        elif standing.recovering_since and assessment.level is Level.HEALTHY:
            assessment = _recovering(assessment, standing.recovering_since)
        elif incident and incident.shared and assessment.in_trouble:
            assessment = _one_of_several(assessment, incident, telling.explain(incident, now))
    if incident:
        assessment = _with_incident(assessment, incident, now)
    if standing.paused_until and standing.paused_until > now:
        assessment = _paused(assessment, standing.paused_until, standing.pause_reason, now)
    return assessment


def _unconfirmed(assessment: Assessment, since: dt.datetime, now: dt.datetime) -> Assessment:
    answered = assessment.last_success_at
    last = f"It last answered {times.ago(answered, now)}. " if answered else ""
    return replace(
        _without_button(assessment),
        level=Level.WARNING,
        headline=FAILED,
        title=FAILED,
        impact=f"{last}A single failure proves nothing: most are over in a minute.",
        next_step="Nothing to do. We ask again by ourselves.",
        who_acts="nobody",
        since=since,
        spell="failing",
    )


def _recovering(assessment: Assessment, since: dt.datetime) -> Assessment:
    return replace(
        assessment,
        level=Level.WARNING,
        headline="Working again",
        title=RECOVERING,
        next_step="Nothing to do.",
        who_acts="nobody",
        since=since,
        spell="working",
    )


def _one_of_several(
    assessment: Assessment, incident: Incident, explanation: Explanation
) -> Assessment:
    """The shared incident speaks: of this account alone nothing is known."""
    offline = incident.cause == OFFLINE
    return replace(
        assessment if offline else _without_button(assessment),
        level=Level.UNKNOWN if offline else assessment.level,
        headline=explanation.title if offline else assessment.headline,
        title=explanation.title,
        impact=explanation.impact,
        next_step=explanation.next_step,
        who_acts=incident.who_acts,
        since=incident.started_at,
        spell="no answer" if offline else "",
    )


def _without_button(assessment: Assessment) -> Assessment:
    """Nothing is to be done; who wants to may still ask for a check."""
    action = assessment.action
    more = [action] if action and action.post else []
    return replace(assessment, action=None, links=[*more, *assessment.links])


def _with_incident(assessment: Assessment, incident: Incident, now: dt.datetime) -> Assessment:
    page = address("integrations:incident", str(incident.pk))
    links = [*assessment.links, Action(label="Incident", url=page)]
    if assessment.needs_a_person and incident.acknowledged_at is None:
        url = f"{address('integrations:acknowledge', str(incident.pk))}?back=dashboard"
        links.insert(-1, Action(label="I’m on it", url=url, post=True))
    told = telling.on_it(incident, now)
    return replace(assessment, links=links, facts=[*([told] if told else []), *assessment.facts])


def _paused(
    assessment: Assessment, until: dt.datetime, reason: str, now: dt.datetime
) -> Assessment:
    notice = f"Paused until {times.since_when(until, now)}: {reason}"
    page = pause_url(assessment.integration, assessment.account)
    return replace(
        assessment,
        paused=True,
        notice=" ".join(filter(None, (notice, assessment.notice))),
        links=[*assessment.links, Action(label="End the pause", url=page)],
    )


def _standings(assessments: Iterable[Assessment], now: dt.datetime) -> dict[Key, Standing]:
    """The notable ones. In SQL: compiling it with the ORM costs more than asking it."""
    keys = {(a.integration, a.account) for a in assessments}
    if not keys:
        return {}
    slugs, accounts = sorted({slug for slug, _ in keys}), sorted({account for _, account in keys})
    rows = sql.rows(
        f"""
        SELECT integration, account, raw_state, failing_since, confirmed, recovering_since,
            paused_until, pause_reason
        FROM integrations_integrationstatus
        WHERE integration IN ({_marks(slugs)}) AND account IN ({_marks(accounts)})
            AND (failing_since IS NOT NULL OR paused_until > %s)
        """,  # noqa: S608  # marks alone; values travel as parameters
        [*slugs, *accounts, now],
    )
    return {
        (slug, account): Standing(
            raw_state=raw_state,
            failing_since=sql.moment(failing),
            confirmed=bool(confirmed),
            recovering_since=sql.moment(recovering),
            paused_until=sql.moment(paused),
            pause_reason=reason,
        )
        for slug, account, raw_state, failing, confirmed, recovering, paused, reason in rows
        if (slug, account) in keys
    }


def _incidents(keys: Sequence[Key]) -> dict[Key, Incident]:
    """Of each account the open incident that speaks for it."""
    rows = Incident.objects.filter(
        ended_at=None,
        shared=False,
        integration__in={slug for slug, _ in keys},
        account__in={account for _, account in keys},
    )
    return {
        (row.integration, row.account): telling.speaker(row)
        for row in rows.select_related("part_of")
    }


def _marks(values: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(values))
