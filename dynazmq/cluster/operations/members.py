"""Changing who belongs to a running cluster: asking its nodes, starting those that join, deciding, and seeing it through (§4.9).

    staged ─▶ the new nodes run, and all others know of them ─▶ one node is told: *decided* ─▶ filling ─▶ flipped ─▶ at rest
                                                                 ─▶ those who were removed hand over, end, and are struck off

Before it is decided nothing has happened but that processes wait to be let in; from then on the nodes do it all by themselves,
whatever becomes of the command. Whoever is interrupted before commits once more and goes on from staged.json.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from dynazmq.cluster import control
from dynazmq.cluster.control import NoSupervisor
from dynazmq.cluster.directory import staging
from dynazmq.cluster.directory.orphans import unsupervised
from dynazmq.cluster.directory.staging import Staged
from dynazmq.cluster.observe.asking import Question, learn
from dynazmq.cluster.observe.node_health import NodeFact, hints_by_target
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import Lost, NodeView, Snapshot
from dynazmq.cluster.operations.plan import Known, Plan, make_plan, undecided
from dynazmq.dynamo.membership.change import IN, Intent, goal, intents_digest
from dynazmq.dynamo.membership.expulsion import vote
from dynazmq.dynamo.messages import (
    INVALID,
    TIMEOUT,
    AcknowledgeLosses,
    AcknowledgeLossesReply,
    ChangeMembers,
    ChangeMembersReply,
    Failure,
    RowsAsk,
    RowsTell,
    Topology,
    TopologyRequest,
)
from dynazmq.dynamo.values.merkle import FANOUT, NODES
from dynazmq.dynamo.values.ring import Ring
from dynazmq.errors import ClusterError, ClusterUnreachable
from dynazmq.paths import where

ASK_S = 1.0
DECIDE_S = 3.0
"""Longer than the node that is told waits for a second one to have it on disk."""

LOOK_S = 0.3
POLL_S = 0.15
SETTLE_S = 1.0
"""When the ring comes to rest each node looks what it is no holder of any more; until it has, it says that there is nothing."""


# --- asking -----------------------------------------------------------------------------------------------------------------


def ask(observer: Observer, snapshot: Snapshot, *, sizes: bool = False) -> Known:
    """What the nodes that answer know. Raises ClusterUnreachable when none does."""
    names = [node.name for node in snapshot.nodes if node.answers]
    told = observer.question([(name, TopologyRequest(0)) for name in names], ASK_S)
    topologies = [message for message in told if isinstance(message, Topology)]
    rings = [Ring.from_wire(topology.ring) for topology in topologies]
    if not topologies or not any(ring.version for ring in rings):
        raise ClusterUnreachable("no node answers: nobody knows the ring")
    intents: dict[str, Intent] = {}
    for topology in topologies:
        learn(intents, [Intent.from_wire(row) for row in topology.intents])
    newest = max(range(len(rings)), key=lambda i: (rings[i].version, rings[i].digest()))
    first = topologies[newest]
    needs = [(max(r, w, *wanted[1:3]), str(name)) for name, _, r, w, _, *wanted in first.buckets]  # what is wanted is waited for
    quorum, bucket = max([(max(first.r, first.w), ""), *needs])
    return Known(
        ring=rings[newest],
        intents=intents,
        n=first.n,
        quorum=quorum,
        bucket=bucket,
        up=frozenset(names),
        keys={node.name: node.keys for node in snapshot.nodes if node.answers and node.keys is not None},
        row_bytes=row_bytes(observer, rings[newest], first.n, names) if sizes else None,
        anti_entropy=observer.cluster.anti_entropy == "on",
    )


def row_bytes(observer: Observer, ring: Ring, n: int, names: list[str]) -> float | None:
    """An average row's size, of a page of one partition of each node; None: nobody told. Places are hashes: any page will do."""
    asked: list[tuple[str, Question]] = []
    for name in names:
        if owned := ring.owned_by(name):
            asked.append((name, RowsAsk(0, owned[0], n, FANOUT + 1, NODES - 1, -1, "", b"")))
    told = [answer for answer in observer.question(asked, ASK_S) if isinstance(answer, RowsTell)]
    sizes = [int(row[3]) for answer in told for row in answer.rows]
    return sum(sizes) / len(sizes) if sizes else None


# --- committing -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """A node that joins runs; pid None: it did not start."""

    name: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class Met:
    """All others that answer see it up."""

    name: str


@dataclass(frozen=True, slots=True)
class Decided:
    """From here on it happens by itself. ring_version: of the ring that begins to change.

    alone: the one node that has it on its disk, as far as is known; "" when a second one has.
    """

    ring_version: int
    alone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the change is. keys, bytes: received by their new holders. eta_s: for the keys; None: nobody can say yet."""

    phase: str
    partitions: int = 0
    left: int = 0
    keys: int = 0
    bytes: int = 0
    strays: int = 0
    eta_s: float | None = None
    waiting_for: dict[str, str] = field(default_factory=dict)
    """name → its state."""
    leaving: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The ring is at rest with the owners that were wanted, and nobody holds what is another's. parted: those that left."""

    ring_version: int
    owners: tuple[str, ...]
    keys: int
    bytes: int
    parted: tuple[str, ...] = ()
    lost: tuple[Lost, ...] = ()
    """Partitions of which no copy is left, by this change or an earlier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """The time is over; the change goes on. missing: what was not so yet."""

    missing: str
    progress: Progress | None = None


Step = Started | Met | Decided | Progress | Settled | Late


def commit(observer: Observer, plan: Plan, known: Known, staged: Staged, deadline: float) -> Iterator[Step]:
    """Until it is decided. For whoever is `alone`. Raises ClusterError when the nodes refuse; then staged.json is as it was."""
    for change in staged.added:
        try:
            pid = control.call(observer.directory, "enrol", name=change.name)["pid"]
        except NoSupervisor:
            raise ClusterError(unsupervised(observer.directory, where(observer.directory))) from None
        yield Started(change.name, pid)
    waiting = {change.name for change in staged.added}
    while waiting:
        snapshot = observer.look(LOOK_S, facts_timeout=PATIENT_S)
        _check_alive(observer, waiting)
        for name in sorted(waiting):
            if _is_met(snapshot, name):
                waiting.discard(name)
                yield Met(name)
        if waiting and time.monotonic() >= deadline:
            yield Late(missing=f"{' '.join(sorted(waiting))} is not seen by all others")
            return
        if waiting:
            time.sleep(POLL_S)
    yield _decide(observer, plan, staged.intents(known.weights()))
    staging.clear(observer.directory)


def _check_alive(observer: Observer, names: set[str]) -> None:
    for name in sorted(names):
        fact = observer.last_facts.nodes.get(name, NodeFact())
        if observer.last_facts.supervisor_pid is not None and fact.pid is None and fact.process != "stopped":
            raise ClusterError(f"{name} does not start: {fact.reason or fact.process}; look: dynazmq logs {name}")


def _is_met(snapshot: Snapshot, name: str) -> bool:
    """It answers, has been told of the ring, and all that answer see it."""
    node = next((node for node in snapshot.nodes if node.name == name), None)
    others = [each.name for each in snapshot.nodes if each.answers and each.name != name]
    if node is None or not node.answers or not node.ring_digest or not snapshot.ring_agreed:
        return False
    return node.ring_version > 0 and all(node.seen_by.get(peer) == "up" for peer in others)


def _decide(observer: Observer, plan: Plan, intents: list[tuple[str, str, float, str]]) -> Decided:
    """Tell one node after the other until one has it. Raises ClusterError."""
    snapshot = observer.look(LOOK_S, facts_timeout=PATIENT_S)
    removed = {name for name, kind, *_ in intents if kind != IN}
    told = [node.name for node in snapshot.nodes if node.answers and node.name in plan.ring.owners and node.name not in removed]
    for name in told:
        question = ChangeMembers(0, plan.ring.digest(), [list(intent) for intent in intents])
        (answer,) = observer.question([(name, question)], DECIDE_S)
        if isinstance(answer, ChangeMembersReply):
            return Decided(answer.ring_version)
        if isinstance(answer, Failure) and answer.code == TIMEOUT:
            return Decided(plan.ring.version, alone=name)
        if isinstance(answer, Failure) and answer.code == INVALID:
            raise ClusterError(f"{name} refuses: {answer.text}")
    raise ClusterUnreachable(f"none of {' '.join(told) or 'the members'} answers: nothing was decided")


# --- seeing it through ------------------------------------------------------------------------------------------------------


def follow(observer: Observer, deadline: float, begun: int | None = None) -> Iterator[Progress | Settled | Late]:
    """Progress again and again, until it is done or the time is over. Changes nothing.

    begun: version of the ring for which it was decided just now; None: perhaps nothing is under way.
    """
    tally = _Tally(begun)
    while True:
        snapshot = observer.look(LOOK_S, facts_timeout=PATIENT_S)
        progress = tally.add(snapshot)
        missing = _missing(observer, snapshot, tally)
        if not missing:
            yield Settled(
                ring_version=snapshot.ring_version, owners=snapshot.owners, keys=tally.keys, bytes=tally.size,
                parted=tuple(sorted(tally.seen - {node.name for node in snapshot.nodes})), lost=tuple(snapshot.lost),
            )  # fmt: skip
            return
        yield progress
        if time.monotonic() >= deadline:
            yield Late(missing=missing, progress=progress)
            return
        time.sleep(POLL_S)


def _missing(observer: Observer, snapshot: Snapshot, tally: _Tally) -> str:
    """What is not as it was decided; "" when all is."""
    answering = [node for node in snapshot.nodes if node.answers]
    if not answering:
        return "no node answers"
    if not snapshot.ring_agreed or snapshot.phase != "rest":
        return f"the ring is {snapshot.phase}" if snapshot.phase != "rest" else "the nodes do not agree on the ring"
    if left := [node.name for node in answering if node.transfer.left]:
        return f"{' '.join(left)} {'is' if len(left) == 1 else 'are'} not filled yet"
    if strays := [node.name for node in answering if node.transfer.strays]:
        return f"{' '.join(strays)} {'hands' if len(strays) == 1 else 'hand'} over what others hold now"
    if tally.fresh:
        return "the ring has just come to rest"
    if gone := sorted(hints_by_target(snapshot).keys() - {node.name for node in snapshot.nodes}):
        return f"hints for {' '.join(gone)} are given to those who own their keys now"
    known = ask(observer, snapshot)
    if (voted := vote(known.ring, known.intents)) is not None:
        return f"{' '.join(voted.expelled)} not expelled yet: {voted.needed} of {len(known.ring.members)} members must agree"
    if not tally.is_goal(known):
        return "the ring does not follow yet"
    removed = [name for name, intent in known.intents.items() if intent.kind != IN and name in observer.cluster.members]
    return f"{' '.join(sorted(removed))} has not ended yet" if removed else ""


@dataclass(slots=True)
class _Tally:
    """What was seen of a change so far."""

    begun: int | None
    keys: int = 0
    size: int = 0  # bytes
    seen: set[str] = field(default_factory=set)
    _counted: dict[str, tuple[int, int]] = field(default_factory=dict)  # node → keys, bytes that it had received, ever
    _ring: tuple[int, float] | None = None  # its version, and since when
    _goal: tuple[tuple[bytes, bytes], bool] | None = None
    _from: tuple[float, int] | None = None  # when there was most left, and how much

    def add(self, snapshot: Snapshot) -> Progress:
        moved = [node for node in snapshot.nodes if node.answers]
        for node in moved:
            self._count(node)
        if self._ring is None or self._ring[0] != snapshot.ring_version:
            fresh = self._ring is not None or self.begun is not None
            self._ring = snapshot.ring_version, time.monotonic() if fresh else float("-inf")
        self.seen.update(node.name for node in snapshot.nodes)
        left = sum(node.transfer.left for node in moved)
        return Progress(
            phase=snapshot.phase,
            partitions=sum(node.transfer.partitions for node in moved),
            left=left,
            keys=self.keys,
            bytes=self.size,
            strays=sum(node.transfer.strays for node in moved),
            eta_s=self._eta_s(left, time.monotonic()),
            waiting_for={name: _state_of(snapshot.nodes, name) for name in snapshot.waiting_for},
            leaving=tuple(node.name for node in snapshot.nodes if node.state == "leaving"),
        )

    @property
    def fresh(self) -> bool:
        """Nodes may not have looked yet what they are no holders of any more."""
        return self._ring is not None and time.monotonic() - self._ring[1] < SETTLE_S

    def _count(self, node: NodeView) -> None:
        """What it has received since it was seen last; at first, what it says that it has in the change that is under way."""
        counted = node.counters.get("keys_transferred", 0), node.counters.get("bytes_transferred", 0)
        before = self._counted.get(node.name)
        if before is None:
            changes = node.transfer.partitions > 0 or (self.begun is not None and node.ring_version > self.begun)
            of_it = (node.transfer.keys, node.transfer.bytes) if changes else (0, 0)
            before = counted[0] - of_it[0], counted[1] - of_it[1]
        elif counted[0] < before[0]:  # another life of its process counts from 0
            before = 0, 0
        self.keys += counted[0] - before[0]
        self.size += counted[1] - before[1]
        self._counted[node.name] = counted

    def _eta_s(self, left: int, now: float) -> float | None:
        if self._from is None or left > self._from[1]:
            self._from = (now, left)
        began, most = self._from
        return (now - began) * left / (most - left) if 0 < left < most else None

    def is_goal(self, known: Known) -> bool:
        """Whether this ring is what was decided."""
        of = known.ring.digest(), intents_digest(known.intents)
        if self._goal is None or self._goal[0] != of:
            self._goal = of, goal(known.ring, known.intents, known.n) == known.ring.owners
        return self._goal[1]


def _state_of(nodes: list[NodeView], name: str) -> str:
    return next((node.state for node in nodes if node.name == name), "unknown")


def acknowledge_losses(observer: Observer, snapshot: Snapshot) -> str:
    """Tell one node after the other that an admin knows of all that is lost by now, until one has taken it.

    The node that alone has it on its disk, as far as is known; "" when a second one has. Raises ClusterError.
    """
    version = max(lost.ring_version for lost in snapshot.lost)
    told = [node.name for node in snapshot.nodes if node.answers]
    for name in told:
        (answer,) = observer.question([(name, AcknowledgeLosses(0, version))], DECIDE_S)
        if isinstance(answer, AcknowledgeLossesReply):
            return ""
        if isinstance(answer, Failure) and answer.code == TIMEOUT:
            return name
        if isinstance(answer, Failure) and answer.code == INVALID:
            raise ClusterError(f"{name} refuses: {answer.text}")
    raise ClusterUnreachable(f"none of {' '.join(told) or 'the members'} has taken it")


# --- for a plan -------------------------------------------------------------------------------------------------------------


def plan_of(observer: Observer, staged: Staged, *, sizes: bool = True) -> tuple[Plan, Known, Staged]:
    """What is staged and not decided yet comes to this. Raises ClusterUnreachable."""
    known = ask(observer, observer.look(ASK_S, facts_timeout=PATIENT_S), sizes=sizes)
    left = undecided(staged, known)
    return make_plan(known, left), known, left
