"""§4.8.1 §4.9 §6.2 How members come and go: what admins want, and the steps in which the ring follows.

An admin's word about a member is an *intent*: in (with a weight, perhaps in the place of another), out, or expel, which is out
without being asked for its data, because it will not come back. Intents are gossiped and merge name by name, the later one wins:
so two admins at two nodes, or at two sides of a split, both have their way, or one of them for a name that both spoke of. When a
majority agrees to expel a member it is *gone* (expulsion.py), and nobody waits for it. A member that is out and on which nothing
is left makes its own intent *left*. It and one that is gone are forgotten.

The ring follows in three steps, each a new version:

    at rest    owners read and written
    filling    the old owners are read, old and new ones written          begun when the intents want other owners
    flipped    the new owners are read, new and old ones written          when each gaining node has confirmed that it has all
    at rest    the new owners; the old ones hand over what is left        then (handover.py)

**Without a master.** Any node makes the next step as soon as it sees that it may, and all that see it make the same: the step
is a pure function of the ring, the intents and the buckets' policies. It may be made when *every* member that is not gone has
said (in its gossip record) that it knows these very ones. So no two nodes are ever more than one step apart, and neighbouring
steps fit together:

    rest, filling      both read the old owners; a write to the old alone is found by whoever fills the new, since the filling is
                       confirmed only after everybody writes to both
    filling, flipped   both write to both, W of the old owners and all new ones; so each reads what the other wrote
    flipped, rest      both read the new owners

Two steps that were made at once from different intents are two rings of one version: the greater digest wins everywhere, the
other was known to one side only and so nothing was built on it.

**The same for a bucket's number of replicas** (records.Policy): what a policy says is a wish, and the ring has what is in force.
Of a bucket whose N is to be another the old replicas are read until the new ones have confirmed that they have all. Here *all*
new replicas confirm, and a write goes to all of the other side, those included that both sides have: W of three copies need not
meet the one that is read of one. A smaller R that a smaller W made unsafe waits likewise. Any other R and W come into force when
everybody knows of them, in one step; until then whichever of both asks for more.

**The price**: a member that cannot be reached holds up a change, until it is expelled. A cluster that changes its members while
it is split would have to choose which of two halves' writes to keep.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgpack

from dynazmq.config import MEMBERS_MAX
from dynazmq.dynamo.values.claim import claim
from dynazmq.dynamo.values.ring import NAME_BYTES_MAX, VERSION_MAX, BucketQuorums, Quorums, Ring, fills

IN, OUT, EXPEL, GONE, LEFT = "in", "out", "expel", "gone", "left"
WANTED = (IN, OUT, EXPEL, GONE)
"""What an admin may want; gone at once is for who cannot ask a majority. LEFT is the word of a member that was out: nothing is
left on it."""

BY_FORCE = (EXPEL, GONE)

FOR_EVER = (GONE, LEFT)
WEIGHT_MAX = 100.0

NAMES_MAX = 16 * MEMBERS_MAX
"""Names of which something was ever decided: those of removed members are kept in mind, so that they are refused."""


class Intent(NamedTuple):
    """What was last decided of one member. As it travels and is stored.

    weight: its share of the ring in relation to others' shares. replaces: whose place it takes; its partitions go to this one.
    pardons: how often an expulsion of it was taken back. agreed: a majority has agreed that it is gone.
    """

    name: str
    kind: str
    weight: float
    replaces: str
    version: int
    writer: str
    pardons: int = 0
    agreed: bool = False

    @property
    def rank(self) -> tuple[int, bool, bool, bool, int, str, str, float, str]:
        """Of two decisions the one of higher rank holds: the later one, and at once the one whose writer's name is greater.

        What was decided breaks the last tie: a node that has lost its disk may give a version for a second time.

        An expulsion holds against all that does not expressly take it back. Whoever says it has given the member's data up:
        another admin's out or in, said at the same time, would have everybody wait for a node that will not come.
        """
        by_force, gone = self.kind in BY_FORCE, self.kind == GONE
        return self.pardons, by_force, gone, self.agreed, self.version, self.writer, self.kind, self.weight, self.replaces

    @classmethod
    def from_wire(cls, row: Any) -> Intent:
        """Raises ValueError for anything but an intent; fields after the last are a newer release's."""
        name, kind, weight, replaces, version, writer, *later = row
        pardons, agreed, *_ = later or (0, False)  # two more than in messages of earlier releases
        if not _is_name(name) or not (replaces == "" or _is_name(replaces)) or not _is_name(writer):
            raise ValueError(f"an intent names members by 1 to {NAME_BYTES_MAX} bytes")
        if kind not in (*WANTED, LEFT):
            raise ValueError(f"an intent is {', '.join(WANTED)} or {LEFT}")
        if type(weight) is not float or not 0 < weight <= WEIGHT_MAX or not math.isfinite(weight):
            raise ValueError(f"a weight is above 0 and at most {WEIGHT_MAX:g}")
        if type(version) is not int or not 0 < version <= VERSION_MAX:
            raise ValueError("a version is a positive integer")
        if type(pardons) is not int or not 0 <= pardons <= VERSION_MAX or type(agreed) is not bool:
            raise ValueError("pardons are counted, and agreed to or not")
        return cls(name, kind, weight, replaces, version, writer, pardons, agreed)


Intents = Mapping[str, Intent]
"""By name; a member of whom nothing was ever said is in, with weight 1."""


def intent_rows(intents: Intents) -> list[Any]:
    """As they travel and are stored."""
    return [list(intent) for intent in intents.values()]


def intents_digest(intents: Intents) -> bytes:
    if not intents:
        return b""
    return hashlib.blake2b(msgpack.packb(sorted(intents.values())), digest_size=8).digest()


def goal(ring: Ring, intents: Intents, n: int, quorum: int = 1) -> tuple[str, ...]:
    """The owners that the intents want, moving as little as possible from the owners that are.

    They are not followed where they would leave fewer members than a quorum needs: two admins who did not know of each other may
    have wanted that, each within reason. Then nothing moves until somebody decides otherwise. Who is to be expelled stays an
    owner until that has taken effect.
    """
    wanted = {name: 1.0 for name in ring.owners if name not in intents}
    wanted.update({name: intent.weight for name, intent in intents.items() if intent.kind == IN})
    wanted.update({name: intents[name].weight for name in ring.owners if name in intents and intents[name].kind == EXPEL})
    if not max(quorum, 1) <= len(wanted) <= ring.partitions:
        return ring.owners
    arriving = [intent for _, intent in sorted(intents.items()) if intent.name in wanted]
    heirs = {intent.replaces: intent.name for intent in arriving if intent.replaces not in wanted}
    before = [heirs.get(owner, owner) for owner in ring.owners]
    owners = claim(dict(sorted(wanted.items())), ring.partitions, n, [owner if owner in wanted else None for owner in before])
    return owners if Counter(owners) != Counter(ring.owners) else ring.owners  # nobody's share is another: nothing need move


def concerned(ring: Ring, intents: Intents) -> list[str]:
    """Who must know of a step before the next one: all old and new owners, but for those that are gone. Sorted."""
    coming = {name for name, intent in intents.items() if intent.kind == IN}
    gone = {name for name, intent in intents.items() if intent.kind in FOR_EVER}
    return sorted(coming.union(ring.members) - gone)


class Side(NamedTuple):
    """Who owns what, and how many replicas buckets have: what a ring has once at rest, and twice during a change."""

    owners: tuple[str, ...]
    quorums: tuple[BucketQuorums, ...] = ()


def levels_of(ring: Ring, default: Quorums) -> list[int]:
    """Each level (Ring.level) that keys have, ascending."""
    return sorted({default.n, *ring.levels(default).values()})


def gaining(ring: Ring, default: Quorums) -> list[str]:
    """Who must have everything before the other side of a change is read: mostly who is new among some primaries. Sorted."""
    if not ring.filling:
        return []
    levels = levels_of(ring, default)
    return sorted({name for partition in range(ring.partitions) for n in levels for name in ring.must_have_all(partition, n)})


def next_ring(ring: Ring, target: Side, default: Quorums, filled: Callable[[str], bool]) -> Ring | None:
    """The next step, if there is one; for whoever has seen that everybody concerned knows this ring and these intents.

    target: what intents and policies want. filled: whether a gaining node has confirmed for this ring.
    """
    now, other = Side(ring.owners, ring.quorums), Side(ring.also, ring.also_quorums)
    if ring.at_rest:
        if target == now:
            return None
        quiet = target.owners == now.owners and not _fills(now, target, default)
        return _rest(ring, target) if quiet else _changing(ring, now, target, filling=True)
    if not ring.filling or target == now:  # done, or taken back
        return _rest(ring, now)
    if target != other:
        return _changing(ring, now, target, filling=True)
    if all(filled(name) for name in gaining(ring, default)):
        return _changing(ring, other, now, filling=False)
    return None


def _rest(before: Ring, side: Side) -> Ring:
    return Ring(before.version + 1, side.owners, quorums=side.quorums)


def _changing(before: Ring, read: Side, other: Side, *, filling: bool) -> Ring:
    return Ring(before.version + 1, read.owners, other.owners, filling, read.quorums, other.quorums)


def _fills(before: Side, after: Side, default: Quorums) -> bool:
    """Whether some bucket's replicas need what others have."""
    now = {bucket: Quorums(*rest) for bucket, *rest in before.quorums}
    then = {bucket: Quorums(*rest) for bucket, *rest in after.quorums}
    return any(fills(now.get(bucket, default), then.get(bucket, default)) for bucket in sorted({*now, *then}))


def refusal(ring: Ring, intents: Intents, quorum: int) -> str:
    """Why these intents cannot be followed, or "". quorum: replicas that a write or read needs."""
    names = {name for name in ring.owners if name not in intents}
    names |= {name for name, intent in intents.items() if intent.kind == IN}
    if len(names) < quorum:
        leaving = " ".join(sorted(set(ring.owners) - names))
        left = f"only {' '.join(sorted(names))}" if names else "no member"
        return f"without {leaving} {left} would be left, and the cluster's quorums need {quorum}"
    if len(intents) > NAMES_MAX:
        return f"{len(intents):,} names were members or are to be, the limit is {NAMES_MAX:,}"
    limit = min(MEMBERS_MAX, ring.partitions)
    if len(names) > limit:
        return f"{len(names)} members are more than {limit}, the limit with {ring.partitions} partitions"
    if idle := sorted(names.difference(goal(ring, intents, 1))):
        return f"{', '.join(idle)} would own none of {ring.partitions} partitions: too small a weight beside the others'"
    return ""


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value.encode()) <= NAME_BYTES_MAX
