"""The asynchronous client: the same calls, to be awaited. How it waits at its sockets: event_loop.py."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from dynazmq.client.api.event_loop import AsyncDriver
from dynazmq.client.api.links import Target
from dynazmq.client.core import flows
from dynazmq.client.core.flows import AnyContext, DeleteItem, Flow, PutItem
from dynazmq.client.core.requests import Key, Level, Options, Resolver
from dynazmq.client.core.scan import Scanner
from dynazmq.client.values.codecs import Codec
from dynazmq.client.values.results import Batch, PutResult, Result
from dynazmq.client.values.view import View
from dynazmq.config import DEFAULT_BUCKET, SIBLINGS
from dynazmq.errors import DynazmqError

if TYPE_CHECKING:
    from dynazmq.client.inspect.explained import Explanation
    from dynazmq.client.inspect.traced import Trace

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class AsyncBucket:
    """A bucket's calls, as those of `dynazmq.Bucket`, each to be awaited."""

    def __init__(self, driver: AsyncDriver, options: Options) -> None:
        self._driver = driver
        self._options = options

    def __repr__(self) -> str:
        return f"<AsyncBucket {self.name!r}>"

    @property
    def name(self) -> str:
        return self._options.bucket

    def with_options(self, **changes: Any) -> AsyncBucket:
        """The same bucket with other defaults: n, r, w, pr, pw, timeout, codec, resolver, operation."""
        return AsyncBucket(self._driver, self._options.with_(**changes))

    async def get(
        self,
        key: Key,
        *,
        r: Level = None,
        pr: Level = None,
        n: int | None = None,
        timeout: float | None = None,
        best_effort: bool = False,
    ) -> Result:
        """Read a key: all concurrent values, and the context with which to replace them. An absent key is no error.

        best_effort: as of `dynazmq.Bucket.get`.
        """
        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return await self._perform(flows.get(self._driver.view, options, key, best_effort))

    async def put(
        self,
        key: Key,
        value: Any,
        context: AnyContext = None,
        *,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> PutResult:
        """Write a value. It replaces what `context` covers; without one it replaces nothing and may become a sibling."""
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return await self._perform(flows.put(self._driver.view, options, key, value, context))

    async def delete(
        self,
        key: Key,
        context: AnyContext = None,
        *,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> PutResult:
        """Delete what `context` covers; without one, what a read finds now."""
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return await self._perform(flows.delete(self._driver.view, options, key, context))

    async def get_many(
        self,
        keys: Iterable[Key],
        *,
        r: Level = None,
        pr: Level = None,
        n: int | None = None,
        timeout: float | None = None,
        best_effort: bool = False,
    ) -> Batch[Key, Result]:
        """Read many keys, one frame for each node. Outcome by key: a Result or an error. `timeout` is each key's own.

        best_effort: as of `get`.
        """
        if flows.is_lazy(keys):
            return await _collected(self.get_iter(keys, r=r, pr=pr, n=n, timeout=timeout, best_effort=best_effort))
        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return await self._perform(flows.get_many(self._driver.view, options, keys, best_effort))

    async def put_many(
        self,
        items: Mapping[Any, Any] | Iterable[tuple[Key, Any]],
        contexts: Mapping[Any, AnyContext] | None = None,
        *,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> Batch[Key, PutResult]:
        """Write many keys, each with its context if `contexts` has one. Not atomic: each key has its own outcome."""
        if flows.is_lazy(items):
            return await _collected(self.put_iter(flows.known_items(items, contexts), w=w, pw=pw, n=n, timeout=timeout))
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return await self._perform(flows.put_many(self._driver.view, options, items, contexts))

    async def delete_many(
        self,
        keys: Iterable[Key],
        contexts: Mapping[Any, AnyContext] | None = None,
        *,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> Batch[Key, PutResult]:
        """Delete many keys; those without a context as a read finds them now."""
        if flows.is_lazy(keys):
            return await _collected(self.delete_iter(flows.known_keys(keys, contexts), w=w, pw=pw, n=n, timeout=timeout))
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return await self._perform(flows.delete_many(self._driver.view, options, keys, contexts))

    def get_iter(
        self,
        keys: Iterable[Key] | AsyncIterable[Key],
        *,
        ordered: bool = False,
        r: Level = None,
        pr: Level = None,
        n: int | None = None,
        timeout: float | None = None,
        best_effort: bool = False,
    ) -> AsyncIterator[tuple[Key, Result | DynazmqError]]:
        """Read any number of keys: (key, outcome) of each, as they come, for `async for`. As `dynazmq.Bucket.get_iter`.

        The keys, too, may come from an async iterable.
        """
        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return self._driver.stream(keys, flows.begin_get(lambda: self._driver.view, options, best_effort), ordered)

    def put_iter(
        self,
        items: Mapping[Any, Any] | Iterable[PutItem] | AsyncIterable[PutItem],
        *,
        ordered: bool = False,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[Key, PutResult | DynazmqError]]:
        """Write any number of pairs, or of triples with a context, as `dynazmq.Bucket.put_iter`. For `async for`."""
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return self._driver.stream(flows.pairs_of(items), flows.begin_put(lambda: self._driver.view, options), ordered)

    def delete_iter(
        self,
        keys: Iterable[DeleteItem] | AsyncIterable[DeleteItem],
        *,
        ordered: bool = False,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[Key, PutResult | DynazmqError]]:
        """Delete any number of keys, or of pairs with a context, as `dynazmq.Bucket.delete_iter`. For `async for`."""
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return self._driver.stream(keys, flows.begin_delete(lambda: self._driver.view, options), ordered)

    async def keys(self, *, replicas: int = 0, timeout: float | None = None) -> AsyncIterator[str | bytes]:
        """All live keys, as `dynazmq.Bucket.keys` gives them.

        N - W + 1 primaries of every partition must answer, and R at least; `replicas` asks fewer (or more).
        """
        options = self._with(timeout=timeout)
        scanner = Scanner(options.bucket, options.timeout, lambda: self._driver.view, self._driver.standing, replicas)
        while not scanner.done:
            for key in await self._perform(flows.page(self._driver.view, options, scanner)):
                yield key

    async def explain(self, key: Key, *, timeout: float | None = None) -> Explanation:
        """Where a key lives, what each node holds of it, what a get would return and what repair does next. Changes nothing.

        A node that does not answer in a moment is told as such. What `dynazmq explain --json` prints is `.document()` of it.
        """
        from dynazmq.client.inspect import looking  # only who looks pays for importing it

        return await self._perform(looking.explain(self._driver.view, self._with(timeout=timeout), key))

    async def trace_get(
        self, key: Key, *, r: Level = None, pr: Level = None, n: int | None = None, timeout: float | None = None
    ) -> Trace:
        """A get, and its timeline through coordinator and replicas; `.result` is what `get` returns, `.error` what it raises.

        Takes a second or so longer than the request when a replica is silent: late answers are waited for.
        """
        from dynazmq.client.inspect import looking  # only who looks pays for importing it

        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return await self._perform(looking.trace_get(self._driver.view, options, key))

    async def trace_put(
        self,
        key: Key,
        value: Any,
        context: AnyContext = None,
        *,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> Trace:
        """A put, and its timeline; see `trace_get`."""
        from dynazmq.client.inspect import looking  # only who looks pays for importing it

        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return await self._perform(looking.trace_put(self._driver.view, options, key, value, context))

    async def trace_delete(
        self,
        key: Key,
        context: AnyContext = None,
        *,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> Trace:
        """A delete, and its timeline; see `trace_get`. Without a context a read comes first, which is not traced.

        Raises KeyNotFound when that finds nothing.
        """
        from dynazmq.client.inspect import looking  # only who looks pays for importing it

        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return await self._perform(looking.trace_delete(self._driver.view, options, key, context))

    async def configure(
        self, *, n: int | None = None, r: int | None = None, w: int | None = None, conflict: str = SIBLINGS
    ) -> None:
        """Give the bucket a policy of its own; it spreads to all nodes in some seconds. What is not given: the cluster's.

        conflict: what becomes of concurrent writes: "siblings" keeps all of them, "lww" only the last one, and the others are
        lost though they were acknowledged.
        """
        await self._perform(flows.configure(self._driver.view, self._options, n, r, w, conflict))

    def _with(self, **changes: Any) -> Options:
        for value in changes.values():
            if value is not None:
                return self._options.with_(**changes)
        return self._options

    async def _perform(self, flow: Flow[T]) -> T:
        driver = self._driver
        try:
            while True:
                requests = next(flow)
                if len(requests) != 1:
                    await driver.run(requests)
                    continue
                try:
                    await driver.begin(requests[0])
                except BaseException:
                    driver.cancel(requests[0])
                    raise
        except StopIteration as stop:
            result: T = stop.value
            return result


async def _collected(outcomes: AsyncIterator[tuple[K, V | DynazmqError]]) -> Batch[K, V]:
    """As `results.collected`."""
    batch: Batch[K, V] = Batch()
    try:
        async for key, outcome in outcomes:
            batch[key] = outcome
    except Exception as error:
        error.add_note(batch.told())
        raise
    return batch


class AsyncClient(AsyncBucket):
    """A connection to a cluster, for one event loop: `async with dynazmq.aio.connect() as client`."""

    def __init__(
        self, dir: str | os.PathLike[str] | None = None, endpoints: Sequence[str] | None = None, timeout: float = 2.0
    ) -> None:
        options = Options().with_(timeout=timeout)
        super().__init__(AsyncDriver(Target(dir, endpoints), timeout), options)

    def bucket(
        self,
        name: str = DEFAULT_BUCKET,
        *,
        codec: str | Codec = "raw",
        resolver: Resolver | None = None,
        timeout: float | None = None,
    ) -> AsyncBucket:
        """A view of one bucket. codec: raw (bytes), text, json or msgpack. resolver: makes one value of several siblings."""
        return AsyncBucket(self._driver, self._options.with_(bucket=name, codec=codec, resolver=resolver, timeout=timeout))

    @property
    def view(self) -> View:
        """What the client knows of the cluster: ring, endpoints, policies."""
        return self._driver.view

    @property
    def overloads(self) -> int:
        """Times that a node has refused a request for having too much to do. Most were done later all the same."""
        return self._driver.links.core.overloads

    def close(self) -> None:
        """Close the sockets; calls under way end with ClientClosed. Again does nothing."""
        self._driver.close()

    async def __aenter__(self) -> AsyncClient:
        await self._driver.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
