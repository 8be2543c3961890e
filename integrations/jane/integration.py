"""Jane through ClinicSync: said to be missing until it is built."""

import datetime as dt
from collections.abc import Sequence

from integrations.base import Assessment, Integration, not_set_up


class Jane(Integration):
    slug = "jane"
    name = "Jane / ClinicSync"

    def assess(self, now: dt.datetime, accounts: Sequence[str] | None = None) -> list[Assessment]:
        return not_set_up(
            self,
            accounts,
            impact="New memberships from Jane are not watched yet.",
            missing="the ClinicSync webhook",
        )
