"""The one place that deletes what a cluster has on disk: what we have made ourselves, by its name and kind, and nothing else.

    shape      what a directory of ours holds: names of files, of sockets, and of directories with a shape of their own
    strangers  what else is in it. It stays, and whoever asked for the removal is told of it
    belongs    whether a directory below nodes/ is a node of this cluster: somebody else may have put one there

A symbolic link is never followed, and never ours: a link in the place of a node's directory stays, with all behind it. So a
directory is opened below the one before it and without links, and what is in it is removed by that descriptor: whoever moves
things meanwhile moves nothing of his into our way.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dynazmq import paths
from dynazmq.errors import ClusterError
from dynazmq.paths import ClusterFile

_APPLICATION_ID_AT = 68  # in the header of a database
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Shape:
    """What a directory holds when nothing but ours is in it."""

    files: str = ""
    sockets: str = ""
    directories: tuple[tuple[str, Shape], ...] = ()

    def has(self, name: str, mode: int) -> bool:
        """Whether a file or socket of this name is ours."""
        pattern = self.files if stat.S_ISREG(mode) else self.sockets if stat.S_ISSOCK(mode) else ""
        return bool(pattern) and re.fullmatch(pattern, name) is not None

    def inside(self, name: str) -> Shape | None:
        """The shape of a directory of ours."""
        return next((shape for pattern, shape in self.directories if re.fullmatch(pattern, name)), None)


_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_WHEN = r"\d{8}-\d{6}(-\d+)?"
_PART = r"(part|[a-z0-9_]{8})"  # of a file that is replaced (durable.py), and as earlier releases called it
_TURNED = r"(\.1|\.new)?"  # a log, the one before it, and the next

_RESCUED = r"rescued\.db(\.new){0,2}(-wal|-shm|-journal)?"  # storage/rescue.py
DATABASE = Shape(r"data\.db(\.new)?(-wal|-shm|-journal)?")
NODE = Shape(
    rf"{DATABASE.files}|{_RESCUED}|lock|config\.json|\.config\.json\.{_PART}|node\.log{_TURNED}",
    directories=((rf"aside-{_WHEN}", DATABASE),),
)
SOCKETS = Shape(sockets=rf"{_NAME}\.(sock|peer|next)")
_BESIDE = Shape(
    rf"(staged|faults|supervisor)\.json|\.(cluster|staged|faults|supervisor)\.json\.{_PART}"
    rf"|supervisor\.log{_TURNED}|events\.jsonl{_TURNED}|run|\.run\.{_PART}",
    directories=((r"\.dynazmq-[a-z0-9_]{8}", Shape(r"lock|shared|secret|new|old", r"\.\d+\.sock")),),  # ground.py, cut off
)
CLUSTER = Shape(rf"{_BESIDE.files}|cluster\.json|supervisor\.lock")
"""Of nodes/ and removed/ each directory is looked at by itself (`belongs`)."""

_SAID_MAX = 5


@dataclass(slots=True)
class Removed:
    """What a removal has done. left: what is not ours, and stays with the directories that it is in."""

    bytes: int = 0
    left: list[Path] = field(default_factory=list)

    def say(self) -> str:
        """Of what was left, for a person; "" when nothing was."""
        if not self.left:
            return ""
        more = f" and {len(self.left) - _SAID_MAX:,} more" if len(self.left) > _SAID_MAX else ""
        return f"kept what is not ours: {', '.join(map(str, self.left[:_SAID_MAX]))}{more}"


def remove(directory: Path, shape: Shape, *, itself: bool = True) -> Removed:
    """Remove what is ours in it; itself: then the directory, when nothing is left in it. Raises OSError."""
    removed = Removed()
    if directory.is_symlink():
        removed.left.append(directory)
        return removed
    try:
        handle = os.open(directory, _DIRECTORY)
    except FileNotFoundError:
        return removed
    try:
        _clear(handle, directory, shape, removed)
    finally:
        os.close(handle)
    if itself and not os.listdir(directory):
        os.rmdir(directory)
    return removed


def _clear(handle: int, path: Path, shape: Shape, removed: Removed) -> None:
    for name in sorted(os.listdir(handle)):
        found = os.stat(name, dir_fd=handle, follow_symlinks=False)
        inner = shape.inside(name) if stat.S_ISDIR(found.st_mode) else None
        if shape.has(name, found.st_mode):
            os.unlink(name, dir_fd=handle)
            removed.bytes += found.st_size
        elif inner is None:
            removed.left.append(path / name)
        else:
            with _below(handle, name) as below:
                _clear(below, path / name, inner, removed)
                empty = not os.listdir(below)
            if empty:
                os.rmdir(name, dir_fd=handle)


def strangers(directory: Path, shape: Shape) -> list[Path]:
    """What is in it and not ours; of a link, the link. Raises OSError."""
    if directory.is_symlink():
        return [directory]
    found: list[Path] = []
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        mode = entry.stat(follow_symlinks=False).st_mode
        inner = shape.inside(entry.name) if stat.S_ISDIR(mode) else None
        if inner is not None:
            found += strangers(Path(entry.path), inner)
        elif not shape.has(entry.name, mode):
            found.append(Path(entry.path))
    return found


@contextmanager
def _below(handle: int, name: str) -> Iterator[int]:
    below = os.open(name, _DIRECTORY, dir_fd=handle)
    try:
        yield below
    finally:
        os.close(below)


# --- of a cluster -----------------------------------------------------------------------------------------------------------


def belongs(node_dir: Path, cluster: ClusterFile | None) -> bool:
    """Whether a directory is that of a node of this cluster; None: of any cluster. Raises OSError.

    Its configuration says so. Where there is none, or it cannot be read, the cluster's file may name it, or it holds a database
    of ours; and one in which nothing is but ours, or nothing at all, does as well: a node was taken in and that was cut off.
    """
    if node_dir.is_symlink() or not node_dir.is_dir():
        return False
    file, database = node_dir / "config.json", node_dir / "data.db"
    try:
        config = paths.load_node_config(file)
    except ClusterError:
        if cluster is not None and node_dir.name in cluster.members:
            return True
    else:
        return cluster is None or config.cluster_id == cluster.cluster_id
    if database.exists():
        return _is_ours(database)
    return not file.exists() and not strangers(node_dir, NODE)


def _is_ours(database: Path) -> bool:
    from dynazmq.storage.schema import APPLICATION_ID  # late: it loads SQLite, which a supervisor seldom needs

    with open(database, "rb") as file:
        head = file.read(_APPLICATION_ID_AT + 4)
    return int.from_bytes(head[_APPLICATION_ID_AT:], "big") == APPLICATION_ID


def remove_cluster(directory: Path) -> Removed:
    """All that a cluster has, for whoever holds its lock. cluster.json goes last: until then this can be begun anew.

    Raises OSError.
    """
    directory = directory.resolve()  # a link to a cluster's directory is a way to name it
    cluster = _cluster(directory)
    removed = remove_sockets(directory)
    for part in (directory / "nodes", paths.removed_dir(directory)):
        if part.is_dir() and not part.is_symlink():
            _remove_nodes(part, cluster, removed)
    removed.bytes += remove(directory, _BESIDE, itself=False).bytes
    _add(removed, remove(directory, CLUSTER))
    # Of directories that hold what was left, that alone is told.
    told = dict.fromkeys(removed.left)
    removed.left = [path for path in told if not any(path in other.parents for other in told)]
    return removed


def _remove_nodes(part: Path, cluster: ClusterFile | None, removed: Removed) -> None:
    for entry in sorted(part.iterdir()):
        if belongs(entry, cluster):
            _add(removed, remove(entry, NODE))
        else:
            removed.left.append(entry)
    if not os.listdir(part):
        part.rmdir()


def remove_sockets(directory: Path) -> Removed:
    """And the directory for them, when nothing else is in it. Raises OSError."""
    run = paths.runtime_dir(directory)
    removed = remove(run, SOCKETS)
    paths.remove_private(run)
    return removed


def _cluster(directory: Path) -> ClusterFile | None:
    try:
        return ClusterFile.load(directory)
    except ClusterError:
        return None  # it cannot be read: what looks like a node of ours is one


def _add(removed: Removed, more: Removed) -> None:
    removed.bytes += more.bytes
    removed.left += more.left
