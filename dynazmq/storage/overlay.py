"""The overlay: what is committed in the journal and not yet folded into `data`.

    young   takes each turn's rows as they are committed
    old     is being folded: each commit writes a slice of it into `data`, in the order of the ring

Reads look into young, then old, then `data`. When young is full (or it is time) and old is folded to the end, young becomes old.
What is folded stays readable in old until then: the newest rows are those that are read most.

**Bounded, without a thread and without a stall.** A commit owes old a number of rows for each row and each slot that it adds to
young, at such a rate that old is done when young is half full, however fast writes come: see `due`. So young never waits for
old, both together never hold more than two generations and a turn, and folding costs a turn no more than in proportion to what
the turn itself wrote. Debts are paid in slices of 128 rows, so that neighbours in `data` are written together.

At rest, when nothing was written for a while, young is folded in slices of 2 ms, so that who looks into `data` finds all of it.

Rows are kept in 256 cells by the first byte of their place, so that the next slice, and a scan's page, are found by sorting a
few dozen keys instead of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dynazmq.storage.base import RowKey

_CELLS = 256
_SHIFT = 56
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one generation. Two of them and a turn are the most that is in memory, in the journal, and to be replayed."""

    rows: int = 12_000  # with states of 200 bytes 6 MB of memory
    slots: int = 2_048  # of the journal: 8 MB on disk, and of states in memory
    slice_rows: int = 128  # a millisecond
    slice_s: float = 0.002  # at rest, and
    slice_every_s: float = 0.01  # no more often than this
    rest_s: float = 0.2  # without writes
    age_s: float = 1.0  # before a young generation is folded at rest
    age_max_s: float = 10.0  # and without rest
    row_bytes: int = 2_000  # longer rows fill pages of their own, and gain nothing from the journal


class Generation:
    """Rows by (place, bucket, key); b"" is a deletion."""

    __slots__ = ("_next_cell", "_sorted", "born", "cells", "rows", "slots", "turn")

    def __init__(self) -> None:
        self.born = 0.0  # when its first row came
        self.cells: list[dict[RowKey, bytes]] = [{} for _ in range(_CELLS)]
        self.rows = 0  # dropped ones included
        self.slots: list[int] = []  # of the journal
        self.turn = 0  # the last one whose rows are here
        self._sorted: list[RowKey] = []
        self._next_cell = 0

    def add(self, rows: dict[RowKey, bytes]) -> None:
        cells = self.cells
        for row, state in rows.items():
            cell = cells[row[0] >> _SHIFT]
            if row not in cell:
                self.rows += 1
            cell[row] = state

    def get(self, row: RowKey) -> bytes | None:
        return self.cells[row[0] >> _SHIFT].get(row)

    def drop(self, row: RowKey) -> None:
        self.cells[row[0] >> _SHIFT].pop(row, None)

    def items(self) -> Iterator[tuple[RowKey, bytes]]:
        for cell in self.cells:
            yield from cell.items()

    # --- folding ----------------------------------------------------------------------------------------------------------

    @property
    def left(self) -> bool:
        """Whether there is something to fold."""
        if self._sorted:
            return True
        while self._next_cell < _CELLS and not self.cells[self._next_cell]:
            self._next_cell += 1
        return self._next_cell < _CELLS

    def next_rows(self, count: int) -> list[RowKey]:
        """The next rows in the order of the ring. They stay the next until `folded` is called."""
        while len(self._sorted) < count and self._next_cell < _CELLS:
            self._sorted += sorted(self.cells[self._next_cell])
            self._next_cell += 1
        return self._sorted[:count]

    def folded(self, count: int) -> None:
        del self._sorted[:count]


class Overlay:
    """Both generations, and when to fold how much."""

    __slots__ = ("_bounds", "_debt", "due_at", "folded_turn", "old", "young")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._debt = 0
        self.young, self.old = Generation(), Generation()
        self.folded_turn = 0  # `data` holds all turns up to this one
        self.due_at = _NEVER  # when to look whether something is to be folded at rest

    @property
    def full(self) -> bool:
        return self.young.rows >= self._bounds.rows or len(self.young.slots) >= self._bounds.slots

    def due(self, rows: int, slots: int) -> int:
        """How many of old's rows a commit that adds this much to young has to fold."""
        if not self.old.left:
            return 0
        bounds, old = self._bounds, self.old.rows
        self._debt += max(-(-2 * old * rows // bounds.rows), -(-2 * old * slots // bounds.slots))
        return self._debt if self._debt >= bounds.slice_rows else 0

    def add(self, rows: dict[RowKey, bytes], slots: list[int], turn: int, now: float) -> None:
        """A turn is committed."""
        young = self.young
        if not young.turn:
            young.born = now
        young.add(rows)
        young.slots += slots
        young.turn = turn
        self.due_at = max(now + self._bounds.rest_s, young.born + self._bounds.age_s)
        if (self.full or now >= young.born + self._bounds.age_max_s) and not self.old.left:
            self._turn_over()

    def adopt(self, rows: dict[RowKey, bytes], slots: list[int], turn: int) -> None:
        """What an earlier life has left, before anything else."""
        self.old.add(rows)
        self.old.slots, self.old.turn = slots, turn
        self.due_at = 0.0

    def get(self, row: RowKey) -> bytes | None:
        cell = row[0] >> _SHIFT
        new = self.young.cells[cell].get(row)
        return self.old.cells[cell].get(row) if new is None else new

    def drop(self, row: RowKey) -> None:
        """`data` holds something newer."""
        self.young.drop(row)
        self.old.drop(row)

    def folded(self, count: int) -> None:
        """So many rows more of old are committed in `data`."""
        self._debt = 0
        self.old.folded(count)

    def released(self) -> list[int]:
        """The journal's slots that are free because old is folded to the end."""
        old = self.old
        if not old.slots or old.left:
            return []
        self.folded_turn = old.turn
        slots, old.slots = old.slots, []
        return slots

    def at_rest(self, now: float) -> bool:
        """Nothing was written for a while: whether there is something to fold."""
        if not self.old.left and self.young.turn:
            self._turn_over()
        self.due_at = now + self._bounds.slice_every_s if self.old.left else _NEVER
        return self.old.left

    def _turn_over(self) -> None:
        self.old, self.young, self._debt = self.young, Generation(), 0

    # --- reading ----------------------------------------------------------------------------------------------------------

    def page(self, first: int, last: int, after: tuple[int, bytes], limit: int) -> list[tuple[RowKey, bytes]]:
        """The first rows between two places and behind `after`, in the order of the ring."""
        found: list[tuple[RowKey, bytes]] = []
        for cell in range(first >> _SHIFT, (last >> _SHIFT) + 1):
            old, young = self.old.cells[cell], self.young.cells[cell]
            rows = {**old, **young} if old and young else old or young
            found += sorted(item for item in rows.items() if first <= item[0][0] <= last and item[0][::2] > after)
            if len(found) >= limit:
                break
        return found[:limit]

    def between(self, first: int, last: int) -> dict[RowKey, bytes]:
        """All rows between two places."""
        found: dict[RowKey, bytes] = {}
        for cell in range(first >> _SHIFT, (last >> _SHIFT) + 1):
            for rows in (self.old.cells[cell], self.young.cells[cell]):
                found.update({row: state for row, state in rows.items() if first <= row[0] <= last})
        return found

    def unfolded(self) -> dict[RowKey, bytes]:
        """What `data` may not show yet."""
        rows = dict(self.old.items()) if self.old.left else {}
        rows.update(self.young.items())
        return rows
