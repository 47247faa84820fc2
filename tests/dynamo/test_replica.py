"""§4.3: what a node does to its own copies."""

from __future__ import annotations

import pytest
from lone_node import CLIENT, LoneNode, a_put, of, written

from dynazmq.config import MERGED_BYTES_MAX
from dynazmq.dynamo.messages import (
    Handoff,
    HandoffReply,
    Read,
    ReadReply,
    Recall,
    RecallReply,
    Refused,
    Write,
    WriteReply,
)
from dynazmq.dynamo.replica import overwritten
from dynazmq.dynamo.replica.overwritten import Overwritten
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import EMPTY, Context, Siblings, decode, encode, put, sync


def primary() -> tuple[LoneNode, bytes, list[str]]:
    lone = LoneNode()
    key = lone.key(0)
    return lone, key, lone.peers(key)


def a_write(key: bytes, state: Siblings, request_id: int = 5, hint_for: str = "") -> Write:
    return Write(request_id, "default", key, encode(state), hint_for, 1000)


def over(state: Siblings, node: str, value: bytes, write_id: bytes) -> Siblings:
    """The state in which this write has replaced all that was there."""
    after, _, _ = put(state, state.context, f"{node}~epoch", value, write_id, 1)
    return after


def beside(state: Siblings, node: str, value: bytes, write_id: bytes) -> Siblings:
    after, _, _ = put(state, EMPTY.context, f"{node}~epoch", value, write_id, 1)
    return after


# --- merging --------------------------------------------------------------------------------------------------------------


def test_a_write_is_merged_stored_and_then_acknowledged() -> None:
    lone, key, (second, *_) = primary()
    lone.node.receive(second, a_write(key, written(("b", b"1"))))
    assert lone.stored(key) == EMPTY
    assert lone.flush() == [(second, WriteReply([5]))]
    assert lone.stored(key).values == [b"1"]


def test_writes_of_one_turn_are_acknowledged_in_one_message_and_refused_one_by_one() -> None:
    lone, key, (second, *_) = primary()
    for request_id in (5, 6, 7):
        write = a_write(key, written(("b", b"1")))
        write.request_id = request_id
        lone.node.receive(second, write)
    assert lone.node.runtime.outbox == {second: [WriteReply([5, 6, 7])]}

    lone.node.turn_failed()
    refused = lone.node.runtime.outbox[second]
    assert [(type(message), message.request_id) for message in refused] == [(Refused, 5), (Refused, 6), (Refused, 7)]


def test_a_repair_is_not_acknowledged() -> None:
    lone, key, (second, *_) = primary()
    assert lone.hear(second, a_write(key, written(("b", b"1")), request_id=0)) == []
    assert lone.stored(key).values == [b"1"]


def test_an_expired_write_is_not_done() -> None:
    lone, key, (second, *_) = primary()
    message = a_write(key, written(("b", b"1")))
    message.budget_ms = 0
    assert lone.hear(second, message) == []
    assert lone.stored(key) == EMPTY
    assert lone.node.runtime.counters["expired"] == 1


def test_a_hint_for_this_very_node_is_its_own_copy() -> None:
    lone, key, (second, *_) = primary()
    lone.hear(second, a_write(key, written(("b", b"1")), hint_for="a"))
    assert lone.stored(key).values == [b"1"]
    assert lone.node.hints.pending == {}


def test_a_handoff_of_a_key_that_is_not_ours_is_refused() -> None:
    lone = LoneNode()
    key = lone.key(3)
    ((_, reply),) = lone.hear("b", Handoff(3, "default", key, encode(written(("b", b"1")))))
    assert isinstance(reply, Refused)
    assert lone.stored(key) == EMPTY


def test_a_fallback_answers_reads_with_the_hint_that_it_keeps() -> None:
    lone = LoneNode()
    key = lone.key(3)
    target = lone.peers(key)[0]
    lone.hear(target, a_write(key, written(("b", b"1")), hint_for=target))
    ((_, reply),) = of(ReadReply, lone.hear(target, Read(9, "default", key, 1000)))
    assert decode(reply.state).values == [b"1"]


def test_two_states_that_fit_into_no_frame_together_stay_apart() -> None:
    lone, key, (second, third, *_) = primary()
    half = MERGED_BYTES_MAX * 2 // 3
    lone.hear(second, a_write(key, written(("b", b"x" * half))))
    before = lone.stored(key)
    ((_, refused),) = lone.hear(third, a_write(key, written(("c", b"y" * half))))
    assert isinstance(refused, Refused)
    assert lone.stored(key) == before
    ((_, reply),) = of(ReadReply, lone.hear(second, Read(9, "default", key, 1000)))
    assert reply.state == encode(before)
    ((_, done),) = lone.hear(third, a_write(key, over(before, "c", b"z", b"w" * 16)))
    assert isinstance(done, WriteReply), "what replaces it is taken"


def test_a_hint_and_a_copy_that_fit_into_no_frame_together_are_refused_to_readers() -> None:
    lone = LoneNode()
    key = lone.key(0)
    half = MERGED_BYTES_MAX * 2 // 3
    second = lone.peers(key)[0]
    lone.hear(second, a_write(key, written(("b", b"x" * half))))
    lone.hear(second, a_write(key, written(("c", b"y" * half)), hint_for=second))
    ((_, reply),) = lone.hear(second, Read(9, "default", key, 1000))
    assert isinstance(reply, Refused)


def test_a_dot_of_ours_that_this_store_lacks_renews_the_epoch() -> None:
    lone, key, (second, *_) = primary()
    lone.hear(CLIENT, a_put(key))
    epoch, actor = lone.node.identity.epoch, lone.node.identity.actor
    later, _, _ = put(lone.stored(key), lone.stored(key).context, actor, b"later", b"l" * 16, 1)
    lone.hear(second, a_write(key, later))
    assert lone.node.identity.epoch != epoch


# --- what was overwritten -------------------------------------------------------------------------------------------------


def test_who_drops_a_write_of_its_own_that_others_keep_begins_a_new_epoch() -> None:
    """A vector clock says "all of mine up to this one": the next dot of the old name would cover what was handed over."""
    lone, key, _ = primary()
    identity, replica, at = lone.node.identity, lone.node.replica, place("default", key)
    lone.hear(CLIENT, a_put(key))
    handed_over = lone.stored(key)
    epoch = identity.epoch
    replica.drop(at, "default", key, encode(handed_over))
    assert identity.epoch != epoch
    lone.hear(CLIENT, a_put(key, b"another", write_id=b"another........."))
    assert sorted(sync(handed_over, lone.stored(key)).values) == [b"another", b"v"]


def test_who_drops_what_others_wrote_keeps_its_name() -> None:
    lone, key, (second, *_) = primary()
    lone.hear(second, a_write(key, written((second, b"1"))))
    epoch = lone.node.identity.epoch
    lone.node.replica.drop(place("default", key), "default", key, encode(lone.stored(key)))
    lone.flush()
    assert (lone.stored(key), lone.node.identity.epoch) == (EMPTY, epoch)


def test_the_dot_of_a_write_is_known_while_it_lives_and_after_it_was_overwritten() -> None:
    lone, key, (second, *_) = primary()
    first = beside(EMPTY, "b", b"1", b"first".ljust(16))
    lone.hear(second, a_write(key, first))
    question = Recall(8, "default", key, b"first".ljust(16), 500, 1000)
    ((_, answer),) = of(RecallReply, lone.hear(second, question))
    assert (answer.actor, answer.counter) == ("b~epoch", 1)
    lone.hear(second, a_write(key, over(first, "b", b"2", b"second".ljust(16))))
    ((_, answer),) = of(RecallReply, lone.hear(second, question))
    assert (answer.sure, answer.actor, answer.counter) == (True, "b~epoch", 1)


def test_a_node_is_certain_only_of_the_time_in_which_it_remembered() -> None:
    lone, key, (second, *_) = primary()
    lone.start()
    lone.pass_time(1.5)
    sure = {}
    for age_ms in (100, 1200, 1400, 5000):
        ((_, answer),) = of(RecallReply, lone.hear(second, Recall(8, "default", key, b"x" * 16, age_ms, 1000)))
        sure[age_ms] = answer.sure
    assert sure == {100: True, 1200: True, 1400: False, 5000: False}, "less a little that the question was under way"


def test_memory_is_bounded_and_says_how_far_back_it_reaches() -> None:
    runtime = LoneNode().node.runtime
    runtime.now = 0.0
    memory = Overwritten(runtime)
    for i in range(100_000):
        runtime.now = i / 1000
        memory.add(b"%d" % i, ("a", i + 1))
        if i % 10_000 == 9_999 or i % 32_768 < 2:
            reaches = int(memory.since * 1000)
            remembered = [each for each in range(i + 1) if b"%d" % each in memory]
            assert remembered == list(range(remembered[0], i + 1)), "the newest, without a gap"
            assert remembered[0] <= reaches + 1, "all that came after that moment"
            assert min(i + 1, 32_768) <= len(remembered) <= 65_536
            assert memory.find(b"%d" % i) == ("a", i + 1)
            assert memory.find(b"%d" % remembered[0]) == ("a", remembered[0] + 1)


def test_what_a_turn_had_overwritten_is_forgotten_with_it_though_it_began_a_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overwritten, "_GENERATION", 4)
    runtime = LoneNode().node.runtime
    memory = Overwritten(runtime)
    memory.add(b"kept", ("a", 1))
    runtime.aborts.clear()  # that turn was stored
    for i in range(6):
        memory.add(b"%d" % i, ("a", i + 2))
    memory.add(b"kept", ("b", 1))
    for undo, about in runtime.aborts:
        undo(about)
    assert memory.find(b"kept") == ("b", 1)
    assert not [i for i in range(6) if b"%d" % i in memory]


def test_a_second_dot_of_a_write_that_was_overwritten_here_is_dropped_and_its_sender_corrected() -> None:
    """Done late by a node that was frozen with the request in its queue: an echo."""
    lone, key, (second, *_) = primary()
    first = beside(EMPTY, "b", b"old", b"old".ljust(16))
    lone.hear(second, a_write(key, first))
    lone.hear(second, a_write(key, over(first, "b", b"new", b"new".ljust(16))))
    echo = beside(EMPTY, "x", b"old", b"old".ljust(16))
    said = lone.hear(second, a_write(key, echo))
    assert lone.stored(key).values == [b"new"]
    assert lone.stored(key).context.covers("x~epoch", 1)
    ((_, correction),) = of(Write, said)
    assert (correction.request_id, correction.state) == (0, encode(lone.stored(key)))
    assert of(WriteReply, said), "it is stored as far as it will ever be"
    assert lone.node.runtime.counters["echoes_dropped"] == 1


def test_a_hint_is_not_taken_for_the_second_dot_of_a_write_that_was_overwritten_in_one_like_it() -> None:
    """Seed 30160: a fallback held both, and knew of them in its own copies alone."""
    lone = LoneNode()
    key = lone.key(3)
    target, second, *_ = lone.walk(key)
    first = beside(EMPTY, "b", b"old", b"old".ljust(16))
    for state in (first, over(first, "b", b"new", b"new".ljust(16)), beside(EMPTY, "x", b"old", b"old".ljust(16))):
        lone.hear(second, Write(1, "default", key, encode(state), target, 1000))
    ((_, reply),) = of(ReadReply, lone.hear(second, Read(2, "default", key, 1000)))
    assert decode(reply.state).values == [b"new"]
    assert lone.node.hints.pending == {target: 1}


def kept_for(lone: LoneNode, target: str, key: bytes) -> Siblings:
    return decode(lone.disk.hint_states()[target, place("default", key), "default", key])


def test_a_hint_keeps_a_second_dot_of_what_was_overwritten_elsewhere_on_this_node_until_it_meets_what_overwrote_it() -> None:
    """Seed 602308: all that was left of the hint was that its write is overwritten, and a primary that got it held nothing."""
    lone, key, (second, third, *_) = primary()
    before = beside(EMPTY, "b", b"before", b"before".ljust(16))
    first = over(before, "b", b"old", b"old".ljust(16))
    new = over(first, "b", b"new", b"new".ljust(16))
    for state in (before, first, new):
        lone.hear(second, a_write(key, state))
    lone.hear(second, Write(1, "default", key, encode(before), third, 1000))
    echo = over(before, "x", b"old", b"old".ljust(16))
    lone.hear(second, Write(1, "default", key, encode(echo), third, 1000))
    assert kept_for(lone, third, key).values == [b"old"], "the node for which it is may have nothing else"
    assert sync(kept_for(lone, third, key), new).values == [b"new"]
    ((_, reply),) = of(ReadReply, lone.hear(second, Read(2, "default", key, 1000)))
    assert decode(reply.state).values == [b"new"]


def test_a_copy_keeps_a_second_dot_of_what_was_overwritten_in_a_hint_that_has_gone_home() -> None:
    lone, key, (second, third, *_) = primary()
    first = beside(EMPTY, "b", b"old", b"old".ljust(16))
    new = over(first, "b", b"new", b"new".ljust(16))
    for state in (first, new):
        lone.hear(second, Write(1, "default", key, encode(state), third, 1000))
    lone.node.hints.forget(third, place("default", key), "default", key)
    lone.hear(second, a_write(key, beside(EMPTY, "x", b"old", b"old".ljust(16))))
    assert lone.stored(key).values == [b"old"]
    lone.hear(second, a_write(key, new))
    assert lone.stored(key).values == [b"new"]


def test_a_state_of_some_time_ago_that_is_kept_for_another_is_no_second_dot() -> None:
    lone = LoneNode()
    key = lone.key(3)
    target, other, *_ = lone.walk(key)
    first = beside(EMPTY, "b", b"old", b"old".ljust(16))
    for state in (first, over(first, "b", b"new", b"new".ljust(16))):
        lone.hear(other, Write(1, "default", key, encode(state), target, 1000))
    lone.hear(target, Write(2, "default", key, encode(first), other, 1000))
    assert lone.node.runtime.counters["echoes_dropped"] == 0
    assert lone.disk.hint_states()[other, place("default", key), "default", key] == encode(first)


def test_two_dots_of_a_write_that_lives_are_one_sibling_and_no_echo() -> None:
    lone, key, (second, *_) = primary()
    lone.hear(second, a_write(key, beside(EMPTY, "c", b"v", b"w" * 16)))
    lone.hear(second, a_write(key, beside(EMPTY, "b", b"v", b"w" * 16)))
    assert [sibling.actor for sibling in lone.stored(key).live] == ["b~epoch"]
    lone.hear(second, a_write(key, beside(EMPTY, "d", b"v", b"w" * 16)))
    assert lone.stored(key).values == [b"v"]
    assert lone.node.runtime.counters["echoes_dropped"] == 0


def test_what_a_failed_commit_took_back_was_not_overwritten() -> None:
    """Otherwise the write would be dropped as an echo of itself when it comes again."""
    lone, key, (second, *_) = primary()
    first = beside(EMPTY, "b", b"kept", b"kept".ljust(16))
    lone.node.receive(second, a_write(key, first))
    lone.node.receive(second, a_write(key, over(first, "b", b"lost", b"lost".ljust(16))))
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.flush()
    assert lone.stored(key) == EMPTY
    assert lone.node.replica.overwritten.find(b"kept".ljust(16)) is None
    lone.hear(second, a_write(key, beside(EMPTY, "c", b"kept", b"kept".ljust(16))))
    assert lone.stored(key).values == [b"kept"]


def test_what_was_overwritten_before_is_so_though_the_turn_in_which_it_was_once_more_is_taken_back() -> None:
    """It had come back from somebody. Forgotten, it would be said to have never been here, and its retry be done anew."""
    lone = LoneNode()
    memory = lone.node.replica.overwritten
    memory.add(b"w" * 16, ("b~epoch", 1))
    lone.turn()
    memory.add(b"w" * 16, ("c~epoch", 1))
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.turn()
    assert b"w" * 16 in memory


def test_what_a_damaged_row_had_overwritten_is_not_known_any_more() -> None:
    lone, key, (second, *_) = primary()
    first = beside(EMPTY, "b", b"kept", b"kept".ljust(16))
    lone.hear(second, a_write(key, first))
    lone.hear(second, a_write(key, over(first, "b", b"lost", b"lost".ljust(16))))
    lone.disk.damage(place("default", key), "default", key)
    epoch = lone.node.identity.epoch
    lone.hear(second, a_write(key, beside(EMPTY, "c", b"kept", b"kept".ljust(16))))
    assert lone.stored(key).values == [b"kept"]
    assert lone.node.identity.epoch != epoch


def test_keys_are_counted_through_writes_hints_and_damage() -> None:
    lone, key, (second, third, *_) = primary()
    other = next(k for k in (b"other %d" % i for i in range(1000)) if "a" in lone.walk(k)[:3])
    lone.hear(second, a_write(key, written(("b", b"1"))))
    lone.hear(CLIENT, a_put(other, hops=1, w=1))
    lone.hear(second, a_write(b"elsewhere", written(("b", b"1")), hint_for=third))
    assert lone.node.replica.keys == 2 == lone.disk.key_count()
    lone.disk.damage(place("default", key), "default", key)
    lone.hear(second, Read(9, "default", key, 1000))
    assert lone.node.replica.keys == 1 == lone.disk.key_count()
    lone.hear(second, Handoff(3, "default", key, encode(written(("b", b"1")))))
    assert lone.node.replica.keys == 2 == lone.disk.key_count()


def test_a_context_alone_needs_no_live_sibling() -> None:
    """What is left when an echo was all that a state had."""
    lone, key, (second, *_) = primary()
    gone = Siblings((), Context({"b~epoch": 3}))
    assert of(WriteReply, lone.hear(second, a_write(key, gone)))
    assert lone.stored(key) == gone
    ((_, reply),) = of(HandoffReply, lone.hear(second, Handoff(3, "default", key, encode(gone))))
    assert reply.request_id == 3
