"""Batches of any length: items are taken as there is room for them, and outcomes come as they come."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from client_bench import Bench
from client_fakes import Fakes, good, sealed, silent

import dynazmq
from dynazmq import aio
from dynazmq.client.core import flows
from dynazmq.client.core.requests import BATCH_IN_FLIGHT, Options, Request
from dynazmq.client.core.stream import STREAM_BYTES_MAX, Stream
from dynazmq.client.values.codecs import Codec
from dynazmq.config import LINK_REQUESTS_MAX
from dynazmq.dynamo.messages import Get, GetReply, Put, PutReply
from dynazmq.errors import ClientClosed, DynazmqError, InvalidRequest, WriteTimeout

MIB = 1 << 20


class Source:
    """An iterator that says how far it was taken."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self.taken = 0

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Any:
        item = next(self._items)
        self.taken += 1
        return item


# --- without sockets --------------------------------------------------------------------------------------------------------


class Table:
    """A stream on a bench: the test answers its requests, in the order that it likes."""

    def __init__(self, items: Iterator[Any], *, ordered: bool = False, put: bool = True, **options: Any) -> None:
        self.bench = Bench()
        chosen = Options().with_(**options)
        begin: Any = flows.begin_put if put else flows.begin_get
        self.items = items
        self.stream: Stream[Any] = Stream(begin(lambda: self.bench.view, chosen), self.bench.core.expected_bytes, ordered)
        self.requests: list[Request] = []

    def fill(self) -> list[Request]:
        new = self.stream.fill(self.items)
        for request in new:
            self.bench.core.start(request, self.bench.now)
        self.requests += new
        return new

    def answer(self, *requests: Request, value: bytes = b"v") -> None:
        for request in requests:
            assert request.link is not None
            reply: Any = PutReply(request.message.request_id, b"", ["n1", "n2"], [])
            if isinstance(request.message, Get):
                reply = GetReply(request.message.request_id, [value], [["n1", 1, 0]], b"", ["n1"])
            self.bench.core.receive(request.link, [reply], self.bench.now)

    def told(self) -> list[Any]:
        return [key for key, _ in self.stream.outcomes()]


def pairs(count: int, size: int = 1) -> Source:
    return Source((f"k{i}", bytes(size)) for i in range(count))


def test_no_more_items_are_taken_than_may_be_under_way() -> None:
    items = pairs(10_000)
    table = Table(items)
    assert len(table.fill()) == items.taken == BATCH_IN_FLIGHT
    assert table.fill() == []


def test_the_next_are_taken_when_the_caller_has_outcomes_and_not_before() -> None:
    items = pairs(10_000)
    table = Table(items)
    first = table.fill()
    table.answer(*[request for request in first if request.link][:10])
    assert table.fill() == [], "their outcomes are there, and nobody has looked at them"
    assert len(table.told()) == 10
    assert len(table.fill()) == 10
    assert items.taken == BATCH_IN_FLIGHT + 10


def test_of_large_values_only_so_many_bytes_are_taken() -> None:
    items = pairs(1000, MIB)
    table = Table(items)
    table.fill()
    assert items.taken * MIB == STREAM_BYTES_MAX


def test_of_gets_as_many_are_taken_as_their_answers_are_expected_to_fit() -> None:
    items = Source(f"k{i}" for i in range(10_000))
    table = Table(items, put=False)
    first = table.fill()
    assert items.taken <= 64, "nobody knows yet how large they are"
    while first:
        table.answer(*[request for request in first if request.link and not request.done], value=bytes(MIB))
        first = [request for request in first if not request.done]
    table.fill()
    table.told()
    table.fill()
    assert len(table.stream.under_way) <= STREAM_BYTES_MAX // MIB

    small = Table(Source(f"k{i}" for i in range(10_000)), put=False)
    small.bench.core._windows._learn("default", 10)
    assert len(small.fill()) == BATCH_IN_FLIGHT


def test_outcomes_come_as_their_answers_do() -> None:
    table = Table(pairs(5))
    a, b, c, d, e = table.fill()
    table.answer(d, b)
    table.fill()
    assert table.told() == ["k3", "k1"]
    table.answer(e, a, c)
    table.fill()
    assert table.told() == ["k4", "k0", "k2"]
    assert table.stream.is_over()


def test_in_order_they_wait_for_those_before_them_and_count_until_they_are_told() -> None:
    items = pairs(BATCH_IN_FLIGHT + 2)
    table = Table(items, ordered=True)
    first, second, *others = table.fill()
    for request in others:
        if request.link:
            table.answer(request)
    table.answer(second)
    table.fill()
    assert (table.told(), items.taken) == ([], BATCH_IN_FLIGHT)
    table.answer(first)
    table.fill()
    assert table.told()[:3] == ["k0", "k1", "k2"]


def test_what_cannot_be_sent_is_an_outcome_and_goes_no_further() -> None:
    table = Table(iter([("k", b"v"), ("", b"v"), ("large", bytes(2 * MIB)), ("odd", 5)]))
    assert len(table.fill()) == 1
    outcomes = dict(table.stream.outcomes())
    assert list(outcomes) == ["", "large", "odd"]
    assert all(isinstance(outcome, InvalidRequest) for outcome in outcomes.values())


def broken(items: Iterator[Any], error: Exception) -> Iterator[Any]:
    yield from items
    raise error


@pytest.mark.parametrize("ordered", [False, True])
def test_an_iterator_that_raises_ends_the_taking_and_what_is_under_way_is_told_first(ordered: bool) -> None:
    table = Table(broken(pairs(3), OSError("the file is gone")), ordered=ordered)
    table.answer(*table.fill()[1:])
    table.fill()
    assert not table.stream.is_over()
    table.answer(table.requests[0])
    table.fill()
    assert sorted(table.told()) == ["k0", "k1", "k2"]
    with pytest.raises(OSError, match="the file is gone"):
        table.stream.is_over()


def test_what_is_no_key_ends_the_taking() -> None:
    for items in ([("k", b"v"), (5, b"v")], [("k", b"v"), "kv"], [("k", b"v"), ("a", b"b", None, 1)]):
        table = Table(iter(items))
        table.answer(*table.fill())
        table.fill()
        assert table.told() == ["k"]
        with pytest.raises(InvalidRequest):
            table.stream.is_over()


@pytest.mark.parametrize("ordered", [False, True])
def test_a_codec_that_fails_ends_the_taking(ordered: bool) -> None:
    def encode(value: Any) -> bytes:
        return bytes([value])

    codec = Codec("byte", encode, bytes)
    table = Table(iter([("a", 1), ("b", 256), ("c", 3)]), codec=codec, ordered=ordered)
    table.answer(*table.fill())
    table.fill()
    assert table.told() == ["a"]
    with pytest.raises(ValueError, match="range"):
        table.stream.is_over()


def test_each_item_has_its_own_time_which_begins_when_it_is_let_in() -> None:
    table = Table(pairs(2 * LINK_REQUESTS_MAX), timeout=1.0)
    requests = table.fill()
    let_in = [request for request in requests if request.link]
    table.bench.wait(0.9)
    table.answer(*let_in[:100])
    for request in requests:
        if request.link and request not in let_in:
            assert request.deadline == pytest.approx(table.bench.now + 1.0)
    table.bench.wait(0.2)
    assert all(isinstance(request.error, WriteTimeout) for request in let_in[100:])


# --- the blocking client ----------------------------------------------------------------------------------------------------


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    with Fakes("n1", "n2", "n3") as fakes:
        yield fakes


@pytest.fixture
def client(fakes: Fakes) -> Iterator[dynazmq.Client]:
    with dynazmq.connect(endpoints=list(fakes.endpoints.values()), timeout=10.0) as client:
        yield client


def idle(client: Any) -> bool:
    """Nothing of it is under way or waits for room."""
    core = client._driver._connection.core
    return len(core) == 0 and len(core._windows) == 0 and not any(window.requests for window in core._windows._windows.values())


def test_a_generator_without_end_is_read_as_far_as_somebody_listens(client: dynazmq.Client) -> None:
    items = Source((f"k{i}", b"v") for i in iter(int, 1) for i in range(1 << 30))
    for told, (key, outcome) in enumerate(client.put_iter(items), 1):
        assert not isinstance(outcome, DynazmqError), key
        assert items.taken <= told + BATCH_IN_FLIGHT
        if told == 3000:
            break
    gc.collect()
    assert idle(client)


def test_twenty_thousand_are_put_got_and_deleted(client: dynazmq.Client) -> None:
    keys = [f"k{i}" for i in range(20_000)]
    assert {key for key, outcome in client.put_iter((key, b"v") for key in keys) if outcome.acked} == set(keys)
    assert [key for key, result in client.get_iter(iter(keys), ordered=True) if result.value == key.encode()] == keys
    assert {key for key, outcome in client.delete_iter(iter(keys)) if outcome.acked} == set(keys)
    assert idle(client)


def test_contexts_come_with_the_items(fakes: Fakes, client: dynazmq.Client) -> None:
    context = dynazmq.Context(b"\x01" + b"c" * 20)
    list(client.put_iter([("a", b"v", context), ("b", b"v")]))
    list(client.delete_iter([("c", context), "d"]))
    contexts = {message.key: message.context for _, message in fakes.heard if isinstance(message, Put)}
    assert contexts[b"a"] == contexts[b"c"] == context.token
    assert contexts[b"b"] == contexts[b"d"] == b""
    assert {message.key for _, message in fakes.heard if isinstance(message, Get)} == {b"d"}, "read where none is given"


def test_of_a_mapping_pairs_are_put_and_keys_are_got_and_deleted(client: dynazmq.Client) -> None:
    items = {"a": b"1", "b": b"2"}
    assert dict(client.put_iter(items)).keys() == dict(client.get_iter(items)).keys() == items.keys()
    assert dict(client.delete_iter(items)).keys() == items.keys()


def test_what_is_no_iterable_of_items_is_refused_before_anything(fakes: Fakes, client: dynazmq.Client) -> None:
    for call in (client.get_iter, client.put_iter, client.delete_iter):
        for given in ("abc", b"abc", 5, None):
            with pytest.raises(InvalidRequest):
                call(given)  # type: ignore[operator]
    with pytest.raises(InvalidRequest):
        client.get_iter(["k"], r=9.5)  # type: ignore[arg-type]
    assert fakes.heard == []


def test_the_iterator_may_call_the_same_client(client: dynazmq.Client) -> None:
    def copied() -> Iterator[tuple[str, bytes]]:
        for i in range(50):
            yield f"copy of {i}", client.get(f"k{i}").value

    assert len(client.put_many(copied()).ok) == 50
    again = client.put_iter((key, result.value) for key, result in client.get_iter(f"k{i}" for i in range(2000)))
    assert sum(bool(done.acked) for _, done in again) == 2000


def test_who_lingers_over_an_outcome_finds_the_others_answered(fakes: Fakes, client: dynazmq.Client) -> None:
    """For longer than an attempt: what has come meanwhile is heard before anything is called late."""
    for i, (_, outcome) in enumerate(client.put_iter((f"k{i}", b"v") for i in range(1500))):
        assert not isinstance(outcome, DynazmqError)
        if i % 500 == 10:
            time.sleep(0.5)
    puts = [message.write_id for _, message in fakes.heard if isinstance(message, Put)]
    assert len(puts) == len(set(puts)) == 1500, "none was sent again"


def test_an_error_of_the_iterator_comes_after_the_outcomes_before_it(client: dynazmq.Client) -> None:
    told: list[str] = []
    with pytest.raises(OSError, match="gone"):
        told.extend(key for key, _ in client.put_iter(broken(pairs(700), OSError("gone"))))
    assert sorted(told) == sorted(f"k{i}" for i in range(700))
    assert idle(client)


def test_put_many_of_a_generator_that_raises_says_what_was_done(client: dynazmq.Client) -> None:
    items: list[Any] = [("a", b"v"), ("", b"v"), ("c", b"v")]
    with pytest.raises(OSError, match="gone") as caught:
        client.put_many(broken(iter(items), OSError("gone")))
    assert caught.value.__notes__ == ["2 of the 3 keys before it were done, no other was begun"]
    assert idle(client)


def test_the_calls_for_many_take_generators_as_they_come(client: dynazmq.Client) -> None:
    items = Source((f"k{i}", b"v") for i in range(5000))
    seen: list[int] = []

    def noting() -> Iterator[Any]:
        for item in items:
            seen.append(len(client._driver._connection.core))
            yield item

    assert len(client.put_many(noting()).ok) == 5000
    assert max(seen) <= BATCH_IN_FLIGHT
    assert len(client.get_many(f"k{i}" for i in range(5000)).ok) == 5000
    context = dynazmq.Context(b"\x01" + b"c" * 20)
    assert len(client.delete_many((f"k{i}" for i in range(100)), {"k1": context}).ok) == 100
    assert len(client.put_many(((f"k{i}", b"v") for i in range(100)), {"k1": context}).ok) == 100


def test_the_contexts_of_a_generator_are_looked_up_in_its_turn(fakes: Fakes, client: dynazmq.Client) -> None:
    context = dynazmq.Context(b"\x01" + b"c" * 20)
    contexts: dict[str, dynazmq.Context] = {}

    def items() -> Iterator[tuple[str, bytes]]:
        contexts["k"] = context
        yield "k", b"v"

    client.put_many(items(), contexts)
    assert [message.context for _, message in fakes.heard] == [context.token]


def test_who_leaves_the_loop_leaves_nothing_under_way(fakes: Fakes, client: dynazmq.Client) -> None:
    fakes.behaviour = lambda name, message: good(name, message) if message.key == b"k0" else silent(name, message)
    outcomes = client.put_iter(pairs(10_000))
    assert next(outcomes)[0] == "k0"
    assert len(client._driver._connection.core) == BATCH_IN_FLIGHT - 1
    outcomes.close()  # type: ignore[attr-defined]
    assert idle(client)
    fakes.behaviour = good
    assert client.put("k", b"v").acked


def test_a_client_that_is_closed_meanwhile_ends_what_is_under_way_and_then_the_stream(fakes: Fakes) -> None:
    with dynazmq.connect(endpoints=list(fakes.endpoints.values()), timeout=10.0) as client:
        fakes.behaviour = lambda name, message: good(name, message) if message.key == b"k0" else silent(name, message)
        told: dict[Any, Any] = {}

        def close_at_the_first() -> None:
            for key, outcome in client.put_iter(pairs(10_000)):
                told[key] = outcome
                client.close()

        with pytest.raises(ClientClosed):
            close_at_the_first()
    assert len(told) == BATCH_IN_FLIGHT
    assert all(isinstance(outcome, ClientClosed) for key, outcome in told.items() if key != "k0")


def test_streams_of_many_threads_share_one_client(client: dynazmq.Client) -> None:
    found: dict[int, int] = {}

    def work(thread: int) -> None:
        keys = [f"{thread}/{i}" for i in range(1500)]
        found[thread] = sum(result.value == key.encode() for key, result in client.get_iter(iter(keys)))
        found[thread] += len(client.put_many(dict.fromkeys(keys, b"")).ok)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(6), 3000)
    assert idle(client)


def test_a_stream_goes_on_after_another_thread_was_cut_off(fakes: Fakes, client: dynazmq.Client) -> None:
    """What that thread had in hand may have been the stream's: it is counted again."""
    outcomes = client.put_iter(pairs(2000))
    told = {next(outcomes)[0]}
    connection = client._driver._connection
    lost = list(connection.core._requests.values())[:5]
    for request in lost:
        connection.core._requests.pop(request.message.request_id)
    connection._torn += 1
    told |= {key for key, _ in outcomes}
    assert len(told) == 2000


# --- on an event loop -------------------------------------------------------------------------------------------------------


def on(fakes: Fakes, work: Callable[[aio.AsyncClient], Any]) -> Any:
    async def run() -> Any:
        async with aio.connect(endpoints=list(fakes.endpoints.values()), timeout=10.0) as client:
            outcome = await work(client)
            core = client._driver.links.core
            assert len(core) == len(core._windows) == 0
            assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
            return outcome

    return asyncio.run(run())


async def each(items: Any, pause: float | None = None) -> AsyncIterator[Any]:
    for item in items:
        if pause is not None:
            await asyncio.sleep(pause)
        yield item


@pytest.mark.parametrize("source", [iter, each], ids=["an iterator", "an async iterator"])
def test_async_many_are_put_and_got_as_they_come(fakes: Fakes, source: Callable[[Any], Any]) -> None:
    keys = [f"k{i}" for i in range(6000)]

    async def work(client: aio.AsyncClient) -> None:
        put = {key async for key, done in client.put_iter(source([(key, b"v") for key in keys])) if done.acked}
        assert put == set(keys)
        got = [key async for key, result in client.get_iter(source(keys), ordered=True) if result.value == key.encode()]
        assert got == keys
        assert len([key async for key, _ in client.delete_iter(source(keys[:500]))]) == 500

    on(fakes, work)


def test_async_an_item_is_told_while_the_next_one_is_still_to_come(fakes: Fakes) -> None:
    more = asyncio.Event()

    async def items() -> AsyncIterator[tuple[str, bytes]]:
        yield "a", b"v"
        await more.wait()
        yield "b", b"v"

    async def work(client: aio.AsyncClient) -> list[str]:
        told = []
        async for key, _ in client.put_iter(items()):
            told.append(key)
            more.set()
        return told

    assert on(fakes, work) == ["a", "b"]


@pytest.mark.parametrize("source", [iter, each], ids=["an iterator", "an async iterator"])
def test_async_no_more_is_taken_than_may_be_under_way(fakes: Fakes, source: Callable[[Any], Any]) -> None:
    items = pairs(5000)

    async def work(client: aio.AsyncClient) -> None:
        told = 0
        async for _ in client.put_iter(source(items)):
            told += 1
            await asyncio.sleep(0)
            assert items.taken <= told + BATCH_IN_FLIGHT
        assert told == 5000

    on(fakes, work)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_async_an_error_of_the_iterator_comes_after_the_outcomes_before_it(fakes: Fakes, asynchronous: bool) -> None:
    def items() -> Any:
        found = broken(pairs(700), OSError("gone"))
        return each(found) if asynchronous else found

    async def work(client: aio.AsyncClient) -> None:
        told = []

        async def listen() -> None:
            async for key, _ in client.put_iter(items()):
                told.append(key)

        with pytest.raises(OSError, match="gone"):
            await listen()
        assert len(told) == 700
        if not asynchronous:
            with pytest.raises(OSError, match="gone") as caught:
                await client.put_many(items())
            assert caught.value.__notes__ == ["700 of the 700 keys before it were done, no other was begun"]

    on(fakes, work)


@pytest.mark.parametrize("source", [iter, each], ids=["an iterator", "an async iterator"])
def test_async_who_leaves_the_loop_or_is_cancelled_leaves_nothing_under_way(fakes: Fakes, source: Callable[[Any], Any]) -> None:
    fakes.behaviour = lambda name, message: good(name, message) if message.key == b"k0" else silent(name, message)

    async def work(client: aio.AsyncClient) -> None:
        outcomes = client.put_iter(source(pairs(10_000)))
        async for key, _ in outcomes:
            assert key == "k0"
            break
        await outcomes.aclose()  # type: ignore[attr-defined]
        assert len(client._driver.links.core) == 0

        async def drain() -> None:
            async for _ in client.get_iter(source(f"k{i}" for i in range(1, 100))):
                pass

        task = asyncio.create_task(drain())
        await asyncio.sleep(0.02)
        assert len(client._driver.links.core) > 0
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    on(fakes, work)


def test_async_a_client_that_is_closed_meanwhile_ends_what_is_under_way_and_then_the_stream(fakes: Fakes) -> None:
    fakes.behaviour = lambda name, message: good(name, message) if message.key == b"k0" else silent(name, message)

    async def run() -> dict[Any, Any]:
        told: dict[Any, Any] = {}

        async def close_at_the_first(client: aio.AsyncClient) -> None:
            async for key, outcome in client.put_iter(pairs(10_000)):
                told[key] = outcome
                client.close()

        async with aio.connect(endpoints=list(fakes.endpoints.values()), timeout=10.0) as client:
            with pytest.raises(ClientClosed):
                await close_at_the_first(client)
        return told

    assert len(asyncio.run(run())) == BATCH_IN_FLIGHT


def test_async_calls_for_many_take_generators_as_they_come(fakes: Fakes) -> None:
    async def work(client: aio.AsyncClient) -> None:
        assert len((await client.put_many((f"k{i}", b"v") for i in range(3000))).ok) == 3000
        assert len((await client.get_many(f"k{i}" for i in range(3000))).ok) == 3000
        assert len((await client.delete_many(f"k{i}" for i in range(100))).ok) == 100

    on(fakes, work)


def test_a_resolver_settles_each_result_of_a_stream(fakes: Fakes, client: dynazmq.Client) -> None:
    def siblings(_name: str, message: Any) -> list[bytes]:
        if isinstance(message, Put):
            return sealed(PutReply(message.request_id, b"", ["n1", "n2"], []))
        return sealed(GetReply(message.request_id, [b"a", b"b"], [["n1", 1, 0], ["n2", 1, 0]], b"", ["n1"]))

    fakes.behaviour = siblings
    carts = client.bucket("carts", resolver=lambda values: b"+".join(sorted(values)))
    assert {key: result.value for key, result in carts.get_iter(["x", "y"])} == {"x": b"a+b", "y": b"a+b"}
    assert [message.value for _, message in fakes.heard if isinstance(message, Put)] == [b"a+b", b"a+b"]
