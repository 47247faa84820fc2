"""What happened in a cluster: one stream of events in its directory, kept while it is down and after its supervisor died.

    append(directory, "n3", "paused", "paused (SIGSTOP)")     by anybody who sees or does something, in any process
    read(directory).events                                    what is kept, oldest first
    for event in follow(directory): …                         that, and what comes

DIR/events.jsonl has one JSON object a line, DIR/events.jsonl.1 the ones before: `{"at": seconds since 1970, "node": "n3" or "*",
"kind": …, "text": for people, "writer": …, "seq": …}` and whatever else a kind has to tell.

*None is lost.* A line is one write to a file opened for appending, so writers never wait for each other and lines never mix. Who
fills a file renames it; a writer that finds that its file was removed before its line was in it writes again. What a full disk
refused is written before the next one. Each writer counts its events, so a reader can tell that none is missing in between:
`Kept.lost`. A line that was cut off (by a full disk, by lost power) is passed over, and nothing else with it.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from itertools import count
from pathlib import Path
from typing import Any

from dynazmq import sequence
from dynazmq.cluster.observe.snapshot import Event

FILE_BYTES_MAX = 2 << 20
"""A file that is longer becomes events.jsonl.1, in place of the one before: some 12,000 events are kept at least."""

TEXT_CHARS_MAX = 2_000
LINE_BYTES_MAX = 16 << 10
WAITING_MAX = 1_000
"""Events of a process that a full disk has refused; past this the oldest are given up, and missing from the count."""

POLL_S = 0.1
KINDS = {
    "command": "somebody asked for something: the command line, before it is carried out",
    "started": "a node has a process",
    "adopted": "a new supervisor took over a node that runs",
    "killed": "a process was ended with SIGKILL, as was asked, or since it did not stop in time",
    "died": "a process ended by itself or by somebody else's signal",
    "stopped": "a process ended in good order, or stays away as was asked",
    "paused": "SIGSTOP",
    "resumed": "SIGCONT",
    "wiped": "a node has lost its disk",
    "restarting": "a node that died is started again in some seconds",
    "failed": "a process cannot be started, or nobody starts it any more",
    "suspected": "some of its peers cannot reach it",
    "down": "all of its peers call it down",
    "up": "all of its peers see it again",
    "hints": "writes for a node that is away are kept by others (stored), brought (delivering), and all home (delivered)",
    "exchange": "two replicas were compared and differed: begin, and end with the keys that were exchanged",
    "transfer": "a node gets, or hands over, partitions as members come and go: begin and end",
    "ring": "the owners change: a step",
    "overload": "a node refuses requests since too many are under way: begin, and end with how many it refused",
    "fault-on": "a fault was injected",
    "fault-off": "a fault was healed, or its time is over",
    "leaving": "a node has left the ring and is ended",
    "removed": "a node is no member any more",
    "stopping": "the cluster goes down",
    "converged": "all are up, rings agree, no hint pends, replicas are equal: with how long that took",
}
"""kind → what it says."""

_FIELDS = ("at", "node", "kind", "text")
_BEGIN = b'{"at":'


@dataclass(slots=True)
class Kept:
    """What `read` found."""

    events: list[Event] = field(default_factory=list)  # see `in_order`
    torn: int = 0  # lines that were cut off or are no events
    lost: int = 0  # events that their writers counted and that are not there, between others of the same writer


# --- writing --------------------------------------------------------------------------------------------------------------


class _Writer:
    """This process: its name in the stream, and what it could not write yet."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.name = f"{self.pid}-{secrets.token_hex(3)}"
        self.numbers = count(1)
        self.waiting: dict[Path, deque[bytes]] = {}
        self.lock = threading.Lock()


_writer = _Writer()


def append(directory: Path, node: str, kind: str, text: str, *, at: float | None = None, **details: Any) -> bool:
    """Add an event; `at` is now unless it is given. node: a name, or "*" for the cluster.

    False when it could not be written: it is kept, and written before the next one of this process. Never raises for a disk
    that is full or a directory that is gone: what happens matters more than that it is written down.
    """
    global _writer
    if _writer.pid != os.getpid():  # after a fork: another process, which counts by itself
        _writer = _Writer()
    writer = _writer
    path = path_of(directory)
    with writer.lock:
        line = _line(time.time() if at is None else at, node, kind, text, writer.name, next(writer.numbers), details)
        waiting = writer.waiting.setdefault(path, deque(maxlen=WAITING_MAX))
        waiting.append(line)
        try:
            while waiting:
                _write(path, waiting[0])
                waiting.popleft()
        except OSError:
            return False
        return True


def retry(directory: Path) -> None:
    """Write what is still waiting, if there is room now."""
    writer, path = _writer, path_of(directory)
    with writer.lock:
        waiting = writer.waiting.get(path)
        try:
            while waiting:
                _write(path, waiting[0])
                waiting.popleft()
        except OSError:
            return


def path_of(directory: Path) -> Path:
    return directory / "events.jsonl"


def paths_of(directory: Path) -> tuple[Path, Path]:
    """The older file and the newer one."""
    path = path_of(directory)
    return path.with_name(path.name + ".1"), path


def _line(at: float, node: str, kind: str, text: str, writer: str, number: int, details: dict[str, Any]) -> bytes:
    event = {"at": round(at, 3), "node": node, "kind": kind, "text": text[:TEXT_CHARS_MAX], "writer": writer, "seq": number}
    line = json.dumps({**event, **details}, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"
    return line if len(line) <= LINE_BYTES_MAX else json.dumps({**event, "cut": True}).encode() + b"\n"


def _write(path: Path, line: bytes) -> None:
    """One line into the file that is there when it is written. Raises OSError."""
    while True:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.write(handle, line) < len(line):
                os.write(handle, b"\n")  # which raises the error that cut the line off
            found = os.fstat(handle)
            if found.st_nlink == 0:  # two others have filled two files since it was opened: nobody would find this line
                continue
            if found.st_size > FILE_BYTES_MAX:
                _turn(path, handle, found.st_ino)
            return
        finally:
            os.close(handle)


def _turn(path: Path, handle: int, inode: int) -> None:
    """Make this file the older one. Of several that want to, one does it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == inode:
            path.replace(path.with_name(path.name + ".1"))
    except OSError:
        return  # somebody else is at it, or the next one will be


# --- reading --------------------------------------------------------------------------------------------------------------


def read(directory: Path, *, since: float | None = None, nodes: Collection[str] = (), kinds: Collection[str] = ()) -> Kept:
    """The events that are kept, `in_order`; since: of this moment (seconds since 1970) and later. nodes, kinds: of these alone.

    None at all is no error. Raises OSError when there are some and they cannot be read.
    """
    with Tail(directory) as tail:
        found = tail.poll()
        kept = Kept([], tail.torn, missing(found))
    kept.events = [event for event in in_order(found, since) if wanted(event, nodes, kinds)]
    return kept


def follow(
    directory: Path, *, since: float | None = None, nodes: Collection[str] = (), kinds: Collection[str] = ()
) -> Iterator[Event]:
    """As `read`, and then each event as it is written. Never ends by itself; closes its files when it is closed."""
    with Tail(directory) as tail:
        events = in_order(tail.poll(), since)
        while True:
            yield from (event for event in events if wanted(event, nodes, kinds))
            time.sleep(POLL_S)
            events = tail.poll()


def in_order(events: Sequence[Event], since: float | None = None) -> list[Event]:
    """As they happened, from those as they were written. since: what has happened before this moment is left out."""
    now = time.time()
    return [
        event
        for at, event in sequence.in_order(events, lambda event: event.at)
        if since is None or (at if event.at > now else event.at) >= since
    ]


def wanted(event: Event, nodes: Collection[str] = (), kinds: Collection[str] = ()) -> bool:
    """What concerns the whole cluster ("*") concerns each node."""
    return (not nodes or event.node in nodes or event.node == "*") and (not kinds or event.kind in kinds)


def missing(events: Iterable[Event]) -> int:
    """How many events their writers counted that are not there, between others of the same writer."""
    numbers: dict[str, set[int]] = {}
    for event in events:
        writer, number = event.details.get("writer"), event.details.get("seq")
        if isinstance(writer, str) and isinstance(number, int):
            numbers.setdefault(writer, set()).add(number)
    return sum(max(seen) - min(seen) + 1 - len(seen) for seen in numbers.values())


def parse(line: bytes) -> Event | None:
    """None for what is no event. A line that was cut off, with a whole one behind it, is the whole one."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        begin = line.rfind(_BEGIN)  # in a JSON string the quotes would be escaped
        return parse(line[begin:]) if begin > 0 else None
    if not isinstance(found, dict):
        return None
    at, *words = (found.pop(name, None) for name in _FIELDS)
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not math.isfinite(at):
        return None
    if not all(isinstance(word, str) for word in words):
        return None
    node, kind, text = words
    return Event(float(at), node, text, kind, found)


def document(event: Event) -> dict[str, Any]:
    """As it stands in the file."""
    return {"at": event.at, "node": event.node, "kind": event.kind, "text": event.text, **event.details}


class _Part:
    """One file that may still grow."""

    def __init__(self, file: FileIO) -> None:
        self.file = file
        self.inode = os.fstat(file.fileno()).st_ino
        self._rest = b""

    def lines(self) -> list[bytes]:
        """What has come, in whole lines."""
        *lines, self._rest = (self._rest + (self.file.readall() or b"")).split(b"\n")
        return [line for line in lines if line]

    @property
    def unfinished(self) -> bool:
        return bool(self._rest)


class Tail:
    """The stream from its beginning, as it grows and as its files take turns. For one thread; `close` it."""

    def __init__(self, directory: Path) -> None:
        self._before, self._path = paths_of(directory)
        self._old: _Part | None = None  # whoever opened it before it was renamed may still write into it
        self._new: _Part | None = None
        self._began = False
        self._torn = 0

    @property
    def torn(self) -> int:
        """Lines so far that are no events; a last one that is not at its end is one of them."""
        return self._torn + sum(part is not None and part.unfinished for part in (self._old, self._new))

    def poll(self) -> list[Event]:
        """What was written since the last call; at the first one all that is kept. Raises OSError."""
        lines: list[bytes] = []
        if not self._began:
            self._open_both()
            self._began = True
        for part in (self._old, self._new):
            lines += part.lines() if part else []
        lines += self._take_turns()
        events = []
        for line in lines:
            if event := parse(line):
                events.append(event)
            else:
                self._torn += 1
        return events

    def close(self) -> None:
        for part in (self._old, self._new):
            if part is not None:
                part.file.close()
        self._old = self._new = None

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_both(self) -> None:
        """The newer one first: if they take turns meanwhile, the same one is found twice, and it is looked again."""
        while True:
            self.close()
            self._new, self._old = _open(self._path), _open(self._before)
            if self._new is None or self._old is None or self._new.inode != self._old.inode:
                return

    def _take_turns(self) -> list[bytes]:
        """Where there is a newer file than ours: finish with ours, read one that came and went between, go on in that one."""
        lines: list[bytes] = []
        ours = self._new.inode if self._new else None
        newest = _inode(self._path)
        for path in (self._before, self._path):  # the older one is news, too, if two have been filled since the last look
            inode = _inode(path)
            if inode in (None, ours) or (path == self._before and (ours is None or newest == ours)):
                continue
            if (fresh := _open(path)) is None:
                continue
            if self._new is not None:
                lines += self._new.lines()
                if self._old is not None:
                    self._old.file.close()
            self._old, self._new = self._new, fresh
            lines += fresh.lines()
        return lines


def _open(path: Path) -> _Part | None:
    try:
        return _Part(FileIO(path, "rb"))
    except FileNotFoundError:
        return None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
