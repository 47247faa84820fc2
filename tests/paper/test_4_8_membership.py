"""§4.8.3: failure detection is local, and serves only to avoid attempts at unreachable peers. §4.8.1: it is not membership."""

from __future__ import annotations

from random import Random

from dynazmq.config import NodeConfig
from dynazmq.dynamo.membership.failure import DOWN, SUSPECT, UP
from dynazmq.dynamo.messages import Probe, ProbeReply
from dynazmq.dynamo.node import Node
from dynazmq.storage.memory import MemoryStorage

NAMES = ("a", "b", "c")


def node(name: str) -> Node:
    members = {each: f"ipc://{each}" for each in NAMES}
    config = NodeConfig(name=name, cluster="t", cluster_id=1, secret=b"s", data_dir="", endpoint=members[name], members=members)
    return Node(config, MemoryStorage(), Random(name), 0.0, 1_000)


def live(a: Node, until: float, answering: tuple[str, ...]) -> None:
    """Turns of 50 ms in which these peers answer a's probes at once."""
    now = a.runtime.now
    while now < until - 1e-9:
        now += 0.05
        a.tick(now, int(1_000 + now * 1000))
        for to, messages in a.drain().items():
            for message in messages:
                if isinstance(message, Probe) and to in answering:
                    a.receive(to, ProbeReply(message.sequence))


def states(a: Node) -> dict[str, str]:
    return {name: peer.state for name, peer in a.failure.peers.items()}


def test_4_8_3_a_may_consider_b_failed_if_b_does_not_respond_although_b_responds_to_c() -> None:
    a = node("a")
    live(a, 2.0, answering=("b", "c"))
    live(a, 4.0, answering=("c",))
    assert states(a) == {"b": DOWN, "c": UP}


def test_4_8_3_b_speaking_to_a_does_not_help_as_long_as_it_does_not_answer_a() -> None:
    a = node("a")
    live(a, 2.0, answering=("b", "c"))
    for step in range(40):
        live(a, 2.0 + (step + 1) / 20, answering=("c",))
        a.receive("b", Probe(step))
    assert states(a)["b"] != UP


def test_4_8_3_a_periodically_retries_b_to_see_when_it_recovers() -> None:
    a = node("a")
    live(a, 2.0, answering=("b", "c"))
    live(a, 60.0, answering=("c",))
    assert states(a)["b"] == DOWN
    live(a, 60.3, answering=("b", "c"))
    assert states(a)["b"] == UP


def test_4_8_3_a_purely_local_notion_is_enough_no_verdict_is_told_to_others() -> None:
    a = node("a")
    live(a, 2.0, answering=("c",))
    a.tick(3.0, 4_000)
    told = [message for messages in a.drain().values() for message in messages]
    assert told
    assert not any(word in repr(told) for word in (UP, SUSPECT, DOWN)), "gossip carries records, not judgements"


def test_4_8_1_an_outage_rarely_signifies_a_permanent_departure_so_it_moves_no_partition() -> None:
    a = node("a")
    before = a.membership.ring
    live(a, 300.0, answering=())
    assert set(states(a).values()) == {DOWN}
    assert a.membership.ring is before
    assert set(a.membership.members) == set(NAMES)
