"""Rows to and from the tables `data`, `hints` and `meta`: statements, layout and checksums.

SQLite's integers are signed, so a place is stored less 2^63; the order stays the ring's.

One flipped bit in the header of a record makes a column of another type. So what is read is looked at before it is used.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

from dynazmq.storage.base import RowKey, checksum

SIGNED = 1 << 63

HintKey = tuple[str, int, str, bytes]
"""(target, place, bucket, key)."""

READ = "SELECT state, checksum FROM data WHERE place = ? AND bucket = ? AND key = ?"
EXISTS = "SELECT 1 FROM data WHERE place = ? AND bucket = ? AND key = ?"
SCAN = """SELECT place, bucket, key, state, checksum FROM data
          WHERE place BETWEEN ? AND ? AND (place > ? OR key > ?) ORDER BY place, bucket, key LIMIT ?"""

ROWS = """SELECT place, bucket, key, state, checksum FROM data
          WHERE place BETWEEN ? AND ? AND (place, bucket, key) > (?, ?, ?) ORDER BY place, bucket, key LIMIT ?"""

READ_HINT = "SELECT state, checksum FROM hints WHERE target = ? AND place = ? AND bucket = ? AND key = ?"
HINTS = """SELECT place, bucket, key, state, checksum FROM hints
           WHERE target = ? AND (place, bucket, key) > (?, ?, ?) ORDER BY place, bucket, key LIMIT ?"""
SCAN_HINTS = """SELECT place, bucket, key, state, checksum FROM hints
                WHERE target = ? AND place BETWEEN ? AND ? AND (place > ? OR key > ?) ORDER BY place, bucket, key LIMIT ?"""

# Damage may make a state NULL. The length of a long one is read from its record's header: its overflow pages are not.
_HINT_BYTES = "length(key) + ifnull(length(state), 0)"
COUNT_HINTS = f"SELECT target, count(*), sum({_HINT_BYTES}) FROM hints GROUP BY target"
HINT_BYTES = f"SELECT {_HINT_BYTES} FROM hints WHERE target = ? AND place = ? AND bucket = ? AND key = ?"

READ_META = "SELECT name, value, checksum FROM meta WHERE name = ?"
READ_ALL_META = "SELECT name, value, checksum FROM meta"
WRITE_META = "INSERT OR REPLACE INTO meta (name, value, checksum) VALUES (?, ?, ?)"

_COLUMNS = 5
_TOGETHER = 16
_WRITE = "INSERT OR REPLACE INTO data (place, bucket, key, state, checksum) VALUES (?, ?, ?, ?, ?)"
_WRITE_TOGETHER = _WRITE + ", (?, ?, ?, ?, ?)" * (_TOGETHER - 1)
_DELETE = "DELETE FROM data WHERE place = ? AND bucket = ? AND key = ?"
_WRITE_HINT = "INSERT OR REPLACE INTO hints (target, place, bucket, key, state, checksum) VALUES (?, ?, ?, ?, ?, ?)"
_DELETE_HINT = "DELETE FROM hints WHERE target = ? AND place = ? AND bucket = ? AND key = ?"

Stored = tuple[Any, ...]
"""place less 2^63, bucket, key, state, checksum: as they are in the file, of whatever types damage has made them."""


def position(row: Stored) -> RowKey | None:
    """Where a row is found; None when damage has changed the type of a column: then nobody knows, and it is passed over."""
    place, bucket, key, _, _ = row
    if place.__class__ is int and bucket.__class__ is str and key.__class__ is bytes:
        return place + SIGNED, bucket, key
    return None


def intact(at: RowKey, state: Any, check: Any) -> bool:
    """Whether a state is the one that was written."""
    return state.__class__ is bytes and check == checksum(*at, state)


def meta_row(name: str, value: bytes) -> tuple[str, bytes, int]:
    """For WRITE_META."""
    return name, value, zlib.crc32(value, zlib.crc32(name.encode()))


def meta_intact(name: Any, value: Any, check: Any) -> bool:
    return name.__class__ is str and value.__class__ is bytes and check == meta_row(name, value)[2]


_ExecuteMany = Callable[[str, Iterable[Any]], Any]


def put_rows(executemany: _ExecuteMany, rows: dict[RowKey, bytes]) -> None:
    """Write what has a state into `data`, delete what has none; in the given order. Many at a time cost a quarter less."""
    flat: list[Any] = []
    gone = []
    for at, state in rows.items():
        place, bucket, key = at
        if state:
            flat += (place - SIGNED, bucket, key, state, checksum(place, bucket, key, state))
        else:
            gone.append((place - SIGNED, bucket, key))
    width = _COLUMNS * _TOGETHER
    whole = len(flat) - len(flat) % width
    executemany(_WRITE_TOGETHER, [flat[i : i + width] for i in range(0, whole, width)])
    executemany(_WRITE, [flat[i : i + _COLUMNS] for i in range(whole, len(flat), _COLUMNS)])
    if gone:
        executemany(_DELETE, gone)


def put_hints(executemany: _ExecuteMany, hints: dict[HintKey, bytes]) -> None:
    """The same for `hints`."""
    kept, gone = [], []
    for at, state in hints.items():
        target, place, bucket, key = at
        if state:
            kept.append((target, place - SIGNED, bucket, key, state, checksum(place, bucket, key, state)))
        else:
            gone.append((target, place - SIGNED, bucket, key))
    executemany(_WRITE_HINT, kept)
    executemany(_DELETE_HINT, gone)
