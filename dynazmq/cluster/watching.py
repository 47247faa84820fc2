"""What the supervisor sees of the nodes beyond their processes: it asks them twice a second, and judges as everybody does.

So that there is a history when somebody looks: since when a node has been in its state, and what happened in the cluster. Nothing
here waits: questions are sent, answers are taken when they are there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dynazmq.cluster import judgement
from dynazmq.cluster.children import Child
from dynazmq.cluster.history import Chronicle
from dynazmq.cluster.judgement import Answer, Facts
from dynazmq.cluster.snapshot import Event
from dynazmq.paths import ClusterFile

if TYPE_CHECKING:
    from dynazmq.cluster.asking import Asker

ASK_S = 0.5
COLLECT_S = 0.03
"""Answers are taken this often while some are awaited: a look into five queues."""


class Watch:
    """The loop calls `turn` when `next_due` has come; `judge` whenever a process has changed."""

    def __init__(self, cluster: ClusterFile, directory: Path, events: deque[Event], log: Callable[[str, str, str], None]) -> None:
        self._cluster = cluster
        self._directory = directory
        self._events = events
        self._log = log
        self._asker: Asker | None = None
        self._answers: dict[str, Answer] = {}
        self._fresh: dict[str, Answer] = {}
        self._asked: set[str] = set()
        self._pids: dict[str, int] = {}
        self._ask_at = time.monotonic() + ASK_S  # first the nodes are started, then ZeroMQ is imported here
        self._collect_at = float("inf")
        self._states: dict[str, tuple[str, float]] = {}
        self._wrong_since: float | None = None
        self._chronicle = Chronicle()

    @property
    def next_due(self) -> float:
        return min(self._ask_at, self._collect_at)

    def turn(self, now: float, children: dict[str, Child], facts: Callable[[], Facts]) -> None:
        if now >= self._collect_at and self._asker is not None:
            self._fresh.update(self._asker.collect())
            for name, answer in self._fresh.items():
                children[name].answered |= answer.status.get("pid") == children[name].pid
            waiting = self._asked - self._fresh.keys()
            self._collect_at = now + COLLECT_S if waiting else float("inf")
            if not waiting:
                self._answers = self._fresh
                self.judge(facts())
        if now >= self._ask_at:
            if self._asked - self._fresh.keys():  # not everybody had answered when it was time to ask again
                self._answers = self._fresh
                self.judge(facts())
            self._ask(now, children)

    def judge(self, facts: Facts) -> None:
        """Take note of each node's state and of what changed in the cluster."""
        answers = {name: answer for name, answer in self._answers.items() if _alive(facts, name, answer)}
        snapshot = judgement.judge(self._cluster, self._directory, facts, answers, owners=(), now=time.time())
        now = time.monotonic()
        for node in snapshot.nodes:
            if self._states.get(node.name, ("", 0.0))[0] != node.state:
                self._states[node.name] = (node.state, now)
        if not judgement.wrong(snapshot):
            self._wrong_since = None
        elif self._wrong_since is None:
            self._wrong_since = now
        for event in [] if facts.stopping else self._chronicle.changes(snapshot):
            self._events.append(event)
            self._log("INFO", event.node, event.text)

    def add_to(self, facts: Facts, now: float) -> None:
        for name, fact in facts.nodes.items():
            if known := self._states.get(name):
                fact.state, fact.state_s = known[0], round(now - known[1], 3)
        facts.degraded_s = round(now - self._wrong_since, 3) if self._wrong_since is not None else None
        facts.events = list(self._events)

    def close(self) -> None:
        if self._asker is not None:
            self._asker.close()

    def _ask(self, now: float, children: dict[str, Child]) -> None:
        if self._asker is None:
            from dynazmq.cluster.asking import Asker

            self._asker = Asker(self._cluster.cluster_id, self._cluster.members)
        self._asked = set()
        for name, child in children.items():
            if child.pid is None:
                continue
            if self._pids.get(name, child.pid) != child.pid:
                self._asker.reconnect(name)
            self._pids[name] = child.pid
            self._asked.add(name)
        self._fresh = {}
        self._asker.ask(sorted(self._asked))
        self._ask_at, self._collect_at = now + ASK_S, now + COLLECT_S / 2


def _alive(facts: Facts, name: str, answer: Answer) -> bool:
    fact = facts.nodes[name]
    return fact.process == "running" and fact.pid == answer.status.get("pid")
