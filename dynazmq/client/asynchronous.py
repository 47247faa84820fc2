"""The asynchronous client: the same calls, on the caller's event loop and without a thread.

ZeroMQ gives each socket a descriptor that becomes readable when *something* has changed. `zmq.asyncio` wraps every call in
futures and costs several times what the call does; here the descriptor only says "look", and one look takes everything. All
requests that are made in one pass of the event loop leave together, in one frame for each node.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import zmq

from dynazmq.client import flows
from dynazmq.client.codecs import Codec
from dynazmq.client.flows import AnyContext, Flow
from dynazmq.client.links import Links, Target
from dynazmq.client.outcomes import unreachable
from dynazmq.client.requests import BATCH_IN_FLIGHT, Key, Level, Options, Request, Resolver
from dynazmq.client.results import Batch, PutResult, Result
from dynazmq.client.scan import Scanner
from dynazmq.client.view import View
from dynazmq.config import DEFAULT_BUCKET, SIBLINGS
from dynazmq.errors import ClientClosed

if TYPE_CHECKING:
    from dynazmq.client.explained import Explanation
    from dynazmq.client.traced import Trace

T = TypeVar("T")


class _AsyncDriver:
    """Belongs to one event loop."""

    def __init__(self, target: Target, timeout: float) -> None:
        self.target = target
        self.closed = False
        self._timeout = timeout
        self._links: Links | None = None
        self._watched: dict[str, int] = {}  # link → the descriptor that the loop watches for it
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = float("inf")
        self._flush_soon = False

    async def open(self) -> None:
        """Raises ClusterUnreachable, ProtocolError; ClientClosed for one that was in use already."""
        if self.closed or self._links is not None:
            raise ClientClosed("this client was opened before: make another with dynazmq.aio.connect")
        self._loop = asyncio.get_running_loop()
        self._links = links = Links(self.target)
        # Collected unclosed, in whatever order, ZeroMQ's context would wait for its sockets for ever.
        self._finalizer = weakref.finalize(self, links.close)
        deadline = time.monotonic() + self._timeout
        try:
            while links.core.view is None:
                self._flush()
                await asyncio.sleep(0.001)
                if self.closed:
                    raise ClientClosed("the client was closed while it connected")
                if (error := links.core.hopeless()) is not None:
                    raise error
                if time.monotonic() >= deadline and links.core.view is None:
                    raise unreachable(links.core.tried)
        except BaseException:
            self.close()
            raise

    @property
    def links(self) -> Links:
        if self._links is None or self.closed or self._links.core.view is None:
            raise ClientClosed("this client is closed" if self.closed else "this client is not open: use it within `async with`")
        return self._links

    @property
    def view(self) -> View:
        view = self.links.core.view
        assert view is not None
        return view

    async def run(self, requests: Sequence[Request]) -> None:
        """Have these done, with an answer or an error each."""
        if not requests:
            return
        core = self.links.core
        future = self._loop.create_future()
        if len(requests) == 1:
            request = requests[0]
            request.notify = lambda _request: None if future.done() else future.set_result(None)
            core.start(request, time.monotonic())
            self._schedule()
            try:
                await future
            except BaseException:  # cancelled: nobody waits for it any more
                core.cancel(request)
                raise
            return
        left = len(requests)
        following = iter(requests[BATCH_IN_FLIGHT:])

        def answered(_request: Request) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                if not future.done():
                    future.set_result(None)
            elif (another := next(following, None)) is not None:
                core.start(another, time.monotonic())
                self._schedule()

        for request in requests:
            request.notify = answered
        now = time.monotonic()
        for request in requests[:BATCH_IN_FLIGHT]:
            core.start(request, now)
        self._schedule()
        try:
            await future
        except BaseException:
            following = iter(())
            for request in requests:
                core.cancel(request)
            raise

    def _schedule(self) -> None:
        """Send at the end of this pass of the event loop, so that what is asked together leaves together."""
        if not self._flush_soon:
            self._flush_soon = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_soon = False
        links = self._links
        if links is None or self.closed:
            return
        links.turn()
        for link, socket in links.retired:
            if (descriptor := self._watched.pop(link, None)) is not None:
                self._loop.remove_reader(descriptor)
            socket.close()
        links.retired.clear()
        for link, socket in links.opened:
            self._watched[link] = descriptor = int(socket.getsockopt(zmq.FD))
            self._loop.add_reader(descriptor, self._look, link)
        links.opened.clear()
        # Sending may have swallowed the signal that something has come (the descriptor tells of changes, not of states).
        for link, socket in links.sockets():
            if int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                self._look(link)
        self._set_timer()

    def _look(self, link: str) -> None:
        """Something has changed at this socket."""
        links = self._links
        if links is None or self.closed:
            return
        if not links.receive(link):
            self._loop.call_soon(self._look, link)
        if links.core.has_outgoing:
            self._schedule()

    def _set_timer(self) -> None:
        assert self._links is not None
        due = self._links.core.next_deadline()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(max(0.001, due - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_due = float("inf")
        for link in list(self._watched):
            self._look(link)  # if the loop was busy, the answers that seem to be overdue are here already
        self._flush()

    def standing(self, link: str) -> bool:
        """Whether a node is believed to answer."""
        return self.links.core.standing(link)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._links is None:
            return
        self._links.core.close()
        if self._timer is not None:
            self._timer.cancel()
        if not self._loop.is_closed():
            for descriptor in self._watched.values():
                self._loop.remove_reader(descriptor)
        self._watched.clear()
        self._finalizer()


class AsyncBucket:
    """A bucket's calls, as those of `dynazmq.Bucket`, each to be awaited."""

    def __init__(self, driver: _AsyncDriver, options: Options) -> None:
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
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return await self._perform(flows.delete_many(self._driver.view, options, keys, contexts))

    async def keys(self, *, replicas: int = 0, timeout: float | None = None) -> AsyncIterator[str | bytes]:
        """All live keys, as `dynazmq.Bucket.keys` gives them."""
        options = self._with(timeout=timeout)
        scanner = Scanner(options.bucket, options.timeout, lambda: self._driver.view, self._driver.standing, replicas)
        while not scanner.done:
            for key in await self._perform(flows.page(self._driver.view, options, scanner)):
                yield key

    async def explain(self, key: Key, *, timeout: float | None = None) -> Explanation:
        """Where a key lives, what each node holds of it, what a get would return and what repair does next. Changes nothing.

        A node that does not answer in a moment is told as such. What `dynazmq explain --json` prints is `.document()` of it.
        """
        from dynazmq.client import looking  # only who looks pays for importing it

        return await self._perform(looking.explain(self._driver.view, self._with(timeout=timeout), key))

    async def trace_get(
        self, key: Key, *, r: Level = None, pr: Level = None, n: int | None = None, timeout: float | None = None
    ) -> Trace:
        """A get, and its timeline through coordinator and replicas; `.result` is what `get` returns, `.error` what it raises.

        Takes a second or so longer than the request when a replica is silent: late answers are waited for.
        """
        from dynazmq.client import looking  # only who looks pays for importing it

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
        from dynazmq.client import looking  # only who looks pays for importing it

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
        from dynazmq.client import looking  # only who looks pays for importing it

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
        run = self._driver.run
        try:
            while True:
                await run(next(flow))
        except StopIteration as stop:
            result: T = stop.value
            return result


class AsyncClient(AsyncBucket):
    """A connection to a cluster, for one event loop: `async with dynazmq.aio.connect() as client`."""

    def __init__(
        self, dir: str | os.PathLike[str] | None = None, endpoints: Sequence[str] | None = None, timeout: float = 2.0
    ) -> None:
        options = Options().with_(timeout=timeout)
        super().__init__(_AsyncDriver(Target(dir, endpoints), timeout), options)

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
