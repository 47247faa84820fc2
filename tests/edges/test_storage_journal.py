"""Journal, overlay and fold: the same store as ever, at whatever point of a fold it is looked at, killed or damaged."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynazmq.dynamo.runtime import ROWS_LOST, StoreFailed
from dynazmq.storage import schema
from dynazmq.storage.journal import SLOT_BYTES
from dynazmq.storage.memory import MemoryStorage
from dynazmq.storage.overlay import Bounds, Overlay
from dynazmq.storage.schema import STEPS
from dynazmq.storage.sqlite import SqliteStorage

LAST_PLACE = (1 << 64) - 1
TINY = Bounds(rows=6, slots=4, slice_rows=2, slice_s=0.0, slice_every_s=0.0, rest_s=0.0, age_s=0.0, row_bytes=400)
"""A generation is full after a few turns, so that some thirty steps see several folds and every point of one."""

PLACES = [0, 1, (1 << 56) - 1, 1 << 56, (1 << 63) - 1, 1 << 63, LAST_PLACE - 1, LAST_PLACE]
KEYS = [b"a", b"b"]
BUCKETS = ["default", "carts"]

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"),
            st.sampled_from(PLACES),
            st.sampled_from(BUCKETS),
            st.sampled_from(KEYS),
            st.sampled_from([b"", b"one", b"two", bytes(300), bytes(500), bytes(9000)]),
        ),
        st.tuples(
            st.just("write_hint"),
            st.just("n1"),
            st.sampled_from(PLACES),
            st.just("default"),
            st.just(b"a"),
            st.sampled_from([b"h", bytes(300)]),
        ),
        st.tuples(st.just("delete_hint"), st.just("n1"), st.sampled_from(PLACES), st.just("default"), st.just(b"a")),
        st.tuples(st.just("read"), st.sampled_from(PLACES), st.just("default"), st.just(b"a")),
        st.tuples(st.just("set_meta"), st.just("identity"), st.sampled_from([b"x", b"y"])),
        st.tuples(st.just("commit")),
        st.tuples(st.just("commit")),
        st.tuples(st.sampled_from(["rollback", "reopen", "kill", "fail"])),
    ),
    max_size=40,
)


def everything(store: MemoryStorage | SqliteStorage) -> object:
    """All that a reader can see, through every way of reading."""
    rows = {(p, b, k): store.read(p, b, k) for p in PLACES for b in BUCKETS for k in KEYS}
    scans = {b: store.scan(b, 0, LAST_PLACE, (-1, b""), 1000) for b in BUCKETS}
    parts = [store.scan("default", first, last, (first, b"a"), 1000) for first, last in zip(PLACES, PLACES[2:], strict=False)]
    hints, _ = store.hints("n1", (-1, "", b""), 1000)
    return rows, scans, parts, hints, store.hint_totals(), store.get_meta("identity"), store.key_count()


def pages(store: SqliteStorage, bucket: str, limit: int) -> list[tuple[int, bytes, bytes]]:
    rows: list[tuple[int, bytes, bytes]] = []
    after: tuple[int, bytes] | None = (-1, b"")
    while after is not None:
        page, after = store.scan(bucket, 0, LAST_PLACE, after, limit)
        rows += page
    return rows


def killed(store: SqliteStorage, path: Path) -> SqliteStorage:
    """What another process finds when this one is killed here: its files as they are now."""
    for file in store.path.parent.glob(f"{store.path.name}*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, path.parent / file.name.replace(store.path.name, path.name))
    return SqliteStorage(path, "normal", TINY)


def refuse_to_commit(store: SqliteStorage) -> None:
    """A commit while somebody else holds the write lock."""
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        if store._rows or store._hints or store._meta:
            with pytest.raises(StoreFailed):
                store.commit()
        else:
            assert store.commit() == 0, "a turn without writes has nothing that could fail"
    finally:
        other.execute("ROLLBACK")
        other.close()
    store.rollback()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_at_every_point_of_a_fold_it_shows_what_the_model_shows(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[object, ...]]
) -> None:
    monkeypatch.setattr("dynazmq.storage.sqlite.BUSY_S", 0.0)
    directory = tmp_path_factory.mktemp("model")
    opened = 0
    memory, sqlite = MemoryStorage(), SqliteStorage(directory / "0.db", "normal", TINY)
    try:
        for name, *arguments in steps:
            if name == "reopen":
                sqlite.close()
                sqlite = SqliteStorage(sqlite.path, "normal", TINY)
                memory.crash()
            elif name == "kill":
                opened += 1
                survivor = killed(sqlite, directory / f"{opened}.db")
                sqlite.close()
                sqlite = survivor
                memory.crash()
            elif name == "fail":
                refuse_to_commit(sqlite)
                memory.rollback()
            else:
                assert getattr(sqlite, str(name))(*arguments) == getattr(memory, str(name))(*arguments)
        assert everything(sqlite) == everything(memory)
        sqlite.close()
        memory.crash()
        database = sqlite3.connect(sqlite.path)
        stored = {(place + (1 << 63), b, k): state for place, b, k, state, _ in database.execute("SELECT * FROM data")}
        (slots,) = database.execute("SELECT count(*) FROM journal").fetchone()
        database.close()
        assert (stored, slots) == (memory.committed(), 0), "a stopped node's data is complete, and its journal empty"
    finally:
        sqlite.close()


def test_scans_in_pages_merge_what_is_folded_and_what_is_not(tmp_path: Path) -> None:
    random = Random(1)
    wanted: dict[tuple[int, bytes], bytes] = {}
    store = SqliteStorage(tmp_path / "data.db", "normal", Bounds(rows=100, slots=50, slice_rows=10))
    for _ in range(60):
        for _ in range(8):
            place, state = random.getrandbits(64), b"" if random.random() < 0.1 else b"state"
            if wanted and random.random() < 0.4:
                place = random.choice(list(wanted))[0]
            wanted[place, b"k"] = state
            store.write(place, "b", b"k", state)
            store.write(place + 1, "other", b"k", b"other")
        store.commit()
    rows = [(*at, state) for at, state in sorted(wanted.items()) if state]
    for limit in (1, 7, 1000):
        assert pages(store, "b", limit) == rows
    assert store._overlay.old.left, "both generations took part"
    store.close()


# --- bounds ---------------------------------------------------------------------------------------------------------------


def test_the_fold_keeps_up_with_any_writer_in_slices(tmp_path: Path) -> None:
    bounds = Bounds(rows=400, slots=100, slice_rows=16)
    store = SqliteStorage(tmp_path / "data.db", "normal", bounds)
    random, turns_over = Random(2), 0
    for turn in range(1500):
        width = 1 if turn < 500 else 30 if turn < 1000 else random.randrange(60)
        for _ in range(width):
            store.write(random.getrandbits(64), "b", b"k", bytes(random.choice([10, 300, 1900])))
        before, old = len(store._overlay.old._sorted), store._overlay.old
        store.commit()
        overlay = store._overlay
        turns_over += overlay.old is not old
        assert overlay.young.rows < bounds.rows + 60
        assert len(overlay.young.slots) < bounds.slots + 60
        assert not overlay.full, "old was folded before young was full"
        if overlay.old is old and overlay.old.left:
            assert before - len(overlay.old._sorted) <= 2 * 60 * 2 + bounds.slice_rows
    assert turns_over > 20
    (slots,) = store._connection.execute("SELECT count(*) FROM journal").fetchone()
    assert slots <= 3 * (bounds.slots + 60)
    store.close()


def test_what_is_at_rest_is_folded_without_being_asked(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "normal", Bounds(slice_every_s=0.0, rest_s=0.0, age_s=0.0))
    reader = sqlite3.connect(tmp_path / "data.db", isolation_level=None)
    for place in range(1000):
        store.write(place << 50, "b", b"k", b"state")
    store.commit()
    assert store.commit() == 0
    folds = 1
    while reader.execute("SELECT count(*) FROM data").fetchone() != (1000,):
        assert store.commit() == 0
        folds += 1
    assert 1 <= folds <= 8, "some slices of at least 128 rows"
    assert store._overlay.due_at == 0.0 or store.commit() == 0
    assert store.read(5 << 50, "b", b"k") == b"state"
    store.close()
    reader.close()


def test_nothing_is_folded_before_its_time(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "normal")
    store.write(1, "b", b"k", b"state")
    store.commit()
    assert store.commit() == 0
    assert store._connection.execute("SELECT count(*) FROM data").fetchone() == (0,)
    assert store._connection.execute("SELECT count(*) FROM journal").fetchone() == (1,)
    store.close()


def test_slots_are_used_again_and_long_rows_go_past_the_journal(tmp_path: Path) -> None:
    bounds = Bounds(rows=1000, slots=10, slice_rows=4)
    store = SqliteStorage(tmp_path / "data.db", "normal", bounds)
    for turn in range(500):
        store.write(turn << 40, "b", b"k", bytes(100))
        store.commit()
    (slots,) = store._connection.execute("SELECT max(slot) FROM journal").fetchone()
    assert slots <= 2 * bounds.slots + 1
    store.write(7 << 40, "b", b"k", bytes(50 * SLOT_BYTES))
    store.write(8 << 40, "b", b"k", bytes(bounds.row_bytes))
    store.commit()
    assert store._connection.execute("SELECT max(slot) FROM journal").fetchone()[0] <= 2 * bounds.slots + 1
    assert len(store.read(7 << 40, "b", b"k")) == 50 * SLOT_BYTES
    survivor = killed(store, tmp_path / "copy.db")
    assert len(survivor.read(7 << 40, "b", b"k")) == 50 * SLOT_BYTES
    assert survivor.key_count() == store.key_count() == 500
    survivor.close()
    store.close()


def test_rows_that_long_ones_have_replaced_do_not_hold_up_the_fold(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "normal", Bounds(rows=50, slots=1000, slice_rows=10))
    for number in range(50):
        store.write(number << 57, "b", b"k", b"short")
        store.commit()
    old = store._overlay.old
    assert old.left
    for number in range(50):
        store.write(number << 57, "b", b"k", bytes(3000))
    store.commit()
    for number in range(200):
        store.write(number << 40, "c", b"k", b"short")
        store.commit()
    assert store._overlay.old is not old
    assert [len(store.read(number << 57, "b", b"k")) for number in range(50)] == [3000] * 50
    store.close()


# --- death ----------------------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from random import Random
from dynazmq.storage.overlay import Bounds
from dynazmq.storage.sqlite import SqliteStorage
store = SqliteStorage(Path(sys.argv[1]), "normal", Bounds(rows=300, slots=60, slice_rows=16, rest_s=0.0, age_s=0.0))
random = Random(int(sys.argv[2]))
for turn in range(int(sys.argv[3]), 10**9):
    for _ in range(random.randrange(1, 20)):
        place = random.randrange(500) << 55
        store.write(place, "b", b"k", b"%d " % turn + bytes(random.choice([10, 200, 3000])))
    store.write(turn << 30, "turns", b"k", b"%d" % turn)
    store.commit()
    print(turn, flush=True)
    if turn % 7 == 0:
        store.commit()
"""


def test_kill_9_at_any_point_of_a_fold_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    path, turn = tmp_path / "data.db", 0
    for life in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(life), str(turn)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        first, wanted = turn, 200 + 37 * life
        for line in child.stdout:
            turn = int(line)
            if turn >= first + wanted:
                break
        os.kill(child.pid, signal.SIGKILL)
        turn = max([turn, *(int(line) for line in child.stdout if line.strip())])
        child.wait()
        child.stdout.close()
        store = SqliteStorage(path, "normal")
        assert store.get_meta(ROWS_LOST) is None
        assert [t for t in range(turn + 1) if store.read(t << 30, "turns", b"k") != b"%d" % t] == []
        newest = replayed_model(life, first, turn)
        for place, written in newest.items():
            found = store.read(place, "b", b"k").split(b" ")[0]
            assert int(found) in (written, turn + 1), "nor does an older state come back; the last turn may be there unseen"
        if life % 2:
            store.close()
        else:
            del store  # and so the next one finds a journal that nobody has emptied
        turn += 1  # it may be there, unheard of; it is written again


def replayed_model(seed: int, first: int, last: int) -> dict[int, int]:
    """Which turn wrote each place last, in this life of WRITER."""
    random, newest = Random(seed), {}
    for turn in range(first, last + 1):
        for _ in range(random.randrange(1, 20)):
            newest[random.randrange(500) << 55] = turn
            random.choice([10, 200, 3000])
    return newest


@pytest.fixture
def full_journal(tmp_path: Path) -> Path:
    """A killed node's file with 30 turns in its journal, none of them folded."""
    store = SqliteStorage(tmp_path / "data.db", "normal")
    for turn in range(30):
        for number in range(20):
            store.write((turn * 20 + number) << 50, "b", b"k", bytes(150))
        store.commit()
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(tmp_path / "data.db", tmp_path / "killed.db")
    store.close()
    return tmp_path / "killed.db"


def test_recovery_brings_everything_into_data_at_once(full_journal: Path) -> None:
    began = time.monotonic()
    store = SqliteStorage(full_journal, "normal")
    assert time.monotonic() - began < 1.0
    assert store.key_count() == 600
    assert store._connection.execute("SELECT count(*) FROM data").fetchone() == (600,)
    assert store._connection.execute("SELECT count(*) FROM journal").fetchone() == (0,)
    assert store.get_meta(ROWS_LOST) is None
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE journal SET rows = substr(rows, 1, 700) || x'ff' || substr(rows, 702) WHERE slot = 5",
        "UPDATE journal SET rows = x'' WHERE slot = 5",
        "UPDATE journal SET rows = 'text' WHERE slot = 5",
        "UPDATE journal SET turn = 'text' WHERE slot = 5",
        "UPDATE journal SET turn = turn + 1 WHERE slot = 5",
        "UPDATE journal SET bytes = 10 WHERE slot = 5",
        "UPDATE journal SET parts = 2 WHERE slot = 5",
        "UPDATE journal SET folded = 100 WHERE slot = 5",
        "UPDATE journal SET checksum = 7 WHERE slot = 5",
        "DELETE FROM journal WHERE slot = 5",
    ],
)
def test_s7_a_damaged_journal_is_noticed_and_the_rest_of_it_kept(full_journal: Path, damage: str) -> None:
    database = sqlite3.connect(full_journal)
    database.execute(damage)
    database.commit()
    database.close()
    for _ in range(2):
        store = SqliteStorage(full_journal, "normal")
        lost = store.get_meta(ROWS_LOST)
        assert lost is not None
        assert b"damaged" in lost, "the node learns of it, and again until it has said that it knows"
        assert store.key_count() in (580, 600)
        store.close()
    store = SqliteStorage(full_journal, "normal")
    store.set_meta(ROWS_LOST, b"")
    store.commit()
    store.close()
    store = SqliteStorage(full_journal, "normal")
    assert store.get_meta(ROWS_LOST) == b""
    store.close()


def test_a_turn_of_many_parts_is_replayed_whole_or_not_at_all(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "normal")
    rows = {(number << 50, "b", b"k"): Random(number).randbytes(700) for number in range(100)}
    for (place, bucket, key), state in rows.items():
        store.write(place, bucket, key, state)
    store.commit()
    (parts,) = store._connection.execute("SELECT count(*) FROM journal").fetchone()
    assert parts > 15
    survivor = killed(store, tmp_path / "copy.db")
    assert all(survivor.read(*row) == state for row, state in rows.items())
    survivor.close()
    store._connection.execute("DELETE FROM journal WHERE part = 3")
    survivor = killed(store, tmp_path / "torn.db")
    assert (survivor.key_count(), survivor.get_meta(ROWS_LOST) is None) == (0, False)
    survivor.close()
    store.close()


# --- a disk that is full, and others at the file ---------------------------------------------------------------------------


def test_s3_a_full_disk_fails_turns_whole_and_recovers_by_itself(tmp_path: Path) -> None:
    bounds = Bounds(rows=60, slots=30, slice_rows=8, rest_s=0.0, age_s=0.0)
    store = SqliteStorage(tmp_path / "data.db", "normal", bounds)
    random, model, failed, stored = Random(3), MemoryStorage(), 0, 0
    for turn in range(600):
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        full = 200 <= turn < 400
        if turn in (200, 400):
            store._connection.execute(f"PRAGMA max_page_count = {pages if full else 1 << 30}")
        for _ in range(random.randrange(8)):
            row, state = (random.randrange(1 << 64), "b", b"k"), bytes(random.choice([50, 900]))
            store.write(*row, state)
            model.write(*row, state)
        try:
            assert store.commit() == len(model._new_rows)
            model.commit()
            stored += full
        except StoreFailed:
            assert full
            failed += 1
            store.rollback()
            model.rollback()
        assert store._overlay.young.rows <= bounds.rows + 8, "memory is bounded even when nothing can be folded"
    assert failed
    assert stored
    assert store.key_count() == model.key_count()
    assert all(store.read(*row) == state for row, state in model.committed().items())
    survivor = killed(store, tmp_path / "copy.db")
    assert all(survivor.read(*row) == state for row, state in model.committed().items())
    survivor.close()
    store.close()


def test_a_fold_that_fails_does_not_fail_a_turn_that_fits(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "normal", Bounds(rows=100, slots=1000, slice_rows=4))
    for number in range(100):
        store.write(number << 57, "b", b"k", bytes(1500))
        store.commit()
    assert store._overlay.old.left
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    committed = 0
    try:
        while committed < 200:
            store.write(0, "c", b"k%d" % committed, b"state")
            store.commit()
            committed += 1
    except StoreFailed:
        store.rollback()
    assert committed < 200
    assert store.read(0, "c", b"k0") == (b"state" if committed else b"")
    assert store.commit() == 0
    store._connection.execute("PRAGMA max_page_count = 1000000")
    for number in range(300):
        store.write(number << 40, "d", b"k", b"state")
        store.commit()
    assert store.key_count() == 100 + committed + 300
    store.close()


def test_a_reader_who_does_not_leave_stops_neither_commits_nor_folds(tmp_path: Path) -> None:
    store = SqliteStorage(tmp_path / "data.db", "normal", Bounds(rows=100, slots=50, slice_rows=8))
    reader = sqlite3.connect(tmp_path / "data.db", isolation_level=None)
    store.write(0, "b", b"k", b"state")
    store.commit()
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM data").fetchone() == (0,)
    for turn in range(1, 1000):
        store.read(turn << 40, "b", b"k")
        store.write(turn << 40, "b", b"k", b"state")
        store.commit()
    assert reader.execute("SELECT count(*) FROM data").fetchone() == (0,), "its snapshot"
    reader.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM data").fetchone()[0] > 500
    reader.close()
    store.close()


def test_a_locked_file_fails_the_turn_and_the_next_one_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStorage(tmp_path / "data.db", "normal", TINY)
    other = sqlite3.connect(tmp_path / "data.db", isolation_level=None)
    for turn in range(20):
        store.write(turn << 50, "b", b"k", b"state")
        store.commit()
    monkeypatch.setattr("dynazmq.storage.sqlite.BUSY_S", 0.01)
    other.execute("BEGIN IMMEDIATE")
    store.write(99 << 50, "b", b"k", b"state")
    with pytest.raises(StoreFailed, match="locked"):
        store.commit()
    store.rollback()
    assert store.commit() == 0, "not even when a fold is due"
    assert store.read(99 << 50, "b", b"k") == b""
    other.execute("ROLLBACK")
    store.write(99 << 50, "b", b"k", b"state")
    assert store.commit() == 1
    assert store.key_count() == 21
    other.close()
    store.close()


# --- other versions -------------------------------------------------------------------------------------------------------


def test_a_database_of_an_earlier_schema_is_migrated_with_all_that_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.db"
    store = SqliteStorage(path, "full")
    store.write(LAST_PLACE, "b", b"k", b"state")
    store.write_hint("n2", 7, "b", b"k", b"hint")
    store.set_meta("identity", b"me")
    store.commit()
    store.close()

    def column_more(db: Any) -> None:
        db.execute("ALTER TABLE hints ADD COLUMN since INTEGER NOT NULL DEFAULT 5")

    def cut_off(db: Any) -> None:
        column_more(db)
        raise KeyboardInterrupt

    for step in (cut_off, column_more, column_more):
        monkeypatch.setattr(schema, "STEPS", (*STEPS, step))
        if step is cut_off:
            with pytest.raises(KeyboardInterrupt):
                SqliteStorage(path, "full")
            continue
        store = SqliteStorage(path, "full")
        assert store.read(LAST_PLACE, "b", b"k") == b"state"
        assert store.read_hint("n2", 7, "b", b"k") == b"hint"
        assert store.get_meta("identity") == b"me"
        store.write(1, "b", b"k", b"new")
        store.commit()
        assert store._connection.execute("PRAGMA user_version").fetchone() == (len(STEPS) + 1,)
        assert store._connection.execute("SELECT since FROM hints").fetchall() == [(5,)]
        store.close()


# --- the overlay alone ----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 4)), max_size=120), st.integers(1, 50))
def test_old_is_folded_when_young_is_half_full(turns: list[tuple[int, int]], slice_rows: int) -> None:
    bounds = Bounds(rows=200, slots=80, slice_rows=slice_rows)
    overlay, key = Overlay(bounds), 0
    for turn, (rows, slots) in enumerate(turns, start=1):
        if due := overlay.due(rows, slots):
            overlay.folded(len(overlay.old.next_rows(due)))
        new = {(key + i << 40, "b", b"k"): b"s" for i in range(rows)}
        key += rows
        overlay.add(new, list(range(slots)), turn, 0.0)
        overlay.released()
        young = overlay.young
        if 2 * young.rows >= bounds.rows + 2 * (slice_rows + 40) or 2 * len(young.slots) >= bounds.slots + 2 * (slice_rows + 4):
            assert not overlay.old.left
