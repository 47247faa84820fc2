"""Anti-entropy held and let go on, against three real nodes: `aae`, and what `status` and `wait` say meanwhile (§4.7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import Cluster, eventually

NAMES = ["n1", "n2", "n3"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "c")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


def test_a_paused_cluster_says_so_stays_so_over_restarts_and_rebuilds_a_node_when_it_is_resumed(cluster: Cluster) -> None:
    cluster.up("-n", "3", "--sync", "normal", "--restart", "never")
    for i in range(30):
        assert cluster.run("put", f"k{i}", "v", "-w", "3").code == 0
    eventually(cluster.whole, "converged")
    paused = cluster.run("aae", "pause", "--json")
    assert paused.code == 0
    assert paused.document["nodes"] == [{"name": name, "on": True, "paused": True} for name in NAMES]
    document = cluster.status()
    assert (document["converged"], document["anti_entropy"]) == (False, {"paused": NAMES, "off": []})
    assert "anti-entropy is paused on n1 n2 n3: replicas are not compared" in cluster.run("status").out
    waiting = cluster.run("cluster", "wait", "--for", "converged", "--timeout", "100ms")
    assert (waiting.code, "anti-entropy is paused on n1 n2 n3" in waiting.err) == (6, True)

    assert cluster.run("node", "restart", "n2").code == 0
    assert cluster.run("node", "wipe", "n3", "--yes").code == 0
    assert cluster.run("node", "start", "n3").code == 0
    assert cluster.status()["anti_entropy"] == {"paused": ["n1", "n2"], "off": []}, "n3 has lost it with its disk"
    eventually(lambda: cluster.node("n3")["counters"].get("exchanges", 0) + cluster.node("n1")["trees_left"], "n3 is open")
    assert cluster.node("n3")["trees_left"] == cluster.node("n3")["trees_shared"] == 240
    assert cluster.node("n3")["counters"].get("keys_exchanged", 0) == 0

    resumed = cluster.run("aae", "resume")
    assert (resumed.code, resumed.out) == (0, "resumed on n1 n2 n3\n")
    assert cluster.run("cluster", "wait", "--for", "converged", "--timeout", "20s").code == 0
    assert cluster.node("n3")["keys"] >= 30
    assert cluster.node("n3")["trees_left"] == 0
    assert cluster.run("aae", "status").out.splitlines()[3].startswith("n3    on         240/240        0")


def test_a_node_that_is_away_is_not_told_and_the_command_says_so(cluster: Cluster) -> None:
    cluster.up("-n", "3", "--sync", "normal", "--restart", "never")
    cluster.run("kill", "n2")
    paused = cluster.run("aae", "pause")
    assert (paused.code, paused.out) == (5, "paused on n1 n3\n")
    assert "n2 was not told: it does not answer" in paused.err
    assert "next  dynazmq aae pause n2" in paused.err


def test_switched_off_at_the_start_nothing_is_compared_status_says_so_and_a_later_start_switches_it_on(cluster: Cluster) -> None:
    cluster.up("-n", "3", "--sync", "normal", "--anti-entropy", "off")
    assert cluster.run("put", "k", "v").code == 0
    document = cluster.status()
    assert (document["converged"], document["anti_entropy"]) == (False, {"paused": [], "off": NAMES})
    assert "anti-entropy is off on n1 n2 n3: replicas are not compared" in cluster.run("status").out
    assert "anti-entropy off" in cluster.run("bench", "-t", "put", "-c", "1", "-s", "100ms").out.splitlines()[0]
    refused = cluster.run("up", "--anti-entropy", "on")
    assert (refused.code, "dynazmq down" in refused.err) == (2, True)
    assert cluster.run("verify").code == 5
    assert cluster.run("verify", "--deep").code == 0
    cluster.down()
    cluster.up()
    assert cluster.status()["anti_entropy"]["off"] == NAMES, "it is remembered"
    cluster.down()
    cluster.up("--anti-entropy", "on")
    assert cluster.run("cluster", "wait", "--for", "converged", "--timeout", "20s").code == 0
