"""Rows that may hold something to forget: noted where rows are written or read anyway, looked at by retirement.py."""

from __future__ import annotations

from dynazmq.dynamo.runtime import Row
from dynazmq.dynamo.versions import may_retire

_NOTED_MAX = 50_000


class Retirable:
    """Notes of one node. Past 50,000 none are taken: the next survey of the trees finds those rows again."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[Row, None] = {}

    def look(self, place: int, bucket: str, key: bytes, state: bytes) -> None:
        """A glance at a row of this node's own: on the path of every write."""
        if may_retire(state) and len(self._rows) < _NOTED_MAX:
            self._rows[place, bucket, key] = None

    def take(self) -> list[Row]:
        rows, self._rows = list(self._rows), {}
        return rows
