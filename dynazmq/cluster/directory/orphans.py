"""What an earlier supervisor left: whether any process runs, and sockets to remove."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dynazmq import durable, paths
from dynazmq.cluster import processes
from dynazmq.cluster.directory import state
from dynazmq.paths import ClusterFile


def anybody_runs(directory: Path, names: Iterable[str]) -> bool:
    """Whether any node of this cluster is alive: by what is recorded, which is quick, else by looking for it."""
    for name, record in state.StateFile.load(directory).nodes.items():
        if record.identity and processes.works_in(record.identity, paths.node_dir(directory, name)):
            return True
    return bool(processes.find_nodes(directory, names))


def silent_supervisor(directory: Path, at: str) -> tuple[str, str]:
    """What there is to say where no supervisor answers, and what to type. at: what names the directory in a command."""
    if others := processes.of_others(directory):
        return f"you have no say in what another user runs: {processes.named(others)}", processes.mend_others(directory, others)
    identity, socket = state.StateFile.load(directory).supervisor, paths.supervisor_socket(directory)
    if identity is None or not processes.works_in(identity, directory):
        return "no supervisor: nodes that die stay down", f"dynazmq up{at}"
    if stopped := stopped_supervisor(directory):
        return stopped
    if not socket.exists():
        text = f"the supervisor runs (pid {identity.pid}), and the file of its socket was removed: {socket}; it makes it anew"
        return f"{text} in a moment, or is to be started anew", f"dynazmq cluster restart{at}"
    text = f"the supervisor runs (pid {identity.pid}) and does not answer"
    return text, f"dynazmq cluster restart{at}"


def stopped_supervisor(directory: Path) -> tuple[str, str] | None:
    """The same of one that lives and hears nothing; another cannot be started beside it."""
    identity = state.StateFile.load(directory).supervisor
    if identity is None or processes.state_of(identity) != "paused" or not processes.works_in(identity, directory):
        return None
    text = f"the supervisor (pid {identity.pid}) is stopped by a signal, SIGSTOP for example: nodes that die stay down"
    return text, f"kill -CONT {identity.pid}"


def unsupervised(directory: Path, at: str) -> str:
    """The same for who wanted it to do something, in one line."""
    text, command = silent_supervisor(directory, at)
    if command.startswith("dynazmq up"):
        return f"no supervisor answers; start one, it takes over what runs: {command}"
    return f"{text}; what helps: {command}"


def remove_sockets(directory: Path, cluster: ClusterFile) -> None:
    """Only sockets, and only those that this cluster could have made."""
    run = paths.runtime_dir(directory)
    for name in (*(file for member in cluster.members for file in paths.socket_files(member)), "supervisor.sock"):
        path = run / name
        if path.is_socket():
            durable.remove_if_possible(path)
    paths.remove_private(run)
