"""P6 and C24 (docs/decisions/0022): nodes that end in good order, one or each in its turn, while others work."""

from __future__ import annotations

from functools import partial

from dynazmq.simulator.cluster.client import Client
from dynazmq.simulator.cluster.cluster import Cluster, NodeHandle
from dynazmq.simulator.cluster.history import OK

SLOW_S = 0.05
"""A node's own time for an operation is a millisecond or two here; a client's patience with one that is silent is 0.3 s."""


def work(cluster: Cluster, client: Client, seconds: float) -> None:
    """A put or a get each millisecond, whether the ones before have ended or not."""
    for _ in range(round(seconds / 0.001)):
        begun = len(cluster.history.ops)
        if begun % 2:
            client.begin_put(f"k{begun}", "v")
        else:
            client.begin_get(f"k{max(1, begun - 51)}")
        cluster.run(0.001)


def test_p6_no_operation_fails_or_waits_while_each_node_is_restarted_in_its_turn() -> None:
    cluster = Cluster(seed=601)
    client = cluster.client()
    client.connected()
    work(cluster, client, 0.2)
    for node in cluster.nodes:
        node.stop()
        work(cluster, client, 0.3)
        assert not node.process.alive
        node.revive()
        work(cluster, client, 0.3)
        cluster.wait(partial(_is_back, cluster, node), f"{node} is back")
    cluster.run(1.0)
    ops = list(cluster.history.ops)
    assert len(ops) > 3000
    assert [op for op in ops if op.outcome != OK] == []
    assert max(op.ended - op.began for op in ops) < SLOW_S
    cluster.settle()
    assert all(client.get(op.key.decode(), r="all").found for op in ops if op.kind == "put")


def _is_back(cluster: Cluster, node: NodeHandle) -> bool:
    others = [other for other in cluster.nodes if other is not node]
    return all(other.sees(node) == "up" for other in others) and not any(other.hints(node) for other in others)


def test_a_node_that_stops_is_no_replica_any_more_before_it_is_gone() -> None:
    cluster = Cluster(seed=602)
    client = cluster.client()
    client.connected()
    second = cluster.primaries("cart")[1]
    second.stop()
    cluster.run(0.02)
    assert second.process.alive
    assert {other.sees(second) for other in cluster.nodes if other is not second} == {"suspect"}
    before = cluster.world.now
    assert second.name not in client.put("cart", "milk", w="all").acked
    assert cluster.world.now - before < SLOW_S


def test_p6_what_is_under_way_at_a_node_that_stops_is_finished() -> None:
    cluster = Cluster(seed=603)
    client = cluster.client()
    client.connected()
    first = cluster.primaries("cart")[0]
    call = client.begin_put("cart", "milk", w="all")
    cluster.world.run_until(lambda: len(first.process.node.puts) > 0, 1.0)
    first.stop()
    assert first.name in call.result().acked
    cluster.wait(lambda: not first.process.alive, f"{first} has ended", 0.2)


def test_the_next_life_of_a_node_that_has_stopped_is_believed_at_once() -> None:
    cluster = Cluster(seed=604)
    node = cluster.node("n2")
    node.stop()
    cluster.wait(lambda: not node.process.alive, "n2 has ended")
    node.revive()
    began = cluster.world.now
    cluster.wait(partial(_is_back, cluster, node), "n2 is back")
    assert cluster.world.now - began < 0.3
