"""§4.9: partitions of which no copy is left, for all who held one were expelled: what is known of them, until an admin knows it.

A change of members goes on without those who are gone (change.py). Where they were *all* the holders of a partition, its new
owners look for what others may still hold of it (salvage.py), and then begin with that. So that nobody takes "absent" for an
answer there without knowing, the partition is declared lost when its new owners are first read. Every node declares the same,
since it follows from the ring and the intents; how many keys there were it says by the last word of those who held them.

A loss is a record of gossip like others: the later one of a partition holds, and an acknowledgement covers all of the ring's
versions up to one, for ever. A change of members ends when all its members know of both.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack

from dynazmq.config import MEMBERS_MAX
from dynazmq.dynamo.values.ring import NAME_BYTES_MAX, PARTITIONS_MAX, VERSION_MAX, Ring

UNKNOWN = -1
"""Keys of a partition of which nobody knows how many it had."""


class Loss(NamedTuple):
    """One partition's. As it travels and is stored.

    version: of the ring with whose change it was lost. n: buckets with this N or a smaller one have no copy left. milli_keys:
    there were about so many thousandths of a key. owners: who held them.
    """

    partition: int
    version: int
    n: int
    milli_keys: int
    owners: tuple[str, ...]

    @classmethod
    def from_wire(cls, row: Any) -> Loss:
        """Raises ValueError, or TypeError, for anything but a loss; fields after the last are a newer release's."""
        partition, version, n, milli_keys, owners, *_ = row
        if not (_is_number(partition, 0, PARTITIONS_MAX - 1) and _is_number(version, 0, VERSION_MAX)):
            raise ValueError("a loss is of a partition and of a ring's version")
        if not _is_number(n, 1, MEMBERS_MAX) or not _is_number(milli_keys, UNKNOWN, VERSION_MAX):
            raise ValueError("a loss has an N and a number of keys")
        if not isinstance(owners, (list, tuple)) or len(owners) > MEMBERS_MAX or not all(map(_is_name, owners)):
            raise ValueError(f"a loss names at most {MEMBERS_MAX} owners")
        return cls(partition, version, n, milli_keys, tuple(owners))

    @property
    def rank(self) -> tuple[int, int, int, tuple[str, ...]]:
        """Of two of a partition the one of higher rank holds: the later one; of one change what knows of more."""
        return self[1:]


@dataclass(frozen=True, slots=True)
class Losses:
    """A value. acknowledged: losses of rings up to this version are known to an admin, and forgotten."""

    acknowledged: int = 0
    by_partition: Mapping[int, Loss] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.acknowledged or self.by_partition)

    def join(self, others: Iterable[Loss], acknowledged: int = 0) -> Losses:
        """With what somebody else knows."""
        acknowledged = max(acknowledged, self.acknowledged)
        known = dict(self.by_partition)
        for loss in others:
            if loss.partition not in known or loss.rank > known[loss.partition].rank:
                known[loss.partition] = loss
        return Losses(acknowledged, {p: loss for p, loss in sorted(known.items()) if loss.version > acknowledged})

    def to_wire(self) -> list[Any]:
        """[acknowledged, [Loss, …]], [] for nothing at all."""
        return [self.acknowledged, [list(loss) for loss in self.by_partition.values()]] if self else []

    @classmethod
    def from_wire(cls, wire: Any) -> Losses:
        """Raises ValueError or TypeError."""
        if not wire:
            return cls()
        acknowledged, rows, *_ = wire
        if not _is_number(acknowledged, 0, VERSION_MAX) or len(rows) > PARTITIONS_MAX:
            raise ValueError(f"losses are acknowledged up to a ring's version, and are of at most {PARTITIONS_MAX} partitions")
        return cls().join([Loss.from_wire(row) for row in rows], acknowledged)

    def digest(self) -> bytes:
        return hashlib.blake2b(msgpack.packb(self.to_wire()), digest_size=8).digest() if self else b""


def without_source(ring: Ring, gone: Collection[str], levels: Iterable[int]) -> dict[int, int]:
    """partition → largest N of whose keys every old owner is gone; of a ring that fills or is flipped. levels: each N."""
    if ring.at_rest or not gone:
        return {}
    old = ring if ring.filling else Ring(ring.version, ring.also)
    found: dict[int, int] = {}
    for n in sorted(levels):  # the holders of a smaller N are among those of a larger one
        for partition in range(old.partitions):
            if all(name in gone for name in old.primaries(partition, n)):
                found[partition] = n
    return found


def declare(ring: Ring, gone: Collection[str], levels: list[int], keys_of: Mapping[str, int]) -> list[Loss]:
    """The losses of a change, as its ring is flipped. keys_of: how many keys each member had, by its last word; -1 for unknown.

    Places are hashes: a node's keys lie evenly in the partitions that it holds.
    """
    lost = without_source(ring, gone, levels)
    if not lost:
        return []
    old, n = Ring(ring.version, ring.also), max(levels)
    held = Counter(name for partition in range(old.partitions) for name in old.primaries(partition, n))

    def milli_keys(partition: int) -> int:
        owners = old.primaries(partition, n)
        if lost[partition] < n or any(keys_of.get(name, -1) < 0 for name in owners):
            return UNKNOWN
        return max(1000 * keys_of[name] // held[name] for name in owners)

    return [Loss(p, ring.version, n_, milli_keys(p), old.primaries(p, n_)) for p, n_ in sorted(lost.items())]


def _is_number(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value.encode()) <= NAME_BYTES_MAX


def total(losses: Iterable[Loss]) -> int | None:
    """How many keys that were, about; None if nobody knows."""
    keys = [loss.milli_keys for loss in losses]
    return round(sum(keys) / 1000) if all(each >= 0 for each in keys) else None
