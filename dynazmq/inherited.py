"""What a process of ours does not take from whoever started it: docs/operations.md has the whole table.

The umask, ignored and blocked signals and the standard streams come from a shell, a service manager or another program, and are
set for that one. `prepare` is the first thing that a command, a supervisor and a node do. Variables are looked at where they are
handed on (`cluster.processes.environment`), descriptors and their limit where they are counted (`wire/descriptors.py`).
"""

from __future__ import annotations

import os
import signal

from dynazmq import streams

_OWNER = 0o700


def prepare() -> None:
    """For a process of ours, before it opens anything. A library does none of this: all of it is the program's."""
    streams.prepare()
    # A umask that keeps files from others is honoured. One that keeps them from their owner would lock us out of our own.
    os.umask(os.umask(0o077) & ~_OWNER)
    # Ignored, the system forgets how a child ended: an editor that failed would seem to have ended well.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked, a request to end would not be heard: each node would be waited for, and then killed.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
