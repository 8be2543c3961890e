"""A demo of its own for a test: a copy of the tree, started as `make run` starts it."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.server import free_port

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("config", "integrations", "quickbooks", "dashboard", "templates")
START_SECONDS = 120


@dataclass(frozen=True)
class Demo:
    """Where a running demo is, and how to sign in."""

    url: str
    control_url: str
    user: str
    password: str
    pid: int


def copy_tree(folder: Path) -> Path:
    """The product without anybody's `.env`, database and collected files."""
    tree = folder / "tree"
    for part in PARTS:
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("manage.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / file, tree)
    return tree


def own_port() -> int:
    """A free port with free ones behind it for the stand-ins.

    Below those that the system hands out to clients, or one of the other tests' connections may
    sit on a stand-in's port by the time that it starts.
    """
    return free_port(random.randrange(20_000, 30_000, 10))


@contextmanager
def running(tree: Path, port: int | None = None) -> Iterator[Demo]:
    """What `make run` does once the packages are there, until SIGTERM."""
    chosen = str(port or own_port())
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    first_run = [sys.executable, "-m", "config.first_run", "--port", chosen]
    subprocess.run(first_run, cwd=tree, env=environment, check=True, timeout=60)
    log = tree / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", chosen],
            cwd=tree,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _where(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()


def _where(process: "subprocess.Popen[bytes]", log: Path) -> Demo:
    for _ in range(START_SECONDS * 10):
        said = log.read_text()
        told = re.search(r"Open (\S+)/  sign in as (\S+) / (\S+)\nBreak things at (\S+)\n", said)
        if told:
            return Demo(told[1], told[4], told[2], told[3], process.pid)
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"The demo did not start:\n{log.read_text()}")
