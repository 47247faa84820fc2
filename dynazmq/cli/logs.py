"""`logs`: what the nodes and the supervisor wrote, merged by time.

The lines of one log stay in the order in which they were written, whatever their times are (sequence.py).

Lines without a time (a traceback) stay with the one above. Lines of an earlier release have a time of day and no date; files are
in order, so one that seems to be earlier than the one before it in the same file is from the next day, and the last is from when
its file was written last.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynazmq import paths
from dynazmq.cli import OK
from dynazmq.cli.escaping import as_json as json_line
from dynazmq.cli.terminal import DIM, RED, YELLOW, emit, paint, say
from dynazmq.cli.words import moment, select
from dynazmq.errors import InvalidRequest
from dynazmq.logs import LEVELS, one_line, parse
from dynazmq.paths import ClusterFile
from dynazmq.sequence import in_sequence
from dynazmq.streams import wait_while_read

_READ_BYTES_MAX = 1 << 20
POLL_S = 0.1
SUPERVISOR = "supervisor"
_STYLES = {"ERROR": RED, "WARN": YELLOW, "DEBUG": DIM}


@dataclass(frozen=True, slots=True)
class Said:
    """One line of one log."""

    node: str
    at: float  # seconds since 1970; of one without a time that of the line above
    level: str  # "": as the line above, and there is none
    part: str
    text: str
    whole: bool = True  # False: it belongs to the line above


@dataclass(slots=True)
class Tail:
    """A log that grows."""

    name: str
    path: Path
    place: int = 0
    inode: int = 0
    _above: Said | None = field(default=None)

    def read(self) -> list[Said]:
        """The lines written since the last call; at the first one the last of them. One that was replaced is read whole."""
        first = not self.inode
        lines, written = self._lines(self.path)
        if first and len(lines) < _READ_BYTES_MAX >> 6:  # it has just been turned over, or little was said: what was before, too
            before, _ = _end_of(self.path.with_name(self.path.name + ".1"))
            lines = before + lines
        return self._dated(lines, written)

    def _lines(self, path: Path) -> tuple[list[str], float]:
        """And when the file was written last."""
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno())
                old: list[str] = []
                if found.st_ino != self.inode or found.st_size < self.place:
                    if self.inode:
                        old = self._rest_of_the_old()
                    self.inode, self.place = found.st_ino, max(0, found.st_size - _READ_BYTES_MAX) if not self.inode else 0
                file.seek(self.place)
                raw = file.read(_READ_BYTES_MAX)
        except FileNotFoundError:
            return [], 0.0
        whole = raw.rfind(b"\n") + 1  # a line that is still being written waits
        self.place += whole
        return old + raw[:whole].decode("utf-8", "replace").splitlines(), found.st_mtime

    def _rest_of_the_old(self) -> list[str]:
        """What was written into the file after the last look and before it was turned over."""
        try:
            with open(self.path.with_name(self.path.name + ".1"), "rb") as file:
                if os.fstat(file.fileno()).st_ino != self.inode:
                    return []
                file.seek(self.place)
                return file.read(_READ_BYTES_MAX).decode("utf-8", "replace").splitlines()
        except OSError:
            return []

    def _dated(self, lines: list[str], written: float) -> list[Said]:
        found = []
        for at, line in _times(lines, written):
            parsed = parse(line)
            if parsed:
                said = Said(self.name, at or 0.0, parsed.level, parsed.part, parsed.text)
                self._above = said
            else:
                above = self._above or Said(self.name, 0.0, "", "", "")
                level = "ERROR" if line.startswith(("error:", "Traceback")) else above.level
                said = Said(self.name, above.at, level, above.part, one_line(line), whole=False)
                self._above = said
            found.append(said)
        return found


def _end_of(path: Path) -> tuple[list[str], float]:
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            file.seek(max(0, found.st_size - _READ_BYTES_MAX))
            return file.read().decode("utf-8", "replace").splitlines(), found.st_mtime
    except FileNotFoundError:
        return [], 0.0


def _times(lines: Sequence[str], written: float) -> Iterator[tuple[float | None, str]]:
    """(when, line). Those without a date are dated backwards from when the file was written last."""
    times: list[float | None] = []
    later = written
    for line in reversed(lines):
        parsed = parse(line)
        at = parsed.at if parsed else None
        if parsed and at is None:
            at = _before(later, line[:12])
        later = at if at is not None else later
        times.append(at)
    yield from zip(reversed(times), lines, strict=True)


def _before(later: float, clock: str) -> float:
    """The last moment with this time of day that is not after `later`, but for a second."""
    day = time.strftime("%Y-%m-%d", time.localtime(later))
    parsed = parse(f"{day} {clock} INFO x x")
    at = parsed.at if parsed and parsed.at is not None else later
    return at if at <= later + 1.0 else at - 86_400.0


def run(
    directory: Path,
    patterns: Sequence[str],
    *,
    follow: bool,
    lines: int,
    level: str | None = None,
    since_s: float | None = None,
    as_json: bool = False,
    as_lines: bool = False,
) -> int:
    if as_json and (follow or as_lines):
        raise InvalidRequest("--json is one document, --follow and --jsonl are streams: choose one")
    least = _level(level)
    members = [*ClusterFile.load(directory).members, SUPERVISOR]
    names = select(patterns, members) if patterns else members
    tails = [Tail(name, path_of(directory, name)) for name in names]
    width = max(map(len, names))
    since = None if since_s is None else time.time() - since_s
    found = [said for said in merge([_since(tail.read(), since) for tail in tails]) if _wanted(said, least)]
    last = found if since is not None else found[-lines:] if lines else []
    if as_json:
        emit("logs", {"lines": [_document(said) for said in last]})
        return OK
    _tell(last, width, as_lines)
    while follow:
        wait_while_read(POLL_S)
        _tell([said for said in merge([tail.read() for tail in tails]) if _wanted(said, least)], width, as_lines)
    return OK


def _level(typed: str | None) -> int:
    """Raises InvalidRequest."""
    word = (typed or "DEBUG").upper().replace("WARNING", "WARN")
    if word not in LEVELS:
        raise InvalidRequest(f"--level is {', '.join(LEVELS).lower()}, not {typed!r}")
    return LEVELS.index(word)


def _since(lines: list[Said], since: float | None) -> list[Said]:
    """Of one log. A time that is still to come is from a clock that was wrong: then it counts when it was written."""
    if since is None:
        return lines
    now = time.time()
    times = in_sequence([said.at for said in lines])
    return [said for at, said in zip(times, lines, strict=True) if (at if said.at > now else said.at) >= since]


def _wanted(said: Said, least: int) -> bool:
    return least == 0 or (said.level in LEVELS and LEVELS.index(said.level) >= least)


def merge(logs: Sequence[list[Said]]) -> list[Said]:
    """By time; lines of one log keep their order, whatever their times are."""
    keyed = [each for lines in logs for each in zip(in_sequence([said.at for said in lines]), lines, strict=True)]
    return [said for _, said in sorted(keyed, key=lambda each: each[0])]


def path_of(directory: Path, name: str) -> Path:
    return paths.supervisor_log(directory) if name == SUPERVISOR else paths.node_log(directory, name)


def _document(said: Said) -> dict[str, Any]:
    line = {"node": said.node, "at": round(said.at, 3), "level": said.level, "part": said.part, "text": said.text}
    return {**line, "line": shown(said)}


def shown(said: Said) -> str:
    """As a person reads it: without the date where it is today's."""
    return f"{moment(said.at)} {said.level:<5} {said.part:<8} {said.text}" if said.whole else said.text


def _tell(lines: Sequence[Said], width: int, as_lines: bool) -> None:
    for said in lines:
        if as_lines:
            say(json_line(_document(said)))
            continue
        style = _STYLES.get(said.level, "")
        line = shown(said)
        say(f"{paint(said.node.ljust(width), DIM)}  {paint(line, style) if style else line}")
