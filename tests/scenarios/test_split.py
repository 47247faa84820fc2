"""§4.4 §4.6: a cluster cut in two goes on on both sides; what came of it is reconciled by who reads it."""

from __future__ import annotations

import pytest

from dynazmq.errors import DynazmqError, Unavailable
from dynazmq.simulator.cluster.cluster import Cluster


def both_sides(cluster: Cluster) -> tuple[list[str], list[str]]:
    """Two nodes and three."""
    return cluster.names[:2], cluster.names[2:]


def test_c1_both_sides_of_a_split_take_puts_and_one_context_makes_them_one_value_again() -> None:
    cluster = Cluster(seed=2)
    left, right = both_sides(cluster)
    alice, bob = cluster.client("alice", beside=left[0]), cluster.client("bob", beside=right[0])
    alice.put("cart", "tea")
    cluster.run(1.0)

    cluster.partition(left, right)
    cluster.run(2.0)
    alice.put("cart", "milk", alice.get("cart").context)
    bob.put("cart", "bread", bob.get("cart").context)

    cluster.heal()
    cluster.settle()
    for client in (alice, bob):
        assert sorted(client.get("cart").values) == ["bread", "milk"]

    found = bob.get("cart")
    bob.put("cart", "bread and milk", found.context)
    cluster.settle()
    assert [node.holds("cart") for node in cluster.primaries("cart")] == [["bread and milk"]] * 3
    assert cluster.equal("cart")


def test_c1_two_blind_puts_on_both_sides_make_two_siblings_exactly() -> None:
    cluster = Cluster(seed=3)
    left, right = both_sides(cluster)
    alice, bob = cluster.client("alice", beside=left[0]), cluster.client("bob", beside=right[0])
    alice.connected(), bob.connected()
    cluster.partition(left, right)
    cluster.run(2.0)
    alice.put("k", "a")
    bob.put("k", "b")
    cluster.heal()
    cluster.settle()
    assert [sorted(node.holds("k")) for node in cluster.primaries("k")] == [["a", "b"]] * 3


def test_n1_an_isolated_node_is_stood_in_for_and_catches_up() -> None:
    cluster = Cluster(seed=4)
    lonely = cluster.primaries("k")[0]
    rest = [node for node in cluster.nodes if node is not lonely]
    client = cluster.client(beside=rest[0])
    client.connected()
    cluster.run(1.0)
    cluster.partition([lonely], rest)
    for i in range(10):
        client.put(f"k{i}", "v")
    client.put("k", "v")
    cluster.run(1.0)
    assert lonely.holds("k") == []
    assert all(node.sees(lonely) == "down" for node in rest)
    cluster.settle()
    assert lonely.holds("k") == ["v"]
    assert all(cluster.equal(f"k{i}") for i in range(10))


def test_n1_whoever_is_with_the_isolated_node_is_told_at_once_that_nothing_was_attempted() -> None:
    """W=2 cannot be had alone: Unavailable, not a timeout, and nothing is stored."""
    cluster = Cluster(seed=5)
    lonely = cluster.node("n1")
    client = cluster.client(beside=lonely)
    client.connected()
    cluster.partition([lonely], cluster.names[1:])
    cluster.run(2.0)
    before = cluster.world.now
    with pytest.raises(Unavailable) as refused:
        client.put("k", "v", at="n1")
    assert (refused.value.required, refused.value.alive) == (2, 1)
    assert cluster.world.now - before < 0.1
    cluster.settle()
    assert client.get("k", r="all").values == []


def test_n2_a_replica_that_does_not_hear_is_stood_in_for_though_it_is_heard() -> None:
    """One-way: nothing from the coordinator reaches the replica; the other way is open."""
    cluster = Cluster(seed=6)
    first, second, third = cluster.primaries("k")
    client = cluster.client(beside=first)
    client.connected()
    cluster.cut(first, second)
    done = client.put("k", "v", at=first.name)
    assert second.name not in done.acked
    cluster.run(2.0)
    assert first.sees(second) == "down"
    assert third.sees(second) == "up"
    assert second.holds("k") == ["v"], "the stand-in reaches it, and has brought it its hint"
    assert cluster.equal("k")


def test_n2_a_replica_whose_answers_are_lost_does_not_count() -> None:
    cluster = Cluster(seed=7)
    first, second, third = cluster.primaries("k")
    client = cluster.client(beside=first)
    client.connected()
    cluster.cut(second, first)
    cluster.cut(third, first)
    for node in cluster.fallbacks("k"):
        cluster.cut(node, first)
    with pytest.raises(DynazmqError):
        client.put("k", "v", at=first.name, timeout=0.2)
    cluster.run(0.5)
    assert second.holds("k") == ["v"], "it may have been done, and it was"
    cluster.settle()
    assert [node.holds("k") for node in cluster.primaries("k")] == [["v"]] * 3, "if it shows, it stays (C9)"


def test_n4_one_node_that_both_halves_reach_carries_the_writes_of_both() -> None:
    cluster = Cluster(seed=8)
    bridge, left, right = cluster.names[0], cluster.names[1:3], cluster.names[3:]
    alice, bob = cluster.client("alice", beside=left[0]), cluster.client("bob", beside=right[0])
    alice.connected(), bob.connected()
    cluster.partition(left, right)
    cluster.run(2.0)
    for i in range(5):
        alice.put(f"a{i}", "from the left")
        bob.put(f"b{i}", "from the right")
    cluster.settle()
    assert all(cluster.equal(f"{side}{i}") for side in "ab" for i in range(5))
    assert cluster.node(bridge).counters["suspicions"] == 0


def test_c19_all_primaries_of_a_key_away_is_served_by_fallbacks_and_pw_says_no_at_once() -> None:
    cluster = Cluster(seed=9, nodes=6)
    client = cluster.client()
    client.connected()
    primaries, fallbacks = cluster.primaries("k"), cluster.fallbacks("k")
    for node in primaries:
        node.crash()
    cluster.run(2.0)
    done = client.put("k", "v")
    assert set(done.acked) <= {node.name for node in fallbacks}
    assert client.get("k").values == ["v"]
    with pytest.raises(Unavailable):
        client.put("k", "w", pw=1)
    with pytest.raises(Unavailable):
        client.get("k", pr=1)
    cluster.settle()
    assert [node.holds("k") for node in primaries] == [["v"]] * 3
    assert client.get("k", pr=3).values == ["v"]


def test_a_fallback_that_coordinates_twice_gives_no_dot_twice() -> None:
    """Its counter lies in a hint, which goes home; the next time it stands in it is another actor (identity.py)."""
    cluster = Cluster(seed=10, nodes=4)
    client = cluster.client()
    primaries, (fallback,) = cluster.primaries("k"), cluster.fallbacks("k")
    for value in ("first", "second", "third"):
        for node in primaries:
            node.crash()
        cluster.run(2.0)
        client.put("k", value, w=1)
        cluster.settle()
    assert [sorted(node.holds("k")) for node in primaries] == [["first", "second", "third"]] * 3
    assert fallback.hints() == 0
    assert cluster.history.broken == []


def test_a_hint_survives_its_holder_which_was_down_when_the_target_came_back() -> None:
    cluster = Cluster(seed=11)
    client = cluster.client()
    target = cluster.primaries("k")[2]
    target.crash()
    client.put("k", "v")
    cluster.run(1.0)
    (holder,) = [node for node in cluster.nodes if node.hints(target)]
    holder.crash()
    target.restart()
    cluster.run(3.0)
    assert target.holds("k") == []
    holder.restart()
    cluster.settle()
    assert target.holds("k") == ["v"]
    assert holder.hints() == 0


def test_many_writes_to_one_key_make_one_hint() -> None:
    cluster = Cluster(seed=12)
    client = cluster.client()
    target = cluster.primaries("k")[1]
    target.crash()
    for i in range(20):
        client.put("k", f"v{i}", client.get("k").context)
    cluster.run(1.0)
    assert sum(node.hints(target) for node in cluster.nodes) == 1
    cluster.settle()
    assert target.holds("k") == ["v19"]


def test_s13_a_handoff_whose_acknowledgement_is_lost_is_delivered_again_with_the_same_effect() -> None:
    cluster = Cluster(seed=13)
    client = cluster.client()
    target = cluster.primaries("k")[2]
    target.crash()
    client.put("k", "v")
    cluster.run(1.0)
    (holder,) = [node for node in cluster.nodes if node.hints(target)]
    target.restart()
    cluster.wait(lambda: holder.sees(target) == "up", "it is seen")
    holder.crash("after the commit")  # it has deleted the hint, or it dies before it has
    cluster.run(3.0)
    assert target.holds("k") == ["v"]
    holder.restart()
    cluster.settle()
    assert cluster.equal("k")
