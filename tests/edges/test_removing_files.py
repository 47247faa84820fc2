"""What is deleted: our own files by name and kind, whatever else lies among them; and what is left is told."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

import dynazmq
from dynazmq import durable, paths
from dynazmq.cluster.directory import creation, removal, roster
from dynazmq.cluster.directory.creation import Wishes
from dynazmq.cluster.directory.rebuild import set_aside
from dynazmq.cluster.directory.removal import DATABASE, NODE
from dynazmq.cluster.operations import launch
from dynazmq.paths import ClusterFile
from dynazmq.storage.sqlite import SqliteStorage


def stored(node_dir: Path) -> None:
    store = SqliteStorage(node_dir / "data.db", "normal")
    store.write(1, "b", b"k", b"state")
    store.commit()
    store.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A cluster that is down, with all that it may ever have on disk."""
    made = tmp_path / "c"
    cluster = creation.create(made, Wishes(nodes=3))
    for name in cluster.members:
        node_dir = paths.node_dir(made, name)
        stored(node_dir)
        set_aside(node_dir)
        stored(node_dir)
        for file in ("data.db-wal", "data.db-shm", "data.db.new-wal", "lock", "node.log", "node.log.1", "node.log.new"):
            (node_dir / file).write_text("ours")
    durable.part_of(made / "cluster.json").write_text("cut off")
    (made / ".faults.json.ab12_xyz").write_text("cut off, in an earlier release")
    for file in ("staged.json", "faults.json", "supervisor.json", "supervisor.log", "supervisor.log.1", "events.jsonl"):
        (made / file).write_text("ours")
    (made / "removed").mkdir()
    shutil.copytree(paths.node_dir(made, "n3"), made / "removed" / "n9-20261130-101112-2")
    for file in ("n1.sock", "n1.peer", "n2.next", "supervisor.sock"):
        with socket.socket(socket.AF_UNIX) as made_socket:
            made_socket.bind(str(paths.runtime_dir(made) / file))
    return made


def everything(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_of_a_cluster_in_which_nothing_but_ours_is_nothing_is_left(directory: Path) -> None:
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    removed = launch.purge(directory)
    assert (removed.left, removed.say(), directory.exists()) == ([], "", False)
    assert abs(removed.bytes - size) <= 4096, "the lock may be new"


STRANGERS = {
    "a file beside ours": "mine.txt",
    "one whose name is nearly ours": "nodes/n1/data.db.bak",
    "one in a copy that was set aside": "nodes/n2/{aside}/notes",
    "one of our names, in another place": "nodes/data.db",
    "one among the sockets, of a socket's name": "run/n1.sock.txt",
    "one in a directory of a node that was removed": "removed/n9-20261130-101112-2/mine",
    "a directory in a node's": "nodes/n1/backup/data.db",
    "a directory that is no node's": "nodes/photos/config.json",
    "a directory below removed/": "removed/old/data.db",
}


@pytest.mark.parametrize("what", STRANGERS)
def test_what_is_not_ours_stays_and_is_told_and_all_the_rest_goes(directory: Path, what: str) -> None:
    """`down --purge` deleted whatever lay below nodes/, removed/ and run/."""
    aside = next(paths.node_dir(directory, "n2").glob("aside-*")).name
    path = directory / STRANGERS[what].format(aside=aside)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a stranger's")
    removed = launch.purge(directory)
    assert path.read_text() == "a stranger's"
    assert [each for each in everything(directory) if (directory / each).is_file()] == [str(path.relative_to(directory))]
    assert len(removed.left) == 1
    assert removed.left[0] == path or removed.left[0] in path.parents
    assert str(removed.left[0]) in removed.say()


@pytest.mark.parametrize("at", ["nodes/n2", "nodes", "removed", "nodes/n1/aside-20261130-101112", "nodes/n1/data.db", "link"])
def test_a_link_is_never_followed_and_stays(directory: Path, tmp_path: Path, at: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    path = directory / at
    if path.is_file():
        path.rename(elsewhere)
    elif path.is_dir():
        shutil.move(path, elsewhere)
    else:
        elsewhere.mkdir()
        (elsewhere / "data.db").write_text("a stranger's")
    path.symlink_to(elsewhere)
    before = everything(elsewhere)
    removed = launch.purge(directory)
    assert everything(elsewhere) == before
    assert removed.left == [path]
    assert path.is_symlink()


def test_a_node_whose_configuration_is_damaged_or_of_another_cluster(directory: Path, tmp_path: Path) -> None:
    paths.config_path(directory, "n1").write_text("{ damaged")
    cluster = ClusterFile.load(directory)
    other = paths.node_dir(directory, "other")
    other.mkdir()
    config = paths.load_node_config(paths.config_path(directory, "n2"))
    paths.save_node_config(other / "config.json", replace(config, cluster_id=cluster.cluster_id ^ 2))
    removed = launch.purge(directory)
    assert removed.left == [other], "the cluster's file names the one, and not the other"
    assert everything(directory) == ["nodes", "nodes/other", "nodes/other/config.json"]


def test_a_file_that_is_not_ours_by_its_kind_stays(tmp_path: Path) -> None:
    for name in ("data.db", "node.log"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "lock")
    (tmp_path / "data.db-wal").write_text("ours")
    removed = removal.remove(tmp_path, NODE)
    assert sorted(path.name for path in removed.left) == ["data.db", "lock", "node.log"]
    assert everything(tmp_path) == ["data.db", "lock", "node.log"]


# --- what is left of nodes that are members no more -------------------------------------------------------------------------


def test_a_start_touches_no_directory_that_is_not_a_nodes_of_this_cluster(directory: Path, tmp_path: Path) -> None:
    """Any directory below nodes/ without a data.db was deleted by the next `up`, and one with a data.db was moved away."""
    nodes, elsewhere = directory / "nodes", tmp_path / "elsewhere"
    (nodes / "photos").mkdir()
    (nodes / "photos" / "holiday.jpg").write_text("mine")
    (nodes / "app").mkdir()
    (nodes / "app" / "config.json").write_text("{}")
    (nodes / "web").mkdir()
    database = sqlite3.connect(nodes / "web" / "data.db")
    database.execute("CREATE TABLE theirs (x)")
    database.close()
    elsewhere.mkdir()
    (elsewhere / "lock").write_text("mine")
    (nodes / "linked").symlink_to(elsewhere)
    before = everything(nodes), everything(elsewhere)
    said = roster.tidy(ClusterFile.load(directory), directory)
    assert (everything(nodes), everything(elsewhere)) == before
    assert [line.partition(":")[0] for line in said] == ["app", "linked", "photos", "web"]
    assert all("it stays as it is" in line for line in said)


def test_a_member_that_was_and_holds_nothing_is_deleted_unless_something_else_is_there(directory: Path) -> None:
    cluster = ClusterFile.load(directory)
    for name in ("n1", "n2"):
        node_dir = paths.node_dir(directory, name)
        for path in [*node_dir.glob("data.db*"), *node_dir.glob("aside-*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (paths.node_dir(directory, "n1") / "mine.txt").write_text("mine")
    n1 = everything(paths.node_dir(directory, "n1"))
    assert "mine.txt" in roster.strike(cluster, directory, "n1")
    assert "its files are deleted" in roster.strike(cluster, directory, "n2")
    assert "removed/n3-" in roster.strike(cluster, directory, "n3")
    assert roster.names_on_disk(directory) == ["n1"]
    assert everything(paths.node_dir(directory, "n1")) == n1
    (line,) = roster.tidy(cluster, directory)
    assert "mine.txt" in line


def test_what_is_set_aside_and_what_is_wiped_are_our_own_databases_alone(directory: Path) -> None:
    node_dir = paths.node_dir(directory, "n1")
    mine = node_dir / "data.db.bak"
    mine.write_text("mine")
    (old,) = node_dir.glob("aside-*")
    (old / "notes.txt").write_text("mine")
    aside = set_aside(node_dir)
    assert aside.to is not None
    assert sorted(path.name for path in aside.to.iterdir()) == ["data.db", "data.db-shm", "data.db-wal", "data.db.new-wal"]
    assert (mine.read_text(), everything(old)) == ("mine", ["notes.txt"])
    assert f"kept what is not ours: {old / 'notes.txt'}" in str(aside)
    stored(node_dir)
    removed = removal.remove(node_dir, DATABASE, itself=False)
    assert removed.bytes > 4096
    assert {path.name for path in node_dir.glob("data.db*")} == {"data.db.bak"}


# --- the kind ---------------------------------------------------------------------------------------------------------------

PACKAGE = Path(dynazmq.__file__).parent
DELETES = {
    "cluster/directory/removal.py": "this is the one place",
    "durable.py": "the part of a file, which holds a lock of ours",
    "paths.py": "the choice of a cluster; the directory for sockets, when it is empty",
    "cluster/control.py": "the supervisor's socket",
    "cluster/directory/roster.py": "sockets of a member",
    "cluster/directory/staging.py": "staged.json",
    "cluster/directory/ground.py": "a socket made to see whether one can be",
    "cluster/directory/faults.py": "faults.json",
    "storage/database.py": "a database that was being made",
    "storage/rescue.py": "the same; and one that is made anew, since whoever made it came to no end",
    "wire/door.py": "a node's own socket",
    "chaos/fresh.py": "its own temporary directory, when it is empty",
    "cli/demo.py": "the same",
    "cli/edit.py": "its own temporary directory, with what an editor put there",
}


def test_nobody_else_deletes_files() -> None:
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("unlink", "rmdir", "rmtree", "removedirs"):
                found.add(str(path.relative_to(PACKAGE)))
                assert node.attr != "rmtree" or path.name == "edit.py"
    assert found == DELETES.keys()
