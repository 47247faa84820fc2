"""§4.5 Marks that could not be stored yet (promise 4).

A coordinator that leaves an outcome unknown, or expects a retry, marks its try: the write may have another dot (marking.py).
Mostly something has failed by then, and it may be its own disk, in that very turn. Such a mark waits here for a later turn. Until
then all who read the key at this node are shown it: with a full disk reads go on, and whoever overwrites what he has read without
the mark lets the retry bring it back. The key cannot be retired meanwhile (tombstone_gc.py): it is under way.

What waits is bounded, in number and bytes, and is lost with the process. What a coordinator wrote in an earlier life is suspected
for a minute of having been tried elsewhere (suspected_retries.py); after that nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from dynazmq.dynamo.replica.hints import check_size
from dynazmq.dynamo.runtime import Row, Runtime
from dynazmq.dynamo.values.versions import decode, encode, sync

_WAITING_MAX = 4_096
_WAITING_BYTES_MAX = 16 << 20


class Mark(NamedTuple):
    """state: of the try, marked. stands_for: "" if it is in this node's own copy, else the primary whose hint it is in.

    told: (node, primary it stands in for or "") of each other who holds the try.
    """

    row: Row
    stands_for: str
    state: bytes
    told: tuple[tuple[str, str], ...]


class Marks:
    """Those that wait, the oldest first."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.waiting: dict[Row, list[Mark]] = {}
        self._count = self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def keep(self, mark: Mark) -> None:
        """Past the limit it is given up, and counted."""
        if self._count >= _WAITING_MAX or self._bytes + len(mark.state) > _WAITING_BYTES_MAX:
            self._runtime.counters["marks_given_up"] += 1
            return
        self.waiting.setdefault(mark.row, []).append(mark)
        self._count += 1
        self._bytes += len(mark.state)

    def take(self, keys: int) -> list[Mark]:
        """Those of so many keys that have waited longest; they do not wait any more."""
        taken = [mark for row in list(islice(self.waiting, keys)) for mark in self.waiting.pop(row)]
        self._count -= len(taken)
        self._bytes -= sum(len(mark.state) for mark in taken)
        return taken

    def on(self, row: Row, held: bytes) -> bytes:
        """What is held of a key, marked. Raises StateTooLarge."""
        for mark in self.waiting.get(row, ()):
            both = sync(decode(held), decode(mark.state))
            held = encode(both)
            check_size(both, held)
        return held

    def under_way(self) -> Iterator[tuple[str, bytes]]:
        """(bucket, key) of each."""
        return ((bucket, key) for _, bucket, key in self.waiting)
