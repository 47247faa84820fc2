"""Who belongs to a cluster, on disk: taking a node in and striking one off, so that whatever is interrupted can be gone on with.

    enrol    its directory and configuration → cluster.json names it: now it belongs → everybody's configuration
    strike   cluster.json names it no more: now it is out → everybody's configuration → its directory

A directory that cluster.json does not name is left over from one of these, and `tidy` does the rest. For whoever holds the
cluster's lock. What the nodes themselves know of members, and when one may be struck off, is not decided here: see monitor.py.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dynazmq import durable, paths
from dynazmq.cluster.directory import removal
from dynazmq.cluster.directory.creation import free_ports, node_config, refresh
from dynazmq.errors import InvalidRequest
from dynazmq.paths import ClusterFile

_NO_NODES = {"supervisor"}
"""Its socket and its log stand beside those of the nodes."""


def check_name(name: str) -> None:
    """Raises InvalidRequest unless a node can be called so."""
    if not paths.NODE_NAME.fullmatch(name) or name in _NO_NODES:
        reserved = f", and not {name}" if name in _NO_NODES else f", not {name!r}"
        raise InvalidRequest(f"a node's name is 1 to 32 of a-z 0-9 _ . - and begins with a letter{reserved}")


def free_name(taken: Iterable[str]) -> str:
    """The next after the highest nK."""
    numbers = [int(name[1:]) for name in taken if re.fullmatch(r"n[0-9]{1,9}", name)]
    return f"n{max(numbers, default=0) + 1}"


def names_on_disk(directory: Path) -> list[str]:
    """Names whose directories are there, whether they belong or not."""
    nodes = directory / "nodes"
    return sorted(entry.name for entry in nodes.iterdir() if entry.is_dir()) if nodes.is_dir() else []


def enrol(cluster: ClusterFile, directory: Path, name: str) -> None:
    """Make it a member that waits to be told of the ring. Raises OSError."""
    if cluster.transport == "ipc":
        endpoint = paths.ipc_endpoint(directory, name)
    else:
        endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    wanted = replace(cluster, members={**cluster.members, name: endpoint})
    paths.node_dir(directory, name).mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.save_node_config(paths.config_path(directory, name), node_config(wanted, directory, name))
    durable.sync_directory(directory / "nodes")
    wanted.save(directory)
    cluster.members = wanted.members
    refresh(cluster, directory)


def strike(cluster: ClusterFile, directory: Path, name: str) -> str:
    """It is out and has no process; what became of its files, for a person. Raises OSError."""
    members = {each: endpoint for each, endpoint in cluster.members.items() if each != name}
    former = [*cluster.former, *([name] if name not in cluster.former else [])]
    replace(cluster, members=members, former=former).save(directory)
    cluster.members, cluster.former = members, former
    refresh(cluster, directory)
    for file in paths.socket_files(name):
        path = paths.runtime_dir(directory) / file
        if path.is_socket():
            path.unlink(missing_ok=True)
    return _clear_away(cluster, directory, name)


def tidy(cluster: ClusterFile, directory: Path) -> list[str]:
    """What an interrupted `enrol` or `strike` left, done; a line for each. Raises OSError."""
    left = [name for name in names_on_disk(directory) if name not in cluster.members]
    return [f"{name}: {_clear_away(cluster, directory, name)}" for name in left]


def _clear_away(cluster: ClusterFile, directory: Path, name: str) -> str:
    node_dir = paths.node_dir(directory, name)
    if not os.path.lexists(node_dir):
        return "it had no files"
    if not removal.belongs(node_dir, cluster):
        return f"{node_dir} is not the directory of a node of this cluster: it stays as it is"
    lock = os.open(node_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if holds_data(node_dir):
            aside = _place_for(directory, name)
            durable.rename(node_dir, aside)
            return f"what it held is in {aside}"
        if strangers := removal.strangers(node_dir, removal.NODE):
            return f"it held nothing any more, and its files stay beside what is not ours: {' '.join(map(str, strangers[:5]))}"
        removal.remove(node_dir, removal.NODE)
        return "it held nothing any more, its files are deleted"
    except BlockingIOError:
        return f"a process still serves {node_dir}: its files stay"
    finally:
        os.close(lock)


def _place_for(directory: Path, name: str) -> Path:
    removed = paths.removed_dir(directory)
    removed.mkdir(mode=0o700, exist_ok=True)
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    taken = {entry.name for entry in removed.iterdir()}
    return removed / next(each for each in (stem, *(f"{stem}-{i}" for i in range(2, 1000))) if each not in taken)


def holds_data(node_dir: Path) -> bool:
    """Whether a node that is down has anything stored: rows, hints, a copy that was set aside. What cannot be read counts."""
    if any(node_dir.glob("aside-*")):
        return True
    database = node_dir / "data.db"
    if not database.exists():
        return False
    import sqlite3  # late: a supervisor seldom needs it

    connection = None
    try:
        connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)
        return any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in ("data", "hints", "journal"))
    except sqlite3.Error:
        return True
    finally:
        if connection is not None:
            connection.close()
