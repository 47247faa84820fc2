"""The write-ahead log stays short, by bytes: whatever is written, however slow the disk is, and whoever looks (S11)."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dynazmq.dynamo.runtime import StoreFailed
from dynazmq.storage.checkpoint import Copier, Lengths
from dynazmq.storage.sqlite import SqliteStorage

LENGTHS = Lengths(look=16 << 10, copy=128 << 10, restart=384 << 10, slow=768 << 10, full=1792 << 10, little=8 << 10)
"""The real ones by 32."""

LARGE = 32 << 10  # a value of 1 MiB by 32
SMALL = 200


def opened(directory: Path, sync: str = "normal", lengths: Lengths = LENGTHS) -> SqliteStorage:
    return SqliteStorage(directory / "data.db", "full" if sync == "full" else "normal", lengths=lengths)


def log_of(store: SqliteStorage) -> int:
    """How long the log's file is."""
    return Path(f"{store.path}-wal").stat().st_size


def write(store: SqliteStorage, turn: int, size: int = LARGE, keys: int = 50) -> None:
    number = turn % keys
    store.write(number * 0x9E3779B97F4A7C15 % (1 << 64), "b", b"%d" % number, b"%d " % turn + bytes(size))
    store.commit()


@contextmanager
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The thread copies nothing until the event is set, as on a disk that stands still."""
    go_on = threading.Event()
    copy = Copier._copy

    def wait(self: Copier) -> None:
        go_on.wait()
        copy(self)

    with monkeypatch.context() as patch:
        patch.setattr(Copier, "_copy", wait)
        try:
            yield go_on
        finally:
            go_on.set()


@pytest.mark.parametrize(
    ("sync", "size", "turns"),
    [("full", LARGE, 400), ("normal", LARGE, 800), ("full", SMALL, 1_000), ("normal", SMALL, 8_000)],
    ids=["full, large values", "normal, large values", "full, small values", "normal, small values"],
)
def test_s11_the_log_is_no_longer_than_it_may_be_under_a_writer_who_never_rests(
    tmp_path: Path, sync: str, size: int, turns: int
) -> None:
    """It was copied after 2,000 rows: 400 values of 1 MiB over 50 keys left 412 MiB of log."""
    store = opened(tmp_path, sync)
    longest = 0
    for turn in range(turns):
        write(store, turn, size, keys=50 if size == LARGE else 100_000)
        longest = max(longest, log_of(store))
    counts = store._checkpointer.counts
    assert counts["restarts"] >= 2
    assert longest <= LENGTHS.full + 2 * LARGE
    store.close()


def test_hints_count_with_their_bytes(tmp_path: Path) -> None:
    store = opened(tmp_path)
    longest = 0
    for turn in range(800):
        store.write_hint("n2", turn % 50, "b", b"k", bytes(LARGE))
        store.commit()
        longest = max(longest, log_of(store))
    assert longest <= LENGTHS.full + 2 * LARGE
    assert store._checkpointer.counts["restarts"] >= 3
    store.close()


def test_a_log_that_was_long_when_the_store_was_opened_begins_anew_as_well(tmp_path: Path) -> None:
    endless = Lengths(copy=1 << 40, restart=1 << 40, slow=1 << 40, full=1 << 40)
    store = opened(tmp_path, lengths=endless)
    for turn in range(100):
        write(store, turn)
    assert log_of(store) > LENGTHS.full
    after = opened(tmp_path)  # beside the first one, which then lets go: so the log is there when it is opened
    after._checkpointer.close()
    store._checkpointer.close()
    store._connection.close()
    after._checkpointer = type(after._checkpointer)(after.path, after._connection.files, after._connection, 2.0, LENGTHS)
    for turn in range(100):
        write(after, turn)
    assert after._checkpointer.counts["restarts"] >= 1
    assert after._checkpointer.log_bytes <= LENGTHS.full  # how near depends on when the copier's thread got a processor
    after.close()


def test_a_writer_waits_in_small_steps_for_a_disk_that_is_slow_and_then_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynazmq.storage.sqlite.BUSY_S", 0.05)
    monkeypatch.setattr("dynazmq.storage.checkpoint._STEP_S", 0.001)
    with stalled(monkeypatch) as go_on:
        store = opened(tmp_path)
        turn, refused = 0, ""
        while not refused and turn < 200:
            turn += 1
            try:
                write(store, turn)
            except StoreFailed as error:
                refused = str(error)
                store.rollback()
        assert re.search(r"1,\d\d\d,\d\d\d bytes of the log are not copied .* the disk is too slow", refused)
        assert 30 <= turn <= 56, "56 of them fill the log"
        counts = store._checkpointer.counts
        assert counts["waits"] >= 10
        assert counts["refused"] == 1
        assert log_of(store) <= LENGTHS.full
        assert store.read((turn - 1) * 0x9E3779B97F4A7C15 % (1 << 64), "b", b"%d" % (turn - 1))[:2] == b"%d" % (turn - 1)
        go_on.set()
        monkeypatch.setattr(store._checkpointer, "_patience_s", 30.0)
        for again in range(turn, 400):
            write(store, again)
        assert counts["refused"] == 1
        assert counts["restarts"] >= 3
        store.close()


def test_a_turn_that_is_longer_than_the_log_may_be_is_stored_where_there_is_nothing_else_in_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for turn in range(3):
        for number in range(80):
            store.write(number, "b", b"%d" % turn, bytes(LARGE))
        store.commit()
    assert log_of(store) < LENGTHS.full + 81 * (LARGE + 8192)
    assert store._checkpointer.counts["restarts"] >= 2
    store.close()


def test_s11_a_reader_who_does_not_leave_costs_length_of_log_and_no_commit(tmp_path: Path) -> None:
    """Whoever looks must not stop a node (promise 8)."""
    store = opened(tmp_path)
    write(store, 0)
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM data").fetchone()
    for turn in range(100):
        write(store, turn)
    counts = store._checkpointer.counts
    assert log_of(store) > LENGTHS.full
    assert store._checkpointer.held
    assert (counts["restarts"], counts["refused"]) == (0, 0)
    reader.execute("COMMIT")
    turn = 0
    while not counts["restarts"] and turn < 20_000:
        turn += 1
        write(store, turn, SMALL)
    assert counts["restarts"] >= 1
    assert counts["refused"] == 0
    for turn in range(100):
        write(store, turn)
    assert not store._checkpointer.held
    assert store._checkpointer.log_bytes <= LENGTHS.full
    reader.close()
    store.close()


def test_no_copy_begins_unless_something_was_committed_since_the_last_one(tmp_path: Path) -> None:
    """When all is copied the next commit begins the log anew, and SQLite to 3.51.2 loses rows when a copy begins just then."""
    store = opened(tmp_path, lengths=Lengths(copy=1 << 40))
    statements: list[str] = []
    copier = Copier(store.path)
    copier._connection.set_trace_callback(statements.append)

    def copies() -> int:
        statements.clear()
        copier.begin()
        copier.await_end(30.0)
        return sum("wal_checkpoint" in statement for statement in statements)

    assert copies() == 0, "nothing since it was opened"
    write(store, 1)
    assert copies() == 1
    assert copies() == 0
    assert copies() == 0
    write(store, 2)  # begins the log anew
    assert copies() == 1
    store.rollback()
    store.delete_hint("n2", 1, "b", b"there is none")
    store.commit()
    assert copies() == 0, "a commit that has changed nothing"
    copier.close()
    store.close()


def test_kill_9_loses_nothing_while_the_log_begins_anew_again_and_again(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from dynazmq.storage.checkpoint import Lengths
from dynazmq.storage.sqlite import SqliteStorage
lengths = Lengths(look=1, copy=4096, restart=32 << 10, slow=64 << 10, full=256 << 10, little=4096)
store = SqliteStorage(Path({str(tmp_path / "data.db")!r}), "normal", lengths=lengths)
for turn in range(10**9):
    for number in range(3):
        key = turn * 3 + number
        store.write(key * 0x9E3779B97F4A7C15 % (1 << 64), "b", b"%d" % key, bytes(3000 if number else 100))
    store.commit()
    print(turn, store._checkpointer.counts["restarts"], flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    last = restarts = 0
    for line in child.stdout:
        last, restarts = map(int, line.split())
        if last >= 800:
            break
    os.kill(child.pid, signal.SIGKILL)
    for line in child.stdout:
        if len(line.split()) == 2 and line.endswith("\n"):
            last, restarts = map(int, line.split())
    child.wait()
    child.stdout.close()
    assert restarts > 20
    store = SqliteStorage(tmp_path / "data.db", "normal")
    for key in range(last * 3 + 3):
        assert store.read(key * 0x9E3779B97F4A7C15 % (1 << 64), "b", b"%d" % key) == bytes(3000 if key % 3 else 100)
    assert store._execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()
