"""A retry of a large value asks before it sends it again."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import Any

import pytest
import zmq
from client_bench import Bench, link_of
from client_fakes import Fakes, good, sealed, silent
from client_nodes import Nodes, eventually

import dynazmq
from dynazmq.client.api.links import Links
from dynazmq.client.core.core import ASK_ABOVE_BYTES, ATTEMPT_S
from dynazmq.client.core.requests import Options, Request, put_request
from dynazmq.client.core.window import RATE_BYTES_PER_S
from dynazmq.cluster.observe.observe import observe
from dynazmq.dynamo.messages import NOT_YET, OVERLOADED, TIMEOUT, Put, PutAsk, PutReply, PutTell
from dynazmq.dynamo.values.ring import place
from dynazmq.errors import WriteTimeout

LARGE = bytes(ASK_ABOVE_BYTES + 1)
ASK_S = ATTEMPT_S / 3


def put(bench: Bench, value: bytes | None = LARGE, timeout: float = 2.0) -> Request:
    return bench.start(put_request(Options(timeout=timeout), bench.view, "k", value, None))


def asking(bench: Bench) -> tuple[Request, str]:
    """A put whose first node was silent; who is asked now."""
    request = put(bench)
    link, message = bench.only_sent()
    assert (link, type(message)) == (bench.preference(request)[0], Put), "a first try is sent at once, whatever its size"
    bench.wait(ATTEMPT_S + 0.01)
    link, message = bench.only_sent()
    assert (link, type(message)) == (bench.preference(request)[1], PutAsk)
    return request, link


def tell(bench: Bench, link: str, request: Request, *, known: bool) -> None:
    bench.core.receive(link, [PutTell(request.message.request_id, known)], bench.now)


def test_the_question_is_the_put_without_its_value() -> None:
    bench = Bench()
    request = bench.start(put_request(Options(n=3, w=2, pw=1), bench.view, "k", LARGE, None))
    bench.sent()
    bench.wait(ATTEMPT_S + 0.01)
    _, question = bench.only_sent()
    said = request.message
    for field in ("request_id", "bucket", "key", "context", "write_id", "n", "w", "pw"):
        assert getattr(question, field) == getattr(said, field)
    assert ATTEMPT_S * 1000 <= question.age_ms <= ATTEMPT_S * 1000 + 20
    assert 2000 - ATTEMPT_S * 1000 - 20 <= question.budget_ms < 2000


def test_who_can_finish_it_is_not_sent_the_value() -> None:
    bench = Bench()
    request, link = asking(bench)
    bench.answer(link, request)
    bench.wait(2.0)
    assert (request.done, request.error, bench.sent()) == (True, None, [])
    assert len(bench.core) == 0


def test_who_knows_it_is_given_the_time_of_an_attempt_to_finish_it() -> None:
    bench = Bench()
    request, link = asking(bench)
    bench.wait(ASK_S / 2)
    tell(bench, link, request, known=True)
    bench.wait(ATTEMPT_S - 0.01)
    assert bench.sent() == []
    bench.wait(0.02)
    to, message = bench.only_sent()
    assert (to, type(message)) == (bench.preference(request)[2], PutAsk), "silent after all: the next one, in the same way"
    bench.answer(link, request)
    assert request.reply is not None


def test_who_needs_the_value_is_sent_it_as_a_retry() -> None:
    bench = Bench()
    request, link = asking(bench)
    bench.wait(0.02)
    tell(bench, link, request, known=False)

    to, message = bench.only_sent()
    assert (to, message.value, message.write_id) == (link, LARGE, request.message.write_id)
    assert message.age_ms >= (ATTEMPT_S + 0.02) * 1000
    tell(bench, link, request, known=False)
    assert bench.sent() == [], "a copy of an answer asks for nothing more"
    bench.answer(link, request)
    assert request.reply is not None


def test_who_says_nothing_is_sent_the_value_and_the_attempt_takes_no_longer_than_without_a_question() -> None:
    bench = Bench()
    request, second = asking(bench)
    bench.wait(ASK_S + 0.01)
    link, message = bench.only_sent()
    assert (link, message.value) == (second, LARGE)

    bench.wait(ATTEMPT_S - ASK_S - 0.03)
    assert bench.sent() == []
    bench.wait(0.03 + 0.05)
    assert bench.only_sent()[0] == bench.preference(request)[2], f"{ATTEMPT_S} s after the second was asked"


def test_a_reply_to_the_question_that_comes_after_the_value_was_sent_is_the_answer() -> None:
    bench = Bench()
    request, link = asking(bench)
    bench.wait(ASK_S + 0.01)
    bench.sent()
    bench.answer(link, request)
    assert request.reply is not None


@pytest.mark.parametrize("code", [NOT_YET, TIMEOUT])
def test_who_refuses_the_question_is_left_for_the_next_one_who_is_asked_in_turn(code: int) -> None:
    bench = Bench()
    request, link = asking(bench)
    bench.refuse(link, request, code)
    to, message = bench.only_sent()
    assert (to, type(message)) == (bench.preference(request)[2], PutAsk)


def test_who_is_overloaded_is_given_time_before_the_next_question() -> None:
    bench = Bench()
    request, link = asking(bench)
    bench.refuse(link, request, OVERLOADED)
    assert bench.sent() == []
    bench.wait(0.1)
    assert isinstance(bench.only_sent()[1], PutAsk)


def test_a_question_that_could_not_be_sent_goes_to_the_next_one() -> None:
    bench = Bench()
    request, link = asking(bench)
    bench.core.undeliverable(link, [request.message], bench.now)
    assert bench.only_sent()[0] == bench.preference(request)[2]


def test_a_late_answer_of_the_first_node_is_enough_when_nobody_has_begun_another_try() -> None:
    bench = Bench()
    request, link = asking(bench)
    bench.answer(bench.preference(request)[0], request)
    assert not request.done, "who is asked may know more"
    tell(bench, link, request, known=False)
    assert (request.done, request.error, bench.sent()) == (True, None, [])

    bench = Bench()
    request, link = asking(bench)
    bench.answer(bench.preference(request)[0], request)
    bench.wait(ASK_S + 0.01)
    assert (request.done, request.error, bench.sent()) == (True, None, [])


def test_small_values_and_deletes_are_sent_again_at_once() -> None:
    for value in (bytes(ASK_ABOVE_BYTES), None):
        bench = Bench()
        put(bench, value)
        bench.sent()
        bench.wait(ATTEMPT_S + 0.01)
        assert isinstance(bench.only_sent()[1], Put)


def test_a_refusal_that_says_that_nothing_was_attempted_is_followed_by_no_question() -> None:
    bench = Bench()
    request = put(bench)
    link, _ = bench.only_sent()
    bench.refuse(link, request, NOT_YET)
    assert isinstance(bench.only_sent()[1], Put)


def test_a_question_never_shares_a_frame_with_anything_else() -> None:
    """A node that does not know it drops the whole frame."""
    bench = Bench(nodes=1)
    request = put(bench, timeout=5.0)
    bench.sent()
    bench.refuse(link_of("n1"), request, TIMEOUT)
    bench.wait(0.05)
    other = put(bench, b"small")

    assert bench.core.has_outgoing
    assert [type(message) for message in bench.core.drain()[link_of("n1")]] == [Put]
    assert bench.core.has_outgoing
    assert [type(message) for message in bench.core.drain()[link_of("n1")]] == [PutAsk]
    assert not bench.core.has_outgoing
    bench.core.cancel(other)


def test_large_values_under_way_give_an_answer_more_time() -> None:
    bench = Bench(nodes=1)
    for i in range(4):
        bench.start(put_request(Options(timeout=20.0), bench.view, f"k{i}", bytes(1 << 19), None))
    request = put(bench, timeout=20.0)
    bench.sent()
    bench.refuse(link_of("n1"), request, TIMEOUT)
    bench.wait(0.05)
    bench.sent()
    bench.wait(ASK_S + 0.05)
    assert bench.sent() == []
    bench.wait(4 * (1 << 19) / RATE_BYTES_PER_S)
    assert LARGE in [message.value for _, message in bench.sent()]


def test_when_all_are_silent_the_outcome_is_unknown_at_the_deadline() -> None:
    bench = Bench()
    request, _ = asking(bench)
    bench.wait(2.0)
    assert isinstance(request.error, WriteTimeout)
    assert len(bench.core) == 0


def test_a_step_that_was_cut_off_while_a_question_was_out_comes_to_an_end() -> None:
    bench = Bench()
    request, link = asking(bench)
    bench.core.mend(bench.now)
    bench.wait(ASK_S + 0.01)
    bench.sent()
    bench.answer(link, request)
    assert request.reply is not None


# --- over real sockets ------------------------------------------------------------------------------------------------------


def connected(fakes: Fakes) -> dynazmq.Client:
    return dynazmq.connect(endpoints=list(fakes.endpoints.values()), timeout=5.0)


def test_a_node_that_drops_what_it_does_not_know_is_sent_the_value_after_all() -> None:
    """An older one: the frame with the question is refused as a whole, without an answer."""
    sent: list[tuple[str, str]] = []

    def behave(name: str, message: object) -> list[bytes]:
        sent.append((name, type(message).__name__))
        first = sent[0][0]
        return silent(name, message) if name == first or isinstance(message, PutAsk) else good(name, message)

    with Fakes("n1", "n2", "n3", behaviour=behave) as fakes, connected(fakes) as client:
        assert client.put("k", LARGE).acked == ("n1", "n2")
    assert [kind for _, kind in sent] == ["Put", "PutAsk", "Put"]
    assert sent[1][0] == sent[2][0] != sent[0][0]


def test_a_value_leaves_once_when_its_put_is_found_done() -> None:
    heard: list[object] = []

    def behave(_name: str, message: object) -> list[bytes]:
        heard.append(message)
        if not isinstance(message, PutAsk):
            return []
        return sealed(PutTell(message.request_id, True), PutReply(message.request_id, b"", ["n1", "n2"], []))

    with Fakes("n1", "n2", "n3", behaviour=behave) as fakes, connected(fakes) as client:
        client.put("k", LARGE)
    assert [type(message) for message in heard] == [Put, PutAsk]


# --- real nodes -------------------------------------------------------------------------------------------------------------


def deaf_to(links: Links, name: str) -> str:
    """From now on nothing that this node says reaches the client. Its link."""
    view = links.core.view
    assert view is not None
    link = view.links[name]
    receive = links.receive

    def lose(each: str) -> bool:
        if each != link:
            return receive(each)
        with contextlib.suppress(zmq.Again):
            while True:
                links._sockets[link].recv(zmq.NOBLOCK)
        return True

    links.receive = lose  # type: ignore[method-assign]
    return link


def test_with_real_nodes_a_large_value_whose_answer_was_lost_is_sent_once() -> None:
    nodes = Nodes("n1", "n2", "n3")
    try:
        nodes.start()
        nodes.wait_ready()
        nodes.wait_grown()
        value = os.urandom(1 << 20)
        with dynazmq.connect(nodes.dir, timeout=10.0) as client:
            links = client._driver._connection._links
            sent: list[tuple[str, str]] = []
            send = links._send

            def count(link: str, envelope: Any, messages: list[Any]) -> int:
                sent.extend((link, type(message).__name__) for message in messages)
                return send(link, envelope, messages)

            links._send = count  # type: ignore[method-assign]
            numbers = itertools.count()

            def spared() -> str:
                """The key of a put whose value was sent once. On a busy machine a connection or an answer may come too late."""
                key, ring = f"k{next(numbers)}", client.view.ring
                first = deaf_to(links, ring.primaries(ring.partition_of(place("default", key.encode())), 3)[0])
                sent.clear()
                try:
                    client.put(key, value)
                finally:
                    del links.receive  # it hears again
                of_the_put = [each for each in sent if each[1].startswith("Put")]
                as_meant = [kind for _, kind in of_the_put] == ["Put", "PutAsk"]
                return key if as_meant and [link == first for link, _ in of_the_put] == [True, False] else ""

            key = eventually(spared, "a put whose value is not sent again")
            assert client.get(key, r="all").values == [value]
        counters = [node.counters for node in observe(nodes.dir, timeout=5.0).nodes]
        assert sum(each.get("values_not_resent", 0) for each in counters) >= 1
    finally:
        nodes.close()
