"""No (actor, counter) ever names two writes, whatever becomes of the disks (I12; C8, S2, S10).

The history sees each dot that is made durable. In these stories the node that was set back writes before anybody could have told
it what it has lost.
"""

from __future__ import annotations

import pytest

from dynazmq.dynamo.values.versions import node_of
from dynazmq.simulator.cluster.client import Client
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.world.disk import Backup


def write_at(node: NodeHandle, client: Client, values: range) -> None:
    """One over the other, all coordinated by this node."""
    for i in values:
        client.put("k", f"v{i}", client.get("k").context, at=node.name)


def alone(cluster: Cluster, node: NodeHandle) -> Client:
    """Cut it off from all others; a client that is on its side."""
    cluster.partition([node], [other for other in cluster.nodes if other is not node])
    return cluster.client("beside", beside=node)


def write_before_anybody_tells(cluster: Cluster, node: NodeHandle, value: str = "beside") -> None:
    """The node begins a new life, hears nobody, and takes a put."""
    client = alone(cluster, node)
    node.restart()
    cluster.run(2.0)
    client.put("k", value, w=1, at=node.name)


def unique(cluster: Cluster, *values: str) -> None:
    """At rest no dot has named two writes, and nothing that should be there has been taken for overwritten."""
    cluster.settle()
    assert sorted(cluster.client("checker").get("k", r="all").values) == sorted(values)
    assert cluster.history.broken == []


def test_c8_a_wiped_node_that_writes_at_once_gives_no_dot_of_its_earlier_life() -> None:
    cluster = Cluster(1)
    node = cluster.primaries("k")[0]
    write_at(node, cluster.client(), range(4))
    cluster.run(0.5)
    node.wipe()
    node.restart()
    cluster.wait(lambda: node.process.node.membership.settled, "it has been told the ring, and no rows")
    alone(cluster, node).put("k", "beside", w=1, at=node.name)
    unique(cluster, "beside", "v3")


def test_s10_a_backup_of_the_same_life_put_back_gives_no_dot_that_was_given_after_it() -> None:
    cluster = Cluster(2)
    node, client = cluster.primaries("k")[0], cluster.client()
    write_at(node, client, range(1))
    backup = node.backup()
    write_at(node, client, range(1, 4))
    cluster.run(0.5)
    node.restore(backup)
    write_before_anybody_tells(cluster, node)
    unique(cluster, "beside", "v3")


@pytest.mark.parametrize("age", range(4))
def test_s10_a_backup_of_any_age_put_back_again_and_again_gives_no_dot_twice(age: int) -> None:
    cluster = Cluster(3)
    node, client = cluster.primaries("k")[0], cluster.client()
    backups: list[Backup] = []
    for life in range(4):
        write_at(node, client, range(life * 2, life * 2 + 2))
        cluster.run(0.5)
        node.process.crash()
        backups.append(node.backup())
        node.come_back()
    beside = []
    for again in range(3):
        node.restore(backups[age])
        beside.append(f"beside {again}")
        write_before_anybody_tells(cluster, node, beside[-1])
        cluster.heal()
        cluster.wait(lambda: not cluster.unsettled(), "its write has reached the others")
    unique(cluster, *beside, "v7")


def test_s10_a_set_back_node_writes_although_the_others_went_on_with_its_old_dots() -> None:
    """What they hold has its later dots overwritten: a new write under one of those would be taken for known, and vanish."""
    cluster = Cluster(4)
    node, other, _ = cluster.primaries("k")
    client = cluster.client()
    write_at(node, client, range(2))
    backup = node.backup()
    write_at(node, client, range(2, 6))
    write_at(other, client, range(6, 8))
    cluster.run(0.5)
    node.restore(backup)
    write_before_anybody_tells(cluster, node)
    unique(cluster, "beside", "v7")


def test_s2_commits_lost_with_the_power_under_sync_normal_cost_no_dot() -> None:
    """No boot id tells of it: a container's is its host's, which may have run on while the container's disk was set back."""
    cluster = Cluster(5, sync="normal")
    node, client = cluster.primaries("k")[0], cluster.client()
    write_at(node, client, range(1))
    node.process.disk.watch_power()
    write_at(node, client, range(1, 5))
    cluster.run(0.5)
    node.lose_power(all_since_the_checkpoint=True)
    write_before_anybody_tells(cluster, node)
    unique(cluster, "beside", "v4")


def test_s10_all_nodes_set_back_together_give_no_dot_twice() -> None:
    """Nobody is left who could tell: what clients still hold, contexts and values, must not be hit by new dots."""
    cluster = Cluster(6)
    node, client = cluster.primaries("k")[0], cluster.client()
    write_at(node, client, range(2))
    cluster.run(0.5)
    backups = [each.backup() for each in cluster.nodes]
    write_at(node, client, range(2, 4))
    held = client.get("k").context
    cluster.run(0.5)
    for each, backup in zip(cluster.nodes, backups, strict=True):
        each.restore(backup)
    for each in cluster.nodes:
        each.restart()
    cluster.settle()
    client.put("k", "blind", at=node.name)
    client.put("k", "later", held, at=cluster.primaries("k")[1].name)
    unique(cluster, "blind", "later")


def test_s10_a_lone_node_set_back_gives_no_dot_twice() -> None:
    cluster = Cluster(7, nodes=1, n=1, r=1, w=1)
    node, client = cluster.node("n1"), cluster.client()
    write_at(node, client, range(2))
    backup = node.backup()
    write_at(node, client, range(2, 4))
    held = client.get("k").context
    node.restore(backup)
    node.restart()
    client.put("k", "blind")
    client.put("k", "later", held)
    unique(cluster, "blind", "later")


def test_s10_a_fallback_set_back_to_when_it_held_a_hint_gives_no_stand_ins_dot_twice() -> None:
    """Its counter as a stand-in lies in the hint, which is back as well."""
    cluster = Cluster(8, nodes=4)
    primaries, (fallback,) = cluster.primaries("k"), cluster.fallbacks("k")
    client = alone(cluster, fallback)
    cluster.run(2.0)
    client.put("k", "v0", w=1, at=fallback.name)
    backup = fallback.backup()
    client.put("k", "v1", client.get("k", r=1).context, w=1, at=fallback.name)
    cluster.heal()
    cluster.wait(lambda: not cluster.unsettled(), "the hints went home")
    assert all(primary.holds("k") == ["v1"] for primary in primaries)
    fallback.restore(backup)
    write_before_anybody_tells(cluster, fallback)
    cluster.settle()
    assert "beside" in cluster.client("checker").get("k", r="all").values
    assert cluster.history.broken == []


def test_what_it_costs_a_key_has_an_entry_for_each_life_in_which_it_was_written() -> None:
    cluster = Cluster(9)
    node, client = cluster.primaries("k")[0], cluster.client()
    write_at(node, client, range(3))
    cluster.run(0.5)
    node.come_back()
    assert len(node.state("k").context.vector) == 1, "a life in which it was not written costs nothing"
    write_at(node, client, range(3, 6))
    node.come_back()
    write_at(node, client, range(6, 9))
    vector = node.state("k").context.vector
    assert [(node_of(actor), count) for actor, count in vector.items()] == [(node.name, 3)] * 3
