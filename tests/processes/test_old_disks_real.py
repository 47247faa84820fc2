"""A data directory from before is put back under a node, and what was deleted since then stays deleted (promise 4)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually

import dynazmq

GRACE_MS = 3_000
KEYS = [f"k{i}" for i in range(20)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Whose members retire what was deleted after seconds, not after minutes."""
    cluster = Cluster(tmp_path / "c")
    cluster.up("-n", "3")
    cluster.down()
    for name in ("n1", "n2", "n3"):
        path = cluster.directory / "nodes" / name / "config.json"
        config = json.loads(path.read_text())
        config["timing"]["retirement_grace_ms"] = GRACE_MS
        path.write_text(json.dumps(config))
    cluster.up()
    try:
        yield cluster
    finally:
        cluster.down()


def keys_of(cluster: Cluster) -> int:
    """Rows of all nodes, tombstones included."""
    return sum(node["keys"] for node in cluster.status()["nodes"])


def put_back(cluster: Cluster, name: str, copy: Path) -> None:
    node = cluster.directory / "nodes" / name
    assert cluster.run("node", "stop", name).code == 0
    for file in node.glob("data.db*"):
        file.unlink()
    for file in copy.iterdir():
        shutil.copy2(file, node / file.name)
    assert cluster.run("node", "start", name).code == 0


def copied(cluster: Cluster, name: str, to: Path) -> Path:
    """As an operator does it: stop, copy, start."""
    assert cluster.run("node", "stop", name).code == 0
    to.mkdir()
    for file in (cluster.directory / "nodes" / name).glob("data.db*"):
        shutil.copy2(file, to / file.name)
    assert cluster.run("node", "start", name).code == 0
    eventually(cluster.whole, "it is back")
    return to


def test_an_old_directory_is_set_aside_its_node_is_filled_by_the_others_and_nothing_comes_back(cluster: Cluster) -> None:
    with dynazmq.connect(dir=cluster.directory) as connected:
        client = connected.bucket("default")
        for key in [*KEYS, "kept"]:
            client.put(key, b"v", w="all")
        copy = copied(cluster, "n2", cluster.directory.parent / "copy")
        for key in KEYS:
            client.delete(key)
        eventually(lambda: keys_of(cluster) == 3, "all but one key are forgotten")
        put_back(cluster, "n2", copy)
        eventually(lambda: cluster.whole() and cluster.node("n2")["keys"] == 1, "it is rebuilt")
        assert [key for key in KEYS if client.get(key, r="all").values] == []
        assert client.get("kept", r="all").value == b"v"
    (aside,) = (cluster.directory / "nodes" / "n2").glob("aside-*")
    assert (aside / "data.db").stat().st_size > 0
    events = cluster.run("cluster", "events", "--json", "-l", "1000").document["events"]
    told = [event["text"] for event in events if event["kind"] == "wiped"]
    assert len(told) == 1
    assert told[0].startswith("its disk was an old copy")
    assert str(aside) in told[0]
    checks = cluster.run("doctor", "--json").document["checks"]
    assert [str(aside) in check["text"] for check in checks if check["check"] == "set-aside"] == [True]


def test_what_it_took_while_it_was_the_only_one_is_not_lost_with_it(cluster: Cluster) -> None:
    with dynazmq.connect(dir=cluster.directory) as connected:
        client = connected.bucket("default")
        for key in KEYS:
            client.put(key, b"v", w="all")
        copy = copied(cluster, "n2", cluster.directory.parent / "copy")
        for key in KEYS:
            client.delete(key)
        eventually(lambda: keys_of(cluster) == 0, "all are forgotten")
        assert cluster.run("node", "stop", "n1,n3").code == 0
        put_back(cluster, "n2", copy)
        client.put("alone", b"taken", w=1, timeout=30.0)
        assert cluster.run("node", "start", "n1,n3").code == 0
        eventually(lambda: cluster.whole() and cluster.node("n1")["keys"] == 1, "n2 is rebuilt, and the others have what it took")
        assert [key for key in KEYS if client.get(key, r="all").values] == []
        assert client.get("alone", r="all").value == b"taken"
    names = [entry.name for entry in (cluster.directory / "nodes" / "n2").iterdir()]
    assert [name for name in names if name.startswith("rescued")] == []
