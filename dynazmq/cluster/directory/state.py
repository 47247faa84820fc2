"""What a supervisor leaves on disk: the lock that makes it the only one, and supervisor.json for whoever comes after it.

The lock is the truth about *whether* somebody supervises: the kernel drops it with the process, however that ends. The file says
*who*, and which processes run, so that the next supervisor adopts them and `down` can end them without one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dynazmq import durable
from dynazmq.cluster.directory import ownership
from dynazmq.cluster.processes import Identity
from dynazmq.errors import ClusterError
from dynazmq.streams import above_standard

SCHEMA = "dynazmq.supervisor/1"

RESTART_AFTER_S = 10.0
"""How long a node that died by itself stays away at first, unless `up` says otherwise: long enough to watch the outage."""


@dataclass(slots=True, kw_only=True)
class NodeRecord:
    """One node as its supervisor last knew it. `process`: how the last one ended, when there is none now."""

    identity: Identity | None = None
    process: str = ""
    purpose: str = ""  # why it has no process, when that is what somebody asked for: killed | stopped | wiped
    changed_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class StateFile:
    """supervisor.json."""

    supervisor: Identity | None = None
    restart: str = "on-failure"
    restart_after_s: float = RESTART_AFTER_S
    nodes: dict[str, NodeRecord] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> StateFile:
        """What is recorded; an empty record when there is none or it is damaged (`find_nodes` then finds the processes)."""
        try:
            raw = json.loads(_path(directory).read_text())
            nodes = {
                str(name): NodeRecord(
                    identity=_identity(each["identity"]),
                    process=str(each["process"]),
                    purpose=str(each["purpose"]),
                    changed_at=float(each["changed_at"]),
                )
                for name, each in raw["nodes"].items()
            }
            return cls(
                supervisor=_identity(raw["supervisor"]),
                restart=str(raw["restart"]),
                restart_after_s=float(raw.get("restart_after_s", RESTART_AFTER_S)),
                nodes=nodes,
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()

    def save(self, directory: Path) -> None:
        document = {
            "schema": SCHEMA,
            "supervisor": _plain(self.supervisor),
            "restart": self.restart,
            "restart_after_s": self.restart_after_s,
            "nodes": {
                name: {
                    "identity": _plain(record.identity),
                    "process": record.process,
                    "purpose": record.purpose,
                    "changed_at": record.changed_at,
                }
                for name, record in self.nodes.items()
            },
        }
        durable.write_text(_path(directory), json.dumps(document, indent=1) + "\n")


def forget(directory: Path) -> None:
    """After a clean end there is nothing to adopt. Where nothing can be removed, what it says is of processes that are gone."""
    durable.remove_if_possible(_path(directory))


def _path(directory: Path) -> Path:
    return directory / "supervisor.json"


def _plain(identity: Identity | None) -> list[int | str] | None:
    return [identity.pid, identity.started] if identity else None


def _identity(raw: list[int | str] | None) -> Identity | None:
    return Identity(int(raw[0]), str(raw[1])) if raw else None


# --- the lock -------------------------------------------------------------------------------------------------------------


def take_lock(directory: Path) -> int | None:
    """Become the one who may start, adopt and end this cluster's processes. None: somebody else is.

    The descriptor is the lock: a child that inherits it holds it too, so it passes to a supervisor without a gap.
    """
    path = directory / "supervisor.lock"
    while True:
        handle = above_standard(_open_lock(path))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        try:
            if os.stat(path).st_ino == os.fstat(handle).st_ino:
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # purged between our open and our lock: that file is nobody's any more


class OwnLock:
    """The lock that this process holds, for others to find: its file may be removed, and then there could be two holders."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = self._named()
        self._held: int | None = None

    def take_again(self) -> bool:
        """Whether another file had its name, or none, and this process holds that one now. Raises OSError."""
        named = self._named()
        if named is not None and self._file is not None and os.path.samestat(named, self._file):
            return False
        held = take_lock(self._directory)
        if held is None:
            return False  # somebody looks who else is there, and lets go when he has seen us (launch.py)
        if self._held is not None:
            os.close(self._held)
        self._held, self._file = held, os.fstat(held)
        return True

    def _named(self) -> os.stat_result | None:
        try:
            return os.stat(self._directory / "supervisor.lock")
        except FileNotFoundError:
            return None


def _open_lock(path: Path) -> int:
    """A file system that has become read-only since a supervisor began: it must be possible to end it there. Raises OSError."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # which is enough for a flock


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One command at a time restarts node after node, or decides on members. The kernel drops the lock with the process, however
    that ends. Raises ClusterError.
    """
    ownership.check_own(directory)
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = "another command restarts this cluster or changes its members just now; this one has done nothing"
            raise ClusterError(busy) from None
        yield
    finally:
        os.close(handle)
