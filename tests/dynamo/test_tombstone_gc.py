"""§4.4 One member's part in forgetting: what it answers, what it replaces, what it refuses."""

from __future__ import annotations

import pytest
from lone_node import LoneNode, a_put, of

from dynazmq.config import Timing
from dynazmq.dynamo.messages import Handoff, HandoffReply, Refused, Retire, RetireAsk, RetireTell, Write
from dynazmq.dynamo.runtime import StoreFailed
from dynazmq.dynamo.values.merkle import row_hash
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import EMPTY, Siblings, actor_id, encode, put

GRACE_S = 3.0
TIMING = Timing(anti_entropy_interval_ms=0, retirement_grace_ms=int(GRACE_S * 1000))


def a_node() -> LoneNode:
    """One that has lived for a grace."""
    lone = LoneNode(timing=TIMING)
    lone.pass_time(GRACE_S)
    return lone


def tombstone(node: str = "b", before: Siblings = EMPTY) -> Siblings:
    state, _, _ = put(before, before.context, actor_id(node, "epoch"), None, b"t" * 16, 1_700_000_000_000)
    return state


def hash_of(key: bytes, state: bytes) -> int:
    return row_hash(place("default", key), state)


def unclear(lone: LoneNode, key: bytes, state: bytes) -> bool:
    """Whether it knows of something older than this state."""
    said = lone.hear("b", RetireAsk(7, [["default", key, hash_of(key, state)]]))
    ((_, told),) = of(RetireTell, said + lone.turn(0.002))
    assert told.request_id == 7
    assert told.unclear in ([], [0])
    return told.unclear == [0]


def give(lone: LoneNode, key: bytes, state: bytes) -> None:
    lone.hear("b", Write(0, "default", key, state, "", 1000))


def test_a_primary_is_clear_about_the_state_that_it_holds_and_about_no_other() -> None:
    lone = a_node()
    key, state = lone.key(1), encode(tombstone())
    assert unclear(lone, key, state), "it has nothing of the key, and should"
    give(lone, key, state)
    assert not unclear(lone, key, state)
    assert unclear(lone, key, encode(tombstone("c")))


def test_who_is_no_primary_is_clear_when_it_has_nothing() -> None:
    lone = a_node()
    assert not unclear(lone, lone.key(3), encode(tombstone()))


def test_it_is_not_clear_before_it_has_lived_for_a_grace() -> None:
    lone = LoneNode(timing=TIMING)
    assert unclear(lone, lone.key(3), encode(tombstone()))


def test_it_is_not_clear_while_a_hint_for_the_key_is_here_nor_for_a_grace_after() -> None:
    lone = a_node()
    key, state = lone.key(3), encode(tombstone())
    target = lone.walk(key)[0]
    lone.hear("b", Write(1, "default", key, state, target, 1000))
    assert unclear(lone, key, state)
    for _, handoff in of(Handoff, lone.pass_time(1.0)):
        lone.hear(target, HandoffReply(handoff.request_id))
    assert lone.node.hints.pending == {}
    assert unclear(lone, key, state), "its handoff may be under way a second time"
    lone.pass_time(GRACE_S)
    assert not unclear(lone, key, state)


def test_it_is_not_clear_while_a_put_of_the_key_is_under_way_here() -> None:
    lone = a_node()
    key = lone.key(0)
    lone.hear(b"a client", a_put(key, None))
    state = encode(lone.stored(key))
    assert unclear(lone, key, state)
    lone.pass_time(2.5)
    assert not lone.node.in_flight
    hints = lone.node.hints.pending
    assert unclear(lone, key, state) == bool(hints)


def test_a_tombstone_is_replaced_by_nothing_and_only_if_it_is_that_one() -> None:
    lone = a_node()
    key, state = lone.key(1), encode(tombstone())
    give(lone, key, state)
    lone.hear("b", Retire([["default", key, hash_of(key, b"another"), b""]]))
    assert lone.stored(key) == tombstone()
    lone.hear("b", Retire([["default", key, hash_of(key, state), b""]]))
    assert lone.stored(key) == EMPTY
    assert lone.node.replica.keys == 0


def test_what_would_take_a_value_with_it_is_refused() -> None:
    lone = a_node()
    key = lone.key(1)
    held, _, _ = put(EMPTY, EMPTY.context, actor_id("b", "epoch"), b"v", b"w" * 16, 1)
    give(lone, key, encode(held))
    for remains in (b"", encode(tombstone()), b"no state", 7):
        lone.hear("b", Retire([["default", key, hash_of(key, encode(held)), remains]]))
    assert lone.stored(key) == held
    assert lone.node.runtime.counters["messages_refused"] == 4


def test_what_is_no_question_is_refused_and_answered_so() -> None:
    lone = a_node()
    assert of(Refused, lone.hear("b", RetireAsk(7, [["default", b"k"]])))
    lone.hear("b", RetireTell(7, [5], []))  # nobody has asked
    assert lone.node.runtime.counters["messages_refused"] == 1


def proposal(lone: LoneNode) -> tuple[bytes, dict[str, RetireAsk]]:
    """It holds a tombstone as the first primary of a key, and asks all others about it."""
    key = lone.key(0)
    give(lone, key, encode(tombstone()))
    return key, next_round(lone)


def next_round(lone: LoneNode) -> dict[str, RetireAsk]:
    """Whom it asks next."""
    for _ in range(1_000):
        if asked := of(RetireAsk, lone.turn(0.01)):
            return {str(peer): ask for peer, ask in asked}
    raise AssertionError("it asks nobody")


def test_the_first_primary_asks_all_members_twice_and_then_tells_them() -> None:
    lone = a_node()
    key, asked = proposal(lone)
    assert sorted(asked) == ["b", "c", "d", "e"]
    for peer, ask in asked.items():
        assert of(Retire, lone.hear(peer, RetireTell(ask.request_id, [], [peer]))) == []
    began = lone.now
    again = next_round(lone)
    assert lone.now - began >= GRACE_S
    said = [message for peer, ask in again.items() for message in lone.hear(peer, RetireTell(ask.request_id, [], [peer]))]
    assert sorted(str(to) for to, _ in of(Retire, said)) == ["b", "c", "d", "e"]
    assert lone.stored(key) == EMPTY
    assert lone.node.runtime.counters["tombstones_collected"] == 1


def test_a_row_that_cannot_be_read_just_when_it_may_go_is_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lone = a_node()
    key, asked = proposal(lone)
    for peer, ask in asked.items():
        lone.hear(peer, RetireTell(ask.request_id, [], [peer]))
    asked = next_round(lone)
    with monkeypatch.context() as bad_disk:
        bad_disk.setattr(lone.disk, "read", unreadable)
        for peer, ask in asked.items():
            lone.hear(peer, RetireTell(ask.request_id, [], [peer]))
    assert lone.stored(key) == tombstone()
    for _ in range(2):
        for peer, ask in next_round(lone).items():
            lone.hear(peer, RetireTell(ask.request_id, [], [peer]))
    assert lone.stored(key) == EMPTY


def unreadable(*_: object) -> bytes:
    raise StoreFailed("the disk cannot be read")


def test_one_member_who_is_not_clear_makes_it_begin_anew() -> None:
    lone = a_node()
    key, asked = proposal(lone)
    for peer, ask in asked.items():
        lone.hear(peer, RetireTell(ask.request_id, [0] if peer == "d" else [], []))
    for _ in range(2):  # the first round that counts, and no retirement before the second
        asked = next_round(lone)
        assert lone.stored(key) == tombstone()
        for peer, ask in asked.items():
            lone.hear(peer, RetireTell(ask.request_id, [], []))
    assert lone.stored(key) == EMPTY


def test_an_answer_about_a_row_that_was_not_asked_for_counts_for_nothing() -> None:
    lone = a_node()
    _, asked = proposal(lone)
    for peer, ask in asked.items():
        lone.hear(peer, RetireTell(ask.request_id, [1], []))
    assert lone.node.runtime.counters["messages_refused"] == 4
    assert of(Retire, lone.pass_time(1.0)) == []


@pytest.mark.parametrize("fails", [{0}, {1}, {2}, {3, 4}, {1, 3, 5, 7, 9}, set()])
def test_a_node_tells_no_more_of_its_own_count_than_was_on_its_disk_before_the_turn(fails: set[int]) -> None:
    """It vouches for others and asks in one turn, which may not be stored: then they would have heard of a newer disk."""
    lone = a_node()
    mine, others = lone.key(0), lone.key(3)
    give(lone, mine, encode(tombstone()))
    told = []
    for turn in range(400):
        stored = lone.node.vouches.stored
        lone.now += 0.05
        lone.node.wake(lone.now, 1_700_000_000_000)
        lone.node.receive("b", RetireAsk(7, [["default", others, hash_of(others, encode(tombstone()))]]))
        lone.node.tick(lone.now, 1_700_000_000_000)
        if turn % 10 in fails:
            lone.disk.rollback()
            lone.node.turn_failed()
        asked = of(RetireAsk, lone.flush())
        told += [count for _, ask in asked for name, count in ask.vouched if name == lone.name]
        assert all(count <= stored for count in told[-len(asked) :] if asked)
        for peer, ask in asked:
            lone.node.receive(peer, RetireTell(ask.request_id, [], [f"{peer}~epoch"], 1))
    assert told, "it has asked, and been told of itself"
