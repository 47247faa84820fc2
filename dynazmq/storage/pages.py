"""Pages of many rows in the order of the ring: what the tables show, and laid over it what is newer in memory.

A SELECT is cut off where it has found enough rows or enough bytes, since a state may have 15 MiB, and of what is newer only that
counts which lies before the cut: the rest belongs to the next page. So a page may have fewer rows than were asked for, or none,
and still not be the last: that is said by its end, None when nothing lies behind.

Damage can show a row out of its order. An end that does not lie behind the page's beginning is none: the reader must not go round
in circles.
"""

from __future__ import annotations

from collections.abc import Iterable

from dynazmq.dynamo.runtime import OwnRow
from dynazmq.storage.base import RowKey
from dynazmq.storage.tables import HintKey, Stored, intact, position

_PAGE_BYTES = 4 << 20  # a page of rows ends with the one that passes this, so that large values make no turn long


class Taken:
    """Rows of one SELECT, taken until there are enough: the rest is not read."""

    def __init__(self, stored: Iterable[Stored], limit: int, bytes_max: int = _PAGE_BYTES) -> None:
        """limit: what the SELECT itself ends with. bytes_max: of the states, passed by one row at most."""
        self.rows: list[tuple[RowKey, bytes | None]] = []  # None for the state of a damaged one
        looked = 0
        for row in stored:
            looked += 1
            bytes_max -= len(row[3]) if row[3].__class__ is bytes else 0
            if (at := position(row)) is not None:
                self.rows.append((at, row[3] if intact(at, row[3], row[4]) else None))
            if bytes_max < 0 and self.rows:  # where none of them has a place, nobody could say where to go on
                break
        cut = bytes_max < 0 or looked == limit
        self.end = self.rows[-1][0] if cut and self.rows else None
        """The last one's place, when more may lie behind it."""


class KeysPage:
    """One bucket's keys with a state of each. Table after table is added, then what is newer; hinted states count as well."""

    def __init__(self, bucket: str, limit: int, tables: int) -> None:
        """limit: of the rows of each SELECT, and of the page. tables: how many will be added; each gets a share of the bytes."""
        self._bucket = bucket
        self._limit = limit
        self._bytes_max = _PAGE_BYTES // tables
        self._states: dict[tuple[str, int, bytes], bytes] = {}  # (target, "" for an own copy; place; key)
        self._ends: list[tuple[int, bytes]] = []  # where tables were cut off

    def add_stored(self, target: str, stored: Iterable[Stored]) -> None:
        """From `data`, or the hints for a target."""
        taken = Taken(stored, self._limit, self._bytes_max)
        if taken.end is not None:
            self._ends.append(taken.end[::2])
        for (place, bucket, key), state in taken.rows:
            if bucket == self._bucket and state is not None:
                self._states[target, place, key] = state

    def add_committed(self, rows: list[tuple[RowKey, bytes]]) -> None:
        """From the overlay, which shows at most `limit` rows as well."""
        if len(rows) == self._limit:
            self._ends.append((rows[-1][0][0], rows[-1][0][2]))
        self._states.update((("", place, key), state) for (place, bucket, key), state in rows if bucket == self._bucket)

    def add_written(self, rows: dict[RowKey, bytes], hints: dict[HintKey, bytes]) -> None:
        """All that the turn has written so far."""
        mine = self._bucket
        self._states.update(((to, place, key), state) for (to, place, bucket, key), state in hints.items() if bucket == mine)
        self._states.update((("", place, key), state) for (place, bucket, key), state in rows.items() if bucket == mine)

    def cut(
        self, first: int, last: int, after: tuple[int, bytes]
    ) -> tuple[list[tuple[int, bytes, bytes]], tuple[int, bytes] | None]:
        """The page between two places and behind `after`, and its end."""
        own = {(place, key): state for (target, place, key), state in self._states.items() if state and not target}
        hinted = sorted((at, state) for at, state in self._states.items() if state and at[0])
        found = {(place, key): state for (_, place, key), state in hinted} | own  # of many hints for a key the last target's
        end = min(self._ends) if self._ends else None
        if end is not None and end <= after:
            end = None
        inside = [at for at in sorted(found) if first <= at[0] <= last and at > after and (end is None or at <= end)]
        if len(inside) > self._limit:
            inside, end = inside[: self._limit], inside[self._limit - 1]
        return [(*at, found[at]) for at in inside], end


def rows_page(
    stored: Iterable[Stored], newer: dict[RowKey, bytes], after: RowKey, limit: int
) -> tuple[list[OwnRow], RowKey | None]:
    """Own copies or hints for one target, None for the state of a damaged one, and the page's end.

    stored: at most `limit` rows behind `after`, not all of which need be read. newer: all there are in the same places.
    """
    taken = Taken(stored, limit)
    end = taken.end
    if end is not None and end <= after:
        end = None
    found = dict(taken.rows)
    found.update({row: state for row, state in newer.items() if row > after and (end is None or row <= end)})
    page = [(*row, found[row]) for row in sorted(found) if found[row] != b""]
    if len(page) > limit:
        page, end = page[:limit], page[limit - 1][:3]
    return page, end
