"""`logs`: what the nodes and the supervisor wrote, merged by time.

Lines carry a time of day and no date; files are in order, so a line that seems to be earlier than the one before it in the same
file is from the next day. Lines without a time (a traceback) stay with the one above.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dynazmq import paths
from dynazmq.cli import OK
from dynazmq.cli.terminal import DIM, RED, YELLOW, emit, paint, say
from dynazmq.cli.words import select
from dynazmq.errors import InvalidRequest
from dynazmq.paths import ClusterFile

_STAMP = re.compile(r"\d\d:\d\d:\d\d\.\d{3} ")
_READ_BYTES_MAX = 1 << 20
POLL_S = 0.1
SUPERVISOR = "supervisor"


@dataclass(slots=True)
class Tail:
    """A log that grows."""

    name: str
    path: Path
    place: int = 0
    inode: int = 0

    def read(self) -> list[str]:
        """The lines written since the last call; a file that was replaced is read from its beginning."""
        try:
            with open(self.path, "rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self.inode or found.st_size < self.place:
                    self.inode, self.place = found.st_ino, max(0, found.st_size - _READ_BYTES_MAX) if not self.inode else 0
                file.seek(self.place)
                raw = file.read(_READ_BYTES_MAX)
        except FileNotFoundError:
            return []
        whole = raw.rfind(b"\n") + 1  # a line that is still being written waits
        self.place += whole
        return raw[:whole].decode("utf-8", "replace").splitlines()


def run(directory: Path, patterns: Sequence[str], *, follow: bool, lines: int, as_json: bool = False) -> int:
    if follow and as_json:
        raise InvalidRequest("--follow never ends and --json is one document: choose one")
    members = [*ClusterFile.load(directory).members, SUPERVISOR]
    names = select(patterns, members) if patterns else members
    tails = [Tail(name, _path(directory, name)) for name in names]
    width = max(map(len, names))
    merged = merge({tail.name: tail.read() for tail in tails})
    last = merged[-lines:] if lines else []
    if as_json:
        emit("logs", {"lines": [{"node": name, "line": line} for name, line in last]})
        return OK
    for name, line in last:
        _say(name, line, width)
    while follow:
        time.sleep(POLL_S)
        for name, line in merge({tail.name: tail.read() for tail in tails}):
            _say(name, line, width)
    return OK


def merge(logs: dict[str, list[str]]) -> list[tuple[str, str]]:
    """(name, line) by time; lines of one log keep their order."""
    keyed = [(key, name, line) for name, lines in logs.items() for key, line in _keyed(lines)]
    return [(name, line) for _, name, line in sorted(keyed, key=lambda each: each[0])]


def _keyed(lines: list[str]) -> Iterator[tuple[tuple[int, str], str]]:
    """With (days before the last line, time) as key, counted backwards: all logs end today."""
    days, later = 0, ""
    keys: list[tuple[int, str]] = []
    for line in reversed(lines):
        stamp = line[:12] if _STAMP.match(line) else ""
        if stamp and later and stamp > later:
            days -= 1
        later = stamp or later
        keys.append((days, stamp))
    above = (days, "")
    for line, key in zip(lines, reversed(keys), strict=True):
        above = key if key[1] else above
        yield above, line


def _path(directory: Path, name: str) -> Path:
    return paths.supervisor_log(directory) if name == SUPERVISOR else paths.node_log(directory, name)


def _say(name: str, line: str, width: int) -> None:
    style = RED if " ERROR " in line[:24] or line.startswith("error:") else YELLOW if " WARN " in line[:24] else ""
    say(f"{paint(name.ljust(width), DIM)}  {paint(line, style) if style else line}")
