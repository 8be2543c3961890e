"""What happened to memberships that belongs into the books: how many, and which to look for.

A membership that ended and then vanished from its list has ended once.
"""

import datetime as dt
from typing import Any

from django.db.models import Case, CharField, Count, Max, QuerySet, Value, When

from integrations.base import CHANGES_AT_MOST, Change
from integrations.jane.models import Kind, MembershipChange

# A change of anything else is none of the books' business.
_WHAT = {
    Kind.APPEARED: "begun",
    Kind.RENEWED: "renewed",
    Kind.ENDED: "ended",
    Kind.REMOVED: "ended",
}


def between(since: dt.datetime, until: dt.datetime) -> list[Change]:
    """Newest first, at most `CHANGES_AT_MOST`. One statement, by the index on time.

    The reference is the membership's id; for one without an id, whose key is the name of its
    plan, the patient's.
    """
    names = ("membership__vendor_id", "membership__person_id")
    rows = _rows(since, until).values("membership", "what", *names).annotate(last=Max("at"))
    return [
        Change(
            at=row["last"],
            what=row["what"],
            reference=row["membership__vendor_id"] or f"patient {row['membership__person_id']}",
        )
        for row in rows.order_by("-last", "-membership")[:CHANGES_AT_MOST]
    ]


def count(since: dt.datetime, until: dt.datetime) -> dict[str, int]:
    """How many memberships have begun, were renewed and have ended. One statement."""
    rows = _rows(since, until).order_by().values("what")
    found = rows.annotate(memberships=Count("membership", distinct=True))
    return {row["what"]: row["memberships"] for row in found}


def _rows(since: dt.datetime, until: dt.datetime) -> QuerySet[Any]:
    cases = [When(kind=kind, then=Value(what)) for kind, what in _WHAT.items()]
    return MembershipChange.objects.filter(at__gte=since, at__lte=until, kind__in=_WHAT).annotate(
        what=Case(*cases, output_field=CharField())
    )
