"""Which nodes hold a key (§4.2, §4.3, §6.2 strategy 3).

A key has a *place*, a 64-bit number that only its bucket and itself decide. The places form a circle, cut into Q equal
partitions; `Ring` says which node owns each. The preference list of a key is found by walking the ring from the key's
partition and taking each node the first time it is met: the first N nodes are its primaries, the others its fallbacks, in
the order in which they stand in (§4.6). Every node computes all of it alone, from the same value.

What always holds:

- A place never changes: not between releases, machines or processes. Data on disks is filed under it.
- A ring is a value. What moves a partition makes a new ring with a higher version; rings are equal when all of it is.
- While members come or go a ring has two sets of owners (change.py): reads go to `owners`, writes to both. So it is with the
  number of replicas: a bucket whose N is to be another has two (`level`), and its keys two sets of holders.
- The preference list of a partition has every member exactly once, whatever the order of owners. If a node owns two
  partitions close together, the walk passes over the repeat; `claim` sees to it that this is rare.

Where this departs from the paper, and why:

- *Equal partitions from the start.* The paper began with random tokens (strategy 1) and §6.2 tells what they cost: data that
  must be scanned to be handed over, Merkle trees that must be rebuilt, a ring that cannot be archived. It ended where we
  begin, at Q equal partitions (strategy 3), each stored, compared and moved whole.
- *Q is 120, not a power of two.* The place is scaled to the partition (place * Q >> 64) and not masked, so that any Q will do,
  and 120 divides evenly among 1 to 6, 8, 10 and 12 nodes. With 128, three nodes cannot avoid a repeat where the ring closes.
- *A node's name stands on the ring, not its token*: owners are explicit, so that ownership moves only when `claim` says so.
- *BLAKE2b instead of MD5*: as fast, in the standard library, with a personalisation that keeps this use apart from all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NamedTuple

from dynazmq.config import BUCKET_BYTES_MAX, BUCKETS_MAX, MEMBERS_MAX

PARTITIONS_MIN, PARTITIONS_MAX = 8, 4096
"""Q of a ring that is accepted from elsewhere."""

NAME_BYTES_MAX = 64
"""Longest name of a node, in bytes of UTF-8, that is accepted from elsewhere."""

VERSION_MAX = (1 << 63) - 1
"""Versions fit a signed 64-bit integer, which is what SQLite has."""

FIELDS_MAX = 16
"""Fields of a ring on the wire, those that later releases append included."""


class Quorums(NamedTuple):
    """How many replicas the keys of a bucket have, and how many of them a read and a write must hear of."""

    n: int
    r: int
    w: int


BucketQuorums = tuple[str, int, int, int]
"""(bucket, n, r, w), as a ring has them of the buckets with a policy of their own."""

_OTHER = 256
"""Ns are below it: two of them make one number."""


def fills(before: Quorums, after: Quorums) -> bool:
    """Whether replicas need what others have before a bucket may be read by these: else reads would miss acknowledged writes."""
    return before.n != after.n or after.r + before.w <= after.n < after.r + after.w


def place(bucket: str, key: bytes) -> int:
    """The 64-bit place of a key on the circle. Raises ValueError if the bucket's name has over 255 bytes."""
    hasher = _prefix_copier(bucket)()
    hasher.update(key)
    return int.from_bytes(hasher.digest(), "big")


@lru_cache(maxsize=512)
def _prefix_copier(bucket: str) -> Callable[[], Any]:
    """Makes hashers that have taken in the bucket: length, name. The length keeps "ab" + b"c" apart from "a" + b"bc".

    Measured on CPython 3.11, for a short key: copying a prepared hasher 0.36 µs, making one each time 0.61 µs.
    """
    name = bucket.encode()
    return blake2b(len(name).to_bytes(1, "big") + name, digest_size=8, person=b"dynazmq-place").copy


@dataclass(frozen=True, slots=True)
class Ring:
    """Who owns which partition: `owners[partition]` is a node's name, Q = len(owners).

    also: the other owners of a change under way, () at rest: those to be while `filling`, else those that were.
    quorums: of the buckets that have their own, sorted. also_quorums: the other ones of the change.
    """

    version: int
    owners: tuple[str, ...]
    also: tuple[str, ...] = ()
    filling: bool = False
    quorums: tuple[BucketQuorums, ...] = ()
    also_quorums: tuple[BucketQuorums, ...] = ()
    members: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Every owner once, of both sets, sorted by name."""
    _digest: bytes = field(init=False, repr=False, compare=False)
    _walks: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)
    _also_walks: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)
    _quorums: dict[str, Quorums] = field(init=False, repr=False, compare=False)
    _also_quorums: dict[str, Quorums] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.owners:
            raise ValueError("a ring has at least one partition")
        if len(self.also) not in (0, len(self.owners)) or (self.filling and not self.also):
            raise ValueError("both sets of owners have the same partitions")
        if self.also_quorums and not self.also:
            raise ValueError("a ring at rest has one set of quorums")
        object.__setattr__(self, "members", tuple(sorted({*self.owners, *self.also})))
        object.__setattr__(self, "_digest", self._digested())
        object.__setattr__(self, "_walks", _walks(self.owners))
        object.__setattr__(self, "_also_walks", _walks(self.also))
        object.__setattr__(self, "_quorums", {bucket: Quorums(*rest) for bucket, *rest in self.quorums})
        object.__setattr__(self, "_also_quorums", {bucket: Quorums(*rest) for bucket, *rest in self.also_quorums})

    @property
    def partitions(self) -> int:
        """Q."""
        return len(self.owners)

    def is_near(self, version: int) -> bool:
        """Whether who goes by a ring of this version and who goes by this one may act together: only neighbours fit (change.py).

        All whom a change concerns are never further apart. A node may be that has left and was frozen since, or one whose disk
        was lost or set back.
        """
        return -1 <= version - self.version <= 1

    def is_this_or_next(self, version: int) -> bool:
        """Whether who goes by a ring of this version goes by this one, or has made a step that is made here in a moment."""
        return 0 <= version - self.version <= 1

    @property
    def at_rest(self) -> bool:
        return not self.also

    def partition_of(self, place: int) -> int:
        """The partition that a place lies in."""
        return place * len(self.owners) >> 64

    def places_of(self, partition: int) -> tuple[int, int]:
        """First and last place of a partition, both inclusive."""
        partitions = len(self.owners)
        first = -(-(partition << 64) // partitions)
        after = -(-((partition + 1) << 64) // partitions)
        return first, after - 1

    def walk(self, partition: int) -> tuple[str, ...]:
        """The preference list in full: each member once, in the order in which the walk from this partition meets them."""
        return self._walks[partition]

    def primaries(self, partition: int, level: int) -> tuple[str, ...]:
        """The first N of the preference list; all members if there are fewer."""
        return self._walks[partition][:level] if level < _OTHER else self._walks[partition][: self.read_n(level)]

    # --- buckets whose number of replicas changes ---

    def quorums_of(self, bucket: str, default: Quorums) -> Quorums:
        """What is in force for a bucket. default: for those that have none of their own."""
        return self._quorums.get(bucket, default)

    def both_quorums_of(self, bucket: str, default: Quorums) -> tuple[Quorums, Quorums]:
        """The same, and those of the other side of a change."""
        now = self._quorums.get(bucket, default)
        return now, self._also_quorums.get(bucket, default) if self.also else now

    def level(self, bucket: str, default: Quorums) -> int:
        """Which keys are placed alike: a number, by which the next three go. It is N, or two Ns while a bucket has two.

        Small enough to travel in the place of an N: what it was, and 256 times what it will be.
        """
        now, other = self.both_quorums_of(bucket, default)
        if not self.also:
            return now.n
        before, after = (now, other) if self.filling else (other, now)
        return before.n + _OTHER * after.n if fills(before, after) else now.n

    def levels(self, default: Quorums) -> dict[str, int]:
        """Of all buckets that have quorums of their own, or will have, or had."""
        return {bucket: self.level(bucket, default) for bucket in sorted({*self._quorums, *self._also_quorums})}

    def read_n(self, level: int) -> int:
        """How many replicas are read and counted now."""
        return level if level < _OTHER else level % _OTHER if self.filling else level // _OTHER

    def other_n(self, level: int) -> int:
        """How many the other side of a change has."""
        return level if level < _OTHER else level // _OTHER if self.filling else level % _OTHER

    def others(self, partition: int, level: int) -> tuple[str, ...]:
        """The primaries by the other side of a change."""
        return self._also_walks[partition][: self.other_n(level)] if self.also else ()

    def extras(self, partition: int, level: int) -> tuple[str, ...]:
        """Who holds a copy beside the primaries while a change is under way: of the others, those who are none."""
        if not self.also:
            return ()
        primaries = self._walks[partition][: self.read_n(level)]
        return tuple([name for name in self.others(partition, level) if name not in primaries])

    def must_have_all(self, partition: int, level: int) -> tuple[str, ...]:
        """Of the others, those in whom the other side relies on to have every write: the new ones, where N is the same.

        Where it is not, W of the one side meet R of the other only if all of the other have it.
        """
        return self.extras(partition, level) if level < _OTHER else self.others(partition, level)

    def holders(self, partition: int, level: int) -> tuple[str, ...]:
        """Everybody who keeps a copy of his own: the primaries, then the extras."""
        return self._walks[partition][: self.read_n(level)] + self.extras(partition, level)

    # --- comparing and telling it ---

    def owned_by(self, name: str) -> tuple[int, ...]:
        """The partitions that a node owns, ascending."""
        return tuple(partition for partition, owner in enumerate(self.owners) if owner == name)

    @property
    def rank(self) -> tuple[int, bytes]:
        """Of two rings the one of higher rank is the newer."""
        return self.version, self.digest()

    def digest(self) -> bytes:
        """8 bytes by which two nodes see whether they have the same ring (§4.8.1)."""
        return self._digest

    def _digested(self) -> bytes:
        members = self.members
        code = {name: index.to_bytes(2, "big") for index, name in enumerate(members)}
        hasher = blake2b(digest_size=8, person=b"dynazmq-ring")
        hasher.update(self.version.to_bytes(8, "big") + len(members).to_bytes(2, "big"))
        for name in members:
            encoded = name.encode()
            hasher.update(len(encoded).to_bytes(2, "big") + encoded)
        hasher.update(b"".join([code[owner] for owner in self.owners]))
        if self.also:
            hasher.update(bytes([self.filling]) + b"".join([code[owner] for owner in self.also]))
        for quorums in (self.quorums, self.also_quorums) if self.quorums or self.also_quorums else ():
            hasher.update(len(quorums).to_bytes(2, "big"))
            for bucket, n, r, w in quorums:
                encoded = bucket.encode()
                hasher.update(len(encoded).to_bytes(2, "big") + encoded + bytes([n, r, w]))
        return hasher.digest()

    def to_wire(self) -> list[Any]:
        """[version, [member, …] sorted, [index of the owner among the members, …] by partition, the same for `also`, filling,
        [[bucket, n, r, w], …], the same for the other side].

        Each name travels once.
        """
        members = self.members
        code = {name: index for index, name in enumerate(members)}
        return [
            self.version, list(members), [code[owner] for owner in self.owners], [code[owner] for owner in self.also],
            int(self.filling), list(map(list, self.quorums)), list(map(list, self.also_quorums)),
        ]  # fmt: skip

    @classmethod
    def from_wire(cls, wire: object) -> Ring:
        """The ring that `to_wire` wrote; fields after those are ignored. ValueError if it is anything else."""
        version, members, codes, *later = _array(wire, "ring", 3, FIELDS_MAX)
        missing: list[Any] = [[], 0, [], []]  # in a store of an earlier release
        also, filling, quorums, also_quorums, *_ = [*later, *missing[len(later) :]]
        codes = _array(codes, "owners", PARTITIONS_MIN, PARTITIONS_MAX)
        names = [_name(member) for member in _array(members, "members", 1, 2 * len(codes))]
        if any(left >= right for left, right in pairwise(names)):
            raise ValueError("members of a ring are sorted and distinct")
        indexes = [_integer(code, "owner", 0, len(names) - 1) for code in codes]
        others = [_integer(code, "owner", 0, len(names) - 1) for code in _array(also, "also", 0, len(codes))]
        if len({*indexes, *others}) != len(names):
            raise ValueError("each member of a ring owns a partition")
        owners, also = tuple([names[index] for index in indexes]), tuple([names[index] for index in others])
        return cls(
            _integer(version, "version", 0, VERSION_MAX), owners, also, bool(_integer(filling, "filling", 0, 1)),
            _quorums(quorums), _quorums(also_quorums),
        )  # fmt: skip


def _walks(owners: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The preference lists of all partitions, by the move that leads from one to the one before it.

    The walk from a partition meets its owner first and from then on what the walk from the next partition meets. So going
    backwards, each list is the one after it with one name moved to the front: O(members) each, where walking is O(Q).
    """
    walk = tuple(dict.fromkeys(owners))
    backwards = []
    for owner in reversed(owners):
        at = walk.index(owner)
        if at:
            walk = (owner, *walk[:at], *walk[at + 1 :])
        backwards.append(walk)
    return tuple(reversed(backwards))


# --- checks of what came from elsewhere -----------------------------------------------------------------------------------


def _array(value: object, what: str, low: int, high: int) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or not low <= len(value) <= high:
        raise ValueError(f"{what}: an array of {low} to {high} is expected")
    return value


def _integer(value: object, what: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{what}: an integer from {low} to {high} is expected")
    return value


def _quorums(wire: object) -> tuple[BucketQuorums, ...]:
    read: list[BucketQuorums] = []
    for each in _array(wire, "quorums", 0, BUCKETS_MAX):
        bucket, n, r, w = _array(each, "a bucket's quorums", 4, 4)
        if not isinstance(bucket, str) or not 1 <= len(bucket.encode()) <= BUCKET_BYTES_MAX:
            raise ValueError(f"bucket: a name of 1 to {BUCKET_BYTES_MAX} bytes is expected")
        n = _integer(n, "n", 1, MEMBERS_MAX)
        read.append((bucket, n, _integer(r, "r", 1, n), _integer(w, "w", 1, n)))
    if any(left[0] >= right[0] for left, right in pairwise(read)):
        raise ValueError("the buckets of a ring are sorted and distinct")
    return tuple(read)


def _name(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value.encode()) <= NAME_BYTES_MAX:
        raise ValueError(f"member: a name of 1 to {NAME_BYTES_MAX} bytes is expected")
    return value
