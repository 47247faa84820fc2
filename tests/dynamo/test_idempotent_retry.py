"""§4.5: a retried put asks what became of its first try (docs/decisions/0014)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lone_node import CLIENT, LoneNode, a_get, a_put, of

from dynazmq.dynamo.coordinator import idempotent_retry
from dynazmq.dynamo.messages import (
    OVERLOADED,
    TIMEOUT,
    Failure,
    GetReply,
    Message,
    PutReply,
    Recall,
    RecallReply,
    Refused,
    Write,
    WriteReply,
)
from dynazmq.dynamo.runtime import Address
from dynazmq.dynamo.values.versions import EMPTY, encode, open_context, put


def retried(**fields: int) -> tuple[LoneNode, bytes, list[str], dict[str, Recall]]:
    """A retry has just come to the key's first primary, and nobody was away: the questions that it asks, by peer."""
    lone = LoneNode()
    lone.pass_time(4.0)
    key = lone.key(0)
    said = lone.hear(CLIENT, a_put(key, age_ms=400, **fields))
    assert of(Write, said) == []
    return lone, key, lone.peers(key), asked(said)


def asked(said: list[tuple[Address, Message]]) -> dict[str, Recall]:
    return {str(to): question for to, question in of(Recall, said)}


def never(question: Recall, sure: bool = True) -> RecallReply:
    return RecallReply(question.request_id, sure, "", 0, b"")


def test_when_all_are_certain_that_it_was_never_there_it_is_written() -> None:
    lone, _, (second, third, *_), recalls = retried()
    assert sorted(recalls) == sorted([second, third])
    assert lone.hear(second, never(recalls[second])) == [], "the last one may know it"
    assert len(of(Write, lone.hear(third, never(recalls[third])))) == 2


def test_one_that_knows_it_settles_it_and_only_its_copies_are_completed() -> None:
    lone, key, (second, third, *_), recalls = retried()
    state, _, _ = put(EMPTY, EMPTY.context, "b~epoch", b"v", b"w" * 16, 1)
    writes = of(Write, lone.hear(second, RecallReply(recalls[second].request_id, True, "b~epoch", 1, encode(state))))
    known = state.with_retried(b"w" * 16)
    assert {write.state for _, write in writes} == {encode(known)}, "and say that it was retried: there may be a third try"
    assert lone.stored(key) == known
    ((_, reply),) = of(PutReply, lone.hear(third, WriteReply([writes[0][1].request_id])))
    assert sorted(reply.acked) == sorted(["a", third])


def test_one_that_knows_what_overwrote_it_does_not_bring_it_back() -> None:
    lone, key, (second, _, *_), recalls = retried()
    first, _, _ = put(EMPTY, EMPTY.context, "b~epoch", b"v", b"w" * 16, 1)
    after, _, _ = put(first, first.context, "b~epoch", b"new", b"n" * 16, 1)
    lone.hear(second, RecallReply(recalls[second].request_id, True, "b~epoch", 1, encode(after)))
    assert lone.stored(key).values == [b"new"]


def remembers(question: Recall) -> RecallReply:
    """Of one that had what overwrote it in a hint, which was delivered since."""
    return RecallReply(question.request_id, True, "b~epoch", 1, b"")


def test_one_that_only_remembers_that_it_was_overwritten_does_not_settle_it_without_what_overwrote_it() -> None:
    lone, key, (second, third, *_), recalls = retried()
    first, _, _ = put(EMPTY, EMPTY.context, "b~epoch", b"v", b"w" * 16, 1)
    after, _, _ = put(first, first.context, "b~epoch", b"new", b"n" * 16, 1)
    assert lone.hear(second, remembers(recalls[second])) == []
    # The first try comes here meanwhile. Nothing that this node has seen covers it.
    lone.hear(third, Write(7, "default", key, encode(first.with_retried(b"w" * 16)), "", 1000))
    assert of(Write, lone.pass_time(0.2)) == []
    assert lone.stored(key).values == [b"v"]
    lone.hear(third, RecallReply(recalls[third].request_id, True, "b~epoch", 1, encode(after)))
    assert lone.stored(key) == after.with_retried(b"w" * 16)


def test_what_nobody_accounts_for_who_answers_stays_unknown() -> None:
    lone, key, (second, third, *_), recalls = retried(w=2)
    lone.hear(second, remembers(recalls[second]))
    lone.hear(third, Refused(recalls[third].request_id, "I/O error"))
    ((to, failure),) = of(Failure, lone.pass_time(2.2))
    assert (to, failure.code) == (CLIENT, TIMEOUT)
    assert lone.stored(key) == EMPTY


def test_what_was_overwritten_and_forgotten_by_all_since_is_done() -> None:
    lone, key, (second, third, *_), recalls = retried()
    lone.hear(second, remembers(recalls[second]))
    writes = of(Write, lone.hear(third, never(recalls[third])))
    ((_, reply),) = of(PutReply, lone.hear(third, WriteReply([writes[0][1].request_id])))
    assert reply.acked
    assert lone.stored(key) == EMPTY.with_retried(b"w" * 16), "there may be a third try"


def test_one_that_is_silent_is_waited_for_a_little_when_enough_are_certain() -> None:
    lone, _, (second, *_), recalls = retried()
    lone.hear(second, never(recalls[second]))
    assert of(Write, lone.pass_time(0.09)) == []
    assert of(Write, lone.pass_time(0.03))


def test_one_that_refuses_is_not_waited_for() -> None:
    lone, _, (second, third, *_), recalls = retried()
    lone.hear(second, never(recalls[second]))
    assert of(Write, lone.hear(third, Refused(recalls[third].request_id, "I/O error")))


def test_too_few_that_are_certain_leave_the_outcome_unknown() -> None:
    lone, key, (second, third, *_), recalls = retried()
    lone.hear(second, never(recalls[second], sure=False))
    lone.hear(third, never(recalls[third], sure=False))
    ((to, failure),) = of(Failure, lone.pass_time(2.2))
    assert (to, failure.code) == (CLIENT, TIMEOUT)
    assert lone.stored(key) == EMPTY
    assert lone.node.in_flight == 0


def test_a_node_that_has_just_started_is_not_certain_itself() -> None:
    lone = LoneNode()
    key = lone.key(0)
    lone.start()
    lone.pass_time(0.3)
    second, third, *_ = lone.peers(key)
    recalls = asked(lone.hear(CLIENT, a_put(key, age_ms=5000)))
    lone.hear(second, never(recalls[second]))
    assert of(Write, lone.hear(third, never(recalls[third])) + lone.pass_time(0.2)), "two of three are enough"


def test_an_answer_that_comes_twice_counts_once() -> None:
    lone, _, (second, *_), recalls = retried(w=1)
    lone.hear(second, never(recalls[second]))
    lone.hear(second, never(recalls[second]))
    assert of(Write, lone.pass_time(0.5)) == [], "w=1: all three must be certain"


# --- who may have stood in for a primary where the first try was ------------------------------------------------------------


def with_one_away(rank: int = 2, after_s: float = 20.0, **config: int) -> tuple[LoneNode, bytes, list[str]]:
    """A primary of the key's, by its place among the peers, has been away for so long; the key's other nodes."""
    lone = LoneNode(**config)
    key = lone.key(0)
    others = lone.peers(key)
    lone.away.add(others.pop(rank - 1))
    lone.pass_time(after_s)
    return lone, key, others


def test_while_a_primary_is_away_all_are_asked_who_may_have_stood_in_for_it() -> None:
    lone, key, (second, fourth, fifth) = with_one_away()
    recalls = asked(lone.hear(CLIENT, a_put(key, age_ms=400)))
    assert sorted(recalls) == sorted([second, fourth, fifth])
    lone.hear(second, never(recalls[second]))
    assert lone.hear(fourth, never(recalls[fourth])) == [], "the last one may know it"
    state, _, _ = put(EMPTY, EMPTY.context, "e~epoch.0", b"v", b"w" * 16, 1)
    writes = of(Write, lone.hear(fifth, RecallReply(recalls[fifth].request_id, True, "e~epoch.0", 1, encode(state))))
    assert sorted(to for to, _ in writes) == sorted([second, fourth])
    assert lone.stored(key) == state.with_retried(b"w" * 16), "one write, under one dot"


def test_that_one_behind_the_first_n_never_had_it_is_no_ground_to_write_it_anew() -> None:
    lone, key, (second, fourth, fifth) = with_one_away()
    recalls = asked(lone.hear(CLIENT, a_put(key, age_ms=400, w=1)))
    lone.hear(second, never(recalls[second]))
    lone.hear(fifth, never(recalls[fifth]))
    assert of(Write, lone.pass_time(0.2)) == [], "w=1: all three of the first N must be certain"
    assert of(Write, lone.hear(fourth, never(recalls[fourth])))


def test_one_behind_the_first_n_that_is_silent_is_waited_for_a_little() -> None:
    lone, key, (second, fourth, _) = with_one_away()
    recalls = asked(lone.hear(CLIENT, a_put(key, age_ms=400)))
    lone.hear(second, never(recalls[second]))
    lone.hear(fourth, never(recalls[fourth]))
    assert of(Write, lone.pass_time(0.09)) == []
    assert of(Write, lone.pass_time(0.03))


@pytest.mark.parametrize(("age_ms", "asks"), [(2000, 4), (500, 4), (1, 2)])
def test_who_stood_in_for_one_that_is_back_is_asked_about_what_was_written_before_all_had_noticed(age_ms: int, asks: int) -> None:
    lone, key, _ = with_one_away()
    lone.away.clear()
    lone.pass_time(1.0 if asks == 4 else 4.0)
    assert len(asked(lone.hear(CLIENT, a_put(key, age_ms=age_ms)))) == asks


def test_of_those_who_may_have_stood_in_the_first_of_the_preference_list_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotent_retry, "_STAND_INS_MAX", 1)
    lone = LoneNode(members=("a", "b", "c", "d", "e", "f", "g"))
    key = lone.key(0)
    second, third, *others = lone.peers(key)
    lone.away.add(third)
    lone.pass_time(20.0)
    assert sorted(asked(lone.hear(CLIENT, a_put(key, age_ms=400)))) == sorted([second, *others[:2]])


def test_a_fallback_that_takes_the_place_of_another_asks_that_one() -> None:
    """Seed 602597: of a key with one primary, which is away, each fallback coordinates alone, and asked nobody."""
    lone = LoneNode(n=1, r=1, w=1)
    key = lone.key(2)
    first, second, *others = lone.peers(key)
    lone.away.add(first)
    lone.pass_time(20.0)
    recalls = asked(lone.hear(CLIENT, a_put(key, age_ms=400)))
    assert sorted(recalls) == sorted([second, *others])
    state, _, _ = put(EMPTY, EMPTY.context, f"{second}~epoch.0", b"v", b"w" * 16, 1)
    said = lone.hear(second, RecallReply(recalls[second].request_id, True, f"{second}~epoch.0", 1, encode(state)))
    assert of(PutReply, said)
    ((_, reply),) = of(GetReply, lone.hear(CLIENT, a_get(key)) + lone.pass_time(0.5))
    assert open_context(reply.context, "default", key, lone.config.secret).vector == state.context.vector


# --- how many must be certain ---------------------------------------------------------------------------------------------


def of_which_w_was(smaller: int, wanted: int = 0, in_force: int = 0) -> LoneNode:
    """A node that has just heard that the bucket's W shall be, or is, another than its cluster's."""
    lone = LoneNode(w=smaller, r=3)
    lone.pass_time(4.0)  # nobody has been away since
    membership = lone.node.membership
    if wanted:
        membership.learn_policy(["default", 3, 3, wanted, 1, "b"])
    if in_force:
        ring = membership.ring
        membership.learn_ring(replace(ring, version=ring.version + 1, quorums=(("default", 3, 3, in_force),)))
    assert membership.policy("default").w == max(wanted, in_force)
    return lone


def written_when_two_are_certain(lone: LoneNode, **fields: int) -> bool:
    """A retry comes, and the third replica has forgotten what it knew."""
    key = lone.key(0)
    second, third, *_ = lone.peers(key)
    recalls = asked(lone.hear(CLIENT, a_put(key, **fields)))
    lone.hear(second, never(recalls[second]))
    return bool(of(Write, lone.hear(third, never(recalls[third], sure=False))))


@pytest.mark.parametrize("change", [{"wanted": 2}, {"wanted": 2, "in_force": 2}], ids=["wanted", "in force"])
def test_after_w_was_raised_the_smaller_w_says_how_many_must_be_certain(change: dict[str, int]) -> None:
    """The one that has forgotten may be all that had acknowledged the first try: by W=1, which was in force then."""
    assert not written_when_two_are_certain(of_which_w_was(1, **change), age_ms=400)


def test_where_w_was_raised_before_the_first_try_the_larger_one_says_it() -> None:
    lone = of_which_w_was(1, wanted=2, in_force=2)
    lone.pass_time(1.0)
    assert written_when_two_are_certain(lone, age_ms=400)


def restarted(lone: LoneNode, after_s: float = 0.3) -> LoneNode:
    """The coordinator of the retry, in another life than when W was raised: it has forgotten what it knew of the first try."""
    lone.turn()
    lone.now += after_s
    lone.start()
    lone.pass_time(0.3)
    return lone


def test_the_smaller_w_outlives_the_coordinator() -> None:
    """It may itself be all that had acknowledged the first try, which was read and overwritten there since."""
    lone = restarted(of_which_w_was(1, wanted=2, in_force=2))
    key = lone.key(0)
    recalls = asked(lone.hear(CLIENT, a_put(key, age_ms=900)))
    said = [message for peer in recalls for message in lone.hear(peer, never(recalls[peer]))]
    assert not of(Write, said), "the two others are not enough"


def test_it_does_so_twice_and_no_longer_than_a_retry_may_come() -> None:
    lone = restarted(restarted(of_which_w_was(1, wanted=2, in_force=2)))
    least = lone.node.membership.in_force.least
    assert least("default", lone.now - 1.0) == (3, 1)
    assert least("default", lone.now) == (3, 2)
    lone.wall_ms += 200_000
    assert restarted(lone).node.membership.in_force.least("default", lone.now - 1.0) == (3, 2)


def test_a_w_that_the_put_names_is_that_of_its_first_try() -> None:
    assert written_when_two_are_certain(of_which_w_was(1, wanted=2, in_force=2), age_ms=400, w=2)


def test_of_two_raises_the_smaller_w_counts_for_as_long_as_any_did() -> None:
    lone = of_which_w_was(1, wanted=2, in_force=2)
    lone.pass_time(1.0)
    membership = lone.node.membership
    membership.learn_policy(["default", 3, 3, 3, 2, "b"])
    assert membership.in_force.least("default", lone.now - 0.1) == (3, 2)
    ring = membership.ring
    membership.learn_ring(replace(ring, version=ring.version + 1, quorums=(("default", 3, 3, 3),)))
    lone.pass_time(0.1)
    assert membership.in_force.least("default", lone.now) == (3, 3)
    assert membership.in_force.least("default", lone.now - 0.5) == (3, 1)


def test_of_a_put_to_all_replicas_the_smaller_n_counts() -> None:
    """All were one when it was tried first."""
    lone = LoneNode()
    lone.pass_time(4.0)
    membership, ring = lone.node.membership, lone.node.membership.ring
    for version, n in ((1, 1), (2, 3)):
        membership.learn_policy(["default", n, n, 1, version, "b"])
        membership.learn_ring(replace(ring, version=ring.version + version, quorums=(("default", n, n, 1),)))
    assert not written_when_two_are_certain(lone, age_ms=400, w=-1)
    lone.pass_time(1.0)
    assert written_when_two_are_certain(lone, age_ms=400, w=-1)


def test_a_retry_that_comes_twice_is_written_once() -> None:
    lone, key, (second, third, *_), recalls = retried()
    again = asked(lone.hear(CLIENT, a_put(key, age_ms=500)))
    for question in (recalls, again):
        lone.hear(second, never(question[second]))
        lone.hear(third, never(question[third]))
    assert len(lone.stored(key).live) == 1


def test_questions_are_bounded_as_other_requests_are() -> None:
    lone = LoneNode(max_in_flight=3)
    key = lone.key(0)
    said = []
    for i in range(5):
        said += lone.hear(CLIENT, a_put(key, age_ms=400, write_id=b"%016d" % i))
    assert [failure.code for _, failure in of(Failure, said)] == [OVERLOADED] * 2
    assert lone.node.in_flight == 3
    lone.pass_time(2.5)
    assert lone.node.in_flight == 0
