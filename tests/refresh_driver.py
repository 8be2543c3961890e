"""A warm process that forks a child for every job, so that fifty crashes take seconds.

`python -m tests.refresh_driver GATE`, the file descriptor of a pipe. One line of JSON on stdin is
a job. What becomes of it goes to stdout, a line of JSON each with the child's `pid`: `forked`,
`ready`, `told`, `done` with the result, `stopped`, `ended` with the exit code. No thread and no
database connection exists here, so a child begins as a freshly started process would, with its
imports behind it.
"""

import datetime as dt
import functools
import hashlib
import io
import itertools
import json
import os
import pkgutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from types import FrameType
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import execute_from_command_line  # noqa: E402
from django.db import OperationalError, connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from integrations.alerts import claims  # noqa: E402
from integrations.alerts.delivery import deliver  # noqa: E402
from quickbooks import tokens  # noqa: E402
from quickbooks.management.commands import (  # noqa: E402, F401  # warm
    check_quickbooks,
    quickbooks_access_token,
)
from quickbooks.models import Trigger  # noqa: E402
from quickbooks.probe import probe  # noqa: E402
from tests import mail  # noqa: E402


def say(**event: Any) -> None:
    """One write: lines of several processes do not mix in a pipe while they are short."""
    os.write(1, json.dumps(event).encode() + b"\n")


def command(args: list[str]) -> dict[str, Any]:
    """`manage.py …`: its exit code and what it printed."""
    printed, code = io.StringIO(), 0
    with redirect_stdout(printed):
        try:
            execute_from_command_line(["manage.py", *args])
        except SystemExit as end:
            code = int(end.code or 0)
    return {"code": code, "text": printed.getvalue().strip()[:2000]}


def check(realm: str) -> dict[str, Any]:
    """A new probe; `diagnosis` is None if it was not this process that made one."""
    outcome = probe(
        realm,
        trigger=Trigger.COMMAND,
        now=timezone.now(),
        fresh=True,
        patience=settings.QUICKBOOKS_DEADLINE_SECONDS,
    )
    own = outcome.check if not outcome.reused else None
    return {"diagnosis": own.diagnosis if own else None, "recorded": outcome.recorded}


def obtain(realm: str, threads: int, refused: int | None) -> list[str]:
    """Straight to the lease, from several threads at once: fingerprints of what they got."""
    found: list[str] = []
    together = threading.Barrier(threads)

    def one() -> None:
        together.wait()
        try:
            access = tokens.obtain_access(
                realm,
                now=timezone.now(),
                trigger="token",
                patience=settings.QUICKBOOKS_DEADLINE_SECONDS,
                refused=refused,
            )
            found.append(hashlib.sha256(access.token.encode()).hexdigest())
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    pool = [threading.Thread(target=one) for _ in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    return found


def alerts(port: int, seconds: float) -> str:
    """Send until nothing is left but what others have in hand, on a clock that hurries ahead:
    every run is an hour later, so that what failed is due again."""
    mail.use(port)
    at = timezone.now()
    tally = None
    while claims.due(at + dt.timedelta(days=3650)).filter(~claims.behind()).exists():
        tally = deliver(at, deadline=seconds)
        at += dt.timedelta(hours=1)
    return str(tally)


JOBS: dict[str, Callable[..., Any]] = {
    "alerts": alerts,
    "check": check,
    "command": command,
    "obtain": obtain,
}


def strike(do: str) -> None:
    if do == "FAIL":
        raise OperationalError("refused for the test")
    elif do == "TELL":
        say(pid=os.getpid(), told=True)
    elif do == "WAIT":
        time.sleep(0.3)
    else:
        os.kill(os.getpid(), {"KILL": signal.SIGKILL, "STOP": signal.SIGSTOP}[do])


def interrupt(at: str, when: str, do: str, nth: int = 1, times: int = 1) -> None:
    """Let something happen to this process `before` or `after` the nth call of a function."""
    module, _, path = at.partition(":")
    parent, _, name = path.rpartition(".")
    owner = pkgutil.resolve_name(f"{module}:{parent}" if parent else module)
    original = getattr(owner, name)
    calls = itertools.count(1)

    @functools.wraps(original)
    def interrupted(*args: Any, **kwargs: Any) -> Any:
        hit = nth <= next(calls) < nth + times
        if hit and when == "before":
            strike(do)
        result = original(*args, **kwargs)
        if hit and when == "after":
            strike(do)
        return result

    setattr(owner, name, interrupted)


def be_a_child(job: dict[str, Any], gate: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid, code = os.getpid(), 0
    try:
        for name, value in job["settings"].items():
            setattr(settings, name, value)
        for one in job["interrupts"]:
            interrupt(**one)
        say(pid=pid, ready=True)
        if job["gated"]:
            os.read(gate, 1)
        say(pid=pid, done=JOBS[job["what"]](**job["given"]))
    except BaseException as error:
        traceback.print_exc()
        say(pid=pid, done={"error": f"{type(error).__name__}: {error}"[:500]})
        code = 1
    sys.stderr.flush()
    # Not sys.exit: the frames of the parent lie below.
    os._exit(code)


def bury(signum: int, frame: FrameType | None) -> None:
    """Tell of every child that ended or stopped."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return
        if not pid:
            return
        if os.WIFSTOPPED(status):
            say(pid=pid, stopped=os.WSTOPSIG(status))
        else:
            say(pid=pid, ended=os.waitstatus_to_exitcode(status))


def main(gate: int) -> None:
    signal.signal(signal.SIGCHLD, bury)
    say(pid=0, ready=True)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            be_a_child(json.loads(line), gate)
        say(pid=0, forked=pid)


if __name__ == "__main__":
    main(int(sys.argv[1]))
