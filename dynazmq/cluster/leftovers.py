"""What an earlier supervisor left: processes to adopt or to end, and sockets to remove."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dynazmq import paths
from dynazmq.cluster import processes, state
from dynazmq.paths import ClusterFile


def surviving(directory: Path, names: Iterable[str], before: state.StateFile) -> dict[str, processes.Identity]:
    """The node processes of this cluster that are alive: those recorded, and those found by their command lines."""
    names = list(names)
    found = processes.find_nodes(directory, names)
    for name in names:
        record = before.nodes.get(name)
        if name not in found and record and record.identity and processes.state_of(record.identity):
            found[name] = record.identity
    return found


def anybody_runs(directory: Path, names: Iterable[str]) -> bool:
    """Whether any node of this cluster is alive: by what is recorded, which is quick, else by looking for it."""
    records = state.StateFile.load(directory).nodes.values()
    if any(record.identity and processes.state_of(record.identity) for record in records):
        return True
    return bool(processes.find_nodes(directory, names))


def remove_sockets(directory: Path, cluster: ClusterFile) -> None:
    """Only sockets, and only those that this cluster could have made."""
    run = paths.runtime_dir(directory)
    for name in (*(file for member in cluster.members for file in paths.socket_files(member)), "supervisor.sock"):
        path = run / name
        if path.is_socket():
            path.unlink(missing_ok=True)
    paths.remove_private(run)
