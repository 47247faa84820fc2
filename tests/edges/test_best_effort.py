"""The read before a write: it takes what it can get, says what it rests on, and leaves time for the write (promise 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from client_bench import topology

from dynazmq.client.core import flows
from dynazmq.client.core.requests import Options, Request
from dynazmq.client.values.context import Context
from dynazmq.client.values.results import Batch, Result
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import GetReply
from dynazmq.dynamo.values.ring import place
from dynazmq.errors import DynazmqError, InvalidRequest, Overloaded, ReadTimeout, StorageError, Unavailable

VIEW = View.of(topology(["n1", "n2", "n3", "n4", "n5"], buckets=(("wide", 3, 3, 1),)))
TOKEN = b"\x01" + b"causal" + bytes(16)
PRIMARIES = VIEW.ring.primaries(VIEW.ring.partition_of(place("default", b"k")), 3)

Answer = DynazmqError | tuple[str, ...]
"""A refusal, or who answers with a value."""


def answered(flow: Any, answers: Callable[[Request], Answer]) -> tuple[Any, list[Request]]:
    """What the flow returns when each request is answered so, and its requests."""
    asked: list[Request] = []
    try:
        requests = next(flow)
        while True:
            for request in requests:
                asked.append(request)
                answer = answers(request)
                if isinstance(answer, DynazmqError):
                    request.error = answer
                else:
                    request.reply = GetReply(0, [b"v"], [["n1", 1, 0]], TOKEN, list(answer))
            requests = next(flow)
    except StopIteration as stop:
        return stop.value, asked


def read(answers: list[Answer], **options: Any) -> tuple[Result, list[Request]]:
    """The result when the answers come in this order."""
    rest = iter(answers)
    return answered(flows.get(VIEW, Options().with_(**options), "k", best_effort=True), lambda _: next(rest))


def test_a_read_that_can_be_had_is_an_ordinary_one() -> None:
    found, asked = read([PRIMARIES[:2]])
    assert (found.values, found.required, found.unseen) == ([b"v"], 2, ())
    assert [request.message.r for request in asked] == [0]


def test_where_fewer_can_be_reached_those_are_read_and_the_others_named() -> None:
    found, asked = read([Unavailable("", 2, 1), PRIMARIES[:1]])
    assert (found.values, found.context) == ([b"v"], Context(TOKEN))
    assert (found.responders, found.required, found.unseen) == (PRIMARIES[:1], 2, PRIMARIES[1:])
    assert [request.message.r for request in asked] == [0, 1]


def test_as_many_are_read_as_can_be_reached() -> None:
    _, asked = read([Unavailable("", 3, 2), PRIMARIES[:2]], bucket="wide")
    assert [request.message.r for request in asked] == [0, 2]


def test_where_too_few_primaries_say_that_it_is_absent_fewer_are_asked() -> None:
    """As many can be reached as are needed, but fallbacks among them."""
    found, asked = read([Unavailable("", 3, 3), Unavailable("", 2, 2), Unavailable("", 1, 1)], bucket="wide")
    assert [request.message.r for request in asked] == [0, 2, 1]
    assert (found.found, bool(found.context), found.responders) == (False, False, ())
    assert found.unseen == VIEW.ring.primaries(VIEW.ring.partition_of(place("wide", b"k")), 3)


def test_a_read_that_asks_for_primaries_does_without_them_when_it_must() -> None:
    _, asked = read([Unavailable("", 2, 1), PRIMARIES[:1]], pr=2)
    assert [request.message.pr for request in asked] == [2, 0]


@pytest.mark.parametrize("error", [ReadTimeout("", 3, 1), StorageError("")])
def test_after_silence_and_bad_disks_one_replica_does(error: DynazmqError) -> None:
    found, asked = read([error, PRIMARIES[:1]], bucket="wide")
    assert found.found
    assert [request.message.r for request in asked] == [0, 1]


def test_silence_of_all_leaves_time_for_the_write() -> None:
    found, asked = read([ReadTimeout("", 2, 0), ReadTimeout("", 1, 0)], timeout=2.0)
    assert not found.found
    assert asked[0].timeout == pytest.approx(1.0, abs=0.1)
    assert all(request.timeout <= 1.0 for request in asked)


@pytest.mark.parametrize("error", [Overloaded("busy"), InvalidRequest("12 MiB of siblings")])
def test_what_fewer_replicas_would_not_mend_is_an_error_at_once(error: DynazmqError) -> None:
    with pytest.raises(type(error)):
        read([error])


def test_of_many_keys_only_those_are_read_again_that_failed() -> None:
    def answers(request: Request) -> Answer:
        return PRIMARIES[:2] if request.key == "good" or request.message.r == 1 else Unavailable("", 2, 1)

    batch, asked = answered(flows.get_many(VIEW, Options(), ["good", "bad", ""], best_effort=True), answers)
    assert isinstance(batch, Batch)
    assert sorted(batch.ok) == ["bad", "good"]
    assert isinstance(batch[""], InvalidRequest)
    assert [(request.key, request.message.r) for request in asked] == [("good", 0), ("bad", 0), ("bad", 1)]
