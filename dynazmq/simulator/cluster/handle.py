"""One node of a simulated cluster, as a story speaks of it: its process, its disk, what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynazmq.config import DEFAULT_BUCKET
from dynazmq.dynamo.membership.change import Intent
from dynazmq.dynamo.membership.records import Kept
from dynazmq.dynamo.values.merkle import Tree, leaf_of, row_hash
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import Siblings, decode
from dynazmq.simulator.cluster.process import Process
from dynazmq.simulator.world.disk import Backup
from dynazmq.storage.base import RowKey

if TYPE_CHECKING:
    from dynazmq.simulator.cluster.cluster import Cluster


def row_of(key: str, bucket: str = DEFAULT_BUCKET) -> RowKey:
    raw = key.encode()
    return place(bucket, raw), bucket, raw


class NodeHandle:
    """One node, as a story speaks of it."""

    def __init__(self, cluster: Cluster, process: Process) -> None:
        self._cluster = cluster
        self.process = process
        self.name = process.name
        self.booted_at = 0.0  # its machine is not up before
        self.starts_then = False  # its process is to start as soon as it is
        self.given_up = False  # its process has ended, and nobody will start it again

    def __repr__(self) -> str:
        return self.name

    # --- its process ------------------------------------------------------------------------------------------------------

    def crash(self, when: str = "") -> None:
        """kill -9. when: at a point of its next turn that writes (process.CRASH_POINTS) instead of now."""
        if when:
            self.process.crash_when = when
        else:
            self.process.crash()

    def stop(self) -> None:
        """SIGTERM: it ends as soon as it has finished what is under way."""
        self.process.stop()

    def restart(self) -> None:
        """A new life of the process; one that still runs is killed first."""
        self.process.crash()
        self.process.start()

    def revive(self) -> None:
        """Start it if it does not run, unless it was given up. One that was told to stop is not waited for."""
        world = self._cluster.world
        if self.given_up:
            return
        if world.now < self.booted_at:
            self.starts_then = True
            world.at(self.booted_at, self._boot)
            return
        if self.process.stopping:
            self.process.crash()
        if not self.process.alive:
            self.process.start()

    def _boot(self) -> None:
        if self.starts_then:
            self.starts_then = False
            self.revive()

    def come_back(self) -> None:
        """Restart, and wait until everybody has noticed both."""
        self.restart()
        self._cluster.run(1.0)
        self._cluster.wait(lambda: all(other.sees(self) == "up" for other in self._cluster.nodes), f"{self} is back")

    def pause(self) -> None:
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    # --- its disk ---------------------------------------------------------------------------------------------------------

    def wipe(self) -> None:
        """Its disk is lost, and with it the process."""
        self.process.crash()
        self.process.disk.wipe()
        self._cluster.history.robs(self.name)

    def backup(self) -> Backup:
        return self.process.disk.backup()

    def restore(self, backup: Backup) -> None:
        """An operator puts back an old copy of the disk, the process being down."""
        self.process.crash()
        self.process.disk.restore(backup)
        self._cluster.history.robs(self.name)

    def lose_power(self, *, all_since_the_checkpoint: bool = False) -> None:
        """Its machine goes down. Under sync=normal the newest commits are gone, some number of them or all."""
        process = self.process
        process.crash()
        random = self._cluster.world.random(f"power {self.name} {process.crashes}")
        lost = process.disk.lose_commits(1 << 30) if all_since_the_checkpoint else process.disk.lose_power(random)
        if lost:
            self._cluster.history.robs(self.name)

    def damage(self, key: str, bucket: str = DEFAULT_BUCKET) -> bool:
        """A bit flips in all that it holds of this key, its own row and its hints. Whether there was anything."""
        at, disk = row_of(key, bucket), self.process.disk
        hints = disk.damage_hints_of(*at)
        if not disk.damage(*at) and not hints:
            return False
        self._cluster.history.rotted[at[2]] += 1
        return True

    # --- looking at it ----------------------------------------------------------------------------------------------------

    def holds(self, key: str, bucket: str = DEFAULT_BUCKET) -> list[str]:
        """The values of its own committed copy."""
        return [value.decode() for value in self.state(key, bucket).values]

    def state(self, key: str, bucket: str = DEFAULT_BUCKET) -> Siblings:
        return decode(self.process.disk.committed().get(row_of(key, bucket), b""))

    def hints(self, target: str | NodeHandle = "") -> int:
        """Committed hints kept here, for one node or for all."""
        return sum(not target or kept_for == str(target) for kept_for, *_ in self.process.disk.hint_states())

    def intents(self) -> dict[str, Intent]:
        """What is wanted of members, as it lies on its disk."""
        stored = self.process.disk.note("membership")
        return Kept.unpack(stored).intents if stored is not None else {}

    def sees(self, other: str | NodeHandle) -> str:
        """up | suspect | down, in its own judgement."""
        return self.process.node.failure.state_of(str(other))

    def strays(self) -> list[str]:
        """Keys of committed rows of which it is no holder, by its own ring."""
        core = self.process.node
        ring = core.membership.ring
        return [
            key.decode(errors="replace")
            for (at, bucket, key), state in self.process.disk.committed().items()
            if state and self.name not in ring.holders(ring.partition_of(at), core.membership.in_force.level(bucket))
        ]

    def untrue_trees(self) -> list[int]:
        """Partitions whose Merkle tree is known and does not say what is on the disk (I10)."""
        core = self.process.node
        ring = core.membership.ring
        true: dict[tuple[int, int], Tree] = {}
        for (at, bucket, _), state in self.process.disk.committed().items():
            tree = true.setdefault((ring.partition_of(at), core.membership.in_force.level(bucket)), Tree())
            tree.change(leaf_of(at, ring.partitions), row_hash(at, state))
        ids = [(partition, level) for partition in range(ring.partitions) for level in core.membership.in_force.levels]
        kept = {each: core.trees.of(*each) for each in ids}
        return [p for (p, level), tree in kept.items() if tree is not None and tree != true.get((p, level), Tree())]

    def trees_are_true(self) -> bool:
        """Whether all its trees are known and say what is on the disk."""
        core = self.process.node
        return core.trees.known == core.membership.ring.partitions and not self.untrue_trees()

    @property
    def counters(self) -> dict[str, int]:
        return self.process.node.runtime.counters

    @property
    def epoch(self) -> str:
        return self.process.node.identity.epoch
