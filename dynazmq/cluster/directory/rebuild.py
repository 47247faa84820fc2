"""Giving a node an empty disk although it has one: what was there is set aside (S8).

    nodes/NAME/aside-YYYYmmdd-HHMMSS/data.db…      the one that is kept: the next one takes its place

The node then starts with an empty database, issues its dots under a new name as in every life, and its peers bring the data back.
Nothing that a peer has is lost by it; what only this node had is in the copy. A supervisor does the same by itself with a disk
that is an old copy (dynamo/membership/stale_disks.py); then earlier ones are kept as well.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from dynazmq import durable
from dynazmq.cluster.directory.removal import DATABASE, remove
from dynazmq.errors import ClusterError

_ASIDE = re.compile(r"aside-\d{8}-\d{6}(-\d+)?")


@dataclass(frozen=True, slots=True)
class Aside:
    """What `set_aside` did. to: None when there was nothing to set aside."""

    to: Path | None
    bytes: int
    removed: tuple[str, ...]  # copies that were kept before
    left: tuple[Path, ...] = ()  # in them, and not ours

    def __str__(self) -> str:
        if self.to is None:
            return "there was no database"
        before = f", in place of {' '.join(self.removed)}" if self.removed else ""
        left = f"; kept what is not ours: {', '.join(map(str, self.left))}" if self.left else ""
        return f"{self.bytes:,} bytes set aside in {self.to}{before}{left}"


def set_aside(node_dir: Path, *, keep_older: bool = False) -> Aside:
    """Move a node's database away and remove older copies. Raises ClusterError while a process serves it, or cannot.

    keep_older: nobody has asked for it, so nothing goes for it that somebody may have kept.
    """
    try:
        node_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(node_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _move(node_dir, keep_older)
        finally:
            os.close(lock)
    except BlockingIOError:
        raise ClusterError(f"a process still serves {node_dir}; nothing was set aside") from None
    except OSError as error:
        raise ClusterError(f"cannot set aside what is in {node_dir}: {error.strerror}") from None


def copies(node_dir: Path) -> list[Path]:
    """The databases that were set aside; the newest last."""
    return sorted(entry for entry in node_dir.glob("aside-*") if _ASIDE.fullmatch(entry.name))


def _move(node_dir: Path, keep_older: bool) -> Aside:
    # The database first: without it, its log is refused, and not the other way round.
    files = sorted(file for file in node_dir.iterdir() if re.fullmatch(DATABASE.files, file.name))  # of whatever kind
    if not files:
        return Aside(None, 0, ())
    before = [] if keep_older else copies(node_dir)
    aside = _new_directory(node_dir)
    size = sum(file.lstat().st_size for file in files)
    for file in files:
        durable.rename(file, aside / file.name)  # each for good before the next: the log never goes before its database
    left = []
    for old in before:  # only now: whatever goes wrong, one is there
        left += remove(old, DATABASE).left
    return Aside(aside, size, tuple(old.name for old in before), tuple(left))


def _new_directory(node_dir: Path) -> Path:
    name = f"aside-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 100):
        path = node_dir / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(mode=0o700)
            return path
        except FileExistsError:
            continue
    raise ClusterError(f"there are a hundred copies of this second in {node_dir}")
