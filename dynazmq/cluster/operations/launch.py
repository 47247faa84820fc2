"""Starting and ending a cluster from outside: what `cluster up` and `cluster down` do around the supervisor.

Whoever holds supervisor.lock may create, adopt and end. `up` takes it and hands it to the supervisor that it starts; `down` waits
for it, so that when it returns nobody can be at work any more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynazmq import paths, users
from dynazmq.cluster import control, processes
from dynazmq.cluster.control import NoSupervisor
from dynazmq.cluster.directory import ground, ownership, state
from dynazmq.cluster.directory.orphans import remove_sockets, stopped_supervisor
from dynazmq.cluster.directory.removal import Removed, remove_cluster
from dynazmq.cluster.supervisor.children import tail
from dynazmq.errors import ClusterError, NoSuchCluster, NotPermitted
from dynazmq.paths import ClusterFile

POLL_S = 0.02
DOWN_S = processes.STOP_GRACE_S + 3.0
"""After this long a supervisor that was told to end its nodes, each with its grace, is taken for stuck."""


def lock(directory: Path) -> int | None:
    """See `state.take_lock`; makes the directory when there is none. Raises ClusterError."""
    ownership.check_own(directory)
    takes_sockets = ground.examine(directory)
    if not takes_sockets or not paths.is_near(directory):
        ground.check_elsewhere(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = _take_lock(directory)
        if held is not None and not takes_sockets and paths.is_near(directory):
            paths.put_sockets_elsewhere(directory)
    except PermissionError as error:
        raise users.refused(Path(error.filename), directory) from None
    except OSError as error:
        elsewhere = "; choose another place with --dir" if paths.is_meant(directory) else ""
        raise ClusterError(f"cannot use {directory}: {error.strerror}{elsewhere}") from None
    if held is None:
        _check_not_linked(directory)
    elif unlocked := processes.supervisors_in(directory):
        os.close(held)
        raise ClusterError(
            f"{', '.join(unlocked)} runs here, and somebody has removed its supervisor.lock; end it with: "
            f"dynazmq down{paths.where(directory)}"
        )
    return held


def _take_lock(directory: Path) -> int | None:
    """The same, and none beside a supervisor whose lock somebody has removed: it takes the new one, which it must find free.

    Held after all when it does not, being frozen perhaps. Raises OSError.
    """
    deadline = time.monotonic() + UNLOCKED_S
    while (held := state.take_lock(directory)) is not None and processes.supervisors_in(directory):
        if time.monotonic() >= deadline:
            break
        os.close(held)
        time.sleep(UNLOCKED_POLL_S)
    return held


def _check_not_linked(directory: Path) -> None:
    """The lock is held; not because another cluster's files have names here too (`cp -al`). Raises ClusterError."""
    for other in set(processes.running_clusters()):
        try:
            if os.path.samefile(other, directory):
                continue
            if os.path.samefile(other / "supervisor.lock", directory / "supervisor.lock"):
                raise ClusterError(
                    f"the files in {directory} are those of {other}, which runs: both have the same by hard links; "
                    "to have a cluster of its own there, copy it without links"
                )
        except OSError:
            continue


UNLOCKED_S, UNLOCKED_POLL_S = 5.0, 0.3
"""A supervisor looks for its lock once per second or more often."""

_started: list[subprocess.Popen[bytes]] = []
"""Supervisors that are children of this process: it reaps them when it ends their cluster, if it lives that long."""


def start_supervisor(directory: Path, held: int, policy: str | None, restart_after_s: float | None) -> subprocess.Popen[bytes]:
    """Start it in the background, in a session of its own; the lock goes with it. None: as it was for nodes that still run."""
    after = "" if restart_after_s is None else f"{restart_after_s:g}"
    log = paths.supervisor_log(directory)
    processes.rotate(log)
    with open(log, "ab") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "dynazmq.cluster.supervisor.supervisor"),
                *(str(directory), policy or "", after, str(held)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=processes.environment(),
            start_new_session=True,
            pass_fds=(held,),
        )
    _started.append(process)
    return process


def await_supervisor(directory: Path, process: subprocess.Popen[bytes] | None, deadline: float) -> dict[str, Any]:
    """Its first facts. Raises ClusterError with its last words when it ends first, or when `deadline` passes."""
    while True:
        try:
            return control.call(directory, "facts", 1.0)
        except NoSupervisor as error:
            if process is not None and process.poll() is not None:
                raise ClusterError(f"the supervisor did not start: {why_ended(directory, process)}") from None
            if time.monotonic() >= deadline:
                raise ClusterError(f"the supervisor does not answer: {error}") from None
            time.sleep(POLL_S)


def lock_or_supervisor(directory: Path, deadline: float) -> int | None:
    """See `lock`; None where a supervisor holds it that answers. One that is just ending is waited for. Raises ClusterError."""
    held = lock(directory)
    while held is None:
        why = "the cluster is going down, and has not ended yet"
        try:
            if not control.call(directory, "facts", 1.0)["stopping"]:
                return None
        except NoSupervisor as error:
            why = f"the supervisor does not answer: {error}"
            if stopped := stopped_supervisor(directory):
                raise ClusterError("; what helps: ".join(stopped)) from None
        if time.monotonic() >= deadline:
            raise ClusterError(why)
        time.sleep(POLL_S)
        held = _take_lock(directory)
    return held


def why_ended(directory: Path, process: subprocess.Popen[bytes]) -> str:
    """Of a supervisor: its last words, unless somebody else ended it."""
    words = tail(paths.supervisor_log(directory), lines_max=1) if process.returncode > 0 else []
    return words[0].removeprefix("error: ") if words else processes.exit_text(process.returncode)


# --- ending ---------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Ended:
    """What `end_cluster` found and did."""

    nodes: list[str] = field(default_factory=list)  # that ran
    killed: list[str] = field(default_factory=list)  # of them: did not stop in time
    supervised: bool = False
    supervisor_killed: bool = False

    @property
    def was_running(self) -> bool:
        return self.supervised or bool(self.nodes)


def end_cluster(directory: Path) -> Ended:
    """End every process of the cluster, with or without a supervisor; returns when all are gone. Raises NoSuchCluster.

    Also one of which somebody has removed the files: where processes of it run there is a cluster to be ended.
    """
    if not paths.has_cluster(directory) and not _anything_runs(directory):
        raise NoSuchCluster(paths.none_in(directory))
    ownership.check_own(directory)
    ended = Ended()
    held = _take_lock(directory)
    if held is None:
        _check_not_linked(directory)
        held = _end_through_supervisor(directory, ended)
    try:
        names = _names(directory)
        left = processes.find_nodes(directory, names)
        ended.supervised |= bool(processes.end_all(processes.supervisors_in(directory)))  # first: they would start nodes again
        outcome = processes.end_all(left)
        ended.nodes += [name for name in outcome if name not in ended.nodes]
        ended.killed += [name for name, how in outcome.items() if how == "killed"]
        _remove_sockets(directory)
        state.forget(directory)
    finally:
        os.close(held)
    _started[:] = [process for process in _started if process.poll() is None]
    return ended


def _anything_runs(directory: Path) -> bool:
    return directory.is_dir() and bool(processes.supervisors_in(directory) or processes.find_nodes(directory, _names(directory)))


def _end_through_supervisor(directory: Path, ended: Ended) -> int:
    """Returns the lock, which is free once the supervisor is gone."""
    ended.supervised = True
    deadline = time.monotonic() + DOWN_S
    told = False
    while (left := deadline - time.monotonic()) > 0:
        try:
            if not told:
                ended.nodes = list(control.call(directory, "down", min(2.0, left))["nodes"])
                told = True
            else:
                _note_killed(control.call(directory, "facts", min(1.0, left)), ended)
        except NoSupervisor:
            pass  # it is just starting, or gone
        if (held := state.take_lock(directory)) is not None:
            return held
        time.sleep(POLL_S)
    # It holds the lock and does nothing: frozen, or stuck. Its nodes are ended without it.
    identity = state.StateFile.load(directory).supervisor
    if identity is None or not processes.works_in(identity, directory) or not processes.send_signal(identity, signal.SIGKILL):
        raise ClusterError(f"somebody holds {directory}/supervisor.lock and does not answer; see supervisor.log there")
    ended.supervisor_killed = True
    processes.await_gone({"supervisor": identity}, processes.STOP_GRACE_S)
    held = state.take_lock(directory)
    if held is None:
        raise ClusterError(f"{directory}/supervisor.lock is still held by another process")
    return held


def _note_killed(facts: dict[str, Any], ended: Ended) -> None:
    for _, name, text, kind in facts["events"]:
        if kind == "killed" and "did not stop" in text and name not in ended.killed:
            ended.killed.append(name)


def _names(directory: Path) -> list[str]:
    """Node names, also when cluster.json cannot be read."""
    try:
        return list(ClusterFile.load(directory).members)
    except ClusterError:
        nodes = directory / "nodes"
        return sorted(entry.name for entry in nodes.iterdir()) if nodes.is_dir() else []


def _remove_sockets(directory: Path) -> None:
    try:
        remove_sockets(directory, ClusterFile.load(directory))
    except ClusterError:
        pass  # unreadable: nobody knows which sockets are its


def purge(directory: Path) -> Removed:
    """Remove a cluster that is down, with all that it stored, and nothing that is not its own. Raises ClusterError."""
    ownership.check_own(directory)
    held = state.take_lock(directory)
    if held is None:
        raise ClusterError("somebody starts this cluster just now; nothing was removed")
    try:
        return remove_cluster(directory)
    except OSError as error:
        raise ClusterError(f"cannot remove {error.filename}: {error.strerror}") from None
    finally:
        os.close(held)


# --- finding ----------------------------------------------------------------------------------------------------------------


def known_clusters(also: Path) -> Iterator[Path]:
    """Directories of this user's clusters: those in the state directory, `also`, and those that run anywhere."""
    seen: set[Path] = set()
    home = paths.cluster_dir(name="default").parent
    found = sorted(home.glob("*/cluster.json")) if home.is_dir() else []
    elsewhere = sorted({also, *processes.running_clusters()})
    for directory in [path.parent for path in found] + elsewhere:
        if directory.resolve() not in seen and may_be_one(directory):
            seen.add(directory.resolve())
            yield directory


def may_be_one(directory: Path) -> bool:
    """Whether a cluster is in it, as far as can be seen."""
    try:
        return paths.has_cluster(directory)
    except NotPermitted:
        return True  # whoever lists it says whose it is
