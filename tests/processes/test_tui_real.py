"""The terminal UI on a real cluster, in a pseudo-terminal, with real keys: kill, recover, pause, part, heal, look."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S
from supervised import Cluster

ESCAPES = re.compile(r"\x1b(\[[0-9;?<>=]*[a-zA-Z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()].|[=>78])|\x1bP[^\x1b]*\x1b\\")
COLOURS = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("t") / "c")
    made.up("-n", "5")
    yield made
    made.run("down", "--purge", "--yes")


class Terminal:
    """The terminal UI, and what it has written since the last key."""

    def __init__(self, directory: Path, *arguments: str, width: int = 120, height: int = 40, **environment: str) -> None:
        ours, theirs = pty.openpty()
        self._ours = ours
        self.resize(width, height)
        around = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        line = [sys.executable, "-m", "dynazmq", "tui", "--dir", str(directory), *arguments]
        self.process = subprocess.Popen(
            line, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**around, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
        )  # fmt: skip
        os.close(theirs)
        self.raw = ""
        self._since = 0
        self._fresh = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Until nobody has the other end open any more."""
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode  # a read may end within a character
        while True:
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:
                data = b""
            if not data:
                return
            with self._fresh:
                self.raw += decode(data)
                self._fresh.notify_all()

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        if hasattr(self, "process"):
            os.kill(self.process.pid, signal.SIGWINCH)

    def press(self, keys: str) -> None:
        with self._fresh:
            self._since = len(self.raw)
        os.write(self._ours, keys.encode())

    @property
    def seen(self) -> str:
        return ESCAPES.sub("", self.raw[self._since :])

    def until(self, text: str) -> None:
        with self._fresh:
            assert self._fresh.wait_for(lambda: text in self.seen, PATIENCE_S), f"{text!r} is not in {self.seen[-3000:]}"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()  # or it would go on with the next terminal, which gets the same number, and take what that one shows
        os.close(self._ours)


@pytest.fixture
def terminal(cluster: Cluster) -> Iterator[Terminal]:
    opened = Terminal(cluster.directory)
    yield opened
    opened.close()


def test_a_node_is_killed_recovers_is_cut_off_and_healed_by_keys(cluster: Cluster, terminal: Terminal) -> None:
    terminal.until("who sees whom")
    terminal.press("B")
    terminal.until("seen by the load")
    terminal.press("jj")
    terminal.until("▶ n3")
    terminal.press("K")
    terminal.until("✗ killed")
    terminal.until("down, 4/4 agree")
    time.sleep(1.0)  # a second of hints
    terminal.press("S")
    terminal.until("CONVERGED")
    terminal.until("lost 0")
    terminal.press("P")
    terminal.until("⏸ paused")
    terminal.press("P")
    terminal.until("resume n3: done")
    terminal.press("X")
    terminal.until("part the network")
    terminal.press("\r")
    terminal.until("f1 partition n1 n2 n4 n5 ⇹ n3")
    terminal.until("down, 4/4 agree")
    assert [fault["kind"] for fault in cluster.status()["faults"]] == ["partition"]
    terminal.press("H")
    terminal.until("heal: done")
    terminal.until("CONVERGED")
    assert cluster.status()["faults"] == []
    terminal.press("G")
    terminal.until("a key to explain")
    terminal.press("alice\r")
    terminal.until("primary")
    terminal.press(":")
    terminal.until("a dynazmq command")
    terminal.press("get nobody\r")
    terminal.until("exit code 3")
    terminal.press("q")
    terminal.until("keeps running")
    assert terminal.process.wait(PATIENCE_S) == 0
    assert [node["state"] for node in cluster.status()["nodes"]] == ["up"] * 5


def test_a_node_that_dies_while_its_screen_is_open_is_seen_dead(cluster: Cluster, terminal: Terminal) -> None:
    terminal.until("who sees whom")
    terminal.press("\r")
    terminal.until("requests under way")
    os.kill(cluster.node("n1")["pid"], signal.SIGKILL)
    terminal.until("✗ killed")
    terminal.until("it does not answer")
    terminal.press("S")
    terminal.until("● up")


def test_a_small_terminal_without_colour_has_one_line_and_no_colour(cluster: Cluster) -> None:
    small = Terminal(cluster.directory, "--read-only", width=20, height=5, NO_COLOR="1")
    try:
        small.until("needs 60×12")
        small.resize(80, 24)
        small.until("┌ nodes")
        small.press("K")
        small.until("read-only")
        small.press("q")
        assert small.process.wait(PATIENCE_S) == 0
        assert COLOURS.findall(small.raw) == []
    finally:
        small.close()


def test_a_cluster_that_is_not_there_is_one_line_and_exit_code_7(tmp_path: Path) -> None:
    none = Terminal(tmp_path / "none")
    try:
        none.until("dynazmq cluster up")
        assert none.process.wait(PATIENCE_S) == 7
        assert "Traceback" not in none.raw
    finally:
        none.close()
