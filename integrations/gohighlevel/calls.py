"""Calls within a run: as patient as it takes, within the limits, with signs of life in between."""

import datetime as dt
from collections.abc import Callable
from typing import Protocol, TypeVar

from integrations.deadline import boot_clock
from integrations.gohighlevel.client import ApiError
from integrations.gohighlevel.limits import INTERVAL_SECONDS, Limits, over_for_today
from integrations.gohighlevel.models import Location, SyncRun
from integrations.gohighlevel.probing import told
from integrations.gohighlevel.runs import mine
from integrations.gohighlevel.states import State

TRIES = 5
# Seconds before each next try of what failed at their side.
DELAYS = (1.0, 2.0, 4.0, 8.0)
# Asked to wait longer than this, a run stops, and a later one goes on.
LONGEST_REST = 300.0
# A run that waits shows a sign of life in between.
SIGN_OF_LIFE = 30.0
USED_UP = "the calls of this day are used up"


class TakenOver(Exception):
    """This process was thought dead, and another one goes on with its run."""


class Stopped(Exception):
    """The run ends here. `anew`: the next one cannot go on from the cursor."""

    def __init__(self, state: State, why: str, *, anew: bool = False) -> None:
        super().__init__(why)
        self.state = state
        self.why = why
        self.anew = anew


class _Answer(Protocol):
    @property
    def limits(self) -> Limits: ...


T = TypeVar("T", bound=_Answer)


class Caller:
    """One process's calls for one run. `now()` goes on from the moment that it was given."""

    def __init__(self, run: SyncRun, now: dt.datetime, pause: Callable[[float], None]) -> None:
        self._run = run
        self._began, self._began_at = boot_clock(), now
        self._pause = pause
        self._rest = 0.0
        # The newest that was told, less the calls that were not answered since.
        self._left: int | None = None
        self._interval = INTERVAL_SECONDS
        # What is left of the day, and when that was told.
        self._daily: tuple[int | None, dt.datetime | None] = (None, None)

    def now(self) -> dt.datetime:
        return self._began_at + dt.timedelta(seconds=boot_clock() - self._began)

    def heed(self, location: Location | None) -> None:
        """Limits that an earlier process was told of hold for this one too."""
        if location is None:
            return
        self._daily = (location.calls_left, location.calls_left_at)
        if location.rest_until is not None:
            self._rest = max(0.0, (location.rest_until - self.now()).total_seconds())

    def ask(self, call: Callable[[], T]) -> T:
        """One call with what patience it takes. Raises `Stopped`, or `ApiError` if too large."""
        for delay in (*DELAYS, None):
            self._wait()
            try:
                answer = call()
            except ApiError as error:
                self._learn(error.limits)
                if error.too_large:
                    self._note(error.limits)
                    raise
                self._weigh(error, delay)
            else:
                self._learn(answer.limits)
                return answer
        raise AssertionError("the last try either returns or raises")

    def _weigh(self, error: ApiError, delay: float | None) -> None:
        """Arrange to try again after an error, or stop."""
        self._note(error.limits)
        why = f"{error.message} ({error.status or 'no answer'})"
        if not error.state.transient:
            raise Stopped(error.state, why)
        if error.status is not None and 300 <= error.status < 500 and error.status != 429:
            # What is wrong with the request may be the cursor.
            raise Stopped(error.state, why, anew=True)
        if error.limits.used_up:
            raise Stopped(State.THROTTLED, USED_UP)
        if delay is None:
            raise Stopped(error.state, f"{why}, {TRIES} times")
        if not self._rest:
            self._rest = self._interval if error.state is State.THROTTLED else delay

    def _learn(self, limits: Limits) -> None:
        """What an answer says about the next call; without one, what is known from before."""
        if limits.daily_left is not None:
            self._daily = (limits.daily_left, self.now())
        if limits.left is not None:
            self._left, self._interval = limits.left, limits.interval
        elif self._left:
            self._left -= 1  # a call that nobody answered may have counted all the same
        self._rest = max(limits.rest, self._interval if self._left == 0 else 0.0)

    def _wait(self) -> None:
        """Rest as long as was asked for, with signs of life. Raises `Stopped`."""
        if over_for_today(*self._daily, self.now()):
            raise Stopped(State.THROTTLED, USED_UP)
        if self._rest > LONGEST_REST:
            raise Stopped(State.THROTTLED, f"asked to wait for {self._rest:.0f} s")
        while self._rest > 0:
            piece = min(self._rest, SIGN_OF_LIFE)
            self._pause(piece)
            self._rest -= piece
            self.show_life()

    def show_life(self) -> None:
        """Say that this process is at work. Raises `TakenOver`."""
        if not mine(self._run).update(heartbeat_at=self.now()):
            raise TakenOver

    def _note(self, limits: Limits) -> None:
        """Of no use to this process, but to the one that follows if it is killed now."""
        values = told(limits, self.now())
        if values:
            Location.objects.filter(location_id=self._run.location_id).update(**values)
        self.show_life()
