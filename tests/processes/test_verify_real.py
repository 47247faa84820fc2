"""`verify --deep` against four real nodes, one of whose SQLite files is spoilt by hand."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pytest
from supervised import Cluster, eventually

from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import EMPTY, actor_id, decode, encode, put
from dynazmq.storage.base import checksum
from dynazmq.storage.tables import SIGNED

KEYS = [f"k{i}" for i in range(40)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "4", "--sync", "normal", "--restart", "never")
    for key in KEYS:
        assert cluster.run("put", key, f"value of {key}", "-w", "3").code == 0
    assert cluster.run("cluster", "restart").code == 0  # now all rows are in `data`, and none in memory
    eventually(cluster.whole, "converged")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    """Whole before each test, and mended after it."""
    yield running
    running.run("node", "start", "--all", "--no-wait")
    running.run("aae", "resume")
    eventually(running.whole, "the cluster is whole")


def spoil(cluster: Cluster, name: str, statement: str, *values: object) -> None:
    """Change a node's file by hand, whether it runs or not."""
    database = sqlite3.connect(cluster.directory / "nodes" / name / "data.db", timeout=5.0)
    with database:
        assert database.execute(statement, values).rowcount == 1
    database.close()


def rows(cluster: Cluster) -> dict[str, list[object]]:
    """What the files hold of the bucket that the tests use."""
    found = {}
    for name in ("n1", "n2", "n3", "n4"):
        database = sqlite3.connect(cluster.directory / "nodes" / name / "data.db", timeout=5.0)
        tables = [f"SELECT * FROM {table} WHERE bucket = 'default'" for table in ("data", "hints")]
        found[name] = [database.execute(table).fetchall() for table in tables]
        database.close()
    return found


def at(key: str) -> tuple[int, str, bytes]:
    """Where its row is in `data`."""
    return place("default", key.encode()) - SIGNED, "default", key.encode()


def check_of(key: str, state: bytes) -> int:
    """The checksum that makes a row good."""
    return checksum(place("default", key.encode()), "default", key.encode(), state)


def primaries(cluster: Cluster, key: str) -> list[str]:
    preference = cluster.run("ring", "--key", key, "--json").document["key"]["preference"]
    return [each["node"] for each in preference[:3]]


def state_of(cluster: Cluster, name: str, key: str) -> bytes:
    database = sqlite3.connect(cluster.directory / "nodes" / name / "data.db", timeout=5.0)
    (state,) = database.execute("SELECT state FROM data WHERE place = ? AND bucket = ? AND key = ?", at(key)).fetchone()
    database.close()
    return bytes(state)


def test_nothing_is_found_in_a_healthy_cluster_and_nothing_is_changed(cluster: Cluster) -> None:
    before = rows(cluster)
    deep = cluster.run("verify", "--deep")
    assert (deep.code, deep.err) == (0, "")
    assert re.search(r"keys +41\n +copies +123, .*\n +hints +0\n +trees +360 compared with their rows\n +found +0\n", deep.out)
    assert deep.out.endswith("nothing differs\n")
    quick = cluster.run("verify", "--json")
    assert (quick.code, quick.document["ok"], quick.document["trees"]["compared"]) == (0, True, 360)
    assert rows(cluster) == before


def test_exactly_what_was_spoilt_in_a_stopped_nodes_file_is_found(cluster: Cluster) -> None:
    its = [key for key in KEYS if "n3" in primaries(cluster, key)]
    gone, flipped, other, *_ = its
    foreign = next(key for key in KEYS if key not in its)
    assert cluster.run("aae", "pause").code == 0
    assert cluster.run("node", "stop", "n3").code == 0
    where = "WHERE place = ? AND bucket = ? AND key = ?"
    spoil(cluster, "n3", f"DELETE FROM data {where}", *at(gone))
    state = state_of(cluster, "n3", flipped)
    spoil(cluster, "n3", f"UPDATE data SET state = ? {where}", state[:-1] + bytes([state[-1] ^ 1]), *at(flipped))
    changed, _, _ = put(decode(state_of(cluster, "n3", other)), EMPTY.context, actor_id("x", "e"), b"never written", b"i" * 16, 1)
    new = encode(changed)
    spoil(cluster, "n3", f"UPDATE data SET state = ?, checksum = ? {where}", new, check_of(other, new), *at(other))
    assert cluster.run("node", "start", "n3").code == 0

    before = rows(cluster)
    ran = cluster.run("verify", "--deep", "--json")
    assert ran.code == 10
    document = ran.document
    assert document["schema"] == "dynazmq.verify/1"
    assert document["found"] == {"damaged": 1, "differs": 1, "missing": 1}
    found = {each["kind"]: each for each in document["findings"]}
    assert {kind: each["key"] for kind, each in found.items()} == {"damaged": flipped, "differs": other, "missing": gone}
    assert all(each["nodes"] == ["n3"] for kind, each in found.items() if kind != "differs")
    assert found["differs"]["nodes"] == primaries(cluster, other)
    assert rows(cluster) == before
    shown = cluster.run("verify", "--deep")
    assert shown.code == 10
    assert f"missing      default/{gone}  n3 has no copy, " in shown.out
    assert "findings: not as it should be" in shown.out
    assert "dynazmq cluster wait --for converged" in shown.err

    # A row of which it is no holder, and a hint for nobody: neither stays, they are handed over to the key's primaries.
    assert cluster.run("node", "stop", "n3").code == 0
    stray = state_of(cluster, primaries(cluster, foreign)[0], foreign)
    spoil(cluster, "n3", "INSERT INTO data VALUES (?, ?, ?, ?, ?)", *at(foreign), stray, check_of(foreign, stray))
    spoil(cluster, "n3", "INSERT INTO hints VALUES ('n9', ?, ?, ?, ?, ?)", *at(foreign), stray, check_of(foreign, stray))
    assert cluster.run("node", "start", "n3").code == 0
    assert cluster.run("aae", "resume").code == 0
    assert cluster.run("cluster", "wait", "--for", "converged", "--timeout", "20s").code == 0
    assert cluster.run("verify", "--deep").code == 0, "all of it has been mended, the stray row and the hint too"


def test_a_row_that_vanishes_under_a_running_node_is_missing_and_its_tree_is_found_out(cluster: Cluster) -> None:
    assert cluster.run("aae", "pause").code == 0
    key = next(key for key in KEYS if "n2" in primaries(cluster, key))
    spoil(cluster, "n2", "DELETE FROM data WHERE place = ? AND bucket = ? AND key = ?", *at(key))
    document = cluster.run("verify", "--deep", "--json").document
    assert document["found"] == {"missing": 1, "tree": 1}
    assert {(each["kind"], *each["nodes"]) for each in document["findings"]} == {("missing", "n2"), ("tree", "n2")}
    assert cluster.run("verify").code == 0, "the roots alone do not show it"
    assert cluster.run("node", "restart", "n2").code == 0
    quick = cluster.run("verify")
    assert quick.code == 10
    assert "the replicas of partition" in quick.out
    assert "next  dynazmq verify --deep" in quick.err


def test_a_node_that_is_away_is_named_and_the_rest_is_verified(cluster: Cluster) -> None:
    cluster.run("kill", "n4")
    ran = cluster.run("verify", "--deep")
    assert ran.code == 5
    assert "n4 was not read: it does not answer" in ran.err
    assert "nothing differs in what could be read, and that was not all" in ran.out
    document = cluster.run("verify", "--deep", "--json").document
    assert (document["ok"], document["nodes"], list(document["unread"])) == (False, ["n1", "n2", "n3"], ["n4"])
