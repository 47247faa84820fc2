"""A copy of a disk is put back (S10) that is older than what was deleted and forgotten since: nothing comes back (promise 4)."""

from __future__ import annotations

import pytest
from test_dots_are_unique import alone
from test_forgetting import SOON_S, a_cluster, forgotten

from dynazmq.errors import DynazmqError
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.world.disk import Backup

KEYS = [f"k{i}" for i in range(20)]


def grown_old(cluster: Cluster, *nodes: NodeHandle) -> list[Backup]:
    """Copies of their disks, made before all keys but one were deleted and forgotten."""
    client = cluster.client()
    for key in [*KEYS, "kept"]:
        client.put(key, "v", w="all")
    cluster.run(0.5)
    backups = [node.backup() for node in nodes]
    for key in KEYS:
        client.delete(key, client.get(key).context)
    forgotten(cluster, *KEYS)
    return backups


def put_back(nodes: list[NodeHandle], backups: list[Backup]) -> None:
    for node, backup in zip(nodes, backups, strict=True):
        node.restore(backup)
    for node in nodes:
        node.restart()


def set_aside(cluster: Cluster) -> dict[str, int]:
    """Whose disk was set aside, and how often."""
    counts = {node.name: node.process.counted["disks_set_aside"] for node in cluster.nodes}
    return {name: count for name, count in counts.items() if count}


def shown(cluster: Cluster, name: str = "reader") -> list[str]:
    client = cluster.client(name)
    return [key for key in KEYS if client.get(key, r="all").values]


@pytest.mark.parametrize("seed", range(5))
def test_what_was_deleted_and_forgotten_since_does_not_come_back_and_the_rest_does(seed: int) -> None:
    cluster = a_cluster(seed)
    node = cluster.primaries("kept")[1]
    put_back([node], grown_old(cluster, node))
    cluster.settle()
    assert set_aside(cluster) == {node.name: 1}
    assert shown(cluster) == []
    cluster.wait(lambda: node.holds("kept") == ["v"], "its peers fill it")
    assert not any(node.holds(key) for key in KEYS)
    assert cluster.history.broken == []


def test_nor_does_what_it_kept_for_others() -> None:
    cluster = a_cluster(6)
    client, fallback = cluster.client(), cluster.fallbacks("k0")[0]
    away = cluster.primaries("k0")[2]
    away.crash()
    cluster.run(3.0)
    client.put("k0", "v", w="all")
    cluster.run(0.5)
    assert fallback.hints(away)
    (backup,) = [fallback.backup()]
    away.revive()
    client.delete("k0", client.get("k0").context)
    forgotten(cluster, "k0", seconds=2 * SOON_S)
    put_back([fallback], [backup])
    cluster.settle()
    assert shown(cluster) == []
    assert set_aside(cluster) == {fallback.name: 1}


def test_a_copy_since_which_nothing_was_forgotten_is_believed() -> None:
    cluster = a_cluster(7)
    node, client = cluster.primaries("kept")[0], cluster.client()
    grown_old(cluster)
    backup = node.backup()
    client.put("kept", "newer", client.get("kept").context)
    put_back([node], [backup])
    cluster.settle()
    assert set_aside(cluster) == {}
    assert client.get("kept", r="all").values == ["newer"]


def test_a_cluster_that_was_restored_as_a_whole_has_what_its_backups_had() -> None:
    cluster = a_cluster(8)
    put_back(cluster.nodes, grown_old(cluster, *cluster.nodes))
    cluster.settle()
    assert set_aside(cluster) == {}
    assert shown(cluster) == KEYS
    assert all(node.process.node.vouches.sure for node in cluster.nodes)


def test_a_majority_that_was_restored_is_believed_against_who_knows_better_and_says_so() -> None:
    """Its backups were made one after the other, and something was forgotten in between."""
    cluster = a_cluster(9)
    *most, last = cluster.nodes
    put_back(most, grown_old(cluster, *most))
    last.restart()
    cluster.settle()
    assert set_aside(cluster) == {}
    assert shown(cluster) == KEYS
    for node in most:
        node.come_back()
    cluster.settle()
    assert set_aside(cluster) == {}, "its count is that of the others by now"


def test_while_it_may_be_either_it_waits_and_serves_nobody() -> None:
    cluster = a_cluster(10, nodes=3)
    node, knows, away = cluster.nodes
    backups = grown_old(cluster, node)
    away.crash()
    put_back([node], backups)
    cluster.run(10.0)
    assert not node.process.node.vouches.sure
    assert not node.process.node.vouches.rebuild
    client = cluster.client()
    with pytest.raises(DynazmqError):
        client.get("k0", r=1, at=node.name)
    assert client.get("k0", r=1, at=knows.name).values == []
    away.revive()
    cluster.settle()
    assert set_aside(cluster) == {node.name: 1}
    assert shown(cluster) == []


def test_one_of_two_is_rebuilt_by_the_word_of_the_other() -> None:
    cluster = a_cluster(11, nodes=2, n=2, r=1, w=1)
    node = cluster.node("n2")
    put_back([node], grown_old(cluster, node))
    cluster.settle()
    assert set_aside(cluster) == {"n2": 1}
    assert shown(cluster) == []


def test_who_reaches_nobody_serves_by_what_it_has_and_gives_peers_nothing_of_it() -> None:
    cluster = a_cluster(12)
    node = cluster.primaries("k0")[0]
    backups = grown_old(cluster, node)
    client = alone(cluster, node)
    put_back([node], backups)
    cluster.run(5.0)
    assert client.get("k0", r=1, at=node.name).values == ["v"]
    cluster.heal()
    cluster.settle()
    assert shown(cluster) == []
    assert set_aside(cluster) == {node.name: 1}


@pytest.mark.parametrize("turn_messages", [0, 1], ids=["at leisure", "busy: frames wait, and probes are heard before them"])
def test_what_peers_told_the_life_before_does_not_make_the_next_one_believe_its_disk(turn_messages: int) -> None:
    """It comes late, from before anything was forgotten: they knew of nothing newer then."""
    cluster = a_cluster(16, turn_messages=turn_messages)
    node = cluster.primaries("k0")[0]
    late: list[tuple[str, bytes]] = []
    arrive = node.process.arrive

    def hold_back(source: str, frame: bytes) -> None:
        if source in cluster.names:
            late.append((source, frame))
        arrive(source, frame)

    node.process.arrive = hold_back  # type: ignore[method-assign]
    cluster.run(5.0)
    node.process.arrive = arrive  # type: ignore[method-assign]
    backups = grown_old(cluster, node)
    alone(cluster, node)
    put_back([node], backups)
    assert len({source for source, _ in late}) == 4
    for source, frame in late:
        node.process.arrive(source, frame)
    cluster.run(0.1)
    assert not node.process.node.vouches.sure
    cluster.heal()
    cluster.settle()
    assert shown(cluster) == []
    assert set_aside(cluster) == {node.name: 1}


def test_a_new_disk_counts_on_and_is_not_taken_for_an_old_one_when_it_starts_again() -> None:
    cluster = a_cluster(13)
    node = cluster.primaries("kept")[0]
    grown_old(cluster)
    node.wipe()
    node.revive()
    cluster.settle()
    cluster.wait(lambda: node.holds("kept") == ["v"], "its peers fill it")
    node.come_back()
    cluster.settle()
    assert set_aside(cluster) == {}


@pytest.mark.parametrize("seed", range(3))
def test_what_went_with_the_power_makes_no_disk_an_old_one(seed: int) -> None:
    """Without syncs a count may be lost that was stored, but none that was told."""
    cluster = a_cluster(seed, sync="normal")
    client = cluster.client()

    def counts() -> list[int]:
        return [node.process.node.vouches.mine for node in cluster.nodes]

    for i in range(8):
        client.put(f"k{i}", "v")
        client.delete(f"k{i}")
        before = counts()
        cluster.wait(lambda before=before: counts() != before, "somebody vouches", SOON_S)
        cluster.run(0.002 * (i % 4))
        for node in cluster.nodes:
            node.lose_power(all_since_the_checkpoint=True)
        for node in cluster.nodes:
            node.revive()
        cluster.settle()
    assert set_aside(cluster) == {}
    assert not any(node.process.counted["old_disks"] for node in cluster.nodes)


def test_what_an_old_disk_took_while_it_reached_nobody_is_kept_and_nothing_older_with_it() -> None:
    cluster = a_cluster(14)
    node = cluster.primaries("kept")[0]
    backups = grown_old(cluster, node)
    client = alone(cluster, node)
    put_back([node], backups)
    cluster.run(5.0)
    client.put("new", "taken alone", w=1, at=node.name)
    client.put("kept", "beside", w=1, at=node.name)
    mine = next(key for key in KEYS if node.holds(key))
    client.put(mine, "beside what was deleted", w=1, at=node.name)
    node.restart()
    cluster.run(2.0)
    client.put("newer", "in another life", w=1, at=node.name)
    cluster.heal()
    cluster.settle()
    assert set_aside(cluster) == {node.name: 1}
    found = {key: cluster.client("reader").get(key, r="all").values for key in ("new", "newer", "kept", mine)}
    assert found == {
        "new": ["taken alone"], "newer": ["in another life"], "kept": ["beside", "v"], mine: ["beside what was deleted"],
    }  # fmt: skip
    assert shown(cluster) == [mine]
    assert cluster.history.broken == []


def test_what_was_deleted_alone_by_who_had_seen_it_is_deleted_everywhere() -> None:
    cluster = a_cluster(15)
    node = cluster.primaries("kept")[0]
    backups = grown_old(cluster, node)
    client = alone(cluster, node)
    put_back([node], backups)
    cluster.run(5.0)
    client.delete("kept", client.get("kept", r=1, at=node.name).context, w=1, at=node.name)
    cluster.heal()
    cluster.settle()
    assert set_aside(cluster) == {node.name: 1}
    assert cluster.client("reader").get("kept", r="all").values == []
