"""Ready means ready: every node answers, all agree on the ring, each sees the others up, and a write at W = all came back.

`await_ready` yields each step when it is proven and ends with Ready, Failed, Unsupervised or Late; while faults are on it proves
less (Faulty). It watches from outside, as any client would, and changes nothing but one key in a bucket of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dynazmq import paths
from dynazmq.cluster.observe.node_health import NodeFact
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.cluster.supervisor.children import tail
from dynazmq.errors import DynazmqError
from dynazmq.faults import Fault

POLL_S = 0.05
CANARY_BUCKET = "dynazmq.canary"


@dataclass(frozen=True, slots=True)
class Up:
    """A node answers."""

    name: str
    pid: int


@dataclass(frozen=True, slots=True)
class Agreed:
    """All that run have the same ring."""

    ring_version: int
    nodes: int


@dataclass(frozen=True, slots=True)
class Meshed:
    """Each sees all the others that run."""

    peers: int


@dataclass(frozen=True, slots=True)
class Canary:
    """A put and a get through the client's own path, at W and R = `quorum`."""

    quorum: str
    elapsed_ms: float


@dataclass(frozen=True, slots=True)
class Faulty:
    """Every node answers, and faults are on: that the nodes see each other, or serve, is not waited for."""

    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    away: tuple[str, ...]  # ended or paused by hand: they stay so


@dataclass(frozen=True, slots=True)
class Failed:
    """A node ended instead of serving."""

    name: str
    what: str  # "exited with code 1"
    reason: str
    log: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsupervised:
    """The supervisor ended. Nodes that it had started may run, and nobody would start them again."""


@dataclass(frozen=True, slots=True)
class Late:
    """The time is over. `missing`: what had not been proven."""

    missing: str


Step = Up | Agreed | Meshed | Canary | Faulty | Ready | Failed | Unsupervised | Late


def await_ready(directory: Path, deadline: float, *, supervised: Callable[[], bool] = lambda: True) -> Iterator[Step]:
    """`deadline` is of the monotonic clock. A node that ends while this watches is a failure at once.

    supervised: whether the supervisor lives, as far as whoever asks can tell.
    """
    with Observer(directory) as observer:
        told: set[str] = set()
        agreed = meshed = False
        error = "no node answers"
        while True:
            began = time.monotonic()
            snapshot = observer.look(facts_timeout=PATIENT_S)
            facts = observer.last_facts.nodes
            if not supervised():
                yield Unsupervised()
                return
            # Only it knows why a node has ended.
            if observer.last_facts.supervisor_pid is not None and (failed := _first_failure(directory, facts)):
                yield failed
                return
            wanted = [node for node in snapshot.nodes if not away(facts.get(node.name, NodeFact()))]
            for node in wanted:
                if node.answers and node.name not in told:
                    told.add(node.name)
                    yield Up(node.name, node.pid or 0)
            if all(node.answers for node in wanted) and wanted:
                if snapshot.ring_agreed and not agreed:
                    agreed = True
                    yield Agreed(snapshot.ring_version, len(wanted))
                if snapshot.faults:
                    yield Faulty(tuple(snapshot.faults))
                    yield Ready(tuple(node.name for node in snapshot.nodes if node not in wanted))
                    return
                if agreed and not meshed and mesh(wanted):
                    meshed = True
                    yield Meshed(len(wanted) - 1)
            if meshed:
                try:
                    yield canary(directory, "all" if len(wanted) == len(snapshot.nodes) else "quorum", deadline)
                    yield Ready(tuple(node.name for node in snapshot.nodes if node not in wanted))
                    return
                except DynazmqError as failure:
                    error = f"the canary does not come back: {failure}"
            else:
                error = _missing(snapshot, wanted, agreed)
            if time.monotonic() >= deadline:
                yield Late(error)
                return
            time.sleep(max(0.0, POLL_S - (time.monotonic() - began)))


def canary(directory: Path, quorum: str, deadline: float) -> Canary:
    """Write a key, read it, delete it, as any client would. Raises DynazmqError."""
    import dynazmq

    left = min(2.0, max(0.2, deadline - time.monotonic()))
    with dynazmq.connect(dir=directory, timeout=left) as client:
        bucket = client.bucket(CANARY_BUCKET)
        before = bucket.get("canary", r=quorum)
        value = f"{time.time_ns()}".encode()
        began = time.perf_counter()
        done = bucket.put("canary", value, context=before.context, w=quorum)
        found = bucket.get("canary", r=quorum)
        elapsed_ms = (time.perf_counter() - began) * 1000
        if value not in found.values:
            raise DynazmqError("what was written was not read")
        bucket.delete("canary", context=found.context or done.context)
    return Canary(quorum, elapsed_ms)


def away(fact: NodeFact) -> bool:
    """By somebody's wish, so that nobody waits for it."""
    return fact.process == "paused" or (fact.pid is None and bool(fact.purpose))


def _first_failure(directory: Path, facts: Mapping[str, NodeFact]) -> Failed | None:
    for name, fact in facts.items():
        if fact.pid is None and not fact.purpose:
            lines = tail(paths.node_log(directory, name), fact.log_from)
            what = f"exited with code {code}" if (code := _code(fact.process)) else fact.process
            return Failed(name, what, fact.reason, tuple(lines))
    return None


def _code(process: str) -> str:
    return process[len("exited (") : -1] if process.startswith("exited (") else ""


def mesh(wanted: list[NodeView]) -> bool:
    """Each is seen up by each other one."""
    names = {node.name for node in wanted}
    return all(all(node.seen_by.get(peer) == "up" for peer in names - {node.name}) for node in wanted)


def _missing(snapshot: Snapshot, wanted: list[NodeView], agreed: bool) -> str:
    silent = [node.name for node in wanted if not node.answers]
    if silent:
        return f"{' '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer"
    if not agreed:
        return "the nodes do not agree on the ring"
    unseen = [node.name for node in wanted if any(word != "up" for word in node.seen_by.values())]
    return f"not seen up by all: {' '.join(unseen)}" if unseen else "the nodes do not see each other yet"
