"""A full-screen program ends, whatever ends it: the terminal is as it was before, on screen and in its modes. In a pty."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from supervised import Cluster, eventually

from dynazmq.cluster.processes import environment

ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"

_WITH_THIS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

_WITH_A_BUG = """
import sys
from dynazmq.cli import command, top
from dynazmq.tui.app.stage import Stage
def bug(*_): raise RuntimeError("a bug")
Stage.on_seen = bug
looks = []
look = top.Meter.look
top.Meter.look = lambda meter: bug() if len(looks) > 2 else looks.append(0) or look(meter)
command()
"""

PROGRAMS = [("tui", "quorum"), ("top", "NODE")]
SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM]


class Terminal:
    """A terminal of 24 lines, and what a program has written to it."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.set_blocking(self.master, False)
        self.before = termios.tcgetattr(self.slave)
        self.written = b""

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-c", _WITH_THIS_TERMINAL, "-P", *arguments]
        return subprocess.Popen(
            command,
            **dict.fromkeys(("stdin", "stdout", "stderr"), self.slave),
            start_new_session=True,
            env={**environment(), "TERM": "xterm-256color"},
        )

    def shows(self, text: str) -> bool:
        """Whether it has come, in what is drawn since the program entered the screen the last time."""
        with suppress(BlockingIOError):
            while select.select([self.master], [], [], 0)[0]:
                self.written += os.read(self.master, 1 << 16)
        return ENTERED in self.written and text.encode() in self.written.rpartition(ENTERED)[2]

    def is_as_before(self) -> bool:
        """The modes of the line, and each private mode (cursor, mouse, the other screen …): switched back if it was switched."""
        self.shows("")
        last = dict(re.findall(rb"\x1b\[\?(\d+)([hl])", self.written))
        switched = {int(number) for number, switch in last.items() if switch == b"h"} - {25, 7}
        return termios.tcgetattr(self.slave) == self.before and not switched and last[b"25"] == b"h"

    def close(self) -> None:
        for descriptor in (self.master, self.slave):
            with suppress(OSError):
                os.close(descriptor)


@contextmanager
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "1", "--sync", "normal")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


def ended(terminal: Terminal, process: subprocess.Popen[bytes]) -> int:
    """Its return code; what it still writes is read, or it would wait."""
    eventually(lambda: (terminal.shows(""), process.poll() is not None)[1], "it has ended")
    return process.returncode


def seen(terminal: Terminal, text: str) -> Callable[[], bool]:
    return lambda: terminal.shows(text)


@pytest.mark.parametrize("number", SIGNALS, ids=[number.name for number in SIGNALS])
@pytest.mark.parametrize(("program", "text"), PROGRAMS, ids=[program for program, _ in PROGRAMS])
def test_a_signal_that_ends_it(cluster: Cluster, program: str, text: str, number: signal.Signals) -> None:
    with terminal() as screen:
        process = screen.run("-m", "dynazmq", program, "--dir", str(cluster.directory))
        eventually(seen(screen, text), "it has drawn")
        process.send_signal(number)
        assert ended(screen, process) == -number
        assert screen.is_as_before()


@pytest.mark.parametrize(("program", "text"), PROGRAMS, ids=[program for program, _ in PROGRAMS])
def test_a_bug_in_it(cluster: Cluster, program: str, text: str) -> None:
    with terminal() as screen:
        process = screen.run("-c", _WITH_A_BUG, program, "--dir", str(cluster.directory))
        assert ended(screen, process) == 1
        assert b"a bug" in screen.written
        assert screen.is_as_before()


@pytest.mark.parametrize(("program", "text"), PROGRAMS, ids=[program for program, _ in PROGRAMS])
def test_the_end_of_the_terminal(cluster: Cluster, program: str, text: str) -> None:
    with terminal() as screen:
        process = screen.run("-m", "dynazmq", program, "--dir", str(cluster.directory))
        eventually(seen(screen, text), "it has drawn")
        os.close(screen.slave)
        os.close(screen.master)
        eventually(lambda: process.poll() is not None, "it has ended")
        assert process.returncode != 0


FOLLOWING = ["tui", "top", "cluster events -f", "logs -f", "status --watch 1h"]


@pytest.mark.parametrize("program", FOLLOWING)
def test_the_end_of_the_terminal_where_no_signal_says_so(cluster: Cluster, program: str) -> None:
    """Under nohup: the terminal UI took 40 % of a core for ever, and what followed waited for a line that it could not print."""
    with terminal() as screen:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            process = screen.run("-m", "dynazmq", *program.split(), "--dir", str(cluster.directory))
        finally:
            signal.signal(signal.SIGHUP, before)
        eventually(lambda: (screen.shows(""), b"n1" in screen.written)[1], "it has drawn")
        os.close(screen.slave)
        os.close(screen.master)
        eventually(lambda: process.poll() is not None, "it has ended")
        assert process.returncode == 1


@pytest.mark.parametrize("program", FOLLOWING[2:])
def test_what_follows_ends_when_nobody_reads_it_any_more_and_nothing_comes(cluster: Cluster, program: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "dynazmq", *program.split(), "--dir", str(cluster.directory)],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    eventually(lambda: process.poll() is not None, "it has ended")
    assert process.returncode == 0


@pytest.mark.parametrize(("program", "text"), PROGRAMS, ids=[program for program, _ in PROGRAMS])
def test_it_is_stopped_and_goes_on(cluster: Cluster, program: str, text: str) -> None:
    """Ctrl-Z, the shell, and `fg`."""
    with terminal() as screen:
        process = screen.run("-m", "dynazmq", program, "--dir", str(cluster.directory))
        eventually(seen(screen, text), "it has drawn")
        process.send_signal(signal.SIGTSTP)  # without a shell in its session the kernel lets it go on at once
        eventually(lambda: (screen.shows(text), LEFT in screen.written)[1], "it has left")
        process.send_signal(signal.SIGCONT)
        eventually(lambda: screen.shows(text) and screen.written.count(ENTERED) > 1, "it draws again")
        assert screen.written.count(LEFT) == screen.written.count(ENTERED) - 1
        process.terminate()
        assert ended(screen, process) == -signal.SIGTERM
        assert screen.is_as_before()


def test_what_is_ignored_stays_ignored(cluster: Cluster) -> None:
    with terminal() as screen:
        before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            process = screen.run("-m", "dynazmq", "top", "--dir", str(cluster.directory))
        finally:
            signal.signal(signal.SIGUSR1, before)
        eventually(seen(screen, "NODE"), "it has drawn")
        process.send_signal(signal.SIGUSR1)
        screen.written = ENTERED
        eventually(seen(screen, "NODE"), "it goes on to draw")
        process.terminate()
        assert ended(screen, process) == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_bar_leaves_the_cursor_where_it_is_seen(cluster: Cluster, number: signal.Signals) -> None:
    """Also when nothing can be put back."""
    with terminal() as screen:
        process = screen.run("-m", "dynazmq", "bench", "--seconds", "600", "--dir", str(cluster.directory))
        eventually(lambda: (screen.shows(""), b"keys" in screen.written)[1], "the bar is drawn")
        process.send_signal(number)
        assert ended(screen, process) == -number
        assert b"\x1b[?25l" not in screen.written
        assert termios.tcgetattr(screen.slave) == screen.before
