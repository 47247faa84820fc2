"""A node's disk: `MemoryStorage` and what can befall it beyond a crash.

A commit is safe from the death of its process. From a loss of power it is safe with sync=full only: with sync=normal the commits
since the last checkpoint may be lost, newest first (S2), and the disk keeps what it needs to go back to that point.
"""

from __future__ import annotations

from random import Random

from dynazmq.dynamo.runtime import OwnRow, StoreFailed
from dynazmq.dynamo.versions import decode
from dynazmq.storage.base import RowKey
from dynazmq.storage.memory import MemoryStorage

Backup = tuple[dict[RowKey, bytes], dict[tuple[str, int, str, bytes], bytes], dict[str, bytes]]


class Disk(MemoryStorage):
    """Survives its node. `slow_s` is added to each commit by whoever drives the node."""

    def __init__(self) -> None:
        super().__init__()
        self.fail_reads = False
        self.slow_s = 0.0
        self._checkpoints: list[Backup] | None = None

    @property
    def dirty(self) -> bool:
        """Whether a commit would write a row or a hint."""
        return bool(self._new_rows or self._new_hints)

    def _check_readable(self) -> None:
        if self.fail_reads:
            raise StoreFailed("disk I/O error")

    def read(self, place: int, bucket: str, key: bytes) -> bytes:
        self._check_readable()
        return super().read(place, bucket, key)

    def read_hint(self, target: str, place: int, bucket: str, key: bytes) -> bytes:
        self._check_readable()
        return super().read_hint(target, place, bucket, key)

    def hints(self, target: str, after: RowKey, limit: int) -> list[tuple[int, str, bytes, bytes]]:
        self._check_readable()
        return super().hints(target, after, limit)

    def hint_counts(self) -> dict[str, int]:
        self._check_readable()
        return super().hint_counts()

    def rows(self, first: int, last: int, after: RowKey, limit: int) -> tuple[list[OwnRow], RowKey | None]:
        self._check_readable()
        return super().rows(first, last, after, limit)

    def key_count(self) -> int:
        self._check_readable()
        return super().key_count()

    def get_meta(self, name: str) -> bytes | None:
        self._check_readable()
        return super().get_meta(name)

    # --- looking at it, past the node -------------------------------------------------------------------------------------

    def uncommitted(self) -> dict[RowKey, bytes]:
        """States that the next commit would write, hints among them."""
        hints = {(place, bucket, key): state for (_, place, bucket, key), state in self._new_hints.items() if state}
        return {**hints, **self._new_rows}

    def hint_states(self) -> dict[tuple[str, int, str, bytes], bytes]:
        """All committed hints: (target, place, bucket, key) → state."""
        return dict(self._hints)

    def holds(self, at: RowKey, write_id: bytes, dots: set[tuple[str, int]]) -> bool:
        """Whether a committed row or hint for this key has this write, or has seen it."""
        states = [self._rows.get(at, b"")]
        states += [state for (_, *row), state in self._hints.items() if tuple(row) == at]
        if at in self._damaged:
            states[0] = b""
        for state in map(decode, states):
            if any(sibling.write_id == write_id for sibling in state.live):
                return True
            if any(state.context.covers(actor, counter) for actor, counter in dots):
                return True
        return False

    # --- what can befall it -----------------------------------------------------------------------------------------------

    def commit(self) -> int:
        written = super().commit()
        if written and self._checkpoints is not None:
            self._checkpoints.append(self.backup())
        return written

    def backup(self) -> Backup:
        """A copy of what is committed."""
        return dict(self._rows), dict(self._hints), dict(self._meta)

    def restore(self, backup: Backup) -> None:
        """An operator puts back an old copy (S10)."""
        self.rollback()
        self._damaged = set()
        self._rows, self._hints, self._meta = (dict(part) for part in backup)  # type: ignore[assignment]

    def harden(self) -> None:
        """What is committed is synced with it."""
        if self._checkpoints is not None:
            self._checkpoints = [self.backup()]

    def watch_power(self) -> None:
        """From now on commits are in the operating system's hands alone."""
        self._checkpoints = [self.backup()]

    def lose_power(self, random: Random) -> None:
        """The newest commits since `watch_power` are gone, some number of them."""
        assert self._checkpoints is not None
        self.restore(random.choice(self._checkpoints))
        self._checkpoints = None
