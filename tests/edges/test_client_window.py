"""What a client has under way at a time, and what waits in it: windows, back-off, and the time that a request has."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from client_bench import Bench, link_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dynazmq.client.core.core import ATTEMPT_S
from dynazmq.client.core.requests import Options, Request, get_request, put_request
from dynazmq.client.core.window import Windows
from dynazmq.config import LINK_BYTES_MAX, LINK_REQUESTS_MAX
from dynazmq.dynamo.messages import OVERLOADED, GetReply, Scan
from dynazmq.errors import Overloaded, WriteTimeout

MIB = 1 << 20


def puts(bench: Bench, count: int, size: int = 1, timeout: float = 2.0) -> list[Request]:
    """Started in one breath."""
    value, options = bytes(size), Options(timeout=timeout)
    return [bench.start(put_request(options, bench.view, f"k{i}", value, None)) for i in range(count)]


def answer_all(bench: Bench, requests: list[Request]) -> int:
    """Answer whatever is sent until nothing is; the most that were under way at one node."""
    by_id = {request.message.request_id: request for request in requests}
    most = 0
    while sent := bench.sent():
        most = max(most, *Counter(link for link, _ in sent).values())
        for link, message in sent:
            bench.answer(link, by_id[message.request_id])
    return most


# --- all that is asked in one breath ---------------------------------------------------------------------------------------


def test_twenty_thousand_puts_at_once_are_all_done_and_few_are_under_way_at_a_time() -> None:
    bench = Bench()
    requests = puts(bench, 20_000)
    assert len(bench.core) == 20_000
    assert answer_all(bench, requests) <= LINK_REQUESTS_MAX
    assert all(request.reply is not None for request in requests)
    assert len(bench.core) == 0
    assert bench.core.next_deadline() is None


def test_bytes_are_counted_and_not_only_requests() -> None:
    bench = Bench()
    requests = puts(bench, 200, MIB)
    under_way: Counter[str] = Counter()
    for link, message in bench.sent():
        under_way[link] += len(message.value)
    assert max(under_way.values()) <= LINK_BYTES_MAX
    by_id = {request.message.request_id: request for request in requests}
    for request in requests:
        if request.link is not None and not request.done:
            bench.answer(request.link, request)
    answer_all(bench, requests)
    assert all(request.reply is not None for request in by_id.values())


def test_gets_begin_carefully_until_it_is_known_how_large_the_answers_are() -> None:
    bench = Bench(nodes=1)
    requests = [bench.start(get_request(Options(timeout=2.0), bench.view, f"k{i}")) for i in range(600)]
    first = bench.sent()
    assert 8 <= len(first) <= 16
    by_id = {request.message.request_id: request for request in requests}
    for _, message in first:
        reply = GetReply(message.request_id, [bytes(2 * MIB)], [["n1", 1, 0]], b"", ["n1"])
        bench.core.receive(link_of("n1"), [reply], bench.now)
    assert len(bench.sent()) == 1, "two of two megabytes are more than the window"
    for request in by_id.values():
        bench.core.cancel(request)


def test_small_answers_open_the_window_of_gets() -> None:
    bench = Bench(nodes=1)
    requests = [bench.start(get_request(Options(timeout=2.0), bench.view, f"k{i}")) for i in range(2000)]
    assert answer_all(bench, requests) == LINK_REQUESTS_MAX - 16 + 1 or all(request.done for request in requests)
    assert all(request.done for request in requests)


def test_a_value_that_is_larger_than_the_window_goes_alone() -> None:
    windows = Windows(lambda _request: "n1", 0.0)
    bench = Bench()
    large = put_request(Options(), bench.view, "k", bytes(MIB), None)
    large.message.value = bytes(LINK_BYTES_MAX + 1)
    assert windows.enter(large)
    other = put_request(Options(), bench.view, "k", b"small", None)
    assert not windows.enter(other)
    windows.leave(large)
    assert list(windows.ready()) == [other]


def test_what_an_operator_asks_does_not_wait_behind_the_load() -> None:
    bench = Bench(nodes=1)
    puts(bench, 2000)
    bench.sent()
    scan = Request(Scan(0, "b", [0], -1, b"", 10, 0), "b", 0, 2.0, "keys")
    scan.only = link_of("n1")
    bench.start(scan)
    assert bench.only_sent()[1].__class__ is Scan


# --- the time that a request has --------------------------------------------------------------------------------------------


def test_the_time_of_a_request_begins_when_it_is_let_in() -> None:
    bench = Bench(nodes=1)
    requests = puts(bench, 4 * LINK_REQUESTS_MAX, timeout=1.0)
    by_id = {request.message.request_id: request for request in requests}
    for _ in range(4):
        sent = bench.sent()
        assert all(message.budget_ms == 1000 for _, message in sent)
        bench.wait(0.2)
        for link, message in sent:
            bench.answer(link, by_id[message.request_id])
    assert all(request.reply is not None for request in requests), "though the last had to wait for most of a second"


def test_who_waits_while_nothing_at_all_is_answered_ends_untried_and_is_told_so() -> None:
    bench = Bench(nodes=1)
    requests = puts(bench, 2 * LINK_REQUESTS_MAX, timeout=1.0)
    bench.wait(1.0)
    ended = Counter(type(request.error) for request in requests if request.done)
    assert ended[Overloaded] == LINK_REQUESTS_MAX
    bench.wait(1.1)
    assert all(isinstance(request.error, Overloaded | WriteTimeout) for request in requests)
    untried = [request for request in requests if isinstance(request.error, Overloaded)]
    assert all(not request.sent for request in untried)
    assert "no room in 1 s" in str(untried[0].error)
    assert "nothing was attempted" in str(untried[0].error)


def test_large_values_are_given_more_time_before_somebody_else_is_asked() -> None:
    bench = Bench(nodes=3)
    puts(bench, 1, MIB)
    assert len(bench.sent()) == 1
    bench.wait(ATTEMPT_S + 0.05)
    assert bench.sent() == []
    bench.wait(0.1)
    assert len(bench.sent()) == 1


# --- nodes that have enough to do -------------------------------------------------------------------------------------------


def test_an_overloaded_node_is_given_a_pause_and_then_the_next_one_is_asked_as_a_first_try() -> None:
    bench = Bench()
    request = bench.put()
    first, second, *_ = bench.preference(request)
    bench.sent()
    bench.refuse(first, request, OVERLOADED)
    assert bench.sent() == []
    assert bench.core.overloads == 1
    bench.wait(0.024)
    assert bench.sent() == [], "at least half of the 50 ms that it asked for"
    bench.wait(0.06)
    link, message = bench.only_sent()
    assert (link, message.age_ms) == (second, 0)


def test_pauses_grow_while_all_are_overloaded_and_the_end_says_that_nothing_was_attempted() -> None:
    bench = Bench(nodes=3)
    request = bench.put(timeout=3.0)
    times = []
    while not request.done:
        for link, _ in bench.sent():
            times.append(bench.now)
            bench.refuse(link, request, OVERLOADED)
        if (due := bench.core.next_deadline()) is not None:
            bench.wait(max(due - bench.now, 0.0))
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[0] < 0.1 < pauses[-1]
    assert len(times) < 12
    assert isinstance(request.error, Overloaded)
    assert request.error.retry_after == 0.05
    assert "nothing was attempted" in str(request.error)


def test_a_node_that_says_that_it_is_overloaded_gets_less_and_then_slowly_more_again() -> None:
    bench = Bench(nodes=1)
    requests = puts(bench, 20_000, timeout=60.0)
    by_id = {request.message.request_id: request for request in requests}
    sent = bench.sent()
    assert len(sent) == LINK_REQUESTS_MAX
    link, message = sent.pop()
    bench.refuse(link, by_id[message.request_id], OVERLOADED)
    for link, message in sent:
        bench.answer(link, by_id[message.request_id])
    under_way = len(bench.sent())
    assert LINK_REQUESTS_MAX // 2 - 2 <= under_way <= LINK_REQUESTS_MAX // 2 + 3
    for request in requests:
        bench.core.cancel(request)


def test_who_waits_for_a_node_that_has_died_goes_to_the_others() -> None:
    bench = Bench(nodes=3)
    requests = puts(bench, 3000)
    by_id = {request.message.request_id: request for request in requests}
    dead = link_of("n1")
    for _ in range(200):
        for link, message in bench.sent():
            if link != dead:
                bench.answer(link, by_id[message.request_id])
        bench.wait(0.02)
    assert all(request.reply is not None for request in requests)


# --- laws ----------------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1 << 30), st.lists(st.integers(0, 2 * MIB), min_size=1, max_size=60), st.integers(1, 4))
def test_no_window_is_ever_passed_and_everybody_gets_in_in_order(seed: int, sizes: list[int], nodes: int) -> None:
    random = Random(seed)
    bench = Bench(nodes=nodes)
    links = {f"k{i}": link_of(f"n{random.randrange(nodes) + 1}") for i in range(len(sizes))}
    windows = Windows(lambda request: links[str(request.key)], 0.0)
    waiting, inside, order = [], [], []
    for i, size in enumerate(sizes):
        request = put_request(Options(), bench.view, f"k{i}", b"", None)
        request.message.value = bytes(size)
        (inside if windows.enter(request) else waiting).append(request)
    entered = list(inside)
    while inside:
        for link in set(links.values()):
            here = [request for request in inside if request.room == link]
            assert len(here) <= LINK_REQUESTS_MAX
            assert len(here) <= 1 or sum(request.size for request in here) <= LINK_BYTES_MAX
        gone = inside.pop(random.randrange(len(inside)))
        windows.leave(gone)
        ready = list(windows.ready())
        inside += ready
        order += ready
    assert len(entered) + len(order) == len(sizes)
    assert len(windows) == 0
    for link in set(links.values()):
        assert [r for r in order if links[str(r.key)] == link] == [r for r in waiting if links[str(r.key)] == link]


def test_a_request_that_is_cancelled_while_it_waits_is_never_sent() -> None:
    bench = Bench(nodes=1)
    requests = puts(bench, LINK_REQUESTS_MAX + 10)
    for request in requests[LINK_REQUESTS_MAX:]:
        bench.core.cancel(request)
    answer_all(bench, requests)
    assert not any(request.sent for request in requests[LINK_REQUESTS_MAX:])
    with pytest.raises(StopIteration):
        next(bench.core._windows.ready())
