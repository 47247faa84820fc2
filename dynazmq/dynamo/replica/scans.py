"""Pages of the keys that a node holds, for who walks around the ring (client/core/scan.py).

A walk asks some primaries of each partition. A node that has let go of a partition has nothing of it, and must not say so as if
it were one: then keys would be missing without an error (promise 6). So a page is told only of partitions of which this node is
a holder, and only to who goes by its ring, or by the next one, which this node will know in a moment: who is read by that one
has all before anybody steps to it (change.py). Not to who goes by the ring before: a client may do so long after the step, and
of those who were read then a copy may wait as a hint, while all who are read now have theirs. Anybody else is told how the ring
is, and goes on where it was: a position on the circle of places means the same in all rings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynazmq.config import KEY_BYTES_MAX
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import ELSEWHERE, Failure, Scan, ScanReply, Topology
from dynazmq.dynamo.runtime import Address, Runtime
from dynazmq.dynamo.values.versions import decode

_KEYS_MAX = 2_000
_ROWS_MAX = 512
"""Looked at for one page, whatever their bucket: a page is one message, and takes some 5 ms of the node's turn."""

_ROWS_PER_PARTITION = 16  # to look into an empty one costs as much as so many rows


class Scans:
    """This node's pages."""

    def __init__(self, runtime: Runtime, membership: Membership, topology: Callable[[int], Topology]) -> None:
        """topology: what is told of the cluster in answer to a request of this id."""
        self._runtime = runtime
        self._membership = membership
        self._topology = topology

    def on_scan(self, sender: Address, message: Scan) -> None:
        """One page of keys. Partitions are ranges of places, so the page's end is one position in their order."""
        ring = self._membership.ring
        after = (message.after_place, message.after_key)
        wanted = sorted({p for p in message.partitions if 0 <= p < ring.partitions and ring.places_of(p)[1] >= after[0]})
        if why_not := self._why_not(message, wanted):
            self._runtime.counters["scans_refused"] += 1
            self._runtime.send(sender, self._topology(0))  # first: then who hears of the refusal knows better already
            self._runtime.send(sender, Failure(message.request_id, ELSEWHERE, 0, 0, 0, why_not))
            return
        limit = max(1, min(message.limit, _KEYS_MAX))
        entries: list[Any] = []
        looked = 0
        for partition in wanted:
            first, last = ring.places_of(partition)
            room = min(limit - len(entries), _ROWS_MAX - looked)
            rows, behind = self._runtime.store.scan(message.bucket, first, last, after, room)
            entries += [[at, key, any(s.value is not None for s in decode(state).live)] for at, key, state in rows]
            looked += max(len(rows), _ROWS_PER_PARTITION)
            if behind is not None or len(entries) >= limit or looked >= _ROWS_MAX:
                next_place, next_key = behind or (last, b"\xff" * (KEY_BYTES_MAX + 1))
                self._runtime.send(sender, ScanReply(message.request_id, entries, True, next_place, next_key))
                return
        self._runtime.send(sender, ScanReply(message.request_id, entries, False, -1, b""))

    def _why_not(self, message: Scan, partitions: list[int]) -> str:
        """Why this node is not to be asked for these partitions, or ""."""
        membership, me = self._membership, self._runtime.name
        ring, level = membership.ring, membership.in_force.level(message.bucket)
        if message.ring_version and not ring.is_this_or_next(message.ring_version):
            return f"{me} goes by ring {ring.version}, and was asked by ring {message.ring_version}"
        if not all(me in ring.holders(partition, level) for partition in partitions):
            return f"{me} holds no copies of some of these partitions, by ring {ring.version}"
        return ""
