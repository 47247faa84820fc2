"""§4.4, promise 4: what is deleted is forgotten when nothing older of it is left anywhere, not earlier, and never comes back."""

from __future__ import annotations

from typing import Any

from dynazmq.dynamo.replica.collectable import CLOCK_ENTRIES_KEPT
from dynazmq.simulator.cluster.cluster import Cluster

GRACE_S = 6.0
SOON_S = 2 * GRACE_S + 12.0  # each has lived for a grace, two rounds a grace apart, and a retry


def a_cluster(seed: int, **options: Any) -> Cluster:
    return Cluster(seed, grace_ms=int(GRACE_S * 1000), anti_entropy_ms=100, **options)


def copies(cluster: Cluster, key: str) -> list[str]:
    """Who has a row of this key, be it a tombstone, or a hint."""
    raw = key.encode()
    rows = [node.name for node in cluster.nodes if any(at[2] == raw for at in node.process.disk.committed())]
    return rows + [f"hint at {node}" for node in cluster.nodes if any(at[3] == raw for at in node.process.disk.hint_states())]


def forgotten(cluster: Cluster, *keys: str, seconds: float = SOON_S) -> None:
    cluster.wait(lambda: not any(copies(cluster, key) for key in keys), "all is forgotten", seconds)


def collected(cluster: Cluster) -> int:
    return sum(node.counters["tombstones_collected"] for node in cluster.nodes)


def test_a_deleted_key_leaves_nothing_behind() -> None:
    cluster = a_cluster(1)
    client = cluster.client()
    keys = [f"k{i}" for i in range(30)]
    for key in keys:
        client.put(key, "v")
    client.put("kept", "v")
    for key in keys:
        client.delete(key)
    cluster.run(GRACE_S)
    assert all(len(copies(cluster, key)) == 3 for key in keys), "a grace has not passed between two rounds yet"
    forgotten(cluster, *keys)
    assert collected(cluster) == len(keys)
    assert client.get("kept", r="all").values == ["v"]
    assert sum(node.process.node.replica.keys for node in cluster.nodes) == 3
    assert all(node.trees_are_true() for node in cluster.nodes)
    assert all(len(node.process.node.retirement) == 0 for node in cluster.nodes)


def test_c7_what_a_replica_has_missed_for_hours_does_not_come_back_with_it_though_the_hints_are_lost() -> None:
    cluster = a_cluster(2)
    client = cluster.client()
    keys = [f"k{i}" for i in range(40)]
    for key in keys:
        client.put(key, "v", w="all")
    away = cluster.node("n3")
    away.crash()
    cluster.run(2.0)
    for key in keys:
        client.delete(key)
    for node in cluster.nodes:
        node.process.disk._hints.clear()
        if node is not away:
            node.restart()
    cluster.run(10 * SOON_S)
    assert collected(cluster) == 0
    assert any(away.holds(key) for key in keys)
    away.revive()
    forgotten(cluster, *keys, seconds=2 * SOON_S)
    assert [client.get(key, r="all").values for key in keys] == [[]] * len(keys)
    assert cluster.history.broken == []


def test_nothing_is_forgotten_while_any_member_is_away_though_it_has_no_copy_it_may_have_a_hint() -> None:
    cluster = a_cluster(3)
    client = cluster.client()
    client.put("k", "v")
    outsider = cluster.fallbacks("k")[0]
    client.delete("k")
    outsider.crash()
    cluster.run(5 * SOON_S)
    assert len(copies(cluster, "k")) == 3
    outsider.revive()
    forgotten(cluster, "k")


def test_a_hint_that_cannot_be_brought_home_keeps_the_tombstone() -> None:
    """The holder and the target do not reach each other, and everybody else reaches both."""
    cluster = a_cluster(4)
    client = cluster.client()
    client.put("k", "v", w="all")
    target, proposer = cluster.primaries("k")[2], cluster.primaries("k")[0]
    target.crash()
    cluster.run(2.0)
    client.put("k", "w", client.get("k").context)
    (holder,) = [node for node in cluster.nodes if node.hints(target)]
    cluster.cut(holder, target)
    target.revive()
    cluster.run(3.0)
    client.delete("k")
    cluster.run(3 * SOON_S)
    assert holder.hints(target), "the story is told as it was meant"
    assert proposer.sees(holder) == proposer.sees(target) == "up"
    assert len(copies(cluster, "k")) == 4
    cluster.heal()
    forgotten(cluster, "k")


def test_a_coordinator_that_was_frozen_with_an_old_write_in_its_hands_brings_nothing_back() -> None:
    """When it wakes it has never heard of the delete, and keeps a hint of what the third replica did not acknowledge."""
    cluster = a_cluster(5)
    client = cluster.client()
    first, second, third = cluster.primaries("k")
    cluster.cut(first, third)
    client.put("k", "v", at=first.name)
    first.pause()
    cluster.heal()
    cluster.run(3.0)
    client.delete("k")
    assert second.holds("k") == third.holds("k") == []
    cluster.run(3 * SOON_S)
    assert len(copies(cluster, "k")) > 3
    first.resume()
    forgotten(cluster, "k", seconds=2 * SOON_S)
    assert client.get("k", r="all").values == []
    cluster.settle()
    assert copies(cluster, "k") == []


def test_what_is_written_between_the_two_rounds_stays() -> None:
    cluster = a_cluster(6)
    client = cluster.client()
    client.put("k", "v")
    client.delete("k")
    cluster.run(1.5 * GRACE_S)
    assert len(copies(cluster, "k")) == 3
    client.put("k", "new")
    cluster.run(2 * SOON_S)
    assert client.get("k", r="all").values == ["new"]
    assert len(copies(cluster, "k")) == 3


def test_a_context_from_before_covers_nothing_that_was_written_after() -> None:
    """Its dots are forgotten, and may not be given again: a delete with it would remove what its holder has never seen."""
    cluster = a_cluster(7)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    for at in cluster.primaries("k"):
        old = alice.put("k", "v", alice.get("k").context, at=at.name).context
    alice.delete("k")
    forgotten(cluster, "k")
    for at in cluster.primaries("k"):
        bob.put("k", f"bob's at {at}", at=at.name)
    alice.delete("k", old)
    assert len(bob.get("k", r="all").values) == 3
    assert cluster.history.broken == []
    cluster.settle()
    assert all(not node.state("k").context.cloud for node in cluster.primaries("k")), "and contexts stay vectors"


def test_a_context_from_before_makes_nobody_believe_that_its_disk_was_set_back() -> None:
    cluster = a_cluster(8)
    client = cluster.client()
    old = client.put("k", "v").context
    client.delete("k")
    forgotten(cluster, "k")
    epochs = [node.epoch for node in cluster.nodes]
    client.put("k", "again", old)
    assert client.get("k", r="all").values == ["again"]
    assert [node.epoch for node in cluster.nodes] == epochs


def test_nor_does_it_cover_anything_after_a_new_epoch_whose_commit_failed() -> None:
    """The node goes on under its old name, which has given the counters of the forgotten key already."""
    cluster = a_cluster(10)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    first = cluster.primaries("k")[0]
    for i in range(4):
        alice.put("k", f"v{i}", alice.get("k").context, at=first.name)
    old = bob.get("k").context
    alice.delete("k", old)
    forgotten(cluster, "k")
    before = first.epoch
    first.process.node.anti_entropy.paused = first.process.disk.fail_commits = True
    first.process.node.identity.new_epoch("a damaged row was found")
    cluster.wait(lambda: first.counters["commits_failed"] > 0, "the turn's commit has failed")
    first.process.disk.fail_commits = False
    assert first.epoch == before
    alice.put("k", "alice's", at=first.name)
    bob.put("k", "bob's", old)
    assert sorted(bob.get("k", r="all").values) == ["alice's", "bob's"], "bob has never seen what alice put"
    assert cluster.history.broken == []


def test_nor_does_it_after_a_restart() -> None:
    cluster = a_cluster(9)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    first = cluster.primaries("k")[0]
    for i in range(5):
        old = alice.put("k", f"{i}", alice.get("k").context, at=first.name).context
    alice.delete("k")
    forgotten(cluster, "k")
    first.come_back()
    bob.put("k", "bob's", at=first.name)
    alice.delete("k", old)
    assert bob.get("k", r="all").values == ["bob's"]
    assert cluster.history.broken == []


def test_a_retirement_that_reached_only_some_is_done_again() -> None:
    cluster = a_cluster(10)
    client = cluster.client()
    client.put("k", "v")
    client.delete("k")
    proposer, second, _ = cluster.primaries("k")
    cluster.wait(lambda: any(c.cleared_at for c in proposer.process.node.retirement._candidates.values()), "a first round")
    cluster.run(GRACE_S - 0.05)
    while len(copies(cluster, "k")) == 3:  # up to the moment when the proposer forgets
        cluster.run(0.0001)
    cluster.cut(proposer, second)
    cluster.run(0.5)
    cluster.heal()
    forgotten(cluster, "k", seconds=2 * SOON_S)
    assert client.get("k", r="all").values == []


def test_a_disk_that_is_full_forgets_later() -> None:
    cluster = a_cluster(11)
    client = cluster.client()
    client.put("k", "v")
    client.delete("k")
    full = cluster.primaries("k")[0]
    cluster.run(1.5 * GRACE_S)
    full.process.disk.fail_commits = True
    cluster.run(SOON_S)
    assert full.name in copies(cluster, "k")
    assert full.trees_are_true()
    full.process.disk.fail_commits = False
    forgotten(cluster, "k", seconds=2 * SOON_S)


def test_s2_a_loss_of_power_after_it_does_not_bring_the_value_back() -> None:
    """Under sync=normal: whoever says that it holds the tombstone has synced it before."""
    for seed in range(12, 20):
        cluster = a_cluster(seed, sync="normal")
        client = cluster.client()
        victim = cluster.primaries("k")[seed % 3]
        victim.process.disk.watch_power()
        client.put("k", "v", w="all")
        cluster.run(1.0)
        client.delete("k")
        forgotten(cluster, "k", seconds=3 * SOON_S)
        victim.lose_power()
        victim.revive()
        cluster.settle()
        assert client.get("k", r="all").values == []
        forgotten(cluster, "k", seconds=3 * SOON_S)


def test_clock_entries_of_disks_that_are_gone_are_retired_and_no_value_with_them() -> None:
    cluster = a_cluster(20)
    client = cluster.client()
    keys = [f"k{i}" for i in range(5)]
    for life in range(12):
        node = cluster.node("n3")
        for key in keys:
            if node in cluster.primaries(key):
                client.put(key, f"of life {life}", client.get(key, r="all").context, at="n3")
        node.wipe()
        node.come_back()
        cluster.run(2.0)
    written = [key for key in keys if cluster.node("n3") in cluster.primaries(key)]
    assert written
    assert all(len(cluster.primaries(key)[0].state(key).context.vector) > CLOCK_ENTRIES_KEPT for key in written)
    longest = {key: len(cluster.primaries(key)[0].state(key).context.vector) for key in written}

    def short() -> bool:
        return all(len(node.state(key).context.vector) < 3 for key in written for node in cluster.primaries(key))

    cluster.wait(short, f"contexts of {longest} entries are short again", 2 * SOON_S)
    assert all(client.get(key, r="all").values == ["of life 11"] for key in written)
    assert all(cluster.equal(key) for key in written)
    assert all(node.trees_are_true() for node in cluster.nodes)
    old = client.get(written[0]).context
    client.put(written[0], "new", old)
    assert client.get(written[0], r="all").values == ["new"]


def test_siblings_are_no_tombstone_and_stay_beside_one() -> None:
    """C6: a delete beside a concurrent put."""
    cluster = a_cluster(21)
    alice, bob = cluster.client("alice"), cluster.client("bob")
    seen = alice.put("k", "v1").context
    bob.put("k", "v2")
    alice.delete("k", seen)
    cluster.run(2 * SOON_S)
    assert bob.get("k", r="all").values == ["v2"]
    assert collected(cluster) == 0


def test_a_cluster_of_one_forgets_too() -> None:
    cluster = a_cluster(22, nodes=1, n=1, r=1, w=1)
    client = cluster.client()
    client.put("k", "v")
    client.delete("k")
    forgotten(cluster, "k")


def test_a_tombstone_of_an_earlier_life_is_found_by_the_survey() -> None:
    cluster = a_cluster(23)
    client = cluster.client()
    client.put("k", "v")
    client.delete("k")
    for node in cluster.nodes:
        node.restart()
    forgotten(cluster, "k", seconds=2 * SOON_S)


def test_a_replica_that_has_missed_the_delete_and_is_told_by_nobody_keeps_the_tombstones_of_the_others() -> None:
    cluster = Cluster(24, grace_ms=int(GRACE_S * 1000))
    client = cluster.client()
    client.put("k", "v", w="all")
    stale = cluster.primaries("k")[1]
    stale.crash()
    cluster.run(2.0)
    client.delete("k")
    (holder,) = [node for node in cluster.nodes if node.hints(stale)]
    holder.wipe()
    holder.revive()
    stale.revive()
    cluster.run(4 * SOON_S)
    assert stale.holds("k") == ["v"]
    assert len(copies(cluster, "k")) == 3
    assert client.get("k", r="all").values == [], "which repairs it"
    forgotten(cluster, "k", seconds=2 * SOON_S)
