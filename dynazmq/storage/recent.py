"""Rows that were read from `data` lately, in memory: hot keys are read again and again.

Two dicts: when the first is full it takes the place of the second, whose rows are forgotten. So what is bounded costs no
bookkeeping per row. What is written is no business of this cache: the overlay holds it, and `drop` is called.
"""

from __future__ import annotations

from dynazmq.storage.base import RowKey

_HALF_BYTES = 3 << 20
_STATE_BYTES_MAX = 16 << 10
_ROW_OVERHEAD_BYTES = 400  # what a small row costs in memory beyond its state, measured


class Recent:
    """`get` looks into both halves."""

    __slots__ = ("_bytes", "_newer", "_older")

    def __init__(self) -> None:
        self._newer: dict[RowKey, bytes] = {}
        self._older: dict[RowKey, bytes] = {}
        self._bytes = 0  # of the newer half, dropped ones included

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def get(self, row: RowKey) -> bytes | None:
        state = self._newer.get(row)
        if state is None and (state := self._older.get(row)) is not None:
            self.add(row, state)
        return state

    def add(self, row: RowKey, state: bytes) -> None:
        if len(state) > _STATE_BYTES_MAX:
            return
        self._newer[row] = state
        self._bytes += len(state) + _ROW_OVERHEAD_BYTES
        if self._bytes > _HALF_BYTES:
            self._older, self._newer, self._bytes = self._newer, {}, 0

    def drop(self, row: RowKey) -> None:
        """`data` will hold another state."""
        self._newer.pop(row, None)
        self._older.pop(row, None)
