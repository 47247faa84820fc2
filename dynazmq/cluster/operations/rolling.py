"""A rolling restart: one node after the other, so that never more than one is away and nobody's operation fails.

    for each node   SIGTERM (it finishes what is under way) → a new process → every peer sees it up, all agree on the ring, no
                    hint for it pends → the next one

Whoever asks drives it, and the supervisor does each step as a whole: `restart` is one request, "stop it, and start it when it has
ended". So whenever this process dies, the node that it was at comes back all the same, and a cluster is never left half stopped.

`restart_each` yields each step when it is done. Nodes that somebody has stopped, killed or paused by hand are left as they are:
they run nothing old, or are not to be touched. A node that is down without anybody's wish is a reason not to begin; so is one
that speaks another version of the protocol: the two versions would take each other for down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dynazmq import paths
from dynazmq.cluster import control
from dynazmq.cluster.control import NoSupervisor
from dynazmq.cluster.directory.orphans import unsupervised
from dynazmq.cluster.observe.node_health import NodeFact, hints_by_target, ring_moves
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.cluster.operations.readiness import POLL_S, away, mesh
from dynazmq.cluster.supervisor.children import tail
from dynazmq.errors import ClusterError
from dynazmq.paths import where
from dynazmq.wire.codec import PROTOCOL_VERSION

PROGRESS_S = 0.2


@dataclass(frozen=True, slots=True)
class Left:
    """A node that is not restarted, and how it is: "paused", "stopped", "killed (9)", "wiped"."""

    name: str
    process: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is still missing, now and then. name "": before the first node."""

    name: str
    missing: str


@dataclass(frozen=True, slots=True)
class Back:
    name: str
    pid_before: int
    pid: int
    peers: int
    elapsed_s: float


LATE, DIED, VERSION, FEW = "late", "died", "version", "few"


@dataclass(frozen=True, slots=True)
class Stuck:
    """It ends here. name "": it is not about one node. why:

    LATE      something is still missing after the time for a node
    DIED      a node has ended by itself, or somebody has ended the one that was awaited
    VERSION   a node speaks another version of the protocol than this program
    FEW       fewer than R or W nodes would be left: operations would fail
    """

    name: str
    missing: str
    why: str = LATE
    log: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Somebody asked for the end; the node that was away then is back."""


Step = Left | Waiting | Back | Stuck | Interrupted


def restart_each(directory: Path, timeout_s: float, go_on: Callable[[], bool]) -> Iterator[Step]:
    """timeout_s: for each node. go_on: asked between two nodes.

    Before each node all others must be in order: since the one before was back somebody may have paused one, or one have died.
    Raises ClusterError without a supervisor.
    """
    with Observer(directory) as observer:
        if observer.facts(PATIENT_S).supervisor_pid is None:
            raise ClusterError(unsupervised(directory, where(directory)))
        quorum: Quorum | None = None
        for name in observer.cluster.members:
            if not go_on():
                yield Interrupted()
                return
            fact = observer.facts(PATIENT_S).nodes.get(name)
            if fact is None:
                continue  # it has left the cluster meanwhile
            if away(fact):
                yield Left(name, fact.process)
                continue
            stuck = yield from _await(observer, "", lambda snapshot: _missing(observer, snapshot), timeout_s)
            if stuck is None:
                quorum = quorum or _largest_quorum(directory)
                stuck = _too_few(observer, quorum)
            step = stuck or (yield from _restart(observer, name, timeout_s))
            yield step
            if isinstance(step, Stuck):
                return


def _restart(observer: Observer, name: str, timeout_s: float) -> Generator[Step, None, Back | Stuck]:
    began = time.monotonic()
    try:
        reply = control.call(observer.directory, "restart", nodes=[name])
    except NoSupervisor as error:
        return Stuck(name, str(error))
    before = int(reply["nodes"][name]["pid"] or 0)

    def missing(snapshot: Snapshot) -> str:
        if observer.last_facts.supervisor_pid is None:
            return "no supervisor answers"
        if _fact_of(observer, name).pid == before:
            return "it has not ended yet"
        return _missing(observer, snapshot, name)

    stuck = yield from _await(observer, name, missing, timeout_s)
    if stuck is not None:
        return stuck
    fact = _fact_of(observer, name)
    peers = sum(not away(each) for each in observer.last_facts.nodes.values()) - 1
    return Back(name, before, fact.pid or 0, peers, time.monotonic() - began)


def _await(
    observer: Observer, name: str, missing: Callable[[Snapshot], str], timeout_s: float
) -> Generator[Step, None, Stuck | None]:
    """Until nothing is missing any more. None, or why that cannot be waited for."""
    deadline = time.monotonic() + timeout_s
    tell_at = 0.0
    while text := missing(snapshot := observer.look(facts_timeout=PATIENT_S)):
        now = time.monotonic()
        vain = _dead(observer, name) or _foreign(observer, snapshot)
        if vain or now >= deadline:
            return vain or Stuck(name, text)
        if now >= tell_at:
            tell_at = now + PROGRESS_S
            yield Waiting(name, text)
        time.sleep(POLL_S)
    return None


def _dead(observer: Observer, awaited: str) -> Stuck | None:
    """A node that has ended by itself, or the one that is waited for, if somebody has ended it. Only a supervisor knows."""
    if observer.last_facts.supervisor_pid is None:
        return None
    for name, fact in observer.last_facts.nodes.items():
        if fact.pid is None and (not fact.purpose or name == awaited):
            reason = f": {fact.reason}" if fact.reason else ""
            log = tail(paths.node_log(observer.directory, name), fact.log_from) if not fact.purpose else []
            return Stuck(name, f"{fact.process}{reason}", DIED, tuple(log))
    return None


def _foreign(observer: Observer, snapshot: Snapshot) -> Stuck | None:
    """A node that speaks another version of the protocol."""
    for node in snapshot.nodes:
        if node.protocol is not None and not away(_fact(observer, node)):
            return Stuck(node.name, f"speaks protocol {node.protocol}, this program {PROTOCOL_VERSION}", VERSION)
    return None


def _missing(observer: Observer, snapshot: Snapshot, name: str = "") -> str:
    """Why another node may not be taken away now; "" when it may. With a name, hints for others are not looked at."""
    wanted = [node for node in snapshot.nodes if not away(_fact(observer, node))]
    silent = [node.name for node in wanted if not node.answers]
    if silent:
        return f"{' '.join(silent)} {'does' if len(silent) == 1 else 'do'} not answer"
    if not snapshot.ring_agreed:
        return "the nodes do not agree on the ring"
    if ring_moves(snapshot):
        return "members come or go"
    if not mesh(wanted):
        unseen = [node.name for node in wanted if any(word != "up" for word in node.seen_by.values())]
        return f"not seen up by all: {' '.join(unseen)}" if unseen else "the nodes do not see each other yet"
    waiting = hints_by_target(snapshot)
    hints = sum(waiting.get(node.name, 0) for node in wanted if name in ("", node.name))
    return f"{hints:,} {'hint' if hints == 1 else 'hints'} to be delivered" if hints else ""


def _fact(observer: Observer, node: NodeView) -> NodeFact:
    return _fact_of(observer, node.name)


def _fact_of(observer: Observer, name: str) -> NodeFact:
    return observer.last_facts.nodes.get(name, NodeFact())


class Quorum(NamedTuple):
    """A bucket's, "" for the default."""

    bucket: str
    r: int
    w: int


def _largest_quorum(directory: Path) -> Quorum:
    """Of all buckets, by what is in force and by what will be."""
    import dynazmq

    with dynazmq.connect(dir=directory) as client:
        view = client.view
    policies = [("", view.default), *view.policies.items(), *view.wanted.items()]
    return max((Quorum(bucket, policy.r, policy.w) for bucket, policy in policies), key=lambda each: max(each.r, each.w))


def _too_few(observer: Observer, quorum: Quorum) -> Stuck | None:
    """Quorums are sloppy, any nodes will do: but there must be enough of them while one is away."""
    facts = observer.last_facts.nodes
    up = sum(not away(fact) for fact in facts.values())
    if up > max(quorum.r, quorum.w):
        return None
    of = f" in bucket {quorum.bucket!r}" if quorum.bucket else ""
    counted = f"{up} of {len(facts)} nodes are up, R={quorum.r} W={quorum.w}{of}"
    return Stuck("", f"{counted}: operations would fail while one is away", FEW)
