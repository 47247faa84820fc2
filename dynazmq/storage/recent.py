"""Rows that were read or committed lately, in memory: who writes a key has mostly just read it.

Two dicts: when the newer one is full it takes the place of the older one, whose rows are forgotten. So the bound costs no
bookkeeping for a row. Never the only place where something is: what is not in `data` yet is in the overlay, too.
"""

from __future__ import annotations

from dynazmq.storage.base import RowKey

_HALF_BYTES = 3 << 20
_STATE_BYTES_MAX = 16 << 10
_ROW_OVERHEAD_BYTES = 400  # what a small row costs in memory beyond its state, measured


class Recent:
    """(place, bucket, key) → state, as committed."""

    __slots__ = ("_bytes", "_older", "newer")

    def __init__(self) -> None:
        self.newer: dict[RowKey, bytes] = {}
        self._older: dict[RowKey, bytes] = {}
        self._bytes = 0  # of the newer rows; of one that came twice, twice

    def __len__(self) -> int:
        return len(self.newer) + len(self._older)

    def get(self, row: RowKey) -> bytes | None:
        state = self.newer.get(row)
        if state is None and (state := self._older.get(row)) is not None:
            self._keep(row, state)
        return state

    def update(self, rows: dict[RowKey, bytes]) -> None:
        self.newer.update(rows)
        self._bytes += sum(map(len, rows.values())) + len(rows) * _ROW_OVERHEAD_BYTES
        if self._bytes > _HALF_BYTES:
            self._turn_over()

    def add(self, row: RowKey, state: bytes) -> None:
        if len(state) <= _STATE_BYTES_MAX:
            self._keep(row, state)

    def _keep(self, row: RowKey, state: bytes) -> None:
        self.newer[row] = state
        self._bytes += len(state) + _ROW_OVERHEAD_BYTES
        if self._bytes > _HALF_BYTES:
            self._turn_over()

    def _turn_over(self) -> None:
        self._older, self.newer, self._bytes = self.newer, {}, 0

    def drop(self, row: RowKey) -> None:
        self.newer.pop(row, None)
        self._older.pop(row, None)
