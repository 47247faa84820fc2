"""A cluster to tell stories with.

    cluster = Cluster(seed=1)
    client = cluster.client("alice")
    cluster.node("n2").crash()
    client.put("cart", "milk")
    cluster.node("n2").restart()
    cluster.settle()

Everything between nodes goes through the production codec; everything random comes from the seed. Time passes only while a
client's call waits, in `run`, and in `settle`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dynazmq.client.core.core import ASK_ABOVE_BYTES
from dynazmq.config import DEFAULT_BUCKET, NodeConfig, Timing
from dynazmq.dynamo.membership.change import EXPEL, GONE, IN, OUT
from dynazmq.dynamo.values.ring import Ring, place
from dynazmq.simulator.cluster.client import SCHEME, Client
from dynazmq.simulator.cluster.handle import NodeHandle, row_of
from dynazmq.simulator.cluster.history import History
from dynazmq.simulator.cluster.process import CLIENT, Process
from dynazmq.simulator.cluster.watch import Limits, Watch
from dynazmq.simulator.world.network import Conditions, Network
from dynazmq.simulator.world.world import World

__all__ = ["SETTLE_S", "Cluster", "NodeHandle", "Unsettled", "row_of"]

SETTLE_S = 30.0

_REST_S = 0.9
"""So long a cluster must be at rest. Meanwhile what nobody waits for arrives and is committed: a read repair is not acknowledged.
And a link that still carries what was slow before is found out: its nodes suspect each other once more (seeds 12318, 13880)."""


class Unsettled(AssertionError):
    """The cluster did not come to rest; the message says what it was waiting for."""


class Cluster:
    """Nodes, clients, the network between them, and one clock."""

    def __init__(
        self,
        seed: int = 0,
        nodes: int = 5,
        *,
        n: int = 3,
        r: int = 2,
        w: int = 2,
        partitions: int = 120,
        sync: str = "full",
        max_in_flight: int = 4096,
        anti_entropy_ms: int = 0,
        grace_ms: int = 0,
        timing: Timing | None = None,
        conditions: Conditions | None = None,
        one_clock: bool = True,
        turn_messages: int = 0,
        max_hint_bytes: int = 1 << 30,
        asks: bool = False,
        log: bool = False,
        started: bool = True,
    ) -> None:
        """one_clock: the nodes' monotonic clocks agree, as on one host. turn_messages: that a turn has time for; 0: for all.

        asks: retries of clients ask before they send the value, however small it is.
        started: False: who wants to have the cluster even if that fails calls `start`.

        anti_entropy_ms: 0 leaves it off, since it would hide what the other techniques fail to bring.
        grace_ms: of retirement (config.Timing), longer than any request's timeout; 0: tombstones stay.
        """
        timing = timing or Timing(anti_entropy_interval_ms=anti_entropy_ms, retirement_grace_ms=grace_ms)
        self.r = r
        self.grace_s = timing.retirement_grace_ms / 1000
        self.world = World(seed, log)
        self.network = Network(self.world, conditions or Conditions())
        self.history = History(b"s" * 32)
        # Each of a request's technique counts it: as a get, a put, a recall, and once for each try that was passed on.
        self.watch = Watch(self.history, Limits(clock_entries=2 * nodes, in_flight=8 * max_in_flight))
        self.names = [f"n{i + 1}" for i in range(nodes)]
        self._one_clock = one_clock
        self._turn_messages = turn_messages
        self._ask_above_bytes = 0 if asks else ASK_ABOVE_BYTES
        self._clients: dict[str, Client] = {}
        self._random = self.world.random("cluster")
        self._cluster_id = self._random.getrandbits(64)
        self._config = NodeConfig(
            name="", cluster="sim", cluster_id=self._cluster_id, secret=self.history.secret, data_dir="", endpoint="",
            founders=list(self.names), partitions=partitions, n=n, r=r, w=w, sync=sync,
            max_in_flight=max_in_flight, max_hint_bytes=max_hint_bytes, timing=timing,
        )  # fmt: skip
        self._nodes: dict[str, NodeHandle] = {}
        for name in self.names:
            self._make(name)
        if started:
            self.start()

    def start(self) -> None:
        """Start all nodes, and wait until everybody sees everybody up. Raises Unsettled.

        In the worst weather they seldom all do at one moment: where every fiftieth frame holds up those behind it for as much as
        2 s, six nodes do for 7 % of the time, and it may be long until they first do (seed 603739). Then it clears up until they
        do: who does not even so has lost the other for good.
        """
        for node in self.nodes:
            node.process.start()
        weather, all_up = self.network.conditions, partial(self._agree, self.names)
        try:
            self.wait(all_up, "everybody sees everybody up")
        except Unsettled:
            self.network.conditions = weather.calmed()
            self.wait(all_up, "everybody sees everybody up")
            self.network.conditions = weather

    # --- who is there -----------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[NodeHandle]:
        return list(self._nodes.values())

    def node(self, name: str) -> NodeHandle:
        return self._nodes[name]

    def _make(self, name: str) -> NodeHandle:
        """A node's process and disk, not started yet."""
        config = replace(self._config, name=name, endpoint=SCHEME + name)
        clock_s = 0.0 if self._one_clock else 10_000 + self._random.random() * 5_000
        self.watch.processes[name] = process = Process(
            self.world, self.network, config, self.watch, clock_s, self._turn_messages
        )
        self._nodes[name] = NodeHandle(self, process)
        self._tell_members()
        return self._nodes[name]

    def _tell_members(self) -> None:
        """Everybody's configuration names those that now are; it is read when a process starts."""
        members = {each: SCHEME + each for each in self.names}
        for node in self.nodes:
            node.process.config = replace(node.process.config, members=members)

    # --- members come and go ----------------------------------------------------------------------------------------------

    def enrol(self, name: str) -> NodeHandle:
        """Start a new node. It waits to be let in."""
        self.names.append(name)
        node = self._make(name)
        limits = self.watch.limits
        limits.clock_entries += 2 if limits.clock_entries else 0
        node.process.start()
        return node

    def add(self, name: str, weight: float = 1.0, replaces: str = "", at: str = "") -> NodeHandle:
        """Start a new node and decide, at one node or through any, that it shall be a member."""
        node = self.enrol(name)
        asked = [self._nodes[at]] if at else [each for each in self.members if each.process.alive]
        known = [each.process.node.membership for each in asked]
        self.wait(lambda: any(name in each.members or name in each.intents for each in known), f"{name} is known")
        gone = [[replaces, EXPEL, 1.0, ""]] if replaces else []
        self.change([[name, IN, weight, replaces], *gone], at)
        return node

    def remove(self, *names: str, force: bool = False, without_quorum: bool = False, at: str = "") -> None:
        """Decide that nodes shall be no members. force: they will not be asked for their data."""
        kind = GONE if without_quorum else EXPEL if force else OUT
        self.change([[name, kind, 1.0, ""] for name in names], at)

    def change(self, intents: list[list[Any]], at: str = "") -> None:
        self.client("admin", beside=at).change_members(intents, at)

    @property
    def members(self) -> list[NodeHandle]:
        """Those that run, or may again, of the owners by the newest ring that is known."""
        return [self._nodes[name] for name in self.ring.members if name in self._nodes]

    @property
    def ring(self) -> Ring:
        """The newest that any living node knows."""
        nodes = [node.process.node for node in self.nodes if node.process.alive] or [self.nodes[0].process.node]
        return max((node.membership.ring for node in nodes), key=lambda ring: ring.rank)

    def changed(self) -> bool:
        """Whether no change is under way, everybody agrees, and nobody holds what is not his."""
        return not self.unchanged()

    def unchanged(self) -> str:
        """What there is still to be done of a change of members; "" when nothing is."""
        ring = self.ring
        present = [node for node in self.nodes if node.name in self.names]
        if not ring.at_rest:
            alive = [node for node in present if node.process.alive]
            waiting = {node.name: node.process.node.admin.status()["change"]["waiting_for"] for node in alive}
            return f"ring {ring.version} is {'filling' if ring.filling else 'flipped'}, and waits for {waiting}"
        for node in present:
            membership = node.process.node.membership
            if node.process.state != "up":
                return f"{node} is {node.process.state}"
            if strays := node.strays():
                return f"{node} holds {strays}"
            if membership.standing == "left":
                continue  # it is told nothing any more
            if membership.ring != ring:
                return f"{node} knows ring {membership.ring.version}, and there is ring {ring.version}"
            if membership.moving:
                return f"{node} wants other owners, or other numbers of replicas"
            if node.name not in ring.members:
                return f"{node} is {membership.standing}"
        return ""

    def end(self, name: str) -> None:
        """A node that has left, or that nobody will start again, ends for good."""
        node = self._nodes.pop(name)
        node.process.crash()
        node.given_up = True
        if name in self.names:
            self.names.remove(name)
        self.watch.depart(name)
        self._tell_members()

    def haunt(self, node: NodeHandle) -> None:
        """Somebody starts a node that had been given up, on its old disk."""
        self._nodes[node.name] = node
        self.watch.come_back(node.name)
        node.process.start()

    def client(self, name: str = "client", beside: str | NodeHandle = "") -> Client:
        """A client of this name, made on first use. beside: when the network is split it is on this node's side."""
        if beside:
            self.network.beside[CLIENT + name] = str(beside)
        if name not in self._clients:
            above = self._ask_above_bytes
            client = Client(self.world, self.network, self.watch, name, self.names, self._cluster_id, self._one_clock, above)
            self._clients[name] = client
        return self._clients[name]

    def walk(self, key: str, bucket: str = DEFAULT_BUCKET) -> list[str]:
        """The key's preference list, all members: its primaries first, then the fallbacks.

        Names: who is removed by force may have ended, and is there no more, long before the ring does without it.
        """
        ring = self.ring
        return list(ring.walk(ring.partition_of(place(bucket, key.encode()))))

    def n(self, bucket: str = DEFAULT_BUCKET) -> int:
        return self.nodes[0].process.node.membership.policy(bucket).n

    def primaries(self, key: str, bucket: str = DEFAULT_BUCKET) -> list[NodeHandle]:
        """Of a ring whose members all are there."""
        return [self._nodes[name] for name in self.walk(key, bucket)[: self.n(bucket)]]

    def fallbacks(self, key: str, bucket: str = DEFAULT_BUCKET) -> list[NodeHandle]:
        """The same."""
        return [self._nodes[name] for name in self.walk(key, bucket)[self.n(bucket) :]]

    # --- the network ------------------------------------------------------------------------------------------------------

    def partition(self, *sides: Any) -> None:
        """Cut the network between these sides, each an iterable of nodes. Clients are on the side of whom they are beside."""
        groups = [[str(node) for node in side] for side in sides]
        self.world.record("partition", *[",".join(group) for group in groups])
        self.network.partition(groups)

    def cut(self, source: str | NodeHandle, target: str | NodeHandle) -> None:
        """One way only."""
        self.world.record("cut", str(source), str(target))
        self.network.cut(str(source), str(target))

    def slow(self, node: str | NodeHandle, seconds: float) -> None:
        self.network.slow(str(node), seconds)

    def heal(self) -> None:
        """All links are whole again."""
        self.world.record("heal")
        self.network.heal()

    # --- time -------------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        self.world.run(seconds)

    def wait(self, done: Callable[[], bool], what: str, seconds: float = SETTLE_S, why: Callable[[], str] | None = None) -> None:
        """Let time pass until it is so. Raises Unsettled, with `why` it is not."""
        looked = -1.0

        def due() -> bool:
            nonlocal looked
            if self.world.now - looked < 0.01:  # looking costs more than an event does
                return False
            looked = self.world.now
            return done()

        if not self.world.run_until(due, seconds) and not done():
            missing = why() if why is not None else self.unsettled() or self.unchanged()
            raise Unsettled("; ".join(filter(None, (f"after {seconds:g} s still not so: {what}", missing))))

    def settle(self, core: Sequence[str] = ()) -> None:
        """All faults end; wait until everybody sees everybody, nothing is under way and no hint pends.

        core: these nodes alone, and the others are down: then nothing waits for them.
        """
        present = list(core) or list(self.names)
        self.end_faults(present)
        restless = self.world.now

        def at_rest() -> bool:
            nonlocal restless
            if self.unsettled(core):
                restless = self.world.now
            return self.world.now >= restless + _REST_S

        self.wait(at_rest, "the cluster is at rest", why=lambda: self.unsettled(core))

    def end_faults(self, present: list[str]) -> None:
        """All links are whole, and these nodes run, whatever was the matter with them; the others are down."""
        self.heal()
        for node in self.nodes:
            process = node.process
            if node.name not in present:
                process.crash()
                node.starts_then = False
                continue
            process.crash_when, process.disk.fail_commits, process.disk.fail_reads = "", False, False
            process.disk.slow_s = 0.0
            process.wall_offset_ms = 0
            process.set_clock()
            process.resume()
            node.revive()

    def unsettled(self, core: Sequence[str] = ()) -> str:
        """What is not at rest yet; "" when all is. core: who is there, by default everybody."""
        present = core or self.names
        nodes = [self._nodes[name] for name in present]
        if not self._agree(present):
            views = {node.name: {other: node.sees(other) for other in self.names} for node in nodes if node.process.alive}
            return f"who is up: {views}"
        hints = {}
        for node in nodes:
            pending = node.process.node.hints.pending
            # All of them, also those for somebody who is no member any more; in a core those for who is there.
            targets = present if core else sorted({target for target, *_ in node.process.disk.hint_states()}.union(pending))
            if count := sum(node.hints(name) + pending.get(name, 0) for name in targets):
                hints[node.name] = count
        if hints and not (core and not self.ring.at_rest):  # one for who is no holder waits for the end of the change
            return f"hints pend, on disk or in memory: {hints}"
        busy = {node.name: node.process.node.in_flight for node in nodes if node.process.node.in_flight}
        return f"requests under way: {busy}" if busy else ""

    def _agree(self, present: Sequence[str]) -> bool:
        """Whether these are up, and each of them sees them up and nobody else."""
        nodes = [self._nodes[name] for name in present]
        if any(node.process.state != "up" for node in nodes):
            return False
        peers = [(name, peer.state) for node in nodes for name, peer in node.process.node.failure.peers.items()]
        return all((state == "up") == (name in present) for name, state in peers)

    # --- what is stored ---------------------------------------------------------------------------------------------------

    def rows(self, key: str, bucket: str = DEFAULT_BUCKET) -> dict[str, bytes]:
        """Each primary's committed state of a key, as it is on disk."""
        at = row_of(key, bucket)
        return {node.name: node.process.disk.committed().get(at, b"") for node in self.primaries(key, bucket)}

    def equal(self, key: str, bucket: str = DEFAULT_BUCKET) -> bool:
        """Whether all primaries hold the same, to the byte."""
        return len(set(self.rows(key, bucket).values())) == 1
