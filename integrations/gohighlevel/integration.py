"""GoHighLevel: said to be missing until it is built."""

import datetime as dt
from collections.abc import Sequence

from integrations.base import Assessment, Integration, not_set_up


class GoHighLevel(Integration):
    slug = "gohighlevel"
    name = "GoHighLevel"

    def assess(self, now: dt.datetime, accounts: Sequence[str] | None = None) -> list[Assessment]:
        return not_set_up(
            self,
            accounts,
            impact="Contacts in GoHighLevel are not compared yet.",
            missing="the GoHighLevel private integration token and location",
        )
