"""§2.3: buckets in which the last write wins. One value always, all replicas equal, and concurrent writes lost and counted."""

from __future__ import annotations

from typing import Any

import pytest

from dynazmq.config import DEFAULT_BUCKET
from dynazmq.dynamo.replica.collectable import CLOCK_ENTRIES_KEPT
from dynazmq.dynamo.values.lww import clock
from dynazmq.dynamo.values.versions import Sibling
from dynazmq.errors import InvalidRequest
from dynazmq.simulator.cluster.client import Client
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.cluster.process import CLIENT

HOUR_MS = 3_600_000


def with_lww(seed: int, bucket: str = DEFAULT_BUCKET, **options: Any) -> Cluster:
    """A cluster in which this bucket is one, and everybody knows it."""
    cluster = Cluster(seed, **options)
    cluster.client("operator").configure(bucket, 3, 2, 2, "lww")
    cluster.wait(lambda: knows_all(cluster, bucket), "gossip carries the policy")
    return cluster


def knows_all(cluster: Cluster, bucket: str) -> bool:
    return all(node.process.node.membership.is_lww(bucket) for node in cluster.nodes)


def discarded(cluster: Cluster) -> int:
    return sum(node.process.node.admin.status()["lww_discarded"] for node in cluster.nodes)


def split(cluster: Cluster) -> tuple[Client, Client]:
    """One client on either side, two nodes with the one and three with the other."""
    left, right = cluster.names[:2], cluster.names[2:]
    alice, bob = cluster.client("alice", beside=left[0]), cluster.client("bob", beside=right[0])
    alice.connected(), bob.connected()
    cluster.partition(left, right)
    cluster.run(2.0)
    return alice, bob


def held(node: NodeHandle, key: str) -> Sibling:
    """The one sibling that this node holds."""
    (sibling,) = node.state(key).live
    return sibling


@pytest.mark.parametrize("seed", range(4))
def test_after_a_split_there_is_one_value_everywhere_and_the_other_is_counted(seed: int) -> None:
    cluster = with_lww(seed)
    alice, bob = split(cluster)
    for i in range(3):
        alice.put(f"k{i}", "left")
        cluster.run(0.01)
        bob.put(f"k{i}", "right")
    cluster.settle()
    for i in range(3):
        assert alice.get(f"k{i}", r="all").values == ["right"], "it was the later one"
        cluster.run(0.1)
        assert cluster.equal(f"k{i}")
        assert [node.holds(f"k{i}") for node in cluster.primaries(f"k{i}")] == [["right"]] * 3
    assert 3 <= discarded(cluster) <= 3 * 3, "each write that was lost, once to N times"


def test_after_a_split_anti_entropy_and_hints_alone_leave_one_value_everywhere() -> None:
    cluster = with_lww(5, anti_entropy_ms=200)
    alice, bob = split(cluster)
    for i in range(5):
        alice.put(f"k{i}", "left")
        bob.put(f"k{i}", "right")
    cluster.settle()
    cluster.wait(lambda: all(cluster.equal(f"k{i}") for i in range(5)), "all replicas are equal, and nobody has read them")
    assert all(len(cluster.primaries(f"k{i}")[0].state(f"k{i}").live) == 1 for i in range(5))


def test_the_same_split_in_a_siblings_bucket_loses_nothing_and_counts_nothing() -> None:
    cluster = Cluster(0)
    alice, bob = split(cluster)
    alice.put("k", "left")
    bob.put("k", "right")
    cluster.settle()
    assert sorted(alice.get("k").values) == ["left", "right"]
    assert discarded(cluster) == 0


def test_blind_puts_replace_what_is_there_and_each_one_that_was_replaced_is_counted_once() -> None:
    cluster = with_lww(6)
    client = cluster.client()
    for i in range(10):
        client.put("k", f"v{i}")
        cluster.run(0.1)
    assert client.get("k", r="all").values == ["v9"]
    assert discarded(cluster) == 9


def test_puts_that_have_seen_what_they_replace_lose_nothing() -> None:
    cluster = with_lww(7)
    client = cluster.client()
    for i in range(10):
        client.put("k", f"v{i}", client.get("k").context)
    assert client.get("k", r="all").values == ["v9"]
    assert discarded(cluster) == 0


def test_c20_a_clock_that_is_an_hour_behind_still_overwrites_what_it_holds() -> None:
    cluster = with_lww(8)
    client = cluster.client()
    first, second, _ = cluster.primaries("k")
    second.process.wall_offset_ms = -HOUR_MS
    client.put("k", "by the right clock", at=first.name, w="all")
    client.put("k", "by the slow clock", at=second.name)
    assert client.get("k", r="all").values == ["by the slow clock"]


def test_c20_a_clock_that_is_an_hour_behind_overwrites_what_its_writer_was_shown_though_it_does_not_hold_it_itself() -> None:
    """The context carries the clock: without it the second put would be stamped an hour before the one that it replaces."""
    cluster = with_lww(9, nodes=3)
    client = cluster.client()
    first, second, third = cluster.primaries("k")
    second.process.wall_offset_ms = -HOUR_MS
    cluster.cut(first, second), cluster.cut(first, third)
    client.put("k", "one", at=first.name, w=1)
    seen = client.get("k", at=first.name, r=1)
    assert seen.values == ["one"]
    assert second.holds("k") == []
    cluster.heal()
    client.put("k", "two", seen.context, at=second.name)
    assert held(second, "k").wall_ms == clock(second.state("k").context) > cluster.world.wall_ms - HOUR_MS // 2
    cluster.settle()
    assert client.get("k", r="all").values == ["two"]
    assert discarded(cluster) == 0


def test_a_clock_that_is_an_hour_ahead_is_caught_up_with_by_whoever_has_seen_its_write() -> None:
    cluster = with_lww(10)
    client = cluster.client()
    first, second, third = cluster.primaries("k")
    first.process.wall_offset_ms = HOUR_MS
    client.put("k", "from the future", at=first.name, w="all")
    client.put("k", "by the right clock", at=second.name, w="all")
    assert client.get("k", r="all").values == ["by the right clock"]
    assert held(third, "k").wall_ms > cluster.world.wall_ms + HOUR_MS // 2


def test_what_was_written_by_a_clock_ahead_wins_against_whoever_has_not_seen_it() -> None:
    cluster = with_lww(11)
    for node in cluster.nodes[:2]:
        node.process.wall_offset_ms = HOUR_MS
    alice, bob = split(cluster)
    alice.put("k", "from the future")
    cluster.run(1.0)
    bob.put("k", "later")
    cluster.settle()
    assert bob.get("k", r="all").values == ["from the future"]


@pytest.mark.parametrize(("delete_last", "left"), [(True, []), (False, ["news"])])
def test_a_delete_wins_or_loses_by_its_stamp(delete_last: bool, left: list[str]) -> None:
    cluster = with_lww(12, anti_entropy_ms=200)
    client = cluster.client()
    client.put("k", "old", w="all")
    seen = client.get("k").context
    alice, bob = split(cluster)
    for deletes in (not delete_last, delete_last):
        if deletes:
            alice.delete("k", seen)
        else:
            bob.put("k", "news", seen)
        cluster.run(0.5)
    cluster.settle()
    assert client.get("k", r="all").values == left
    cluster.wait(lambda: cluster.equal("k"), "all replicas are equal")
    assert len(cluster.primaries("k")[0].state("k").live) == 1, "the value, or the tombstone"
    assert discarded(cluster) >= 1


def test_a_retry_does_not_bring_back_what_was_replaced_since_without_having_been_read() -> None:
    """Stored, and discarded by a blind put before the retry reaches another coordinator."""
    cluster = with_lww(13)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    alice.connected(), bob.connected()
    cluster.run(1.0)
    cluster.cut(cluster.primaries("k")[0], CLIENT + "alice")
    call = alice.begin_put("k", "once")
    cluster.run(0.1)
    bob.put("k", "twice")
    assert not call.done
    call.result()
    assert sum(node.counters["retries_recognised"] for node in cluster.nodes) == 1
    assert bob.get("k", r="all").values == ["twice"]
    cluster.settle()
    assert [node.holds("k") for node in cluster.primaries("k")] == [["twice"]] * 3


def test_the_policy_spreads_by_gossip_reaches_clients_and_survives_that_all_nodes_die() -> None:
    cluster = with_lww(14, bucket="positions")
    for node in cluster.nodes:
        node.crash()
    cluster.settle()
    assert knows_all(cluster, "positions")
    client = cluster.client("one who came later")
    assert client.connected().policy("positions") == (3, 2, 2, "lww")
    assert client.connected().policy(DEFAULT_BUCKET).conflict == "siblings"
    for value in ("here", "there"):
        client.put("car", value, bucket="positions")
        client.put("car", value)
    assert client.get("car", bucket="positions").values == ["there"]
    assert sorted(client.get("car").values) == ["here", "there"], "other buckets keep siblings"


def test_a_node_that_has_not_heard_of_the_policy_makes_siblings_that_are_one_value_to_those_who_have() -> None:
    cluster = Cluster(15)
    cluster.run(1.0)
    client = cluster.client()
    first, second, third = cluster.primaries("k")
    third.process.node.membership.set_policy(DEFAULT_BUCKET, 3, 2, 2, "lww")
    client.put("k", "a", at=first.name, w="all")
    client.put("k", "b", at=first.name, w="all")
    assert len(client.get("k", at=third.name, r="all").values) == 1
    cluster.wait(lambda: knows_all(cluster, DEFAULT_BUCKET), "gossip carries the policy")
    assert client.get("k", r="all").values == ["b"]
    cluster.run(0.1)
    assert cluster.equal("k")
    assert second.holds("k") == ["b"]


def test_siblings_from_before_are_one_value_from_then_on_and_siblings_may_be_kept_again_later() -> None:
    cluster = Cluster(16)
    client = cluster.client()
    client.put("k", "a")
    cluster.run(0.1)
    client.put("k", "b")
    assert sorted(client.get("k").values) == ["a", "b"]
    client.configure(DEFAULT_BUCKET, 3, 2, 2, "lww")
    cluster.wait(lambda: knows_all(cluster, DEFAULT_BUCKET), "gossip carries the policy")
    assert client.get("k").values == ["b"]
    client.configure(DEFAULT_BUCKET, 3, 2, 2, "siblings")
    cluster.run(10.0)
    client.put("k", "c")
    assert sorted(client.get("k", r="all").values) == ["b", "c"]


@pytest.mark.parametrize("conflict", ["LWW", "crdt", "last-write-wins"])
def test_a_conflict_policy_that_does_not_exist_is_refused_by_the_node(conflict: str) -> None:
    cluster = Cluster(17)
    with pytest.raises(InvalidRequest, match=f"SetBucket.conflict: one of .*siblings, lww, not '{conflict}'"):
        cluster.client().configure("b", 3, 2, 2, conflict)
    assert not any(node.process.node.membership.policies for node in cluster.nodes)


def test_a_delete_that_has_won_is_forgotten_and_what_it_had_beaten_does_not_come_back() -> None:
    cluster = with_lww(18, grace_ms=4000, anti_entropy_ms=100)
    client = cluster.client()
    client.put("k", "old", w="all")
    seen = client.get("k").context
    alice, bob = split(cluster)
    bob.put("k", "news", seen)
    cluster.run(0.5)
    alice.delete("k", seen)
    cluster.settle()
    cluster.wait(lambda: not any(cluster.rows("k").values()), "the tombstone is forgotten")
    assert client.get("k", r="all").values == []
    client.put("k", "again")
    assert client.get("k", r="all").values == ["again"]


def test_a_context_that_is_shortened_keeps_its_clock() -> None:
    cluster = with_lww(19, grace_ms=4000, anti_entropy_ms=100)
    client = cluster.client()
    node = cluster.primaries("k")[0]
    for life in range(CLOCK_ENTRIES_KEPT + 1):
        client.put("k", f"of life {life}", client.get("k", r="all").context, at=node.name)
        node.wipe()
        node.come_back()
        cluster.wait(lambda: knows_all(cluster, DEFAULT_BUCKET), "it has heard of the policy again")
        cluster.run(1.0)
    cluster.wait(lambda: all(len(each.state("k").context.vector) < 4 for each in cluster.primaries("k")), "all are short")
    for each in cluster.primaries("k"):
        assert clock(each.state("k").context) == held(each, "k").wall_ms
    assert client.get("k", r="all").values == [f"of life {CLOCK_ENTRIES_KEPT}"]
