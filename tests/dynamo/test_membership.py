"""Gossip: everybody learns everything, nothing goes back, nobody is believed about another's life or about nonsense."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import msgpack
import pytest

from dynazmq.config import BUCKETS_MAX, MEMBERS_MAX, NodeConfig
from dynazmq.dynamo.membership.losses import Losses
from dynazmq.dynamo.membership.records import Kept, Policy
from dynazmq.dynamo.messages import GossipDelta, GossipDigest, Message, SetBucket
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.values.claim import claim
from dynazmq.dynamo.values.ring import Ring
from dynazmq.storage.memory import MemoryStorage
from dynazmq.wire.codec import FROM_NODE, Envelope, decode_body, encode, open_frame

NAMES = ("a", "b", "c", "d")


class World:
    """Four nodes and a network that loses, repeats and reorders gossip as a seed says; every message goes through the codec."""

    def __init__(self, seed: int, loss: float = 0.0) -> None:
        self.random = Random(seed)
        self.loss = loss
        self.now = 0.0
        self.stores = {name: MemoryStorage() for name in NAMES}
        self.nodes = {name: self.start(name) for name in NAMES}
        self.under_way: list[tuple[str, str, bytes]] = []

    def start(self, name: str) -> Node:
        members = {each: f"ipc://{each}" for each in NAMES}
        config = NodeConfig(
            name=name,
            cluster="t",
            cluster_id=1,
            secret=b"s" * 32,
            data_dir="",
            endpoint=members[name],
            members=members,
            partitions=16,
        )
        node = Node(config, self.stores[name], Random(self.random.random()), self.now, 1_000_000 + int(self.now * 1000))
        node.membership.settle()
        return node

    def turn(self) -> None:
        self.now += 0.1
        for name, node in self.nodes.items():
            node.tick(self.now, 1_000_000 + int(self.now * 1000))
            self.flush(name, node)
        self.random.shuffle(self.under_way)
        arriving, self.under_way = self.under_way, []
        for source, target, frame in arriving:
            if self.random.random() < self.loss:
                continue
            if self.random.random() < self.loss:
                self.under_way.append((source, target, frame))
            envelope, body = open_frame(frame)
            self.nodes[target].heard(source, envelope.incarnation)
            for message in decode_body(body):  # gossip and probes are about life: heard from earlier lives as well
                self.nodes[target].receive(source, message)
        for name, node in self.nodes.items():
            self.flush(name, node)

    def flush(self, name: str, node: Node) -> None:
        self.stores[name].commit()
        envelope = Envelope(FROM_NODE, 1, node.identity.incarnation, 0, 0)
        for to, messages in node.drain().items():
            if isinstance(to, str):
                self.under_way += [(name, to, frame) for frame in encode(envelope, messages)]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.turn()

    def lives(self, observer: str) -> dict[str, tuple[int, int]]:
        return {m.name: (m.incarnation, m.heartbeat) for m in self.nodes[observer].membership.members.values()}


def tell(node: Node, *rows: Any, ring: Any = (), buckets: Any = (), sender: str = "b") -> None:
    node.receive(sender, GossipDelta(list(rows), [], list(ring), list(buckets)))


@pytest.mark.parametrize("seed", range(5))
def test_i8_what_a_node_knows_of_another_never_goes_back_whatever_is_lost_repeated_or_late(seed: int) -> None:
    world = World(seed, loss=0.3)
    seen: list[dict[str, dict[str, tuple[int, int]]]] = []
    for turn in range(150):
        world.turn()
        if turn == 70:
            world.nodes["b"] = world.start("b")
        seen.append({observer: world.lives(observer) for observer in NAMES if observer != "b"})
    for before, after in pairwise(seen):
        for observer, lives in before.items():
            assert all(after[observer][name] >= life for name, life in lives.items())


@pytest.mark.parametrize("seed", range(3))
def test_a_ring_that_one_node_has_reaches_all_and_the_higher_version_wins(seed: int) -> None:
    world = World(seed, loss=0.2)
    rings = [Ring(version, claim(dict.fromkeys(NAMES, 1.0), 16, n)) for version, n in ((2, 3), (3, 2))]
    tell(world.nodes["a"], ring=rings[1].to_wire())
    tell(world.nodes["c"], ring=rings[0].to_wire(), sender="a")
    world.run(15)
    assert {node.membership.ring for node in world.nodes.values()} == {rings[1]}


def test_c16_two_rings_of_one_version_end_in_one() -> None:
    world = World(1)
    one, other = Ring(2, ("a", "b", "c", "d") * 4), Ring(2, ("d", "c", "b", "a") * 4)
    tell(world.nodes["a"], ring=one.to_wire())
    tell(world.nodes["c"], ring=other.to_wire(), sender="a")
    world.run(15)
    assert len({node.membership.ring for node in world.nodes.values()}) == 1


def test_a_policy_that_was_set_at_one_node_reaches_all() -> None:
    world = World(2, loss=0.2)
    world.nodes["b"].receive(b"client", SetBucket(1, "carts", 3, 1, 3))
    world.run(15)
    assert {node.membership.policies["carts"][:3] for node in world.nodes.values()} == {(3, 1, 3)}
    world.run(30)
    assert {node.membership.policy("carts")[:3] for node in world.nodes.values()} == {(3, 1, 3)}, "in force"


def test_a_conflict_policy_reaches_all_and_is_changed_back_by_the_next_version() -> None:
    world = World(2, loss=0.2)
    world.nodes["b"].receive(b"client", SetBucket(1, "positions", 3, 2, 2, "lww"))
    world.run(15)
    assert all(node.membership.is_lww("positions") and not node.membership.is_lww("carts") for node in world.nodes.values())
    world.nodes["d"].receive(b"client", SetBucket(1, "positions", 3, 2, 2))
    world.run(15)
    assert not any(node.membership.is_lww("positions") for node in world.nodes.values())


def test_two_conflict_policies_set_at_once_end_in_one() -> None:
    world = World(4)
    world.nodes["a"].receive(b"client", SetBucket(1, "carts", 3, 2, 2, "lww"))
    world.nodes["c"].receive(b"client", SetBucket(1, "carts", 3, 2, 2))
    world.run(20)
    assert [node.membership.policy("carts").conflict for node in world.nodes.values()] == ["siblings"] * 4, "the later writer's"


def test_a_policy_of_an_earlier_release_keeps_siblings_and_surplus_fields_of_a_later_one_are_ignored() -> None:
    node = World(5).nodes["a"]
    tell(node, buckets=[["carts", 3, 1, 2, 4, "b"], ["positions", 3, 2, 2, 1, "b", "lww", "news", 7]])
    assert node.membership.policy("carts").conflict == "siblings"
    assert node.membership.policies["positions"] == (3, 2, 2, 1, "b", "lww")


def test_policies_of_two_buckets_set_at_two_nodes_at_once_reach_all() -> None:
    world = World(3)
    world.nodes["a"].receive(b"client", SetBucket(1, "carts", 3, 1, 3))
    world.nodes["c"].receive(b"client", SetBucket(1, "sessions", 3, 2, 1))
    world.run(20)
    assert [sorted(node.membership.policies) for node in world.nodes.values()] == [["carts", "sessions"]] * 4


def talk(one: Node, other: Node) -> list[Message]:
    """The next digest that `one` sends goes to `other`; all that the two say until nothing follows, or for a hundred messages."""
    said: list[Message] = []
    for node in (one, other):
        node.drain()
    while not said:
        one.tick(one.runtime.now + 0.1, 0)
        said = [message for messages in one.drain().values() for message in messages if isinstance(message, GossipDigest)]
    under_way = [(one, other, said[0])]
    while under_way and len(said) < 100:
        source, target, message = under_way.pop(0)
        target.receive(source.runtime.name, message)
        answers = target.drain().get(source.runtime.name, [])
        under_way += [(target, source, answer) for answer in answers]
        said += answers
    return said


@pytest.mark.parametrize("first", ["a", "b"])
def test_4_8_one_exchange_brings_a_policy_to_the_side_that_has_none_whoever_begins(first: str) -> None:
    nodes = World(20).nodes
    nodes["a"].membership.set_policy("carts", 3, 1, 3)
    talk(nodes[first], nodes["b" if first == "a" else "a"])
    assert nodes["b"].membership.policies["carts"][:3] == (3, 1, 3)


def test_4_8_one_exchange_brings_policies_and_rings_both_ways() -> None:
    nodes = World(21).nodes
    a, b = nodes["a"].membership, nodes["b"].membership
    a.set_policy("carts", 3, 1, 3)
    b.set_policy("sessions", 3, 2, 1)
    ring = Ring(2, ("d", "c", "b", "a") * 4)
    tell(nodes["a"], ring=ring.to_wire(), sender="c")
    assert len(talk(nodes["a"], nodes["b"])) <= 5
    assert sorted(a.policies) == sorted(b.policies) == ["carts", "sessions"]
    assert a.ring == b.ring == ring
    assert [type(message) for message in talk(nodes["b"], nodes["a"])].count(GossipDigest) == 1, "nothing is left to ask for"


def test_a_policy_that_one_side_refuses_does_not_keep_the_two_asking_for_ever() -> None:
    nodes = World(22).nodes
    newer = Policy(3, 2, 2, 1, "b", "of a later release")
    nodes["b"].membership.policies = {"carts": newer}
    for one, other in (("a", "b"), ("b", "a")):
        assert len(talk(nodes[one], nodes[other])) <= 6
    assert nodes["a"].membership.policies == {}
    assert nodes["b"].membership.policies == {"carts": newer}


def test_a_digest_without_members_asks_for_ring_and_policies_alone_and_is_not_asked_back() -> None:
    node = World(23).nodes["a"]
    node.membership.set_policy("carts", 3, 1, 3)
    node.drain()
    node.receive("b", GossipDigest([], 9, b"another", b"another"))
    ring = node.membership.ring.to_wire()
    policies = [["carts", 3, 1, 3, 1, "a", "siblings"]]
    assert node.drain() == {"b": [GossipDelta([], [], ring, policies, disk=node.vouches.says)]}


def test_two_policies_for_one_bucket_set_at_once_end_in_one() -> None:
    world = World(4)
    world.nodes["a"].receive(b"client", SetBucket(1, "carts", 3, 1, 3))
    world.nodes["c"].receive(b"client", SetBucket(1, "carts", 3, 3, 1))
    world.run(20)
    assert len({node.membership.policy("carts") for node in world.nodes.values()}) == 1


def test_one_writer_whose_disk_was_lost_may_give_a_policy_version_twice_and_all_keep_the_same_of_the_two() -> None:
    world = World(4)
    tell(world.nodes["a"], buckets=[["carts", 3, 1, 3, 1, "d"]])
    tell(world.nodes["c"], buckets=[["carts", 3, 3, 1, 1, "d"]])
    world.run(20)
    assert {node.membership.policies["carts"] for node in world.nodes.values()} == {(3, 3, 1, 1, "d", "siblings")}


def test_p2_a_node_that_restarts_knows_ring_members_and_policies_from_its_own_store() -> None:
    world = World(5)
    ring = Ring(7, ("a", "b", "c", "d") * 4)
    tell(world.nodes["a"], ["e", "ipc://e", 5, 1, "alive"], ring=ring.to_wire(), buckets=[["carts", 3, 1, 2, 4, "b", "lww"]])
    world.stores["a"].commit()
    again = world.start("a")
    assert again.membership.is_lww("carts")
    assert again.membership.ring == ring
    assert again.membership.endpoint_of("e") == "ipc://e"
    assert again.membership.policies["carts"][:3] == (3, 1, 2)


def test_in_a_store_of_an_earlier_release_the_policies_that_it_knows_are_in_force() -> None:
    """There the ring said nothing of buckets: whoever knew of a policy went by it, and keys lie as it says."""
    known = Kept({}, Ring(3, NAMES * 4, NAMES[::-1] * 4, filling=True), {"b": Policy(1, 1, 1, 2, "a")}, {}, True, Losses(), [])
    members, ring, *rest = msgpack.unpackb(known.pack())
    quorums = (("b", 1, 1, 1),)
    kept = Kept.unpack(msgpack.packb([members, ring[:5], *rest]))
    assert (kept.ring.quorums, kept.ring.also_quorums) == (quorums, quorums)
    assert Kept.unpack(msgpack.packb([members, [3, list(NAMES), ring[2], [], 0], *rest])).ring == Ring(
        3, kept.ring.owners, quorums=quorums
    )
    assert Kept.unpack(known.pack()).ring.quorums == ()


def test_p1_a_restarted_node_has_a_higher_incarnation_even_if_the_clock_was_set_back() -> None:
    world = World(6)
    first = world.nodes["a"].identity.incarnation
    world.stores["a"].commit()
    world.now = -900.0
    assert world.start("a").identity.incarnation == first + 1


def test_w16_a_rumour_about_this_nodes_own_life_is_refuted_and_the_refutation_wins() -> None:
    world = World(7)
    world.run(3)
    rumour = world.nodes["a"].identity.incarnation + 1000
    for name in ("b", "c"):
        tell(world.nodes[name], ["a", "ipc://elsewhere", rumour, 5, "alive"], sender="d")
    world.run(15)
    assert world.nodes["a"].identity.incarnation == rumour + 1
    assert world.nodes["a"].runtime.counters["refutations"] >= 1
    for node in world.nodes.values():
        assert node.membership.incarnation_of("a") == rumour + 1
        assert node.membership.endpoint_of("a") == "ipc://a"


def test_n11_a_frame_of_an_earlier_life_is_told_apart_and_one_of_a_later_life_is_news() -> None:
    membership = World(8).nodes["a"].membership
    assert membership.hear("b", 100)
    assert membership.hear("b", 100)
    assert not membership.hear("b", 99)
    assert membership.hear("b", 101)
    assert not membership.hear("stranger", 1)


@pytest.mark.parametrize(
    "row",
    [
        ["b", "ipc://b", 5, 5, "zombie"],
        ["b", "ipc://b", 5, 5, None],
        ["b", "ipc://b", 5, 5, ["alive"]],
        ["b", "ipc://b", -1, 5, "alive"],
        ["b", "ipc://b", 1 << 62, 5, "alive"],
        ["b", "ipc://b", 9.5, 5, "alive"],
        ["b", "ipc://b", True, 5, "alive"],
        ["b", "ipc://b", "9", 5, "alive"],
        ["b", "ipc://b", 9, 1 << 62, "alive"],
        ["b", "ipc://b", 9, float("nan"), "alive"],
        ["b", b"ipc://b", 9, 5, "alive"],
        ["b", "x" * 257, 9, 5, "alive"],
        ["", "ipc://x", 9, 5, "alive"],
        ["x" * 65, "ipc://x", 9, 5, "alive"],
        [7, "ipc://b", 9, 5, "alive"],
        [["b"], "ipc://b", 9, 5, "alive"],
        ["b"],
        [],
        ["b", "ipc://b", 9, 5, "alive", "more"],
        7,
        None,
        "abcde",
        b"abcde",
    ],
)
def test_w16_a_record_that_no_node_would_write_changes_nothing_and_breaks_nothing(row: Any) -> None:
    node = World(9).nodes["a"]
    before = dict(node.membership.members)
    tell(node, row)
    assert node.membership.members == before
    assert node.runtime.counters["gossip_refused"] + node.runtime.counters["messages_refused"] == 1


@pytest.mark.parametrize(
    "row",
    [
        ["carts", 0, 0, 0, 1, "b"],
        ["carts", 3, 4, 1, 1, "b"],
        ["carts", 3, 1, 4, 1, "b"],
        ["carts", 3, 1, 0, 1, "b"],
        ["carts", MEMBERS_MAX + 1, 1, 1, 1, "b"],
        ["carts", 3, 1, 1, 0, "b"],
        ["carts", 3, 1, 1, 1 << 62, "b"],
        ["carts", 3, 1, 1, 1, b"b"],
        ["carts", 3.0, 1, 1, 1, "b"],
        ["carts", True, True, True, 1, "b"],
        [b"carts", 3, 1, 1, 1, "b"],
        [["carts"], 3, 1, 1, 1, "b"],
        ["carts", 3, 1, 1, 1, "b", "crdt"],
        ["carts", 3, 1, 1, 1, "b", ""],
        ["carts", 3, 1, 1, 1, "b", ["lww"]],
        ["carts", 3, 1, 1, 1, "b", None],
        ["carts", 3, 1],
        [],
        None,
        7,
    ],
)
def test_w16_a_policy_that_no_node_would_write_changes_nothing_and_breaks_nothing(row: Any) -> None:
    node = World(10).nodes["a"]
    tell(node, buckets=[row])
    assert node.membership.policies == {}
    assert node.runtime.counters["gossip_refused"] + node.runtime.counters["messages_refused"] == 1


@pytest.mark.parametrize(
    "ring", [[9, ["a"], [0] * 15], [9, ["b", "a"], [0, 1] * 8], [9, ["a"], [1] * 16], [-1, ["a"], [0] * 16], ["x"]]
)
def test_a_ring_that_no_node_would_send_or_of_another_q_changes_nothing(ring: Any) -> None:
    node = World(11).nodes["a"]
    before = node.membership.ring
    tell(node, ring=ring)
    assert node.membership.ring is before


@pytest.mark.parametrize("members", [[["b"]], [7], [["b", "x", "y"]], [[["b"], 1, 1]], [["b", None, 1]], [["b", 1, 1, 1]]])
def test_a_digest_of_the_wrong_form_is_refused_without_an_answer(members: Any) -> None:
    node = World(12).nodes["a"]
    node.drain()
    node.receive("b", GossipDigest(members, 1, b"", b""))
    assert node.runtime.counters["messages_refused"] == 1
    assert node.drain() == {}


def test_w16_a_million_members_are_not_taken_in() -> None:
    node = World(13).nodes["a"]
    tell(node, *([f"x{i}", "ipc://x", 1, 1, "alive"] for i in range(4000)))
    assert len(node.membership.members) == MEMBERS_MAX


def test_policies_of_more_buckets_than_allowed_are_not_taken_in() -> None:
    node = World(14).nodes["a"]
    tell(node, buckets=[[f"x{i}", 3, 1, 1, 1, "b"] for i in range(4000)])
    assert len(node.membership.policies) == BUCKETS_MAX


def test_c20_a_clock_that_runs_back_on_one_node_changes_no_order_of_records() -> None:
    world = World(15)
    world.run(2)
    before = world.lives("c")["a"]
    for _ in range(60):
        world.nodes["a"].runtime.wall_ms = -(10**12)
        world.turn()
    assert world.lives("c")["a"] > before


def test_a_client_cannot_gossip() -> None:
    node = World(16).nodes["a"]
    node.receive(b"client", GossipDelta([["b", "ipc://evil", 1 << 50, 1, "alive"]], [], [], []))
    assert node.membership.endpoint_of("b") == "ipc://b"
    assert node.runtime.counters["messages_refused"] == 1
