"""Setting a database aside: what is moved, what is kept, what is left alone."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from dynazmq.cluster.directory.rebuild import copies, set_aside
from dynazmq.errors import ClusterError


def node_with(directory: Path, **files: str) -> Path:
    directory.mkdir(exist_ok=True)
    for name, content in {"config_json": "{}", "node_log": "said", **files}.items():
        (directory / name.replace("_", ".")).write_text(content)
    return directory


def test_the_database_and_its_log_are_moved_and_nothing_else(tmp_path: Path) -> None:
    node = node_with(tmp_path / "n3", data_db="rows")
    (node / "data.db-wal").write_text("log")
    aside = set_aside(node)
    assert aside.to is not None
    assert (aside.bytes, aside.removed) == (7, ())
    assert {path.name: path.read_text() for path in aside.to.iterdir()} == {"data.db": "rows", "data.db-wal": "log"}
    assert sorted(path.name for path in node.iterdir()) == [aside.to.name, "config.json", "lock", "node.log"]
    assert str(aside) == f"7 bytes set aside in {aside.to}"


def test_one_copy_is_kept_the_newest_and_what_only_looks_like_one_is_left_alone(tmp_path: Path) -> None:
    node = node_with(tmp_path / "n3")
    (node / "aside-mine").mkdir()
    for content in ("first", "second", "third"):
        (node / "data.db").write_text(content)
        aside = set_aside(node)
    assert aside.to is not None
    assert copies(node) == [aside.to]
    assert (aside.to / "data.db").read_text() == "third"
    assert len(aside.removed) == 1
    assert (node / "aside-mine").is_dir()


def test_where_there_is_no_database_the_copy_of_the_last_one_stays(tmp_path: Path) -> None:
    node = node_with(tmp_path / "n3", data_db="rows")
    kept = set_aside(node).to
    again = set_aside(node)
    assert (again.to, str(again)) == (None, "there was no database")
    assert copies(node) == [kept]


def test_a_directory_in_the_databases_place_is_moved_as_well(tmp_path: Path) -> None:
    node = node_with(tmp_path / "n3")
    (node / "data.db").mkdir()
    aside = set_aside(node)
    assert aside.to is not None
    assert (aside.to / "data.db").is_dir()


def test_p10_what_a_process_serves_is_not_moved_away_under_it(tmp_path: Path) -> None:
    node = node_with(tmp_path / "n3", data_db="rows")
    with (node / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ClusterError, match="still serves"):
            set_aside(node)
    assert (node / "data.db").read_text() == "rows"
