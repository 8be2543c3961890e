"""GoHighLevel as one of the integrations: what is stored, told for the cards."""

import datetime as dt
from collections.abc import Iterable, Sequence

from django.conf import settings
from prometheus_client.metrics_core import Metric as PrometheusMetric

from integrations import times
from integrations.addresses import address
from integrations.base import (
    Action,
    Assessment,
    Event,
    Explanation,
    Integration,
    Metric,
    Movement,
    Step,
    Symptom,
    not_set_up,
)
from integrations.gohighlevel import explanation, figures, history, samples, set_up
from integrations.gohighlevel.figures import Known
from integrations.gohighlevel.judgement import Judgement, judge
from integrations.gohighlevel.limits import told_today
from integrations.gohighlevel.models import Result
from integrations.gohighlevel.probing import probe_for_page
from integrations.gohighlevel.states import WORDS, State, title
from integrations.gohighlevel.webhook import GoHighLevelWebhook
from integrations.set_up import set_up_button, set_up_link

NOT_SYNCED = "–"


class GoHighLevel(Integration):
    slug = "gohighlevel"
    name = "GoHighLevel"
    webhook = GoHighLevelWebhook()
    demo = "integrations.gohighlevel.demo.LocalGoHighLevel"

    def assess(self, now: dt.datetime, accounts: Sequence[str] | None = None) -> list[Assessment]:
        if not set_up.is_set_up():
            missing = " and ".join(set_up.missing_settings())
            facts = [f"Missing: {missing}" if missing else "", set_up.problem_with_settings()]
            return not_set_up(
                self,
                accounts,
                impact="Contacts in GoHighLevel are not compared yet.",
                facts=list(filter(None, facts)),
                links=[set_up_link(self.slug)],
            )
        if accounts is not None and "" not in accounts:
            return []
        known = figures.known(settings.GOHIGHLEVEL_LOCATION_ID, now)
        return [_assessment(known, judge(known, now), now)]

    def check(self, account: str, now: dt.datetime, user_id: int | None) -> Assessment | None:
        if account:
            return None
        if set_up.is_set_up():
            probe_for_page(settings.GOHIGHLEVEL_LOCATION_ID, now)
        return self.assess(now)[0]

    def history(self, account: str, now: dt.datetime) -> list[Event]:
        if account or not set_up.is_set_up():
            return []
        return history.last_day(settings.GOHIGHLEVEL_LOCATION_ID, now)

    def last_movement(self, now: dt.datetime) -> Movement | None:
        if not set_up.is_set_up():
            return None
        return figures.last_movement(settings.GOHIGHLEVEL_LOCATION_ID, now)

    def explain(
        self, account: str, state: str, *, since: dt.datetime, now: dt.datetime
    ) -> Explanation:
        return explanation.explain(self.name, state, since=since, now=now)

    def title_of(self, state: str) -> str:
        return title(state)

    def samples(self, now: dt.datetime) -> Iterable[PrometheusMetric]:
        return samples.samples(self.slug, now)

    def set_up_steps(self) -> list[Step]:
        return set_up.steps()


def _symptom(known: Known, state: State) -> Symptom:
    if state is not State.UNAVAILABLE or known.check is None:
        return Symptom.NONE
    return Symptom.VENDOR_ERROR if known.check.http_status else Symptom.NO_ANSWER


def _percent(known: Known) -> int:
    # Rounded down: 100 % is said when all are.
    return 100 * known.mapped // known.contacts


def _assessment(known: Known, judgement: Judgement, now: dt.datetime) -> Assessment:
    state, check, completed = judgement.state, known.check, known.completed
    words = WORDS[state]
    since = judgement.since or now
    told = {
        "since": times.since_when(since, now),
        "hours": _long(now - since),
    }
    return Assessment(
        integration=GoHighLevel.slug,
        account="",
        name=GoHighLevel.name,
        level=state.level,
        state=state.value,
        title=words.title,
        impact=words.impact.format(**told),
        next_step=words.next_step,
        who_acts=state.who_acts,
        alarming=state is not State.NEVER_SYNCED,
        transient=state.transient,
        symptom=_symptom(known, state),
        headline=words.headline.format(**told),
        action=set_up_button(GoHighLevel.slug) if state.who_acts == "administrator" else None,
        links=_links(known, state),
        since=judgement.since,
        checked_at=check.at if check else None,
        # That nothing has completed for a while is evidence too. Whatever may be over in a
        # moment is judged by what was asked, and not again and again by the clock.
        judged_at=None if state.transient or state is State.IN_STEP else now,
        last_success_at=known.last_ok_at,
        metrics={
            "contacts": known.contacts,
            "contacts_mapped": known.mapped,
            "contacts_unmatched": known.unmatched,
            "contacts_ambiguous": known.ambiguous,
            "last_sync_at": completed.at if completed else None,
            "last_sync_result": known.ended.result if known.ended else None,
        },
        facts=_facts(known, now),
        tiles=_tiles(known, now),
        support=_support(known),
        checking=known.probing_until is not None and known.probing_until > now,
    )


def _tiles(known: Known, now: dt.datetime) -> list[Metric]:
    completed = known.completed
    return [
        Metric(
            label="Contacts mapped",
            value=f"{_percent(known)} %" if known.contacts else NOT_SYNCED,
            note=f"{known.mapped:,} of {known.contacts:,}",
        ),
        Metric(
            label="Last sync",
            value=times.moment(completed.at, now) if completed else NOT_SYNCED,
            note=Result(known.ended.result).label if known.ended else "",
        ),
    ]


def _long(duration: dt.timedelta) -> str:
    hours = int(duration.total_seconds() // 3600)
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} hour{'' if hours == 1 else 's'}"


def _facts(known: Known, now: dt.datetime) -> list[str]:
    facts = []
    completed, ended = known.completed, known.ended
    if completed:
        facts.append(f"Synced {times.moment(completed.at, now)}, {completed.why or 'all well'}")
    if ended and ended.result == Result.FAILED:
        facts.append(f"The sync of {times.moment(ended.at, now)} did not finish")
    if known.running:
        facts.append("A sync is under way")
    if known.contacts:
        facts.append(f"{known.mapped:,} of {known.contacts:,} contacts mapped")
        if known.unmatched or known.ambiguous:
            facts.append(f"{known.unmatched:,} unmatched · {known.ambiguous:,} ambiguous")
    left = known.calls_left
    if left is not None and told_today(known.calls_left_at, now):
        facts.append(f"{left:,} call{'' if left == 1 else 's'} left today")
    return facts


def _links(known: Known, state: State) -> list[Action]:
    links = []
    contacts = address("admin:gohighlevel_contactmapping_changelist")
    for name, count in (("unmatched", known.unmatched), ("ambiguous", known.ambiguous)):
        if count:
            links.append(
                Action(
                    label=f"{count:,} {name}",
                    url=f"{contacts}?state={name}",
                    permission="gohighlevel.view_contactmapping",
                )
            )
    if state is State.UNINSTALLED:
        links.append(
            Action(
                label="The app is not wanted any more",
                url=address("admin:gohighlevel_location_changelist"),
                permission="gohighlevel.change_location",
            )
        )
    return links if state.who_acts == "administrator" else [*links, set_up_link(GoHighLevel.slug)]


def _support(known: Known) -> list[tuple[str, str]]:
    pairs = [("Location id", settings.GOHIGHLEVEL_LOCATION_ID), ("Location", known.name)]
    if known.check:
        check = known.check
        pairs += [
            ("Checked", f"{check.at:%Y-%m-%d %H:%M:%S} UTC"),
            ("HTTP status", str(check.http_status or "no answer")),
            ("Message", check.message),
            ("Latency", "" if check.latency_ms is None else f"{check.latency_ms} ms"),
        ]
    if known.ended:
        ended = known.ended
        pairs.append(("Last run", f"{ended.result}: {ended.why}" if ended.why else ended.result))
    return [(label, value) for label, value in pairs if value]
