"""Clusters of one node and of two: N is what there are nodes for, R and W a majority of it, and nothing is pretended."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from supervised import Cluster, eventually

import dynazmq
from dynazmq.errors import InvalidRequest, Unavailable


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("one"))
    cluster.up("-n", "1", "--restart-after", "500ms")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("two"))
    cluster.up("-n", "2")
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


def test_one_node_keeps_one_copy_and_does_all_that_a_cluster_does(one: Cluster) -> None:
    status = one.status()
    assert (status["ring"]["n"], status["ring"]["r"], status["ring"]["w"]) == (1, 1, 1)
    assert status["nodes"][0]["partitions"] == 120
    assert one.run("status", "--check").code == 0
    assert one.run("put", "cart", "milk").code == 0
    assert one.run("get", "cart").out.strip() == "milk"
    assert one.run("keys").out.split() == ["cart"]
    assert one.run("delete", "cart").code == 0
    assert one.run("get", "cart").code == 3
    for command in ("cluster wait --for converged", "verify --deep", "aae status", "tui --once", "ring"):
        ran = one.run(*command.split())
        assert ran.code == 0, (command, ran)
    assert one.run("bench", "--seconds", "0.2", "--in-flight", "2").out.count("1 node ") == 1


def test_one_node_that_is_killed_has_lost_nothing_when_it_is_back(one: Cluster) -> None:
    with dynazmq.connect(one.directory) as client:
        contexts = {f"k{i}": client.put(f"k{i}", b"v%d" % i).context for i in range(50)}
        pid = one.node("n1")["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: one.node("n1")["state"] == "up" and one.node("n1")["pid"] != pid, "it was started again")
        found = client.get_many(contexts, timeout=5.0)
        assert {key: result.value for key, result in found.ok.items()} == {f"k{i}": b"v%d" % i for i in range(50)}


def test_more_copies_than_nodes_are_refused_before_anything_is_made(one: Cluster) -> None:
    wish = Cluster(one.directory / "nodes" / "none")
    refused = wish.run("up", "-n", "1", "--replicas", "3")
    assert refused.code == 2
    assert "--replicas is 1 to 1, the number of nodes, not 3" in refused.err
    assert not wish.directory.exists()
    with dynazmq.connect(one.directory) as client, pytest.raises(InvalidRequest, match="w=2 is more than n=1"):
        client.put("k", b"v", w=2)


@pytest.mark.parametrize("size", ["one", "two"])
def test_a_rolling_restart_would_be_an_outage_and_is_refused_as_one(size: str, request: pytest.FixtureRequest) -> None:
    cluster: Cluster = request.getfixturevalue(size)
    before = cluster.pids()
    ran = cluster.run("cluster", "restart", "--rolling")
    assert ran.code == 5
    assert "operations would fail while one is away" in ran.err
    assert "dynazmq cluster restart" in ran.err
    assert cluster.pids() == before


def test_of_two_nodes_one_alone_cannot_meet_a_quorum_of_two_and_says_so_with_numbers(two: Cluster) -> None:
    with dynazmq.connect(two.directory) as client:
        client.put("cart", b"milk")
        two.run("node", "stop", "n2")
        for refused in (lambda: client.put("cart", b"eggs"), lambda: client.get("cart")):
            with pytest.raises(Unavailable, match="2 replicas are needed, 1 can be reached; nothing was attempted") as caught:
                refused()
            assert (caught.value.required, caught.value.alive) == (2, 1)
        status = two.run("status")
        assert "no key meets R=2 and W=2: 1 node left" in status.out
        assert two.run("status", "--check").code == 9
        assert two.run("put", "cart", "eggs").code == 5


def test_of_two_nodes_one_alone_serves_whoever_asks_for_no_more(two: Cluster) -> None:
    with dynazmq.connect(two.directory) as client:
        two.run("node", "stop", "n2")
        alone = client.bucket("alone").with_options(r=1, w=1)
        done = alone.put("cart", b"milk")
        assert done.acked == ("n1",)
        assert alone.get("cart").value == b"milk"
        two.run("node", "start", "n2")
        eventually(two.whole, "n2 is back and has what it missed")
        assert alone.get("cart", r="all").value == b"milk"
