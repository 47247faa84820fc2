"""Real nodes on disks that are not what they were: refused with the reason, rebuilt from their peers (S7, S8, S9)."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually

import dynazmq
from dynazmq.dynamo.values.versions import decode

KEYS = [f"key {number}" for number in range(150)]
VALUES = {key: f"the value of {key}".encode() for key in KEYS}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes, so that each holds every key."""
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "3", "--restart-after", "100ms")
    with dynazmq.connect(dir=cluster.directory) as client:
        for key, value in VALUES.items():
            client.bucket("default").put(key, value, w="all")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """Whole, and n3 stopped."""
    if running.status()["supervisor_pid"] is None:
        running.up("--restart-after", "100ms")
    if running.node("n3")["state"] != "up" and running.run("node", "start", "n3").code:
        running.run("node", "start", "n3", "--rebuild")
    eventually(running.whole, "the cluster is whole")
    assert running.run("node", "stop", "n3").code == 0
    return running


def disk_of(cluster: Cluster, name: str) -> Path:
    return cluster.directory / "nodes" / name / "data.db"


def stored(path: Path) -> dict[str, list[bytes]]:
    """What a stopped node holds: key → values."""
    database = sqlite3.connect(path)
    rows = database.execute("SELECT key, state FROM data WHERE bucket = 'default'").fetchall()
    database.close()
    return {key.decode(): decode(state).values for key, state in rows}


def holds_everything(cluster: Cluster, name: str) -> bool:
    """Stops it, so that all is in its file."""
    assert cluster.run("node", "stop", name).code == 0
    return stored(disk_of(cluster, name)) == {key: [value] for key, value in VALUES.items()}


def asides(cluster: Cluster) -> list[Path]:
    return sorted((cluster.directory / "nodes" / "n3").glob("aside-*"))


def test_s8_a_zeroed_disk_is_refused_with_the_reason_and_rebuilt_from_the_peers(cluster: Cluster) -> None:
    disk = disk_of(cluster, "n3")
    size = disk.stat().st_size
    disk.write_bytes(bytes(size))
    refused = cluster.run("node", "start", "n3")
    assert refused.code == 1
    advice = f"dynazmq node start n3 --rebuild --dir {cluster.directory}"
    reason = f"{disk} is zeroed at its beginning, and perhaps beyond; to start empty and be filled by the peers: {advice}"
    assert f"n3  exited (65): {reason}    look  dynazmq logs n3 --dir {cluster.directory}\n" == refused.err
    shown = cluster.run("status").out
    assert f"n3 cannot use its disk, nobody starts it any more: {reason}" in shown

    rebuilt = cluster.run("node", "start", "n3", "--rebuild")
    assert rebuilt.code == 0, rebuilt
    (aside,) = asides(cluster)
    assert f"n3  {size:,} bytes set aside in {aside}; started, pid " in rebuilt.out
    assert "dynazmq cluster wait --for converged" in rebuilt.out
    assert (aside / "data.db").stat().st_size == size
    assert cluster.run("cluster", "wait", "--for", "converged", "--timeout", "20s").code == 0
    with dynazmq.connect(dir=cluster.directory) as client:
        for key, value in VALUES.items():
            assert client.bucket("default").get(key, r="all").value == value
    assert holds_everything(cluster, "n3")


def test_a_second_rebuild_keeps_one_copy_the_newest_and_says_so(cluster: Cluster) -> None:
    for _ in range(2):
        eventually(lambda: cluster.node("n3")["pid"] is None, "n3 is down")
        ran = cluster.run("node", "start", "n3", "--rebuild", "--json")
        assert ran.code == 0
        (node,) = ran.document["nodes"]
        assert (ran.document["verb"], node["name"], node["done"], node["state"]) == ("rebuild", "n3", True, "up")
        (aside,) = asides(cluster)
        assert node["set_aside"] == str(aside)
        cluster.run("cluster", "wait", "--for", "converged", "--timeout", "20s")
        cluster.run("node", "stop", "n3")
    assert ", in place of aside-" in node["text"]


def test_what_may_not_be_rebuilt_is_refused_and_untouched(cluster: Cluster) -> None:
    before = disk_of(cluster, "n3").read_bytes()
    several = cluster.run("node", "start", "n2,n3", "--rebuild")
    assert several.code == 2
    assert "one node at a time" in several.err
    running = cluster.run("node", "start", "n2", "--rebuild")
    assert running.code == 1
    assert "n2 runs; a node is rebuilt when it is down: dynazmq node stop n2" in running.err
    assert cluster.node("n2")["state"] == "up"
    assert disk_of(cluster, "n3").read_bytes() == before


def test_s8_a_directory_copied_from_another_node_is_refused_at_once_and_only_once(cluster: Cluster) -> None:
    """P4: it would find the same again, however often it was started. Two nodes of one would be worse than one node less."""
    disk = disk_of(cluster, "n3")
    cluster.run("node", "stop", "n2")
    shutil.copy(disk_of(cluster, "n2"), disk)
    cluster.run("node", "start", "n2")
    log = cluster.directory / "nodes" / "n3" / "node.log"
    length = log.stat().st_size
    cluster.run("node", "start", "n3", "--no-wait")
    eventually(lambda: cluster.node("n3")["gave_up"], "n3 is given up")
    assert cluster.node("n3")["restart_in_s"] is None
    said = log.read_text()[length:]
    assert said.count(" ERROR ") == 1
    assert f"{disk} is n2's and not n3's; to start empty" in said
    assert cluster.run("node", "start", "n3", "--rebuild").code == 0
    eventually(cluster.whole, "n3 is filled again")
    assert holds_everything(cluster, "n3")


def test_s8_a_cluster_that_does_not_come_up_over_a_bad_disk_names_the_way_out(cluster: Cluster) -> None:
    cluster.down()
    os.truncate(disk_of(cluster, "n3"), 0)
    failed = cluster.run("up")
    assert failed.code == 1
    assert f"n3  exited with code 65: {disk_of(cluster, 'n3')} is empty (0 bytes); to start empty" in failed.err
    advice = failed.err.split("filled by the peers: dynazmq ")[1].split("\n")[0].split()
    rebuilt = cluster.run(*advice[:-2])  # without --dir, which is given anyhow
    assert rebuilt.code == 0, rebuilt
    assert f"next  dynazmq up --dir {cluster.directory}" in rebuilt.out
    (again,) = cluster.run("node", "start", "n3", "--rebuild", "--json").document["nodes"]
    assert (again["text"], again["state"], again["set_aside"]) == ("there was no database", "down", str(asides(cluster)[0]))
    cluster.up("--restart-after", "100ms")
    eventually(cluster.whole, "n3 is filled again")
    assert holds_everything(cluster, "n3")


def test_s7_one_flipped_byte_in_the_real_file_is_never_returned_and_is_repaired_from_a_peer(cluster: Cluster) -> None:
    disk, key = disk_of(cluster, "n3"), KEYS[149]
    raw, value = disk.read_bytes(), VALUES[KEYS[149]]
    assert value in raw, "it lies there as it was put"
    disk.write_bytes(raw.replace(value, value[:4] + bytes([value[4] ^ 1]) + value[5:]))
    assert stored(disk)[key] != [VALUES[key]]
    assert cluster.run("node", "start", "n3").code == 0
    with dynazmq.connect(dir=cluster.directory) as client:
        bucket = client.bucket("default")

        def read() -> list[bytes] | None:
            try:
                return list(bucket.get(key, r="all").values)
            except dynazmq.errors.Unavailable:
                return None  # not everybody sees everybody yet

        for _ in range(6):
            assert eventually(read, "all three answer") == [value]
    eventually(cluster.whole, "all are equal again")
    counters = json.loads(cluster.run("node", "show", "n3", "--json").out)["nodes"][0]["counters"]
    assert counters["rows_damaged"] == 1
    assert holds_everything(cluster, "n3")


def test_s9_a_node_whose_database_is_deleted_ends_by_itself_and_comes_back_empty_to_be_filled(cluster: Cluster) -> None:
    assert cluster.run("node", "start", "n3").code == 0
    eventually(cluster.whole, "n3 is up")
    before = cluster.node("n3")["pid"]
    for file in disk_of(cluster, "n3").parent.glob("data.db*"):
        file.unlink()
    with dynazmq.connect(dir=cluster.directory) as client:
        for key, value in VALUES.items():  # the same again: each key is written at n3 or comes to it
            client.bucket("default").put(key, value, context=client.bucket("default").get(key).context)
    eventually(lambda: cluster.node("n3")["pid"] not in (before, None), "it has another life")
    eventually(cluster.whole, "n3 is filled again")
    assert "was removed or replaced while this process served it" in cluster.run("logs", "n3", "--lines", "200").out
    assert holds_everything(cluster, "n3")


@pytest.mark.parametrize("file", ["data.db-wal", "data.db"])
def test_s9_a_file_that_is_deleted_while_nobody_writes_is_missed_all_the_same(cluster: Cluster, file: str) -> None:
    """What is only in the log would be gone with the process, whatever ends it, as long as nobody has noticed."""
    assert cluster.run("node", "start", "n3").code == 0
    eventually(cluster.whole, "n3 is up")
    before = cluster.node("n3")["pid"]
    (disk_of(cluster, "n3").parent / file).unlink()
    eventually(lambda: cluster.node("n3")["pid"] != before, "its process has ended")
    assert f"{file} was removed or replaced" in cluster.run("logs", "n3", "--lines", "200").out
    if file == "data.db":
        eventually(lambda: "is missing" in cluster.run("status").out, "its log alone is of no use")
        assert cluster.run("node", "start", "n3", "--rebuild").code == 0
    eventually(cluster.whole, "n3 is back")
    assert holds_everything(cluster, "n3")
