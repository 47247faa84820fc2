"""The client without its sockets: whom it asks, for how long, whom next, and what it says when nobody has done it."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from client_bench import Bench, link_of

from dynazmq.client.core.core import ATTEMPT_S
from dynazmq.client.core.requests import Request
from dynazmq.dynamo.messages import (
    INVALID,
    NOT_YET,
    OVERLOADED,
    STORAGE,
    TIMEOUT,
    UNAVAILABLE,
    Failure,
    GetReply,
    PutReply,
)
from dynazmq.errors import (
    ClientClosed,
    ProtocolError,
    WriteTimeout,
)

LATER = (STORAGE, NOT_YET)
"""Refusals after which another node may do it; none of them has attempted anything."""


# --- a node without room --------------------------------------------------------------------------------------------------


def test_a_node_that_has_no_room_for_a_connection_is_left_for_the_next_one_and_nothing_was_attempted_there() -> None:
    bench = Bench()
    request = bench.put("k")
    first, _ = bench.only_sent()

    bench.core.receive(first, [Failure(0, OVERLOADED, 0, 0, 1_000, "n1 has as many connections as it can have")], bench.now)

    second, again = bench.only_sent()
    assert second == bench.preference(request)[1]
    assert (again.age_ms, request.sent, request.maybe) == (0, 1, False)


# --- whom first -----------------------------------------------------------------------------------------------------------


def test_a_put_goes_to_the_first_primary_of_its_key() -> None:
    bench = Bench()

    for key in "abcdefghij":
        request = bench.put(key)
        assert bench.only_sent()[0] == bench.preference(request)[0]


def test_gets_of_one_key_are_spread_evenly_over_its_primaries_in_the_course_of_time() -> None:
    bench = Bench()
    asked = []
    for _ in range(30):
        request = bench.get()
        asked.append(bench.only_sent()[0])
        bench.now += 0.06

    assert {link: asked.count(link) for link in set(asked)} == dict.fromkeys(bench.preference(request)[:3], 10)


def test_gets_of_one_moment_go_to_one_position_of_the_preference_lists() -> None:
    bench = Bench()
    positions = set()
    for key in "abcdefghij":
        request = bench.get(key)
        positions.add(bench.preference(request).index(bench.only_sent()[0]))

    assert positions in ({0}, {1}, {2}), "so that they share frames between the nodes"


def test_a_primary_that_the_nodes_call_down_is_asked_last() -> None:
    bench = Bench()
    down = bench.preference(bench.put())[0]
    bench.sent()
    bench.learn(away=(down.removeprefix("ipc://"),))

    put = bench.put()
    assert bench.only_sent()[0] == bench.preference(put)[1]
    for _ in range(20):
        bench.get()
    assert down not in {link for link, _ in bench.sent()}


def test_what_starts_together_for_one_node_leaves_together() -> None:
    bench = Bench(nodes=1)
    requests = [bench.put(f"k{i}") for i in range(10)]

    assert [message.request_id for message in bench.core.drain()[link_of("n1")]] == [r.message.request_id for r in requests]


# --- the next one ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", LATER)
def test_a_refusal_goes_to_the_next_coordinator_at_once_as_a_first_try(code: int) -> None:
    bench = Bench()
    request = bench.put()
    preference = bench.preference(request)
    bench.sent()

    for i in range(4):
        bench.refuse(preference[i], request, code)
        link, message = bench.only_sent()
        assert (link, message.age_ms) == (preference[i + 1], 0)


def test_what_could_not_be_sent_goes_to_the_next_one_at_once_and_that_node_is_avoided_for_a_moment() -> None:
    bench = Bench()
    request = bench.put()
    first, second, *_ = bench.preference(request)
    bench.sent()

    bench.lose(first, request)

    link, message = bench.only_sent()
    assert (link, message.age_ms) == (second, 0)
    bench.put()
    assert bench.only_sent()[0] == second
    bench.wait(0.11)
    bench.put()
    assert first in {link for link, _ in bench.sent()}


def test_a_node_that_stops_or_starts_is_left_alone_for_a_second() -> None:
    bench = Bench()
    request = bench.put()
    first, second, *_ = bench.preference(request)
    bench.sent()

    bench.refuse(first, request, NOT_YET)
    bench.put()

    assert [link for link, _ in bench.sent()] == [second, second]
    bench.wait(1.1)
    bench.put()
    assert first in {link for link, _ in bench.sent()}


def test_c24_a_node_of_another_version_is_passed_over_for_those_that_understand() -> None:
    bench = Bench()
    request = bench.get()
    (first, _), *_ = bench.sent()

    bench.core.of_another_version(first, "speaks protocol 3, this client 2", bench.now)

    second, _ = bench.only_sent()
    assert second != first
    bench.answer(second, request)
    assert request.error is None


def test_c24_when_all_nodes_speak_another_version_that_is_the_error_at_once() -> None:
    bench = Bench(nodes=3)
    request = bench.get()
    for _ in range(3):
        link, _ = bench.only_sent()
        bench.core.of_another_version(link, "speaks protocol 3, this client 2", bench.now)
    assert isinstance(request.error, ProtocolError)
    assert "n3 speaks protocol 3, this client 2" in str(request.error)
    assert "nothing was attempted" in str(request.error)


def test_c24_a_put_that_a_node_may_have_taken_before_it_was_replaced_has_an_unknown_outcome() -> None:
    bench = Bench(nodes=3)
    request = bench.put()
    for link in bench.preference(request):
        bench.core.receive(link, [], bench.now)  # it has spoken our version once
        bench.core.of_another_version(link, "speaks protocol 3, this client 2", bench.now)
    assert isinstance(request.error, WriteTimeout)
    assert "speaks protocol 3" in str(request.error)


def test_c24_a_node_that_is_understood_again_is_asked_again() -> None:
    bench = Bench(nodes=1)
    bench.core.of_another_version(link_of("n1"), "speaks protocol 3, this client 2", bench.now)
    bench.learn()
    request = bench.put()
    link, _ = bench.only_sent()
    bench.answer(link, request)
    assert request.error is None


def test_silence_goes_to_the_next_one_with_the_same_write_id_and_the_age_of_the_first_try() -> None:
    bench = Bench()
    request = bench.put()
    first, second, third, *_ = bench.preference(request)
    link, tried = bench.only_sent()
    assert (link, tried.age_ms) == (first, 0)

    bench.wait(ATTEMPT_S - 0.001)
    assert bench.sent() == []
    bench.wait(0.002)
    link, retried = bench.only_sent()
    assert (link, retried.write_id, retried.request_id) == (second, tried.write_id, tried.request_id)
    assert 300 <= retried.age_ms <= 302
    bench.wait(ATTEMPT_S)
    link, again = bench.only_sent()
    assert link == third
    assert 600 <= again.age_ms <= 602


def test_after_a_round_of_silence_the_next_is_asked_with_more_patience() -> None:
    """Nodes that are slow and not dead would be kept so by ever more attempts."""
    bench = Bench(nodes=3)
    bench.put(timeout=30.0)
    times = []
    while not bench.ended:
        times += [bench.now for _ in bench.sent()]
        due = bench.core.next_deadline()
        assert due is not None
        bench.wait(due - bench.now)

    attempts = [later - earlier for earlier, later in pairwise(times)]
    for number, seconds in enumerate(attempts):
        expected = ATTEMPT_S * 2 ** min(number // 3, 5)
        assert expected - 1e-6 <= seconds <= expected + (1.0 if number % 3 == 2 else 1e-6)
    assert len(times) < 20


def test_the_age_counts_from_the_start_even_if_the_first_nodes_only_refused() -> None:
    bench = Bench()
    request = bench.put()
    preference = bench.preference(request)
    bench.sent()
    bench.wait(0.1)
    bench.refuse(preference[0], request, STORAGE)
    assert bench.only_sent()[1].age_ms == 0
    bench.wait(ATTEMPT_S)

    link, message = bench.only_sent()
    assert link == preference[2]
    assert message.age_ms >= 400


def test_a_coordinator_that_ran_out_of_time_may_have_done_it() -> None:
    bench = Bench()
    request = bench.put()
    first, second, *_ = bench.preference(request)
    bench.sent()

    bench.refuse(first, request, TIMEOUT, 2, 1)

    link, message = bench.only_sent()
    assert link == second
    assert message.age_ms == 1


def test_a_node_that_answers_others_is_busy_and_waited_for_up_to_a_second() -> None:
    bench = Bench()
    slow = bench.put("slow")
    link, _ = bench.only_sent()
    for number in range(9):
        bench.wait(0.1)
        bench.core.receive(link, [GetReply(900_000 + number, [], [], b"", [])], bench.now)  # to some other request
        assert bench.sent() == []
    bench.wait(0.15)
    next_link, retried = bench.only_sent()
    assert next_link != link
    assert 1000 <= retried.age_ms <= 1002
    assert bench.core.standing(link)
    bench.answer(next_link, slow)
    assert bench.ended == [slow]


def test_a_node_that_falls_silent_is_given_up_300_ms_after_its_last_word() -> None:
    bench = Bench()
    bench.put("slow")
    link, _ = bench.only_sent()
    bench.wait(0.1)
    bench.core.receive(link, [GetReply(900_000, [], [], b"", [])], bench.now)
    bench.wait(0.29)
    assert bench.sent() == []
    bench.wait(0.02)
    assert bench.only_sent()[0] != link
    assert not bench.core.standing(link)


def test_a_silent_node_is_avoided_for_a_second_and_then_asked_again() -> None:
    bench = Bench()
    request = bench.put()
    first, second, *_ = bench.preference(request)
    assert bench.only_sent()[0] == first
    bench.wait(ATTEMPT_S + 0.001)
    bench.answer(second, request)
    bench.sent()

    bench.wait(0.9)
    bench.put()
    assert bench.only_sent()[0] != first
    bench.wait(0.15)
    bench.put()
    assert bench.only_sent()[0] == first


def test_a_caller_in_a_hurry_does_not_make_others_avoid_a_node() -> None:
    bench = Bench()
    first = bench.preference(bench.put(timeout=0.05))[0]
    bench.wait(0.06)
    bench.sent()

    bench.put()

    assert bench.only_sent()[0] == first
    assert isinstance(bench.ended[0].error, WriteTimeout)


def test_the_pause_comes_only_after_all_were_tried_and_stays_within_its_bounds() -> None:
    for seed in range(20):
        bench = Bench(nodes=3, seed=seed)
        request = bench.put(timeout=60.0)
        pauses = []
        for _ in range(12):
            asked = []
            while sent := bench.sent():
                asked += [link for link, _ in sent]
                bench.refuse(asked[-1], request, STORAGE)
            assert sorted(asked) == sorted(bench.preference(request))
            due = bench.core.next_deadline()
            assert due is not None
            pauses.append(due - bench.now)
            bench.wait(due - bench.now)
        for number, pause in enumerate(pauses):
            assert 0 <= pause <= min(1.0, 0.010 * 2**number) + 1e-9
        assert max(pauses) > 0.25  # it does grow


# --- what comes back ------------------------------------------------------------------------------------------------------


def test_a_late_answer_of_an_earlier_attempt_is_the_answer() -> None:
    bench = Bench()
    request = bench.get()
    first, second, *_ = bench.preference(request)
    bench.wait(ATTEMPT_S + 0.01)
    bench.sent()

    bench.answer(first, request)
    bench.answer(second, request)

    assert bench.ended == [request]
    assert isinstance(request.reply, GetReply)


def test_of_a_put_that_was_tried_again_the_answer_to_the_later_try_is_preferred_whose_context_covers_both() -> None:
    """Seed 5023: what was written next by the first one's context left the second one's value as a sibling."""
    bench = Bench()
    request = bench.put()
    first, second, *_ = bench.preference(request)
    bench.wait(ATTEMPT_S + 0.01)
    bench.sent()

    bench.answer(first, request)
    assert bench.ended == []
    early = request.early
    bench.answer(second, request)

    assert bench.ended == [request]
    assert isinstance(request.reply, PutReply)
    assert request.reply is not early


@pytest.mark.parametrize("then", ["silence", "refusal", "loss", "deadline"])
def test_if_no_later_try_is_answered_the_first_one_is_the_answer(then: str) -> None:
    bench = Bench()
    request = bench.put(timeout=0.5 if then == "deadline" else 2.0)
    first, second, *_ = bench.preference(request)
    bench.wait(ATTEMPT_S + 0.01)
    bench.sent()

    bench.answer(first, request)
    if then == "refusal":
        bench.refuse(second, request, STORAGE)
    elif then == "loss":
        bench.lose(second, request)
    else:
        bench.wait(ATTEMPT_S + 0.01)

    assert bench.ended == [request]
    assert request.error is None
    assert isinstance(request.reply, PutReply)
    assert bench.sent() == [], "nobody is asked again for what is done"


def test_a_late_failure_of_an_earlier_attempt_is_nothing() -> None:
    bench = Bench()
    request = bench.put()
    first, second, *_ = bench.preference(request)
    bench.wait(ATTEMPT_S + 0.01)
    bench.sent()

    for code in (UNAVAILABLE, UNAVAILABLE, INVALID, OVERLOADED):
        bench.refuse(first, request, code)

    assert bench.ended == []
    assert bench.sent() == []
    bench.answer(second, request)
    assert bench.ended == [request]


def test_an_answer_that_comes_twice_ends_a_request_once() -> None:
    bench = Bench()
    request = bench.get()
    link, _ = bench.only_sent()

    bench.answer(link, request)
    bench.answer(link, request)

    assert bench.ended == [request]


def test_a_reply_of_the_wrong_kind_is_no_answer() -> None:
    bench = Bench()
    bench.get()
    link, message = bench.only_sent()

    bench.core.receive(link, [PutReply(message.request_id, b"", [], []), message], bench.now)

    assert bench.ended == []


# --- time -----------------------------------------------------------------------------------------------------------------


def test_the_budget_falls_with_the_time_that_is_left() -> None:
    bench = Bench()
    bench.put(timeout=1.0)
    budgets = []
    for _ in range(4):
        budgets += [message.budget_ms for _, message in bench.sent()]
        bench.wait(ATTEMPT_S)

    assert budgets == pytest.approx([1000, 700, 400, 100], abs=2)


def test_the_deadline_ends_a_request_in_the_middle_of_a_pause() -> None:
    bench = Bench(nodes=1)
    request = bench.put(timeout=0.1)
    while not bench.ended:
        for link, _ in bench.sent():
            bench.refuse(link, request, STORAGE)
        due = bench.core.next_deadline()
        assert due is not None
        assert due <= request.deadline
        bench.wait(due - bench.now)

    assert bench.now <= request.deadline


def test_thousands_of_requests_with_no_time_at_all_end_one_after_the_other() -> None:
    bench = Bench()
    left = 5000

    def next_one(request: Request) -> None:
        nonlocal left
        left -= 1
        if left:
            again = bench.put(timeout=1e-4)
            again.notify = next_one

    bench.put(timeout=1e-4).notify = next_one
    bench.wait(10.0)

    assert left == 0


def test_nothing_under_way_needs_no_attention() -> None:
    bench = Bench()
    assert bench.core.next_deadline() is None
    request = bench.put()
    assert bench.core.next_deadline() == pytest.approx(bench.now + ATTEMPT_S)
    bench.answer(bench.only_sent()[0], request)
    assert bench.core.next_deadline() is None


def test_nothing_is_kept_of_requests_that_have_ended() -> None:
    bench = Bench()
    random = Random(4)
    for number in range(3000):
        timeout = random.choice([0.01, 0.2, 0.5, 60.0])
        request = bench.put(f"k{number}", timeout) if number % 2 else bench.get(f"k{number}", timeout)
        for link, _ in bench.sent():
            if number % 7 == 0:
                bench.core.cancel(request)
            elif number % 11:
                bench.answer(link, request)
        bench.wait(0.001)
    bench.wait(61.0)

    core = bench.core
    assert core.next_deadline() is None
    assert len(core) == 0
    assert (core._requests, list(core._attempts), core._timers) == ({}, [], [])
    assert len(core._learning._asked) <= 1


# --- the end --------------------------------------------------------------------------------------------------------------


def test_closing_ends_all_requests_and_those_that_their_ends_begin() -> None:
    bench = Bench()
    begun = []

    def next_one(request: Request) -> None:
        bench.ended.append(request)
        if len(begun) < 5000:
            begun.append(bench.put())
            begun[-1].notify = next_one

    bench.put().notify = next_one
    bench.core.close()

    assert len(bench.ended) == 5001
    assert all(isinstance(request.error, ClientClosed) for request in bench.ended)
    assert bench.sent() == []


def test_a_cancelled_request_ends_without_a_word() -> None:
    bench = Bench()
    request = bench.put()
    link, _ = bench.only_sent()
    bench.core.cancel(request)

    bench.answer(link, request)
    bench.wait(3.0)

    assert bench.ended == []
    assert bench.sent() == []


def test_after_a_step_that_was_cut_off_every_request_still_ends() -> None:
    """Ctrl-C can come between any two instructions: here, after a frame was taken in hand and before it was worked on."""
    bench = Bench()
    requests = [bench.put(f"k{i}") for i in range(10)]
    bench.sent()
    torn = bench.core
    torn._attempts.clear()
    torn._requests[requests[0].message.request_id].reply = object()  # its outcome was set, and it was not yet taken out

    torn.mend(bench.now)
    bench.wait(3.0)

    assert len(torn) == 0
    assert set(bench.ended) == set(requests[1:])  # of the first, whoever mends knows: its outcome is there
