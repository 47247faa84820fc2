"""The whole cluster at one moment: asks all nodes at once, adds what the supervisor knows, and never waits for the dead.

    snapshot = observe(directory)                  once
    observer = Observer(directory); observer.look()   again and again, on open sockets (the terminal UI, `cluster wait`)

Works without a supervisor: the recorded processes and the operating system then stand in for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dynazmq.cluster.control import Control, NoSupervisor
from dynazmq.cluster.directory import faults
from dynazmq.cluster.directory.state import StateFile
from dynazmq.cluster.directory.succession import Succession
from dynazmq.cluster.observe.asking import Asker, Question
from dynazmq.cluster.observe.node_health import START_S, Answer, Facts, NodeFact, judge
from dynazmq.cluster.observe.snapshot import Event, Snapshot
from dynazmq.cluster.processes import find_nodes, state_of
from dynazmq.dynamo.messages import Message
from dynazmq.errors import ClusterError, ClusterReplaced
from dynazmq.paths import ClusterFile

LOOK_TIMEOUT_S = 0.15

PATIENT_S = 1.0
"""`facts_timeout` of who acts on what it sees: on a busy machine the supervisor may be late, and its file knows less."""


def observe(directory: Path, timeout: float = LOOK_TIMEOUT_S) -> Snapshot:
    """One snapshot. Raises NoSuchCluster when there is no cluster in the directory; one that is not running is no error."""
    with Observer(directory) as observer:
        return observer.look(timeout)


class Observer:
    """Keeps its lines to the nodes open between looks. For one thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._succession = Succession(directory)
        self._asker = Asker(self.cluster.cluster_id, self.cluster.members)
        self._control = Control(directory)
        self._cpu: dict[tuple[str, int], tuple[float, float]] = {}  # (name, incarnation) → (cpu_s, when)
        self.last_facts = Facts()
        """What the last look knew of the processes: more than a snapshot tells."""
        self.last_answers: dict[str, Answer] = {}
        """What the nodes said in it."""
        self._owners: tuple[str, ...] = ()
        self._pids: dict[str, int] = {}
        self._no_supervisor_until = 0.0

    @property
    def cluster(self) -> ClusterFile:
        """As of the last look."""
        return self._succession.cluster

    def look(self, timeout: float = LOOK_TIMEOUT_S, *, facts_timeout: float | None = None) -> Snapshot:
        """`facts_timeout`: how long to wait for the supervisor, before its file has to do; half of `timeout` if not given.

        Raises ClusterReplaced once when another cluster was made in the directory; the next look is at that one.
        """
        deadline = time.monotonic() + timeout
        facts = self.last_facts = self.facts(timeout / 2 if facts_timeout is None else facts_timeout)
        self._follow_members()
        answers = self.last_answers = self._asker.gather(self._expected(facts), max(deadline, time.monotonic() + timeout / 2))
        self._remember_owners(answers)
        cpu_percent = self._cpu_percent(answers, time.monotonic())
        return judge(
            self.cluster, self.directory, facts, answers, owners=self._owners, now=time.time(), cpu_percent=cpu_percent,
            versions=self._asker.versions, faults=faults.load(self.directory),
        )  # fmt: skip

    def question(self, questions: Sequence[tuple[str, Question]], timeout: float) -> list[Message | None]:
        """See `Asker.question`; over the same lines."""
        return self._asker.question(questions, timeout)

    def facts(self, timeout: float = LOOK_TIMEOUT_S) -> Facts:
        """What is known of the processes: from the supervisor, else from its file and the operating system."""
        now = time.monotonic()
        if now < self._no_supervisor_until:
            return self.facts_on_disk()
        try:
            return _facts(self._control.call("facts", timeout))
        except NoSupervisor:
            if time.monotonic() - now >= timeout:  # it is there and says nothing: do not wait for it in every frame
                self._no_supervisor_until = time.monotonic() + 2.0
        except ClusterError:
            pass
        return self.facts_on_disk()

    def _follow_members(self) -> None:
        """Members come and go while this looks. Whole clusters as well: then this begins anew."""
        try:
            if not self._succession.look():
                return
        except ClusterReplaced:
            self._asker.close()
            self._asker = Asker(self.cluster.cluster_id, self.cluster.members)
            self.last_facts, self.last_answers, self._owners = Facts(), {}, ()
            self._cpu.clear()
            self._pids.clear()
            raise
        self._asker.follow(self.cluster.members)
        self._pids = {name: pid for name, pid in self._pids.items() if name in self.cluster.members}

    def facts_on_disk(self) -> Facts:
        """Without a supervisor: recorded processes that are still there, and those that only their command lines give away."""
        now = time.time()
        state = StateFile.load(self.directory)
        facts = Facts(restart=state.restart)
        found = find_nodes(self.directory, self.cluster.members)
        for name in self.cluster.members:
            record = state.nodes.get(name)
            identity = found.get(name)
            condition = state_of(identity) if identity else None
            since = now - record.changed_at if record and record.changed_at else 0.0
            if identity and condition:
                facts.nodes[name] = NodeFact(pid=identity.pid, process=condition, answered=since > START_S)
            elif record:
                word = record.process if record.identity is None else "gone"
                facts.nodes[name] = NodeFact(process=word or "stopped", purpose=record.purpose, state_s=max(0.0, since))
            else:
                facts.nodes[name] = NodeFact(purpose="stopped")
        return facts

    def close(self) -> None:
        self._asker.close()
        self._control.close()

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _expected(self, facts: Facts) -> list[str]:
        """Whom to ask: those with a process that runs. Lines to a process that is new are made anew."""
        expected = []
        for name, fact in facts.nodes.items():
            if fact.pid is None or fact.process == "paused" or name not in self.cluster.members:
                continue
            if self._pids.get(name) != fact.pid:
                if name in self._pids:
                    self._asker.reconnect(name)
                self._pids[name] = fact.pid
            expected.append(name)
        return expected

    def _remember_owners(self, answers: Mapping[str, Answer]) -> None:
        """Of the newest ring that anybody has; of the last one known while nobody answers."""
        for answer in sorted(answers.values(), key=lambda each: each.ring_version):
            if ring := self._asker.rings.get(answer.ring_digest):
                self._owners = ring.owners

    def _cpu_percent(self, answers: Mapping[str, Answer], now: float) -> dict[str, float]:
        """Of one core, since the look before."""
        fresh: dict[tuple[str, int], tuple[float, float]] = {}
        percent: dict[str, float] = {}
        for name, answer in answers.items():
            life = (name, int(answer.status.get("incarnation", 0)))
            used = float(answer.status.get("cpu_s", 0.0))
            fresh[life] = (used, now)
            if before := self._cpu.get(life):
                percent[name] = max(0.0, 100.0 * (used - before[0]) / max(now - before[1], 1e-3))
        self._cpu.update(fresh)
        return percent


def _facts(document: Mapping[str, Any]) -> Facts:
    """The supervisor's reply to `facts`. It is of the same installation: its fields are ours."""
    return Facts(
        supervisor_pid=document["pid"],
        restart=document["restart"],
        stopping=document["stopping"],
        degraded_s=document["degraded_s"],
        events=[Event(*event) for event in document["events"]],
        nodes={name: NodeFact(**fact) for name, fact in document["nodes"].items()},
    )
