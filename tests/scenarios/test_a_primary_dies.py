"""§4.6: what happens when one of a key's primaries is killed."""

from __future__ import annotations

from dynazmq.simulator.cluster import Cluster


def test_p1_a_killed_primary_is_stood_in_for_and_gets_its_copy_when_it_is_back() -> None:
    cluster = Cluster(seed=1)
    client = cluster.client()
    first, second, third = cluster.primaries("cart")

    first.crash()
    done = client.put("cart", "milk")
    assert first.name not in done.acked
    cluster.run(1.0)
    assert sum(node.hints(first) for node in cluster.fallbacks("cart")) == 1
    assert client.get("cart").values == ["milk"]

    first.restart()
    cluster.settle()
    assert [node.holds("cart") for node in (first, second, third)] == [["milk"]] * 3
    assert cluster.equal("cart")
