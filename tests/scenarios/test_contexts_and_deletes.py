"""§4.4: what a put replaces is what its context covers, no more and no less, wherever it is done."""

from __future__ import annotations

import pytest

from dynazmq.client.values.context import Context
from dynazmq.config import SIBLINGS_MAX
from dynazmq.errors import InvalidRequest
from dynazmq.simulator.cluster.cluster import Cluster


def test_c2_a_put_with_an_old_context_replaces_what_that_covers_and_stands_beside_the_rest() -> None:
    cluster = Cluster(1)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    old = alice.put("k", "v1").context
    bob.put("k", "v2", old)
    alice.put("k", "v3", old)
    assert sorted(alice.get("k").values) == ["v2", "v3"]


def test_c3_the_context_of_a_put_does_not_cover_siblings_that_its_client_was_not_shown() -> None:
    cluster = Cluster(2)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    bob.put("k", "bob's")
    mine = alice.put("k", "alice's 1").context
    alice.put("k", "alice's 2", mine)
    assert sorted(bob.get("k").values) == ["alice's 2", "bob's"]


def test_c4_two_clients_who_read_and_write_a_thousand_times_leave_no_pile_of_siblings() -> None:
    cluster = Cluster(3)
    users = [cluster.client("alice"), cluster.client("bob")]
    most = 0
    for i in range(500):
        found = [user.get("k") for user in users]
        for user, seen in zip(users, found, strict=True):
            user.put("k", f"{user.name} {i}", seen.context)
        most = max(most, *(len(seen.values) for seen in found))
    assert most == 2
    assert all(len(node.state("k").context.vector) <= 3 for node in cluster.primaries("k")), "one entry for each coordinator"


def test_c6_a_delete_with_a_context_leaves_a_concurrent_put_alone() -> None:
    cluster = Cluster(4)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    seen = alice.put("k", "v1").context
    bob.put("k", "v2")
    alice.delete("k", seen)
    assert bob.get("k").values == ["v2"]
    cluster.settle()
    assert [node.holds("k") for node in cluster.primaries("k")] == [["v2"]] * 3


def test_c7_what_is_deleted_while_a_replica_is_away_does_not_come_back_with_it() -> None:
    cluster = Cluster(5)
    client = cluster.client()
    client.put("k", "v", w="all")
    away = cluster.primaries("k")[1]
    away.crash()
    client.delete("k")
    assert client.get("k").values == []
    away.restart()
    cluster.settle()
    assert client.get("k", r="all").values == []
    assert [node.holds("k") for node in cluster.primaries("k")] == [[]] * 3
    assert cluster.equal("k")


def test_c7_not_even_when_the_hint_is_lost_with_its_holder() -> None:
    cluster = Cluster(6)
    client = cluster.client()
    client.put("k", "v", w="all")
    away = cluster.primaries("k")[0]
    away.crash()
    client.delete("k")
    cluster.run(1.0)
    (holder,) = [node for node in cluster.nodes if node.hints(away)]
    holder.wipe()
    cluster.settle()
    assert client.get("k").values == []
    client.get("k", r="all")
    cluster.run(0.1)
    assert cluster.equal("k")


def test_a_value_that_is_put_again_after_its_delete_is_there() -> None:
    cluster = Cluster(7)
    client = cluster.client()
    client.put("k", "v")
    client.delete("k")
    absent = client.get("k")
    assert not absent.found
    client.put("k", "v", absent.context)
    assert client.get("k").values == ["v"]
    cluster.settle()
    assert [len(node.state("k").live) for node in cluster.primaries("k")] == [1, 1, 1], "the tombstone is replaced"


def test_w14_an_empty_value_is_a_value_and_no_tombstone() -> None:
    client = Cluster(8).client()
    client.put("k", "")
    assert client.get("k").values == [""]


def test_w12_a_context_of_another_key_or_with_one_bit_changed_is_refused_and_nothing_is_stored() -> None:
    cluster = Cluster(9)
    client = cluster.client()
    token = client.put("k", "v").context.token
    changed = bytes([*token[:-1], token[-1] ^ 1])
    for key, context in (("other", Context(token)), ("k", Context(changed)), ("k", Context(token[:-1]))):
        with pytest.raises(InvalidRequest):
            client.put(key, "w", context)
    assert client.get("k", r="all").values == ["v"]
    assert client.get("other", r="all").values == []


def test_a_key_takes_so_many_siblings_and_no_more_and_can_still_be_read_and_resolved() -> None:
    cluster = Cluster(10)
    client = cluster.client()
    for i in range(SIBLINGS_MAX):
        client.put("k", f"v{i}")
    with pytest.raises(InvalidRequest, match=f"{SIBLINGS_MAX + 1} siblings, the limit is {SIBLINGS_MAX}"):
        client.put("k", "one more")
    found = client.get("k", r="all")
    assert len(found.values) == SIBLINGS_MAX
    client.put("k", "one", found.context)
    assert client.get("k").values == ["one"]


def test_c23_a_hot_key_with_a_hundred_blind_writers_at_once_keeps_every_value() -> None:
    cluster = Cluster(11)
    client = cluster.client()
    client.connected()
    calls = [client.begin_put("k", f"v{i}") for i in range(100)]
    for call in calls:
        call.result()
    cluster.settle()
    assert sorted(client.get("k", r="all").values) == sorted(f"v{i}" for i in range(100))
    assert cluster.equal("k")


def test_c20_a_clock_set_by_a_year_changes_no_value_and_no_order() -> None:
    cluster = Cluster(12)
    client = cluster.client()
    year_ms = 365 * 86_400_000
    for i, offset in enumerate((0, -year_ms, year_ms, 0)):
        for node in cluster.nodes:
            node.process.wall_offset_ms = offset
        client.put("k", f"v{i}", client.get("k").context)
    assert client.get("k", r="all").values == ["v3"]
    cluster.node("n1").process.wall_offset_ms = -year_ms
    cluster.node("n1").come_back()
    client.put("k", "after", client.get("k").context, at="n1")
    assert client.get("k", r="all").values == ["after"]


def test_n10_replication_in_any_order_ends_in_one_state() -> None:
    cluster = Cluster(13)
    client = cluster.client()
    client.connected()
    weather = cluster.network.conditions
    weather.reordering, weather.jitter_s, weather.duplication = True, 0.02, 0.3
    calls = [client.begin_put("k", f"v{i}") for i in range(30)]
    for call in calls:
        call.result()
    cluster.run(1.0)
    assert cluster.equal("k")
    assert len(client.get("k", r="all").values) == 30
