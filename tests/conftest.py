"""What every test has: a home of its own. Whatever this user runs on the host, tests neither see it nor touch it.

State, configuration, caches and sockets of a test run are in a directory that goes with it, and no DYNAZMQ_… variable of the
shell is taken over. Processes have no home: those of the host's other clusters are told from the tests' own by a mark in their
environment, which a supervisor hands on to its nodes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import silence

from dynazmq.cluster import processes
from dynazmq.cluster.directory import removal
from dynazmq.wire.descriptors import raise_limit

_MARK = "DYNAZMQ_TEST_RUN"
_KEPT = {"DYNAZMQ_VENV", _MARK}  # where bin/dynazmq finds its interpreter


def pytest_configure(config: pytest.Config) -> None:
    raise_limit()  # a shell may allow 256 open files; a process that runs thousands of tests has more, and ZeroMQ aborts without
    if getattr(config.option, "numprocesses", None):  # none in a worker, and none in a run of one process
        config.pluginmanager.register(silence.Watch())


@pytest.fixture(scope="session", autouse=True)
def home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In the environment of this process, and so of every process that a test starts."""
    home = tmp_path_factory.mktemp("home")
    runtime = home / "runtime"
    runtime.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DYNAZMQ_") and name not in _KEPT]:
            patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        for name in ("STATE", "CONFIG", "CACHE", "DATA"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        patch.setenv(_MARK, str(home))
        # Processes that tests start run this checkout, whichever one the environment was made for.
        patch.setenv("PYTHONPATH", processes.environment()["PYTHONPATH"])
        patch.setattr(processes, "_command_lines", _ours(processes._command_lines, str(home)))
        yield home
    # Sockets of clusters with long paths are in a directory of the user's, not below theirs. Not all tests end in good order.
    for nodes in tmp_path_factory.getbasetemp().rglob("nodes"):
        removal.remove_sockets(nodes.parent)


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_terminal() -> None:
    """A shell starts in the background what ignores Ctrl-C, and nohup what ignores the end of its terminal, and that is
    inherited: tests that send one would wait in vain.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _ours(everybody: processes.CommandLines, home: str) -> processes.CommandLines:
    """Of the host's processes those that this run has started."""

    def command_lines() -> Iterator[tuple[int, list[str]]]:
        for pid, arguments in everybody():
            try:
                if psutil.Process(pid).environ().get(_MARK) == home:
                    yield pid, arguments
            except psutil.Error:
                continue  # ended meanwhile

    return command_lines
