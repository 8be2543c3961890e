"""`manage.py crontab`: django-crontab's, made to say what is wrong, and to fail then.

https://github.com/kraiz/django-crontab/blob/0.7.1/django_crontab/crontab.py
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.module_loading import import_string
from django_crontab.crontab import Crontab

from config.schedule import CHECKER
from integrations.times import clock

# What a crontab line and the shell leave as it is: no space, no % (a line's end to cron), no quote.
_PLAIN = re.compile(r"[\w@+=:,./-]+")
# What cron itself looks for programs in (crontab(5)).
_CRON_PATH = "/usr/bin:/bin"
# How the implementations of crontab(1) say that there is none yet; not all of them say anything.
_NONE_YET = re.compile(r"no crontab|no such file|^$", re.IGNORECASE)


class Table(Crontab):  # type: ignore[misc]  # django-crontab has no types
    """The crontab of the present user. Without a cron, or where that refuses, `CommandError`."""

    def __init__(self) -> None:
        # With a higher one it looks each removed job up, and stops at one that has changed.
        super().__init__(verbosity=0)

    def read(self) -> None:
        listed = _crontab("-l")
        if listed.returncode and not _NONE_YET.search(listed.stderr.strip()):
            # Whoever went on would write a crontab without anybody else's jobs.
            raise CommandError(f"The crontab cannot be read: {listed.stderr.strip()}")
        self.crontab_lines = listed.stdout.splitlines(keepends=True)

    def write(self) -> None:
        if self.crontab_lines and not self.crontab_lines[-1].endswith("\n"):
            self.crontab_lines[-1] += "\n"
        with tempfile.NamedTemporaryFile("w", suffix=".crontab") as file:
            file.writelines(self.crontab_lines)
            file.flush()
            written = _crontab(file.name)
        if written.returncode:
            told = written.stderr.strip() or f"it ended with {written.returncode}"
            raise CommandError(f"The crontab was not accepted: {told}")

    def ours(self) -> list[str]:
        """The lines of this installation, whatever version of it wrote them."""
        found = (self.settings.CRONTAB_LINE_REGEXP.findall(line) for line in self.crontab_lines)
        return [
            line
            for line, parts in zip(self.crontab_lines, found, strict=True)
            if parts and parts[0][4] == self.settings.CRONTAB_COMMENT
        ]

    def job(self, line: str) -> tuple[str, str, list[str]] | None:
        """What a line of ours runs; None for a job that has changed since."""
        named = line.partition("crontab run ")[2].split()
        return self.job_of(named[0]) if named else None

    def job_of(self, job_hash: str) -> tuple[str, str, list[str]] | None:
        try:
            found: tuple[str, str, list[str]] = self._Crontab__get_job_by_hash(job_hash)
        except RuntimeError:
            return None
        return found


class Command(BaseCommand):
    help = "Puts the scheduled jobs into the crontab of the present user, shows or removes them."
    # `run` is started every minute.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("subcommand", choices=["add", "show", "remove", "run"])
        parser.add_argument("jobhash", nargs="?", help="for run, which cron calls")

    def handle(
        self, *args: Any, subcommand: str, jobhash: str | None, verbosity: int, **options: Any
    ) -> None:
        self.silent = verbosity < 1
        match subcommand:
            case "run":
                self._run(jobhash or "")
            case "show":
                self._show()
            case "remove":
                self._replace(adding=False)
            case "add":
                if problem := _problem():
                    raise CommandError(problem)
                self._replace(adding=True)

    def _run(self, job_hash: str) -> None:
        """Not django-crontab's own, which ends with 0 even when the job has failed."""
        job = Table().job_of(job_hash)
        if job is None:
            raise CommandError(
                "The crontab names a job that is no more. Run `manage.py crontab add` again."
            )
        import_string(job[1])(*job[2])

    def _replace(self, *, adding: bool) -> None:
        table = Table()
        table.read()
        before = table.ours()
        if not (before or adding):
            self._say("There was nothing to remove from the crontab.")
            return
        table.remove_jobs()
        if adding:
            table.add_jobs()
        wanted = table.ours()
        table.write()
        table.read()
        if table.ours() != wanted:
            raise CommandError(
                "The crontab took the jobs, and does not have them. Look at `crontab -l`."
            )
        if not adding:
            self._say(f"Removed from the crontab: {len(before)} jobs.")
            return
        self._list(table)
        now = timezone.now()
        first = CHECKER.next_run(now)
        minutes = max(1, round((first - now).total_seconds() / 60))
        self._say(f"The first check starts at {clock(first)}, in {minutes} min.")

    def _show(self) -> None:
        table = Table()
        table.read()
        if not table.ours():
            self._say("There are no jobs of this installation in the crontab.")
        self._list(table)

    def _list(self, table: Table) -> None:
        for line in table.ours():
            job = table.job(line)
            told = " ".join(job[2]) if job else "has changed since: run `manage.py crontab add`"
            self._say(f"{' '.join(line.split()[:5]):14} {told}")

    def _say(self, text: str) -> None:
        if not self.silent:
            self.stdout.write(text)


def _problem() -> str:
    """Why no line could work on this machine; empty if nothing is in the way."""
    for path in (settings.CRONTAB_DJANGO_MANAGE_PATH, Table().settings.PYTHON_EXECUTABLE):
        if not _PLAIN.fullmatch(path):
            return (
                f"{path} has a character in it that a crontab line cannot hold, such as a space "
                "or a percent sign. Move the project to a folder without any."
            )
    prefix = settings.CRONTAB_COMMAND_PREFIX.split()
    if prefix and shutil.which(prefix[0], path=_CRON_PATH) is None:
        return f"Cron would not find `{prefix[0]}`, which stops a job that hangs (coreutils)."
    return ""


def _crontab(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*shlex.split(settings.CRONTAB_EXECUTABLE), *arguments]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = getattr(error, "strerror", None) or "it does not answer"
        raise CommandError(
            f"There is no cron to be used on this machine: {settings.CRONTAB_EXECUTABLE} "
            f"({why}). Install cron, set CRONTAB_EXECUTABLE, or let another scheduler run the "
            "jobs: see the README."
        ) from None
