"""Storage in memory, for tests and the simulator: a dict with the manners of a disk.

`crash()` forgets what was not committed, which is exactly what the death of a process does to the real store; `damage()` flips
a bit that the checksum will find; `fail_commits` is a full disk.
"""

from __future__ import annotations

from bisect import bisect_right

from dynazmq.dynamo.runtime import DamagedRow, HintTotal, OwnRow, StoreFailed
from dynazmq.storage.base import RowKey
from dynazmq.storage.totals import HintTotals, hint_bytes

_HintKey = tuple[str, int, str, bytes]


class MemoryStorage:
    """A node's rows, hints and meta values. Survives its node: a restarted one is given the same object."""

    def __init__(self) -> None:
        self._rows: dict[RowKey, bytes] = {}
        self._hints: dict[_HintKey, bytes] = {}
        self._meta: dict[str, bytes] = {}
        self._new_rows: dict[RowKey, bytes] = {}
        self._new_hints: dict[_HintKey, bytes] = {}
        self._new_meta: dict[str, bytes] = {}
        self._damaged: set[RowKey] = set()
        self._damaged_hints: set[_HintKey] = set()
        self._hint_totals = HintTotals()
        self.fail_commits = False
        self.full = ""
        self.commits = 0

    # --- rows -------------------------------------------------------------------------------------------------------------

    def read(self, place: int, bucket: str, key: bytes) -> bytes:
        row = (place, bucket, key)
        if row in self._new_rows:
            return self._new_rows[row]
        if row in self._damaged:
            raise DamagedRow(f"{bucket}/{key!r}")
        return self._rows.get(row, b"")

    def write(self, place: int, bucket: str, key: bytes, state: bytes) -> None:
        self._new_rows[place, bucket, key] = state

    def key_count(self) -> int:
        merged = {**self._rows, **self._new_rows}
        return sum(1 for state in merged.values() if state)

    def committed(self) -> dict[RowKey, bytes]:
        """All committed rows, for checkers."""
        return dict(self._rows)

    def rows(self, first: int, last: int, after: RowKey, limit: int) -> tuple[list[OwnRow], RowKey | None]:
        all_rows = {row: state for row, state in {**self._rows, **self._new_rows}.items() if state}
        found = sorted(row for row in all_rows if first <= row[0] <= last and row > after)
        page = [(*row, None if row in self._damaged and row not in self._new_rows else all_rows[row]) for row in found[:limit]]
        return page, found[limit - 1] if len(found) > limit else None

    def scan(
        self, bucket: str, first: int, last: int, after: tuple[int, bytes], limit: int
    ) -> tuple[list[tuple[int, bytes, bytes]], tuple[int, bytes] | None]:
        hints = {(place, b, key): state for (_, place, b, key), state in sorted(self._all_hints().items())}
        own = {row: state for row, state in {**self._rows, **self._new_rows}.items() if state}
        found: dict[tuple[int, bytes], bytes] = {}
        for (place, b, key), state in {**hints, **own}.items():
            if b == bucket and first <= place <= last and (place, key) > after:
                found[place, key] = state
        keys = sorted(found)
        page = [(place, key, found[place, key]) for place, key in keys[:limit]]
        return page, keys[limit - 1] if len(keys) > limit else None

    # --- hints ------------------------------------------------------------------------------------------------------------

    def read_hint(self, target: str, place: int, bucket: str, key: bytes) -> bytes:
        at = (target, place, bucket, key)
        if at in self._new_hints:
            return self._new_hints[at]
        if at in self._damaged_hints:
            raise DamagedRow(f"hint for {target}: {bucket}/{key!r}")
        return self._hints.get(at, b"")

    def write_hint(self, target: str, place: int, bucket: str, key: bytes, state: bytes) -> None:
        at = (target, place, bucket, key)
        known = self._new_hints[at] if at in self._new_hints else self._hints.get(at, b"")
        self._hint_totals.change(target, hint_bytes(key, known), hint_bytes(key, state))
        self._new_hints[at] = state

    def delete_hint(self, target: str, place: int, bucket: str, key: bytes) -> None:
        self.write_hint(target, place, bucket, key, b"")

    def hints(self, target: str, after: RowKey, limit: int) -> tuple[list[OwnRow], RowKey | None]:
        all_hints = self._all_hints()
        keys = sorted((place, bucket, key) for t, place, bucket, key in all_hints if t == target)
        keys = keys[bisect_right(keys, after) :]
        damaged = self._damaged_hints - self._new_hints.keys()
        page = [(*at, None if (target, *at) in damaged else all_hints[(target, *at)]) for at in keys[:limit]]
        return page, keys[limit - 1] if len(keys) > limit else None

    def hint_total(self, target: str) -> HintTotal:
        return self._hint_totals.of(target)

    def hint_totals(self) -> dict[str, HintTotal]:
        return self._hint_totals.all()

    def _count_hints(self) -> None:
        """Anew, after what befell the disk."""
        self._hint_totals = HintTotals((at[0], 1, hint_bytes(at[3], state)) for at, state in self._hints.items())

    def _all_hints(self) -> dict[_HintKey, bytes]:
        return {at: state for at, state in {**self._hints, **self._new_hints}.items() if state}

    def harden(self) -> None:
        """Nothing to do: what is committed here is lost by a wipe only."""

    # --- meta and commit --------------------------------------------------------------------------------------------------

    def get_meta(self, name: str) -> bytes | None:
        return self._new_meta[name] if name in self._new_meta else self._meta.get(name)

    def set_meta(self, name: str, value: bytes) -> None:
        self._new_meta[name] = value

    def commit(self) -> int:
        written = len(self._new_rows) + len(self._new_hints) + len(self._new_meta)
        if not written:
            return 0
        if self.fail_commits:
            raise StoreFailed("database or disk is full")
        if self.full and (self._new_rows or self._new_hints):
            raise StoreFailed(self.full)
        self._damaged.difference_update(self._new_rows)
        self._damaged_hints.difference_update(self._new_hints)
        for stored, new in ((self._rows, self._new_rows), (self._hints, self._new_hints)):
            stored.update(new)  # type: ignore[arg-type]
            for at, state in new.items():
                if not state:
                    del stored[at]  # type: ignore[arg-type]
        self._meta.update(self._new_meta)
        self._hint_totals.committed()
        self.rollback()
        self.commits += 1
        return written

    def rollback(self) -> None:
        self._new_rows, self._new_hints, self._new_meta = {}, {}, {}
        self._hint_totals.rollback()

    def log_figures(self) -> dict[str, int]:
        return {}

    def trouble(self) -> str:
        return ""

    def lost_file(self) -> str:
        return ""

    def close(self) -> None:
        """Nothing to release: the object is the disk."""

    # --- what can happen to a disk ----------------------------------------------------------------------------------------

    def crash(self) -> None:
        """The process dies here: what was not committed never was."""
        self.rollback()

    def wipe(self) -> None:
        """The disk is lost."""
        self.rollback()
        self._rows, self._hints, self._meta, self._damaged, self._damaged_hints = {}, {}, {}, set(), set()
        self._count_hints()

    def damage(self, place: int, bucket: str, key: bytes) -> bool:
        """A bit of this row flips, if there is one; its checksum will not match."""
        if (place, bucket, key) not in self._rows:
            return False
        self._damaged.add((place, bucket, key))
        return True

    def damage_hints(self, target: str) -> None:
        """The same for all that is kept for a target."""
        self._damaged_hints.update(at for at in self._hints if at[0] == target)

    def snapshot(self) -> MemoryStorage:
        """A backup: an independent copy of what is committed."""
        copy = MemoryStorage()
        copy._rows, copy._hints, copy._meta = dict(self._rows), dict(self._hints), dict(self._meta)
        copy._count_hints()
        return copy
