"""A decision is acknowledged when two nodes have it on disk, and it is said when only one has (decisions.py)."""

from __future__ import annotations

from typing import Any

import pytest
from lone_node import CLIENT, LoneNode, of

from dynazmq.config import Timing
from dynazmq.dynamo.messages import (
    STORAGE,
    TIMEOUT,
    ChangeMembers,
    ChangeMembersReply,
    Decided,
    DecidedReply,
    Failure,
    GossipDelta,
    Message,
    Refused,
    SetBucket,
    SetBucketReply,
)
from dynazmq.dynamo.runtime import Address

Said = list[tuple[Address, Message]]
LEAVE = ChangeMembers(7, b"", [["e", "out", 1.0, ""]])
POLICY = SetBucket(7, "carts", 3, 1, 1, "lww")


def a_node(**options: Any) -> LoneNode:
    lone = LoneNode(timing=Timing(), **options)
    lone.confirm = False
    return lone


def answers(said: Said) -> list[Message]:
    return [message for to, message in said if to == CLIENT]


@pytest.mark.parametrize(("decision", "reply"), [(LEAVE, ChangeMembersReply(7, 1)), (POLICY, SetBucketReply(7, 1))])
def test_it_is_acknowledged_when_a_second_member_has_stored_it_and_once(decision: Message, reply: Message) -> None:
    lone = a_node()
    said = lone.hear(CLIENT, decision)
    assert answers(said) == []
    told = of(Decided, said)
    assert [to for to, _ in told] == ["b", "c", "d", "e"]
    request_id = told[0][1].request_id
    assert answers(lone.hear("d", DecidedReply(request_id))) == [reply]
    assert answers(lone.hear("c", DecidedReply(request_id))) == []
    assert answers(lone.pass_time(3.0)) == []


@pytest.mark.parametrize("decision", [LEAVE, POLICY])
def test_when_nobody_confirms_it_in_time_it_is_said_that_one_copy_is_known(decision: Message) -> None:
    lone = a_node()
    said = lone.hear(CLIENT, decision) + lone.pass_time(0.9)
    assert answers(said) == []
    assert len(of(Decided, said)) >= 4 * 4, "a message may have been lost: it is said again and again"
    (failure,) = answers(lone.pass_time(0.3))
    assert isinstance(failure, Failure)
    assert (failure.request_id, failure.code, failure.required, failure.received) == (7, TIMEOUT, 2, 1)
    assert "a has it on its disk, and no other member has confirmed it within 1 s" in failure.text
    assert lone.node.in_flight == 0
    assert of(Decided, lone.pass_time(1.0)) == []


def test_asking_again_makes_no_other_decision() -> None:
    lone = a_node()
    for decision in (LEAVE, POLICY, LEAVE, POLICY):
        lone.hear(CLIENT, decision)
    assert lone.node.membership.intents["e"].version == 1
    assert lone.node.membership.policies["carts"].version == 1
    assert len(lone.node.decisions) == 4


def test_a_node_that_waits_to_be_let_in_or_is_removed_by_force_is_no_second_member() -> None:
    lone = a_node(founders=["a", "b", "c", "d"])
    said = lone.hear(CLIENT, ChangeMembers(7, b"", [["e", "in", 1.0, ""], ["d", "expel", 1.0, ""]]))
    told = of(Decided, said)
    assert [to for to, _ in told] == ["b", "c"]
    for stranger in ("d", "e"):
        assert answers(lone.hear(stranger, DecidedReply(told[0][1].request_id))) == []
    assert answers(lone.hear("c", DecidedReply(told[0][1].request_id))) == [ChangeMembersReply(7, 1)]


def test_who_is_alone_answers_at_once() -> None:
    lone = a_node(members=("a",))
    assert answers(lone.hear(CLIENT, SetBucket(7, "carts", 1, 1, 1))) == [SetBucketReply(7, 1)]
    pair = a_node(members=("a", "b"), n=1, r=1, w=1)
    assert answers(pair.hear(CLIENT, ChangeMembers(7, b"", [["b", "gone", 1.0, ""]]))) == [ChangeMembersReply(7, 1)]


@pytest.mark.parametrize("decision", [LEAVE, POLICY])
def test_what_could_not_be_stored_is_told_to_nobody_and_not_acknowledged(decision: Message) -> None:
    lone = a_node()
    lone.node.receive(CLIENT, decision)
    lone.disk.rollback()
    lone.node.turn_failed()
    said = lone.flush() + lone.pass_time(2.0)
    assert [message.code for message in answers(said) if isinstance(message, Failure)] == [STORAGE]
    assert len(answers(said)) == 1
    assert of(Decided, said) == []


@pytest.mark.parametrize("decision", [LEAVE, POLICY])
@pytest.mark.parametrize("alone", [False, True], ids=["with others", "alone"])
def test_what_could_not_be_stored_is_stored_when_it_is_asked_for_again(decision: Message, alone: bool) -> None:
    """It is known here already, so nothing is decided anew: it must get to this disk all the same (seed 204227)."""
    lone = a_node(members=("a", "e")[: 1 if decision is POLICY else 2], n=1, r=1, w=1) if alone else a_node()
    decision = SetBucket(7, "carts", 1, 1, 1, "lww") if alone and decision is POLICY else decision
    lone.node.receive(CLIENT, decision)
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.node.drain()
    lone.node.receive(CLIENT, decision)
    assert lone.disk.notes == ["membership"], "it is stored in the turn in which it is answered or told"
    lone.flush()
    known = lone.start().membership
    assert "e" in known.intents if decision is LEAVE else known.policies["carts"].conflict == "lww"


# --- the other member's side ------------------------------------------------------------------------------------------------

ROWS = Decided(3, [["e", "out", 1.0, "", 1, "b", 0, False]], [["carts", 3, 1, 1, 1, "b", "lww"]])


def test_a_member_confirms_what_it_has_stored() -> None:
    lone = a_node()
    assert lone.hear("b", ROWS) == [("b", DecidedReply(3))]
    lone.start()
    assert lone.node.membership.intents["e"].kind == "out"
    assert lone.node.membership.policies["carts"].conflict == "lww"
    assert lone.hear("b", ROWS) == [("b", DecidedReply(3))], "and again: the answer may have been lost"


def test_it_does_not_confirm_what_it_could_not_store_until_it_can() -> None:
    lone = a_node()
    lone.node.receive("b", ROWS)
    lone.disk.rollback()
    lone.node.turn_failed()
    assert of(DecidedReply, lone.flush()) == []
    lone.disk.fail_commits = True
    lone.node.receive("b", ROWS)
    assert lone.disk.notes == ["membership"], "what it knows since then is not on its disk"
    lone.disk.fail_commits = False
    assert of(DecidedReply, lone.flush()) == [("b", DecidedReply(3))]
    assert lone.start().membership.intents["e"].kind == "out"


def test_a_later_word_on_the_same_is_confirmed_and_what_is_refused_is_not() -> None:
    lone = a_node()
    lone.hear("c", GossipDelta([], [], [], [["carts", 3, 2, 2, 9, "c", "siblings"]], [["e", "in", 1.0, "", 9, "c", 0, False]]))
    assert lone.hear("b", ROWS) == [("b", DecidedReply(3))]
    assert lone.node.membership.intents["e"].version == 9
    refused = Decided(4, [], [["carts", 3, 99, 1, 10, "b", "lww"]])
    assert lone.hear("b", refused) == []
    assert of(Refused, lone.hear("b", Decided(5, [["e", "no kind", 1.0, "", 1, "b", 0, False]], []))) == []
    assert lone.node.runtime.counters["messages_refused"] == 1


def test_one_that_is_gone_is_answered_nothing() -> None:
    lone = a_node()
    lone.hear("c", GossipDelta([], [], [], [], [["b", "gone", 1.0, "", 1, "c", 0, True]]))
    assert lone.hear("b", ROWS) == []
    assert "e" not in lone.node.membership.intents
