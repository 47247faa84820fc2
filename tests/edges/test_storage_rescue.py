"""The database that takes an old copy's place: written whole or not at all, and taken when the old one is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynazmq.dynamo.values.versions import EMPTY, actor_id, decode, encode, put
from dynazmq.errors import StorageError
from dynazmq.storage import rescue
from dynazmq.storage.sqlite import SqliteStorage

OWNER = "n2 of 0000000000000001"
ROWS = {f"k{number}".encode(): number for number in range(1, 2_500)}


def state(epoch: str) -> bytes:
    return encode(put(EMPTY, EMPTY.context, actor_id("n2", epoch), b"v", b"w" * 16, 1)[0])


def old_copy(directory: Path) -> SqliteStorage:
    """Of each two rows one was written since it was put back; and a hint, too."""
    store = SqliteStorage(directory / "data.db", owner=OWNER)
    for key, place in ROWS.items():
        store.write(place, "default", key, state("since" if place % 2 else "before"))
    for target, epoch in (("n1", "since.1"), ("n3", "before")):
        store.write_hint(target, 1 << 63, "default", b"hinted", state(epoch))
    store.commit()
    return store


def test_what_was_written_since_is_the_next_database_and_the_old_one_is_as_it_was(tmp_path: Path) -> None:
    store = old_copy(tmp_path)
    count = rescue.keep(store, tmp_path, OWNER, "n2", ["since"], {"vouches": b"9"})
    assert count == 1 + len(ROWS) // 2 + len(ROWS) % 2
    assert store.key_count() == len(ROWS)
    store.close()
    (tmp_path / "data.db").rename(tmp_path / "aside")
    rescue.take(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aside", "data.db"]
    taken = SqliteStorage(tmp_path / "data.db", owner=OWNER)
    assert taken.key_count() == count - 1
    assert {target: total.count for target, total in taken.hint_totals().items()} == {"n1": 1}
    assert decode(taken.read(1, "default", b"k1")).values == [b"v"]
    assert taken.get_meta("vouches") == b"9"
    taken.close()


def test_where_nothing_was_written_there_is_no_such_database(tmp_path: Path) -> None:
    store = old_copy(tmp_path)
    assert rescue.keep(store, tmp_path, OWNER, "n2", ["another"], {"vouches": b"9"}) == 0
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["data.db"]


def test_one_beside_an_old_copy_is_of_a_life_that_came_to_no_end(tmp_path: Path) -> None:
    store = old_copy(tmp_path)
    rescue.keep(store, tmp_path, OWNER, "n2", ["since"], {})
    store.close()
    (tmp_path / "rescued.db.new").write_bytes(b"cut off")
    rescue.take(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data.db"]


def test_what_cannot_be_taken_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "rescued.db.new").mkdir()
    with pytest.raises(StorageError, match=r"cannot use .*rescued\.db"):
        rescue.take(tmp_path)
