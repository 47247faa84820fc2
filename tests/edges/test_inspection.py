"""Looking into a node's database from outside (storage/inspection.py), with the node's own storage as the other side."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import EMPTY, Context, encode, put
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.storage.inspection import Inspection, shown
from dynazmq.storage.schema import owner_of
from dynazmq.storage.sqlite import SqliteStorage


def state(value: bytes | None, counter: int = 1) -> bytes:
    seen = Context({"n1~e": counter - 1}) if counter > 1 else Context()
    return encode(put(EMPTY, seen, "n1~e", value, b"w" * 16, 1_700_000_000_000)[0])


def write(storage: SqliteStorage, key: bytes, value: bytes | None, counter: int = 1) -> None:
    storage.write(place("default", key), "default", key, state(value, counter))
    storage.commit()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "n1" / "data.db"


@pytest.fixture
def node(path: Path) -> Iterator[SqliteStorage]:
    """The storage of a node that runs."""
    storage = SqliteStorage(path, sync="normal", owner=owner_of("n1", 7))
    yield storage
    storage.close()


def test_what_is_in_the_journal_only_is_shown_and_said_to_be(node: SqliteStorage, path: Path) -> None:
    write(node, b"cart", b"milk")
    with Inspection(path) as inspection:
        (row,) = inspection.key("default", b"cart")
        seen = inspection.overview()
        assert row.table == "journal"
        siblings = row.siblings()
        assert siblings is not None
        assert [each["value"] for each in shown(siblings)] == [b"milk"]
        assert (seen.rows["data"], seen.unfolded, seen.owner) == (0, 1, "n1 of 0000000000000007")
        assert [each.key for each in inspection.table("journal", 10)] == [b"cart"]


def test_a_row_in_data_with_a_newer_one_in_the_journal_is_shown_twice_the_newer_first(node: SqliteStorage, path: Path) -> None:
    write(node, b"cart", b"milk")
    node.close()
    again = SqliteStorage(path, sync="normal", owner=owner_of("n1", 7))
    write(again, b"cart", b"bread", 2)
    with Inspection(path) as inspection:
        newer, older = inspection.key("default", b"cart")
    again.close()
    assert (newer.table, older.table) == ("journal", "data")
    assert [shown(row.siblings() or EMPTY)[0]["value"] for row in (newer, older)] == [b"bread", b"milk"]


def test_what_is_folded_is_in_data_alone_although_the_journal_still_has_its_page(node: SqliteStorage, path: Path) -> None:
    write(node, b"cart", b"milk")
    node.close()
    with Inspection(path) as inspection:
        (row,) = inspection.key("default", b"cart")
        assert row.table == "data"
        assert row.intact
        assert inspection.overview().unfolded == 0


def test_tombstones_and_absent_keys_are_told_apart(node: SqliteStorage, path: Path) -> None:
    write(node, b"gone", None)
    with Inspection(path) as inspection:
        (row,) = inspection.key("default", b"gone")
        assert [each["value"] for each in shown(row.siblings() or EMPTY)] == [None]
        assert inspection.key("default", b"never") == []
        assert inspection.key("other", b"gone") == []


def test_hints_are_shown_with_whom_they_are_for(node: SqliteStorage, path: Path) -> None:
    node.write_hint("n3", place("default", b"cart"), "default", b"cart", state(b"milk"))
    node.commit()
    with Inspection(path) as inspection:
        (row,) = inspection.key("default", b"cart")
        assert (row.table, row.target) == ("hints", "n3")
        assert inspection.overview().hints == {"n3": 1}
        assert [each.target for each in inspection.table("hints", 10)] == ["n3"]


def test_a_damaged_row_is_said_to_be(node: SqliteStorage, path: Path) -> None:
    write(node, b"cart", b"milk")
    node.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE data SET state = ?", (state(b"mulk"),))
    other.close()
    with Inspection(path) as inspection:
        (row,) = inspection.key("default", b"cart")
        assert not row.intact
        assert [each.intact for each in inspection.table("data", 10)] == [False]


@pytest.mark.parametrize(
    "sql",
    [
        *("DELETE FROM data", "INSERT INTO meta VALUES ('a', x'00', 0)", "UPDATE data SET state = x''", "DROP TABLE data"),
        *("CREATE TABLE t (x)", "CREATE TEMP TABLE t (x)", "ATTACH 'other.db' AS other", "VACUUM INTO 'copy.db'", "VACUUM"),
        *(
            "PRAGMA journal_mode = DELETE",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA user_version = 9",
            "PRAGMA writable_schema = 1",
        ),
        *("BEGIN EXCLUSIVE", "COMMIT", "REINDEX", "ANALYZE", "SELECT load_extension('x')"),
    ],
)
def test_whatever_would_write_is_refused(sql: str, node: SqliteStorage, path: Path, tmp_path: Path) -> None:
    write(node, b"cart", b"milk")
    before = sorted(tmp_path.rglob("*"))
    with Inspection(path) as inspection, pytest.raises(InvalidRequest):
        inspection.query(sql, 10)
    assert sorted(tmp_path.rglob("*")) == before
    assert node.read(place("default", b"cart"), "default", b"cart") == state(b"milk")
    write(node, b"cart", b"bread", 2)  # nothing is locked


def test_a_select_is_done_decoded_and_bounded(node: SqliteStorage, path: Path) -> None:
    for i in range(5):
        write(node, b"k%d" % i, b"v%d" % i)
    node.close()
    with Inspection(path) as inspection:
        rows, more = inspection.query("SELECT key, decoded(state) AS state FROM data ORDER BY key", 3)
        assert more
        assert [row["key"] for row in rows] == [b"k0", b"k1", b"k2"]
        assert '"value": "v0"' in rows[0]["state"]
        assert inspection.query("SELECT decoded(x'00') AS told", 3) == ([{"told": None}], False)


def test_a_value_that_is_no_text_is_told_from_one_that_looks_like_its_escape(node: SqliteStorage, path: Path) -> None:
    write(node, b"a", b"\xff")
    write(node, b"b", b"\\xff")
    node.close()
    with Inspection(path) as inspection:
        rows, _ = inspection.query("SELECT decoded(state) AS state FROM data ORDER BY key", 3)
    first, second = [json.loads(row["state"])["siblings"][0] for row in rows]
    assert (first["value"], first["encoding"]) == ("/w==", "base64")
    assert (second["value"], "encoding" in second) == ("\\xff", False)


@pytest.mark.parametrize("sql", ["", "SELEKT 1", "SELECT nope FROM data", "SELECT 1; SELECT 2", "SELECT * FROM nowhere", "\0"])
def test_what_is_no_statement_is_one_error_of_ours(sql: str, node: SqliteStorage, path: Path) -> None:
    with Inspection(path) as inspection, pytest.raises(InvalidRequest):
        inspection.query(sql, 10)


def test_a_statement_without_an_end_is_ended(node: SqliteStorage, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynazmq.storage.inspection.SECONDS_MAX", 0.05)
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    with Inspection(path) as inspection, pytest.raises(InvalidRequest, match="ended"):
        inspection.query(endless, 10)


def test_an_open_inspection_does_not_hold_up_the_node(node: SqliteStorage, path: Path) -> None:
    """Its log begins anew: no read transaction is left open between two looks."""
    with Inspection(path) as inspection:
        inspection.overview()
        for i in range(50):
            write(node, b"k%d" % i, b"v" * 500)
        busy, pages, copied = sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert (busy, pages, copied) == (0, 0, 0)
        assert inspection.overview().rows["journal"] >= 1


def test_looking_at_a_node_that_is_down_leaves_no_file_behind(node: SqliteStorage, path: Path) -> None:
    write(node, b"cart", b"milk")
    node.close()
    before = sorted(each.name for each in path.parent.iterdir())
    with Inspection(path) as inspection:
        inspection.overview()
    assert sorted(each.name for each in path.parent.iterdir()) == before


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\0" + b"\0" * 200])
def test_what_is_no_database_is_one_error_of_ours(content: bytes, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ClusterError), Inspection(path) as inspection:
        inspection.overview()


def test_a_node_that_has_stored_nothing_is_said_to_have(path: Path) -> None:
    with pytest.raises(ClusterError, match="has not stored anything yet"):
        Inspection(path)
