"""Reading what the nodes hold, through the nodes, and comparing it (comparison.py). Changes nothing.

Partition by partition, so that memory holds one of them. Each node is asked for its trees and a page of its rows in one frame,
between whose messages nothing else happens; further pages follow one at a time, so that its clients hardly notice. What differs
is looked at again after a pause, and is reported if it is still exactly so.

A node that does not answer is asked no more: what it holds was not read, and the report says so.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from dynazmq.cluster.observe.asking import Asker, Question
from dynazmq.cluster.observe.comparison import Counts, Finding, Told, compare, compare_roots, compare_statuses
from dynazmq.cluster.observe.node_health import Answer
from dynazmq.dynamo.membership.change import levels_of
from dynazmq.dynamo.messages import (
    Failure,
    HintsAsk,
    HintsTell,
    Message,
    Refused,
    RowsAsk,
    RowsTell,
    Topology,
    TopologyRequest,
    TreeAsk,
    TreeTell,
)
from dynazmq.dynamo.values.merkle import FANOUT, NODES
from dynazmq.dynamo.values.ring import Quorums, Ring
from dynazmq.errors import ClusterError, ClusterUnreachable
from dynazmq.paths import ClusterFile

PAUSE_S = 2.0
"""Between two looks: longer than the last copy of a put, its hint and its handoff take."""

FINDINGS_MAX = 1_000
"""Findings that are kept; further ones are counted."""

_SUSPECTS_MAX = 20_000  # suspicions in memory: with so many, they are looked at again before others are gathered
_STATUS_S = 1.0
_ANSWER_S = 5.0
_NODES_ASKED = 1_024  # nodes of trees in one question, the most that is answered
_AFTER = (-1, "", b"")

Step = Callable[[int, int], None]
"""Told of progress: partitions looked at, of how many."""

Pair = tuple[str, Question]
"""(node, what it is asked)."""


@dataclass(slots=True, kw_only=True)
class Report:
    """`findings`: the first of them; `found`: how many of each kind."""

    deep: bool
    partitions: int = 0
    ring_version: int = 0
    nodes: list[str] = field(default_factory=list)  # that were read to the end
    unread: dict[str, str] = field(default_factory=dict)  # node → why it was not
    off: list[str] = field(default_factory=list)  # nodes that keep no trees
    hints_pending: int = 0
    counts: Counts = field(default_factory=Counts)
    unsettled: int = 0  # differences that were gone, or others, at the second look
    findings: list[Finding] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)
    elapsed_s: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether all was read that there is to read."""
        return not self.unread and not self.counts.trees_unknown and (self.deep or not self.off)

    def add(self, finding: Finding) -> None:
        self.found[finding.kind] += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)


def verify(directory: Path, *, deep: bool, step: Step) -> Report:
    """Raises NoSuchCluster, ClusterUnreachable when no node answers, ClusterError when members come or go meanwhile."""
    cluster = ClusterFile.load(directory)
    asker = Asker(cluster.cluster_id, cluster.members)
    try:
        return Verifier(asker, list(cluster.members), deep).run(step)
    finally:
        asker.close()


def _pause() -> None:
    time.sleep(PAUSE_S)


class _Silent(Exception):
    """A node did not tell what it was asked for."""


class Verifier:
    """One verification. pause: lets time pass between two looks."""

    def __init__(self, asker: Asker, names: list[str], deep: bool, pause: Callable[[], None] = _pause) -> None:
        self._asker = asker
        self._names = names
        self._pause = pause
        self._report = Report(deep=deep)
        self._statuses: dict[str, Answer] = {}
        self._up: list[str] = []
        self._learn()

    def run(self, step: Step) -> Report:
        began = time.monotonic()
        report, ring = self._report, self._ring
        report.partitions, report.ring_version = ring.partitions, ring.version
        report.hints_pending = sum(int(answer.status.get("hints_pending", 0)) for answer in self._statuses.values())
        report.off = [name for name in self._up if self._statuses[name].section("anti_entropy").get("on") is False]
        of_all = compare_statuses(self._statuses)
        suspects: dict[int, list[Finding]] = {}
        done, total = 0, ring.partitions
        for partition in range(ring.partitions):
            findings, counts = self._look(partition)
            report.counts.add(counts)
            if findings:
                suspects[partition] = findings
                total += 1
            done += 1
            step(done, total)
            last = partition == ring.partitions - 1
            if suspects and (last or sum(map(len, suspects.values())) > _SUSPECTS_MAX):
                for _ in self._look_again(suspects):
                    done += 1
                    step(done, total)
                suspects = {}
        if of_all:
            self._settle(of_all, set(compare_statuses(self._ask_statuses())))
        self._check_ring()
        report.nodes = list(self._up)
        report.elapsed_s = time.monotonic() - began
        return report

    # --- who is there, and the ring ---------------------------------------------------------------------------------------

    def _learn(self) -> None:
        self._statuses = self._ask_statuses()
        self._up = [name for name in self._names if name in self._statuses]
        for name in self._names:
            if name not in self._statuses:
                self._report.unread[name] = "it does not answer"
        told = self._asker.question([(name, TopologyRequest(0)) for name in self._up], _ANSWER_S)
        known = [message for message in told if isinstance(message, Topology)]
        if not known:
            raise ClusterUnreachable("no node answers")
        newest = max(known, key=lambda topology: Ring.from_wire(topology.ring).version)
        self._ring = Ring.from_wire(newest.ring)
        self._members = {str(member[0]) for member in newest.members}
        default = Quorums(newest.n, newest.r, newest.w)
        self._level_of, self._n = self._ring.levels(default), newest.n
        self._levels = levels_of(self._ring, default)

    def _check_ring(self) -> None:
        """Raises ClusterError when the ring is another one by now: what was read was held against the one before."""
        now = max((answer.ring_version for answer in self._ask_statuses().values()), default=0)
        if now > self._ring.version:
            raise ClusterError(f"members came or went while it was read (ring v{self._ring.version} → v{now}): verify again")

    def _giving(self) -> set[str]:
        """Nodes that hand over what they are no holders of any more."""
        told = {name: self._statuses[name] for name in self._up}
        if self._ring.at_rest:
            told = {n: said for n, said in told.items() if said.standing != "member" or said.section("transfer").get("strays")}
        return set(told)

    def _ask_statuses(self) -> dict[str, Answer]:
        return self._asker.gather(self._names, time.monotonic() + _STATUS_S, rings=False)

    def _n_of(self, bucket: str) -> int:
        return self._level_of.get(bucket, self._n)

    # --- looking ----------------------------------------------------------------------------------------------------------

    def _look_again(self, suspects: dict[int, list[Finding]]) -> Iterator[None]:
        """At what differed: what differs in the same way is so."""
        self._pause()
        self._statuses.update(self._ask_statuses())  # hints have come and gone
        for partition, findings in suspects.items():
            again, _ = self._look(partition)
            self._settle(findings, set(again))
            yield

    def _settle(self, findings: list[Finding], again: set[Finding]) -> None:
        for finding in findings:
            if finding in again:
                self._report.add(finding)
            else:
                self._report.unsettled += 1

    def _look(self, partition: int) -> tuple[list[Finding], Counts]:
        if not self._up:
            raise ClusterUnreachable("no node answers any more")
        if self._report.deep:
            told = self._read(partition)
            return compare(partition, self._ring, self._n_of, told, self._members, self._giving())
        return compare_roots(partition, self._read_roots(partition))

    def _read_roots(self, partition: int) -> dict[str, dict[int, int]]:
        asked: list[Pair] = []
        for name in self._up:
            levels = self._levels_of(name, partition)
            if levels:
                asked.append((name, TreeAsk(0, [number for n in levels for number in (partition, n, 0)])))
        roots: dict[str, dict[int, int]] = {}
        for (name, question), answer in self._ask(asked):
            assert isinstance(question, TreeAsk)
            if isinstance(answer, TreeTell) and len(answer.hashes) == len(question.nodes) // 3:
                roots[name] = dict(zip(question.nodes[1::3], answer.hashes, strict=True))
            else:
                self._give_up(name, answer)
        return roots

    def _levels_of(self, name: str, partition: int) -> list[int]:
        """The Ns for which a node keeps a tree of a partition."""
        if self._statuses[name].section("anti_entropy").get("on") is False:
            return []
        return [n for n in self._levels if name in self._ring.primaries(partition, n)]

    # --- everything of one partition --------------------------------------------------------------------------------------

    def _read(self, partition: int) -> dict[str, Told]:
        """What each node that answers holds of it."""
        told = {name: Told() for name in self._up}
        asked = [pair for name in self._up for pair in self._first_questions(name, partition)]
        while asked:
            further: list[Pair] = []
            for (name, question), answer in self._ask(asked):
                if name not in told:
                    continue  # another of its answers has failed
                try:
                    further += [(name, more) for more in self._take(told[name], partition, question, answer)]
                except (_Silent, ValueError) as error:  # what a node tells may be anything
                    self._give_up(name, answer, str(error))
                    del told[name]
            asked = [pair for pair in further if pair[0] in told]
        return told

    def _first_questions(self, name: str, partition: int) -> Iterator[Pair]:
        for n in self._levels_of(name, partition):
            nodes = iter(range(NODES))
            while run := list(islice(nodes, _NODES_ASKED)):
                yield name, TreeAsk(0, [number for node in run for number in (partition, n, node)])
        for n in self._levels:
            yield name, RowsAsk(0, partition, n, FANOUT + 1, NODES - 1, *_AFTER)
        first, last = self._ring.places_of(partition)
        for target in self._statuses[name].section("hints_for"):
            yield name, HintsAsk(0, str(target), last, first, "", b"")

    def _take(self, told: Told, partition: int, question: Question, answer: Message | None) -> list[Question]:
        """Put an answer to the others; what is to be asked next. Raises _Silent, ValueError."""
        match question, answer:
            case TreeAsk(), TreeTell():
                told.trees.setdefault(question.nodes[1], []).extend(answer.hashes)
                return []
            case RowsAsk(), RowsTell():
                for row in answer.rows:
                    told.add_row(self._ring, partition, question.n, row)
                after = _behind(question, answer)
                return [RowsAsk(0, partition, question.n, FANOUT + 1, NODES - 1, *after)] if after else []
            case HintsAsk(), HintsTell():
                for row in answer.rows:
                    told.add_hint(self._ring, partition, question.target, row)
                after = _behind(question, answer)
                return [HintsAsk(0, question.target, question.last_place, *after)] if after else []
        raise _Silent

    # --- nodes ------------------------------------------------------------------------------------------------------------

    def _ask(self, asked: list[Pair]) -> Iterator[tuple[Pair, Message | None]]:
        return zip(asked, self._asker.question(asked, _ANSWER_S), strict=True)

    def _give_up(self, name: str, answer: Message | None, error: str = "") -> None:
        if name in self._up:
            self._up.remove(name)
        if isinstance(answer, Refused | Failure):
            self._report.unread[name] = f"it refuses: {answer.text}"
        elif answer is None:
            self._report.unread[name] = "it stopped answering"
        else:
            self._report.unread[name] = f"it tells what makes no sense: {error}"


def _behind(question: RowsAsk | HintsAsk, answer: RowsTell | HintsTell) -> tuple[int, str, bytes] | None:
    """Where the next page begins; None when this was the last. Raises ValueError for a page that does not go forward."""
    if not answer.more:
        return None
    after = (answer.next_place, answer.next_bucket, answer.next_key)
    if after <= (question.after_place, question.after_bucket, question.after_key):
        raise ValueError("a page that does not go forward")
    return after
