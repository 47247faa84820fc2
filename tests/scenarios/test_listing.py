"""Clients list keys while members come and go: none is missing without an error."""

from __future__ import annotations

import pytest

from dynazmq.simulator.client import Client
from dynazmq.simulator.cluster import Cluster
from dynazmq.simulator.listing import Listing


def grown(seed: int, nodes: int, keys: int) -> tuple[Cluster, Client, list[str]]:
    cluster = Cluster(seed, nodes, anti_entropy_ms=1000)
    client = cluster.client()
    names = [f"k{i}" for i in range(keys)]
    for name in names:
        client.put(name, "v")
    cluster.run(1.0)
    return cluster, client, names


@pytest.mark.parametrize("nodes", [3, 5])
def test_a_client_that_knows_the_ring_of_before_two_joins_lists_all_keys_at_once(nodes: int) -> None:
    """It was told 267 of 300, without an error: who had handed partitions over answered as if it held them."""
    cluster, client, names = grown(1, nodes, 120)
    before = client.core.view
    for name in ("n8", "n9"):
        cluster.add(name)
        cluster.wait(cluster.changed, f"{name} is in")
    cluster.run(5.0)
    assert client.core.view is before
    assert sorted(client.keys()) == sorted(names)
    assert client.core.view.ring == cluster.ring


@pytest.mark.parametrize("seed", range(3))
def test_a_client_that_lists_all_along_misses_none_while_members_come_and_go(seed: int) -> None:
    cluster, client, names = grown(seed, 4, 60)
    listings: list[Listing] = []

    def again() -> None:
        listings.append(listing := client.begin_keys())
        listing.then = lambda: cluster.world.at(cluster.world.now + 0.01, again)

    again()
    cluster.add("n5")
    cluster.wait(cluster.changed, "n5 is in")
    cluster.remove("n2")
    cluster.wait(cluster.changed, "n2 is out")
    cluster.end("n2")
    cluster.run(3.0)
    done = [listing for listing in listings if listing.done]
    assert len(done) > 100
    assert [str(listing) for listing in done if listing.error is not None or sorted(listing.keys) != sorted(names)] == []
    assert sum(node.process.counted["scans_refused"] for node in cluster.nodes) > 0


def test_a_key_is_listed_once_though_the_ring_changes_in_the_middle_of_the_walk() -> None:
    cluster, client, names = grown(7, 3, 60)
    listing = client.begin_keys(page_keys=1)
    cluster.run(0.01)
    assert 0 < len(listing.keys) < 40
    cluster.add("n4")
    cluster.wait(lambda: listing.done and cluster.changed(), "n4 is in, and all are listed")
    assert listing.error is None
    assert sorted(listing.keys) == sorted(names)
