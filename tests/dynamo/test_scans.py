"""Pages of keys, and reads, are for who goes by a ring that fits this node's own (dynamo/replica/scans.py)."""

from __future__ import annotations

from typing import Any

import pytest
from lone_node import CLIENT, LoneNode, a_get, bytes_of, of

from dynazmq.dynamo.messages import (
    ELSEWHERE,
    Failure,
    GossipDelta,
    GossipDigest,
    Read,
    ReadReply,
    Refused,
    Scan,
    ScanReply,
    Topology,
    Write,
)
from dynazmq.dynamo.values.ring import Ring, place


def holding(rank: int = 0) -> tuple[LoneNode, bytes]:
    """A node, and a key of which it holds a copy of its own."""
    lone = LoneNode()
    key = lone.key(rank)
    lone.hear("b", Write(0, "default", key, bytes_of(("b", b"v")), "", 1000))
    return lone, key


def turned_to(lone: LoneNode, version: int) -> None:
    """It learns of a ring of this version, with the same owners."""
    lone.hear("b", GossipDelta([], [], Ring(version, lone.node.membership.ring.owners).to_wire(), [], []))


def scan(lone: LoneNode, partitions: list[int], ring_version: int = 0, after: int = -1) -> list[Any]:
    return [message for _, message in lone.hear(CLIENT, Scan(7, "default", partitions, after, b"", 100, 1000, ring_version))]


def at(key: bytes) -> int:
    return place("default", key)


@pytest.mark.parametrize("ring_version", [0, 5, 6])
def test_a_holder_tells_its_keys_to_who_goes_by_its_ring_or_the_next_one(ring_version: int) -> None:
    lone, key = holding()
    turned_to(lone, 5)
    (page,) = scan(lone, [lone.node.membership.ring.partition_of(at(key))], ring_version)
    assert isinstance(page, ScanReply)
    assert page.entries == [[at(key), key, True]]


@pytest.mark.parametrize("ring_version", [1, 3, 4, 7, 1 << 40])
def test_who_goes_by_another_ring_is_told_the_ring_and_no_page(ring_version: int) -> None:
    lone, key = holding()
    turned_to(lone, 5)
    topology, failure = scan(lone, [lone.node.membership.ring.partition_of(at(key))], ring_version)
    assert isinstance(topology, Topology)
    assert isinstance(failure, Failure)
    assert Ring.from_wire(topology.ring) == lone.node.membership.ring
    assert (failure.request_id, failure.code) == (7, ELSEWHERE)
    assert lone.node.runtime.counters["scans_refused"] == 1


def test_a_node_that_holds_no_copies_of_a_partition_does_not_say_that_there_are_no_keys() -> None:
    lone = LoneNode()
    ring = lone.node.membership.ring
    others = next(p for p in range(ring.partitions) if "a" not in ring.primaries(p, 3))
    _, failure = scan(lone, [others], ring.version)
    assert isinstance(failure, Failure)
    assert failure.code == ELSEWHERE


def test_partitions_that_the_walk_has_behind_it_do_not_matter() -> None:
    lone = LoneNode()
    ring = lone.node.membership.ring
    others = next(p for p in range(ring.partitions) if "a" not in ring.primaries(p, 3))
    mine = next(p for p in range(others + 1, ring.partitions) if "a" in ring.primaries(p, 3))
    (page,) = scan(lone, [others, mine], ring.version, after=ring.places_of(others)[1] + 1)
    assert isinstance(page, ScanReply)


# --- reads ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ring_version", "answered"), [(0, True), (3, False), (4, True), (5, True), (6, True), (7, False)])
def test_a_replica_answers_who_goes_by_its_ring_or_a_neighbouring_one_and_refuses_others(
    ring_version: int, answered: bool
) -> None:
    lone, key = holding()
    turned_to(lone, 5)
    ((_, reply),) = lone.hear("b", Read(9, "default", key, 1000, ring_version))
    assert isinstance(reply, ReadReply if answered else Refused)
    assert lone.node.runtime.counters["reads_refused"] == (not answered)


def gossiped(lone: LoneNode) -> list[tuple[Any, Any]]:
    """What one more turn sends to `b`, gossip included."""
    lone.node.tick(lone.now, lone.wall_ms)
    lone.disk.commit()
    return [(type(message), message) for message in lone.node.drain().get("b", [])]


def test_who_is_behind_is_told_the_ring_at_once() -> None:
    lone, key = holding()
    turned_to(lone, 5)
    lone.pass_time(0.3)
    lone.hear("b", Read(9, "default", key, 1000, 1))
    told = [message for kind, message in gossiped(lone) if kind is GossipDelta and message.ring]
    assert [Ring.from_wire(message.ring).version for message in told] == [5]


def test_who_is_ahead_is_asked_for_the_ring_at_once() -> None:
    lone, key = holding()
    lone.pass_time(0.3)
    lone.hear("b", Read(9, "default", key, 1000, 5))
    assert [message.members for kind, message in gossiped(lone) if kind is GossipDigest] == [[]]


def test_a_flood_of_them_is_answered_now_and_then() -> None:
    lone, key = holding()
    turned_to(lone, 5)
    lone.pass_time(0.3)
    told = 0
    for _ in range(100):
        lone.hear("b", Read(9, "default", key, 1000, 1))
        told += sum(kind is GossipDelta and bool(message.ring) for kind, message in gossiped(lone))
    assert told == 1


def test_a_read_says_by_which_ring_its_replica_was_chosen() -> None:
    lone, key = holding()
    turned_to(lone, 5)
    asked = of(Read, lone.hear(CLIENT, a_get(key, r=3)))
    assert {message.ring_version for _, message in asked} == {5}
