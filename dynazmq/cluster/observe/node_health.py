"""From three sources to one picture: what the operating system knows of a process, what the node says of itself, and what its
peers say of it. Pure: the supervisor judges with it twice a second, `observe.py` for everybody else.

    paused    there is a process and it is stopped by SIGSTOP
    stopped   no process, because somebody asked for that (stop, wipe)
    down      no process otherwise (a `kill` is a crash on purpose: it looks like any other)
    starting  a process that has never answered yet
    suspect   a process that does not answer now, or a peer that cannot reach it
    joining   up, and not an owner of anything yet
    leaving   up, and to be none any more
    up        otherwise

Where the sources disagree, the operating system wins over the node, and the node over its peers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynazmq.cluster.observe.snapshot import Event, Expelling, Lost, NodeView, Snapshot, Transfer
from dynazmq.faults import Fault
from dynazmq.paths import ClusterFile

BIRTH_S = 0.1
"""A suspicion that is as old as the node that has it, but for this much, is what it was born with."""

START_S = 3.0
"""A process that has not answered is called "starting" for so long, when no supervisor knows whether it ever did."""


SERVES = ("up", "joining", "leaving")
"""States of a node that answers and that all others reach."""


@dataclass(slots=True, kw_only=True)
class NodeFact:
    """What the supervisor knows of one node's process; without one, what is recorded and the operating system confirms."""

    pid: int | None = None
    process: str = "stopped"
    purpose: str = ""  # why there is no process, when somebody asked for that: killed | stopped | wiped | removed
    answered: bool = False  # this process has answered before
    restart_in_s: float | None = None
    gave_up: bool = False
    state: str = ""  # as the supervisor judged it last, and for how long it has
    state_s: float = 0.0
    exits: int = 0  # how often it ended without being asked, in this supervisor's life
    reason: str = ""  # its last words, when it ended badly
    log_from: int = 0  # where this life begins in its log
    adopted: bool = False


@dataclass(slots=True, kw_only=True)
class Facts:
    supervisor_pid: int | None = None
    restart: str = "on-failure"
    stopping: bool = False  # the whole cluster is on its way down
    nodes: dict[str, NodeFact] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    degraded_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Answer:
    """One node's StatusReply. Unknown fields are ignored, absent ones have a default: versions may differ for one round."""

    name: str
    status: dict[str, Any]
    heard_at: float | None = None  # wall clock: what it says of durations was true then

    @classmethod
    def parse(cls, name: str, raw: bytes) -> Answer | None:
        try:
            status = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        return cls(name=name, status=status) if isinstance(status, dict) else None

    def section(self, name: str) -> dict[str, Any]:
        found = self.status.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def ring_digest(self) -> str:
        return str(self.section("ring").get("digest", ""))

    @property
    def ring_version(self) -> int:
        return int(self.section("ring").get("version", 0))

    @property
    def phase(self) -> str:
        """rest, filling or flipped; a word of a later release is a change as well."""
        said = self.section("ring").get("phase", "rest")
        return str(said) if said in ("rest", "filling", "flipped") else "filling"

    @property
    def standing(self) -> str:
        return str(self.status.get("standing", "member"))

    def age_s(self, now: float) -> float:
        return max(0.0, now - self.heard_at) if self.heard_at is not None else 0.0

    def says_of(self, peer: str) -> tuple[str, float] | None:
        """(up | suspect | down, for how many seconds); None while it has not looked: who was just started suspects everybody."""
        said = self.section("peers").get(peer)
        if not isinstance(said, dict):
            return None
        word, for_s = str(said.get("state", "")), float(said.get("for_s", 0.0))
        looked = word == "up" or for_s < float(self.status.get("uptime_s", 0.0)) - BIRTH_S
        return (word, for_s) if looked else None


def judge(
    cluster: ClusterFile,
    directory: Path,
    facts: Facts,
    answers: Mapping[str, Answer],
    *,
    owners: Sequence[str],
    now: float,
    cpu_percent: Mapping[str, float] | None = None,
    versions: Mapping[str, int] | None = None,
    faults: Sequence[Fault] = (),
) -> Snapshot:
    """`now` is wall-clock time. versions: of the protocol, of nodes that speak another one than we. faults: that are on."""
    nodes = [_view(name, endpoint, facts, answers, cpu_percent or {}, now) for name, endpoint in cluster.members.items()]
    _count_trees(nodes)
    met = [answer.section("other_versions") for answer in answers.values()]
    for node in nodes:
        node.protocol = next((int(each[node.name]) for each in [versions or {}, *met] if node.name in each), None)
    # A ring of version 0 is what a node begins with that waits to be told of the cluster's; nobody tells who has left.
    newest = max((answer.ring_version for answer in answers.values()), default=0)
    belonging = [answer for answer in answers.values() if answer.standing != "left" and (answer.ring_version or not newest)]
    digests = {answer.ring_digest for answer in belonging}
    told = [answer for answer in answers.values() if answer.ring_version == newest]
    snapshot = Snapshot(
        name=cluster.name,
        directory=str(directory),
        taken_at=now,
        supervisor_pid=facts.supervisor_pid,
        ring_version=newest,
        owners=tuple(owners),
        n=cluster.n,
        r=cluster.r,
        w=cluster.w,
        sync=cluster.sync,
        transport=cluster.transport,
        nodes=nodes,
        ring_agreed=len(digests) == 1,
        phase=told[0].phase if told else "rest",
        target=[str(name) for name in (told[0].section("change").get("target") or ())] if told else [],
        buckets=_changing_buckets(told),
        waiting_for=_waiting_for(told),
        expelling=_expelling(told),
        without_source=_numbers(told[0].section("change").get("without_source")) if told else [],
        lost=_lost(told),
        given_up=sorted({str(name) for answer in told for name in answer.section("change").get("gone") or ()}),
        faults=list(faults),
        events=facts.events,
        cluster_id=cluster.cluster_id,
    )
    snapshot.converged = converged(snapshot)
    if wrong(snapshot):
        snapshot.degraded_s = facts.degraded_s if facts.degraded_s is not None else _longest_trouble(nodes)
    return snapshot


def converged(snapshot: Snapshot) -> bool:
    """Every up node agrees on the ring, no hint pends, and each two that share partitions have compared their Merkle trees in
    their present lives and mended what differed. Nodes that are away do not count, those on their way do; while members come
    or go it is not. While anti-entropy is paused or off nobody compares, so nobody knows.
    """
    states = {node.state for node in snapshot.nodes}
    on_the_way = states & {"starting", "suspect"} or changing(snapshot) or strays(snapshot) > 0
    at_rest = hints_pending(snapshot) == 0 and not comparing(snapshot)
    return "up" in states and not on_the_way and snapshot.ring_agreed and at_rest


def changing(snapshot: Snapshot) -> bool:
    """Members come or go, or wait to."""
    expelling = snapshot.expelling is not None and snapshot.expelling.possible
    return expelling or ring_moves(snapshot) or any(node.answers and node.standing != "member" for node in snapshot.nodes)


def ring_moves(snapshot: Snapshot) -> bool:
    """The ring is on its way to other owners, or to other numbers of replicas, or is to be."""
    wanted = bool(snapshot.target) and bool(snapshot.owners) and set(snapshot.target) != set(snapshot.owners)
    return snapshot.phase != "rest" or wanted or bool(snapshot.buckets) or any(node.transfer.left for node in snapshot.nodes)


def strays(snapshot: Snapshot) -> int:
    """Partitions of which rows lie with nodes that are no holders of them any more; each as often as there are such nodes."""
    return sum(node.transfer.strays for node in snapshot.nodes if node.answers)


def comparing(snapshot: Snapshot) -> list[NodeView]:
    """Nodes that do not know whether their peers hold the same: not yet, or because nobody looks."""
    return [
        node
        for node in snapshot.nodes
        if node.answers and (node.compares_with or not node.surveyed or (node.anti_entropy != "on" and node.trees_shared))
    ]


def not_comparing(snapshot: Snapshot) -> dict[str, list[str]]:
    """paused, off → nodes whose anti-entropy is."""
    found: dict[str, list[str]] = {"paused": [], "off": []}
    for node in snapshot.nodes:
        if node.answers and node.anti_entropy in found:
            found[node.anti_entropy].append(node.name)
    return found


def rebuilding(snapshot: Snapshot) -> list[NodeView]:
    """Of each two nodes that are not through with each other, the one that has more left: who lost its disk has it with all."""
    found: list[NodeView] = []
    pairs = {frozenset((node.name, peer)) for node in snapshot.nodes for peer, (_, left) in node.trees_with.items() if left}
    for node in sorted(snapshot.nodes, key=lambda node: -node.trees_left):
        mine = {pair for pair in pairs if node.name in pair}
        if mine:
            found.append(node)
            pairs -= mine
    return found


def wrong(snapshot: Snapshot) -> bool:
    """Something is not as it should be, although everything may still be served. A change of members is as it should be; a fault
    that is on is not, whatever it does: nobody shall forget it.
    """
    agreed = snapshot.ring_agreed or changing(snapshot)
    at_rest = agreed and hints_pending(snapshot) == 0 and not snapshot.faults
    return not at_rest or any(
        node.state not in SERVES or node.old_disk or node.cannot_store for node in snapshot.nodes
    )


def ready(snapshot: Snapshot) -> bool:
    """Every node is up, can store and says the same of all others, and they agree on the ring."""
    return snapshot.ring_agreed and all(
        node.state in SERVES and not node.cannot_store and len(node.seen_by) == len(snapshot.nodes) - 1 for node in snapshot.nodes
    )


def hints_pending(snapshot: Snapshot) -> int:
    return sum(node.hints_pending for node in snapshot.nodes)


def hints_by_target(snapshot: Snapshot) -> dict[str, int]:
    """Target → hints that wait for it anywhere."""
    totals: dict[str, int] = {}
    for node in snapshot.nodes:
        for target, count in node.hints_for.items():
            totals[target] = totals.get(target, 0) + count
    return totals


def quorum_met(snapshot: Snapshot) -> bool:
    """Quorums are sloppy: any nodes that can be reached will do, while there are R of them, and W that can store."""
    live = [node for node in snapshot.nodes if node.state in (*SERVES, "suspect") and node.answers]
    return len(live) >= snapshot.r and sum(not node.cannot_store for node in live) >= snapshot.w


def unable_to_store(snapshot: Snapshot) -> list[NodeView]:
    """Nodes that answer and whose commits fail: they are read, and no put counts on them."""
    return [node for node in snapshot.nodes if node.answers and node.cannot_store]


def _changing_buckets(told: Sequence[Answer]) -> list[list[Any]]:
    """What the first of them says; what is of another shape is a newer release's."""
    return [each for each in (told[0].section("change").get("buckets") or () if told else ()) if len(each) == 7]


def _waiting_for(told: Sequence[Answer]) -> list[str]:
    """Whom most of them wait for: what one has not heard yet that the others know is a matter of a second."""
    named = Counter(str(name) for answer in told for name in answer.section("change").get("waiting_for") or ())
    return sorted(name for name, count in named.items() if 2 * count >= len(told))


def _lost(told: Sequence[Answer]) -> list[Lost]:
    """All that any of them knows of: gossip may be on its way to the others."""
    known: dict[int, Lost] = {}
    for answer in told:
        said = answer.status.get("lost")
        for each in said if isinstance(said, list) else ():
            keys = each.get("keys")
            lost = Lost(
                ring_version=int(each.get("ring_version", 0)),
                partitions=_numbers(each.get("partitions")),
                owners=[str(name) for name in each.get("owners") or ()],
                keys=None if keys is None else int(keys),
            )
            known.setdefault(lost.ring_version, lost)
    return [lost for _, lost in sorted(known.items())]


def _numbers(said: object) -> list[int]:
    return [int(each) for each in said] if isinstance(said, list) else []


def _expelling(told: Sequence[Answer]) -> Expelling | None:
    """As the one sees it who has heard of most that agree."""
    found = [said for answer in told if isinstance(said := answer.section("change").get("expelling"), dict)]
    if not found:
        return None
    said = max(found, key=lambda each: len(each.get("agree") or ()))
    return Expelling(
        members=[str(name) for name in said.get("members") or ()],
        needed=int(said.get("needed", 0)),
        agree=[str(name) for name in said.get("agree") or ()],
        possible=bool(said.get("possible", True)),
    )


def _view(
    name: str, endpoint: str, facts: Facts, answers: Mapping[str, Answer], cpu_percent: Mapping[str, float], now: float
) -> NodeView:
    fact = facts.nodes.get(name, NodeFact())
    answer = answers.get(name)
    said = {peer: word for peer, other in answers.items() if peer != name and (word := other.says_of(name))}
    seen_by = {peer: state for peer, (state, _) in said.items()}
    state = _state(fact, answer, seen_by)
    view = NodeView(
        name=name,
        endpoint=endpoint,
        state=state,
        pid=fact.pid,
        process=fact.process,
        restart_in_s=fact.restart_in_s,
        gave_up=fact.gave_up,
        answers=answer is not None,
        seen_by=seen_by,
        seen_for_s={peer: for_s + answers[peer].age_s(now) for peer, (_, for_s) in said.items()},
        cpu_percent=cpu_percent.get(name),
    )
    if answer is not None:
        _fill_in(view, answer)
        if view.pid is None:  # nobody recorded it, but it answers
            view.pid, view.process = int(answer.status.get("pid", 0)) or None, "running"
    if fact.state == state:
        view.since_s = fact.state_s
    elif not fact.state and state in SERVES:
        view.since_s = view.uptime_s or 0.0
    elif not fact.state:
        view.since_s = max((seconds for word, seconds in said.values() if word != "up"), default=0.0)
    return view


def _state(fact: NodeFact, answer: Answer | None, seen_by: Mapping[str, str]) -> str:
    if fact.process == "paused":
        return "paused"
    if fact.pid is None and answer is None:
        return "stopped" if fact.purpose in ("stopped", "wiped", "removed") else "down"
    if answer is None:
        return "suspect" if fact.answered else "starting"
    born = answer.standing == "joining" and float(answer.status.get("uptime_s", 0.0)) < START_S
    if any(state != "up" for state in seen_by.values()) and not born:  # who is new is suspected by all until they have met it
        return "suspect"
    if answer.standing == "joining":
        return "joining"
    return "leaving" if answer.standing in ("leaving", "left") else "up"


def _fill_in(view: NodeView, answer: Answer) -> None:
    """What only the node itself can know."""
    status = answer.status
    commit = answer.section("commit")
    latency = answer.section("latency")
    view.partitions = int(status.get("owned", 0))
    view.keys = int(status.get("keys", 0))
    view.hints_pending = int(status.get("hints_pending", 0))
    view.hints_for = {str(target): int(count) for target, count in answer.section("hints_for").items() if count}
    view.hints_oldest_s = {str(target): float(age) for target, age in answer.section("hints_oldest_s").items()}
    view.in_flight = int(status.get("in_flight", 0))
    trees = answer.section("anti_entropy")
    view.surveyed = not trees.get("on") or trees.get("surveyed") == answer.section("ring").get("partitions")
    view.compares_with = [str(peer) for peer in trees.get("open_with", ())]
    view.ranges_differing = int(trees.get("differing", 0))
    view.anti_entropy = "off" if trees.get("on") is False else "paused" if trees.get("paused") else "on"
    view.trees_with = {str(peer): (int(each["trees"]), int(each["left"])) for peer, each in trees.get("peers", {}).items()}
    view.lww_discarded = int(status.get("lww_discarded", 0))
    view.uptime_s = _number(status, "uptime_s")
    view.wall_ms = int(status.get("wall_ms", 0)) or None
    view.rss_bytes = int(status.get("rss_bytes", 0)) or None
    view.ops_per_s = _number(status, "ops_per_s")
    view.p50_ms = _worst(latency, "p50_ms")
    view.p99_ms = _worst(latency, "p99_ms")
    view.commit_ms = _number(commit, "avg_ms")
    if commit.get("count"):
        view.rows_per_commit = float(commit.get("rows", 0)) / float(commit["count"])
    view.counters = {str(name): int(count) for name, count in answer.section("counters").items()}
    applied = status.get("faults")
    view.faults = [str(id_) for id_ in applied] if isinstance(applied, list) else []
    view.old_disk = str(status.get("old_disk") or "")
    view.cannot_store = str(status.get("cannot_store") or "")
    view.standing = answer.standing
    moved = answer.section("transfer")
    view.transfer = Transfer(
        confirmed=bool(moved.get("confirmed")),
        **{what: int(moved.get(what, 0)) for what in ("partitions", "left", "keys", "bytes", "strays", "salvaged")},
    )
    view.ring_digest = answer.ring_digest
    view.ring_version = answer.ring_version
    view.incarnation = int(status.get("incarnation", 0))


def _count_trees(nodes: Sequence[NodeView]) -> None:
    """Of two nodes that share trees the one that asks for them knows how far they are: count it for both."""
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        node.trees_with = {peer: counts for peer, counts in node.trees_with.items() if peer in by_name and by_name[peer].answers}
        for peer, (shared, left) in node.trees_with.items():
            for each in (node, by_name[peer]):
                each.trees_shared += shared
                each.trees_left += left


def _number(section: Mapping[str, Any], name: str) -> float | None:
    value = section.get(name)
    return float(value) if isinstance(value, (int, float)) else None


def _worst(latency: Mapping[str, Any], name: str) -> float | None:
    """Of puts and gets: whoever waits longest is who complains. None while there are none."""
    found = [
        float(each[name])
        for each in latency.values()
        if isinstance(each, dict) and each.get("count") and isinstance(each.get(name), (int, float))
    ]
    return max(found, default=None)


def _longest_trouble(nodes: Sequence[NodeView]) -> float:
    return max((node.since_s for node in nodes if node.state not in SERVES), default=0.0)
