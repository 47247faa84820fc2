"""Files that are not what they were: refused at the start, or never a wrong answer (S7, S8, S9)."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from dynazmq.dynamo.runtime import DamagedRow, StoreFailed
from dynazmq.errors import StorageError, UnusableDisk
from dynazmq.storage.schema import STEPS, owner_of
from dynazmq.storage.sqlite import SqliteStorage

N3 = owner_of("n3", 7)
PAGE = 4096
KEYS = 400


def state_of(number: int) -> bytes:
    """Some are longer than a page, so that there are overflow pages."""
    return Random(number).randbytes(9_000 if number % 40 == 0 else 300)


def filled(directory: Path, *, killed: bool = False) -> Path:
    """A database with 400 rows and some hints; killed: with a log and a full journal beside it."""
    made = SqliteStorage(directory / "made" / "data.db", "full", owner=N3)
    for number in range(KEYS):
        made.write(number << 55, "b", b"k%d" % number, state_of(number))
        if number % 20 == 0:
            made.write_hint("n1", number << 55, "b", b"k%d" % number, b"hint")
            made.commit()
    made.commit()
    path = directory / "data.db"
    if killed:
        for file in ("data.db", "data.db-wal"):
            shutil.copy(made.path.parent / file, directory / file)
    made.close()
    if not killed:
        shutil.copy(made.path, path)
    return path


def log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def zero(path: Path, first: int, count: int) -> None:
    with path.open("r+b") as file:
        file.seek(first)
        file.write(bytes(count))


def run_sql(path: Path, *statements: str) -> None:
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def point_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut to nothing": (lambda path: os.truncate(path, 0), r"data\.db is empty \(0 bytes\)"),
    "cut to a few bytes": (lambda path: os.truncate(path, 50), "is cut off: 50 bytes"),
    "cut to half": (lambda path: os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE), "is cut off: .* of its .* bytes"),
    "cut in a page": (lambda path: os.truncate(path, path.stat().st_size // 2 + 7), "is cut off"),
    "short of its last page": (lambda path: os.truncate(path, path.stat().st_size - PAGE), "is cut off"),
    "its first page zeroed": (lambda path: zero(path, 0, PAGE), "zeroed at its beginning"),
    "all zeroed": (lambda path: zero(path, 0, path.stat().st_size), "zeroed at its beginning"),
    "no database": (lambda path: path.write_bytes(b"this is no database" * 1000), "is not a database"),
    "of something else": (lambda path: run_sql(path, "PRAGMA application_id = 7"), "something else"),
    "of a newer schema": (
        lambda path: run_sql(path, f"PRAGMA user_version = {len(STEPS) + 1}"),
        f"schema {len(STEPS) + 1}, this release knows {len(STEPS)}: use the release that wrote it",
    ),
    "of another node": (
        lambda path: run_sql(path, f"UPDATE meta SET value = CAST('{owner_of('n2', 7)}' AS BLOB) WHERE name = 'owner'"),
        r"data\.db is n2's and not n3's",
    ),
    "of another cluster": (
        lambda path: run_sql(path, f"UPDATE meta SET value = CAST('{owner_of('n3', 8)}' AS BLOB) WHERE name = 'owner'"),
        r"is n3's of another cluster \(0000000000000008\) and not n3's",
    ),
    "a directory": (become_a_directory, "is not a file"),
    "a pipe": (become_a_pipe, "is not a file"),
    "a link to itself": (point_to_itself, "cannot be read and written: Too many levels"),
}


@pytest.mark.parametrize("what", BAD)
def test_s8_a_database_that_is_not_what_it_was_is_refused_with_what_it_is(tmp_path: Path, what: str) -> None:
    spoil, words = BAD[what]
    path = filled(tmp_path)
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    for _ in range(2):
        with pytest.raises(UnusableDisk, match=words) as refused:
            SqliteStorage(path, "full", owner=N3)
        assert "\n" not in str(refused.value)
    assert (path.read_bytes() if path.is_file() else b"") == before, "it was not touched"


@pytest.mark.parametrize("bytes_left", [0, 1, 7], ids=["nothing", "half", "all but a page"])
def test_s8_a_killed_nodes_database_that_was_cut_off_is_refused(tmp_path: Path, bytes_left: int) -> None:
    """Its log is beside it, and tells SQLite how long the file should be."""
    path = filled(tmp_path / "long")
    store = SqliteStorage(path, "full", owner=N3)
    store.write(1, "b", b"new", b"state")
    store.commit()
    shutil.copy(path, tmp_path / "data.db")
    shutil.copy(log_of(path), log_of(tmp_path / "data.db"))
    store.close()
    pages = (tmp_path / "data.db").stat().st_size // PAGE
    os.truncate(tmp_path / "data.db", {0: 0, 1: pages // 2, 7: pages - 1}[bytes_left] * PAGE)
    with pytest.raises(UnusableDisk, match=r"empty|cut off|damaged"):
        SqliteStorage(tmp_path / "data.db", "full", owner=N3)


def test_s8_a_zeroed_log_is_refused_since_the_newest_commits_were_in_it(tmp_path: Path) -> None:
    path = filled(tmp_path, killed=True)
    zero(log_of(path), 0, log_of(path).stat().st_size)
    with pytest.raises(
        UnusableDisk, match=r"data\.db-wal is zeroed at its beginning: the newest of what data\.db should hold is lost"
    ):
        SqliteStorage(path, "full", owner=N3)


def test_s2_a_zeroed_log_is_what_a_loss_of_power_may_leave_where_commits_are_not_synced(tmp_path: Path) -> None:
    path = filled(tmp_path)
    log_of(path).write_bytes(bytes(3 * PAGE))
    store = SqliteStorage(path, "normal", owner=N3)
    assert store.key_count() == KEYS
    store.close()


@pytest.mark.parametrize("owner", [owner_of("n2", 7), owner_of("n3", 8)], ids=["of another node", "of another cluster"])
def test_s8_a_database_put_beside_the_log_of_another_is_refused(tmp_path: Path, owner: str) -> None:
    """A backup was put back and the log of before left there: SQLite copied it into the file, and it was a mix of both."""
    path = filled(tmp_path, killed=True)
    SqliteStorage(tmp_path / "other" / "data.db", "full", owner=owner).close()
    shutil.copy(tmp_path / "other" / "data.db", path)
    before = path.read_bytes(), log_of(path).read_bytes()
    with pytest.raises(UnusableDisk, match=r"data\.db is .* and not n3's"):
        SqliteStorage(path, "full", owner=N3)
    assert (path.read_bytes(), log_of(path).read_bytes()) == before, "they were not touched"


def test_s8_a_log_without_its_database_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path, killed=True)
    path.unlink()
    with pytest.raises(UnusableDisk, match=r"data\.db is missing, and its log data\.db-wal is still there"):
        SqliteStorage(path, "full", owner=N3)


@contextmanager
def another_user() -> Iterator[None]:
    """Root may read everything: then this part of the test is somebody else."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["unreadable", "read-only"])
def test_s8_a_database_that_may_not_be_read_and_written_is_refused(tmp_path: Path, mode: int) -> None:
    path = filled(tmp_path)
    path.chmod(mode)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.owner() == path.owner() and directory.name.startswith(("pytest-", "popen-", "test_")):
            directory.chmod(0o755)
    with another_user(), pytest.raises(UnusableDisk, match="cannot be read and written: Permission denied"):
        SqliteStorage(path, "full", owner=N3)


def test_a_database_of_an_earlier_release_is_nobodys_and_becomes_whoevers_it_is_opened_by(tmp_path: Path) -> None:
    path = filled(tmp_path)
    run_sql(path, "DELETE FROM meta WHERE name = 'owner'")
    SqliteStorage(path, "full", owner=N3).close()
    SqliteStorage(path, "full", owner=N3).close()
    with pytest.raises(UnusableDisk, match="n3's and not n2's"):
        SqliteStorage(path, "full", owner=owner_of("n2", 7))


FOUNDER = """
import sys
from pathlib import Path
from dynazmq.storage.sqlite import SqliteStorage
print("now", flush=True)
while True:
    for file in Path(sys.argv[1]).glob("data.db*"):
        file.unlink()
    SqliteStorage(Path(sys.argv[1]) / "data.db", "full", owner="n3 of 7").close()
"""


def test_p1_a_node_killed_while_it_makes_its_database_is_not_refused_for_what_it_leaves(tmp_path: Path) -> None:
    for life in range(12):
        child = subprocess.Popen([sys.executable, "-c", FOUNDER, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"now\n"
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.003 * life)
        child.kill()
        child.wait()
        child.stdout.close()
        if not (tmp_path / "data.db").exists():  # killed between its own deletions
            log_of(tmp_path / "data.db").unlink(missing_ok=True)
        store = SqliteStorage(tmp_path / "data.db", "full", owner="n3 of 7")
        assert store.key_count() == 0
        store.close()


# --- damage that SQLite finds later, or never ------------------------------------------------------------------------------


def read_all(path: Path) -> tuple[int, int, int]:
    """(right, missing, refused) of all rows. Raises UnusableDisk; AssertionError for an answer that is wrong."""
    store = SqliteStorage(path, "full", owner=N3)
    right = missing = refused = 0
    try:
        for number in range(KEYS):
            try:
                state = store.read(number << 55, "b", b"k%d" % number)
            except (DamagedRow, StoreFailed):
                refused += 1
                continue
            assert state in (b"", state_of(number)), "a wrong answer"
            right, missing = right + bool(state), missing + (not state)
        try:
            for at, _, _, state in store.rows(0, (1 << 64) - 1, (-1, "", b""), 1000)[0]:
                assert state is None or state == state_of(at >> 55)
        except StoreFailed:
            refused += 1
        try:
            store.write(5, "b", b"new", b"state")
            store.commit()
            assert store.read(5, "b", b"new") == b"state"
        except StoreFailed:
            store.rollback()
            refused += 1
    finally:
        store.close()
    return right, missing, refused


def test_s8_whatever_page_is_zeroed_the_disk_is_refused_or_no_answer_is_wrong(tmp_path: Path) -> None:
    path = filled(tmp_path)
    whole = path.read_bytes()
    outcomes = []
    for page in range(len(whole) // PAGE):
        path.write_bytes(whole[: page * PAGE] + bytes(PAGE) + whole[(page + 1) * PAGE :])
        log_of(path).unlink(missing_ok=True)
        try:
            right, missing, refused = read_all(path)
        except UnusableDisk:
            outcomes.append("refused")
            continue
        assert (right, missing, refused) == (KEYS, 0, 0) or (missing == 0 and refused > 0)
        outcomes.append("whole" if right == KEYS else "a row refused")
    assert set(outcomes) == {"refused", "a row refused"} | ({"whole"} & set(outcomes))
    assert outcomes.count("refused") > 20


def test_s7_one_flipped_byte_anywhere_in_the_file_makes_no_answer_wrong(tmp_path: Path) -> None:
    path, random = filled(tmp_path), Random(5)
    whole = path.read_bytes()
    refused = damaged = 0
    for _ in range(150):
        at = random.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << random.randrange(8)]) + whole[at + 1 :])
        for beside in (log_of(path), Path(f"{path}-shm")):
            beside.unlink(missing_ok=True)
        try:
            right, _, _ = read_all(path)
            damaged += right < KEYS
        except UnusableDisk:
            refused += 1
    assert damaged > 20


def test_s8_damage_found_while_it_runs_refuses_what_it_hits_and_nothing_else(tmp_path: Path) -> None:
    """No crash, and no refusal of the rest: the peers serve what this node cannot (S6). Its next start is refused."""
    path = filled(tmp_path)
    store = SqliteStorage(path, "full", owner=N3)
    connection = sqlite3.connect(path)
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'data'").fetchone()[0]
    connection.close()
    pages = path.stat().st_size // PAGE
    with path.open("rb") as file:
        leaves = [n for n in range(2, pages) if n != root - 1 and file.seek(n * PAGE) and file.read(1) == b"\x0a"]
    store._execute("PRAGMA shrink_memory")
    zero(path, leaves[len(leaves) // 2] * PAGE, PAGE)
    refused = []
    for number in range(KEYS):
        try:
            assert store.read(number << 55, "b", b"k%d" % number) == state_of(number)
        except StoreFailed:
            refused.append(number)
        store.commit()
    assert 0 < len(refused) < 40
    assert refused == list(range(refused[0], refused[-1] + 1))
    store.write(1, "b", b"new", b"state")
    store.commit()
    assert store.read(1, "b", b"new") == b"state"
    store.close()
    with pytest.raises(UnusableDisk, match="damaged"):
        SqliteStorage(path, "full", owner=N3)


# --- files that go away ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["removed", "replaced", "its directory moved"])
def test_s9_a_database_that_is_taken_away_under_its_node_acknowledges_nothing_more(tmp_path: Path, how: str) -> None:
    store = SqliteStorage(tmp_path / "d" / "data.db", "full", owner=N3)
    store.write(1, "b", b"k", b"state")
    store.commit()
    if how == "removed":
        store.path.unlink()
    elif how == "replaced":
        shutil.copy(store.path, tmp_path / "copy")
        (tmp_path / "copy").replace(store.path)
    else:
        (tmp_path / "d").rename(tmp_path / "e")
    store.write(2, "b", b"k", b"state")
    with pytest.raises(StoreFailed, match="removed or replaced"):
        store.commit()
    store.rollback()
    with pytest.raises(StoreFailed, match="removed or replaced"):
        store.get_meta("identity")
    store.close()


def take_away(path: Path, how: str) -> None:
    if how == "removed":
        path.unlink()
    elif how == "renamed":
        path.rename(path.with_name("elsewhere"))
    else:
        shutil.copy(path, path.with_name("copy"))
        path.with_name("copy").replace(path)


@pytest.mark.parametrize("settled", [True, False], ids=["long after the last change", "right after one"])
@pytest.mark.parametrize("how", ["removed", "renamed", "replaced"])
@pytest.mark.parametrize("file", ["", "-wal", "-shm"], ids=["database", "log", "index"])
def test_s9_what_is_committed_when_any_of_the_three_files_is_not_the_one_that_was_opened_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, how: str, settled: bool
) -> None:
    """A log that was unlinked took whatever was written, and all of it was gone with the process."""
    monkeypatch.setattr("dynazmq.storage.files._SETTLED_NS", -(10**18) if settled else 10**18)
    store = SqliteStorage(tmp_path / "data.db", "full", owner=N3)
    for number in range(20):
        store.write(number << 50, "b", b"k", state_of(number))
        store.write_hint("n1", number << 50, "b", b"k", state_of(number))
        store.commit()
    take_away(Path(f"{store.path}{file}"), how)
    store.write(1, "b", b"k", b"not acknowledged")
    with pytest.raises(StoreFailed, match=rf"data\.db{file} was removed or replaced"):
        store.commit()
    store.rollback()
    with pytest.raises(StoreFailed, match="removed or replaced"):
        store.get_meta("identity")


@pytest.mark.parametrize("how", ["removed", "renamed"])
@pytest.mark.parametrize("file", ["-wal", "-shm"], ids=["log", "index"])
def test_s9_what_was_acknowledged_before_its_log_was_taken_away_is_there_at_the_next_start(
    tmp_path: Path, file: str, how: str
) -> None:
    script = f"""
from pathlib import Path
from dynazmq.dynamo.runtime import StoreFailed
from dynazmq.storage.sqlite import SqliteStorage
store = SqliteStorage(Path({str(tmp_path / "data.db")!r}), "full")
for number in range(50):
    store.write(number << 50, "b", b"k", b"%d" % number * 500)
    store.write_hint("n1", number << 50, "b", b"k", b"%d" % number)
    store.commit()
log = Path(f"{{store.path}}{file}")
log.unlink() if {how == "removed"} else log.rename(log.with_name("elsewhere"))
store.set_meta("ring", b"another")
try:
    store.commit()
except StoreFailed:
    print("refused", flush=True)
import os
os._exit(1)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50)
    assert (ran.stdout, ran.stderr) == ("refused\n", "")
    store = SqliteStorage(tmp_path / "data.db", "full")
    for number in range(50):
        assert store.read(number << 50, "b", b"k") == b"%d" % number * 500
        assert store.read_hint("n1", number << 50, "b", b"k") == b"%d" % number
    store.close()


def test_an_error_that_may_pass_is_not_taken_for_a_bad_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor tries such a node again."""
    path = filled(tmp_path)
    monkeypatch.setattr("dynazmq.storage.database.BUSY_S", 0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError, match="locked") as refused:
        SqliteStorage(path, "full", owner=N3)
    assert not isinstance(refused.value, UnusableDisk)
    other.close()
    SqliteStorage(path, "full", owner=N3).close()


# --- damage that changes what a column is ----------------------------------------------------------------------------------

ODD_TYPES = [
    f"UPDATE {table} SET {column} = {value} WHERE key = x'6b3230'"  # k20
    for table in ("data", "hints")
    for column, value in (
        ("state", "'text'"),
        ("state", "7"),
        ("state", "CAST(x'ff80' AS TEXT)"),
        ("bucket", "x'62'"),
        ("bucket", "CAST(x'ff80' AS TEXT)"),
        ("key", "'k20'"),
        ("key", "20"),
        ("place", "x'01'"),
        ("place", "'text'"),
        ("place", "1.5"),
        ("place", "-9223372036854775808"),
        ("place", "9223372036854775807"),
        ("checksum", "'text'"),
        ("checksum", "x'00'"),
        ("checksum", "1.5"),
    )
]


@pytest.mark.parametrize("damage", ODD_TYPES)
def test_s7_a_column_of_another_type_hits_its_own_row_and_no_other(tmp_path: Path, damage: str) -> None:
    """One flipped bit in a record's header does it. A row whose position is not known counts as missing."""
    path = filled(tmp_path)
    run_sql(path, damage)
    store = SqliteStorage(path, "full", owner=N3)
    others = {(n << 55, "b", b"k%d" % n): state_of(n) for n in range(KEYS) if n != 20}
    assert all(store.read(*at) == state for at, state in others.items())
    if "data" in damage:
        with_it = (store.read(20 << 55, "b", b"k20"),) if "state" not in damage and "checksum" not in damage else ()
        assert with_it in ((), (b"",))
    own: dict[object, bytes | None] = {}
    behind: tuple[int, str, bytes] | None = (-1, "", b"")
    while behind is not None:
        page, behind = store.rows(0, (1 << 64) - 1, behind, 50)
        own.update({tuple(at): state for *at, state in page})
    assert {at: state for at, state in own.items() if state is not None and at != (20 << 55, "b", b"k20")} == others
    found: set[bytes] = set()
    after: tuple[int, bytes] | None = (-1, b"")
    while after is not None:
        rows, after = store.scan("b", 0, (1 << 64) - 1, after, 50)
        found |= {key for _, key, _ in rows}
    assert found >= {key for _, _, key in others}
    assert found <= {b"k%d" % n for n in range(KEYS)}, "no key that there never was"
    hints = [key for _, _, key, state in store.hints("n1", (-1, "", b""), 1000)[0] if state is not None]
    assert set(hints) >= {b"k%d" % n for n in range(0, KEYS, 20) if n != 20}
    assert set(hints) <= {b"k%d" % n for n in range(0, KEYS, 20)}
    store.write(20 << 55, "b", b"k20", b"mended")
    store.commit()
    assert store.read(20 << 55, "b", b"k20") == b"mended"
    store.close()


def test_s7_a_row_out_of_its_order_sends_no_reader_round_in_circles(tmp_path: Path) -> None:
    """The place in its record was 20 << 55 and is 0 now; nothing else has moved."""
    path = filled(tmp_path)
    record = ((20 << 55) - (1 << 63)).to_bytes(8, "big", signed=True) + b"b" + b"k20"
    raw = path.read_bytes()
    assert record in raw
    path.write_bytes(raw.replace(record, (-(1 << 63)).to_bytes(8, "big", signed=True) + b"b" + b"k20"))
    store = SqliteStorage(path, "full", owner=N3)
    for limit in range(1, 40):
        after: tuple[int, str, bytes] | None = (-1, "", b"")
        pages = 0
        while after is not None:
            _, after = store.rows(0, (1 << 64) - 1, after, limit)
            pages += 1
            assert pages <= KEYS + 1
        behind: tuple[int, bytes] | None = (-1, b"")
        while behind is not None:
            _, behind = store.scan("b", 0, (1 << 64) - 1, behind, limit)
            pages += 1
            assert pages <= 2 * KEYS + 2
    assert store.read(20 << 55, "b", b"k20") in (b"", state_of(20))
    store.close()


# --- meta ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "value = x'93a6'",
        "value = 'text'",
        "value = 7",
        "value = substr(value, 1, 3) || x'00' || substr(value, 5)",
        "name = 'membershiq'",
        "name = x'00'",
    ],
)
def test_s8_a_damaged_ring_or_member_is_never_believed_nor_told_to_others(tmp_path: Path, damage: str) -> None:
    """A flipped bit in the ring would make another ring of the same version, and gossip would carry it to everybody."""
    path = filled(tmp_path)
    store = SqliteStorage(path, "full", owner=N3)
    store.set_meta("membership", b"some hundreds of bytes")
    store.commit()
    store.close()
    run_sql(path, f"UPDATE meta SET {damage} WHERE name = 'membership'")
    with pytest.raises(UnusableDisk, match=r"data\.db is damaged: its record of .* is not what was written"):
        SqliteStorage(path, "full", owner=N3)


def test_s8_a_record_that_is_damaged_while_it_runs_is_not_read(tmp_path: Path) -> None:
    path = filled(tmp_path)
    store = SqliteStorage(path, "full", owner=N3)
    store.set_meta("identity", b"me")
    store.commit()
    assert store.get_meta("identity") == b"me"
    assert store.commit() == 0, "the turn's reads end"
    run_sql(path, "UPDATE meta SET value = x'6d66' WHERE name = 'identity'")
    with pytest.raises(StoreFailed, match="identity"):
        store.get_meta("identity")
    store.close()
