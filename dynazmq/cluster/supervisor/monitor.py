"""What the supervisor sees of the nodes beyond their processes: it asks them twice a second, and judges as everybody does.

So that there is a history when somebody looks: since when a node has been in its state, and what happened in the cluster. Nothing
here waits: questions are sent, answers are taken when they are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dynazmq.cluster.directory import faults
from dynazmq.cluster.observe import node_health
from dynazmq.cluster.observe.changes import Chronicle
from dynazmq.cluster.observe.node_health import Answer, Facts
from dynazmq.cluster.observe.snapshot import Event
from dynazmq.cluster.supervisor.children import Child
from dynazmq.paths import ClusterFile

if TYPE_CHECKING:
    from dynazmq.cluster.observe.asking import Asker
    from dynazmq.dynamo.values.ring import Ring

ASK_S = 0.5
COLLECT_S = 0.03
"""Answers are taken this often while some are awaited: a look into five queues."""

INTENTS_S = 2.0
"""What was decided of members is asked for this often while the ring is not that of the cluster's members."""


class Watch:
    """The loop calls `turn` when `next_due` has come; `judge` whenever a process has changed."""

    def __init__(self, cluster: ClusterFile, directory: Path, tell: Callable[[Event], None], *, adopted: bool) -> None:
        """adopted: the nodes ran before this supervisor did, so what is wrong with them is no start."""
        self._cluster = cluster
        self._directory = directory
        self._tell = tell
        self._asker: Asker | None = None
        self._answers: dict[str, Answer] = {}
        self._fresh: dict[str, Answer] = {}
        self._asked: set[str] = set()
        self._pids: dict[str, int] = {}
        self._ask_at = time.monotonic() + ASK_S  # first the nodes are started, then ZeroMQ is imported here
        self._collect_at = float("inf")
        self._states: dict[str, tuple[str, float]] = {}
        self._wrong_since: float | None = None
        self._chronicle = Chronicle(whole_once=adopted, fallbacks=self._fallbacks)
        self._intents_at = 0.0

    @property
    def next_due(self) -> float:
        return min(self._ask_at, self._collect_at)

    def turn(self, now: float, children: dict[str, Child], facts: Callable[[], Facts]) -> None:
        if now >= self._collect_at and self._asker is not None:
            self._fresh.update(self._asker.collect())
            for name, answer in self._fresh.items():
                if child := children.get(name):
                    child.answered |= answer.status.get("pid") == child.pid
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
        on = faults.load(self._directory)
        snapshot = node_health.judge(self._cluster, self._directory, facts, answers, owners=(), now=time.time(), faults=on)
        now = time.monotonic()
        for node in snapshot.nodes:
            if self._states.get(node.name, ("", 0.0))[0] != node.state:
                self._states[node.name] = (node.state, now)
        if not node_health.wrong(snapshot):
            self._wrong_since = None
        elif self._wrong_since is None:
            self._wrong_since = now
        for event in [] if facts.stopping else self._chronicle.changes(snapshot):
            self._tell(event)

    def add_to(self, facts: Facts, now: float) -> None:
        for name, fact in facts.nodes.items():
            if known := self._states.get(name):
                fact.state, fact.state_s = known[0], round(now - known[1], 3)
        facts.degraded_s = round(now - self._wrong_since, 3) if self._wrong_since is not None else None

    def heard(self, event: Event) -> None:
        """What the supervisor has told of a process."""
        self._chronicle.heard(event)

    def members_changed(self) -> None:
        """The cluster's members are others than before."""
        members = self._cluster.members
        if self._asker is not None:
            self._asker.follow(members)
        for known in (self._states, self._pids, self._answers, self._fresh):
            for name in [name for name in known if name not in members]:
                del known[name]
        self._asked &= members.keys()

    def belongs(self, name: str) -> bool | None:
        """Whether the ring has this node, or shall have it; None while nobody has told."""
        from dynazmq.dynamo.membership.change import IN  # as late as ZeroMQ: a start must not wait for it

        ring = self._newest_ring()
        if ring is None or self._asker is None:
            return None
        intent = self._asker.intents.get(name)
        return name in ring.members or (intent is not None and intent.kind == IN)

    def departed(self) -> list[str]:
        """Members that are none any more: they were removed, the ring is at rest without them, and they have handed over what
        they held or were given up (gone).
        """
        ring = self._newest_ring()
        if ring is None or self._asker is None or not ring.at_rest:
            return []
        from dynazmq.dynamo.membership.change import FOR_EVER, IN

        found = []
        for name in self._cluster.members.keys() - set(ring.owners):
            intent, answer = self._asker.intents.get(name), self._answers.get(name)
            if intent is None or intent.kind == IN:
                continue
            if intent.kind in FOR_EVER or (answer is not None and answer.standing == "left"):
                found.append(name)
        return found

    def _fallbacks(self, name: str) -> tuple[int, int] | None:
        """In how many partitions a fallback stands in for this node, and of how many."""
        ring = self._newest_ring()
        if ring is None:
            return None
        return sum(name in ring.primaries(partition, self._cluster.n) for partition in range(ring.partitions)), ring.partitions

    def _newest_ring(self) -> Ring | None:
        """Of those that answered last; None unless they agree."""
        digests = {answer.ring_digest for answer in self._answers.values() if answer.ring_version and answer.standing != "left"}
        return self._asker.rings.get(digests.pop()) if self._asker is not None and len(digests) == 1 else None

    def close(self) -> None:
        if self._asker is not None:
            self._asker.close()

    def _ask(self, now: float, children: dict[str, Child]) -> None:
        if self._asker is None:
            from dynazmq.cluster.observe.asking import Asker

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
        self._ask_rings(now)
        self._ask_at, self._collect_at = now + ASK_S, now + COLLECT_S / 2

    def _ask_rings(self, now: float) -> None:
        """One node of those that speak of a ring that is not known here. While members come or go, what was decided may be news
        although the ring is not.
        """
        assert self._asker is not None
        wanted = {answer.ring_digest: name for name, answer in self._answers.items() if answer.ring_version}
        ring = self._newest_ring()
        if ring is not None and now >= self._intents_at and set(ring.owners) != self._cluster.members.keys():
            self._intents_at = now + INTENTS_S
        else:
            wanted = {digest: name for digest, name in wanted.items() if digest not in self._asker.rings}
        for name in wanted.values():
            self._asker.ask_ring(name)


def _alive(facts: Facts, name: str, answer: Answer) -> bool:
    fact = facts.nodes.get(name)
    return fact is not None and fact.process == "running" and fact.pid == answer.status.get("pid")
