"""What the bench counts, and how it makes its keys: with a bucket that answers as the test says."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from dynazmq import bench
from dynazmq.client.context import EMPTY
from dynazmq.client.results import Batch, PutResult, Result
from dynazmq.errors import Overloaded, WriteTimeout


class Answers:
    """A client and its bucket: puts end as `outcomes` says, one after the other, and then well."""

    def __init__(self, *outcomes: Exception) -> None:
        self.outcomes: Iterator[Exception] = iter(outcomes)
        self.values: dict[str, bytes] = {}
        self.at_once: list[int] = []

    def bucket(self, _name: str) -> Answers:
        return self

    async def get_many(self, keys: Sequence[str], timeout: float) -> Batch[str, Result]:
        return Batch({key: Result(key, [], EMPTY, (), []) for key in keys})

    async def put_many(self, items: Mapping[str, bytes], contexts: Any, timeout: float) -> Batch[str, PutResult]:
        self.at_once.append(sum(map(len, items.values())))
        self.values.update(items)
        return Batch({key: PutResult(EMPTY, (), ()) for key in items})

    async def put(self, key: str, value: bytes, context: Any) -> PutResult:
        await asyncio.sleep(0)
        if (error := next(self.outcomes, None)) is not None:
            raise error
        return PutResult(EMPTY, (), ())


def load(answers: Answers, value_bytes: int) -> bench._Load:
    return bench._Load(answers, value_bytes)  # type: ignore[arg-type]


@pytest.mark.parametrize("value_bytes", [0, 100, 16 << 10, 64 << 10, 1 << 20])
def test_all_keys_are_made_and_only_so_many_at_a_time_as_fit_into_memory(value_bytes: int) -> None:
    answers = Answers()
    told: list[int] = []
    asyncio.run(load(answers, value_bytes).prepare(told.append))
    assert len(answers.values) == bench.KEYS
    assert {len(value) for value in answers.values.values()} == {value_bytes}
    assert max(answers.at_once) <= max(bench._FILL_BYTES, bench._FILL_KEYS_MIN * value_bytes)
    assert len(told) == len(answers.at_once)
    assert told == sorted(set(told))


def test_what_the_cluster_had_no_room_for_is_counted_apart_from_errors() -> None:
    answers = Answers(Overloaded("enough to do", 0.01), WriteTimeout("no answer", 2, 1), Overloaded("enough to do", 0.01))
    tally = asyncio.run(load(answers, 1).run("put", 4, 0.1, lambda _done_s: None))
    assert (tally.overloads, tally.errors, tally.first_error) == (2, 1, "WriteTimeout: no answer")
    assert tally.latencies_s, "the others were done"


def test_megabytes_are_those_of_the_operations_that_succeeded() -> None:
    tally = bench._Tally(array("d", [0.001] * 50), errors=3, overloads=4)
    run = bench._summary("put", 64, 2.0, tally, 64 << 10, 0.0, 0.0)
    assert (run.ops_per_s, run.mb_per_s, run.errors, run.overloads) == (25.0, 1.638, 3, 4)
