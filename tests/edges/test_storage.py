"""Both storages against one model, and what SQLite's files must survive."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynazmq.dynamo.runtime import DamagedRow, HintTotal, OwnRow, StoreFailed
from dynazmq.errors import StorageError
from dynazmq.storage.base import RowKey
from dynazmq.storage.memory import MemoryStorage
from dynazmq.storage.sqlite import SqliteStorage

LAST_PLACE = (1 << 64) - 1
PLACES = [0, 1, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, LAST_PLACE]

places = st.sampled_from(PLACES)
buckets = st.sampled_from(["default", "carts", "ünï"])
keys = st.sampled_from([b"a", b"b", b"\x00\xff"])
states = st.sampled_from([b"", b"one", b"two", bytes(300)])
targets = st.sampled_from(["n1", "n2"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), places, buckets, keys, states),
        st.tuples(st.just("write_hint"), targets, places, buckets, keys, states.filter(bool)),
        st.tuples(st.just("delete_hint"), targets, places, buckets, keys),
        st.tuples(st.just("set_meta"), st.sampled_from(["identity", "ring"]), states),
        st.tuples(st.sampled_from(["commit", "rollback"])),
    ),
    max_size=30,
)


def own_rows(store: MemoryStorage | SqliteStorage, first: int, last: int, limit: int) -> list[OwnRow]:
    """Page by page; a page may be short, or empty, before the end."""
    found: list[OwnRow] = []
    behind: RowKey | None = (-1, "", b"")
    while behind is not None:
        page, behind = store.rows(first, last, behind, limit)
        assert len(page) <= limit
        found += page
    return found


def all_hints(store: MemoryStorage | SqliteStorage, target: str, limit: int) -> list[OwnRow]:
    """The same of a target's hints."""
    found: list[OwnRow] = []
    behind: RowKey | None = (-1, "", b"")
    while behind is not None:
        page, behind = store.hints(target, behind, limit)
        assert len(page) <= limit
        found += page
    return found


def counted(store: MemoryStorage | SqliteStorage, targets: Iterable[str]) -> dict[str, HintTotal]:
    """The totals as they are when every hint is looked at."""
    kept = {target: all_hints(store, target, 1000) for target in targets}
    sizes = {target: [len(key) + len(state or b"") for _, _, key, state in rows] for target, rows in kept.items()}
    return {target: HintTotal(len(each), sum(each)) for target, each in sizes.items() if each}


def everything(store: MemoryStorage | SqliteStorage) -> object:
    """All that a reader can see, through every way of reading."""
    buckets, keys = ("default", "carts", "ünï"), (b"a", b"b", b"\x00\xff")
    rows = {(p, b, k): store.read(p, b, k) for p in PLACES for b in buckets for k in keys}
    hints = {target: all_hints(store, target, 1000) for target in ("n1", "n2")}
    assert all_hints(store, "n1", 1) == all_hints(store, "n1", 2) == hints["n1"]
    scans = {b: store.scan(b, 0, LAST_PLACE, (-1, b""), 1000) for b in ("default", "carts")}
    meta = [store.get_meta("identity"), store.get_meta("ring")]
    own = [own_rows(store, 0, LAST_PLACE, limit) for limit in (1, 2, 1000)]
    assert own[0] == own[1] == own[2]
    own += [own_rows(store, 1, 1 << 63, 2)]
    assert store.hint_totals() == counted(store, ("n1", "n2"))
    assert [store.hint_total(target) for target in store.hint_totals()] == list(store.hint_totals().values())
    return rows, hints, scans, own, meta, store.key_count()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_sqlite_shows_what_the_model_shows_after_any_steps(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[object, ...]]
) -> None:
    path = tmp_path_factory.mktemp("model") / "data.db"
    memory, sqlite = MemoryStorage(), SqliteStorage(path, "normal")
    try:
        for name, *arguments in steps:
            for store in (memory, sqlite):
                getattr(store, str(name))(*arguments)
            assert memory.hint_totals() == sqlite.hint_totals() == counted(memory, ("n1", "n2"))
        assert everything(sqlite) == everything(memory)
        memory.crash()
        sqlite.close()
        sqlite = SqliteStorage(path, "normal")
        assert everything(sqlite) == everything(memory), "after a restart: what was committed, and nothing else"
    finally:
        sqlite.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_scan_in_pages_gives_each_key_once_and_in_order(kind: str, tmp_path: Path) -> None:
    store = MemoryStorage() if kind == "memory" else SqliteStorage(tmp_path / "data.db", "normal")
    wanted = [(place * 1000, f"k{place}".encode()) for place in range(57)]
    for place, key in wanted:
        store.write(place, "default", key, b"state")
        store.write(place, "other", key, b"state")
    store.commit()
    found: list[tuple[int, bytes]] = []
    after: tuple[int, bytes] | None = (-1, b"")
    pages = 0
    while after is not None:
        rows, after = store.scan("default", 0, LAST_PLACE, after, 10)
        found += [(place, key) for place, key, _ in rows]
        pages += 1
        assert pages < 40
    assert found == wanted
    store.close()


def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    script = f"""
import sys
from pathlib import Path
from dynazmq.storage.sqlite import SqliteStorage
store = SqliteStorage(Path({str(path)!r}), "normal")
for i in range(10**9):
    store.write(i, "b", b"%d" % i, b"x" * 200)
    store.commit()
    print(i, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 3000:
            break
    os.kill(child.pid, signal.SIGKILL)
    last = max([int(line) for line in child.stdout if line.strip()], default=3000)
    child.wait()
    child.stdout.close()
    store = SqliteStorage(path, "normal")
    assert [i for i in range(last + 1) if store.read(i, "b", b"%d" % i) != b"x" * 200] == []
    store.close()


def test_a_flipped_bit_is_noticed_and_never_returned(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "full")
    store.write(7, "b", b"k", b"state")
    store.write_hint("n2", 7, "b", b"k", b"state")
    store.commit()
    store.close()
    database = sqlite3.connect(tmp_path / "data.db")
    database.execute("UPDATE data SET state = x'7374617475'")
    database.execute("UPDATE hints SET state = x'7374617475'")
    database.commit()
    database.close()
    store = SqliteStorage(tmp_path / "data.db", "full")
    with pytest.raises(DamagedRow):
        store.read(7, "b", b"k")
    with pytest.raises(DamagedRow):
        store.read_hint("n2", 7, "b", b"k")
    assert store.hints("n2", (0, "", b""), 10) == ([(7, "b", b"k", None)], None)
    store.close()


def test_totals_of_hints_follow_what_is_found_and_are_counted_anew_when_the_store_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    store = SqliteStorage(path, "normal")
    for number in range(100):
        store.write_hint("n2", number << 50, "b", b"%03d" % number, bytes(number * 50))
    store.commit()
    store.close()
    database = sqlite3.connect(path)
    database.execute("UPDATE hints SET state = x'7374617475' WHERE key = x'303031'")  # its checksum does not fit
    database.execute("UPDATE hints SET target = x'6e32' WHERE key = x'303032'")  # a target that is no text
    database.commit()
    database.close()
    store = SqliteStorage(path, "normal")
    whole = sum(3 + number * 50 for number in range(3, 100)) + 3 + 5
    assert store.hint_totals() == {"n2": HintTotal(98, whole)}, "the one of 0 bytes is none"
    with pytest.raises(DamagedRow):
        store.read_hint("n2", 1 << 50, "b", b"001")
    store.delete_hint("n2", 1 << 50, "b", b"001")
    store.delete_hint("n2", 99 << 50, "b", b"099")
    store.delete_hint("n3", 99 << 50, "b", b"099")
    store.write_hint("n2", 98 << 50, "b", b"098", b"new")
    after = HintTotal(96, whole - 8 - (3 + 99 * 50) - 98 * 50 + 3)
    assert store.hint_total("n2") == after
    store.rollback()
    assert (store.hint_total("n2"), store.hint_total("n3")) == (HintTotal(98, whole), HintTotal(0, 0))
    store.close()


def test_a_page_of_rows_ends_early_where_rows_are_large(tmp_path: Path) -> None:
    """Promise 7: 512 rows of a megabyte each are not read in one turn, whoever asks for them."""
    store = SqliteStorage(tmp_path / "data.db", "normal")
    for i in range(40):
        store.write(i, "b", b"%d" % i, bytes(1 << 20))
        store.commit()
    store.close()
    store = SqliteStorage(tmp_path / "data.db", "normal")
    sizes, places, after = [], [], (-1, "", b"")
    while True:
        page, behind = store.rows(0, LAST_PLACE, after, 512)
        sizes.append(sum(len(state or b"") for *_, state in page))
        places += [row[0] for row in page]
        if behind is None:
            break
        after = behind
    store.close()
    assert places == list(range(40))
    assert max(sizes) <= 5 << 20


@pytest.mark.parametrize("targets", [1, 3])
def test_a_page_of_keys_or_of_hints_ends_early_where_states_are_large(tmp_path: Path, targets: int) -> None:
    """Promise 7: a page of a scan was a thousand rows of each table, whatever they held, and a batch of hints 64."""
    store = SqliteStorage(tmp_path / "data.db", "normal")
    for number in range(24):
        store.write(number, "b", b"%d" % number, bytes(1 << 20))
        for target in range(targets):
            store.write_hint(f"n{target}", number, "b", b"h%d" % number, bytes(1 << 20))
        store.commit()
    places: list[tuple[int, bytes]] = []
    after: tuple[int, bytes] | None = (-1, b"")
    while after is not None:
        page, after = store.scan("b", 0, LAST_PLACE, after, 1000)
        places += [row[:2] for row in page]
        assert sum(len(state) for *_, state in page) <= (5 + targets) << 20
    assert places == sorted((number, prefix + b"%d" % number) for number in range(24) for prefix in (b"", b"h"))

    behind: RowKey | None = (-1, "", b"")
    hints: list[RowKey] = []
    while behind is not None:
        rows, behind = store.hints("n0", behind, 1000)
        assert sum(len(state or b"") for *_, state in rows) <= 5 << 20
        hints += [row[:3] for row in rows]
    assert hints == [(number, "b", b"h%d" % number) for number in range(24)]
    store.close()


def test_a_commit_that_fails_changes_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "full")
    store.write(1, "b", b"k", b"old")
    store.commit()
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    store.write(1, "b", b"k", bytes(1 << 20))
    store.write(2, "b", b"l", b"new")
    with pytest.raises(StoreFailed, match="full"):
        store.commit()
    store.rollback()
    assert (store.read(1, "b", b"k"), store.read(2, "b", b"l")) == (b"old", b"")
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.write(2, "b", b"l", b"new")
    store.commit()
    assert (store.read(1, "b", b"k"), store.read(2, "b", b"l")) == (b"old", b"new")
    store.close()


def test_the_log_is_copied_while_commits_go_on(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "normal")
    for turn in range(3000):
        for i in range(8):
            store.write(turn * 8 + i, "b", b"k", bytes(400))
        store.commit()
    store.close()
    assert store._checkpointer.counts["copies"] > 0
    assert not (tmp_path / "data.db-wal").exists()
    assert (tmp_path / "data.db").stat().st_size > 3000 * 8 * 400


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("CREATE TABLE somebody_elses (x)", "something else"),
        ("PRAGMA application_id = 7", "something else"),
        ("PRAGMA application_id = 0x445A4D51; PRAGMA user_version = 99", "schema 99"),
    ],
)
def test_a_database_of_something_else_or_of_a_newer_release_is_refused_untouched(
    tmp_path: Path, prepare: str, message: str
) -> None:
    path = tmp_path / "data.db"
    database = sqlite3.connect(path)
    database.executescript(prepare)
    database.close()
    with pytest.raises(StorageError, match=message):
        SqliteStorage(path, "full")
    database = sqlite3.connect(path)
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
    database.close()
    assert "data" not in tables


def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "data.db").write_bytes(b"\x00garbage" * 1000)
    with pytest.raises(StorageError, match=r"data\.db"):
        SqliteStorage(tmp_path / "data.db", "full")


def test_recent_rows_are_bounded_by_bytes_and_show_what_is_on_disk(tmp_path: Path) -> None:
    path, state = tmp_path / "data.db", bytes(1000)
    store = SqliteStorage(path, "normal")
    for number in range(12_000):
        store.write(number, "b", b"k", state)
        if number % 100 == 0:
            store.commit()
    store.commit()
    store.close()
    store = SqliteStorage(path, "normal")
    for number in range(12_000):
        assert store.read(number, "b", b"k") == state
    assert 1_000 < len(store._recent) < 6_000

    store.write(11_999, "b", b"k", b"newer")
    store.rollback()
    assert store.read(11_999, "b", b"k") == state
    store.write(11_999, "b", b"k", b"")
    store.commit()
    assert store.read(11_999, "b", b"k") == b""
    store.write(11_998, "b", b"k", bytes(1 << 20))
    store.commit()
    assert len(store.read(11_998, "b", b"k")) == 1 << 20
    assert store._recent.get((11_998, "b", b"k")) is None, "too long to be kept"
    store.close()


def test_reads_hold_no_transaction_once_the_turn_is_over(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "normal")
    other = sqlite3.connect(tmp_path / "data.db", timeout=0.1)
    store.read(1, "b", b"k")
    assert store.commit() == 0
    other.execute("CREATE TABLE visitor (x)")  # needs that nobody reads
    other.commit()
    store.read(1, "b", b"k")
    other.execute("INSERT INTO visitor VALUES (1)")
    other.commit()
    store.write(1, "b", b"k", b"state")
    assert store.commit() == 1, "a stranger who wrote in the middle of the turn does not make it fail"
    other.close()
    store.close()
