"""A call in a child process: its deadline, its end, and the end of its parent."""

import os
import signal

import pytest

from integrations.alerts import bounded
from tests.alerts import (
    PATIENT,
    SHORT,
)
from tests.support import within


def test_a_child_that_says_nothing_is_killed_at_its_deadline() -> None:
    with within(SHORT + 5), pytest.raises(TimeoutError):
        bounded.call(lambda say: signal.pause(), SHORT)


def test_a_child_that_breaks_is_told_from_one_that_hangs() -> None:
    def work(say: bounded.Say) -> None:
        raise RuntimeError

    with pytest.raises(ChildProcessError):
        bounded.call(work, PATIENT)


def test_what_was_said_counts_though_the_child_hangs_afterwards() -> None:
    def work(say: bounded.Say) -> None:
        say("done")
        signal.pause()

    with within(SHORT + 5):
        assert bounded.call(work, SHORT) == "done"


def test_nothing_of_the_parents_runs_in_the_child(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither its buffers nor its way out, and no child is left behind."""
    print("once", end="")
    parent = os.getpid()
    said = bounded.call(lambda say: say(str(os.getpid())), PATIENT)
    assert int(said) != parent
    assert capfd.readouterr().out == "once"
    with pytest.raises(ChildProcessError):
        os.waitpid(int(said), os.WNOHANG)


def test_the_child_dies_with_its_parent() -> None:
    """`kill -9` of a sender stops what it was sending."""
    reading, writing = os.pipe()

    def work(say: bounded.Say) -> None:
        os.write(writing, b".")
        signal.pause()

    parent = os.fork()
    if not parent:
        try:
            os.close(reading)
            bounded.call(work, 600)
        finally:
            os._exit(0)
    os.close(writing)
    assert os.read(reading, 1) == b"."
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    with within(5):
        assert os.read(reading, 1) == b""  # the last that could write there is gone
    os.close(reading)
