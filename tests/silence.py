"""No run of the tests hangs for ever, and what it hung in is said.

A test that waits is ended by its own limit of time (pyproject.toml), as long as its process can run. This watches from
outside, in the process that hands out the tests: a worker that was stopped, one that ended while a child of its own holds
its pipe, a run that does not come to its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import psutil
import pytest

SILENCE_S = 600.0
"""Without a report of any worker. A test has 300 s, what hangs in C 400 s."""


class Watch:
    """Of a run with workers: after SILENCE_S those that are left end with the stacks of their threads; then the run itself."""

    def __init__(self) -> None:
        self._heard = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def pytest_runtest_logstart(self) -> None:
        self._heard = time.monotonic()

    def pytest_runtest_logreport(self) -> None:
        self._heard = time.monotonic()

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            if time.monotonic() - self._heard > SILENCE_S:
                self._end_them()
                self._heard = time.monotonic()

    def _end_them(self) -> None:
        stderr = sys.__stderr__ or sys.stderr
        below = psutil.Process().children(recursive=True)
        print(f"\nno test has begun or ended for {SILENCE_S:.0f} s; below this run there are:", file=stderr)
        for process in below:
            try:
                line = " ".join(process.cmdline())[:120]
                print(f"  {process.pid}  child of {process.ppid()}  {process.status()}  {line}", file=stderr)
            except psutil.Error:
                continue
        workers = psutil.Process().children()
        for process in workers:
            try:
                process.send_signal(signal.SIGABRT)  # pytest has enabled faulthandler: it writes the stacks
                process.send_signal(signal.SIGCONT)
            except psutil.Error:
                continue
        if not workers:
            os.abort()
