"""§4.5 Marks of tries that may not be the only ones, where the disk fails that should keep them (promise 4)."""

from __future__ import annotations

import pytest
from lone_node import CLIENT, LoneNode, a_get, a_put, of
from test_tombstone_gc import a_node, hash_of

from dynazmq.config import Timing
from dynazmq.dynamo.messages import Failure, GetReply, Read, ReadReply, RetireAsk, RetireTell, Write, WriteReply
from dynazmq.dynamo.replica import marks
from dynazmq.dynamo.values.merkle import Tree, leaf_of, row_hash
from dynazmq.dynamo.values.versions import decode, encode, open_context

WRITE_ID = b"w" * 16


def fail(lone: LoneNode, seconds: float) -> None:
    """A turn whose commit fails."""
    lone.now += seconds
    lone.node.tick(lone.now, lone.wall_ms + int(lone.now * 1000))
    lone.disk.rollback()
    lone.node.turn_failed("the disk is full")


def left_unknown(lone: LoneNode, key: bytes) -> str:
    """A put of which too few have said that they have it, as its deadline passes; one of the others, who has."""
    writes = of(Write, lone.hear(CLIENT, a_put(key, w=3)))
    peer, write = writes[0]
    lone.hear(peer, WriteReply([write.request_id]))
    lone.pass_time(1.9)
    fail(lone, 0.2)
    assert of(Failure, lone.flush()), "the client hears that the outcome is unknown"
    return str(peer)


def test_a_mark_whose_turn_was_not_stored_is_stored_in_a_later_one_and_told_to_who_holds_the_try() -> None:
    lone = LoneNode()
    key = lone.key(0)
    peer = left_unknown(lone, key)
    assert not lone.stored(key).context.retried
    assert of(Write, lone.pass_time(0.4)) == []
    fail(lone, 0.2)
    lone.flush()
    told = of(Write, lone.pass_time(0.6))
    assert lone.stored(key).context.retried == {WRITE_ID}
    assert {(write.request_id, decode(write.state).context.retried) for _, write in told} == {(0, frozenset({WRITE_ID}))}
    assert {peer, *lone.peers(key)[:2]} <= {to for to, _ in told}, "and to who may hold it"
    assert of(Write, lone.pass_time(2.0)) == [], "and that is all"


def test_hints_that_are_kept_for_who_has_not_answered_say_it_too() -> None:
    """Slow ones, no silent ones: nothing was marked until the deadline. A primary would have the try alone and unmarked."""
    lone = LoneNode()
    key = lone.key(0)
    ((first, _), (second, _)) = of(Write, lone.hear(CLIENT, a_put(key, w=3)))
    assert of(Failure, lone.pass_time(2.1))
    assert lone.stored(key).context.retried == {WRITE_ID}
    kept = {target: decode(state).context.retried for (target, *_), state in lone.disk.hint_states().items()}
    assert kept == {first: {WRITE_ID}, second: {WRITE_ID}}


def test_who_was_asked_and_has_not_acknowledged_it_is_told() -> None:
    """Seed 661903: a stand-in had stored the try, and its acknowledgement was lost; who read it there was shown no mark."""
    lone = LoneNode()
    key = lone.key(0)
    (first, _), (second, _) = of(Write, lone.hear(CLIENT, a_put(key, w=3)))
    lone.away.add(second)
    told = [(to, decode(write.state).context.retried) for to, write in of(Write, lone.pass_time(0.3)) if not write.request_id]
    assert lone.stored(key).context.retried == {WRITE_ID}
    assert (first, {WRITE_ID}) in told


def test_an_owner_to_be_who_has_a_copy_of_the_try_is_told() -> None:
    lone = LoneNode()
    key = lone.key(0)
    op = lone.node.puts.admit(CLIENT, a_put(key, w=3))
    assert op is not None
    lone.node.puts.write(op)
    lone.flush()
    *_, spare = lone.peers(key)
    op.joint.add(spare)  # as dual_ownership.py does while members change
    lone.node.puts._marking.mark(op, [WRITE_ID])
    assert (spare, {WRITE_ID}) in [(to, decode(write.state).context.retried) for to, write in of(Write, lone.flush())]


def test_who_reads_before_that_is_shown_the_mark() -> None:
    lone = LoneNode()
    key = lone.key(0)
    left_unknown(lone, key)
    ((_, read),) = of(ReadReply, lone.hear("b", Read(7, "default", key, 1000)))
    assert decode(read.state).context.retried == {WRITE_ID}
    ((_, reply),) = of(GetReply, lone.hear(CLIENT, a_get(key, r=1)))
    assert open_context(reply.context, "default", key, lone.config.secret).retried == {WRITE_ID}


def test_a_put_of_the_key_before_that_is_stored_marked_and_leaves_the_tree_true() -> None:
    lone = LoneNode(timing=Timing(anti_entropy_interval_ms=1000))
    key = lone.key(0)
    lone.pass_time(2.0)
    left_unknown(lone, key)
    lone.hear(CLIENT, a_put(key, b"beside", write_id=b"x" * 16))
    assert lone.stored(key).context.retried == {WRITE_ID}
    assert sorted(lone.stored(key).values) == [b"beside", b"v"]
    ring = lone.node.membership.ring
    ((at, _, _), state), *others = lone.disk.committed().items()
    assert not others
    true = Tree()
    true.change(leaf_of(at, ring.partitions), row_hash(at, state))
    assert lone.node.trees.of(ring.partition_of(at), 3) == true


def test_of_a_try_whose_dot_was_given_in_the_turn_that_was_not_stored_no_mark_waits() -> None:
    lone = LoneNode()
    key = lone.key(0)
    op = lone.node.puts.admit(CLIENT, a_put(key, w=1))
    assert op is not None
    op.started -= 1.0  # it was looked for elsewhere, or passed on, until now
    for peer in lone.peers(key):
        lone.node.failure.refused(peer)
    lone.node.puts.write(op)
    assert op.context.retried, "it has been marked at once"
    fail(lone, 0.001)
    lone.flush()
    lone.pass_time(1.0)
    assert not lone.node.replica.marks
    assert not lone.stored(key).context


def test_nothing_of_a_key_is_retired_while_a_mark_of_it_waits() -> None:
    lone = a_node()
    key = lone.key(0)
    left_unknown(lone, key)
    lone.node.gets._ops.clear()
    state = encode(lone.stored(key))
    ((_, told),) = of(RetireTell, lone.hear("b", RetireAsk(7, [["default", key, hash_of(key, state)]])))
    assert told.unclear == [0]


def test_past_the_limit_marks_are_given_up_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "_WAITING_MAX", 1)
    lone = LoneNode()
    keys = [key for i in range(1000) if lone.walk(key := b"key %d" % i)[0] == lone.name][:2]
    for i, key in enumerate(keys):
        writes = of(Write, lone.hear(CLIENT, a_put(key, w=3, write_id=b"%d" % i * 16)))
        assert len(writes) == 2
    lone.pass_time(1.9)
    fail(lone, 0.2)
    lone.flush()
    assert len(lone.node.replica.marks) == lone.node.runtime.counters["marks_given_up"] == 1
