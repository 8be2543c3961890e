"""What cron calls through django-crontab, and every other scheduler as

    python -m config.jobs check_quickbooks --confirm --quiet

in the folder of manage.py: one run of one job of the schedule, guarded and written down.
"""

import fcntl
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command
from django.db import Error as AnyDatabaseError
from django.db import close_old_connections, connection
from django.utils import timezone

from config.schedule import CHECKER, JOBS

logger = logging.getLogger("config.jobs")  # also when it is run as a program


class RunningAlready(Exception):
    """The last run of this job is not over yet."""


def command(name: str, *options: str) -> None:
    """Run a management command, unless its last run is still at work: then end at once.

    Whatever it finds is a good run: its exit code is for monitoring plugins, and what it prints,
    cron mails. Raises `SystemExit(1)` when it could not do its work.
    """
    with suppress(RunningAlready), _alone(name):
        if not _recorded(name, options):
            sys.exit(1)


def lock_file(name: str) -> Path:
    """Where a job's lock is. The demo may run beside the real thing."""
    return Path(settings.VAR_DIR) / f"{'demo-' if settings.DEMO else ''}{name}.lock"


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Hold the job's lock, which the kernel takes back even after `kill -9`."""
    path = lock_file(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a")
    except OSError as error:  # a folder that is read-only, or full, is no reason not to look
        logger.warning("%s runs without its lock: %s", name, error.strerror)
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            logger.info("The last run of %s is not over yet.", name)
            raise RunningAlready from None
        yield


def _recorded(name: str, options: tuple[str, ...]) -> bool:
    """Run it and write that down, if the database takes it. Whether it did its work."""
    # Only here: `python -m config.jobs` has to set Django up before any model is imported.
    from integrations import heartbeat, runs

    run = None
    try:
        run = runs.begin(name, timezone.now())
    except AnyDatabaseError as error:
        _not_recorded(name, error)
    ok = _run(name, options)
    if not connection.in_atomic_block:
        close_old_connections()  # one that broke meanwhile would lose the end of the run as well
    try:
        if run is not None:
            runs.finish(run, timezone.now(), ok=ok)
    except AnyDatabaseError as error:
        _not_recorded(name, error)
    if ok and name == CHECKER.name:
        heartbeat.beat()
    return ok


def _run(name: str, options: tuple[str, ...]) -> bool:
    from integrations.runs import WorkNotDone

    try:
        call_command(name, *options)
    except WorkNotDone:
        return False  # it has said why
    except SystemExit as verdict:
        return verdict.code in {None, 0, 1, 2, 3}
    except Exception:
        # django-crontab would end with 0.
        logger.exception("%s broke off", name)
        return False
    return True


def _not_recorded(name: str, error: AnyDatabaseError) -> None:
    logger.error("A run of %s could not be recorded: %s", name, type(error).__name__)


if __name__ == "__main__":
    known = {job.name for job in JOBS}
    if not known.intersection(sys.argv[1:2]):
        sys.exit(f"usage: python -m config.jobs NAME [OPTIONS], with one of {', '.join(known)}")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    command(*sys.argv[1:])
