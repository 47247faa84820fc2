"""Real clusters whose members are removed by force: what is refused, what is taken back, what is said of what is lost (§4.9)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from supervised import Cluster, eventually

import dynazmq

KEYS = [f"k{i}" for i in range(300)]


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """With these options of `up`, and keys."""
    cluster = Cluster(tmp_path / "c")
    cluster.up(*request.param)
    with dynazmq.connect(cluster.directory, timeout=10.0) as client:
        client.put_many(dict.fromkeys(KEYS, b"v"), w="all").raise_for_errors()
    yield cluster
    cluster.down()
    assert cluster.leftovers() == []


def found(cluster: Cluster) -> set[str]:
    with dynazmq.connect(cluster.directory, timeout=10.0) as client:
        results = client.get_many(KEYS).ok
    assert len(results) == len(KEYS)
    return {key for key, result in results.items() if result.found}


def down(cluster: Cluster, *names: str) -> None:
    cluster.run("node", "stop", *names)
    rest = [node["name"] for node in cluster.status()["nodes"] if node["name"] not in names]

    def seen() -> bool:
        nodes = {node["name"]: node for node in cluster.status()["nodes"]}
        return all(nodes[name]["seen_by"].get(peer) in ("down", "suspect") for name in names for peer in rest)

    eventually(seen, "all others have noticed")


def change(cluster: Cluster) -> dict[str, Any]:
    said: dict[str, Any] = cluster.status()["change"] or {}
    return said


@pytest.mark.parametrize("started", [("-n", "3", "--replicas", "1", "--restart", "never")], indirect=True)
def test_the_only_holder_is_removed_and_the_change_ends_and_says_what_is_lost_until_it_is_acknowledged(started: Cluster) -> None:
    down(started, "n3")
    removed = started.run("cluster", "remove", "n3", "--force", "--now", "--timeout", "60s")
    assert removed.code == 0, removed
    assert "40 partitions that nobody else holds: what is in them is lost" in removed.out
    assert "LOST  40 partitions with n3, " in removed.out
    status = started.status()
    ((lost),) = status["lost"]
    assert (len(lost["partitions"]), lost["owners"]) == (40, ["n3"])
    assert 0 < len(found(started)) < len(KEYS)
    assert [node["name"] for node in status["nodes"]] == ["n1", "n2"]
    assert started.run("status", "--check").code == 11
    said = started.run("status").out
    assert "DATA LOST" in said
    assert "next  dynazmq cluster acknowledge" in said
    assert "node start" not in said
    started.run("cluster", "restart", "--yes")
    assert started.run("status", "--check").code == 11, "all of them have kept it in mind"
    acknowledged = started.run("cluster", "acknowledge", "--json")
    assert acknowledged.document["acknowledged"] == [lost]
    eventually(lambda: started.run("status", "--check").code == 0, "nothing is the matter any more")
    assert "nothing is lost" in started.run("cluster", "acknowledge").out


@pytest.mark.parametrize("started", [("-n", "4", "--restart", "never")], indirect=True)
def test_a_removal_that_no_majority_can_agree_to_is_refused_with_numbers_and_may_be_meant_all_the_same(started: Cluster) -> None:
    down(started, "n3", "n4")
    refused = started.run("cluster", "remove", "n3,n4", "--force", "--now")
    assert refused.code == 2
    assert "expelling n3 n4 would leave 2 of 4 members, and more than half (3) must agree to it" in refused.err
    assert "--without-quorum" in refused.err
    started.run("cluster", "clear")
    refused = started.run("cluster", "remove", "n4", "--force", "--now")
    assert refused.code == 2
    assert "more than half of 4 members (3) must agree to expel n4, and 2 can be reached: n1 n2" in refused.err
    started.run("cluster", "clear")
    meant = started.run("cluster", "remove", "n3,n4", "--force", "--without-quorum", "--yes", "--now", "--timeout", "60s")
    assert meant.code == 0, meant
    assert "n3 n4: expelled without the consent of a majority" in meant.out
    assert found(started) == set(KEYS), "each key has three copies, and two of them at most were there"
    assert started.status()["lost"] == []


@pytest.mark.parametrize("started", [("-n", "4", "--restart", "never")], indirect=True)
def test_a_removal_is_taken_back_with_add_while_it_waits(started: Cluster) -> None:
    down(started, "n2", "n3")
    started.run("cluster", "remove", "n4", "--no-wait", "--now")  # which waits for n2 and n3
    assert started.run("cluster", "add", "n1").code == 2, "it is a member, and nobody wants it to go"
    taken_back = started.run("cluster", "add", "n4", "--now", "--no-wait")
    assert taken_back.code == 0, taken_back
    assert "staged  add n4, which stays a member after all" in taken_back.out
    started.run("node", "start", "n2", "n3")
    eventually(started.whole, "all are there")
    assert [node["name"] for node in started.status()["nodes"]] == ["n1", "n2", "n3", "n4"]
    assert change(started) == {}
    assert started.status()["ring"]["version"] == 1
    assert found(started) == set(KEYS)


@pytest.mark.parametrize("started", [("-n", "5", "--restart", "never")], indirect=True)
def test_a_removal_by_force_is_taken_back_with_add_while_it_waits(started: Cluster) -> None:
    down(started, "n4", "n5")
    removed = started.run("cluster", "remove", "n5", "--force", "--now", "--no-wait")  # n1 n2 n3 agree, and it waits for n4
    assert removed.code == 0, removed
    eventually(lambda: change(started).get("given_up") == ["n5"], "it has taken effect")
    said = started.run("status").out
    assert "n5 is given up: nobody waits for it" in said
    assert "next  dynazmq node start n4" in said
    taken_back = started.run("cluster", "add", "n5", "--now", "--no-wait")
    assert taken_back.code == 0, taken_back
    started.run("node", "start", "n4", "n5")
    eventually(started.whole, "all are there")
    assert change(started) == {}
    assert started.status()["ring"]["version"] == 1
    assert found(started) == set(KEYS)
