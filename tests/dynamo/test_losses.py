"""What is known of partitions of which no copy is left: values that merge, and what follows from a ring and who is gone."""

from __future__ import annotations

from random import Random
from typing import Any

import msgpack
import pytest
from lone_node import CLIENT, LoneNode, of

from dynazmq.config import Timing
from dynazmq.dynamo.membership.losses import UNKNOWN, Loss, Losses, declare, total, without_source
from dynazmq.dynamo.messages import AcknowledgeLosses, AcknowledgeLossesReply, Decided, DecidedReply, Failure, GossipDelta
from dynazmq.dynamo.values.claim import claim
from dynazmq.dynamo.values.ring import Ring

NAMES = ("a", "b", "c", "d", "e", "f")
OLD = claim(dict.fromkeys(NAMES, 1.0), 24, 3)
NEW = claim(dict.fromkeys(NAMES[:3], 1.0), 24, 3, [name if name in NAMES[:3] else None for name in OLD])
FILLING, FLIPPED = Ring(2, OLD, NEW, filling=True), Ring(3, NEW, OLD)
GONE = {"d", "e", "f"}


def a_loss(partition: int, version: int = 3, milli_keys: int = 2500) -> Loss:
    return Loss(partition, version, 3, milli_keys, ("d", "e", "f"))


# --- what is lost -----------------------------------------------------------------------------------------------------------


def test_a_partition_has_no_source_when_all_its_old_owners_are_gone_and_the_same_whether_it_fills_or_is_flipped() -> None:
    lost = without_source(FILLING, GONE, [3])
    assert lost
    assert lost == without_source(FLIPPED, GONE, [3])
    assert all(set(Ring(1, OLD).primaries(partition, 3)) <= GONE for partition in lost)
    assert not any(set(Ring(1, OLD).primaries(partition, 3)) <= GONE for partition in set(range(24)) - lost.keys())
    assert without_source(Ring(1, OLD), GONE, [3]) == {}, "at rest nobody is to be filled"
    assert without_source(FILLING, (), [3]) == {}


def test_of_buckets_with_several_n_the_largest_counts_that_is_lost() -> None:
    lost, wholly = without_source(FILLING, GONE, [1, 3]), without_source(FILLING, GONE, [3]).keys()
    assert {p for p, n in lost.items() if n == 3} == wholly
    assert {p for p, n in lost.items() if n == 1} == {p for p in range(24) if OLD[p] in GONE} - wholly
    assert {loss.milli_keys for loss in declare(FLIPPED, GONE, [1, 3], dict.fromkeys(GONE, 12)) if loss.n == 1} == {UNKNOWN}


def test_how_many_keys_there_were_follows_from_the_last_word_of_those_who_held_them() -> None:
    held = {name: sum(name in Ring(1, OLD).primaries(p, 3) for p in range(24)) for name in GONE}
    losses = declare(FLIPPED, GONE, [3], {name: 10 * held[name] for name in GONE})
    assert {loss.milli_keys for loss in losses} == {10_000}
    assert {(loss.version, loss.n, frozenset(loss.owners)) for loss in losses} == {(3, 3, frozenset(GONE))}
    assert total(losses) == 10 * len(losses)
    unknown = declare(FLIPPED, GONE, [3], {"d": 100, "e": 100})
    assert {loss.milli_keys for loss in unknown} == {UNKNOWN}
    assert total(unknown) is None


def test_nothing_is_declared_where_somebody_is_left() -> None:
    assert declare(FLIPPED, {"d", "e"}, [3], {}) == []


# --- a record that merges -----------------------------------------------------------------------------------------------------


def drawn(random: Random) -> Losses:
    keys = (UNKNOWN, 1000, 2000)
    rows = [a_loss(random.randrange(4), random.randint(1, 6), random.choice(keys)) for _ in range(random.randint(0, 4))]
    return Losses().join(rows, random.choice((0, 0, 0, random.randint(1, 6))))


@pytest.mark.parametrize("seed", range(60))
def test_in_whatever_order_losses_are_heard_all_come_to_know_the_same(seed: int) -> None:
    random = Random(seed)
    one, other, third = drawn(random), drawn(random), drawn(random)

    def join(left: Losses, right: Losses) -> Losses:
        return left.join(right.by_partition.values(), right.acknowledged)

    assert join(one, other) == join(other, one)
    assert join(join(one, other), third) == join(one, join(other, third))
    assert join(one, one) == one
    assert (join(one, other).digest() == one.digest()) == (join(one, other) == one)


def test_what_was_acknowledged_is_spoken_of_no_more_whoever_has_not_heard_so() -> None:
    losses = Losses().join([a_loss(1), a_loss(2, version=5)])
    known = losses.join([], 3)
    assert list(known.by_partition) == [2]
    assert known.join([a_loss(1)]) == known
    assert known.join([a_loss(1, version=6)]).by_partition.keys() == {1, 2}


def test_losses_survive_the_wire_and_nothing_costs_nothing() -> None:
    losses = Losses().join([a_loss(1), a_loss(2, milli_keys=UNKNOWN)], 2)
    assert Losses.from_wire(msgpack.unpackb(msgpack.packb(losses.to_wire()))) == losses
    assert Losses().to_wire() == []
    assert Losses().digest() == b""
    assert Losses.from_wire([]) == Losses()


@pytest.mark.parametrize(
    "row",
    [
        [4096, 3, 3, 1000, ["d"]], [-1, 3, 3, 1000, ["d"]], [1, 1 << 63, 3, 1000, ["d"]], [1, 3, 0, 1000, ["d"]],
        [1, 3, 3, 1.0, ["d"]],
        [1, 3, 3, -2, ["d"]], [1, 3, 3, "1", ["d"]], [1, 3, 3, 1 << 70, ["d"]], [1, 3, 3, 1000, [""]],
        [1, 3, 3, 1000, "d"], [1, 3, 3, 1000, ["d"] * 200], [1, 3, 3, 1000], [True, 3, 3, 1000, ["d"]], 7,
    ],
)  # fmt: skip
def test_w16_what_no_node_would_say_is_refused(row: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Losses.from_wire([0, [row]])
    lone = LoneNode(timing=Timing())
    lone.hear("b", GossipDelta([], [], [], [], [], [0, [row]]))
    assert not lone.node.membership.losses
    assert lone.node.runtime.counters["messages_refused"] == 1


@pytest.mark.parametrize("wire", [[-1, []], [0], ["0", []], [0, [[1, 3, 3, 1000, ["d"]]] * 5000]])
def test_w16_nor_is_a_whole_that_is_none(wire: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Losses.from_wire(wire)


# --- at a node ----------------------------------------------------------------------------------------------------------------


def test_a_node_keeps_them_says_them_and_forgets_them_when_they_are_acknowledged() -> None:
    lone = LoneNode(timing=Timing())
    lone.confirm = False
    before = lone.node.membership.knowledge()
    told = Losses().join([a_loss(1), a_loss(2)])
    lone.hear("b", GossipDelta([], [], Ring(4, ("a", "b", "c", "d") * 4).to_wire(), [], [], told.to_wire()))
    assert lone.node.membership.knowledge() != before
    lone.start()
    assert lone.node.membership.losses == told
    assert lone.node.admin.status()["lost"] == [{"ring_version": 3, "partitions": [1, 2], "owners": ["d", "e", "f"], "keys": 5}]
    said = lone.hear(CLIENT, AcknowledgeLosses(9, 3))
    ((_, decided), *_) = of(Decided, said)
    assert decided.losses == [3, []]
    assert of(AcknowledgeLossesReply, said) == []
    assert of(AcknowledgeLossesReply, lone.hear("b", DecidedReply(decided.request_id))) == [(CLIENT, AcknowledgeLossesReply(9))]
    lone.start()
    assert lone.node.admin.status()["lost"] == []


def test_what_may_be_lost_later_cannot_be_acknowledged() -> None:
    lone = LoneNode(timing=Timing())
    ((_, failure),) = of(Failure, lone.hear(CLIENT, AcknowledgeLosses(9, 2)))
    assert "ring 2 is not one of 0..1" in failure.text


def test_they_are_declared_when_the_ring_is_flipped_and_by_whom_was_not_there_while_it_filled() -> None:
    lone = LoneNode(timing=Timing(), n=1, r=1, w=1)
    ring = lone.node.membership.ring
    left = claim(dict.fromkeys("abcd", 1.0), 16, 1, [owner if owner != "e" else None for owner in ring.owners])
    its_last_word = ["e", "ipc://e", 1, 9, "alive", b"", b"", 40]
    lone.hear("b", GossipDelta([its_last_word], [], [], [], [["e", "gone", 1.0, "", 1, "b", 0, True]]))
    lone.hear("b", GossipDelta([], [], Ring(3, left, ring.owners).to_wire(), []))
    lost = lone.node.membership.losses.by_partition
    assert sorted(lost) == list(ring.owned_by("e"))
    assert total(lost.values()) == 40
    assert {loss.owners for loss in lost.values()} == {("e",)}
