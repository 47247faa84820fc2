"""What a run does to the nodes, seen from outside: how much memory and how many descriptors their processes have at most.

Of the longest turn of its loop in the last minute a node tells itself, if its release does. One that was paused meanwhile is not
asked: it cannot tell the pause from a turn.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dynazmq.cluster.observe.observe import Observer
from dynazmq.cluster.processes import find_nodes
from dynazmq.errors import DynazmqError
from dynazmq.paths import ClusterFile

_LOOK_S = 0.5
_ASK_S, _ASK_TIMEOUT_S = 10.0, 0.4
_TOLD_S = 75.0  # a node tells of the last minute


@dataclass(slots=True)
class Most:
    """By node: the most that was seen. turn_ms: of those who told it; turn_part: with what that turn was busy for longest."""

    rss_bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    descriptors: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    turn_ms: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    turn_part: dict[str, str] = field(default_factory=dict)
    busiest_ms: dict[str, float] = field(default_factory=lambda: defaultdict(float))


class Watch(threading.Thread):
    """Between `start` and `stop`. bug: what ended it although it is no error of the cluster's."""

    def __init__(self, directory: Path, was_paused: Callable[[str, float], bool]) -> None:
        """was_paused: whether this was done to a node in the last so many seconds."""
        super().__init__(name="chaos watch", daemon=True)
        self.most = Most()
        self.bug: BaseException | None = None
        self._directory = directory
        self._was_paused = was_paused
        self._end = threading.Event()

    def run(self) -> None:
        ask_at = time.monotonic() + _ASK_S
        try:
            with Observer(self._directory) as observer:
                while not self._end.wait(_LOOK_S):
                    self._measure()
                    if time.monotonic() >= ask_at:
                        ask_at = time.monotonic() + _ASK_S
                        self._ask(observer)
                self._ask(observer)
        except BaseException as bug:
            self.bug = bug

    def stop(self) -> None:
        self._end.set()
        if self.ident is not None:
            self.join()

    def _measure(self) -> None:
        for name, identity in find_nodes(self._directory, ClusterFile.load(self._directory).members).items():
            with suppress(psutil.Error):  # it has ended meanwhile
                process = psutil.Process(identity.pid)
                self.most.rss_bytes[name] = max(self.most.rss_bytes[name], process.memory_info().rss)
                self.most.descriptors[name] = max(self.most.descriptors[name], process.num_fds())

    def _ask(self, observer: Observer) -> None:
        with suppress(DynazmqError):
            observer.look(_ASK_TIMEOUT_S)
        for name, answer in observer.last_answers.items():
            turn = answer.section("turns")
            longest = turn.get("longest_ms")
            if not isinstance(longest, int | float) or self._was_paused(name, _TOLD_S):
                continue
            busiest = turn.get("busiest_ms")
            if isinstance(busiest, int | float):
                self.most.busiest_ms[name] = max(self.most.busiest_ms[name], float(busiest))
            if longest >= self.most.turn_ms[name]:
                self.most.turn_ms[name] = float(longest)
                self.most.turn_part[name] = str(turn.get("part", ""))
