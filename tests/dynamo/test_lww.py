"""Last write wins: its laws over states that replicas can come to, its clock, and what a node does with its policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lone_node import CLIENT, LoneNode, a_get, a_put, of

from dynazmq.dynamo.messages import (
    Failure,
    GetReply,
    PutReply,
    Read,
    ReadReply,
    Recall,
    RecallReply,
    SetBucket,
    SetBucketReply,
    Topology,
    TopologyRequest,
    Write,
    WriteReply,
)
from dynazmq.dynamo.values import lww
from dynazmq.dynamo.values.lww import CLOCK, STAMP_MAX, at_least, clock, latest, stamp
from dynazmq.dynamo.values.versions import EMPTY, Context, Sibling, Siblings, decode, encode, open_context, put, sync

ACTORS = ("a~1", "b~1", "c~1")
SKEW_MS = (0, -3_600_000, 45)


def merge(one: Siblings, other: Siblings) -> Siblings:
    """What a replica does (Replica.merge)."""
    both = sync(one, other)
    return both if len(both.live) == 1 else latest(both, one, other)[0]


class World:
    """Three replicas with clocks that disagree, the contexts of clients, and the stamp and history of each write."""

    def __init__(self) -> None:
        self.states = [EMPTY] * len(ACTORS)
        self.contexts = [Context()]
        self.all_states = [EMPTY]
        self.stamps: dict[tuple[str, int], tuple[int, str, int]] = {}
        self.writes = 0

    def write(self, at: int, context: int) -> None:
        known, seen = self.states[at], self.contexts[context % len(self.contexts)]
        self.writes += 1
        wall_ms = 10_000_000 + self.writes // 3 + SKEW_MS[at]
        before = [order for (actor, counter), order in self.stamps.items() if known.context.join(seen).covers(actor, counter)]
        when = stamp(known, seen, wall_ms)
        seen = at_least(seen, when)
        many, new, _ = put(known, seen, ACTORS[at], b"%d" % self.writes, b"w%d" % self.writes, when)
        self.states[at], _ = latest(many)
        self.stamps[new.dot] = new.wall_ms, *new.dot
        assert all(order < self.stamps[new.dot] for order in before), "later than all that it or its writer has seen"
        self.contexts.append(seen.add(*new.dot))
        self._keep(at)

    def exchange(self, at: int, state: int) -> None:
        self.states[at] = merge(self.states[at], self.all_states[state % len(self.all_states)])
        self._keep(at)

    def read(self, at: int) -> None:
        self.contexts.append(self.states[at].context)

    def _keep(self, at: int) -> None:
        state = self.states[at]
        self.all_states.append(state)
        (sibling,) = state.live
        seen = [order for dot, order in self.stamps.items() if state.context.covers(*dot)]
        assert self.stamps[sibling.dot] == max(seen), "what a state holds is the greatest write in its context"
        assert clock(state.context) == sibling.wall_ms


steps = st.lists(
    st.tuples(st.sampled_from(("write", "write", "exchange", "read")), st.integers(0, 2), st.integers(0, 50)), max_size=25
)


def played(moves: Sequence[tuple[str, int, int]]) -> World:
    world = World()
    for kind, at, which in moves:
        if kind == "write":
            world.write(at, which)
        elif kind == "exchange" and (world.all_states[which % len(world.all_states)].live or world.states[at].live):
            world.exchange(at, which)
        elif kind == "read":
            world.read(at)
    return world


@settings(max_examples=300, deadline=None)
@given(steps, st.data())
def test_merging_is_commutative_associative_and_idempotent_to_the_byte(moves: Any, data: st.DataObject) -> None:
    states = st.sampled_from(played(moves).all_states)
    a, b, c = data.draw(states), data.draw(states), data.draw(states)
    assert encode(merge(a, b)) == encode(merge(b, a))
    assert encode(merge(merge(a, b), c)) == encode(merge(a, merge(b, c)))
    assert encode(merge(a, a)) == encode(a)
    assert encode(merge(merge(a, b), b)) == encode(merge(a, b))


@settings(max_examples=200, deadline=None)
@given(steps)
def test_all_replicas_end_with_the_one_write_of_the_highest_stamp(moves: Any) -> None:
    world = played(moves)
    for at in (0, 1, 2, 0, 1):
        for other in range(3):
            world.states[at] = merge(world.states[at], world.states[other])
    assert len({encode(state) for state in world.states}) == 1
    if world.stamps:
        assert [sibling.dot for sibling in world.states[0].live] == [max(world.stamps, key=lambda dot: world.stamps[dot])]


def sibling(actor: str, counter: int, stamp: int, value: bytes | None = b"v") -> Sibling:
    return Sibling(actor, counter, value, b"%s %d" % (actor.encode(), counter), stamp)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=3, max_size=3), st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_whatever_the_stamps_are_equal_contexts_become_equal_states_in_any_order(stamps: list[int], holds: list[int]) -> None:
    """Of writes from before the bucket was an lww one, and of retried ones, no order can be relied on."""
    writes = [sibling(actor, 1, stamp) for actor, stamp in zip(ACTORS, stamps, strict=True)]
    a, b, c = (Siblings((writes[held],), Context(dict.fromkeys(ACTORS, 1))) for held in holds)
    assert len(merge(a, b).live) == 1
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge(merge(c, a), b)


def test_two_states_that_cover_what_the_other_holds_keep_the_later_one() -> None:
    a = Siblings((sibling("a~1", 1, 100),), Context({"a~1": 1, "b~1": 1}))
    b = Siblings((sibling("b~1", 1, 70),), Context({"a~1": 1, "b~1": 1, "c~1": 1}))
    assert sync(a, b).live == (), "each has seen the other's and does not have it"
    assert merge(a, b) == Siblings(a.live, b.context)


def test_equal_stamps_are_decided_by_the_dot() -> None:
    first, second = sibling("a~1", 9, 5), sibling("b~1", 1, 5)
    state = Siblings((first, second), Context({"a~1": 9, "b~1": 1}))
    assert latest(state) == (Siblings((second,), state.context), (first,))


def test_a_stamp_is_the_wall_clock_where_nothing_later_is_known() -> None:
    assert stamp(EMPTY, Context(), 1234) == 1234
    assert stamp(Siblings((sibling("a~1", 1, 10),), Context({"a~1": 1})), Context(), 1234) == 1234


@pytest.mark.parametrize("wall_ms", [5, -(10**12), 99])
def test_a_stamp_is_past_all_that_the_coordinator_holds_or_the_writer_was_shown(wall_ms: int) -> None:
    held = Siblings((sibling("a~1", 1, 100),), Context({"a~1": 1}))
    assert stamp(held, Context(), wall_ms) == 101
    assert stamp(EMPTY, Context({"a~1": 1, CLOCK: 100}), wall_ms) == 101
    assert stamp(Siblings((), Context({CLOCK: 100})), Context(), wall_ms) == 101


@pytest.mark.parametrize("wall_ms", [STAMP_MAX, STAMP_MAX + 1, 1 << 62])
def test_a_clock_beyond_all_years_makes_a_state_that_can_still_be_read(wall_ms: int) -> None:
    known = EMPTY
    for counter in (1, 2):
        when = stamp(known, Context(), wall_ms)
        known, _ = latest(put(known, at_least(Context(), when), "a~1", b"v", b"%d" % counter, when)[0])
        assert decode(encode(known)) == known


def test_the_clock_never_goes_back_and_covers_no_write() -> None:
    seen = at_least(Context({"a~1": 2}), 50)
    assert at_least(seen, 40) is seen
    assert clock(seen.join(Context({CLOCK: 60}))) == 60
    assert seen.covers("a~1", 2)
    assert not seen.covers("b~1", 1)
    assert lww.CLOCK not in ACTORS


# --- a node ---------------------------------------------------------------------------------------------------------------


def a_node_with_lww() -> LoneNode:
    node = LoneNode()
    node.hear(CLIENT, SetBucket(1, "default", 3, 2, 2, "lww"))
    return node


def test_a_put_without_a_context_replaces_what_is_there_and_counts_it() -> None:
    node = a_node_with_lww()
    key = node.key(0)
    for i in range(3):
        node.hear(CLIENT, a_put(key, b"v%d" % i, write_id=b"%16d" % i))
    assert node.stored(key).values == [b"v2"]
    assert node.node.runtime.counters["lww_discarded"] == 2
    assert node.node.admin.status()["lww_discarded"] == 2


def test_a_put_that_has_seen_what_it_replaces_discards_nothing() -> None:
    node = a_node_with_lww()
    key = node.key(0)
    context = b""
    for i in range(3):
        said = node.hear(CLIENT, a_put(key, b"v%d" % i, write_id=b"%16d" % i, context=context))
        ((_, write), *_) = of(Write, said)
        ((_, reply),) = of(PutReply, node.hear(node.peers(key)[0], WriteReply([write.request_id])))
        context = reply.context
    assert node.stored(key).values == [b"v2"]
    assert node.node.admin.status()["lww_discarded"] == 0


def test_a_retry_of_a_write_that_was_discarded_is_recognised() -> None:
    node = a_node_with_lww()
    key = node.key(0)
    node.hear(CLIENT, a_put(key, b"first", write_id=b"1" * 16))
    node.hear(CLIENT, a_put(key, b"second", write_id=b"2" * 16))
    node.hear(CLIENT, a_put(key, b"first", write_id=b"1" * 16, age_ms=500))
    assert node.stored(key).values == [b"second"]
    assert node.node.runtime.counters["retries_recognised"] == 1


def test_the_context_of_a_retry_that_was_recognised_carries_the_clock() -> None:
    """The put that follows it must be later, wherever it is coordinated."""
    node = a_node_with_lww()
    key = node.key(0)
    node.hear(CLIENT, a_put(key))
    said = node.hear(CLIENT, a_put(key, age_ms=500))
    ((_, write), *_) = of(Write, said)
    ((_, reply),) = of(PutReply, node.hear(node.peers(key)[0], WriteReply([write.request_id])))
    seen = open_context(reply.context, "default", key, node.config.secret)
    assert clock(seen) == node.stored(key).live[0].wall_ms


@pytest.mark.parametrize(("first_ms", "second_ms"), [(5, 7), (7, 5)])
def test_whichever_of_two_writes_a_replica_let_go_of_it_still_knows_its_dot(first_ms: int, second_ms: int) -> None:
    node = a_node_with_lww()
    key = node.key(1)
    for state in states_of_two(key, first_ms, second_ms):
        node.hear("b", Write(1, "default", key, state, "", 1000))
    loser = "b" if first_ms < second_ms else "c"
    ((_, reply),) = of(RecallReply, node.hear("d", Recall(1, "default", key, loser.encode() * 16, 1, 1000)))
    assert (reply.sure, reply.actor, reply.counter) == (True, f"{loser}~e", 1)


def states_of_two(key: bytes, first_ms: int, second_ms: int) -> tuple[bytes, bytes]:
    states = []
    for node, ms in (("b", first_ms), ("c", second_ms)):
        states.append(encode(put(EMPTY, at_least(Context(), ms), f"{node}~e", node.encode(), node.encode() * 16, ms)[0]))
    return states[0], states[1]


@pytest.mark.parametrize(("first_ms", "second_ms", "left"), [(5, 7, b"c"), (7, 5, b"b"), (5, 5, b"c")])
def test_a_replica_that_merges_two_writes_keeps_the_later_one_and_counts_the_other(
    first_ms: int, second_ms: int, left: bytes
) -> None:
    node = a_node_with_lww()
    key = node.key(1)
    for state in states_of_two(key, first_ms, second_ms):
        node.hear("b", Write(1, "default", key, state, "", 1000))
        node.hear("b", Write(1, "default", key, state, "", 1000))  # once more: counted once
    assert node.stored(key).values == [left]
    assert node.node.admin.status()["lww_discarded"] == 1


def test_a_state_with_siblings_from_before_is_reduced_when_it_comes() -> None:
    node = a_node_with_lww()
    key = node.key(1)
    first, second = states_of_two(key, 5, 7)
    node.hear("b", Write(1, "default", key, encode(sync(decode(first), decode(second))), "", 1000))
    assert node.stored(key).values == [b"c"]
    assert node.node.admin.status()["lww_discarded"] == 1


def get_of(node: LoneNode, key: bytes, theirs: bytes) -> tuple[GetReply, list[tuple[Any, Write]]]:
    said = node.hear(CLIENT, a_get(key))
    ((peer, read),) = of(Read, said)
    said = node.hear(peer, ReadReply(read.request_id, theirs))
    ((_, reply),) = of(GetReply, said)
    return reply, of(Write, said)


def test_a_get_shows_the_later_of_two_answers_counts_the_other_and_repairs_both() -> None:
    node = a_node_with_lww()
    key = node.key(0)
    first, second = states_of_two(key, 7, 5)
    node.hear("b", Write(1, "default", key, second, "", 1000))
    reply, repairs = get_of(node, key, first)
    assert reply.values == [b"b"]
    assert [decode(write.state).values for _, write in repairs] == [[b"b"]]
    assert node.stored(key).values == [b"b"]
    assert node.node.admin.status()["lww_discarded"] == 1


def test_siblings_from_before_the_bucket_was_an_lww_one_are_one_value_for_the_next_get() -> None:
    node = LoneNode()
    key = node.key(0)
    first, second = states_of_two(key, 5, 7)
    both = encode(sync(decode(first), decode(second)))
    node.hear("b", Write(1, "default", key, both, "", 1000))
    assert len(node.stored(key).values) == 2
    node.hear(CLIENT, SetBucket(1, "default", 3, 2, 2, "lww"))
    reply, repairs = get_of(node, key, both)
    assert reply.values == [b"c"]
    assert len(repairs) == 1
    assert node.stored(key).values == [b"c"]


def test_a_bucket_of_siblings_keeps_them_and_its_contexts_have_no_clock() -> None:
    node = LoneNode()
    key = node.key(0)
    node.hear(CLIENT, a_put(key, b"v", write_id=b"1" * 16))
    node.hear(CLIENT, a_put(key, b"w", write_id=b"2" * 16))
    assert node.stored(key).values == [b"v", b"w"]
    assert clock(node.stored(key).context) == 0
    assert node.node.admin.status()["lww_discarded"] == 0


@pytest.mark.parametrize("conflict", ["LWW", "last", "crdt", "lww ", "x" * 5000])
def test_a_conflict_policy_that_does_not_exist_is_refused_by_its_name(conflict: str) -> None:
    node = LoneNode()
    ((_, failure),) = of(Failure, node.hear(CLIENT, SetBucket(1, "b", 3, 2, 2, conflict)))
    assert f"conflict={conflict[:20]!r} is not one of siblings, lww" in failure.text
    assert node.node.membership.policies == {}


def test_no_conflict_policy_means_siblings_and_the_topology_says_which_there_are() -> None:
    node = LoneNode()
    assert of(SetBucketReply, node.hear(CLIENT, SetBucket(1, "b", 0, 0, 0, "")))
    node.hear(CLIENT, SetBucket(1, "c", 0, 0, 0, "lww"))
    ((_, topology),) = of(Topology, node.hear(CLIENT, TopologyRequest(1)))
    assert topology.buckets == [["b", 3, 2, 2, "siblings", 3, 2, 2], ["c", 3, 2, 2, "lww", 3, 2, 2]]
