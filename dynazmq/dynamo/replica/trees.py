"""§4.7 This node's Merkle trees, kept equal to its rows.

There is a tree for each partition and each N that buckets of it have: keys of an N=2 bucket are on two of the partition's three
primaries, so they may not be in the tree that all three compare. Nor may those of a bucket that is about to get another N: it has
a level of its own (Ring.level), which is what `n` means here.

    written     each write of an own row changes its tree in the same turn; a turn that fails is undone with its rows
    surveyed    trees live in memory. A node that starts builds them from its rows, partition by partition, a slice of rows in
                each turn, while it serves. A partition that is not surveyed yet is compared with nobody
    surveyed    for ever: each ten minutes all rows are read again into new trees. A tree that differs from its rows,
    again       by whatever cause, is replaced and counted; rows whose checksum fails are found on the way (S7, S14)

While a partition is surveyed, a write behind the cursor changes the new tree, one before it will be met.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.replica.collectable import Retirable
from dynazmq.dynamo.runtime import Row, Runtime, StoreFailed
from dynazmq.dynamo.values.merkle import Tree, leaf_of, row_hash

_SLICE_ROWS = 256
_PARTITIONS_PER_SLICE = 16
_AGAIN_S = 600.0
_AGAIN_SLICE_S = 0.05
_RETRY_S = 1.0
_DAMAGED_MAX = 10_000  # while anti-entropy is paused nobody takes them off


class Trees:
    """`of(partition, n)` for whoever compares; `written` for whoever writes."""

    def __init__(self, runtime: Runtime, membership: Membership, retirable: Retirable) -> None:
        self._runtime = runtime
        self._retirable = retirable
        self._membership = membership
        self.on = runtime.config.timing.anti_entropy_interval_ms > 0
        self.damaged: list[Row] = []  # rows that a survey could not read; whoever reads them next deals with them
        self._trees: dict[int, dict[int, Tree]] = {}  # surveyed partitions → n → tree
        self._todo: deque[int] = deque()
        self._partition = -1  # under survey
        self._cursor: Row = (-1, "", b"")
        self._new: dict[int, Tree] = {}
        self._next = runtime.now
        self._in_turn: list[tuple[Tree, int, int]] = []
        self._surveyed_in_turn: list[int] = []
        # Buckets with an N of their own; a change of one is noticed in `tick`, and all trees are made anew.
        self._levels, self._level = self._levels_now(), membership.default_quorums.n
        self._ring = membership.ring
        self._partitions = membership.ring.partitions
        self.survey_all()

    def of(self, partition: int, n: int) -> Tree | None:
        """None while this partition is not surveyed."""
        trees = self._trees.get(partition)
        if trees is None:
            return None
        return _tree(trees, n)

    @property
    def known(self) -> int:
        """Partitions that can be compared."""
        return len(self._trees)

    # --- writes -----------------------------------------------------------------------------------------------------------

    def written(self, at: int, bucket: str, key: bytes, old: bytes, new: bytes) -> None:
        """An own row was `old` and is `new` in this turn; b"" for none."""
        if not self.on:
            return
        partition = at * self._partitions >> 64
        trees = self._trees.get(partition)
        delta = row_hash(at, old) ^ row_hash(at, new) if trees is not None or partition == self._partition else 0
        if trees is not None:
            self._change(trees, bucket, at, delta)
        if partition == self._partition and (at, bucket, key) <= self._cursor:
            self._change(self._new, bucket, at, delta)

    def _change(self, trees: dict[int, Tree], bucket: str, at: int, delta: int) -> None:
        tree = _tree(trees, self._levels.get(bucket, self._level))
        leaf = leaf_of(at, self._partitions)
        tree.change(leaf, delta)
        tree.changed_at = self._runtime.now
        self._in_turn.append((tree, leaf, delta))

    def forget(self, at: int) -> None:
        """The old state of a row is not known any more: survey its partition anew."""
        partition = self._membership.ring.partition_of(at)
        if self.on and (self._trees.pop(partition, None) is not None or partition == self._partition):
            if partition == self._partition:
                self._partition = -1
            self._todo.appendleft(partition)
            self._next = min(self._next, self._runtime.now)

    def committed(self) -> None:
        self._in_turn.clear()
        self._surveyed_in_turn.clear()

    def rolled_back(self) -> None:
        """The turn's rows are as before; what was read of them in this turn is not."""
        for tree, leaf, delta in self._in_turn:
            tree.change(leaf, delta)
        for partition in self._surveyed_in_turn:
            self._trees.pop(partition, None)
            self._todo.appendleft(partition)
        if self._partition >= 0:
            self._todo.appendleft(self._partition)
            self._partition = -1
        if self._todo:
            self._next = min(self._next, self._runtime.now)
        self.committed()

    # --- surveys ----------------------------------------------------------------------------------------------------------

    def survey_all(self) -> None:
        """Read all rows into new trees; the old ones serve until then."""
        self._todo = deque(range(self._membership.ring.partitions))
        self._partition = -1

    def survey(self, partitions: Iterable[int]) -> None:
        """Read the rows of these soon: somebody wants to take note of what is in them."""
        waiting = set(self._todo)
        self._todo.extendleft(partition for partition in partitions if partition not in waiting)
        if self._todo:
            self._next = min(self._next, self._runtime.now)

    def tick(self) -> None:
        now = self._runtime.now
        if self._membership.ring is not self._ring:
            self._ring = self._membership.ring
            if (levels := self._levels_now()) != self._levels:
                self._levels = levels  # a bucket's N has changed: its keys belong to other trees
                self._trees.clear()
                self.survey_all()
                self._next = now
        if not self.on or now < self._next:
            return
        again = self.known == self._membership.ring.partitions
        if self._partition < 0 and not self._todo:
            self.survey_all()
        try:
            for _ in range(_PARTITIONS_PER_SLICE):
                if self._partition < 0 and not self._begin():
                    break
                if not self._slice():
                    break
        except StoreFailed:
            self._next = now + _RETRY_S
            return
        if self._partition < 0 and not self._todo:
            self._next = now + _AGAIN_S
        elif again:
            self._next = now + _AGAIN_SLICE_S

    def _levels_now(self) -> dict[str, int]:
        membership, default = self._membership, self._membership.default_quorums
        levels = membership.ring.levels(default)
        return {bucket: level for bucket, level in levels.items() if level != default.n}

    def _begin(self) -> bool:
        if not self._todo:
            return False
        self._partition = self._todo.popleft()
        self._cursor = (-1, "", b"")
        self._new = {}
        return True

    def _slice(self) -> bool:
        """Read some rows of the partition under survey. Whether that was the end of it, and so there is time for the next."""
        ring = self._membership.ring
        first, last = ring.places_of(self._partition)
        rows, behind = self._runtime.store.rows(first, last, self._cursor, _SLICE_ROWS)
        for at, bucket, key, state in rows:
            if state is None:
                if len(self.damaged) < _DAMAGED_MAX:
                    self.damaged.append((at, bucket, key))  # the others are met by the next survey
                continue
            tree = _tree(self._new, self._levels.get(bucket, self._level))
            tree.change(leaf_of(at, ring.partitions), row_hash(at, state))
            self._retirable.look(at, bucket, key, state)
        if behind is not None:
            self._cursor = behind
            return False
        before = self._trees.get(self._partition)
        if before is not None and any(self._new.get(n, Tree()) != tree for n, tree in before.items()):
            self._runtime.counters["trees_mended"] += 1
        self._trees[self._partition] = self._new
        self._surveyed_in_turn.append(self._partition)
        self._partition = -1
        return not rows

    def next_deadline(self) -> float:
        return self._next if self.on else float("inf")


def _tree(trees: dict[int, Tree], n: int) -> Tree:
    """Made when it is first asked for."""
    tree = trees.get(n)
    if tree is None:
        tree = trees[n] = Tree()
    return tree
