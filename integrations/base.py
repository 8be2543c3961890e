"""The contract that a vendor's folder fulfils, and the facts it hands to whoever shows them."""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from integrations.levels import Level

if TYPE_CHECKING:
    from prometheus_client import Metric as PrometheusMetric

    from integrations.webhooks import Webhook

CHANGES_AT_MOST = 200


@dataclass(frozen=True, kw_only=True)
class Action:
    """The one thing that a person can do.

    `permission`: the Django permission that it takes, empty for anybody on the staff.
    `post`: it changes something, so it is a button in a form and not a link.
    """

    label: str
    url: str
    permission: str = ""
    post: bool = False


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One slice of the strip of the last 24 hours; `level` None where nothing was checked."""

    starts_at: dt.datetime
    level: Level | None
    label: str


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure among the operational metrics; `technical` ones are folded away for IT."""

    label: str
    value: str
    note: str = ""
    technical: bool = False


@dataclass(frozen=True, kw_only=True)
class Event:
    """A spell of one state in an account's history, from its first check to its last."""

    starts_at: dt.datetime
    ends_at: dt.datetime
    level: Level
    title: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Movement:
    """What an integration can witness: when something last moved at its vendor (`at`), and until
    when it has really looked (`watched_until`). None: never, as far as is known.
    """

    at: dt.datetime | None
    watched_until: dt.datetime | None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What people are told of a state in a message, long after the card has changed.

    `fix_url`: the absolute address of the one page that helps. `reference`: what the vendor's
    support asks for (at Intuit the `intuit_tid`), empty if there is none.
    """

    title: str
    impact: str
    next_step: str
    fix_url: str
    reference: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something that happened at a vendor and should have reached the books.

    `what`: begun, renewed, ended. `reference`: an id, never a name.
    """

    at: dt.datetime
    what: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """When a person must act at the latest, if nothing changes, and what runs out then.

    People are told in stages as the date comes nearer; of a `spell` of trouble, by that name,
    just once. `who_acts`: clinic or administrator.
    """

    account: str
    name: str
    by: dt.datetime
    reason: str
    explanation: Explanation
    who_acts: str = "clinic"
    spell: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of setting an integration up. `code`: what to paste, as it is."""

    title: str
    text: str
    code: str = ""


class Symptom(StrEnum):
    """How a failure looked from here, so that failures can be compared across vendors."""

    NONE = ""
    NO_ANSWER = "no_answer"
    VENDOR_ERROR = "vendor_error"


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What is known about one account of one integration, judged at one moment.

    `state` is the vendor's own word for why (for QuickBooks the diagnosis code). `since` is
    when the present spell of trouble or of health began. `judged_at` is set where the judgement
    is newer than all evidence, because silence is evidence as well. `metrics` is for machines,
    `facts` are lines for people, `support` is folded away on the card. `tiles` are what the
    account adds to the operational metrics; they come from the same look at the database.

    `alarming`: trouble of this kind is worth an incident; `transient`: it may be over in a
    moment, and needs confirming.

    `spell`: what lasts `since`, where the level does not say it. `paused`: a person wants no
    alarm about it for now.
    """

    integration: str
    account: str
    name: str
    level: Level
    state: str
    title: str
    impact: str
    next_step: str
    who_acts: str
    headline: str = ""
    action: Action | None = None
    links: Sequence[Action] = ()
    since: dt.datetime | None = None
    spell: str = ""
    checked_at: dt.datetime | None = None
    judged_at: dt.datetime | None = None
    last_success_at: dt.datetime | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    facts: Sequence[str] = ()
    strip: Sequence[Cell] = ()
    support: Sequence[tuple[str, str]] = ()
    tiles: Sequence[Metric] = ()
    checking: bool = False
    notice: str = ""
    paused: bool = False
    alarming: bool = True
    transient: bool = False
    symptom: Symptom = Symptom.NONE

    @property
    def in_trouble(self) -> bool:
        return self.level in {Level.CRITICAL, Level.WARNING} and not self.paused

    @property
    def needs_a_person(self) -> bool:
        return self.in_trouble and self.who_acts in {"clinic", "administrator"}


class Integration(ABC):
    """One vendor. Everything outside of its folder knows it by this alone."""

    slug: ClassVar[str]
    name: ClassVar[str]
    # As people call it within a sentence; empty: by its name.
    short_name: ClassVar[str] = ""
    # Where the vendor's own deliveries are taken in, at /webhooks/<slug>/; None: it sends none.
    webhook: ClassVar["Webhook | None"] = None
    # The dotted name of its `integrations.demo.DemoPart`; by name, so that production never
    # imports a stand-in.
    demo: ClassVar[str] = ""
    # What happens at the others while it is down may be missing in it.
    keeps_the_books: ClassVar[bool] = False
    # Each of its checks is committed as it is made; `check_integrations` adds no check to them.
    commits_its_checks: ClassVar[bool] = False

    @abstractmethod
    def assess(self, now: dt.datetime, accounts: Sequence[str] | None = None) -> list[Assessment]:
        """Judge what is stored; calls nobody and writes nothing.

        Returns the worst twelve accounts, worst first, or just the named ones. An integration
        that is not set up gives one assessment with the account `""`.
        """

    def check(self, account: str, now: dt.datetime, user_id: int | None) -> Assessment | None:
        """Ask the vendor now if that is possible, record it, and judge. None: no such account."""
        found = self.assess(now, [account])
        return found[0] if found else None

    def account_count(self) -> int:
        """How many accounts there are in all."""
        return 1

    def history(self, account: str, now: dt.datetime) -> list[Event]:
        """What happened in the last 24 hours, newest first."""
        return []

    def last_scheduled_run(self, now: dt.datetime) -> dt.datetime | None:
        """When cron last asked the vendor, if that was in the last 24 hours."""
        return None

    def metrics(self, now: dt.datetime) -> list[Metric]:
        """Figures for the dashboard over all accounts, beside the `tiles` of each."""
        return []

    def last_movement(self, now: dt.datetime) -> Movement | None:
        """When something last changed at the vendor, as far as is known here.

        A witness for the others: where data moves at one end of a chain and not at the other,
        the link between them is suspect. None: it cannot tell.
        """
        return None

    @abstractmethod
    def explain(
        self, account: str, state: str, *, since: dt.datetime, now: dt.datetime
    ) -> Explanation:
        """What to tell people who are not looking at the card: a state that began `since`."""

    def title_of(self, state: str) -> str:
        """What people read for a state in a list, from memory."""
        return state.replace("_", " ").capitalize()

    def changes(self, since: dt.datetime, until: dt.datetime) -> list[Change]:
        """What happened at the vendor between two moments that belongs into the books.

        Newest first, at most `CHANGES_AT_MOST`; ids and times, no personal data.
        """
        return []

    def count_changes(self, since: dt.datetime, until: dt.datetime) -> dict[str, int]:
        """How many of them there were, by `Change.what`."""
        return {}

    def forecasts(self, now: dt.datetime) -> list[Forecast]:
        """What will end unless a person acts, for the accounts where that is foreseeable."""
        return []

    def samples(self, now: dt.datetime) -> Iterable["PrometheusMetric"]:
        """The vendor's own figures for Prometheus."""
        return []

    def set_up_steps(self) -> list[Step]:
        """What a person does to set it up, in order; empty: it has a page of its own for that."""
        return []


def not_set_up(
    integration: Integration,
    accounts: Sequence[str] | None,
    *,
    impact: str,
    facts: Sequence[str],
    links: Sequence[Action] = (),
) -> list[Assessment]:
    """The one assessment of an integration that has not been set up. `facts`: what is missing."""
    if accounts is not None and "" not in accounts:
        return []
    return [
        Assessment(
            integration=integration.slug,
            account="",
            name=integration.name,
            level=Level.UNKNOWN,
            state="not_configured",
            title="Not set up",
            impact=impact,
            next_step="Nothing to do now. QuickBooks is watched without it.",
            who_acts="administrator",
            headline="Not set up",
            facts=facts,
            links=links,
            alarming=False,
        )
    ]
