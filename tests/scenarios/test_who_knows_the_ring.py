"""A node whose ring is of long ago serves nobody by it: neither one that lost its disk nor one that was frozen (promise 6)."""

from __future__ import annotations

import pytest

from dynazmq.errors import DynazmqError, Unavailable
from dynazmq.simulator.cluster.cluster import Cluster


def lived(seed: int) -> tuple[Cluster, list[str]]:
    """A cluster of five whose ring has changed four times, and keys most of whose first owners are others now."""
    cluster = Cluster(seed, 5, anti_entropy_ms=1000)
    client = cluster.client()
    keys = [f"k{i}" for i in range(100)]
    for key in keys:
        client.put(key, "v", w="all")
    first = {key: {node.name for node in cluster.primaries(key)} for key in keys}
    for name in ("n6", "n7", "n8", "n9"):
        cluster.add(name)
        cluster.wait(cluster.changed, f"{name} is in")
    moved = [key for key in keys if len(first[key] - {node.name for node in cluster.primaries(key)}) >= 2]
    assert len(moved) > 20
    return cluster, moved


def said(cluster: Cluster, at: str, keys: list[str]) -> dict[str, int]:
    """What clients hear who ask this one node for each of these keys, all of which are there."""
    client = cluster.client(f"of {at}")
    outcomes = {"found": 0, "absent": 0, "error": 0}
    for call in [client.begin_get(key, at=at, timeout=1.0) for key in keys]:
        try:
            outcomes["found" if call.result().found else "absent"] += 1
        except DynazmqError:
            outcomes["error"] += 1
    return outcomes


def test_c8_a_wiped_founder_that_is_cut_off_at_its_start_does_not_believe_what_the_cluster_began_with() -> None:
    """It did after a second: 17 of 38 acknowledged values were then absent by quorum, as former owners told it."""
    cluster, moved = lived(1)
    wiped = cluster.node("n1")
    wiped.wipe()
    cluster.partition([wiped], [node for node in cluster.nodes if node is not wiped])
    wiped.restart()
    cluster.run(5.0)
    assert not wiped.process.node.membership.settled
    cluster.heal()
    cluster.client("of n1").connected()
    assert said(cluster, "n1", moved)["absent"] == 0
    cluster.run(1.0)
    assert said(cluster, "n1", moved) == {"found": len(moved), "absent": 0, "error": 0}


def test_a_wiped_founder_takes_no_write_that_would_be_a_stray_before_it_knows_the_ring() -> None:
    cluster, _ = lived(2)
    wiped = cluster.node("n1")
    wiped.wipe()
    client = cluster.client("beside", beside=wiped)
    client.connected()
    cluster.partition([wiped], [node for node in cluster.nodes if node is not wiped])
    wiped.restart()
    cluster.run(5.0)
    with pytest.raises(Unavailable, match="learning the ring"):
        client.put("k1", "w", w=1, at="n1")
    assert wiped.strays() == []


def test_a_leaver_that_was_frozen_through_several_changes_finds_nothing_absent_when_it_thaws() -> None:
    """Nobody waits for it any more. Those who had let go of its keys answered it as if they held them."""
    cluster = Cluster(3, 5, anti_entropy_ms=1000)
    client = cluster.client()
    keys = [f"k{i}" for i in range(100)]
    for key in keys:
        client.put(key, "v", w="all")
    cluster.remove("n1")
    leaver = cluster.node("n1")
    cluster.wait(lambda: cluster.ring.at_rest and "n1" not in cluster.ring.members, "the ring does without it")
    cluster.wait(lambda: leaver.process.node.membership.ring == cluster.ring, "it knows")
    leaver.pause()
    cluster.names.remove("n1")
    for name in ("n6", "n7", "n8", "n9"):
        cluster.add(name)
        cluster.wait(lambda: cluster.ring.at_rest and name in cluster.ring.members, f"{name} is in")  # noqa: B023
    for name in ("n2", "n3"):
        cluster.remove(name)
        cluster.wait(lambda: cluster.ring.at_rest and name not in cluster.ring.members, f"{name} is out")  # noqa: B023
    cluster.run(10.0)
    assert leaver.process.node.membership.ring.version + 2 < cluster.ring.version
    cluster.client("of n1").connected()
    leaver.resume()
    assert said(cluster, "n1", keys)["absent"] == 0
    cluster.run(2.0)
    assert leaver.process.node.membership.ring == cluster.ring, "who refused it has told it the ring"


def test_all_nodes_of_a_new_cluster_and_all_that_were_killed_at_once_serve_as_soon_as_they_have_met() -> None:
    cluster = Cluster(4, 5)
    cluster.client().put("k", "v", w="all")
    for node in cluster.nodes:
        node.crash()
    for node in cluster.nodes:
        node.process.start()
    assert all(node.process.node.membership.settled for node in cluster.nodes), "they have it on their disks"
    for node in cluster.nodes:
        node.wipe()
        node.process.start()
    cluster.wait(lambda: all(node.process.node.membership.settled for node in cluster.nodes), "all have just begun", 0.3)
