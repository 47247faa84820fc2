"""What goes wrong in a run, drawn from its seed.

A `Nemesis` starts a fault now and then, each for a while, and ends it again. Which kinds there are at all is drawn for the run
(swarm testing: runs with everything at once all look alike). Losing what a disk held, be it the whole disk, the newest commits or
one row, happens at most once in a run: promise 1 holds while fewer than W disks are lost, and a run's writes ask for W = 2 then.

An old copy of a disk that is put back is not among them: a node learns of that from its peers, and until it has, it may give a
dot twice (identity.py). There is a scenario for it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dynazmq.simulator.cluster import Cluster, NodeHandle
from dynazmq.simulator.process import AFTER_COMMIT, AMID_SENDING, BEFORE_COMMIT

CRASH, CRASH_ALL, PAUSE, SPLIT, ISOLATE, ONE_WAY, SLOW_NODE = (
    "crash", "crash all", "pause", "split", "isolate", "one way", "slow node",
)  # fmt: skip
SLOW_DISK, FULL_DISK, UNREADABLE_DISK, WALL_CLOCK = "slow disk", "full disk", "unreadable disk", "wall clock"
WIPE, POWER, DAMAGE = "wipe", "power", "damage"

PASSING = (CRASH, CRASH_ALL, PAUSE, SPLIT, ISOLATE, ONE_WAY, SLOW_NODE, SLOW_DISK, FULL_DISK, UNREADABLE_DISK, WALL_CLOCK)
"""Nothing that was committed is lost by these."""

LOSSY = (WIPE, POWER, DAMAGE)
"""A disk forgets something: once in a run."""


class Nemesis:
    """Injects faults of these kinds until `stop`."""

    def __init__(self, cluster: Cluster, kinds: tuple[str, ...], keys: list[str], every_s: float, lasting_s: float) -> None:
        self.injected: dict[str, int] = {}
        self._cluster = cluster
        self._world = cluster.world
        self._random: Random = cluster.world.random("nemesis")
        self._kinds = list(kinds)
        self._keys = keys
        self._every_s = every_s
        self._lasting_s = lasting_s
        self._stopped = not kinds
        self._next()

    def stop(self) -> None:
        self._stopped = True

    def _next(self) -> None:
        self._world.at(self._world.now + self._random.expovariate(1.0) * self._every_s, self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        kind = self._random.choice(self._kinds)
        end = _FAULTS[kind](self, self._somebody())
        if end is not None:
            self.injected[kind] = self.injected.get(kind, 0) + 1
            self._world.record("fault", kind)
            self._world.at(self._world.now + self._random.expovariate(1.0) * self._lasting_s, self._end, end)
        if kind in LOSSY and end is not None:
            self._kinds = [kind for kind in self._kinds if kind not in LOSSY]
        if self._kinds:
            self._next()

    def _end(self, end: Callable[[], None]) -> None:
        if not self._stopped:  # settling ends it otherwise
            end()

    def _somebody(self) -> NodeHandle:
        return self._random.choice(self._cluster.nodes)

    # --- processes --------------------------------------------------------------------------------------------------------

    def _crash(self, node: NodeHandle) -> Callable[[], None] | None:
        node.crash(self._random.choice(("", BEFORE_COMMIT, AFTER_COMMIT, AMID_SENDING)))
        return node.revive

    def _crash_all(self, _node: NodeHandle) -> Callable[[], None] | None:
        nodes = self._cluster.nodes
        for node in nodes:
            node.crash()

        def restart() -> None:
            for node in nodes:
                node.revive()

        return restart

    def _pause(self, node: NodeHandle) -> Callable[[], None] | None:
        node.pause()
        return node.resume

    # --- the network ------------------------------------------------------------------------------------------------------

    def _split(self, _node: NodeHandle) -> Callable[[], None] | None:
        nodes = self._cluster.nodes
        self._random.shuffle(nodes)
        middle = self._random.randrange(1, len(nodes))
        self._cluster.partition(nodes[:middle], nodes[middle:])
        return self._cluster.heal

    def _isolate(self, node: NodeHandle) -> Callable[[], None] | None:
        self._cluster.partition([node], [other for other in self._cluster.nodes if other is not node])
        return self._cluster.heal

    def _one_way(self, node: NodeHandle) -> Callable[[], None] | None:
        other = self._somebody()
        if other is node:
            return None
        self._cluster.cut(node, other)
        return self._cluster.heal

    def _slow_node(self, node: NodeHandle) -> Callable[[], None] | None:
        self._cluster.slow(node, self._random.choice((0.01, 0.05, 0.3, 1.0)))
        return lambda: self._cluster.slow(node, 0.0)

    # --- disks and clocks -------------------------------------------------------------------------------------------------

    def _slow_disk(self, node: NodeHandle) -> Callable[[], None] | None:
        node.process.disk.slow_s = self._random.choice((0.02, 0.2, 1.0))
        return lambda: setattr(node.process.disk, "slow_s", 0.0)

    def _full_disk(self, node: NodeHandle) -> Callable[[], None] | None:
        node.process.disk.fail_commits = True
        return lambda: setattr(node.process.disk, "fail_commits", False)

    def _unreadable_disk(self, node: NodeHandle) -> Callable[[], None] | None:
        node.process.disk.fail_reads = True
        return lambda: setattr(node.process.disk, "fail_reads", False)

    def _wall_clock(self, node: NodeHandle) -> Callable[[], None] | None:
        node.process.wall_offset_ms = self._random.choice((-1, 1)) * self._random.randrange(31_536_000_000)
        return lambda: setattr(node.process, "wall_offset_ms", 0)

    # --- what a disk forgets ----------------------------------------------------------------------------------------------

    def _wipe(self, node: NodeHandle) -> Callable[[], None] | None:
        node.wipe()
        return node.revive

    def _power(self, node: NodeHandle) -> Callable[[], None] | None:
        """Commits are in the system's hands for a while, then the power goes."""
        node.process.disk.watch_power()
        return lambda: self._lose_power(node)

    def _lose_power(self, node: NodeHandle) -> None:
        node.lose_power()
        self._world.at(self._world.now + 0.3, self._end, node.revive)

    def _damage(self, node: NodeHandle) -> Callable[[], None] | None:
        node.damage(self._random.choice(self._keys))
        return lambda: None


_FAULTS: dict[str, Callable[[Nemesis, NodeHandle], Callable[[], None] | None]] = {
    CRASH: Nemesis._crash, CRASH_ALL: Nemesis._crash_all, PAUSE: Nemesis._pause, SPLIT: Nemesis._split,
    ISOLATE: Nemesis._isolate, ONE_WAY: Nemesis._one_way, SLOW_NODE: Nemesis._slow_node, SLOW_DISK: Nemesis._slow_disk,
    FULL_DISK: Nemesis._full_disk, UNREADABLE_DISK: Nemesis._unreadable_disk, WALL_CLOCK: Nemesis._wall_clock,
    WIPE: Nemesis._wipe, POWER: Nemesis._power, DAMAGE: Nemesis._damage,
}  # fmt: skip
