"""Changes of the members while faults go on: each is decided and seen through by a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from dynazmq.chaos.plan import ADD, EXPEL, REMOVE, REPLACE
from dynazmq.cluster import control
from dynazmq.cluster.directory import staging
from dynazmq.cluster.directory.staging import Staged
from dynazmq.cluster.directory.state import alone
from dynazmq.cluster.observe.observe import Observer
from dynazmq.cluster.operations import members
from dynazmq.errors import ClusterError, DynazmqError, InvalidRequest
from dynazmq.paths import ClusterFile

_DECIDE_S = 15.0
"""So long it may take until a node that is new is known to all that answer."""

_DONE_S = 600.0


class Change(threading.Thread):
    """kind: add | remove | replace | expel. victim: who is to go, "" for none.

    decided: from then on the nodes do it, whatever becomes of this. joiner: who came. failed: why nothing came of it.
    """

    def __init__(
        self, directory: Path, kind: str, victim: str, go_on: Callable[[], bool], note: Callable[[str], None]
    ) -> None:
        """go_on: False ends the waiting. note: is told what comes of it."""
        super().__init__(name=f"chaos {kind} {victim}".strip(), daemon=True)
        self.kind = kind
        self.victim = victim
        self.joiner = ""
        self.decided = False
        self.settled = False
        self.failed = ""
        self._directory = directory
        self._go_on = go_on
        self._note = note

    @property
    def leaving(self) -> frozenset[str]:
        """Who is to be no member any more."""
        return frozenset([self.victim] if self.victim and not self.failed else [])

    def run(self) -> None:
        self._play()
        came = f"came to nothing: {self.failed}" if self.failed else "is done" if self.settled else "goes on"
        self._note(f"members: {' '.join(filter(None, (self.kind, self.victim, self.joiner)))} {came}")

    def _play(self) -> None:
        try:
            with Observer(self._directory) as observer:
                begun = self._decide(observer)
                for step in members.follow(observer, time.monotonic() + _DONE_S, begun):
                    self.settled = isinstance(step, members.Settled)
                    if not self._go_on():
                        return  # whoever heals the cluster sees to it
        except (DynazmqError, OSError) as error:
            if not self.decided:
                self.failed = str(error)
                self._take_back()

    def _decide(self, observer: Observer) -> int:
        """The version of the ring for which it was decided. Raises DynazmqError."""
        with alone(self._directory):
            staged = self._staged()
            plan, known, left = members.plan_of(observer, staged, sizes=False)
            if plan.refusal:
                raise InvalidRequest(plan.refusal)
            for step in members.commit(observer, plan, known, left, time.monotonic() + _DECIDE_S):
                if isinstance(step, members.Late):
                    raise ClusterError(step.missing)
                if not self._go_on() and not isinstance(step, members.Decided):
                    raise ClusterError("the run is over")
            self.decided = True
            return plan.ring.version

    def _staged(self) -> Staged:
        staged, cluster = Staged(), ClusterFile.load(self._directory)
        if self.kind in (ADD, REPLACE):
            replaces = self.victim or None
            self.joiner = staging.stage_add(
                staged, cluster, self._directory, None, weight=None, replaces=replaces, sure=self.kind == REPLACE
            )
        else:
            assert self.kind in (REMOVE, EXPEL)
            expel = self.kind == EXPEL
            staging.stage_remove(staged, cluster, self.victim, force=expel, sure=expel)
        return staged

    def _take_back(self) -> None:
        """A node that waits to be let in is ended."""
        deadline = time.monotonic() + _DECIDE_S
        while self.joiner and time.monotonic() < deadline:
            try:
                if self.joiner not in ClusterFile.load(self._directory).members:
                    return
                if control.call(self._directory, "strike", name=self.joiner)["done"]:
                    return
            except ClusterError as error:
                self.failed += f"; {error}"
                return
            time.sleep(0.1)
