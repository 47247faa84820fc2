"""§4.6 §4.7 A primary is away for long, and its stand-ins may keep little for it: anti-entropy brings it what it missed."""

from __future__ import annotations

from dynazmq.dynamo.ring import place
from dynazmq.simulator.cluster import Cluster

KEYS = [f"k{i}" for i in range(60)]


def test_hints_go_past_the_limit_and_all_comes_home_all_the_same() -> None:
    cluster = Cluster(3, anti_entropy_ms=100, max_hint_bytes=1_000)
    client = cluster.client()
    lost = cluster.node("n3")
    lost.crash()
    cluster.run(3.0)
    for key in KEYS:
        client.put(key, f"value of {key}")  # no write is refused for it
    kept = sum(node.hints(lost) for node in cluster.nodes if node is not lost)
    cluster.run(20.0)
    left = sum(node.hints(lost) for node in cluster.nodes if node is not lost)
    evicted = sum(node.counters["hints_evicted"] for node in cluster.nodes if node is not lost)
    assert 0 < left < kept
    assert evicted == kept - left
    lost.come_back()
    cluster.wait(lambda: all(cluster.equal(key) for key in KEYS), "all primaries hold the same", 30.0)
    assert cluster.history.broken == []


def test_two_primaries_are_away_and_nothing_is_let_go() -> None:
    """A hint may then be one of the two copies that a write was acknowledged for."""
    cluster = Cluster(3, anti_entropy_ms=100, max_hint_bytes=0)
    client = cluster.client()
    away = [cluster.node(name) for name in ("n2", "n3")]
    for node in away:
        node.crash()
    cluster.run(3.0)
    for key in KEYS:
        client.put(key, f"value of {key}")
    cluster.run(20.0)
    of_both = [key for key in KEYS if set(away) <= set(cluster.primaries(key))]
    assert of_both
    for key in of_both:
        row = place("default", key.encode()), "default", key.encode()
        for node in away:
            assert any(each.process.disk.read_hint(node.name, *row) for each in cluster.nodes if each not in away), key
    for node in away:
        node.come_back()
    cluster.wait(lambda: all(cluster.equal(key) for key in KEYS), "all primaries hold the same", 30.0)
    assert cluster.history.broken == []
