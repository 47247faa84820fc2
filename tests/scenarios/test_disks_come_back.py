"""Disks that were set back, emptied or are full: their data comes back without anybody reading it (S2, S4, S8, S10)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dynazmq.dynamo.runtime import StoreFailed
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle

KEYS = [f"k{i}" for i in range(30)]


def put_back(_cluster: Cluster, node: NodeHandle) -> Callable[[], None]:
    backup = node.backup()
    return lambda: node.restore(backup)


def power_lost(_cluster: Cluster, node: NodeHandle) -> Callable[[], None]:
    node.process.disk.watch_power()
    return node.lose_power


def rebuilt(_cluster: Cluster, node: NodeHandle) -> Callable[[], None]:
    return node.wipe


@pytest.mark.parametrize("how", [put_back, power_lost, rebuilt])
def test_what_a_disk_has_lost_comes_back_from_the_peers(how: Callable[..., Callable[[], None]]) -> None:
    cluster = Cluster(21, sync="normal", anti_entropy_ms=100)
    client, node = cluster.client(), cluster.node("n2")
    for key in KEYS:
        client.put(key, "old", w="all")
    lose = how(cluster, node)
    for key in KEYS[::2]:
        client.put(key, "new", client.get(key).context, w="all")
    for key in KEYS[::5]:
        client.delete(key, client.get(key).context, w="all")
    lose()
    node.restart()
    cluster.settle()
    cluster.wait(lambda: all(cluster.equal(key) for key in KEYS), "all are equal, and nobody has read")
    for i, key in enumerate(KEYS):
        assert client.get(key, r="all").values == ([] if i % 5 == 0 else ["new"] if i % 2 == 0 else ["old"])
    assert cluster.history.broken == []


def test_s4_a_fallback_whose_disk_is_full_is_no_place_for_a_hint_and_the_next_one_is() -> None:
    cluster = Cluster(22)
    client = cluster.client()
    client.connected()
    away = cluster.primaries("k")[2]
    first, second = cluster.fallbacks("k")
    away.crash()
    cluster.run(3.0)
    first.process.disk.fail_commits = True
    done = client.put("k", "v", w="all")
    assert first.name not in done.acked
    assert (first.hints(away), second.hints(away)) == (0, 1)
    cluster.settle()
    assert away.holds("k") == ["v"]
    assert cluster.history.broken == []


def test_s4_when_no_disk_has_room_for_a_hint_the_put_is_acknowledged_by_the_rest_and_exchanged_later() -> None:
    cluster = Cluster(23, anti_entropy_ms=100)
    client = cluster.client()
    client.connected()
    away = cluster.primaries("k")[2]
    away.crash()
    cluster.run(3.0)
    for fallback in cluster.fallbacks("k"):
        fallback.process.disk.fail_commits = True
    client.put("k", "v")
    cluster.settle()
    cluster.wait(lambda: cluster.equal("k"), "it has come to the third as well")
    assert away.holds("k") == ["v"]
    assert cluster.history.broken == []


def test_s7_hints_that_rot_before_they_go_home_are_given_up_and_exchanged_instead() -> None:
    """They were left out of every batch, and counted as pending for ever."""
    cluster = Cluster(24, anti_entropy_ms=100)
    client = cluster.client()
    away = cluster.primaries("k")[2]
    away.crash()
    cluster.run(3.0)
    for key in KEYS:
        client.put(key, "v")
    cluster.run(1.0)
    rotten = max(cluster.nodes, key=lambda node: node.hints(away))
    count = rotten.hints(away)
    rotten.process.disk.damage_hints(away.name)
    assert count > 1
    cluster.settle()
    cluster.wait(lambda: all(cluster.equal(key) for key in KEYS), "all are equal")
    assert rotten.counters["rows_damaged"] == count
    assert rotten.process.node.hints.pending == {}
    assert cluster.history.broken == []


def test_s6_hints_that_rot_on_a_disk_that_cannot_be_read_end_no_node() -> None:
    cluster = Cluster(25)
    client = cluster.client()
    away = cluster.primaries("k")[2]
    away.crash()
    cluster.run(3.0)
    client.put("k", "v")
    cluster.run(1.0)
    (rotten,) = [node for node in cluster.nodes if node.hints(away)]
    disk = rotten.process.disk
    disk.damage_hints(away.name)
    read_hint = disk.read_hint

    def unreadable(*at: object) -> bytes:
        raise StoreFailed("disk I/O error")

    disk.read_hint = unreadable  # type: ignore[method-assign]
    away.revive()
    cluster.run(3.0)
    assert rotten.process.crashes == 0
    disk.read_hint = read_hint  # type: ignore[method-assign]
    cluster.settle()
    assert rotten.process.crashes == 0
