"""What a caller is told when nobody has done it: exactly as much as is known."""

from __future__ import annotations

import pytest
from client_bench import Bench, link_of

from dynazmq.client.core.core import ATTEMPT_S
from dynazmq.client.core.requests import Request
from dynazmq.dynamo.messages import INVALID, NOT_YET, OVERLOADED, STORAGE, UNAVAILABLE, Scan, ScanReply, SetBucket
from dynazmq.errors import (
    ClusterUnreachable,
    InvalidRequest,
    Overloaded,
    ReadTimeout,
    StorageError,
    Unavailable,
    WriteTimeout,
)


@pytest.mark.parametrize("kind", ["put", "get"])
def test_two_coordinators_that_lack_replicas_are_believed(kind: str) -> None:
    bench = Bench()
    request = getattr(bench, kind)()
    link, _ = bench.only_sent()
    bench.refuse(link, request, UNAVAILABLE, 2, 1)
    other, _ = bench.only_sent()
    assert other != link
    assert bench.ended == []

    bench.refuse(other, request, UNAVAILABLE, 2, 1)

    assert bench.ended == [request]
    assert isinstance(request.error, Unavailable)
    assert (request.error.required, request.error.alive) == (2, 1)
    assert "nothing was attempted" in str(request.error)
    assert bench.sent() == []


def test_a_put_is_not_called_unattempted_when_an_attempt_got_no_answer() -> None:
    bench = Bench(nodes=3)
    request = bench.put(timeout=1.0)
    bench.wait(ATTEMPT_S + 0.01)
    while bench.now < request.deadline:
        for link, _ in bench.sent():
            bench.refuse(link, request, UNAVAILABLE, 2, 1)
        bench.wait(0.01)

    assert isinstance(request.error, WriteTimeout)
    assert (request.error.outcome, request.error.required, request.error.received) == ("unknown", 2, 1)
    assert "unknown" in str(request.error)


def test_even_a_rule_broken_at_the_second_node_says_nothing_about_the_first() -> None:
    bench = Bench()
    request = bench.put()
    bench.sent()
    bench.wait(ATTEMPT_S + 0.01)
    link, _ = bench.only_sent()

    bench.refuse(link, request, INVALID)

    assert isinstance(request.error, WriteTimeout)


def test_a_get_may_be_called_unavailable_after_a_silent_attempt() -> None:
    bench = Bench()
    request = bench.get()
    bench.sent()
    bench.wait(ATTEMPT_S + 0.01)
    link, _ = bench.only_sent()
    bench.refuse(link, request, UNAVAILABLE, 2, 1)
    link, _ = bench.only_sent()
    bench.refuse(link, request, UNAVAILABLE, 2, 1)

    assert isinstance(request.error, Unavailable)


def test_what_breaks_a_rule_is_not_asked_twice() -> None:
    bench = Bench()
    request = bench.put()
    link, _ = bench.only_sent()

    bench.refuse(link, request, INVALID)

    assert isinstance(request.error, InvalidRequest)
    assert "code 1" in str(request.error)
    assert bench.sent() == []


@pytest.mark.parametrize(("code", "error"), [(OVERLOADED, Overloaded), (STORAGE, StorageError), (NOT_YET, Unavailable)])
def test_refused_by_all_until_the_deadline_is_told_as_the_refusal(code: int, error: type[Exception]) -> None:
    bench = Bench(nodes=3)
    request = bench.put(timeout=0.5)
    while not bench.ended:
        for link, _ in bench.sent():
            bench.refuse(link, request, code)
        bench.wait(0.001)

    assert isinstance(request.error, error)
    assert bench.now <= request.deadline + 0.002
    if isinstance(request.error, Overloaded):
        assert request.error.retry_after == 0.05


@pytest.mark.parametrize(("kind", "error"), [("put", WriteTimeout), ("get", ReadTimeout)])
def test_silence_of_all_is_a_timeout_at_the_deadline(kind: str, error: type[Exception]) -> None:
    bench = Bench()
    request = getattr(bench, kind)(timeout=1.0)

    bench.wait(0.999)
    assert bench.ended == []
    bench.wait(0.002)

    assert bench.ended == [request]
    assert isinstance(request.error, error)
    assert (request.error.required, request.error.received) == (2, 0)  # type: ignore[attr-defined]


def test_a_timeout_counts_the_replicas_that_the_call_wanted() -> None:
    bench = Bench(buckets=(("few", 2, 1, 1),))
    wanted = {
        3: bench.put(w="all"),
        1: bench.put(w=1),
        2: bench.get(pr=2),
    }
    of_bucket = bench.put(bucket="few")
    bench.wait(3.0)

    for required, request in wanted.items():
        assert request.error.required == required  # type: ignore[union-attr]
    assert of_bucket.error.required == 1  # type: ignore[union-attr]


def test_a_cluster_none_of_whose_nodes_could_be_sent_to_is_unreachable() -> None:
    bench = Bench(nodes=3)
    request = bench.put(timeout=0.5)
    while not bench.ended:
        for link, _ in bench.sent():
            bench.lose(link, request)
        bench.wait(0.002)

    assert isinstance(request.error, ClusterUnreachable)
    assert request.error.tried == dict.fromkeys(bench.names, "no connection")


def test_a_request_for_one_node_speaks_of_that_node_alone() -> None:
    bench = Bench()
    request = Request(Scan(0, "b", [0], -1, b"", 10, 0), "", 0, 1.0, "keys")
    request.only = link_of("n4")
    bench.start(request)
    began = bench.now
    while request.error is None:
        for link, _ in bench.sent():
            assert link == link_of("n4")
            bench.lose(link, request)
        bench.wait(0.01)

    assert isinstance(request.error, ClusterUnreachable)
    assert request.error.tried == {"n4": "no connection"}
    assert 0.2 < bench.now - began < 0.6, "a connection may just be in the making"


def test_a_request_for_one_node_waits_for_a_connection_that_is_just_being_made() -> None:
    """Found on a busy machine: a scan was refused since one node's connection came some milliseconds later than another's."""
    bench = Bench()
    request = Request(Scan(0, "b", [0], -1, b"", 10, 0), "", 0, 1.0, "keys")
    request.only = link_of("n4")
    bench.start(request)
    for _ in range(3):
        for link, _ in bench.sent():
            bench.lose(link, request)
        bench.wait(0.02)
    link, message = bench.only_sent()
    bench.core.receive(link, [ScanReply(message.request_id, [], False, -1, b"")], bench.now)

    assert request.error is None
    assert isinstance(request.reply, ScanReply)


def test_a_policy_whose_setting_got_no_answer_may_have_been_set() -> None:
    bench = Bench()
    request = bench.start(Request(SetBucket(0, "b", 3, 2, 2), "b", 0, 0.5, "configure"))
    bench.wait(0.6)

    assert isinstance(request.error, WriteTimeout)
