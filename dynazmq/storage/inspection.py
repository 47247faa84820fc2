"""Looking into a node's database from outside, while the node writes it or after it has died. Nothing is changed, or locked.

    read-only   SQLite opens the file so (`mode=ro`), and an authorizer lets nothing through but SELECT: no write, no ATTACH, no
                VACUUM INTO, no PRAGMA that acts
    short       each look is one read transaction that ends with it: an open one would keep the node's log from beginning anew.
                A statement that takes longer than `SECONDS_MAX` is ended.

What a node has committed lately is in its journal and not in `data` yet (journal.py). So a row is looked for in both, and the
journal's is the newer one: it is what the node serves.
"""

from __future__ import annotations

import base64
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynazmq.dynamo.values.ring import place as place_of
from dynazmq.dynamo.values.versions import MalformedVersion, Siblings, decode, node_of
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.storage.base import RowKey
from dynazmq.storage.database import text_of
from dynazmq.storage.journal import replay
from dynazmq.storage.tables import SIGNED, intact, meta_intact

SECONDS_MAX = 10.0
TABLES = ("data", "hints", "meta", "journal")

_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_ALLOWED |= {sqlite3.SQLITE_SAVEPOINT}  # sqlite-utils puts one around each query; the look's transaction ends with all of them
_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "page_count", "page_size", "user_version"}
_PRAGMAS |= {"application_id", "freelist_count", "journal_mode", "function_list", "quick_check", "integrity_check"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One state that is stored, and where."""

    table: str  # data | journal | hints
    place: int
    bucket: str
    key: bytes
    state: bytes  # b"": the journal says that it is deleted
    intact: bool = True  # its checksum is right; the journal's are looked at a page at a time
    target: str = ""  # of a hint

    def siblings(self) -> Siblings | None:
        """None when the bytes are no causal state."""
        try:
            return decode(self.state)
        except MalformedVersion:
            return None


@dataclass(slots=True, kw_only=True)
class Overview:
    """What is in a database."""

    path: Path
    bytes: int
    log_bytes: int
    schema: int
    owner: str
    rows: dict[str, int] = field(default_factory=dict)  # table → rows; of the journal: slots
    unfolded: int = 0  # rows of the journal that `data` does not show yet
    lost: str = ""  # what is damaged in the journal
    hints: dict[str, int] = field(default_factory=dict)  # target → rows


class Inspection:
    """An open database. Raises ClusterError when it cannot be read; `close` it."""

    def __init__(self, path: Path) -> None:
        from sqlite_utils import Database

        if not path.exists():
            raise ClusterError(f"{path} is not there: the node has not stored anything yet")
        self.path = path
        self._connection, self._at_rest = _connect(path)
        self._deadline = 0.0
        self._connection.set_authorizer(_authorize)
        self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, 10_000)
        self._connection.create_function("decoded", 1, _decoded, deterministic=True)
        self._db = Database(self._connection, recursive_triggers=False, execute_plugins=False)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Inspection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- looking ----------------------------------------------------------------------------------------------------------

    def overview(self) -> Overview:
        with self._look():
            there = set(self._db.table_names())
            if "data" not in there:
                raise ClusterError(f"{self.path} is no database of a node: it has {' '.join(sorted(there)) or 'no tables'}")
            counted = {name: self._db.table(name).count for name in TABLES if name in there}
            left = replay(self._connection)
            owner = self._connection.execute("SELECT value FROM meta WHERE name = 'owner'").fetchone()
            return Overview(
                path=self.path,
                bytes=_length(self.path),
                log_bytes=_length(Path(f"{self.path}-wal")),
                schema=int(next(self._db.query("PRAGMA user_version"))["user_version"]),
                owner=bytes(owner[0]).decode(errors="replace") if owner else "",
                rows=counted,
                unfolded=self._newer(left.rows),
                lost=left.lost,
                hints={str(row["target"]): row["n"] for row in self._db.query(_HINT_COUNTS)},
            )

    def key(self, bucket: str, key: bytes) -> list[Row]:
        """All that is stored of a key: what the node serves first, what is older behind it, then hints."""
        place = place_of(bucket, key)
        found: list[Row] = []
        with self._look():
            pending = replay(self._connection).rows.get((place, bucket, key))
            in_data = self._connection.execute(_OF_KEY, (place - SIGNED, bucket, key)).fetchone()
            folded = pending == (_bytes(in_data[0]) if in_data else b"")  # the journal keeps pages until it needs them
            if pending is not None and not folded:
                found.append(Row(table="journal", place=place, bucket=bucket, key=key, state=pending))
            if in_data:
                sound = intact((place, bucket, key), *in_data)
                found.append(Row(table="data", place=place, bucket=bucket, key=key, state=_bytes(in_data[0]), intact=sound))
            for target, state, check in self._connection.execute(_HINTS_OF_KEY, (place - SIGNED, bucket, key)):
                sound = intact((place, bucket, key), state, check)
                found.append(
                    Row(table="hints", place=place, bucket=bucket, key=key, state=_bytes(state), intact=sound, target=target)
                )
        return found

    def table(self, name: str, limit: int) -> list[Row]:
        """The first rows of data or hints, or those of the journal that data does not show."""
        with self._look():
            if name == "journal":
                pending = sorted(self._differing(replay(self._connection).rows))[:limit]
                return [Row(table=name, place=at[0], bucket=at[1], key=at[2], state=state) for at, state in pending]
            rows = self._connection.execute(_ALL_HINTS if name == "hints" else _ALL_DATA, (limit,)).fetchall()
        found = []
        for target, place, bucket, key, state, check in rows:
            at = (int(place) + SIGNED, str(bucket), _bytes(key))
            sound = intact(at, state, check)
            found.append(
                Row(table=name, place=at[0], bucket=at[1], key=at[2], state=_bytes(state), intact=sound, target=str(target))
            )
        return found

    def meta(self) -> list[tuple[str, bytes, bool]]:
        """(name, value, whether its checksum is right)."""
        with self._look():
            rows = self._connection.execute("SELECT name, value, checksum FROM meta ORDER BY name").fetchall()
        return [(str(name), _bytes(value), meta_intact(name, value, check)) for name, value, check in rows]

    def query(self, sql: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """The first rows of a SELECT, and whether there are more. Raises InvalidRequest for anything else."""
        with self._look():
            rows: list[dict[str, Any]] = []
            try:
                for row in self._db.query(sql):
                    if len(rows) == limit:
                        return rows, True
                    rows.append(row)
            except ValueError:  # sqlite-utils looks whether there can be rows
                raise InvalidRequest(_REFUSED) from None
        return rows, False

    # --- parts ------------------------------------------------------------------------------------------------------------

    def _look(self) -> _Look:
        self._deadline = time.monotonic() + SECONDS_MAX
        return _Look(self._connection, self.path, self._at_rest)

    def _newer(self, rows: dict[RowKey, bytes]) -> int:
        return sum(1 for _ in self._differing(rows))

    def _differing(self, rows: dict[RowKey, bytes]) -> Iterator[tuple[RowKey, bytes]]:
        """Those that `data` does not show as they are: the journal keeps pages until it needs them."""
        for (place, bucket, key), state in rows.items():
            found = self._connection.execute(_OF_KEY, (place - SIGNED, bucket, key)).fetchone()
            if (found[0] if found else b"") != state:
                yield (place, bucket, key), state


_OF_KEY = "SELECT state, checksum FROM data WHERE place = ? AND bucket = ? AND key = ?"
_HINTS_OF_KEY = "SELECT target, state, checksum FROM hints WHERE place = ? AND bucket = ? AND key = ? ORDER BY target"
_HINT_COUNTS = "SELECT target, count(*) AS n FROM hints GROUP BY target ORDER BY target"
_ALL_DATA = "SELECT '', place, bucket, key, state, checksum FROM data ORDER BY place, bucket, key LIMIT ?"
_ALL_HINTS = "SELECT target, place, bucket, key, state, checksum FROM hints ORDER BY target, place, bucket, key LIMIT ?"


_REFUSED = "refused: inspect only reads, so a statement is one SELECT"


class _Look:
    """One read transaction. SQLite's errors become ours."""

    def __init__(self, connection: sqlite3.Connection, path: Path, at_rest: bool) -> None:
        self._connection = connection
        self._path = path
        self._at_rest = at_rest

    def __enter__(self) -> None:
        self._connection.set_authorizer(None)
        self._connection.execute("BEGIN")
        self._connection.set_authorizer(_authorize)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._connection.set_authorizer(None)
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._connection.set_authorizer(_authorize)
        if self._at_rest and os.path.exists(f"{self._path}-wal"):
            raise ClusterError(f"{self._path}: its node has just started; look again") from None
        if not isinstance(error, sqlite3.Error | sqlite3.Warning):
            return
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            raise InvalidRequest(f"that took longer than {SECONDS_MAX:g} s and was ended; ask for less") from None
        if code in (sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY):
            raise InvalidRequest(_REFUSED) from None
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR):
            raise ClusterError(f"{self._path} is damaged: {error}") from None
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL):
            raise ClusterError(f"cannot read {self._path}: {error}") from None
        raise InvalidRequest(f"not a statement that can be run: {error}") from None


def _connect(path: Path) -> tuple[sqlite3.Connection, bool]:
    """And whether the file is taken for one that nobody writes: a node that runs has a log beside it, and so has one that was
    killed. Where there is none SQLite would make one, and leave it behind; so it is told that it need not.
    """
    at_rest = not os.path.exists(f"{path}-wal")
    options = "mode=ro&immutable=1" if at_rest else "mode=ro"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=2.0, isolation_level=None)
        connection.text_factory = text_of
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise ClusterError(f"cannot read {path}: {error}") from None
    return connection, at_rest


def _authorize(action: int, first: str | None, second: str | None, _database: str | None, _trigger: str | None) -> int:
    if action in _ALLOWED or (action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in _PRAGMAS and second is None):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and (first or "").lower().startswith(("table_", "index_")):
        return sqlite3.SQLITE_OK  # with the table's name
    return sqlite3.SQLITE_DENY


def shown(siblings: Siblings) -> list[dict[str, Any]]:
    """The live versions, for people. value: bytes, None for a tombstone."""
    return [
        {
            "value": each.value,
            "node": node_of(each.actor),
            "actor": each.actor,
            "counter": each.counter,
            "written_at": each.wall_ms / 1000,
        }
        for each in siblings.live
    ]


def _decoded(state: object) -> str | None:
    """For SQL: SELECT key, decoded(state) FROM data."""
    import json

    try:
        siblings = decode(_bytes(state))
    except MalformedVersion:
        return None
    live = [{**each, **_as_text(each["value"])} for each in shown(siblings)]
    return json.dumps({"siblings": live, "context": repr(siblings.context)}, ensure_ascii=False)


def _as_text(value: bytes | None) -> dict[str, str | None]:
    """A value as JSON can hold it, and be read back from it."""
    if value is None:
        return {"value": None}
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"value": base64.b64encode(value).decode(), "encoding": "base64"}


def _bytes(raw: object) -> bytes:
    return raw if isinstance(raw, bytes) else str(raw).encode() if raw is not None else b""


def _length(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
