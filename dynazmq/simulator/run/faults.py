"""What goes wrong in a run, drawn from its seed.

A `Nemesis` starts a fault now and then, each for a while, and ends it again. Which kinds there are at all is drawn for the run
(swarm testing: runs with everything at once all look alike). The network has one shape at a time, and keeps each, whole or torn,
for a while at least: what changes faster than anybody notices shows nothing.

What a disk forgets is limited by promise 1, which holds while fewer than W copies are lost, and runs that lose any write at W = 2
or more. A whole disk, or the newest commits, or what came after a backup, go at most once in a run (`lossy_max`). A backup that
is put back may also bring back what was deleted (promise 4): an old disk is one from before something was forgotten. Bits rot as
often as there is time for, but by an atlas: for each key the same W - 1 nodes at most, so several rows of one node may rot, and
one row on each of several nodes, and of every acknowledged write a copy is out of reach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

from dynazmq.dynamo.values.versions import decode
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.cluster.process import AFTER_COMMIT, AMID_SENDING, BEFORE_COMMIT
from dynazmq.simulator.world.disk import Backup
from dynazmq.simulator.world.network import Conditions
from dynazmq.simulator.world.shapes import SHAPES, Link, both_ways

CRASH, CRASH_ALL, PAUSE = "crash", "crash all", "pause"
SPLIT, ISOLATE, ONE_WAY, BRIDGE, RING, SWIZZLE = "split", "isolate", "one way", "bridge", "ring", "swizzle"
SLOW_NODE, BAD_LINK, CLOG = "slow node", "bad link", "clog"
SLOW_DISK, FULL_DISK, FLICKERING_DISK, UNREADABLE_DISK = "slow disk", "full disk", "flickering disk", "unreadable disk"
WALL_CLOCK, DRIFT, REBOOT = "wall clock", "drift", "reboot"
WIPE, POWER, RESTORE, DAMAGE = "wipe", "power", "restore", "damage"
WIPE_ALONE = "wipe alone"
OLD_DISK = "old disk"

PASSING = (
    CRASH, CRASH_ALL, PAUSE, SPLIT, ISOLATE, ONE_WAY, SLOW_NODE, SLOW_DISK, FULL_DISK, UNREADABLE_DISK, WALL_CLOCK,
    BRIDGE, RING, SWIZZLE, BAD_LINK, CLOG, FLICKERING_DISK,
)  # fmt: skip
"""Nothing that was committed is lost by these."""

CLOCKS = (DRIFT, REBOOT)
"""Of monotonic clocks, where each host has its own. While a host is up its clock drifts (gate.py says how much is allowed) and
does not jump; each boot begins anew."""

LOSSY = (WIPE, POWER, RESTORE, DAMAGE, WIPE_ALONE)
"""A disk forgets something."""

_BOOT_S = 1.5
_LOOK_S = 0.5

_LOSES_MUCH = (WIPE, POWER, RESTORE, WIPE_ALONE, OLD_DISK)

End = Callable[[], None]


class Nemesis:
    """Injects faults of these kinds until `stop`."""

    def __init__(
        self, cluster: Cluster, kinds: tuple[str, ...], keys: list[str], every_s: float, lasting_s: float, *,
        stable_s: float = 0.0, lossy_max: int = 1, copies_max: int = 1,
    ) -> None:  # fmt: skip
        """stable_s: the least time for which the network stays as it is. copies_max: of a key, that bit rot may reach: W - 1."""
        self.injected: Counter[str] = Counter()
        self._cluster = cluster
        self._world = cluster.world
        self._random: Random = cluster.world.random("nemesis")
        self._kinds = list(kinds)
        self._every_s = every_s
        self._lasting_s = lasting_s
        self._stable_s = stable_s
        self._torn = False
        self._whole_since = 0.0
        self._lossy_left = lossy_max
        self._copied = False
        random = cluster.world.random("atlas")
        self._atlas = [(key, name) for key in keys for name in random.sample(cluster.names, copies_max)] if copies_max else []
        self._stopped = not kinds
        self._next()

    def stop(self) -> None:
        self._stopped = True

    def _next(self) -> None:
        self._later(self._random.expovariate(1.0) * self._every_s, self._strike)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """Unless the faults are over by then: settling ends what is left of them."""

        def due() -> None:
            if not self._stopped:
                action()

        self._world.at(self._world.now + seconds, due)

    def _strike(self) -> None:
        if not self._kinds:
            return  # since this was planned the last of them has struck, and may not again
        kind = self._random.choice(self._kinds)
        end = self._tear(kind) if kind in SHAPES else _FAULTS[kind](self, self._random.choice(self._cluster.nodes))
        if end is not None:
            self._strikes(kind)
            least_s = self._stable_s if kind in SHAPES else 0.0
            self._later(least_s + self._random.expovariate(1.0) * self._lasting_s, end)
        if self._kinds:
            self._next()

    def _strikes(self, kind: str) -> None:
        self.injected[kind] += 1
        self._world.record("fault", kind)
        if kind in _LOSES_MUCH:
            self._lossy_left -= 1
            if not self._lossy_left:
                self._kinds = [kind for kind in self._kinds if kind not in _LOSES_MUCH]

    # --- processes --------------------------------------------------------------------------------------------------------

    def _crash(self, node: NodeHandle) -> End | None:
        node.crash(self._random.choice(("", BEFORE_COMMIT, AFTER_COMMIT, AMID_SENDING)))
        return node.revive

    def _crash_all(self, _node: NodeHandle) -> End | None:
        nodes = self._cluster.nodes
        for node in nodes:
            node.crash()

        def restart() -> None:
            for node in nodes:
                node.revive()

        return restart

    def _pause(self, node: NodeHandle) -> End | None:
        node.pause()
        return node.resume

    # --- the network ------------------------------------------------------------------------------------------------------

    def _may_tear(self) -> bool:
        return not self._torn and self._world.now >= self._whole_since + self._stable_s

    def _tear(self, shape: str) -> End | None:
        """Cut the network into a shape."""
        links = SHAPES[shape](self._cluster.names, self._random) if self._may_tear() else []
        if not links:
            return None
        self._torn = True
        self._cut(links)

        def end() -> None:
            self._mend(links)
            self._whole()

        return end

    def _whole(self) -> None:
        self._torn, self._whole_since = False, self._world.now

    def _cut(self, links: list[Link]) -> None:
        for link in links:
            self._cluster.network.cut(*link)

    def _mend(self, links: list[Link]) -> None:
        for link in links:
            self._cluster.network.mend(*link)

    def _swizzle(self, _node: NodeHandle) -> End | None:
        """Nodes are cut off one after the other, and come back in another order."""
        if not self._may_tear():
            return None
        self._torn = True
        names = self._cluster.names
        apart = self._random.sample(names, self._random.randint(2, len(names)))
        pause_s = max(self._stable_s, 0.2)
        for i, name in enumerate(apart):
            links = both_ways([name], [other for other in names if other != name])
            self._later(i * pause_s, partial(self._cut, links))

        def end() -> None:
            self._random.shuffle(apart)
            for i, name in enumerate(apart):
                # What is between it and one who is still away is cut until that one is back.
                away = set(apart[i + 1 :])
                links = both_ways([name], [other for other in names if other != name and other not in away])
                self._later(i * pause_s, partial(self._mend, links))
            self._later(len(apart) * pause_s, self._whole)

        whole_s = len(apart) * pause_s
        return lambda: self._later(whole_s, end)

    def _slow_node(self, node: NodeHandle) -> End | None:
        self._cluster.slow(node, self._random.choice((0.01, 0.05, 0.3, 1.0)))
        return lambda: self._cluster.slow(node, 0.0)

    def _link(self) -> Link:
        source, target = self._random.sample(self._cluster.names, 2)
        return source, target

    def _bad_link(self, _node: NodeHandle) -> End | None:
        """One direction of one link has a weather of its own."""
        network, random, link = self._cluster.network, self._random, self._link()
        weather = Conditions(
            delay_s=random.choice((0.0005, 0.02, 0.3)),
            jitter_s=random.choice((0.0005, 0.02, 0.3)),
            loss=random.choice((0.0, 0.3, 0.8)),
            duplication=random.choice((0.0, 0.5)),
            reordering=random.random() < 0.5,
        )
        network.spoil(*link, weather)
        return lambda: network.restore(*link)

    def _clog(self, _node: NodeHandle) -> End | None:
        network, link = self._cluster.network, self._link()
        network.clog(*link, self._random.choice((2, 20, 1000)))
        return lambda: network.unclog(*link)

    # --- disks and clocks -------------------------------------------------------------------------------------------------

    def _slow_disk(self, node: NodeHandle) -> End | None:
        node.process.disk.slow_s = self._random.choice((0.02, 0.2, 1.0))
        return lambda: setattr(node.process.disk, "slow_s", 0.0)

    def _full_disk(self, node: NodeHandle) -> End | None:
        node.process.disk.fail_commits = True
        return lambda: setattr(node.process.disk, "fail_commits", False)

    def _flickering_disk(self, node: NodeHandle) -> End | None:
        """Full, and again not, as others on it write and delete."""
        disk, over = node.process.disk, False

        def flip() -> None:
            disk.fail_commits = not over and not disk.fail_commits
            if not over:
                self._later(self._random.expovariate(1.0) * 0.03, flip)

        def end() -> None:
            nonlocal over
            over = True
            disk.fail_commits = False

        flip()
        return end

    def _unreadable_disk(self, node: NodeHandle) -> End | None:
        node.process.disk.fail_reads = True
        return lambda: setattr(node.process.disk, "fail_reads", False)

    def _wall_clock(self, node: NodeHandle) -> End | None:
        node.process.wall_offset_ms = self._random.choice((-1, 1)) * self._random.randrange(31_536_000_000)
        return lambda: setattr(node.process, "wall_offset_ms", 0)

    def _drift(self, node: NodeHandle) -> End | None:
        node.process.set_clock(rate=self._random.choice((0.9999, 1.0001)))
        return node.process.set_clock

    def _reboot(self, node: NodeHandle) -> End | None:
        """With the wall clock right again: by an incarnation that is hardly higher, no peer knows another boot (gate.py)."""
        node.crash()
        node.booted_at = self._world.now + _BOOT_S
        node.process.wall_offset_ms = 0
        node.process.set_clock(ahead_s=self._random.choice((-1, 1)) * self._random.choice((0.1, 10.0, 1000.0)))
        return node.revive

    # --- what a disk forgets ----------------------------------------------------------------------------------------------

    def _wipe(self, node: NodeHandle) -> End | None:
        """A new disk, or a new machine, whose clock may not be set yet."""
        node.wipe()
        if self._random.random() < 0.5:
            node.process.wall_offset_ms = -self._random.randrange(31_536_000_000)
        return node.revive

    def _wipe_alone(self, node: NodeHandle) -> End | None:
        """A new disk, and at its start it reaches nobody who could tell it what the cluster has become."""
        if not self._may_tear():
            return None
        self._torn = True
        links = both_ways([node.name], [name for name in self._cluster.names if name != node.name])
        node.wipe()
        self._cut(links)
        node.revive()

        def end() -> None:
            self._mend(links)
            self._whole()

        return end

    def _power(self, node: NodeHandle) -> End | None:
        node.lose_power()
        return node.revive

    def _restore(self, node: NodeHandle) -> End | None:
        """An operator makes a backup, and later puts it back."""
        backup = node.backup()

        def end() -> None:
            node.restore(backup)
            node.revive()

        return end

    def _old_disk(self, node: NodeHandle) -> End | None:
        """The same, when something has been forgotten since. It strikes when that is so."""
        if not self._copied:
            self._copied = True
            self._later(self._random.uniform(1.0, 8.0), partial(self._copy, node))
        return None

    def _copy(self, node: NodeHandle) -> None:
        self._later(_LOOK_S, partial(self._put_back, node, node.backup()))

    def _put_back(self, node: NodeHandle, backup: Backup) -> None:
        if OLD_DISK not in self._kinds:
            return
        if not self._forgotten_since(backup):
            self._later(_LOOK_S, partial(self._put_back, node, backup))
            return
        self._strikes(OLD_DISK)
        node.restore(backup)
        node.revive()

    def _forgotten_since(self, backup: Backup) -> bool:
        """Whether there is a value in it of a key of which nobody knows anything any more."""
        known = {at for node in self._cluster.nodes for at in node.process.disk.committed()}
        known |= {hint[1:] for node in self._cluster.nodes for hint in node.process.disk.hint_states()}
        return any(at not in known and decode(state).values for at, state in backup[0].items())

    def _damage(self, _node: NodeHandle) -> End | None:
        """A few places of the atlas where there is anything."""
        few = left = self._random.randint(1, 3)
        for key, name in self._random.sample(self._atlas, len(self._atlas)):
            left -= name in self._cluster.names and self._cluster.node(name).damage(key)
            if not left:
                break
        return (lambda: None) if left < few else None


_FAULTS: dict[str, Callable[[Nemesis, NodeHandle], End | None]] = {
    CRASH: Nemesis._crash, CRASH_ALL: Nemesis._crash_all, PAUSE: Nemesis._pause, SWIZZLE: Nemesis._swizzle,
    SLOW_NODE: Nemesis._slow_node, BAD_LINK: Nemesis._bad_link, CLOG: Nemesis._clog, SLOW_DISK: Nemesis._slow_disk,
    FULL_DISK: Nemesis._full_disk, FLICKERING_DISK: Nemesis._flickering_disk, UNREADABLE_DISK: Nemesis._unreadable_disk,
    WALL_CLOCK: Nemesis._wall_clock, DRIFT: Nemesis._drift, REBOOT: Nemesis._reboot,
    WIPE: Nemesis._wipe, WIPE_ALONE: Nemesis._wipe_alone, POWER: Nemesis._power, RESTORE: Nemesis._restore,
    DAMAGE: Nemesis._damage, OLD_DISK: Nemesis._old_disk,
}  # fmt: skip
