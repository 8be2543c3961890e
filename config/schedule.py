"""The schedule: what runs by itself, and how often. `settings.CRONJOBS` is made of it.

Whoever starts the jobs in another way than cron (a systemd timer, a container) takes the names,
the options and the times from here as well.
"""

import datetime as dt
from dataclasses import dataclass

_MINUTE = dt.timedelta(minutes=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A management command that runs every so many minutes, from `minute` of the hour on.

    Raises `ValueError` for a rhythm that no hour is a multiple of: a crontab line starts anew
    with each hour.
    """

    name: str
    options: tuple[str, ...] = ()
    every: int
    minute: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.every <= 60 or 60 % self.every or not 0 <= self.minute < self.every:
            raise ValueError(f"{self.name}: {self.every} minutes from {self.minute} on")

    @property
    def interval(self) -> dt.timedelta:
        return self.every * _MINUTE

    @property
    def expression(self) -> str:
        """The five fields of a crontab line."""
        if self.every == 60:
            minutes = str(self.minute)
        elif self.every == 1:
            minutes = "*"
        else:
            minutes = f"{f'{self.minute}-59' if self.minute else '*'}/{self.every}"
        return f"{minutes} * * * *"

    def slot(self, at: dt.datetime) -> dt.datetime:
        """When the run that belongs to this moment was to start: now or just before, in UTC.

        Every zone's quarter of an hour begins when UTC's does; the hour itself does not in a few.
        """
        offset = self.minute * _MINUTE
        return at - (at - _EPOCH - offset) % self.interval

    def next_run(self, now: dt.datetime) -> dt.datetime:
        """The first start that is later than `now`."""
        return self.slot(now) + self.interval

    def slots(self, after: dt.datetime, until: dt.datetime) -> list[dt.datetime]:
        """The starts later than `after` and not later than `until`, oldest first."""
        count = (self.slot(until) - self.slot(after)) // self.interval
        return [self.slot(after) + number * self.interval for number in range(1, count + 1)]


# The one whose standstill looks like peace; it is watched itself.
CHECKER = Job(name="check_quickbooks", options=("--confirm", "--quiet"), every=15)
ALERTS = Job(name="send_alerts", options=("--quiet",), every=1)
JOBS = (
    CHECKER,
    # Not on the hour, when everybody else's jobs start.
    Job(name="sync_gohighlevel", options=("--quiet",), every=60, minute=7),
    # What starts all of them at once, as the demo does, judges after everything was asked.
    Job(name="check_integrations", options=("--quiet",), every=15),
    ALERTS,
)


def crontab() -> list[tuple[str, str, list[str]]]:
    """The jobs as django-crontab wants them."""
    return [(job.expression, "config.jobs.command", [job.name, *job.options]) for job in JOBS]
