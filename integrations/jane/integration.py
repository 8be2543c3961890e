"""Jane through ClinicSync as one of the integrations: its card, its figures, its history."""

import datetime as dt
from collections.abc import Iterable, Sequence

from django.conf import settings
from prometheus_client.metrics_core import Metric as PrometheusMetric

from integrations import deliveries, times
from integrations.addresses import address
from integrations.base import (
    Action,
    Assessment,
    Change,
    Event,
    Explanation,
    Integration,
    Metric,
    Movement,
    Step,
    not_set_up,
)
from integrations.deliveries import Traffic
from integrations.hours import opening_hours
from integrations.jane import changes, explanation, figures, history, set_up, words
from integrations.jane.figures import Known
from integrations.jane.judgement import Judgement, is_alarm, judge
from integrations.jane.silence import LATE_AFTER
from integrations.jane.webhook import SNAPSHOT, JaneWebhook
from integrations.samples import last_success
from integrations.set_up import set_up_button, set_up_link

# The rhythm of the card's own figures, all of the last 24 hours.
LAST_DAY = "last 24 h"


class Jane(Integration):
    slug = "jane"
    name = "Jane / ClinicSync"
    short_name = "Jane"
    webhook = JaneWebhook()
    demo = "integrations.jane.demo.ClinicSync"

    def assess(self, now: dt.datetime, accounts: Sequence[str] | None = None) -> list[Assessment]:
        if not settings.JANE_WEBHOOK_SECRETS:
            return not_set_up(
                self,
                accounts,
                impact="New memberships from Jane are not watched yet.",
                facts=["Missing: JANE_WEBHOOK_SECRETS, the key that ClinicSync delivers with"],
                links=[set_up_link(self.slug)],
            )
        if accounts is not None and "" not in accounts:
            return []
        traffic = deliveries.traffic(self.slug, now, SNAPSHOT)
        known = figures.known(traffic, now)
        judgement = judge(traffic, known, now, opening_hours())
        return [self._assessment(judgement, traffic, known, now)]

    def history(self, account: str, now: dt.datetime) -> list[Event]:
        return [] if account else history.last_day(now, opening_hours())

    def last_movement(self, now: dt.datetime) -> Movement | None:
        if not settings.JANE_WEBHOOK_SECRETS:
            return None
        return Movement(at=figures.last_good(now), watched_until=now)

    def explain(
        self, account: str, state: str, *, since: dt.datetime, now: dt.datetime
    ) -> Explanation:
        return explanation.explain(self.name, state, since=since, now=now)

    def changes(self, since: dt.datetime, until: dt.datetime) -> list[Change]:
        return changes.between(since, until) if settings.JANE_WEBHOOK_SECRETS else []

    def count_changes(self, since: dt.datetime, until: dt.datetime) -> dict[str, int]:
        return changes.count(since, until) if settings.JANE_WEBHOOK_SECRETS else {}

    def title_of(self, state: str) -> str:
        known = words.WORDS.get(state)
        return known.title if known else super().title_of(state)

    def samples(self, now: dt.datetime) -> Iterable[PrometheusMetric]:
        if not settings.JANE_WEBHOOK_SECRETS:
            return []
        traffic = deliveries.traffic(self.slug, now, SNAPSHOT)
        return [last_success(self.slug, {"": traffic.good_at})]

    def set_up_steps(self) -> list[Step]:
        return set_up.steps()

    def _assessment(
        self, judgement: Judgement, traffic: Traffic, known: Known, now: dt.datetime
    ) -> Assessment:
        wording, silence = judgement.wording, judgement.silence
        last = times.at_moment(traffic.good_at, now) if traffic.good_at else ""
        quiet = words.duration(silence.open_time) if silence else ""
        since = f"since {times.moment(judgement.since, now)}" if judgement.since else "now"
        next_step, who_acts = self._help(judgement, traffic, now)
        mend = who_acts == "administrator"
        return Assessment(
            integration=self.slug,
            account="",
            name=self.name,
            level=wording.level,
            state=judgement.state,
            title=wording.title,
            impact=wording.impact.format(last=last, since=since),
            next_step=next_step,
            who_acts=who_acts,
            alarming=judgement.state != "never_seen",
            headline=wording.headline.format(silence=quiet),
            action=set_up_button(self.slug) if mend else None,
            links=[_list_link()] if mend else [_list_link(), set_up_link(self.slug)],
            since=judgement.since,
            # Nobody asks Jane: the newest evidence is what came last.
            checked_at=traffic.last_at,
            judged_at=now,
            last_success_at=traffic.good_at,
            metrics={
                "active_memberships": known.memberships.active,
                "memberships": known.memberships.total,
                "deliveries_24h": traffic.accepted,
                "last_delivery_at": traffic.good_at,
                "refused_24h": traffic.refused,
                "unreadable_24h": traffic.unreadable,
            },
            facts=_facts(judgement, traffic, known, now),
            tiles=_tiles(traffic, known, now),
            support=_support(known),
        )

    def _help(self, judgement: Judgement, traffic: Traffic, now: dt.datetime) -> tuple[str, str]:
        """What helps and who does it; for an alarm by what the other integrations saw."""
        wording, silence = judgement.wording, judgement.silence
        if is_alarm(silence):
            return explanation.alarm_help(traffic, now)
        if silence and silence.looked_at:
            again = times.at_moment(silence.looked_at, now)
            return f"{wording.next_step} A silence counts again {again}.", wording.who_acts
        return wording.next_step, wording.who_acts


def _facts(judgement: Judgement, traffic: Traffic, known: Known, now: dt.datetime) -> list[str]:
    facts = []
    silence = judgement.silence
    if traffic.good_at:
        facts.append(f"Last delivery {times.moment(traffic.good_at, now)}")
        facts.append(f"{words.count(traffic.today, 'delivery')} today")
    if silence and not is_alarm(silence) and silence.open_time >= LATE_AFTER:
        facts.append(
            f"Nothing came in the last {words.duration(silence.open_time)} of opening time"
        )
    if traffic.good_at or known.memberships.total:
        facts.append(words.count(known.memberships.active, "active membership"))
    if known.memberships.unknown:
        facts.append(f"{known.memberships.unknown:,} of unknown state")
    turned_away = [
        f"{number:,} {what}"
        for number, what in ((traffic.refused, "refused"), (traffic.unreadable, "unreadable"))
        if number
    ]
    if turned_away:
        facts.append(f"{' · '.join(turned_away)} in 24 h")
    if traffic.new_shape_at:
        day = times.calendar_day(traffic.new_shape_at)
        facts.append(f"ClinicSync changed the shape of its data on {day}")
    return facts


def _support(known: Known) -> list[tuple[str, str]]:
    pairs = [
        ("Authenticated by", known.scheme),
        ("Key-set fingerprint", known.fingerprint),
        ("Last refusal", known.refusal),
        ("Last unreadable", known.error),
    ]
    return [(label, value) for label, value in pairs if value]


def _tiles(traffic: Traffic, known: Known, now: dt.datetime) -> list[Metric]:
    active = f"{known.memberships.active:,}"
    return [
        Metric(label="Active memberships", value=active, note=_trend(known, now)),
        Metric(label="Deliveries", value=f"{traffic.accepted:,}", note=LAST_DAY),
    ]


def _trend(known: Known, now: dt.datetime) -> str:
    """ "+6 in 30 days", or since when there is something to compare with."""
    if known.watched_from is None:
        return ""
    found = figures.change(known, now)
    if found is None:
        return f"watched since {times.calendar_day(known.watched_from)}"
    change, then = found
    whole = now - then >= figures.COMPARED
    span = f"in {figures.COMPARED.days} days" if whole else ""
    span = span or f"since {times.calendar_day(known.watched_from)}"
    return f"{change:+,} {span}".replace("-", "−") if change else f"no change {span}"


def _list_link() -> Action:
    return Action(
        label="Memberships",
        url=address("admin:jane_membership_changelist"),
        permission="jane.view_membership",
    )
