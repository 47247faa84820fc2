"""§4.3 §4.6 Who holds a key now: the first N *reachable* nodes of its preference list.

The ring says whose copies a key has, the failure detector says who can be reached. Laid together they give a `Copies`: which
node acts for which primary. It is computed once per partition and kept until somebody comes or goes, since every request asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.runtime import Runtime
from dynazmq.dynamo.values.ring import Ring


class Copies(NamedTuple):
    """How the N copies of a partition's keys are placed at this moment, seen from one node."""

    primaries: tuple[str, ...]
    """The first N of the preference list, reachable or not."""

    targets: tuple[tuple[str, str], ...]
    """(node, the primary that it stands in for or ""): the first N reachable nodes, in order of the preference list."""

    alone: tuple[str, ...]
    """Primaries that are away and have nobody to stand in for them: fewer than N nodes are left."""

    spares: tuple[str, ...]
    """Reachable nodes behind the targets, in order: asked when a target is slow."""

    readers: tuple[tuple[str, bool], ...]
    """(node, is it a primary) in the order in which a get asks them, *last one first*: this node's own copy costs nothing, then
    the targets behind it and those before it, then the spares. So the reads of many keys go from a node to few others."""

    @property
    def reachable_primaries(self) -> list[str]:
        return [node for node, stands_for in self.targets if not stands_for]


class Routes:
    """Copies by (partition, n), remembered between changes of ring and reachability."""

    def __init__(self, runtime: Runtime, membership: Membership, failure: FailureDetector) -> None:
        self._name = runtime.name
        self._membership = membership
        self._failure = failure
        self._seen_changes = -1
        self._seen_ring: Ring | None = None
        self._cache: dict[tuple[int, int], Copies] = {}

    def partition_of(self, place: int) -> int:
        return self._membership.ring.partition_of(place)

    def copies(self, partition: int, n: int) -> Copies:
        if self._seen_changes != self._failure.changes or self._seen_ring is not self._membership.ring:
            self._cache.clear()
            self._seen_changes = self._failure.changes
            self._seen_ring = self._membership.ring
        found = self._cache.get((partition, n))
        if found is None:
            ring, reachable = self._membership.ring, self._failure.reachable
            found = self._cache[partition, n] = copies_of(ring, partition, n, self._name, reachable)
        return found

    def may_keep(self) -> bool:
        """Whether this node may keep a copy of anything. Not when it has left: nobody would ever bring it home."""
        return not self._membership.emptied

    def copies_with_me(self, partition: int, n: int) -> Copies:
        """The same, but this node holds one of the copies: whoever coordinates a put issues its dot and so must store it."""
        copies = self.copies(partition, n)
        if not copies.targets or any(node == self._name for node, _ in copies.targets):
            return copies
        *others, (last, stands_for) = copies.targets
        targets = (*others, (self._name, stands_for or last))
        spares = (last, *(node for node in copies.spares if node != self._name))
        return copies._replace(targets=targets, spares=spares)


def copies_of(ring: Ring, partition: int, n: int, me: str, reachable: Callable[[str], bool]) -> Copies:
    """The copies of a partition's keys as the node `me` places them, which can reach these nodes."""
    walk = ring.walk(partition)
    primaries, rest = walk[:n], walk[n:]
    fallbacks = [node for node in rest if reachable(node)]
    targets: list[tuple[str, str]] = []
    alone: list[str] = []
    for primary in primaries:
        if reachable(primary):
            targets.append((primary, ""))
        elif fallbacks:
            targets.append((fallbacks.pop(0), primary))
        else:
            alone.append(primary)
    readers = [(node, not stands_for) for node, stands_for in targets]
    mine = next((i for i, (node, _) in enumerate(targets) if node == me), 0)
    readers = readers[mine:] + readers[:mine]
    readers += [(node, False) for node in fallbacks]
    return Copies(primaries, tuple(targets), tuple(alone), tuple(fallbacks), tuple(reversed(readers)))
