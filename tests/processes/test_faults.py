"""Faults on one real cluster of five: a split with puts on both sides, a fault that ends by itself, one that outlives processes,
a full disk, a schedule that is interrupted (docs/decisions/0039; C1, N1, S3).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S
from supervised import Cluster, eventually

import dynazmq
from dynazmq.cluster.processes import environment
from dynazmq.paths import ClusterFile, faults_path

LEFT, RIGHT = ["n1", "n2"], ["n3", "n4", "n5"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    cluster.up("-n", "5", "--sync", "normal", "--restart", "never")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """Whole again before each test, whatever the one before did."""
    running.run("heal", "--no-wait")
    if not running.whole():
        running.run("node", "start", "--all", "--no-wait")
        eventually(running.whole, "the cluster is whole")
    return running


def beside(cluster: Cluster, names: list[str]) -> dynazmq.Client:
    """A client that knows these nodes, and of the others what they say."""
    members = ClusterFile.load(cluster.directory).members
    return dynazmq.connect(endpoints=[members[name] for name in names], timeout=5.0)


def seen_apart(cluster: Cluster) -> bool:
    """Each side calls the other down."""
    words = {node["name"]: node["seen_by"] for node in cluster.status()["nodes"]}
    return all(words[one].get(other) == words[other].get(one) == "down" for one in LEFT for other in RIGHT)


def ids(cluster: Cluster) -> list[str]:
    return [fault["id"] for fault in cluster.run("fault", "list", "--json").document["faults"]]


def test_c1_both_sides_of_a_partition_take_puts_and_after_the_heal_they_are_siblings_that_one_put_resolves(
    cluster: Cluster,
) -> None:
    cluster.run("put", "cart", "tea")
    on = cluster.run("partition", "n1,n2", "/", "n3,n4,n5")
    assert (on.code, on.out) == (
        0,
        "fault f1   partition n1 n2 ⇹ n3 n4 n5   until healed     both sides accept writes (sloppy quorum)\n",
    )
    refused = cluster.run("fault", "partition", "n3,n4,n5/n1,n2")
    assert (refused.code, "that is on already: f1" in refused.err) == (2, True)
    (shown,) = cluster.status()["faults"]
    assert (shown["kind"], shown["sides"], shown["applied_by"]) == ("partition", [LEFT, RIGHT], [*LEFT, *RIGHT])
    assert "fault f1 is on: partition n1 n2 ⇹ n3 n4 n5, until healed" in cluster.run("status").out
    assert cluster.run("status", "--check").code == 8
    eventually(lambda: seen_apart(cluster), "each side is down to the other")

    with beside(cluster, LEFT) as alice, beside(cluster, RIGHT) as bob:
        milk = alice.put("cart", "milk", alice.get("cart").context)
        bread = bob.put("cart", "bread", bob.get("cart").context)
        assert set(milk.acked) <= set(LEFT)
        assert set(bread.acked) <= set(RIGHT)
        assert (alice.get("cart").values, bob.get("cart").values) == ([b"milk"], [b"bread"])

        healed = cluster.run("heal", "--timeout", "20s")
        assert healed.code == 0, healed
        first, last = healed.out.splitlines()
        assert first == "healed f1"
        assert re.fullmatch(r"waiting …  (hints \d+ → 0 .*   )?converged in .*", last), "hints may be gone before the first look"
        assert not faults_path(cluster.directory).exists()
        for client in (alice, bob):
            assert sorted(client.get("cart", r=3).values) == [b"bread", b"milk"]
        assert cluster.run("get", "cart").code == 4
        alice.put("cart", "milk and bread", alice.get("cart").context)
        assert bob.get("cart", r=3).values == [b"milk and bread"]
    assert cluster.run("verify", "--deep").code == 0


def test_a_timed_fault_ends_by_itself_in_every_node_and_in_the_file(cluster: Cluster) -> None:
    on = cluster.run("fault", "isolate", "n2", "--for", "1s", "--json")
    assert on.document["applied_by"] == [*LEFT, *RIGHT]
    eventually(lambda: not any(node["faults"] for node in cluster.status()["nodes"]), "it is over")
    assert not faults_path(cluster.directory).exists()
    eventually(cluster.whole, "n2 is back")


def test_a_fault_outlives_its_node_and_its_supervisor_and_is_said_by_up(cluster: Cluster) -> None:
    assert cluster.run("fault", "slow", "n3", "--delay", "20ms", "--jitter", "5ms").code == 0
    cluster.run("kill", "n3", "--no-wait")
    skew = cluster.run("fault", "skew", "n3,n4", "--by", "-5m")
    assert (skew.code, "n3 is down: it applies there when it is started" in skew.err) == (0, True)
    cluster.run("node", "start", "n3")
    eventually(lambda: cluster.node("n3")["faults"] == ["f1", "f2"], "both are applied")

    assert "fault f1 is on: slow n3 by 20ms ± 5ms each way, until healed" in cluster.down().err
    assert cluster.run("status").out.splitlines()[1:3] == [
        "fault f1 is on: slow n3 by 20ms ± 5ms each way, until healed",
        "fault f2 is on: skew n3 n4, wall clock 5m behind, until healed",
    ]
    up = cluster.run("up")
    assert up.code == 0
    assert "! fault f1 is on: slow n3 by 20ms" in up.out
    assert "ready" not in up.out
    applied = {fault["id"]: fault["applied_by"] for fault in cluster.run("fault", "list", "--json").document["faults"]}
    assert applied == {"f1": [*LEFT, *RIGHT], "f2": ["n3", "n4"]}
    healed = cluster.run("heal", "f1", "--json").document
    assert (healed["healed"], healed["still_on"], healed["converged"]) == (["f1"], ["f2"], None)
    assert cluster.run("fault", "heal", "--all").code == 0
    assert ids(cluster) == []


def test_s3_a_full_disk_is_served_by_others_and_gets_all_of_it_when_it_is_healed(cluster: Cluster) -> None:
    assert cluster.run("fault", "disk-full", "n4").code == 0
    with dynazmq.connect(cluster.directory, timeout=5.0) as client:
        for i in range(40):
            assert "n4" not in client.put(f"full{i}", b"v").acked
        assert cluster.node("n4")["state"] == "up"
        before = cluster.node("n4")["keys"]
        healed = cluster.run("heal", "--json").document
        assert (healed["healed"], healed["converged"]) == (["f1"], True)
        assert cluster.node("n4")["keys"] > before
        assert all(client.get(f"full{i}", r=3).values == [b"v"] for i in range(40))
    assert cluster.run("verify", "--deep").code == 0


def test_heal_lets_paused_nodes_go_on_and_does_not_wait_for_killed_ones(cluster: Cluster) -> None:
    cluster.run("pause", "n2", "--no-wait")
    cluster.run("kill", "n5")
    paused = cluster.run("fault", "isolate", "n1")
    assert (paused.code, "n2 is paused: it applies there when it is resumed" in paused.err) == (0, True)
    with beside(cluster, ["n3", "n4"]) as client:
        eventually(lambda: client.put("while", b"v").stand_ins, "a hint is kept")
    named = cluster.run("heal", "f1", "--timeout", "20s")
    assert (named.code, named.out.splitlines()[0]) == (0, "healed f1")
    assert "all but n2 n5" in named.out
    cluster.run("fault", "isolate", "n1")
    healed = cluster.run("heal", "--timeout", "20s")
    assert (healed.code, healed.out.splitlines()[0]) == (0, "healed f1, resumed n2")
    assert "converged in" in healed.out
    assert "all but n5" in healed.out
    assert cluster.run("heal").out == "no fault was on\n"


def schedule(cluster: Cluster, lines: str, tmp_path: Path) -> Path:
    path = tmp_path / "faults.txt"
    path.write_text(lines)
    return path


def test_a_schedule_is_played_and_leaves_nothing_on_that_it_timed(cluster: Cluster, tmp_path: Path) -> None:
    lines = "0s drop n4/n5 0.2\n0s partition n1,n2/n3,n4,n5 for 500ms\n100ms pause n3\n200ms resume n3\n300ms heal f1\n"
    played = cluster.run("fault", "schedule", str(schedule(cluster, lines, tmp_path)), "--json")
    assert played.code == 0, played
    came = [step["outcome"].split(",")[0] for step in played.document["steps"]]
    assert came == ["f1 is on", "f2 is on", "n3 paused", "n3 resumed", "healed f1"]
    assert played.document["still_on"] == []
    assert ids(cluster) == []
    eventually(cluster.whole, "n3 goes on")


def test_a_schedule_that_is_interrupted_heals_what_it_has_switched_on_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    cluster.run("fault", "skew", "n1", "1s")
    path = schedule(cluster, "0s isolate n5\n0s slow n2 5ms\n1h heal\n", tmp_path)
    command = [sys.executable, "-P", "-m", "dynazmq", "fault", "schedule", str(path), "--dir", str(cluster.directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        eventually(lambda: ids(cluster) == ["f1", "f2", "f3"], "both are on")
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()  # the second is said: it waits for the third line
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert out.splitlines()[-1].endswith("healed f2 f3")
    assert ids(cluster) == ["f1"]


def test_a_damaged_file_switches_nothing_on_and_heal_removes_it(cluster: Cluster) -> None:
    faults_path(cluster.directory).write_text('{"schema": ')
    for command in (("fault", "list"), ("fault", "isolate", "n1")):
        ran = cluster.run(*command)
        assert (ran.code, "To remove it: dynazmq heal" in ran.err) == (1, True)
    assert cluster.status()["faults"] == []
    healed = cluster.run("heal")
    assert (healed.code, healed.out, "which could not be read" in healed.err) == (0, "no fault was on\n", True)
    assert not faults_path(cluster.directory).exists()


def test_purge_removes_the_faults(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "c")
    cluster.up("-n", "1")
    assert cluster.run("fault", "skew", "n1", "1s").code == 0
    assert cluster.run("down", "--purge", "--yes").code == 0
    assert not cluster.directory.exists()
