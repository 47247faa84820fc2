"""A node's disk: `MemoryStorage` and what can befall it beyond a crash.

A commit is safe from the death of its process. From a loss of power it is safe with sync=full only. With sync=normal it is in the
operating system's hands until the next checkpoint, and what a loss of power leaves is a prefix of the commits since then (S2):
SQLite's WAL is a log whose frames are chained by checksums, so the newest are lost first, and one that is torn in the middle
counts as never written, with all behind it. The disk keeps what it needs to undo them.

Bits rot in rows and in hints (`damage`, `damage_hints_of`): what is damaged is found when it is read and is never returned.
"""

from __future__ import annotations

from random import Random
from typing import Any

from dynazmq.dynamo.runtime import HintTotal, OwnRow, StoreFailed
from dynazmq.dynamo.values.versions import decode
from dynazmq.storage.base import RowKey
from dynazmq.storage.memory import MemoryStorage

HintKey = tuple[str, int, str, bytes]
Backup = tuple[dict[RowKey, bytes], dict[HintKey, bytes], dict[str, bytes]]

_CHECKPOINT_EVERY = 64
"""Commits. The real store's checkpoints come by size; what matters is that some commits are synced and some are not."""


class Disk(MemoryStorage):
    """Survives its node. `slow_s` is added to each commit by whoever drives the node."""

    def __init__(self, sync: str = "full") -> None:
        super().__init__()
        self.fail_reads = False
        self.slow_s = 0.0
        self.put_back = False
        """Whether it is an old copy that somebody has put back, or grew out of one."""
        self._sync = sync
        self._undo: list[tuple[dict[Any, bytes | None], ...]] = []  # of each commit that is not synced: what was there before
        self._home: set[HintKey] = set()  # hints that this turn deleted, be there new ones in their place or not

    @property
    def dirty(self) -> bool:
        """Whether a commit would write a row or a hint."""
        return bool(self._new_rows or self._new_hints)

    @property
    def notes(self) -> list[str]:
        """What it would write of what the node keeps beside them: what it knows of the cluster, how far a transfer is."""
        return list(self._new_meta)

    @property
    def _stores(self) -> tuple[dict[Any, bytes], ...]:
        return self._rows, self._hints, self._meta

    def _check_readable(self) -> None:
        if self.fail_reads:
            raise StoreFailed("disk I/O error")

    def read(self, place: int, bucket: str, key: bytes) -> bytes:
        self._check_readable()
        return super().read(place, bucket, key)

    def read_hint(self, target: str, place: int, bucket: str, key: bytes) -> bytes:
        self._check_readable()
        return super().read_hint(target, place, bucket, key)

    def hints(self, target: str, after: RowKey, limit: int) -> tuple[list[OwnRow], RowKey | None]:
        self._check_readable()
        return super().hints(target, after, limit)

    def hint_totals(self) -> dict[str, HintTotal]:
        self._check_readable()
        return super().hint_totals()

    def rows(self, first: int, last: int, after: RowKey, limit: int) -> tuple[list[OwnRow], RowKey | None]:
        self._check_readable()
        return super().rows(first, last, after, limit)

    def delete_hint(self, target: str, place: int, bucket: str, key: bytes) -> None:
        super().delete_hint(target, place, bucket, key)
        self._home.add((target, place, bucket, key))

    def rollback(self) -> None:
        super().rollback()
        self._home = set()

    def key_count(self) -> int:
        self._check_readable()
        return super().key_count()

    def get_meta(self, name: str) -> bytes | None:
        self._check_readable()
        return super().get_meta(name)

    # --- looking at it, past the node -------------------------------------------------------------------------------------

    def changes(self) -> list[tuple[bytes, bytes, bytes]]:
        """(key, state before, state after) of each row and hint that the next commit would write; b"" for none.

        What was damaged counts as nothing: it had been lost before. So does a hint that went home in this turn.
        """
        rows = [(at[2], b"" if at in self._damaged else self._rows.get(at, b""), state) for at, state in self._new_rows.items()]
        gone = self._damaged_hints | self._home
        hints = [(at[3], b"" if at in gone else self._hints.get(at, b""), state) for at, state in self._new_hints.items()]
        return rows + hints

    def dropped(self) -> list[tuple[str, RowKey, bytes]]:
        """(target of a hint or "" for a row, where, state) of each that the next commit would delete and that is not damaged."""
        rows = [("", at, self._rows.get(at, b"")) for at, new in self._new_rows.items() if not new and at not in self._damaged]
        hints = [(hint[0], hint[1:], self._hints.get(hint, b"")) for hint in sorted(self._home - self._damaged_hints)]
        return [each for each in rows + hints if each[2]]

    def note(self, name: str) -> bytes | None:
        """What is committed of what the node keeps beside rows and hints."""
        return self._meta.get(name)

    def state(self, target: str, at: RowKey, *, next_: bool) -> bytes:
        """What is committed, or will be next, of this row, or of the hint for a target."""
        if not target:
            committed = b"" if at in self._damaged else self._rows.get(at, b"")
            return self._new_rows.get(at, committed) if next_ else committed
        hint = (target, *at)
        committed = b"" if hint in self._damaged_hints else self._hints.get(hint, b"")
        return self._new_hints.get(hint, committed) if next_ else committed

    def hint_states(self) -> dict[HintKey, bytes]:
        """All committed hints: (target, place, bucket, key) → state."""
        return dict(self._hints)

    def holds(self, at: RowKey, write_id: bytes, dots: set[tuple[str, int]]) -> bool:
        """Whether a committed row or hint for this key has this write, or has seen it."""
        states = [self._rows.get(at, b"")]
        states += [state for hint, state in self._hints.items() if hint[1:] == at and hint not in self._damaged_hints]
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
        before = None
        if self._sync != "full" and (self._new_rows or self._new_hints or self._new_meta) and not self.fail_commits:
            new: tuple[dict[Any, bytes], ...] = (self._new_rows, self._new_hints, self._new_meta)
            before = tuple({at: stored.get(at) for at in some} for stored, some in zip(self._stores, new, strict=True))
        written = super().commit()
        if before is not None:
            self._undo.append(before)
            if len(self._undo) >= _CHECKPOINT_EVERY:
                self.checkpoint()
        return written

    def checkpoint(self) -> None:
        """What has been committed is synced: it outlives a loss of power."""
        self._undo.clear()

    def harden(self) -> None:
        self.checkpoint()

    def watch_power(self) -> None:
        """For stories: from here on commits are in the operating system's hands alone."""
        self.checkpoint()

    def lose_power(self, random: Random) -> int:
        """Some number of the newest commits that were not synced are gone; how many."""
        return self.lose_commits(random.randint(0, len(self._undo)))

    def lose_commits(self, count: int) -> int:
        self.rollback()
        count = min(count, len(self._undo))
        for _ in range(count):
            for stored, before in zip(self._stores, self._undo.pop(), strict=True):
                for at, state in before.items():
                    if state is None:
                        stored.pop(at, None)
                    else:
                        stored[at] = state
        self._undo.clear()  # what is left has outlived it
        self._count_hints()
        return count

    def damage_hints_of(self, place: int, bucket: str, key: bytes) -> bool:
        """A bit flips in what is kept here of this key for others, if anything is."""
        found = {hint for hint in self._hints if hint[1:] == (place, bucket, key)}
        self._damaged_hints |= found
        return bool(found)

    def lose_hints(self) -> None:
        """For stories: what is kept here for others is gone."""
        self._hints.clear()
        self._count_hints()

    def wipe(self) -> None:
        super().wipe()
        self._undo.clear()
        self.put_back = False

    def take_over(self, rescued: list[tuple[str, RowKey, bytes]], notes: dict[str, bytes]) -> None:
        """On an empty one: what an old copy has taken since it was put back. Nothing where there is none."""
        for target, at, state in rescued:
            if target:
                self._hints[target, *at] = state
            else:
                self._rows[at] = state
        if rescued:
            self._meta.update(notes)
        self._count_hints()

    def backup(self) -> Backup:
        """A copy of what is committed."""
        return dict(self._rows), dict(self._hints), dict(self._meta)

    def restore(self, backup: Backup) -> None:
        """An operator puts back an old copy (S10)."""
        self.wipe()
        self._rows, self._hints, self._meta = (dict(part) for part in backup)  # type: ignore[assignment]
        self._count_hints()
        self.put_back = True
