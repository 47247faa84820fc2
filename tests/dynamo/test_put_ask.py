"""§4.5: a retry of a large put asks first, without its value, whether its first try is known (docs/decisions/0014)."""

from __future__ import annotations

from typing import Any

from lone_node import CLIENT, LoneNode, a_put, of

from dynazmq.dynamo.messages import (
    INVALID,
    NOT_YET,
    OVERLOADED,
    TIMEOUT,
    UNAVAILABLE,
    Failure,
    Put,
    PutAsk,
    PutReply,
    PutTell,
    Recall,
    RecallReply,
    Write,
    WriteReply,
)
from dynazmq.dynamo.values.versions import EMPTY, encode, put

ID = b"w" * 16  # of `a_put`


def an_ask(key: bytes, **fields: Any) -> PutAsk:
    message = PutAsk(1, "default", key, b"", ID, 400, 0, 0, 0, 2000)
    for name, field in fields.items():
        setattr(message, name, field)
    return message


def codes(said: list[Any]) -> list[int]:
    return [failure.code for to, failure in of(Failure, said) if to == CLIENT]


def told(said: list[Any]) -> list[bool]:
    """Whether the client was told that the write is known."""
    return [tell.known for to, tell in of(PutTell, said) if to == CLIENT]


def asked(lone: LoneNode, key: bytes, **fields: Any) -> dict[str, Recall]:
    """A question has just come: what its node asks the other replicas."""
    said = lone.hear(CLIENT, an_ask(key, **fields))
    assert of(Write, said) == []
    return {str(to): recall for to, recall in of(Recall, said)}


def never(recall: Recall) -> RecallReply:
    return RecallReply(recall.request_id, True, "", 0, b"")


def test_a_replica_that_has_the_write_completes_it_and_answers_as_to_the_put() -> None:
    lone = LoneNode()
    key = lone.key(0)
    first, second, *_ = lone.peers(key)
    state, _, _ = put(EMPTY, EMPTY.context, f"{first}~epoch", b"v", ID, 1)
    lone.hear(first, Write(7, "default", key, encode(state), "", 2000))

    said = lone.hear(CLIENT, an_ask(key))
    writes = of(Write, said)
    assert [to for to, _ in writes] == [first, second]
    assert told(said) == [True]
    assert of(PutReply, said) == [], "one durable copy is known of, and W is 2"

    ((to, reply),) = of(PutReply, lone.hear(second, WriteReply([writes[1][1].request_id])))
    assert (to, sorted(reply.acked)) == (CLIENT, sorted(["a", second]))
    assert lone.stored(key).values == [b"v"]
    assert ID in lone.stored(key).context.retried, "as after any retry: more of its tries may be about"
    assert lone.node.runtime.counters["values_not_resent"] == 1


def test_the_coordinator_of_the_first_try_finishes_it_for_the_question() -> None:
    lone = LoneNode()
    key = lone.key(0)
    first, *_ = lone.peers(key)
    lone.hear(CLIENT, a_put(key))
    writes = of(Write, lone.hear(CLIENT, an_ask(key, request_id=2)))

    replies = of(PutReply, lone.hear(first, WriteReply([dict(writes)[first].request_id])))

    assert [reply.request_id for _, reply in replies] == [2]
    assert len(lone.stored(key).live) == 1


def test_one_who_hears_of_it_from_another_replica_completes_it() -> None:
    lone = LoneNode()
    key = lone.key(0)
    first, second, *_ = lone.peers(key)
    recalls = asked(lone, key)
    state, _, _ = put(EMPTY, EMPTY.context, f"{first}~epoch", b"v", ID, 1)

    writes = of(Write, lone.hear(first, RecallReply(recalls[first].request_id, True, f"{first}~epoch", 1, encode(state))))

    assert lone.stored(key).values == [b"v"]
    assert of(PutReply, lone.hear(second, WriteReply([dict(writes)[second].request_id])))


def test_when_nobody_knows_it_the_value_is_asked_for_and_nothing_is_written() -> None:
    lone = LoneNode()
    lone.pass_time(4.0)  # nobody has been away for long
    key = lone.key(0)
    first, second, *_ = lone.peers(key)
    recalls = asked(lone, key)
    assert lone.hear(first, never(recalls[first])) == []

    said = lone.hear(second, never(recalls[second]))

    assert (told(said), codes(said), of(Write, said)) == ([False], [], [])
    assert lone.stored(key) == EMPTY, "a question without a value is no delete"
    assert lone.node.in_flight == 0


def test_who_is_silent_is_waited_for_only_a_moment() -> None:
    lone = LoneNode()
    key = lone.key(0)
    asked(lone, key)

    assert told(lone.pass_time(0.04)) == [False]
    assert lone.pass_time(3.0) == []


def test_the_value_that_follows_is_written_as_that_of_any_retry() -> None:
    lone = LoneNode()
    key = lone.key(0)
    first, second, *_ = lone.peers(key)
    recalls = asked(lone, key)
    lone.hear(first, never(recalls[first]))
    lone.hear(second, never(recalls[second]))

    said = lone.hear(CLIENT, a_put(key, age_ms=410))
    for to, recall in of(Recall, said):
        said = lone.hear(to, never(recall))

    assert len(of(Write, said)) == 2
    assert lone.stored(key).values == [b"v"]


def test_a_node_that_is_no_primary_asks_for_the_value_at_once() -> None:
    lone = LoneNode()
    said = lone.hear(CLIENT, an_ask(lone.key(3)))
    assert (told(said), of(Put, said), of(Recall, said)) == ([False], [], [])


def test_a_question_is_refused_as_the_put_would_be() -> None:
    lone = LoneNode(max_in_flight=0)
    assert codes(lone.hear(CLIENT, an_ask(lone.key(0)))) == [OVERLOADED]

    lone = LoneNode()
    key = lone.key(0)
    assert codes(lone.hear(CLIENT, an_ask(key, w=9))) == [INVALID]
    assert codes(lone.hear(CLIENT, an_ask(key, context=b"forged"))) == [INVALID]
    assert lone.hear(CLIENT, an_ask(key, budget_ms=0)) == []
    lone.away.update(lone.peers(key))
    lone.pass_time(5.0)
    assert codes(lone.hear(CLIENT, an_ask(key))) == [UNAVAILABLE]
    lone.node.stop()
    assert codes(lone.hear(CLIENT, an_ask(key))) == [NOT_YET]


def test_a_first_try_that_is_found_and_does_not_reach_w_copies_ends_as_unknown() -> None:
    lone = LoneNode()
    key = lone.key(0)
    lone.hear(CLIENT, a_put(key, budget_ms=10))
    lone.pass_time(0.1)
    lone.hear(CLIENT, an_ask(key, w=3, budget_ms=500))
    assert codes(lone.pass_time(1.0)) == [TIMEOUT]
    assert lone.node.runtime.counters["puts_ok"] == 0


def test_what_was_read_and_could_not_be_stored_is_not_vouched_for() -> None:
    lone = LoneNode()
    key = lone.key(0)
    lone.node.receive(CLIENT, a_put(key))
    lone.node.receive(CLIENT, an_ask(key, request_id=2))
    lone.disk.fail_commits = True
    lone.disk.rollback()
    lone.node.turn_failed()
    lone.disk.fail_commits = False

    assert of(PutReply, lone.flush()) == []
    assert lone.stored(key) == EMPTY
    assert lone.node.in_flight == 0
