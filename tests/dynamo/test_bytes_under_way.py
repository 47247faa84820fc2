"""Promise 7: what a node has under way is bounded in bytes, and who comes too late is told so at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lone_node import CLIENT, LoneNode, a_get, a_put, of

from dynazmq.dynamo.coordinator.operations import Operations
from dynazmq.dynamo.messages import OVERLOADED, Failure, GetReply, PutReply, Read, ReadReply, Write, WriteReply
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import EMPTY, encode, put

MIB = 1 << 20
BUDGET = 8 * MIB
LARGE = bytes(MIB)


def large(key: bytes, lone: LoneNode) -> bytes:
    """A state of a megabyte, which this node has on its disk."""
    state = encode(put(EMPTY, EMPTY.context, "x~epoch", LARGE, b"w" * 16, 1)[0])
    lone.node.receive(lone.peers(key)[0], Write(0, "default", key, state, "", 1000))
    lone.flush()
    return state


def test_many_gets_of_large_values_in_one_turn_are_begun_up_to_the_budget_and_the_rest_refused_at_once() -> None:
    lone = LoneNode(max_bytes_in_flight=BUDGET)
    key = lone.key(0)
    state = large(key, lone)
    for i in range(100):
        lone.node.receive(CLIENT, a_get(key, request_id=i))
    said = lone.flush()
    refused = of(Failure, said)
    assert {failure.code for _, failure in refused} == {OVERLOADED}
    assert all(failure.retry_after_ms for _, failure in refused)
    begun = of(Read, said)
    assert len(begun) + len(refused) == 100
    assert len(begun) * len(state) <= BUDGET + len(state)

    said = []
    for peer, read in begun:
        said += lone.hear(peer, ReadReply(read.request_id, state))
    assert len(of(GetReply, said)) == len(begun)
    assert lone.node.gets._ops.bytes == 0
    assert of(Failure, lone.hear(CLIENT, a_get(key))) == [], "there is room again"


def test_gets_that_one_copy_answers_are_bounded_by_what_is_to_leave_in_this_turn() -> None:
    lone = LoneNode(max_bytes_in_flight=BUDGET)
    key = lone.key(0)
    large(key, lone)
    for i in range(100):
        lone.node.receive(CLIENT, a_get(key, request_id=i, r=1))
    said = lone.flush()
    answered = of(GetReply, said)
    assert sum(len(reply.values[0]) for _, reply in answered) <= BUDGET + MIB
    assert len(answered) + len(of(Failure, said)) == 100
    assert of(GetReply, lone.hear(CLIENT, a_get(key, r=1))), "the next turn has its own"


def test_puts_of_large_values_are_begun_up_to_the_budget_and_nothing_of_the_others_is_stored() -> None:
    lone = LoneNode(max_bytes_in_flight=BUDGET)
    keys = [key for i in range(1000) if lone.walk(key := b"key %d" % i)[0] == lone.name][:30]
    for i, key in enumerate(keys):
        lone.node.receive(CLIENT, a_put(key, LARGE, request_id=i, write_id=b"%016d" % i))
    said = lone.flush()
    refused = {failure.request_id for _, failure in of(Failure, said)}
    assert {failure.code for _, failure in of(Failure, said)} == {OVERLOADED}
    assert len(keys) - len(refused) == BUDGET // MIB - 1, "each has some bytes beside its value"
    for i, key in enumerate(keys):
        assert (lone.disk.committed().get((place("default", key), "default", key)) is None) == (i in refused)

    said = [each for peer, write in of(Write, said) for each in lone.hear(peer, WriteReply([write.request_id]))]
    assert len(of(PutReply, said)) == len(keys) - len(refused)
    assert lone.node.puts._ops.bytes == 0


def test_a_value_that_is_larger_than_the_budget_is_stored_where_nothing_else_is_under_way() -> None:
    lone = LoneNode(max_bytes_in_flight=MIB // 2)
    key = lone.key(0)
    assert of(Write, lone.hear(CLIENT, a_put(key, LARGE)))


class An:
    """An operation."""

    def __init__(self) -> None:
        self.held = 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100), st.booleans())))
def test_the_bytes_are_those_of_the_operations_that_are_in(steps: list[tuple[int, int, bool]]) -> None:
    operations: Operations[An] = Operations()
    for request_id, size, drop in steps:
        if drop:
            operations.drop(request_id)
            continue
        op = operations.setdefault(request_id, An())
        operations.hold(op, size)
        assert operations.bytes == sum(each.held for each in operations.values())
    for request_id in range(6):
        operations.drop(request_id)
    assert (len(operations), operations.bytes) == (0, 0)
