"""Clients list keys while members come and go: none is missing without an error."""

from __future__ import annotations

import pytest

from dynazmq.config import DEFAULT_BUCKET
from dynazmq.simulator.cluster.client import Client
from dynazmq.simulator.cluster.cluster import Cluster
from dynazmq.simulator.cluster.handle import row_of
from dynazmq.simulator.cluster.listing import Listing


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


class Flipping:
    """A change of members that was just flipped, as one node knows, and a client that does not.

    first: who is read first of `key` by the ring before, and not by the new one. late: has no part in the key.
    """

    def __init__(self) -> None:
        self.cluster = cluster = Cluster(1, 4, r=1, w=3, anti_entropy_ms=60_000)
        self.client = cluster.client()
        cluster.add("n5")
        cluster.wait(lambda: all(node.process.node.membership.ring.filling for node in cluster.nodes), "it fills")
        self.before, self.lister = cluster.ring, cluster.client("lister")
        assert self.lister.connected().ring == self.before
        self.key = next(key for key in map("k{}".format, range(100)) if self._sides(key)[0][0] not in self._sides(key)[1])
        self.first, *_ = self._sides(self.key)[0]
        self.late = next(name for name in cluster.names if name not in sum(self._sides(self.key), ()))
        cluster.world.run_until(lambda: not cluster.ring.filling, 10.0)

    def _sides(self, key: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        partition = self.before.partition_of(row_of(key)[0])
        return self.before.primaries(partition, 3), self.before.others(partition, 3)

    def cut_off(self, name: str) -> None:
        """It hears nothing of its peers any more."""
        for other in self.cluster.names:
            self.cluster.cut(other, name)


def test_who_was_read_before_does_not_say_what_there_is_to_a_client_that_does_not_know_the_newest_ring() -> None:
    """Its copy waited as a hint, and all who are read by the newest ring had one: the list left the key out (seed 131126)."""
    story = Flipping()
    cluster, first = story.cluster, story.cluster.node(story.first)
    story.cut_off(story.late)  # it does not hear that the ring is flipped, so everybody stays there
    cluster.wait(lambda: not first.process.node.membership.ring.filling, "who was read knows it")
    story.cut_off(story.first)
    cluster.run(1.5)
    story.client.put(story.key, "v")
    keepers = [node.name for node in cluster.nodes if node.hints(first)]
    for name in cluster.names:
        if name not in (*keepers, story.late):
            cluster.network.mend(name, story.first)
    cluster.run(0.5)

    assert keepers
    assert not first.holds(story.key)
    assert story.lister.core.view.ring == story.before
    assert story.lister.keys() == [story.key]
    assert first.process.counted["scans_refused"] == 1


def test_who_has_not_heard_of_the_newest_ring_tells_what_it_has_and_is_not_blamed_for_it() -> None:
    """It is cut off, and R is 1: what all who are read by the newest ring hold does not make its answer a lie."""
    story = Flipping()
    story.cut_off(story.first)
    story.cluster.run(1.5)
    story.client.put(story.key, "v")
    assert not story.lister.begin_get(story.key, at=story.first).result().found
    assert story.cluster.node(story.first).process.node.membership.ring == story.before
    assert story.cluster.history.broken == []
    story.cluster.heal()
    story.cluster.run(3.0)
    assert story.lister.begin_get(story.key, at=story.first).result().values == ["v"]


def acknowledged_by_two_of_three() -> Cluster:
    """The third has not heard of the key, and nobody who keeps it for it can reach it."""
    cluster = Cluster(2, 5, anti_entropy_ms=60_000)
    client = cluster.client()
    first, *_ = (node.name for node in cluster.primaries("k"))
    first_node = cluster.node(first)
    first_node.crash()
    cluster.run(1.5)
    client.put("k", "v", w=2)
    keepers = [node.name for node in cluster.nodes if node.hints(first)]
    for name in keepers:
        cluster.cut(name, first)
    first_node.restart()
    cluster.run(1.0)
    assert first_node.holds("k") == []
    return cluster


@pytest.mark.parametrize("r", [1, 2])
def test_what_fewer_have_acknowledged_is_listed_when_more_are_to(r: int) -> None:
    cluster = acknowledged_by_two_of_three()
    cluster.client().configure(DEFAULT_BUCKET, 3, r, 3)
    memberships = [node.process.node.membership for node in cluster.nodes]
    cluster.wait(lambda: all(each.policy(DEFAULT_BUCKET).w == 3 for each in memberships), "all have heard of it")
    lister = cluster.client("lister")
    view = lister.connected()
    assert (view.policy(DEFAULT_BUCKET)[:3], view.wanted[DEFAULT_BUCKET][:3]) == ((3, 2, 2), (3, r, 3))
    assert lister.keys() == ["k"]


def test_what_fewer_have_acknowledged_is_listed_after_more_have_to() -> None:
    """By N − W + 1 alone one would be asked as soon as W is 3, and the key was left out."""
    cluster = acknowledged_by_two_of_three()
    cluster.client().configure(DEFAULT_BUCKET, 3, 2, 3)
    memberships = [node.process.node.membership for node in cluster.nodes]
    cluster.wait(lambda: all(each.in_force.held(DEFAULT_BUCKET).w == 3 for each in memberships), "W=3 is in force")
    lister = cluster.client("lister")
    assert lister.connected().policy(DEFAULT_BUCKET).w == 3
    assert lister.keys() == ["k"]
