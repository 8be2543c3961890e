"""Two things timed in turns, and what came of it as a row of the table."""

import gc
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

PAIRS = 11
# The best of so many is a side's time in a pair: on a machine that is busy otherwise the longer
# of two requests is interrupted more often, which would make it look longer still.
TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure on one database. `most` is the target, None for a mere piece of information."""

    what: str
    figure: float
    detail: str = ""
    most: float | None = None

    @property
    def missed(self) -> bool:
        return self.most is not None and self.figure > self.most

    def tell(self) -> None:
        """To the parent process, a line of JSON."""
        print(json.dumps(asdict(self)), flush=True)


@dataclass(frozen=True)
class Pairs:
    """What a subject and its yardstick took, in milliseconds, pair by pair."""

    times: list[tuple[float, float]]

    @property
    def ratio(self) -> float:
        """The median of the ratios: a disturbance spoils the pairs that it hits and no others."""
        return round(median(subject / yardstick for subject, yardstick in self.times), 2)

    def row(self, what: str, most: float | None) -> Row:
        subject = median(subject for subject, _ in self.times)
        yardstick = median(yardstick for _, yardstick in self.times)
        detail = f"{subject:.1f} / {yardstick:.1f} ms"
        return Row(what=what, figure=self.ratio, detail=detail, most=most)


def side_by_side(
    subject: Callable[[], object], yardstick: Callable[[], object], pairs: int = PAIRS
) -> Pairs:
    """Time both, in turns who goes first, after a warm-up that does not count."""
    for _ in range(3):
        subject()
        yardstick()
    times: list[tuple[float, float]] = []
    for number in range(pairs):
        if number % 2:
            late = _best_milliseconds(yardstick)
            times.append((_best_milliseconds(subject), late))
        else:
            times.append((_best_milliseconds(subject), _best_milliseconds(yardstick)))
    return Pairs(times)


def _best_milliseconds(action: Callable[[], object]) -> float:
    return min(_milliseconds(action) for _ in range(TRIES))


def _milliseconds(action: Callable[[], object]) -> float:
    # The garbage of one side must not be swept in the time of the other.
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        action()
        return 1000 * (time.perf_counter() - began)
    finally:
        gc.enable()
