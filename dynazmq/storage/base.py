"""What storage promises, to the core and to whoever drives it.

The core sees `dynazmq.dynamo.runtime.Store`: reads and writes within a turn. The driver sees `Storage`: the same, and when it
becomes durable.

    commit    everything written since the last commit, in one transaction: all of it or none. When it returns, it is durable
              as far as `sync` says, and only then may anything that speaks of it leave the node (promise 1).
    rollback  forget everything written since the last commit; reads show what the last commit left.

Writes are seen by later reads at once, committed or not. A key's row is found by (place, bucket, key): rows lie in the order of
their places on the ring, so a partition is one range of them, to be moved, compared or dropped whole (§6.2).
"""

from __future__ import annotations

import zlib
from typing import Protocol

from dynazmq.dynamo.runtime import Store

RowKey = tuple[int, str, bytes]
"""(place, bucket, key)."""


class Storage(Store, Protocol):
    """A `Store` that can be committed. Raises `StoreFailed` when it cannot: then nothing of the turn is stored."""

    full: str
    """Why no turn with rows or hints can be committed now, when somebody has switched that on as a fault; else ""."""

    def commit(self) -> int:
        """Make the turn durable; the number of rows that were written."""

    def rollback(self) -> None: ...

    def log_figures(self) -> dict[str, int]:
        """Of the log that commits are appended to, for who looks: `bytes` in use, `held` 1 while somebody's reading keeps it from
        beginning anew, and since the start `copies`, `restarts`, `waits` of commits for a slow disk, `waited_ms`, and `refused`
        commits. Nothing where there is no log.
        """

    def trouble(self) -> str:
        """What an operator should know of the disk, asked about once a second; "" when there is nothing."""

    def lost_file(self) -> str:
        """Which file is not at its name any more; "" while all are. The next commit fails of it, and saves what can be saved."""

    def close(self) -> None: ...


def checksum(place: int, bucket: str, key: bytes, state: bytes) -> int:
    """CRC-32 over the row: over its key, too, so that a page that shows another row's state is found out (S7)."""
    return zlib.crc32(state, zlib.crc32(key, zlib.crc32(b"%d %s" % (place, bucket.encode()))))
