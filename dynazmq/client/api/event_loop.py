"""The sockets of one asynchronous client, on the caller's event loop and without a thread.

ZeroMQ gives each socket a descriptor that becomes readable when *something* has changed. `zmq.asyncio` wraps every call in
futures and costs several times what the call does; here the descriptor only says "look", and one look takes everything. All
requests that are made in one pass of the event loop leave together, in one frame for each node.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from typing import Any, TypeVar

import zmq

from dynazmq.client.api.links import Links, Target
from dynazmq.client.core.core import ClientCore
from dynazmq.client.core.flows import Begin, one_by_one
from dynazmq.client.core.outcomes import unreachable
from dynazmq.client.core.requests import BATCH_IN_FLIGHT, Key, Request
from dynazmq.client.core.stream import Stream
from dynazmq.client.values.view import View
from dynazmq.errors import ClientClosed, ClusterUnreachable, DynazmqError, InvalidRequest

T = TypeVar("T")

_NOBODY_WAITS_S = 0.05
"""Between two looks whether the nodes of a new cluster are there: calls do not wait for that."""


class AsyncDriver:
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
        self._outlived = ""
        """Of the cluster before this one, if there was one: why nothing is asked of it any more."""

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
        links = self._links
        if links is None or self.closed or links.core.view is None:
            if self._outlived and not self.closed:
                assert links is not None
                raise ClusterUnreachable(f"{self._outlived}, and none of its nodes has answered yet", dict(links.core.tried))
            raise ClientClosed("this client is closed" if self.closed else "this client is not open: use it within `async with`")
        return links

    @property
    def view(self) -> View:
        view = self.links.core.view
        assert view is not None
        return view

    def _future(self) -> asyncio.Future[None]:
        """Of the client's own event loop. Raises InvalidRequest in another one, be the own one closed or in another thread."""
        if asyncio.get_running_loop() is not self._loop:
            raise InvalidRequest(
                "this client belongs to another event loop, in which it was opened: open one in each, or use dynazmq.connect, "
                "whose clients belong to none"
            )
        return self._loop.create_future()

    def begin(self, request: Request) -> asyncio.Future[None]:
        """Have it done, with an answer or an error; then the future is. Who gives up before that cancels it.

        The usual case, and so without a coroutine of its own: where thousands of these wait, what Python's collector finds to
        look at is most of what they cost.
        """
        request.notify, request.future = _wake, self._future()
        self.links.core.start(request, time.monotonic())
        self._schedule()
        future: asyncio.Future[None] = request.future
        return future

    def cancel(self, request: Request) -> None:
        """Nobody waits for it any more; be the client closed meanwhile."""
        if self._links is not None:
            self._links.core.cancel(request)

    async def run(self, requests: Sequence[Request]) -> None:
        """Have these done, with an answer or an error each, a part of them at a time."""
        if not requests:
            return
        core, future = self.links.core, self._future()
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

    def stream(self, items: object, begin: Begin[T], ordered: bool) -> AsyncIterator[tuple[Key, T | DynazmqError]]:
        """Do these as there is room for them: (key, outcome) of each, as they come or in order. items: also an async iterable.

        What nobody waits for any more when the iteration is given up may be done or not.
        """
        stream = Stream(begin, self.links.core.expected_bytes, ordered)
        if isinstance(items, AsyncIterable):
            return self._pumped(stream, items)
        return self._filled(stream, one_by_one(items))

    async def _filled(self, stream: Stream[T], items: Iterator[Any]) -> AsyncIterator[tuple[Key, T | DynazmqError]]:
        core, answer = self.links.core, asyncio.Event()
        stream.on_answer = answer.set
        try:
            while not stream.is_over():
                self._start(stream.fill(items))
                if stream.waits:
                    answer.clear()
                    await answer.wait()
                for outcome in stream.outcomes():
                    yield outcome
        finally:
            _cancel(core, stream)

    async def _pumped(self, stream: Stream[T], items: AsyncIterable[Any]) -> AsyncIterator[tuple[Key, T | DynazmqError]]:
        core, news, room = self.links.core, asyncio.Event(), asyncio.Event()
        stream.on_answer = news.set
        pump = asyncio.create_task(self._pump(stream, items, news, room))
        try:
            while not stream.is_over():
                self._start(stream.go_on())
                if stream.waits:
                    news.clear()
                    await news.wait()
                for outcome in stream.outcomes():
                    yield outcome
                room.set()
        finally:
            _cancel(core, stream)
            pump.cancel()
            await asyncio.wait([pump])

    async def _pump(self, stream: Stream[T], items: AsyncIterable[Any], news: asyncio.Event, room: asyncio.Event) -> None:
        """Take items as they come, beside who waits for outcomes."""
        try:
            async for item in items:
                self._start(stream.take(item))
                news.set()  # it may have an outcome at once
                while not stream.has_room:
                    room.clear()
                    await room.wait()
            stream.end()
        except Exception as error:
            stream.end(error)
        news.set()

    def _start(self, requests: Sequence[Request]) -> None:
        if requests:
            core, now = self.links.core, time.monotonic()
            for request in requests:
                core.start(request, now)
            self._schedule()

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
        if links.successor is not None:
            self._go_over(links, links.successor)
            return
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
        for link, socket in list(links.used.items()):
            if int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                self._look(link)
        self._set_timer()

    def _go_over(self, links: Links, target: Target) -> None:
        """Another cluster was made in the place of the one that was connected to."""
        self._outlived, self.target = links.outlived, target
        links.core.outlive(links.outlived)  # what was begun since that was known
        for descriptor in self._watched.values():
            self._loop.remove_reader(descriptor)
        self._watched.clear()
        self._finalizer()
        self._links = links = Links(target)
        self._finalizer = weakref.finalize(self, links.close)
        self._schedule()

    def _look(self, link: str) -> None:
        """Something has changed at this socket."""
        links = self._links
        if links is None or self.closed:
            return
        if not links.receive(link):
            self._loop.call_soon(self._look, link)
        if links.core.has_outgoing or links.successor is not None:
            self._schedule()

    def _set_timer(self) -> None:
        assert self._links is not None
        due = self._links.core.next_deadline()
        if due is not None and self._outlived and self._links.core.view is None:
            due = max(due, time.monotonic() + _NOBODY_WAITS_S)
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


def _wake(request: Request) -> None:
    """Who waits for this request goes on; but for one that was cancelled in this very moment."""
    if not request.future.done():
        request.future.set_result(None)


def _cancel(core: ClientCore, stream: Stream[Any]) -> None:
    stream.on_answer = None
    for request in stream.under_way:
        core.cancel(request)
