"""Many threads at one set of sockets, without a thread for it.

Whoever waits for an answer drives the sockets for everybody: the first thread that comes leads (sends, polls, receives), the
others start their requests, wake it, and sleep until their answers are there. When the leader has its own it hands the lead to
one that still waits. So a program with one thread pays for no hand-over at all, and many threads share frames.

`_mutex` guards the core and who leads. Sockets belong to the leader and are touched by nobody else, not even by `close`: with a
leader about, it is the leader that closes them on its way out. Only the wait in `poll` is outside the mutex.

A thread can be cut off at any instruction (Ctrl-C). Its own requests are then cancelled, the lead is handed on, and the core is
mended, so that the answers of the others, which it may just have had in hand, are asked for again instead of being waited for.
"""

from __future__ import annotations

import os
import socket as stdsocket
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import zmq

from dynazmq.client.api.links import Links, Target
from dynazmq.client.core.core import ClientCore
from dynazmq.client.core.flows import Begin
from dynazmq.client.core.outcomes import unreachable
from dynazmq.client.core.requests import BATCH_IN_FLIGHT, Key, Request
from dynazmq.client.core.stream import Stream
from dynazmq.client.values.view import View
from dynazmq.errors import ClientClosed, ClusterUnreachable, DynazmqError, InvalidRequest

T = TypeVar("T")

_IDLE_MS = 1000
_LEAVE_S = 1.0


class _Waiter:
    """A thread's wait for the requests of one call. Guarded by the mutex, but for the sleep in `wake`."""

    __slots__ = ("core", "followers", "left", "queue", "requests", "thread", "wake")

    looks_first = False
    """Whether nobody may have been at the sockets for a while: what has come meanwhile is then heard before anything is late."""

    def __init__(self, core: ClientCore, followers: dict[_Waiter, None], requests: Sequence[Request]) -> None:
        self.core = core
        self.followers = followers
        self.requests = requests
        self.left = len(requests)
        self.queue = deque(requests)  # those that are not under way yet
        self.thread = threading.get_ident()
        self.wake: threading.Lock | None = None  # a follower's; held until it has its answers, or the lead
        for request in requests:
            request.notify = self._answered

    def start(self, now: float) -> None:
        start, queue = self.core.start, self.queue
        for _ in range(min(len(queue), BATCH_IN_FLIGHT)):
            start(queue.popleft(), now)

    def _answered(self, _request: Request) -> None:
        self.left -= 1
        if self.queue:
            self.core.start(self.queue.popleft(), time.monotonic())
        elif self.left <= 0:
            self.release()

    def release(self) -> None:
        """End a follower's sleep, whatever the reason."""
        if self in self.followers:
            del self.followers[self]
            assert self.wake is not None
            self.wake.release()

    def cancel(self) -> None:
        self.queue.clear()
        self.left = 0
        self.followers.pop(self, None)
        for request in self.requests:
            self.core.cancel(request)

    def recount(self, now: float) -> None:
        """Another thread was cut off in the middle of a step that may have been about these requests."""
        waiting = {id(request) for request in self.queue}
        lost = [r for r in self.requests if not r.done and not self.core.knows(r) and id(r) not in waiting]
        self.left = sum(not request.done for request in self.requests)
        for request in lost:
            self.core.start(request, now)
        if self.left == 0:
            self.release()


class _StreamWaiter(_Waiter):
    """A thread's wait for the next answer to a stream, whichever that is. The thread was away, and is so again afterwards."""

    __slots__ = ("new", "stream")
    looks_first = True

    def __init__(self, core: ClientCore, followers: dict[_Waiter, None], stream: Stream[Any], new: Sequence[Request]) -> None:
        super().__init__(core, followers, ())
        self.stream = stream
        self.new = new
        self.left = 1

    def start(self, now: float) -> None:
        self.stream.on_answer = self._arrived
        for request in self.new:
            self.core.start(request, now)
        if not self.stream.waits:
            self._arrived()

    def _arrived(self) -> None:
        self.left = 0
        self.release()

    def cancel(self) -> None:
        self.left = 0
        self.followers.pop(self, None)
        for request in self.stream.under_way:
            self.core.cancel(request)

    def recount(self, now: float) -> None:
        self.stream.recount(self.core, now)


class Connection:
    """The sockets of one client in one process, and the threads that wait at them."""

    def __init__(self, target: Target, timeout: float) -> None:
        """Returns when a node has said what the cluster looks like. Raises ClusterUnreachable, ProtocolError, InvalidRequest."""
        self.closed = False
        self.after_fork = threading.Lock()
        """Held by the thread of a forked child that makes the connection which takes the place of this one."""
        self._mutex = threading.RLock()  # a signal handler may call close() in the middle of anything
        self._leader: _Waiter | None = None
        self._followers: dict[_Waiter, None] = {}  # in the order in which they came
        self._left = threading.Event()  # the last leader of a closed connection is gone
        self._links = Links(target)
        self.core = self._links.core
        self._waking, self._waker = stdsocket.socketpair()
        self._waking.setblocking(False)
        self._waker.setblocking(False)
        self._nudged = False
        self._torn = 0  # how often a thread was cut off, and so something may have been lost
        self._poller = zmq.Poller()
        self._poller.register(self._waking.fileno(), zmq.POLLIN)
        self._link_of: dict[Any, str] = {}
        try:
            self._meet(timeout)
        except BaseException:
            self._dispose()
            raise
        _living.add(self)

    def _meet(self, timeout: float) -> None:
        core = self.core
        deadline = time.monotonic() + timeout
        while core.view is None:
            self._links.turn()
            due = core.next_deadline()
            self._pump(deadline if due is None else min(due, deadline))
            if (error := core.hopeless()) is not None:
                raise error
            if time.monotonic() >= deadline and core.view is None:
                raise unreachable(core.tried)

    @property
    def successor(self) -> Target | None:
        """See `Links`: what is asked next goes there, over another connection."""
        return self._links.successor

    @property
    def view(self) -> View:
        if self.closed:
            raise self._ended()
        view = self.core.view
        assert view is not None
        return view

    def run(self, requests: Sequence[Request]) -> None:
        """Have these done, with an answer or an error each."""
        if requests:
            self._wait(_Waiter(self.core, self._followers, requests))

    def stream(self, items: Iterator[Any], begin: Begin[T], ordered: bool) -> Iterator[tuple[Key, T | DynazmqError]]:
        """Do these as there is room for them: (key, outcome) of each, as they come or in order.

        Between two of them the calling thread does something else, and so mostly nobody is at the sockets. What nobody has waited
        for any more at the end, or when the iteration is given up, may be done or not.
        """
        stream = Stream(begin, self.core.expected_bytes, ordered)
        torn = self._torn
        try:
            while not stream.is_over():
                if torn != self._torn:
                    torn = self._torn
                    self._recount(stream)
                new = stream.fill(items)
                if new or stream.waits:
                    self._wait(_StreamWaiter(self.core, self._followers, stream, new))
                yield from stream.outcomes()
        finally:
            with self._mutex:
                stream.on_answer = None
                for request in stream.under_way:
                    self.core.cancel(request)

    def _recount(self, stream: Stream[Any]) -> None:
        with self._mutex:
            stream.recount(self.core, time.monotonic())

    def _wait(self, waiter: _Waiter) -> None:
        """Have the waiter's requests started, and return when it is answered."""
        try:
            with self._mutex:
                if self.closed or self._links.successor is not None:
                    raise self._ended()
                if self._leader is None:
                    self._leader = waiter
                else:
                    self._follow(waiter, self._leader)
                waiter.start(time.monotonic())
            if waiter.wake is not None:
                waiter.wake.acquire()
            if self._leader is waiter:
                self._lead(waiter)
        except BaseException as error:  # Ctrl-C: nobody waits for these any more
            self._give_up(waiter, torn=not isinstance(error, DynazmqError))
            raise
        finally:
            waiter.requests = ()  # they know it, too: no cycle for the collector
            leads = waiter.wake is None or self._leader is waiter
            try:
                if leads:
                    self._leave(waiter)
                    leads = False
            finally:
                if leads:  # cut off even here: the others would wait for a leader for ever
                    self._leave(waiter)

    def _ended(self) -> DynazmqError:
        """Why nothing can be asked over this connection any more."""
        if self._links.successor is not None:
            return ClusterUnreachable(self._links.outlived, {})
        return ClientClosed("this client is closed")

    def _follow(self, waiter: _Waiter, leader: _Waiter) -> None:
        if leader.thread == waiter.thread:
            raise InvalidRequest("a signal handler cannot call the client whose call it has interrupted")
        waiter.wake = threading.Lock()
        waiter.wake.acquire()
        self._followers[waiter] = None
        self._nudge()

    def _lead(self, waiter: _Waiter) -> None:
        """Drive the sockets until our own requests are answered."""
        links, core = self._links, self.core
        if waiter.looks_first:
            self._pump(0.0)
            with self._mutex:
                links.turn()
        while True:
            with self._mutex:
                if waiter.left > 0:
                    links.turn()
                if waiter.left <= 0:
                    return
                due = core.next_deadline()
            self._pump(due)

    def _leave(self, waiter: _Waiter) -> None:
        """Hand the lead on, if we have it, or finish a hand-over that was begun."""
        with self._mutex:
            leader = self._leader
            if leader is waiter:
                leader = self._leader = next(iter(self._followers), None)
            if leader is None:
                if self.closed:
                    self._dispose()
            elif leader in self._followers:
                leader.release()

    def _give_up(self, waiter: _Waiter, torn: bool) -> None:
        with self._mutex:
            waiter.cancel()
            if torn:
                self._torn += 1
                now = time.monotonic()
                self.core.mend(now)
                for follower in list(self._followers):
                    follower.recount(now)

    def _pump(self, due: float | None) -> None:
        """Wait for frames, a nudge, or the time; take what has come."""
        links = self._links
        for link, socket in links.opened:
            self._poller.register(socket, zmq.POLLIN)
            self._link_of[socket] = link
        links.opened.clear()
        while links.retired:
            _, socket = links.retired[-1]
            if self._link_of.pop(socket, None) is not None and socket in self._poller:
                self._poller.unregister(socket)
            socket.close()
            links.retired.pop()
        wait_ms = _IDLE_MS if due is None else max(0, int((due - time.monotonic()) * 1000) + 1)
        ready = self._poller.poll(wait_ms)
        with self._mutex:
            for socket, _ in ready:
                if isinstance(socket, int):  # the nudges' descriptor
                    self._drain_nudges()
                else:
                    links.receive(self._link_of[socket])

    def _nudge(self) -> None:
        """End the leader's wait: once is enough until it has seen it."""
        if not self._nudged:
            self._nudged = True
            self._waker.send(b"x")

    def _drain_nudges(self) -> None:
        self._nudged = False
        try:
            self._waking.recv(16)
        except BlockingIOError:
            return

    def close(self) -> None:
        """End what is under way with ClientClosed. Returns when the sockets are closed; again does nothing."""
        with self._mutex:
            if self.closed:
                return
            self.closed = True
            self.core.close()
            leader = self._leader
            if leader is None:
                self._dispose()
                return
            self._nudge()
        if leader.thread != threading.get_ident():  # it has its answer, ClientClosed, and is on its way out
            self._left.wait(_LEAVE_S)

    def _dispose(self) -> None:
        self.closed = True
        self._links.close()
        self._waking.close()
        self._waker.close()
        self._left.set()

    def close_unused(self) -> None:
        """Nobody can use the client any more: it was collected, or the interpreter ends (then a thread may still be at it)."""
        if self._leader is None:
            self.close()

    def forked(self) -> None:
        """In the child: threads and sockets are the parent's, and the mutex may be held by a thread that is not here."""
        self.closed = True
        self._mutex = threading.RLock()
        self._links.abandon()
        self._waking.close()
        self._waker.close()


_living: weakref.WeakSet[Connection] = weakref.WeakSet()


def _after_fork() -> None:
    for connection in list(_living):
        if not connection.closed:
            connection.forked()
    _living.clear()


os.register_at_fork(after_in_child=_after_fork)
