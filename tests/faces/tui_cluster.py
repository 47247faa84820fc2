"""A cluster that exists only as snapshots: told what happens, it shows what an observer would see at each moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from dynazmq.cluster.observe.snapshot import Event, NodeView, Snapshot, Transfer
from dynazmq.faults import Fault, describe
from dynazmq.tui.model.load import Check, LoadStats
from dynazmq.tui.model.model import Model
from dynazmq.tui.model.trends import History

START = 1_700_000_000.0  # 22:13:20 UTC


@dataclass
class Node:
    name: str
    state: str = "up"
    process: str = "running"
    since: float = START - 724
    gone_at: float | None = None
    back_at: float | None = None
    puts: int = 0
    gets: int = 0
    delivered: int = 0
    repairs: int = 0
    siblings: int = 0
    hints: dict[str, float] = field(default_factory=dict)
    restart_in_s: float | None = None

    @property
    def answers(self) -> bool:
        return self.process == "running"


class Cluster:
    """400 puts and 800 gets a second; every node notices an absence after 0.2 s and calls it down after 0.8 s."""

    def __init__(self, count: int = 5, partitions: int = 120, *, load: bool = False, names: list[str] | None = None) -> None:
        self.now = START
        self.partitions = partitions
        self.nodes = [Node(name) for name in names or [f"n{index + 1}" for index in range(count)]]
        self.events: list[Event] = []
        self.history = History()
        self.load = load
        self.stats = LoadStats(running=load)
        self.supervisor_pid: int | None = 41200
        self.cut: set[frozenset[str]] = set()  # pairs that a fault keeps apart
        self.cut_at = 0.0
        self.faults: list[Fault] = []
        self.filled = 0  # partitions of the 72 that a joining node gets; "filling" while there is one
        self.model = self.look()

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    # --- what happens ---------------------------------------------------------------------------------------------------

    def leave(self, name: str, state: str, process: str, text: str, restart_in_s: float | None = None) -> None:
        node = self[name]
        node.state, node.process, node.since, node.gone_at, node.back_at = state, process, self.now, self.now, None
        node.restart_in_s = restart_in_s
        self.events.append(Event(at=self.now, node=name, text=text, kind="gone"))

    def kill(self, name: str, restart_in_s: float | None = None) -> None:
        self.leave(name, "down", "killed (9)", "process gone, signal 9", restart_in_s)

    def pause(self, name: str) -> None:
        self.leave(name, "paused", "paused", "paused (SIGSTOP)")

    def freeze(self, name: str) -> None:
        """It runs, its peers cannot reach it."""
        self[name].gone_at, self[name].state, self[name].since = self.now, "suspect", self.now

    def join(self, name: str) -> None:
        """It is new, owns nothing yet, and is filled by the others."""
        self.nodes.append(Node(name, state="joining", since=self.now))

    def part(self, name: str) -> None:
        """It has left: nobody knows of it any more."""
        self.nodes.remove(self[name])
        for node in self.nodes:
            node.hints.pop(name, None)

    def partition(self, *sides: list[str]) -> None:
        self.cut = {frozenset((one, other)) for i, a in enumerate(sides) for b in sides[i + 1 :] for one in a for other in b}
        self.cut_at = self.now
        for node in self.nodes:
            node.since = self.now + 0.2
        self.faults = [Fault(id="f1", kind="partition", sides=tuple(tuple(side) for side in sides), since=self.now)]
        self.events.append(Event(at=self.now, node="*", text=f"f1 {describe(self.faults[0])}", kind="fault-on"))

    @property
    def owners(self) -> list[str]:
        return [node.name for node in self.nodes if node.state != "joining"]

    def start(self, name: str) -> None:
        node = self[name]
        node.state, node.process, node.since, node.back_at = "up", "running", self.now, self.now
        node.puts = node.gets = node.delivered = node.repairs = 0
        node.restart_in_s = None
        self.events.append(Event(at=self.now, node=name, text="started, pid 41999", kind="started"))

    def run(self, seconds: float, step: float = 0.5) -> Model:
        for _ in range(round(seconds / step)):
            self.tick(step)
        return self.model

    def tick(self, step: float) -> None:
        self.now = round(self.now + step, 3)
        living = [node for node in self.nodes if node.answers]
        for node in living:
            node.puts += round(400 * step / len(living))
            node.gets += round(800 * step / len(living))
            for target in self.nodes:
                self._hint(node, target, step, len(living))
            node.hints = {name: count for name, count in node.hints.items() if count >= 1}
        if self.load:
            self.stats = LoadStats(
                running=True,
                puts_ok=self.stats.puts_ok + round(400 * step),
                gets_ok=self.stats.gets_ok + round(800 * step),
                put_p99_ms=3.4,
                get_p99_ms=1.8,
                acked=min(20_000, self.stats.acked + round(400 * step)),
                gaps=((self.now, 0.31),),
                check=self._check(),
            )
        self._tell(step)
        self.model = self.look()

    def _check(self) -> Check | None:
        """All writes are read again in the half second after a convergence."""
        after = max((recovery.converged or 0.0 for recovery in self.model.recoveries), default=0.0)
        return Check(after=after, total=self.stats.acked, checked=self.stats.acked) if after else self.stats.check

    def _tell(self, step: float) -> None:
        """What a supervisor would tell of what it saw in the cluster."""
        for node in self.nodes:
            if node.gone_at is not None and node.back_at is None and not node.answers:
                peers = [peer.name for peer in self.nodes if peer.answers]
                if peers and self.now - step < node.gone_at + 0.8 <= self.now:
                    text = f"down: {' '.join(peers)} agree" if len(peers) < 6 else f"down: {len(peers)} peers agree"
                    self.events.append(Event(at=node.gone_at + 0.8, node=node.name, text=text, kind="down"))

    def _hint(self, node: Node, target: Node, step: float, living: int) -> None:
        if node is target:
            return
        if frozenset((node.name, target.name)) in self.cut:
            node.hints[target.name] = node.hints.get(target.name, 0) + 16 * step
        elif not target.answers and target.gone_at is not None:
            node.hints[target.name] = node.hints.get(target.name, 0) + 64 * step / living
        elif target.back_at is not None and self.now - target.back_at > 0.5 and target.name in node.hints:
            sent = min(node.hints[target.name], 870 * step / living)
            node.hints[target.name] -= sent
            node.delivered += round(sent)
            node.repairs += round(2 * step)

    # --- what is seen ---------------------------------------------------------------------------------------------------

    def look(self) -> Model:
        self.model = self.history.add(self.snapshot(), self.stats if self.load else None)
        return self.model

    def snapshot(self) -> Snapshot:
        views = [self._view(node) for node in self.nodes]
        waiting = sum(int(count) for node in self.nodes for count in node.hints.values())
        return Snapshot(
            name="demo",
            directory="/tmp/demo",
            taken_at=self.now,
            supervisor_pid=self.supervisor_pid,
            ring_version=5,
            owners=tuple(self.owners[index % len(self.owners)] for index in range(self.partitions)),
            n=3,
            r=2,
            w=2,
            sync="full",
            transport="ipc",
            nodes=views,
            ring_agreed=True,
            phase="rest" if len(self.owners) == len(self.nodes) else "filling",
            target=sorted(node.name for node in self.nodes),
            waiting_for=[node.name for node in self.nodes if node.state == "joining"],
            converged=not waiting and all(view.state in ("up", "down", "stopped") for view in views),
            degraded_s=self._degraded(waiting),
            events=list(self.events),
            faults=list(self.faults),
        )

    def _degraded(self, waiting: int) -> float | None:
        gone = [node.gone_at for node in self.nodes if node.gone_at is not None and (node.state != "up" or waiting)]
        gone += [self.cut_at] if self.cut else []
        return self.now - min(gone) if gone else None

    def _view(self, node: Node) -> NodeView:
        heard = {peer.name: self._word(node, peer) for peer in self.nodes if peer is not node and peer.answers}
        said = {peer: word for peer, (word, _) in heard.items()}
        state = "suspect" if node.state == "up" and any(word != "up" for word in said.values()) else node.state
        view = NodeView(
            name=node.name,
            endpoint=f"ipc:///tmp/demo/run/{node.name}.sock",
            state=state,
            process=node.process,
            since_s=self.now - node.since,
            pid=None if node.state in ("down", "stopped") else 41200 + self.nodes.index(node) + 1,
            seen_by=said,
            seen_for_s={peer: for_s for peer, (_, for_s) in heard.items()},
            restart_in_s=node.restart_in_s,
        )
        if node.answers:
            view.answers = True
            view.keys = 30_000 + 113 * self.nodes.index(node)
            view.hints_for = {name: int(count) for name, count in node.hints.items()}
            view.hints_pending = sum(view.hints_for.values())
            view.hints_oldest_s = {name: self.now - (self[name].gone_at or self.cut_at) for name in node.hints}
            view.uptime_s = self.now - (node.back_at or (START + 20 if node.state == "joining" else START - 724))
            view.rss_bytes, view.cpu_percent = 24 << 20, 31.0
            view.ops_per_s, view.p50_ms, view.p99_ms = 1_100.0, 0.9, 3.2
            view.commit_ms, view.rows_per_commit = 1.1, 14.0
            view.counters = {"puts_ok": node.puts, "gets_ok": node.gets, "hints_delivered": node.delivered}
            view.counters |= {"read_repairs": node.repairs, "siblings_read": node.siblings}
            view.ring_digest = "a1b2"
        if node.state == "joining":
            view.standing, view.keys = "joining", 313 * self.filled
            view.transfer = Transfer(partitions=72, left=72 - self.filled, keys=313 * self.filled, bytes=70_000 * self.filled)
        return view

    def _word(self, node: Node, peer: Node) -> tuple[str, float]:
        """What the peer says of the node, and for how long it has."""
        if frozenset((node.name, peer.name)) in self.cut:
            gone = self.now - self.cut_at
            return ("down", gone - 0.8) if gone >= 0.8 else ("suspect", gone - 0.2) if gone >= 0.2 else ("up", 100.0)
        late = 0.01 * self.nodes.index(peer)
        if node.gone_at is None:
            return "up", 724.0
        if node.back_at is not None and self.now - node.back_at >= 0.4:
            return "up", self.now - node.back_at - 0.3 - late
        gone = self.now - node.gone_at - late
        if gone >= 0.8 and (node.state != "suspect" or node.back_at is not None):
            return "down", gone - 0.8
        return ("suspect", gone - 0.2) if gone >= 0.2 else ("up", 724.0)
