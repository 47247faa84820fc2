"""§4.6 §4.7 A primary is away for long, and its stand-ins may keep little for it: anti-entropy brings it what it missed."""

from __future__ import annotations

import pytest

from dynazmq.dynamo.messages import MendReply
from dynazmq.dynamo.values.ring import place
from dynazmq.errors import Unavailable
from dynazmq.simulator.cluster.cluster import Cluster
from dynazmq.wire.codec import decode_body, open_frame

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


@pytest.mark.parametrize("w", [1, 2, "all"])
def test_what_was_let_go_is_on_all_primaries_but_the_one_that_is_away(w: int | str) -> None:
    """As many disks as any write waited for, save one for which two were not enough: that should have asked for primaries."""
    cluster = Cluster(4, anti_entropy_ms=100, max_hint_bytes=0)
    client = cluster.client()
    *there, away = cluster.primaries("k")
    away.crash()
    cluster.run(3.0)
    client.put("k", "v", w=w)
    cluster.wait(lambda: sum(node.counters["hints_evicted"] for node in cluster.nodes if node is not away) == 1, "it goes")
    cluster.run(0.5)
    assert {node.name for node in cluster.nodes if node.holds("k") == ["v"]} == {node.name for node in there}
    assert sum(node.hints() for node in cluster.nodes) == 0
    with pytest.raises(Unavailable, match="3 primaries are needed, 2 can be reached"):
        client.put("k", "on three disks or not at all", pw="all")
    away.come_back()
    cluster.wait(lambda: cluster.equal("k"), "anti-entropy brings it")
    assert away.holds("k") == ["v"]
    assert cluster.history.broken == []


def test_what_one_who_leaves_has_is_no_ground_to_let_a_hint_go() -> None:
    """Its answer was under way while the members changed: of the owners by the new ring one alone had the key."""
    cluster = Cluster(5, 3, anti_entropy_ms=100_000, max_hint_bytes=0)
    keeper, leaver, away = (cluster.node(name) for name in ("n1", "n2", "n3"))
    late: list[tuple[str, bytes]] = []
    arrive = keeper.process.arrive

    def hold_back(source: str, frame: bytes) -> None:
        answers = source == leaver.name and any(isinstance(each, MendReply) for each in decode_body(open_frame(frame)[1]))
        if answers:
            late.append((source, frame))
        else:
            arrive(source, frame)

    keeper.process.arrive = hold_back  # type: ignore[method-assign]
    away.crash()
    cluster.run(3.0)
    cluster.client().put("k", "v", at=keeper.name)
    cluster.wait(lambda: bool(late), "the hint is offered")
    for link in ((keeper, away), (away, keeper)):
        cluster.cut(*link)  # or the hint would be brought
    away.restart()
    cluster.remove(leaver.name, at=keeper.name)
    cluster.wait(lambda: leaver.name not in keeper.process.node.membership.ring.owners, "the leaver is read no more")
    for source, frame in late:
        arrive(source, frame)
    cluster.run(0.1)
    assert keeper.hints(away) == 1
    assert cluster.history.broken == []
    cluster.heal()
    cluster.wait(lambda: away.holds("k") == ["v"], "it is brought")
