"""Logs: one line an event, as nodes and supervisor write them and `dynazmq logs` reads them.

    2026-11-27 04:11:09.120+0100 ERROR storage  disk I/O error

Local time and how far it is ahead of UTC, so that it is read right in any zone; level, the part of the program, and what
happened. A line stays one line whatever is in its text, and columns stay where they are, so that `grep`, `cut` and `sort` over
several files work. A process that writes into its own log file turns it over when it has become long: NAME.log.1 is the one
before. Where somebody else has moved or removed it (logrotate, an operator) it begins a new one under its name. A full disk costs
lines and nothing else.
"""

from __future__ import annotations

import calendar
import os
import re
import stat
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dynazmq.place import Place

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR")

FILE_BYTES_MAX = 10 << 20
"""A log that is longer becomes NAME.1, in place of the one before: at the start of its process, and while it runs."""

LEVEL_VARIABLE = "DYNAZMQ_LOG_LEVEL"
"""The least level that is written; inherited by supervisor and nodes. INFO if it is not set, or says something else."""

TEXT_CHARS_MAX = 4_000

_REPEAT_S = 10.0
_TEXTS_MAX = 256

_LINE = re.compile(
    r"(?:(\d{4}-\d\d-\d\d) )?(\d\d:\d\d:\d\d)\.(\d{3})([+-]\d{4})? (DEBUG|INFO|WARN|ERROR) +(\S+) +(.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Line:
    at: float | None  # seconds since 1970; None: it has a time of day and no date, as an earlier release wrote it
    level: str
    part: str
    text: str


def format_line(at: float, level: str, part: str, text: str) -> str:
    then = time.localtime(at)
    stamp, zone = time.strftime("%Y-%m-%d %H:%M:%S", then), time.strftime("%z", then)
    return f"{stamp}.{int(at * 1000) % 1000:03d}{zone} {level:<5} {part:<8} {one_line(text)}"


def one_line(text: str) -> str:
    """Without what would break the line or act on a terminal: names and keys come from elsewhere."""
    text = text[:TEXT_CHARS_MAX]
    return text if text.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def parse(line: str) -> Line | None:
    """None for what is no line of a log: a traceback, the tail of one that was cut off."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    date, clock, millis, zone, level, part, text = found.groups()
    at = None
    if date:
        try:
            at = _seconds(f"{date} {clock}", zone) + int(millis) / 1000
        except (ValueError, OverflowError):
            return None
    return Line(at, level, part, text)


def _seconds(stamp: str, zone: str | None) -> float:
    """Since 1970. Without a zone, as an earlier release wrote it, in the reader's. Raises ValueError, OverflowError."""
    then = time.strptime(stamp, "%Y-%m-%d %H:%M:%S")
    if zone is None:
        return time.mktime(then)
    ahead_s = (int(zone[1:3]) * 60 + int(zone[3:])) * 60
    return calendar.timegm(then) - (ahead_s if zone[0] == "+" else -ahead_s)


class Log:
    """Writes to standard error, which is a file of this process where `path` says so: then it is turned over."""

    def __init__(self, path: Path | None = None, level: str = "", place: Place | None = None) -> None:
        """place: the directory of `path`. Once it was moved, what is at the path may be the log of another process."""
        wanted = (level or os.environ.get(LEVEL_VARIABLE, "")).upper()
        self._least = LEVELS.index(wanted) if wanted in LEVELS else LEVELS.index("INFO")
        self._path = path if path is not None and _is_at(2, path) else None  # else it goes where whoever started us wants it
        self._place = place
        self._last: dict[str, float] = {}  # what it was about → when it was last said
        self._unsaid: Counter[str] = Counter()  # and how often not, since then
        self._cut_off = False

    def __call__(self, level: str, part: str, text: str) -> None:
        if LEVELS.index(level) < self._least:
            return
        line = format_line(time.time(), level, part, text).encode("utf-8", "replace") + b"\n"
        line = b"\n" + line if self._cut_off else line
        self.keep()
        try:
            self._cut_off = os.write(2, line) < len(line)
        except OSError:
            return  # a full disk must not end a process over a line of its log

    def keep(self) -> None:
        """Write under the name of the log and into a file that is not too long. Before each line, and now and then: what is not
        written by us, a traceback or the last words of a library, goes there, too.
        """
        if self._path is None or (self._place is not None and not self._place.unchanged()):
            return
        if not reopen(self._path):
            turn_over(self._path)

    def rarely(self, level: str, part: str, text: str, about: str = "") -> None:
        """The same once per interval: what goes wrong a thousand times a second is one fact.

        about: what makes it the same, where texts differ in what somebody has sent; "": the text.
        """
        now, about = time.monotonic(), about or text
        if now - self._last.get(about, -_REPEAT_S) < _REPEAT_S:
            self._unsaid[about] += 1
            return
        if len(self._last) > _TEXTS_MAX:
            self._last.clear()
            self._unsaid.clear()
        self._last[about] = now
        more = self._unsaid.pop(about, 0)
        self(level, part, f"{text} (and {more:,} more like it before)" if more else text)


def reopen(path: Path, descriptors: tuple[int, ...] = (1, 2)) -> bool:
    """Let these descriptors write into the file at `path`, a new one if there is none. Whether they wrote into another."""
    if _is_at(descriptors[-1], path):
        return False
    try:
        mode = stat.S_IMODE(os.fstat(descriptors[-1]).st_mode)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
    except OSError:  # its directory is gone, or the disk is full: better into a file without a name than nowhere
        return False
    try:
        for descriptor in descriptors:
            os.dup2(handle, descriptor)
    finally:
        os.close(handle)
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def turn_over(path: Path, descriptors: tuple[int, ...] = (1, 2), bytes_max: int = FILE_BYTES_MAX) -> bool:
    """Let these descriptors write into a new file at `path`, if they write into the one that is there and it is too long.

    The new file is there before the old one is moved, so where none can be made all stays as it is. Whether it was done.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        found, there = os.fstat(descriptors[-1]), path.stat()
        if not os.path.samestat(found, there) or found.st_size <= bytes_max:
            return False
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(fresh, flags, stat.S_IMODE(there.st_mode))
    except OSError:
        return False
    try:
        path.replace(path.with_name(path.name + ".1"))
        fresh.replace(path)
        for descriptor in descriptors:
            os.dup2(handle, descriptor)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
