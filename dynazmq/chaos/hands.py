"""The verbs with which faults are done to a cluster, through its supervisor and its file of faults. For one thread."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from dynazmq.cluster import control, processes
from dynazmq.cluster.directory import faults
from dynazmq.cluster.observe import node_health
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import Snapshot
from dynazmq.cluster.operations import launch
from dynazmq.cluster.operations.rolling import Stuck, restart_each
from dynazmq.errors import ClusterError, DynazmqError, InvalidRequest
from dynazmq.faults import Fault
from dynazmq.paths import ClusterFile

POLL_S = 0.1
_LOOK_S = 0.4
_BEYOND_S = 30.0
"""A fault ends by itself so long after its time: if whoever would heal it is gone."""

_SUPERVISOR_S = 10.0


class Hands:
    """go_on: False ends whatever is waited for."""

    def __init__(self, directory: Path, go_on: Callable[[], bool]) -> None:
        """Raises NoSuchCluster."""
        self.directory = directory
        self.go_on = go_on
        self.observer = Observer(directory)

    @property
    def members(self) -> list[str]:
        return list(ClusterFile.load(self.directory).members)

    def act(self, verb: str, names: Sequence[str]) -> None:
        """kill, stop, start, pause, resume, wipe. Raises ClusterError."""
        control.call(self.directory, verb, nodes=list(names))

    def put_on(self, fault: Fault, lasting_s: float) -> str:
        """Its id. Raises InvalidRequest when the same is on already, ClusterError."""
        return faults.put_on(self.directory, fault, self.members, lasting_s + _BEYOND_S).id

    def heal(self, ids: Sequence[str]) -> None:
        """Those of them that are still on."""
        on = {fault.id for fault in faults.read(self.directory)}
        if left := [each for each in ids if each in on]:
            faults.heal(self.directory, left)

    # --- the supervisor ---------------------------------------------------------------------------------------------------

    def kill_supervisor(self) -> None:
        """kill -9; its nodes go on. Raises ClusterError when none answers."""
        pid = control.call(self.directory, "facts")["pid"]
        identity = processes.identify(int(pid))
        if identity is None or not processes.send_signal(identity, signal.SIGKILL):
            raise ClusterError("the supervisor is gone already")
        processes.await_gone({"supervisor": identity}, _SUPERVISOR_S)

    def start_supervisor(self) -> None:
        """A new one, which adopts the nodes; nothing if there is one. Raises ClusterError."""
        deadline = time.monotonic() + _SUPERVISOR_S
        held = launch.lock(self.directory)
        process = None
        if held is not None:
            try:
                process = launch.start_supervisor(self.directory, held, None, None)
            finally:
                os.close(held)  # it is the supervisor's now
        launch.await_supervisor(self.directory, process, deadline)

    # --- looking ----------------------------------------------------------------------------------------------------------

    def look(self) -> Snapshot:
        return self.observer.look(_LOOK_S, facts_timeout=PATIENT_S)

    def await_whole(self, timeout_s: float) -> str:
        """Until all members are up and all replicas are equal; "" then, else what is not so yet."""
        deadline = time.monotonic() + timeout_s
        while True:
            missing = missing_of(self.look())
            if not missing or not self.go_on() or time.monotonic() >= deadline:
                return missing
            time.sleep(POLL_S)

    def roll(self, timeout_s: float) -> str:
        """Restart one node after the other; "" when all were, else at what it stopped."""
        for step in restart_each(self.directory, timeout_s, self.go_on):
            if isinstance(step, Stuck):
                return f"{step.name} {step.missing}".strip()
        return ""

    # --- the end ----------------------------------------------------------------------------------------------------------

    def restore(self, ids: Sequence[str], names: Sequence[str]) -> list[str]:
        """Whatever was done is undone: a supervisor runs, these faults are off, these nodes run. What could not be, in words."""
        failed = []
        undo: list[Callable[[], None]] = [self.start_supervisor, lambda: self.heal(ids)]
        undo += [lambda name=name: self._start(name) for name in names]  # type: ignore[misc]
        for act in undo:
            try:
                act()
            except (DynazmqError, OSError) as error:
                failed.append(str(error))
        return failed

    def _start(self, name: str) -> None:
        """It runs, if it is a member still; one that is paused goes on."""
        try:
            if name in self.members:
                self.act("start", [name])
        except InvalidRequest:
            return  # it has just left

    def close(self) -> None:
        self.observer.close()

    def __enter__(self) -> Hands:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def missing_of(snapshot: Snapshot) -> str:
    """Why this cluster is not whole; "" when it is."""
    if not_up := [node.name for node in snapshot.nodes if node.state != "up"]:
        return f"{' '.join(not_up)} {'is' if len(not_up) == 1 else 'are'} not up"
    if not snapshot.ring_agreed:
        return "the nodes do not agree on the ring"
    if node_health.changing(snapshot):
        return "members come or go"
    if hints := node_health.hints_pending(snapshot):
        return f"{hints:,} {'hint is' if hints == 1 else 'hints are'} not home"
    if not node_health.converged(snapshot):
        left = [node.name for node in node_health.comparing(snapshot)]
        return f"replicas are not known to be equal ({' '.join(left)})" if left else "the cluster has not converged"
    return ""


