"""What the bench counts, and how it makes its keys: with a bucket that answers as the test says."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import pytest

from dynazmq import bench
from dynazmq.client.values.context import EMPTY, Context
from dynazmq.client.values.results import PutResult, Result
from dynazmq.errors import Overloaded, WriteTimeout


class Answers:
    """A client and its bucket: puts end as `outcomes` says, one after the other, and then well."""

    def __init__(self, *outcomes: Exception) -> None:
        self.outcomes: Iterator[Exception] = iter(outcomes)
        self.values: dict[str, bytes] = {}
        self.read: list[str] = []

    def bucket(self, _name: str) -> Answers:
        return self

    async def get_iter(self, keys: Iterable[str], *, ordered: bool, timeout: float) -> AsyncIterator[tuple[str, Any]]:
        assert ordered
        for key in keys:
            self.read.append(key)
            yield key, next(self.outcomes, Result(key, [], Context(b"seen " + key.encode()), (), []))

    async def put_iter(self, items: Iterable[Any], *, ordered: bool, timeout: float) -> AsyncIterator[tuple[str, Any]]:
        assert ordered
        for key, value, context in items:
            assert context.token == b"seen " + key.encode()
            self.values[key] = value
            yield key, next(self.outcomes, PutResult(Context(b"put " + key.encode()), (), ()))

    async def put(self, key: str, value: bytes, context: Any) -> PutResult:
        await asyncio.sleep(0)
        if (error := next(self.outcomes, None)) is not None:
            raise error
        return PutResult(EMPTY, (), ())


def load(answers: Answers, value_bytes: int) -> bench._Load:
    return bench._Load(answers, value_bytes)  # type: ignore[arg-type]


def test_all_keys_are_read_and_then_written_over_what_was_seen() -> None:
    answers = Answers()
    prepared = load(answers, 100)
    told: list[int] = []
    asyncio.run(prepared.prepare(told.append))
    assert list(answers.values) == answers.read == [f"key-{index}" for index in range(bench.KEYS)]
    assert {len(value) for value in answers.values.values()} == {100}
    assert [context.token for context in prepared._contexts] == [b"put " + key.encode() for key in answers.read]
    assert told == list(range(0, bench.KEYS + 1, bench._FILL_SAID))


def test_the_first_error_ends_the_making_of_keys() -> None:
    with pytest.raises(WriteTimeout, match="no answer"):
        asyncio.run(load(Answers(WriteTimeout("no answer", 2, 1)), 1).prepare(lambda _done: None))


def test_what_the_cluster_had_no_room_for_is_counted_apart_from_errors() -> None:
    answers = Answers(Overloaded("enough to do", 0.01), WriteTimeout("no answer", 2, 1), Overloaded("enough to do", 0.01))
    tally = asyncio.run(load(answers, 1).run("put", 4, 0.1, lambda _done_s: None))
    assert (tally.overloads, tally.errors, tally.first_error) == (2, 1, "WriteTimeout: no answer")
    assert tally.latencies_s, "the others were done"


def test_megabytes_are_those_of_the_operations_that_succeeded() -> None:
    tally = bench._Tally(array("d", [0.001] * 50), errors=3, overloads=4)
    run = bench._summary("put", 64, 2.0, tally, 64 << 10, 0.0, 0.0)
    assert (run.ops_per_s, run.mb_per_s, run.errors, run.overloads) == (25.0, 1.638, 3, 4)
