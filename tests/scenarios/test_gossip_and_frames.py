"""§4.8 and the wire: who is there spreads by gossip; frames that are garbled, foreign or meant for another life do nothing."""

from __future__ import annotations

from dynazmq.dynamo.messages import GossipDelta, Handoff, Write
from dynazmq.dynamo.values.versions import EMPTY, put
from dynazmq.dynamo.values.versions import encode as encode_state
from dynazmq.simulator.cluster.cluster import Cluster
from dynazmq.simulator.world.network import Conditions
from dynazmq.wire.codec import FROM_NODE, Envelope, encode


def test_everybody_learns_of_a_new_life_of_a_node() -> None:
    cluster = Cluster(1)
    cluster.run(1.0)
    node = cluster.node("n2")
    node.come_back()
    cluster.run(3.0)
    lives = {other.process.node.membership.incarnation_of("n2") for other in cluster.nodes}
    assert lives == {node.process.node.identity.incarnation}


def test_c21_w16_a_rumour_about_a_node_is_refuted_with_a_higher_incarnation() -> None:
    cluster = Cluster(2)
    subject, gossip = cluster.node("n1"), cluster.node("n2").process.node
    known = gossip.membership.members["n1"]
    rumour = [*known._replace(incarnation=known.incarnation + 1000)]
    gossip.receive("n3", GossipDelta([rumour], [], [], []))
    cluster.run(20.0)
    assert subject.counters["refutations"] >= 1
    lives = {node.process.node.membership.incarnation_of("n1") for node in cluster.nodes}
    assert lives == {known.incarnation + 1001}
    cluster.client().put("k", "v", w="all")


def test_a_rumour_of_an_incarnation_that_nobody_can_have_come_to_is_not_believed() -> None:
    """Else one frame could bring a member's lives to their end, and nothing that it says of itself would be news any more."""
    cluster = Cluster(3)
    subject, gossip = cluster.node("n1"), cluster.node("n2").process.node
    for greatest in ((1 << 62) - 1, (1 << 44) + 1):
        gossip.receive("n3", GossipDelta([["n1", "ipc://n1", greatest, 7, "alive"]], [], [], []))
        cluster.run(5.0)
        assert subject.process.node.identity.incarnation < 1 << 44
    assert cluster.node("n2").counters["gossip_refused"] == 2


def test_a_rumour_of_the_greatest_incarnation_that_is_believed_is_refuted() -> None:
    cluster = Cluster(3)
    subject, gossip = cluster.node("n1"), cluster.node("n2").process.node
    greatest = 1 << 44
    gossip.receive("n3", GossipDelta([["n1", "ipc://n1", greatest, 7, "alive"]], [], [], []))
    cluster.run(20.0)
    assert subject.process.node.identity.incarnation == greatest + 1
    records = [node.process.node.membership.members["n1"] for node in cluster.nodes]
    assert all(record.incarnation == greatest + 1 for record in records)
    cluster.client().put("k", "v", w="all")
    subject.come_back()
    cluster.run(20.0)
    assert all(node.sees("n1") == "up" for node in cluster.nodes)
    assert all(node.counters["gossip_refused"] == 0 for node in cluster.nodes)
    cluster.client().put("k2", "v", w="all")


def test_an_envelope_with_an_incarnation_that_nobody_could_refute_is_not_believed() -> None:
    cluster = Cluster(4)
    victim, subject = cluster.node("n2"), cluster.node("n1")
    forged = Envelope(FROM_NODE, cluster.node("n3").process.config.cluster_id, (1 << 64) - 1, 0, 0)
    for frame in encode(forged, [Write(7, "default", b"k", b"", "", 1000)]):
        victim.process.arrive("n1", frame)
    cluster.run(3.0)
    known = victim.process.node.membership.incarnation_of("n1")
    assert known == subject.process.node.identity.incarnation
    assert victim.counters["messages_of_other_lives"] == 1
    cluster.client().put("k", "v", w="all")


def test_c22_frames_of_another_cluster_do_nothing() -> None:
    one, other = Cluster(5), Cluster(6)
    target = one.node("n1")
    sender = other.node("n2").process
    envelope = Envelope(FROM_NODE, sender.config.cluster_id, sender.node.identity.incarnation, 0, 0)
    before = target.process.node.admin.status()["keys"]
    for frame in encode(envelope, [Write(7, "default", b"k", b"", "", 1000)]):
        target.process.arrive("n2", frame)
    one.run(0.1)
    assert target.counters["frames_refused"] == 1
    assert target.process.node.admin.status()["keys"] == before


def test_n20_a_bit_that_flips_in_a_frame_costs_the_frame_and_nothing_else() -> None:
    cluster = Cluster(7)
    client = cluster.client()
    client.connected()
    cluster.network.conditions = Conditions(garbling=0.1)
    for i in range(30):
        try:
            client.put("k", f"v{i}", client.get("k").context)
        except TimeoutError:
            continue
    cluster.network.conditions = Conditions()
    assert sum(node.counters["frames_refused"] for node in cluster.nodes) > 20
    cluster.settle()
    values = client.get("k", r="all").values
    assert len(values) == len(set(values))
    assert all(node.counters["messages_refused"] == 0 for node in cluster.nodes)


def test_w18_a_hint_for_somebody_who_is_no_member_is_dropped_and_counted() -> None:
    cluster = Cluster(8)
    node = cluster.node("n1")
    node.process.node.receive("n2", Write(3, "default", b"k", b"", "n99", 1000))
    assert node.counters["messages_refused"] == 1
    assert node.hints() == 0


def test_hosts_whose_clocks_are_minutes_apart_take_each_other_s_frames_for_young() -> None:
    cluster = Cluster(11, grace_ms=6000)
    for i, node in enumerate(cluster.nodes):
        node.crash()
        node.process._clock_s = i * 400.0
        node.revive()
    cluster.settle()
    client = cluster.client()
    away = cluster.primaries("k")[1]
    away.crash()
    cluster.run(2.0)
    client.put("k", "v", w="all", at="n1")  # the one whose clock is the client's
    away.revive()
    cluster.settle()
    assert away.holds("k") == ["v"]
    assert all(node.counters["states_too_old"] == node.counters["expired"] == 0 for node in cluster.nodes)


def test_n11_a_state_that_was_under_way_for_longer_than_a_tombstone_is_kept_is_not_taken_in() -> None:
    cluster = Cluster(12, grace_ms=6000)
    cluster.run(10.0)
    node, sender = cluster.primaries("k")[0], cluster.primaries("k")[1]
    life = sender.process.node.identity.incarnation

    def arrives(age_ms: int) -> None:
        envelope = Envelope(FROM_NODE, sender.process.config.cluster_id, life, 0, int(cluster.world.now * 1000) - age_ms)
        for frame in encode(envelope, [Handoff(7, "default", b"k", bytes_of("v"))]):
            node.process.arrive(sender.name, frame)
        cluster.run(0.1)

    arrives(4100)
    assert node.holds("k") == []
    assert node.counters["states_too_old"] == 1
    arrives(3900)
    assert node.holds("k") == ["v"]


def bytes_of(value: str) -> bytes:
    state, _, _ = put(EMPTY, EMPTY.context, "n9~epoch", value.encode(), b"w" * 16, 0)
    return encode_state(state)


def test_n7_a_thousand_frames_that_a_frozen_node_does_not_read_are_not_followed_by_more() -> None:
    """The sender is told; what it wanted done is done by others."""
    cluster = Cluster(9)
    client = cluster.client()
    cluster.run(1.0)
    cluster.network.conditions.notice_s = float("inf")
    frozen = cluster.node("n3")
    frozen.pause()
    for i in range(400):
        client.put(f"k{i}", "v")
    cluster.run(60.0)
    assert frozen.process.waiting < 1_100, "a thousand, and what was under way"
    frozen.resume()
    cluster.settle()
    assert all(cluster.equal(f"k{i}") for i in range(400))


def test_p2_a_cluster_whose_nodes_start_one_after_the_other_forms_again() -> None:
    cluster = Cluster(10)
    client = cluster.client()
    client.put("k", "v")
    for node in cluster.nodes:
        node.crash()
    for node in cluster.nodes:
        cluster.run(1.5)
        node.restart()
    cluster.settle()
    assert client.get("k", r="all").values == ["v"]
