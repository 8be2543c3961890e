"""Many companies at once: probed side by side, and what failed in passing is asked again."""

import datetime as dt
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.db import connection

from integrations.deadline import boot_clock
from integrations.http import POOL_SIZE
from integrations.models import IntegrationStatus
from integrations.status import Receipt
from quickbooks.diagnosis import TRANSIENT, Code
from quickbooks.evidence import Context
from quickbooks.models import Trigger
from quickbooks.probe import Outcome, probe

# Seconds in which a run of the schedule begins to ask; its guard ends it after 600
# (`CRONTAB_COMMAND_PREFIX`), and what it has found has to be judged before that.
BUDGET = 450.0


def side_by_side(
    realm_ids: Sequence[str],
    ask: Callable[[str], Outcome],
    threads: int,
    ends_at: float = math.inf,
) -> dict[str, Outcome]:
    """Ask about each, so that one that hangs delays none of the others. Those whose turn would
    come later than `ends_at` (on the boot clock) are not asked."""
    if len(realm_ids) == 1:
        return {realm_ids[0]: ask(realm_ids[0])}

    def in_thread(realm_id: str) -> Outcome | None:
        if boot_clock() > ends_at:
            return None
        try:
            return ask(realm_id)
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=max(1, min(threads, len(realm_ids)))) as pool:
        outcomes = zip(realm_ids, pool.map(in_thread, realm_ids), strict=True)
        return {realm_id: outcome for realm_id, outcome in outcomes if outcome}


def sweep(
    realm_ids: Sequence[str],
    now: dt.datetime,
    *,
    confirm: bool,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, Outcome]:
    """A new probe of each company. `confirm`: what the schedule does, a transient failure is
    repeated after `QUICKBOOKS_CONFIRM_DELAYS`.

    The repeats are made in rounds: a thousand companies that fail together wait together. What
    is known to be down already needs no repeat. When all of them hang, the time is over before
    all are asked; the next run begins with those. Raises `UnknownCompany`, `DatabaseError`.
    """
    delays = settings.QUICKBOOKS_CONFIRM_DELAYS if confirm else ()
    began, waited, receipts = boot_clock(), 0.0, list[Receipt]()
    ends_at = began + BUDGET if confirm else math.inf
    if confirm and len(realm_ids) > POOL_SIZE:
        realm_ids = _longest_unseen_first(realm_ids)

    def ask(chosen: Sequence[str], at: dt.datetime, context: Context) -> dict[str, Outcome]:
        def one(realm_id: str) -> Outcome:
            return probe(
                realm_id,
                trigger=Trigger.COMMAND,
                now=at,
                fresh=True,
                # Somebody else's probe or renewal is over after a few deadlines at most.
                patience=settings.QUICKBOOKS_DEADLINE_SECONDS,
                confirming=bool(context.receipts),
                context=context,
            )

        return side_by_side(chosen, one, POOL_SIZE, ends_at)

    outcomes = ask(realm_ids, now, Context(scheduled=confirm, confirmed=confirm and not delays))
    for left, delay in zip(reversed(range(len(delays))), delays, strict=True):
        doubtful = _unconfirmed([o.realm_id for o in outcomes.values() if _is_transient(o)])
        if not doubtful or boot_clock() + delay > ends_at:
            break
        pause(delay)
        waited += delay
        at = now + dt.timedelta(seconds=max(waited, boot_clock() - began))
        receipts.append(Receipt(at=at, text=f"Waited {delay:g} s and asked again."))
        outcomes |= ask(doubtful, at, Context(confirmed=not left, receipts=tuple(receipts)))
    return outcomes


def _longest_unseen_first(realm_ids: Sequence[str]) -> list[str]:
    known = IntegrationStatus.objects.filter(integration="quickbooks")
    seen = dict(known.values_list("account", "checked_at"))
    never = dt.datetime.min.replace(tzinfo=dt.UTC)
    return sorted(realm_ids, key=lambda realm_id: seen.get(realm_id, never))


def _is_transient(outcome: Outcome) -> bool:
    return outcome.check is not None and Code(outcome.check.diagnosis) in TRANSIENT


def _unconfirmed(realm_ids: Sequence[str]) -> list[str]:
    known = IntegrationStatus.objects.filter(integration="quickbooks", confirmed=True)
    down = set(known.values_list("account", flat=True)) if realm_ids else set()
    return [realm_id for realm_id in realm_ids if realm_id not in down]
