"""The journal: what a turn wrote, as one blob (docs/decisions/0028).

A key's place is a hash, so the rows of a turn belong to as many different pages of `data`, and a commit writes whole pages. Put
one behind the other they fit one page. So a commit writes them into the journal, and `data` gets them later, sorted, many to
a page (overlay.py says when).

    journal    slot → turn, part, parts, folded, bytes, rows, checksum

The table is a ring of slots that each fill one page. A commit overwrites slots whose turns are in `data` by now, so that it
changes one page for every 4,000 bytes and neither takes nor frees any; appending and deleting would cost twice as much and
stall. `rows` is a part of the turn's blob, msgpack of {(place, bucket, key): state}. A state of b"" is a deletion, None says
that this turn wrote the row straight into `data`. `folded` is the newest turn that `data` held completely when the slot was
written: what is as old as that is dead.

Replaying any unbroken run of turns that ends with the newest gives each key its newest state, whatever part of it `data` holds
already. So recovery can be cut off and begun anew.

**Damage.** Each slot carries a checksum, looked at when the journal is replayed. A slot that fails may have held any row, so it
is not possible to say which key is missing; what `data` holds of it is older than what this node acknowledged. As a replica it
merely missed a write, as it may at any time: quorums hide that, repair mends it. As a coordinator it must not count on from the
older row, and does not: a new life issues dots under a new name (identity.py). So recovery leaves a note in the meta value
`rows_lost`, in the same transaction in which it clears the journal, and the node says it in its log.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from dynazmq.storage.base import RowKey

SLOT_BYTES = 4_000
"""One slot and its columns fill a page of 4,096 bytes, so that overwriting it touches no other."""

WRITE_SLOT = (
    "INSERT OR REPLACE INTO journal (slot, turn, part, parts, folded, bytes, rows, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)

# Damage may give a column another type: text that is none would make the whole SELECT fail.
_LOOK = """SELECT slot, CAST(turn AS INTEGER), CAST(part AS INTEGER), CAST(parts AS INTEGER), CAST(folded AS INTEGER),
           CAST(bytes AS INTEGER), CAST(rows AS BLOB), CAST(checksum AS INTEGER) FROM journal"""
_FETCH = "SELECT substr(CAST(rows AS BLOB), 1, bytes) FROM journal WHERE slot = ?"


class Journal:
    """Which slots are free, and the turns' numbers. `entry` proposes; only `written` changes anything."""

    __slots__ = ("_free", "_pack", "_unused", "turn")

    def __init__(self, turn: int = 0, slots: int = 0) -> None:
        """turn: the newest there is; slots: the highest in use."""
        self.turn = turn
        self._unused = slots + 1
        self._free: deque[int] = deque()  # the longest free first
        self._pack = msgpack.Packer().pack

    def entry(self, rows: Mapping[RowKey, bytes | None], folded: int) -> list[tuple[Any, ...]]:
        """The next turn's slots, as rows for WRITE_SLOT."""
        blob: bytes = self._pack(rows)
        turn, free = self.turn + 1, self._free
        parts = -(-len(blob) // SLOT_BYTES)
        entry = []
        for part in range(parts):
            slot = free[part] if part < len(free) else self._unused + part - len(free)
            piece = blob if parts == 1 else blob[part * SLOT_BYTES : (part + 1) * SLOT_BYTES]
            padded = piece.ljust(SLOT_BYTES, b"\0")
            entry.append((slot, turn, part, parts, folded, len(piece), padded, _checksum(turn, part, parts, folded, piece)))
        return entry

    def written(self, entry: list[tuple[Any, ...]]) -> list[int]:
        """The entry is committed. The slots that it has taken."""
        self.turn += 1
        free = self._free
        for _ in entry:
            if free:
                free.popleft()
            else:
                self._unused += 1
        return [row[0] for row in entry]

    def release(self, slots: list[int]) -> None:
        """The turns in these slots are in `data`."""
        self._free.extend(slots)


@dataclass(slots=True)
class Replayed:
    """What the journal holds."""

    rows: dict[RowKey, bytes]  # those that `data` may not hold
    lost: str  # what is missing; "" when nothing is
    turn: int  # the newest
    slots: list[int]  # all that there are


def replay(connection: sqlite3.Connection) -> Replayed:
    """Raises sqlite3.Error."""
    turns: dict[int, dict[int, int]] = {}  # turn → part → slot
    lengths: dict[int, int] = {}
    slots: list[int] = []
    folded = newest = damaged = 0
    for slot, turn, part, parts, folded_then, size, rows, check in connection.execute(_LOOK):
        slots.append(slot)
        try:
            intact = check == _checksum(turn, part, parts, folded_then, rows[:size])
        except (TypeError, ValueError):
            intact = False  # not even the types are what they were
        if not intact:
            damaged += 1
            continue
        turns.setdefault(turn, {})[part] = slot
        lengths[turn] = parts
        folded, newest = max(folded, folded_then), max(newest, turn)
    found: dict[RowKey, bytes] = {}
    missing = 0
    for turn in range(folded + 1, newest + 1):
        parts_of = turns.get(turn, {})
        if not parts_of or len(parts_of) < lengths[turn]:
            missing += 1
            continue
        _apply(b"".join(connection.execute(_FETCH, (parts_of[part],)).fetchone()[0] for part in sorted(parts_of)), found)
    lost = f"{damaged} of the journal's pages are damaged and {missing} of its turns missing" if damaged or missing else ""
    return Replayed(found, lost, newest, slots)


def _apply(blob: bytes, found: dict[RowKey, bytes]) -> None:
    for row, state in msgpack.unpackb(blob, use_list=False, strict_map_key=False).items():
        if state is None:
            found.pop(row, None)
        else:
            found[row] = state


def _checksum(turn: int, part: int, parts: int, folded: int, piece: bytes) -> int:
    return zlib.crc32(piece, zlib.crc32(b"%d %d %d %d" % (turn, part, parts, folded)))
