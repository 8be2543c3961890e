"""The sync: all contacts, page by page, within the vendor's limits, from wherever it stopped.

probe → page → page → … → what is gone, matching, totals. Each page and the cursor behind it are
one transaction, so a process that dies loses at most the page in its hands.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from integrations.gohighlevel import client, storage
from integrations.gohighlevel.calls import Caller, Stopped, TakenOver
from integrations.gohighlevel.client import ApiError
from integrations.gohighlevel.contact import Contact, identifier, read_contact
from integrations.gohighlevel.limits import Limits
from integrations.gohighlevel.mapping import Counts, match_all
from integrations.gohighlevel.models import Location, Result, SyncRun, Trigger
from integrations.gohighlevel.probing import Probe, probe, told
from integrations.gohighlevel.runs import claim, mine
from integrations.gohighlevel.states import OK, State, counted

TELL_EVERY = 10  # pages


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a sync came to. `state` is `ok` or a code of the contract; `why` in words."""

    result: Result
    state: str = OK
    why: str = ""
    counts: Counts | None = None


class RunningAlready(Exception):
    """Somebody else's run is alive."""


def synchronize(
    location_id: str,
    now: dt.datetime,
    *,
    pause: Callable[[float], None],
    tell: Callable[[str], None],
) -> Outcome:
    """Run, or go on with, one sync. Raises `RunningAlready`, `TakenOver` and `DatabaseError`."""
    run = claim(location_id, now)
    if run is None:
        raise RunningAlready
    return _Sync(run, now, pause, tell).run_to_the_end()


class _Sync:
    def __init__(
        self,
        run: SyncRun,
        now: dt.datetime,
        pause: Callable[[float], None],
        tell: Callable[[str], None],
    ) -> None:
        self._run = run
        self._tell = tell
        self._caller = Caller(run, now, pause)
        self._page_limit = client.PAGE_LIMIT
        self._total: int | None = None
        self._pages_before = run.pages
        self._in_probe = True

    def run_to_the_end(self) -> Outcome:
        try:
            self._caller.heed(Location.objects.filter(location_id=self._run.location_id).first())
            self._caller.ask(self._probe)
            self._in_probe = False
            while self._page():
                pass
            return self._finish()
        except Stopped as stop:
            self._stop(stop)
            return Outcome(result=Result.FAILED, state=stop.state, why=stop.why)

    def _probe(self) -> Probe:
        found = probe(self._run.location_id, trigger=Trigger.COMMAND, now=self._caller.now())
        if found.error:
            raise found.error
        return found

    # ── pages ───────────────────────────────────────────────────────────────
    def _page(self) -> bool:
        """Fetch and store one page. False if it was the last."""
        run = self._run
        try:
            reply = self._caller.ask(
                lambda: client.search_contacts(run.location_id, run.cursor, self._page_limit)
            )
        except ApiError as error:
            if self._page_limit == 1:
                raise Stopped(State.UNAVAILABLE, "one contact alone is too large") from error
            self._page_limit //= 2
            return True
        records = reply.document["contacts"]
        self._total = _count(reply.document.get("total"))
        more = self._more(records)
        cursor = _cursor(records[-1]) if records else run.cursor
        if more and (cursor is None or cursor == run.cursor):
            raise Stopped(State.UNAVAILABLE, "the list of contacts does not go on", anew=True)
        self._store(records, cursor, reply.limits)
        if run.pages % TELL_EVERY == 0:
            self._tell(f"{run.seen:,} of {max(run.seen, run.announced or 0):,} contacts")
        return more

    def _more(self, records: list[Any]) -> bool:
        if not records:
            return False
        seen = self._run.seen + self._run.failed + len(records)
        # A page that is not full may be the last; the total says whether it is.
        return len(records) >= self._page_limit or seen < (self._total or 0)

    def _store(self, records: list[Any], cursor: Any, limits: Limits) -> None:
        run, now = self._run, self._caller.now()
        contacts = [contact for one in records if (contact := self._read(one))]
        if run.announced is None:
            run.announced = self._total
        with storage.locked(run.location_id) as location:
            created, updated = storage.store_page(run, contacts, now)
            run.pages += 1
            run.seen += len(contacts)
            run.failed += len(records) - len(contacts)
            run.created += created
            run.updated += updated
            run.cursor = cursor
            names = ("announced", "pages", "seen", "failed", "created", "updated", "cursor")
            values = {name: getattr(run, name) for name in names}
            # Hits no row if somebody has taken over; then nothing of this page is kept.
            if not mine(run).update(heartbeat_at=now, **values):
                raise TakenOver
            if heard := told(limits, now):
                Location.objects.filter(pk=location.pk).update(**heard)

    def _read(self, record: Any) -> Contact | None:
        if not isinstance(record, Mapping):
            return None
        if identifier(record.get("locationId")) not in {"", self._run.location_id}:
            return None
        return read_contact(record)

    # ── the end ─────────────────────────────────────────────────────────────
    def _finish(self) -> Outcome:
        run, now = self._run, self._caller.now()
        with storage.locked(run.location_id):
            why = self._doubt()
            if not why:
                storage.mark_gone(run, now)
            counts = match_all(run.location_id)
            if run.failed and not why:
                why = f"{counted(run.failed)} came without a usable id"
            result = Result.PARTIAL if why else Result.OK
            if not mine(run).update(
                finished_at=now,
                heartbeat_at=now,
                result=result,
                state=OK,
                why=why,
                cursor=None,
                contacts=counts.contacts,
                mapped=counts.mapped,
                unmatched=counts.unmatched,
                ambiguous=counts.ambiguous,
            ):
                raise TakenOver
        return Outcome(result=result, why=why, counts=counts)

    def _doubt(self) -> str:
        """Why the list may have ended early, in words; then those that did not come are not gone.

        What counts is how many there were from the first page to the last. If that was never
        told, a list that lacks most of what is known is not believed.
        """
        run = self._run
        came = storage.seen_by(run) + run.failed
        totals = [total for total in (run.announced, self._total) if total is not None]
        if totals:
            missing = max(0, min(totals) - came)
            were = "was" if missing == 1 else "were"
            return f"{counted(missing)} that {were} announced did not come" if missing else ""
        known = storage.known(run.location_id)
        if 2 * came < known:
            return f"no total was told, and only {came:,} of {counted(known)} known here came"
        return ""

    def _stop(self, stop: Stopped) -> None:
        now = self._caller.now()
        values: dict[str, Any] = {"cursor": None} if stop.anew or self._stuck(stop) else {}
        if not mine(self._run).update(
            finished_at=now,
            heartbeat_at=now,
            result=Result.FAILED,
            state=stop.state,
            why=stop.why[:200],
            in_probe=self._in_probe,
            **values,
        ):
            raise TakenOver

    def _stuck(self, stop: Stopped) -> bool:
        """A cursor that has failed two processes, with no page between them, may be what fails."""
        run = self._run
        tried = run.resumed and not self._in_probe and run.pages == self._pages_before
        return bool(tried) and stop.state is State.UNAVAILABLE


def _cursor(record: Any) -> Any:
    """Where the next page begins; None for what could not be stored and sent again."""
    after = record.get("searchAfter") if isinstance(record, Mapping) else None
    if not isinstance(after, (list, str, int)) or not after:
        return None
    text = json.dumps(after, ensure_ascii=False)
    return after if len(text) <= 1000 and text.isprintable() else None


def _count(value: Any) -> int | None:
    plain = isinstance(value, int) and not isinstance(value, bool)
    return value if plain and 0 <= value < 2**31 else None
