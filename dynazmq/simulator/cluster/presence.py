"""Whether what clients are told to be absent is there, as the disks have it (promise 6).

    I16 honest absence    no get finds nothing, and no list of keys leaves a key out, of which all owners held the same value, and
                          that no delete has covered. Owners are those that are read by the newest ring, or by one a step from it
                          that a living node goes by: it has not heard of the step, and asks them rightly

No fault excuses it: a fault may make an answer impossible, never wrong. One who was expelled while it was cut off, and has not
heard of it, knows no better and is no owner; what it answers is not judged. What only some owners hold is another matter: a get
that meets stand-ins, or an owner that has lost its disk, may find nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dynazmq.config import DEFAULT_BUCKET
from dynazmq.dynamo.values.ring import place
from dynazmq.simulator.cluster.history import FAILED, OK, Op

if TYPE_CHECKING:
    from dynazmq.simulator.cluster.listing import Listing
    from dynazmq.simulator.cluster.watch import Watch


class Held(NamedTuple):
    """What all owners of a key held at some moment. writes: ids of values. losses: disks that had been lost until then."""

    writes: frozenset[bytes]
    losses: int


_NOTHING = Held(frozenset(), 0)


class Presence:
    """Looks at the disks when a read begins, and at what it has shown when it ends."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._history = watch.history
        self._of_gets: dict[int, Held] = {}  # by the op's index
        self._of_lists: dict[int, dict[bytes, Held]] = {}  # by the listing's id

    # --- gets -------------------------------------------------------------------------------------------------------------

    def get_began(self, op: Op) -> None:
        self._of_gets[op.index] = self._held(op.bucket, op.key)

    def get_ended(self, op: Op) -> None:
        held = self._of_gets.pop(op.index, _NOTHING)
        if op.outcome != OK or op.values or self._expelled().intersection(op.responders):
            return
        if there := self._still(op.key, held):
            self._history.broken.append(f"I16: {op}, and all owners held {there}")

    # --- lists of keys ----------------------------------------------------------------------------------------------------

    def list_began(self, listing: Listing) -> None:
        keys = dict.fromkeys(write.key for write in self._history.writes.values() if write.bucket == DEFAULT_BUCKET)
        self._of_lists[id(listing)] = {key: self._held(DEFAULT_BUCKET, key) for key in keys}

    def list_ended(self, listing: Listing) -> None:
        for key, held in self._of_lists.pop(id(listing), {}).items():
            if listing.error is None and key.decode() not in listing.keys and (there := self._still(key, held)):
                self._history.broken.append(f"I16: {listing} leaves out {key!r}, of which all owners held {there}")
        if listing.error is None and len(set(listing.keys)) < len(listing.keys):
            self._history.broken.append(f"I16: {listing} shows a key twice")

    # --- disks ------------------------------------------------------------------------------------------------------------

    def _owners(self, bucket: str, at: int) -> list[str]:
        """Who is read of this place, by the newest ring that a living node knows and by its neighbours that another goes by."""
        known = [each.node.membership for each in self._watch.processes.values() if each.alive]
        if not known:
            return []
        newest = max((each.ring for each in known), key=lambda ring: ring.rank)
        near = [each for each in known if newest.version - each.ring.version <= 1]
        owners = [name for each in near for name in each.ring.primaries(each.ring.partition_of(at), each.policy(bucket).n)]
        return list(dict.fromkeys(owners))

    def _expelled(self) -> set[str]:
        """Whom any living node knows to be gone."""
        return {name for each in self._watch.processes.values() if each.alive for name in each.node.membership.gone}

    def _held(self, bucket: str, key: bytes) -> Held:
        at = (place(bucket, key), bucket, key)
        owners = self._owners(bucket, at[0]) if self._watch.keeps_siblings else []
        processes = [self._watch.processes.get(name) for name in owners]
        states = [self._watch.state_of(each, at) for each in processes if each is not None]
        if not states or len(states) < len(owners):
            return _NOTHING
        values = [frozenset(s.write_id for s in state.live if s.value is not None) for state in states]
        return Held(frozenset.intersection(*values), self._history.lost(key))

    def _still(self, key: bytes, held: Held) -> list[bytes]:
        """Those values that no delete has covered, in whatever it came to; none if a disk has forgotten anything meanwhile."""
        if self._history.lost(key) != held.losses:
            return []
        return [
            self._history.writes[write_id].value or b""
            for write_id in sorted(held.writes)
            if write_id in self._history.writes
            and not any(by.kind == "delete" and by.outcome != FAILED for by in self._history.covered_by.get(write_id, ()))
        ]
