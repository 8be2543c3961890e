"""cron, as far as it matters to its jobs: what it reads in a crontab, and how it starts a line.

The rules are those of crontab(5); the files are kept by a `crontab` of our own.
"""

import datetime as dt
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# Keeps the table beside itself, and talks as Debian's does.
CRONTAB = """#!/bin/sh
table="$(dirname "$0")/table"
case "$1" in
    -l) [ -f "$table" ] || { echo "no crontab for $(id -un)" >&2; exit 1; }; cat "$table" ;;
    *) cp "$1" "$table" ;;
esac
"""
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def make_crontab(folder: Path, text: str = CRONTAB) -> Path:
    """A `crontab` in a folder of its own; its table is the file of that name beside it."""
    folder.mkdir(exist_ok=True)
    program = folder / "crontab"
    program.write_text(text)
    program.chmod(0o755)
    return program


@dataclass(frozen=True)
class Line:
    """One job: when, and what the shell is given."""

    fields: tuple[frozenset[int], ...]
    command: str

    def is_due(self, at: dt.datetime) -> bool:
        minutes, hours, days, months, weekdays = self.fields
        return (
            at.minute in minutes
            and at.hour in hours
            and at.day in days
            and at.month in months
            and at.isoweekday() % 7 in {day % 7 for day in weekdays}
        )


def lines(table: str) -> list[Line]:
    """The jobs of a crontab; comments and settings of variables are none."""
    found = []
    for text in table.splitlines():
        text = text.strip()
        if not text or text.startswith("#") or re.match(r"\w+\s*=", text):
            continue
        *fields, command = text.split(None, 5)
        assert len(fields) == 5, text
        numbers = (_numbers(field, *bounds) for field, bounds in zip(fields, _BOUNDS, strict=True))
        # The first % ends the command, and what follows would be its input.
        found.append(Line(tuple(numbers), re.split(r"(?<!\\)%", command)[0]))
    return found


def _numbers(field: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        end = last or (high if step else first)
        found.update(range(int(first), int(end) + 1, int(step or 1)))
    return frozenset(found)


@contextmanager
def started(line: Line, home: Path) -> Iterator["subprocess.Popen[str]"]:
    """A job as cron starts it: almost no environment, in the home directory, by the shell.

    Whatever is left of it at the end of the block is killed.
    """
    environment = {
        "HOME": str(home),
        "LOGNAME": "clinic",
        "SHELL": "/bin/sh",
        "PATH": "/usr/bin:/bin",
    }
    process = subprocess.Popen(
        ["/bin/sh", "-c", line.command],
        env=environment,
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill(process)


def kill(process: "subprocess.Popen[str]") -> None:
    """`kill -9` to the shell, to `timeout`, which makes a process group of its own, and to the
    job."""
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            session = (folder / "stat").read_text().rpartition(")")[2].split()[3]
            if int(session) == process.pid:
                os.kill(int(folder.name), signal.SIGKILL)
    process.wait()


def run(line: Line, home: Path) -> tuple[int, str]:
    """Exit code and what cron would mail."""
    with started(line, home) as process:
        said, _ = process.communicate(timeout=60)
    return process.returncode, said
