"""Nodes that are slow, frozen or have too much to do: the others' clients do not wait for them (promise 7; §4.5, §4.8.3)."""

from __future__ import annotations

import pytest

from dynazmq.errors import Overloaded, ReadTimeout, WriteTimeout
from dynazmq.simulator.cluster.cluster import Cluster
from dynazmq.simulator.world.network import Conditions


def warmed(seed: int, **options: object) -> Cluster:
    """With some traffic behind it, so that hedging knows what is usual."""
    cluster = Cluster(seed, **options)  # type: ignore[arg-type]
    client = cluster.client()
    for i in range(50):
        client.put(f"warm{i}", "x")
        client.get(f"warm{i}")
    return cluster


def took(cluster: Cluster, request: object) -> float:
    before = cluster.world.now
    request()  # type: ignore[operator]
    return cluster.world.now - before


def test_a_slow_replica_is_hedged_in_gets_and_puts() -> None:
    cluster = warmed(1)
    client = cluster.client()
    first, second, _ = cluster.primaries("k")
    client.put("k", "v")
    cluster.slow(second, 0.3)
    assert took(cluster, lambda: client.get("k", at=first.name, r=2)) < 0.1
    assert took(cluster, lambda: client.put("k", "w", at=first.name, w=3)) < 0.1
    assert first.counters["hedges"] >= 1
    cluster.settle()
    assert cluster.equal("k")


def test_a_slow_disk_makes_its_own_node_slow_and_nobody_else() -> None:
    """S12: two seconds a commit. Nothing that it says leaves before the commit; the others meet their deadlines."""
    cluster = warmed(2)
    client = cluster.client()
    slow = cluster.primaries("k")[1]
    slow.process.disk.slow_s = 2.0
    worst = max(took(cluster, lambda: client.put("k", "v", client.get("k").context)) for _ in range(10))
    assert worst < 0.8
    assert slow.holds("k") == []
    cluster.settle()
    assert cluster.equal("k")


def test_p5_a_paused_node_is_suspected_soon_and_does_nothing_late_when_it_wakes() -> None:
    cluster = warmed(3)
    client = cluster.client()
    frozen = cluster.primaries("k")[0]
    frozen.pause()
    call = client.begin_put("k", "too late", at=frozen.name, timeout=0.5)
    with pytest.raises(WriteTimeout):
        call.result()
    cluster.run(0.5)
    assert all(node.sees(frozen) != "up" for node in cluster.nodes if node is not frozen)
    frozen.resume()
    cluster.settle()
    assert frozen.counters["expired"] >= 1
    assert client.get("k", r="all").values == []


def test_p5_while_a_node_is_paused_under_load_no_request_fails() -> None:
    cluster = warmed(4)
    client = cluster.client()
    cluster.node("n2").pause()
    for i in range(100):
        client.put(f"k{i % 10}", f"v{i}", client.get(f"k{i % 10}").context)
    cluster.node("n2").resume()
    cluster.settle()
    assert all(client.get(f"k{i}", r="all").values == [f"v{90 + i}"] for i in range(10))
    assert all(cluster.equal(f"k{i}") for i in range(10))


def test_a_node_that_was_itself_asleep_blames_nobody() -> None:
    cluster = Cluster(5)
    node = cluster.node("n1")
    cluster.run(2.0)
    node.pause()
    cluster.run(10.0)
    node.resume()
    cluster.run(0.3)
    assert [node.sees(other) for other in cluster.nodes] == ["up"] * 5
    assert node.counters["suspicions"] == 0


def test_c21_a_false_suspicion_ends_with_the_next_answer_and_moves_no_data() -> None:
    cluster = Cluster(6)
    client = cluster.client()
    for i in range(20):
        client.put(f"k{i}", "v")
    cluster.run(1.0)
    slow = cluster.node("n3")
    before = [cluster.rows(f"k{i}") for i in range(20)]
    cluster.slow(slow, 1.5)
    cluster.run(1.2)
    assert any(node.sees(slow) != "up" for node in cluster.nodes)
    cluster.settle()
    assert [cluster.rows(f"k{i}") for i in range(20)] == before
    assert sum(node.hints() for node in cluster.nodes) == 0


def test_n5_a_flapping_link_does_not_make_requests_fail() -> None:
    cluster = warmed(7)
    client = cluster.client()
    others = [name for name in cluster.names if name != "n4"]
    for i in range(12):
        if i % 2:
            cluster.heal()
        else:
            cluster.partition(["n4"], others)
        end = cluster.world.now + 0.5
        while cluster.world.now < end:
            client.put("k", f"v{i}", client.get("k").context)
    cluster.settle()
    assert client.get("k", r="all").values == ["v11"]


def test_overload_is_refused_at_once_and_taken_elsewhere() -> None:
    cluster = Cluster(8, max_in_flight=4)
    client = cluster.client()
    client.connected()
    keys = [key for key in (f"k{i}" for i in range(100)) if cluster.node("n1") in cluster.primaries(key)][:12]
    cluster.network.conditions.jitter_s = 0.0  # all at once
    calls = [client.begin_put(key, "v", at="n1") for key in keys]
    cluster.run(1.0)
    refused = [call for call in calls if isinstance(call.request.error, Overloaded)]
    assert len(refused) == 8
    for call in refused:
        assert isinstance(call.request.error, Overloaded)
        assert call.request.error.retry_after > 0
        assert "nothing was attempted" in str(call.request.error)
        assert call.op is not None
        assert call.op.ended - call.op.began < 0.01
    for i in range(12):
        client.put(f"j{i}", "v")  # a client that may choose its node does not notice
    cluster.settle()
    stored = [key for key in keys if client.get(key, r="all").values]
    assert len(stored) == 4, "what was refused is nowhere"


def test_gets_are_bounded_as_well() -> None:
    cluster = Cluster(9, max_in_flight=3)
    client = cluster.client()
    client.connected()
    cluster.network.conditions.jitter_s = 0.0  # all at once
    outcomes = []
    for call in [client.begin_get(f"k{i}", at="n2", r="all") for i in range(8)]:
        try:
            outcomes.append(call.result().found)
        except Overloaded:
            outcomes.append(None)
    assert outcomes.count(None) == 5


def test_n6_an_answer_that_comes_after_its_deadline_is_given_to_no_other_request() -> None:
    cluster = Cluster(10, conditions=Conditions(delay_s=0.2))
    client = cluster.client()
    client.connected()
    with pytest.raises(ReadTimeout):
        client.get("k", timeout=0.25)
    cluster.network.conditions = Conditions()
    client.put("k", "v")
    assert client.get("k").values == ["v"]
    cluster.settle()


def test_n6_over_a_slow_network_requests_take_long_and_succeed() -> None:
    cluster = Cluster(11)
    client = cluster.client()
    client.connected()
    cluster.network.conditions = Conditions(delay_s=0.06, jitter_s=0.01)
    for i in range(5):
        client.put("k", f"v{i}", client.get("k").context)
    assert client.get("k").values == ["v4"]


def test_expired_work_is_dropped_not_done() -> None:
    cluster = Cluster(12)
    client = cluster.client()
    client.connected()
    first = cluster.primaries("k")[0]
    cluster.slow(first, 0.3)
    with pytest.raises(WriteTimeout):
        client.put("k", "v", at=first.name, timeout=0.2)
    cluster.run(1.0)
    assert first.counters["expired"] == 1
    assert first.holds("k") == []


def test_a_node_under_load_forgets_every_request_that_has_ended() -> None:
    """Hedged gets at a node that is none of the key's primaries once stayed under way for ever, up to Overloaded."""
    cluster = warmed(13)
    client = cluster.client()
    outsider, slow = cluster.fallbacks("k")[0], cluster.primaries("k")[1]
    client.put("k", "v")
    cluster.slow(slow, 0.4)
    for _ in range(5):
        client.get("k", at=outsider.name, r=3)
    cluster.run(3.0)
    assert [node.process.node.in_flight for node in cluster.nodes] == [0] * 5
