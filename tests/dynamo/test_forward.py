"""§4.5: a node that is no primary passes a put on, and says no more of it than is known."""

from __future__ import annotations

import pytest
from lone_node import CLIENT, LoneNode, a_put, of

from dynazmq.dynamo.membership.change import LEFT
from dynazmq.dynamo.messages import (
    INVALID,
    NOT_YET,
    OVERLOADED,
    STORAGE,
    TIMEOUT,
    UNAVAILABLE,
    Failure,
    Put,
    PutReply,
    Recall,
    RecallReply,
    Write,
)
from dynazmq.dynamo.messages.fields import HOPS_MAX

REFUSALS = [NOT_YET, STORAGE, UNAVAILABLE]


def forwarding() -> tuple[LoneNode, bytes, list[str]]:
    """A node, a key of which it is none of the reachable primaries, and those."""
    lone = LoneNode()
    key = lone.key(3)
    return lone, key, lone.peers(key)[:3]


def refusal(message: Put, code: int) -> Failure:
    return Failure(message.request_id, code, 2, 1, 0, "no")


def test_a_put_goes_to_the_first_primary_and_its_answer_back_under_the_clients_request_id() -> None:
    lone, key, primaries = forwarding()
    ((to, passed_on),) = of(Put, lone.hear(CLIENT, a_put(key, request_id=77)))
    assert (to, passed_on.hops, passed_on.age_ms) == (primaries[0], 1, 0)
    assert passed_on.request_id != 77
    said = lone.hear(primaries[0], PutReply(passed_on.request_id, b"ctx", primaries[:2], []))
    assert said == [(CLIENT, PutReply(77, b"ctx", primaries[:2], []))]
    assert lone.node.in_flight == 0


@pytest.mark.parametrize("hops", range(1, HOPS_MAX))
def test_a_put_that_was_passed_on_by_who_goes_by_another_ring_goes_on_to_a_primary(hops: int) -> None:
    """Seed 662212: it was done here, by a copy in the place of the one primary, which could be reached, and was read next."""
    lone, key, primaries = forwarding()
    ((to, passed_on),) = of(Put, lone.hear("b", a_put(key, request_id=7, hops=hops)))
    assert (to, passed_on.hops, passed_on.age_ms) == (primaries[0], hops + 1, 0)
    reply = PutReply(passed_on.request_id, b"ctx", primaries[:2], [])
    assert lone.hear(primaries[0], reply) == [("b", PutReply(7, b"ctx", primaries[:2], []))]


def test_a_put_that_comes_back_from_who_goes_by_another_ring_is_done_and_answered() -> None:
    """Each of two takes the other for the primary. Were it taken for a frame that came twice, nobody would ever do it."""
    lone, key, primaries = forwarding()
    ((first, out),) = of(Put, lone.hear(CLIENT, a_put(key, request_id=77)))
    ((to, again),) = of(Put, lone.hear(first, a_put(key, request_id=8, hops=2)))
    assert (to, again.hops) == (primaries[0], HOPS_MAX)
    reply = PutReply(again.request_id, b"ctx", primaries[:2], [])
    assert lone.hear(to, reply) == [(first, PutReply(8, b"ctx", primaries[:2], []))]
    said = lone.hear(first, PutReply(out.request_id, b"ctx", primaries[:2], []))
    assert said == [(CLIENT, PutReply(77, b"ctx", primaries[:2], []))]
    assert lone.node.in_flight == 0


def test_a_put_that_was_passed_on_for_the_last_time_is_done_where_it_is() -> None:
    lone, key, _ = forwarding()
    said = lone.hear("b", a_put(key, hops=HOPS_MAX))
    assert of(Put, said) == []
    assert len(of(Write, said)) == 2


@pytest.mark.parametrize("code", REFUSALS)
def test_a_primary_that_did_nothing_is_followed_by_the_next_and_that_is_no_retry(code: int) -> None:
    lone, key, primaries = forwarding()
    ((_, first),) = of(Put, lone.hear(CLIENT, a_put(key)))
    ((to, second),) = of(Put, lone.hear(primaries[0], refusal(first, code)))
    assert (to, second.age_ms) == (primaries[1], 0)


@pytest.mark.parametrize("code", [INVALID, OVERLOADED, TIMEOUT])
def test_what_another_primary_would_say_as_well_is_passed_on(code: int) -> None:
    lone, key, primaries = forwarding()
    ((_, first),) = of(Put, lone.hear(CLIENT, a_put(key, request_id=77)))
    ((to, failure),) = lone.hear(primaries[0], refusal(first, code))
    assert to == CLIENT
    assert isinstance(failure, Failure)
    assert (failure.request_id, failure.code) == (77, code)


def test_a_primary_that_is_silent_is_followed_by_the_next_as_a_retry_with_the_time_that_is_left() -> None:
    lone, key, primaries = forwarding()
    lone.hear(CLIENT, a_put(key))
    ((to, second),) = of(Put, lone.pass_time(0.35))
    assert to == primaries[1]
    assert second.age_ms >= 300
    assert second.budget_ms <= 1700


@pytest.mark.parametrize("code", [*REFUSALS, INVALID, OVERLOADED])
def test_after_a_silent_primary_no_refusal_of_another_is_passed_on_as_if_nothing_had_been_attempted(code: int) -> None:
    """Nor is what this node then says itself: the first may have done it."""
    lone, key, primaries = forwarding()
    lone.hear(CLIENT, a_put(key))
    ((_, second),) = of(Put, lone.pass_time(0.35))
    ((to, third),) = of(Put, lone.hear(primaries[1], refusal(second, code)))
    assert to == primaries[2]
    assert third.age_ms > 0
    said = lone.hear(primaries[2], refusal(third, code))
    said += lone.pass_time(3.0)
    failures = [failure for to, failure in of(Failure, said) if to == CLIENT]
    assert [failure.code for failure in failures] == [TIMEOUT]
    assert lone.node.in_flight == 0


def test_an_early_try_that_answers_late_is_an_answer() -> None:
    lone, key, primaries = forwarding()
    ((_, first),) = of(Put, lone.hear(CLIENT, a_put(key, request_id=77)))
    lone.pass_time(0.35)
    said = lone.hear(primaries[0], PutReply(first.request_id, b"ctx", primaries[:2], []))
    assert said == [(CLIENT, PutReply(77, b"ctx", primaries[:2], []))]
    assert lone.node.in_flight == 0


def test_an_early_try_that_was_refused_late_leaves_a_later_refusal_to_be_passed_on() -> None:
    lone, key, primaries = forwarding()
    ((_, first),) = of(Put, lone.hear(CLIENT, a_put(key)))
    ((_, second),) = of(Put, lone.pass_time(0.35))
    assert lone.hear(primaries[0], refusal(first, NOT_YET)) == []
    ((to, failure),) = of(Failure, lone.hear(primaries[1], refusal(second, OVERLOADED)))
    assert (to, failure.code) == (CLIENT, OVERLOADED)


def test_when_no_primary_takes_it_this_node_coordinates() -> None:
    lone, key, primaries = forwarding()
    ((_, passed_on),) = of(Put, lone.hear(CLIENT, a_put(key)))
    for _ in range(2):
        lone.node.undeliverable(primaries[0], [passed_on])
        ((_, passed_on),) = of(Put, lone.flush())
        primaries = primaries[1:]
    lone.node.undeliverable(primaries[0], [passed_on])
    said = lone.flush()
    assert of(Put, said) == []
    assert of(Recall, said) == [], "nothing has left: it is no retry"
    assert len(of(Write, said)) >= 1


def test_a_put_that_may_have_been_done_is_coordinated_here_as_a_retry_with_the_time_that_is_left() -> None:
    """It once ran with age 0 and the whole budget, and so without asking what became of the first try."""
    lone, key, primaries = forwarding()
    lone.hear(CLIENT, a_put(key))
    ((_, second),) = of(Put, lone.pass_time(0.35))
    lone.node.undeliverable(primaries[1], [second])
    ((_, third),) = of(Put, lone.flush())
    for node in (primaries[0], primaries[2]):  # nobody is reachable any more
        lone.node.failure.refused(node)
    lone.node.undeliverable(primaries[2], [third])
    said = lone.flush()
    assert of(Write, said) == []
    recalls = of(Recall, said)
    assert recalls
    assert all(recall.age_ms >= 300 and recall.budget_ms <= 1700 for _, recall in recalls)
    for to, recall in recalls:
        said += lone.hear(to, RecallReply(recall.request_id, True, "", 0, b""))
    assert of(Write, said)


def test_without_any_answer_the_client_is_told_at_its_deadline_that_the_outcome_is_unknown() -> None:
    lone, key, _ = forwarding()
    lone.hear(CLIENT, a_put(key))
    failures = of(Failure, lone.pass_time(2.2))
    assert [(to, failure.code) for to, failure in failures] == [(CLIENT, TIMEOUT)]
    assert lone.node.in_flight == 0


@pytest.mark.parametrize("away", [False, True], ids=["to be passed on", "to be done here"])
def test_n9_a_frame_that_comes_twice_is_heard_once_while_the_first_is_passed_on(away: bool) -> None:
    """Seeds 1189 and 403115: the second was done here and the first where it went, which did not know that there are two."""
    lone, key, primaries = forwarding()
    ((_, message),) = of(Put, lone.hear(CLIENT, a_put(key)))
    for primary in primaries if away else ():
        lone.node.failure.refused(primary)
    assert lone.hear(CLIENT, a_put(key)) == []
    assert len(of(PutReply, lone.hear(primaries[0], PutReply(message.request_id, b"", primaries[:2], [])))) == 1
    assert lone.hear(CLIENT, a_put(key, age_ms=300)), "a retry is none"


@pytest.mark.parametrize("how", ["the limit of what is passed on is reached", "nobody else takes it"])
def test_who_has_said_that_nothing_is_left_on_it_keeps_no_copy_of_a_put(how: str) -> None:
    """Seed 713560: a node that had left kept a hint, which nobody would ever have brought home."""
    lone, key, primaries = forwarding()
    if how == "nobody else takes it":
        ((_, message),) = of(Put, lone.hear(CLIENT, a_put(key)))
    lone.node.membership.decide([(lone.name, LEFT, 1.0, "")])
    if how == "nobody else takes it":
        said = lone.hear(primaries[0], refusal(message, STORAGE))
        while of(Put, said):
            ((to, message),) = of(Put, said)
            said = lone.hear(to, refusal(message, STORAGE))
    else:
        said = lone.hear(CLIENT, a_put(key, hops=HOPS_MAX))
    ((to, failure),) = of(Failure, said)
    assert (to, failure.code) == (CLIENT, NOT_YET)
    assert "has left" in failure.text
    assert lone.node.hints.pending == {}
