"""§4.5 §4.6: one put at its coordinator, message by message."""

from __future__ import annotations

import msgpack
import pytest
from lone_node import CLIENT, LoneNode, a_get, a_put, of

from dynazmq.config import SIBLINGS_MAX, STATE_BYTES_MAX
from dynazmq.dynamo.messages import INVALID, STORAGE, TIMEOUT, Failure, GetReply, PutReply, Recall, Refused, Write, WriteReply
from dynazmq.dynamo.messages.fields import HOPS_MAX
from dynazmq.dynamo.values.versions import EMPTY, Context, decode, encode, open_context, put, seal_context


def coordinating(**config: int) -> tuple[LoneNode, bytes, list[str]]:
    """A node, a key of which it is the first primary, and the other nodes in the order of the key's preference list."""
    lone = LoneNode(**config)
    key = lone.key(0)
    return lone, key, lone.peers(key)


def fill(lone: LoneNode, key: bytes, count: int, size: int = 1) -> None:
    for i in range(count):
        for to, write in of(Write, lone.hear(CLIENT, a_put(key, b"v" * size, write_id=b"%016d" % i))):
            lone.hear(to, WriteReply([write.request_id]))


# --- merge ----------------------------------------------------------------------------------------------------------------


def test_its_own_copy_is_stored_before_anything_is_said() -> None:
    lone, key, _ = coordinating()
    lone.node.receive(CLIENT, a_put(key))
    assert lone.stored(key) == EMPTY
    said = lone.flush()
    assert lone.stored(key).values == [b"v"]
    assert {decode(write.state).values[0] for _, write in of(Write, said)} == {b"v"}


def test_the_context_that_comes_back_covers_what_was_given_and_the_new_dot_only() -> None:
    lone, key, (second, *_) = coordinating()
    fill(lone, key, 3)
    ((_, write), *_) = of(Write, lone.hear(CLIENT, a_put(key)))
    ((_, reply),) = of(PutReply, lone.hear(second, WriteReply([write.request_id])))
    context = open_context(reply.context, "default", key, lone.config.secret)
    assert (context.vector, sorted(context.cloud)) == ({}, [(lone.node.identity.actor, 4)])


def test_n9_a_put_that_comes_twice_while_it_is_under_way_is_done_once_and_never_refused() -> None:
    """There is no room for a second put: that would be refused, and its client take it for a word about the first, too."""
    lone, key, (second, *_) = coordinating(max_in_flight=1)
    first = lone.hear(CLIENT, a_put(key))
    assert lone.hear(CLIENT, a_put(key)) == []
    assert len(lone.stored(key).live) == 1
    ((_, write), *_) = of(Write, first)
    assert of(PutReply, lone.hear(second, WriteReply([write.request_id])))


def test_a_put_that_comes_again_when_it_is_done_gets_no_second_dot() -> None:
    lone, key, others = coordinating()
    for other, (_, write) in zip(others, of(Write, lone.hear(CLIENT, a_put(key))), strict=False):
        lone.hear(other, WriteReply([write.request_id]))
    said = lone.hear(CLIENT, a_put(key))
    assert len(lone.stored(key).live) == 1
    assert {len(decode(write.state).live) for _, write in of(Write, said)} == {1}


def test_one_sibling_more_than_the_limit_is_refused_with_both_numbers_and_nothing_is_stored() -> None:
    lone, key, _ = coordinating()
    fill(lone, key, SIBLINGS_MAX)
    before = lone.stored(key)
    ((to, failure),) = of(Failure, lone.hear(CLIENT, a_put(key)))
    assert (to, failure.code) == (CLIENT, INVALID)
    assert f"{SIBLINGS_MAX + 1} siblings" in failure.text
    assert f"limit is {SIBLINGS_MAX}" in failure.text
    assert lone.stored(key) == before
    assert lone.node.in_flight == 0


def test_at_the_limit_a_put_that_replaces_something_is_taken() -> None:
    lone, key, _ = coordinating()
    fill(lone, key, SIBLINGS_MAX)
    actor = lone.node.identity.actor
    one = seal_context(Context({}, frozenset({(actor, 5)})), "default", key, lone.config.secret)
    assert of(Write, lone.hear(CLIENT, a_put(key, write_id=b"replaces one....", context=one)))
    assert len(lone.stored(key).live) == SIBLINGS_MAX
    all_of_them = seal_context(lone.stored(key).context, "default", key, lone.config.secret)
    assert of(Write, lone.hear(CLIENT, a_put(key, write_id=b"replaces all....", context=all_of_them)))
    assert len(lone.stored(key).live) == 1


def test_more_siblings_than_the_limit_which_a_merge_has_made_can_be_reduced_one_by_one() -> None:
    """Two sides of a split may each have brought as many as are allowed."""
    lone, key, (second, *_) = coordinating()
    fill(lone, key, SIBLINGS_MAX)
    state = EMPTY
    for i in range(10):
        state, _, _ = put(state, Context(), "b~other", b"x", b"other %010d" % i, 1)
    lone.hear(second, Write(0, "default", key, encode(state), "", 1000))
    assert len(lone.stored(key).live) == SIBLINGS_MAX + 10
    token = seal_context(Context({}, frozenset({("b~other", 3)})), "default", key, lone.config.secret)
    assert of(Write, lone.hear(CLIENT, a_put(key, context=token)))
    assert of(Failure, lone.hear(CLIENT, a_put(key, write_id=b"y" * 16)))[0][1].code == INVALID


def test_siblings_of_too_many_bytes_are_refused() -> None:
    lone, key, _ = coordinating()
    fill(lone, key, STATE_BYTES_MAX >> 20, size=(1 << 20) - 100)
    ((_, failure),) = of(Failure, lone.hear(CLIENT, a_put(key, b"v" * (1 << 20))))
    assert failure.code == INVALID
    assert f"limit is {STATE_BYTES_MAX:,}" in failure.text


def test_a_context_with_a_counter_of_ours_that_this_store_lacks_renews_the_epoch() -> None:
    """A backup was restored: what is issued under the old name would be taken for known."""
    lone, key, _ = coordinating()
    fill(lone, key, 2)
    identity = lone.node.identity
    actor, epoch = identity.actor, identity.epoch
    token = seal_context(Context({actor: 7}), "default", key, lone.config.secret)
    lone.hear(CLIENT, a_put(key, context=token))
    assert identity.epoch != epoch
    (sibling,) = lone.stored(key).live
    assert (sibling.actor, sibling.counter) == (identity.actor, 1)
    assert msgpack.unpackb(lone.disk.backup()[2]["identity"])[0] == identity.epoch, "committed with its first dot"


def test_the_same_for_a_fallback_that_coordinates() -> None:
    lone = LoneNode()
    key = lone.key(3)
    identity = lone.node.identity
    for primary in lone.peers(key)[:3]:
        lone.node.failure.refused(primary)
    lone.away.update(lone.peers(key)[:3])
    token = seal_context(Context({identity.stand_in_actor: 3}), "default", key, lone.config.secret)
    epoch = identity.epoch
    lone.hear(CLIENT, a_put(key, context=token, w=1))
    assert identity.epoch != epoch


def test_a_context_of_what_this_store_holds_renews_nothing() -> None:
    lone, key, _ = coordinating()
    epoch = lone.node.identity.epoch
    fill(lone, key, 3)
    token = seal_context(lone.stored(key).context, "default", key, lone.config.secret)
    lone.hear(CLIENT, a_put(key, context=token))
    assert lone.node.identity.epoch == epoch


# --- count ----------------------------------------------------------------------------------------------------------------


def test_the_client_is_answered_at_w_and_a_reply_that_comes_twice_counts_once() -> None:
    lone, key, (second, third, *_) = coordinating()
    writes = dict(of(Write, lone.hear(CLIENT, a_put(key, w=3))))
    assert sorted(writes) == sorted([second, third])
    assert lone.hear(second, WriteReply([writes[second].request_id])) == []
    assert lone.hear(second, WriteReply([writes[second].request_id])) == []
    ((_, reply),) = of(PutReply, lone.hear(third, WriteReply([writes[third].request_id])))
    assert reply.acked == ["a", second, third]
    assert lone.node.in_flight == 0


def test_who_is_answered_late_is_shown_that_the_write_may_have_been_retried() -> None:
    """By then it has asked elsewhere. Seed 138: what it wrote next, by this context, left the retry's dot as a sibling."""
    lone, key, (second, third, *_) = coordinating()
    lone.node.latency.hedge_s = 0.2  # looked at then, and at twice that
    write = dict(of(Write, lone.hear(CLIENT, a_put(key))))[second]
    lone.away.update((second, third))
    assert not of(PutReply, lone.pass_time(0.3))
    ((_, reply),) = of(PutReply, lone.hear(second, WriteReply([write.request_id])))
    assert open_context(reply.context, "default", key, lone.config.secret).retried == {b"w" * 16}
    assert lone.stored(key).context.retried == {b"w" * 16}


@pytest.mark.parametrize("rank", range(1, 4), ids=["the second primary", "the third", "a fallback"])
def test_a_put_that_waits_for_who_is_slow_may_be_retried_beside_who_has_been_away_for_long(rank: int) -> None:
    """Seed 554710: he was not asked to store it, and so nobody of whom an answer was awaited was silent."""
    lone, key, others = coordinating()
    lone.away.add(others[rank])
    lone.pass_time(20.0)
    assert of(Write, lone.hear(CLIENT, a_put(key)))
    assert not of(PutReply, lone.pass_time(0.2))
    assert not lone.stored(key).context.retried
    lone.pass_time(0.4)
    assert lone.stored(key).context.retried == {b"w" * 16}
    ((_, reply),) = of(GetReply, lone.hear(CLIENT, a_get(key, r=1)))
    assert open_context(reply.context, "default", key, lone.config.secret).retried == {b"w" * 16}


def test_slow_peers_alone_are_no_reason_to_expect_a_retry() -> None:
    """It finds the write with them."""
    lone, key, _ = coordinating()
    assert of(Write, lone.hear(CLIENT, a_put(key)))
    assert not of(PutReply, lone.pass_time(1.5))
    assert not lone.stored(key).context.retried


def test_a_put_that_was_answered_in_time_is_not_retried_whoever_is_away() -> None:
    lone, key, (second, third, *_) = coordinating()
    lone.away.add(third)
    lone.pass_time(20.0)
    writes = dict(of(Write, lone.hear(CLIENT, a_put(key))))
    assert of(PutReply, lone.hear(second, WriteReply([writes[second].request_id])))
    assert lone.node.in_flight, "the third copy is awaited"
    lone.pass_time(1.5)
    assert not lone.stored(key).context.retried


def test_a_primary_and_its_stand_in_are_one_copy() -> None:
    """The stand-in's hint goes home and is gone: W=3 would be two disks."""
    lone, key, (second, third, fourth, fifth) = coordinating()
    writes = dict(of(Write, lone.hear(CLIENT, a_put(key, w=3))))
    request_id = writes[second].request_id
    lone.away.update((second, third))
    hints = [(node, write.hint_for) for node, write in of(Write, lone.pass_time(0.5)) if write.request_id]
    assert hints == [(fourth, second), (fifth, third)]
    assert of(PutReply, lone.hear(second, WriteReply([request_id]))) == []
    assert of(PutReply, lone.hear(fourth, WriteReply([request_id]))) == []
    ((_, reply),) = of(PutReply, lone.hear(fifth, WriteReply([request_id])))
    assert (reply.acked, reply.stand_ins) == (["a", second, fifth], [[fifth, third]])


def test_the_primary_takes_the_place_of_its_stand_in_so_that_pw_can_be_met() -> None:
    lone, key, (second, third, fourth, _) = coordinating()
    writes = dict(of(Write, lone.hear(CLIENT, a_put(key, w=2, pw=2))))
    request_id = writes[second].request_id
    lone.away.update((second, third))
    lone.pass_time(0.5)
    assert of(PutReply, lone.hear(fourth, WriteReply([request_id]))) == []
    ((_, reply),) = of(PutReply, lone.hear(second, WriteReply([request_id])))
    assert (reply.acked, reply.stand_ins) == (["a", second], [])


# --- afterwards -----------------------------------------------------------------------------------------------------------


def test_a_replica_that_refuses_is_stood_in_for_at_once_and_a_stand_in_that_refuses_as_well() -> None:
    lone, key, (second, _, fourth, fifth) = coordinating()
    writes = dict(of(Write, lone.hear(CLIENT, a_put(key))))
    request_id = writes[second].request_id
    ((to, hint),) = of(Write, lone.hear(second, Refused(request_id, "full")))
    assert (to, hint.hint_for) == (fourth, second)
    ((to, hint),) = of(Write, lone.hear(fourth, Refused(request_id, "full")))
    assert (to, hint.hint_for) == (fifth, second)
    lone.hear(fifth, Refused(request_id, "full"))
    assert lone.node.hints.pending == {second: 1}, "nobody else is left"


def test_when_no_w_copies_can_be_had_any_more_the_client_is_told_now_and_not_at_the_deadline() -> None:
    lone, key, (second, third, fourth, fifth) = coordinating()
    writes = dict(of(Write, lone.hear(CLIENT, a_put(key))))
    said = []
    for node in (second, third, fourth, fifth):
        said += lone.hear(node, Refused(writes[second].request_id, "full"))
    ((to, failure),) = of(Failure, said)
    assert (to, failure.code, failure.required, failure.received) == (CLIENT, TIMEOUT, 2, 1)
    assert lone.node.in_flight == 0


def test_at_the_deadline_the_coordinator_keeps_a_hint_for_whom_neither_it_nor_a_stand_in_reached() -> None:
    """A stand-in that was asked and never answered once left nobody with a hint."""
    lone, key, (second, third, *_) = coordinating()
    lone.hear(CLIENT, a_put(key, w=1))
    lone.away.update(lone.peers(key))
    lone.pass_time(2.5)
    assert lone.node.hints.pending == {second: 1, third: 1}
    assert lone.node.in_flight == 0


def test_whoever_has_acknowledged_needs_no_hint() -> None:
    lone, key, (second, third, *_) = coordinating()
    writes = dict(of(Write, lone.hear(CLIENT, a_put(key))))
    for node in (second, third):
        lone.hear(node, WriteReply([writes[node].request_id]))
    lone.pass_time(3.0)
    assert lone.node.hints.pending == {}
    assert lone.node.runtime.counters["stand_ins"] == 0


# --- storage fails --------------------------------------------------------------------------------------------------------


def test_a_store_that_cannot_be_read_is_a_refusal_and_leaves_nothing_behind() -> None:
    lone, key, _ = coordinating()
    lone.disk.fail_reads = True
    ((to, failure),) = lone.hear(CLIENT, a_put(key))
    assert isinstance(failure, Failure)
    assert (to, failure.code) == (CLIENT, STORAGE)
    assert lone.node.in_flight == 0


def test_a_hint_that_cannot_be_kept_does_not_fail_the_put() -> None:
    lone, key, peers = coordinating(n=3)
    lone.hear(CLIENT, a_put(key, w=1))
    lone.away.update(peers)
    lone.pass_time(0.3)
    lone.node.hints.keep(peers[0], 1, "default", b"another", b"")
    lone.disk.fail_reads = True
    lone.pass_time(3.0)
    assert lone.node.in_flight == 0
    assert lone.node.runtime.counters["hints_not_kept"] >= 1


def test_a_retry_whose_memory_cannot_be_read_is_refused_not_forgotten() -> None:
    lone, key, _ = coordinating()
    lone.disk.fail_reads = True
    said = lone.hear(CLIENT, a_put(key, age_ms=400))
    assert [failure.code for _, failure in of(Failure, said)] == [STORAGE]
    assert of(Recall, said) == []


def test_a_primary_whose_own_copy_is_with_a_stand_in_does_not_stand_in_for_another() -> None:
    """Found by seed 333: its hint went home, and W = 3 copies were on two disks.

    This node is none of the first N, and coordinates what was passed on to it: it holds the last primary's copy.
    """
    lone = LoneNode()
    key = lone.key(3)
    first, second, third, last = [node for node in lone.walk(key) if node != lone.name]
    said = lone.hear(CLIENT, a_put(key, hops=HOPS_MAX, w=3))
    assert [(to, write.hint_for) for to, write in of(Write, said)] == [(first, ""), (second, "")]
    assert lone.node.hints.pending == {third: 1}
    (_, write), *_ = of(Write, said)
    lone.hear(first, WriteReply([write.request_id]))
    lone.away.add(second)
    said = lone.pass_time(1.0)
    assert [(to, write.hint_for) for to, write in of(Write, said) if write.hint_for] == [(last, second)]
