"""One call in a process of its own, over at its deadline whatever it does.

No timeout of a library bounds a name look-up, a server that drips, or a lock inside of a C
library; the end of a process does. The child is forked, so that it starts at once and with all
that it needs. What that takes:

* It writes its answer into a pipe and leaves by `os._exit`: nothing of the parent's is flushed,
  closed or rolled back from here. Finalizers do not run either, and psycopg and SQLite leave a
  connection alone that another process has opened, as long as nobody uses it.
* It dies with its parent where the platform can do that (Linux), and by an alarm of its own a
  second after the deadline everywhere, so that nothing is sent by a process that nobody knows of
  any more.
* A lock that another thread held at the moment of the fork is never released in the child. It
  then hangs, and that is what the deadline is for. Import what the call needs before calling.

Not for web requests: a gunicorn worker has many threads and sockets. They queue.
"""

import ctypes
import gc
import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from integrations.deadline import boot_clock

# One write of so much arrives in one piece.
LONGEST_ANSWER = select.PIPE_BUF
_PR_SET_PDEATHSIG = 1  # https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
_prctl = getattr(ctypes.CDLL(None), "prctl", None)

Say = Callable[[str], object]


def call(work: Callable[[Say], object], seconds: float) -> str:
    """Run `work` in a child and return the first thing that it says, in at most 4,096 bytes.

    What it does afterwards (closing a connection politely) has the rest of the time. Raises
    `TimeoutError` when nothing was said in time, `ChildProcessError` when the child ended
    without a word, `OSError` when none could be started.
    """
    ends_at = boot_clock() + seconds
    # What waits in a buffer would otherwise be written by both.
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    reading, writing = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if not pid:
        _be_the_child(work, writing, parent, seconds)
    os.close(writing)
    try:
        if not _readable(reading, ends_at):
            raise TimeoutError
        said = os.read(reading, LONGEST_ANSWER).decode()
        if not said:
            raise ChildProcessError("it ended without a word")
        _readable(reading, ends_at)  # that is its end
        return said
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _readable(reading: int, ends_at: float) -> bool:
    """Wait until something can be read, or the other end is closed. False: not in time."""
    waiting = select.poll()
    waiting.register(reading, select.POLLIN)
    return bool(waiting.poll(max(0.0, ends_at - boot_clock()) * 1000))


def _be_the_child(
    work: Callable[[Say], object], writing: int, parent: int, seconds: float
) -> NoReturn:
    try:
        gc.disable()
        _die_with(parent)
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        # Later than the parent's own look at the clock, which knows better what to call it.
        signal.setitimer(signal.ITIMER_REAL, seconds + 1)
        work(lambda text: os.write(writing, text.encode()[:LONGEST_ANSWER]))
    finally:
        os._exit(0)


def _die_with(parent: int) -> None:
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before this was said
        os._exit(1)
