"""The thread that looks at the cluster: twice a second, more often while something is under way, at once when asked.

All asking happens here, so a cluster that does not answer never holds up a key. What it finds goes to `show` as a value: the
model, or a text when there is nothing to draw. The history is this thread's alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from dynazmq.cluster.observe.snapshot import Snapshot
from dynazmq.errors import ClusterError
from dynazmq.paths import where
from dynazmq.tui.look import Progress
from dynazmq.tui.model.load import Load
from dynazmq.tui.model.model import Model
from dynazmq.tui.model.trends import History
from dynazmq.tui.recording.recording import Recorder

PACES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
IDLE_S = 0.5
BUSY_S = 0.2
"""While a recovery is under way: its stages are no more exact than that."""
EAGER_S = 2.0
"""Busy for so long after an action, before anything is to be seen of it."""


class Watcher(Protocol):
    """`dynazmq.cluster.observe.observe.Observer`, or a test's."""

    def look(self) -> Snapshot: ...

    def close(self) -> None: ...


Show = Callable[[Model | str, Progress | None], None]
"""Called with what was found, and where that is in a replay."""


class Eyes(Protocol):
    """Where the console's models come from: `Poller`, or a replay."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def wake(self) -> None: ...

    def pace(self, step: int) -> str:
        """Look (or play) slower or, with a step below zero, faster; how fast it is then, for people."""
        ...


def observer(directory: Path) -> Watcher:
    from dynazmq.cluster.observe.observe import Observer

    return Observer(directory)


def not_running(snapshot: Snapshot) -> str:
    """What to say when there is a cluster and nothing of it lives; "" when something does."""
    if snapshot.supervisor_pid is not None or any(node.pid is not None or node.answers for node in snapshot.nodes):
        return ""
    directory = Path(snapshot.directory)
    return f"the cluster {snapshot.name} in {directory} is not running; start it with: dynazmq cluster up{where(directory)}"


class Poller:
    def __init__(
        self,
        directory: Path,
        show: Show,
        load: Load,
        watch: Callable[[Path], Watcher] = observer,
        recorder: Recorder | None = None,
    ) -> None:
        self._directory = directory
        self._show = show
        self._load = load
        self._watch = watch
        self._recorder = recorder
        self._watcher: Watcher | None = None
        self._history = History()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._idle_s = IDLE_S
        self._eager_until = 0.0
        self._cluster_id = 0  # of what was looked at last
        self._checked = 0.0  # the convergence after which the load was told last to check its writes
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look now: something was done to the cluster."""
        self._eager_until = time.monotonic() + EAGER_S
        self._wake.set()

    def pace(self, step: int) -> str:
        place = min(max(0, PACES_S.index(self._idle_s) + step), len(PACES_S) - 1)
        self._idle_s = PACES_S[place]
        self._wake.set()
        return f"looks every {self._idle_s:g} s" + (", more often while something is under way" if self._idle_s > BUSY_S else "")

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            self._wake.clear()
            found = self._look()
            if self._stopped.is_set():
                break
            self._show(found, None)
            busy = time.monotonic() < self._eager_until or (isinstance(found, Model) and found.moving)
            self._wake.wait(max(0.05, (min(BUSY_S, self._idle_s) if busy else self._idle_s) - (time.monotonic() - began)))
        self._forget()
        if self._recorder is not None:
            self._recorder.close()

    def _look(self) -> Model | str:
        try:
            if self._watcher is None:
                self._watcher = self._watch(self._directory)
            snapshot = self._watcher.look()
            if trouble := not_running(snapshot):
                self._forget()  # when it is back, it may be another one
                return trouble
            if self._cluster_id not in (0, snapshot.cluster_id):
                self._begin_anew()
            self._cluster_id = snapshot.cluster_id
            stats = self._load.stats()
            if self._recorder is not None:
                self._recorder.add(snapshot, stats)
            model = self._history.add(snapshot, stats)
        except ClusterError as error:
            self._forget()
            return str(error)
        except Exception as error:  # the edge of a thread: without it the picture would stand still and nobody knew why
            self._forget()
            return f"cannot look at the cluster: {type(error).__name__}: {error}"
        self._check_writes(model)
        return model

    def _begin_anew(self) -> None:
        """Another cluster was made in the place of the one before: what was seen and written there is not this one's."""
        self._history = History()
        self._checked = 0.0
        self._load.begin_anew()

    def _check_writes(self, model: Model) -> None:
        """Everything is back: are all the writes that were acknowledged?"""
        latest = max((recovery.converged or 0.0 for recovery in model.recoveries), default=0.0)
        if latest > self._checked:
            self._checked = latest
            if self._load.running:
                self._load.check(latest)

    def _forget(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
