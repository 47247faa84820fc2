"""A cluster to be thrown away, in a temporary directory."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from dynazmq.chaos.interrupts import uninterrupted
from dynazmq.cluster.directory import creation
from dynazmq.cluster.directory.creation import Wishes
from dynazmq.cluster.operations import launch, readiness
from dynazmq.errors import ClusterError
from dynazmq.paths import has_cluster

START_S = 30.0


def start(nodes: int) -> Path:
    """The directory of one that is ready. Raises InvalidRequest, ClusterError; then nothing is left of it."""
    directory = Path(tempfile.mkdtemp(prefix="dynazmq-chaos-")) / "chaos"
    try:
        _start(directory, Wishes(nodes=nodes, name="chaos"))
    except BaseException:
        remove(directory)
        raise
    return directory


def _start(directory: Path, wishes: Wishes) -> None:
    deadline = time.monotonic() + START_S
    # Whole, or not at all: a lock that nobody remembers to have taken, and a supervisor that is known to nobody, would have the
    # directory held by somebody when it is removed.
    with uninterrupted():
        creation.check(directory, wishes)
        held = launch.lock(directory)
        assert held is not None, "nobody else knows this directory"
        try:
            creation.create(directory, wishes)
            process = launch.start_supervisor(directory, held, None, None)
        finally:
            os.close(held)  # it is the supervisor's now
    launch.await_supervisor(directory, process, deadline)
    for step in readiness.await_ready(directory, deadline):
        if isinstance(step, readiness.Failed):
            raise ClusterError(f"{step.name} does not start: {step.what}: {step.reason}")
        if isinstance(step, readiness.Late):
            raise ClusterError(f"the cluster is not ready after {START_S:.0f} s: {step.missing}")


def end(directory: Path) -> None:
    """No process of it is left."""
    if has_cluster(directory):
        launch.end_cluster(directory)


def remove(directory: Path) -> None:
    """Its processes, its data, and the temporary directory itself."""
    end(directory)
    if directory.exists():
        launch.purge(directory)
    with suppress(OSError):  # what is not ours stays in it
        directory.parent.rmdir()
