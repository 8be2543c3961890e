"""How many checks there ever were, by company, diagnosis and latency: the source of the counters.

Kept beside the history, which is pruned, and far too long to be counted for every scrape.
"""

import math
from bisect import bisect_left

from integrations import counters
from quickbooks.models import CheckCount, ConnectionHealthCheck

# The upper bounds of the histogram's buckets, in seconds. Stored counts go by the index: a change
# needs a migration (0002 has them as well).
BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, math.inf)
NO_ANSWER = -1


def count(check: ConnectionHealthCheck) -> None:
    """Count a check in the transaction that records it; one that only confirms does not count.

    First of all the writes there: whoever waits for a counter holds nothing else then, so two
    transactions cannot wait for each other. Raises `DatabaseError`.
    """
    if check.confirming:
        return
    key = {
        "realm_id": check.realm_id,
        "diagnosis": str(check.diagnosis),
        "bucket": bucket(check.latency_ms),
    }
    counters.add(CheckCount, key, {"count": 1, "latency_ms": check.latency_ms or 0})


def bucket(latency_ms: int | None) -> int:
    """The index of the bound that a latency in milliseconds falls under."""
    return NO_ANSWER if latency_ms is None else bisect_left(BOUNDS, latency_ms / 1000)
