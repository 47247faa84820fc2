"""Who a process is: a pid alone names nobody."""

from __future__ import annotations

import os
import subprocess
import sys

from dynazmq.cluster.processes import Identity, identify, state_of


def test_p8_a_zombie_counts_as_gone_though_it_can_be_signalled() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        identity = identify(child.pid)
        assert identity is not None
        assert state_of(identity) == "running"
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its parent has not taken note of it
        os.kill(child.pid, 0)
        assert identify(child.pid) is None
        assert state_of(identity) is None
    finally:
        child.kill()
        child.wait()


def test_p9_a_process_of_the_same_pid_that_was_started_at_another_time_is_another() -> None:
    """The number is used again."""
    assert state_of(Identity(os.getpid(), "another time")) is None
