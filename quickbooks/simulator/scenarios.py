"""What a newcomer can break in the demo, one button each."""

from collections.abc import Callable
from dataclasses import dataclass, field

from quickbooks.simulator.world import World


@dataclass(frozen=True, slots=True)
class Scenario:
    """For all companies. `state` is what the page says while it lasts."""

    label: str
    hint: str
    state: str = ""
    faults: dict[str, str] = field(default_factory=dict)


SCENARIOS = {
    "down": Scenario(
        "Intuit is down",
        "Every request is answered with an error page.",
        "Intuit is down: every request is answered with an error page (503).",
        {
            "api": "unavailable",
            "token": "status_503",
            "revoke": "status_503",
            "discovery": "unavailable",
        },
    ),
    "hangs": Scenario(
        "QuickBooks hangs",
        "It takes the question and never answers.",
        "QuickBooks hangs: it takes the question and never answers.",
        {"api": "hang"},
    ),
    "throttled": Scenario(
        "Throttled",
        "QuickBooks has had enough questions for the moment.",
        "QuickBooks throttles: too many questions for the moment (429).",
        {"api": "throttled"},
    ),
    "firewall": Scenario(
        "A firewall answers instead (HTML)",
        "A box on the clinic's network answers in the place of Intuit.",
        "A firewall answers in the place of Intuit, with a web page.",
        {"api": "html", "token": "html", "revoke": "html", "discovery": "html"},
    ),
}
LOST = Scenario(
    "The answer to the next renewal gets lost",
    "Intuit renews, but its answer never arrives."
    " The access tokens expire now, so that the next check has to renew.",
    "The answer to the next renewal will get lost.",
)
WORKS = Scenario(
    "Everything works again",
    "Ends what is broken for all. Connections and subscriptions stay as they are.",
    "Nothing is broken: Intuit answers.",
)

COMPANY_ACTIONS: dict[str, tuple[str, Callable[[World, str], None]]] = {
    "disconnect": (
        "The user disconnects in QuickBooks",
        lambda world, realm: world.revoke_grant(realm),
    ),
    "expire": ("The access token expires", lambda world, realm: world.expire_access_tokens(realm)),
    "end": ("The subscription ends", lambda world, realm: world.set_subscription(realm, "EXPIRED")),
    "pay": (
        "The subscription is paid again",
        lambda world, realm: world.set_subscription(realm, "PAID"),
    ),
}


def break_all(world: World, name: str) -> None:
    """One scenario at a time: the one before it ends."""
    world.clear_faults()
    for endpoint, fault in SCENARIOS[name].faults.items():
        world.set_fault(endpoint, fault)


def lose_next_renewal(world: World) -> None:
    """Without an expired token there would be nothing to renew for up to an hour."""
    world.fail_next("token", "lost_answer")
    world.expire_access_tokens()


def state(world: World) -> str:
    """What is broken at the moment, in a sentence or two."""
    faults = world.faults()
    known = [scenario.state for scenario in SCENARIOS.values() if scenario.faults == faults]
    others = [f"Fault at {endpoint}: {fault}." for endpoint, fault in faults.items()]
    queued = [LOST.state] if "lost_answer" in world.queued_faults("token") else []
    return " ".join((known or others) + queued) or WORKS.state
