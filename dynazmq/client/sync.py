"""The blocking client. Thread-safe, without a thread of its own.

Whoever waits for an answer drives the sockets for everybody: the first thread that comes leads (sends, polls, receives), the
others queue their requests, wake it, and sleep until their answers are there. When the leader has its own it hands the lead to
one that still waits. So a program with one thread pays for no hand-over at all, and many threads share frames.
"""

from __future__ import annotations

import os
import socket as stdsocket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import zmq

from dynazmq.client import flows
from dynazmq.client.codecs import Codec
from dynazmq.client.flows import AnyContext, Flow
from dynazmq.client.links import Links, Target
from dynazmq.client.outcomes import unreachable
from dynazmq.client.requests import Key, Level, Options, Request, Resolver
from dynazmq.client.results import Batch, PutResult, Result
from dynazmq.client.scan import Scanner
from dynazmq.client.view import View
from dynazmq.config import DEFAULT_BUCKET
from dynazmq.errors import ClientClosed

T = TypeVar("T")

BATCH_IN_FLIGHT = 512
"""Requests of one call that are under way at a time: many enough to fill frames, few enough not to be refused."""


def connect(
    dir: str | os.PathLike[str] | None = None,
    endpoints: Sequence[str] | None = None,
    timeout: float = 2.0,
) -> Client:
    """A client of the local cluster, of the one in `dir` (or DYNAZMQ_DIR), or of the one with these endpoints.

    Returns when a node has said what the cluster looks like. `timeout`, in seconds, bounds this and, unless a call says
    otherwise, every call with all its retries. Raises NoSuchCluster, ClusterUnreachable, InvalidRequest.
    """
    return Client(dir, endpoints, timeout)


class _Waiter:
    """A thread's wait for the requests of one call. All but `wake` is guarded by the driver's mutex."""

    __slots__ = ("core", "leads", "left", "queue", "wake")

    def __init__(self, core: Any, requests: Sequence[Request]) -> None:
        self.core = core
        self.left = len(requests)
        self.queue = deque(requests)  # those that are not under way yet
        self.leads = False
        self.wake = threading.Lock()
        self.wake.acquire()
        for request in requests:
            request.notify = self._answered

    def start(self) -> None:
        for _ in range(min(len(self.queue), BATCH_IN_FLIGHT)):
            self.core.start(self.queue.popleft(), time.monotonic())

    def _answered(self, _request: Request) -> None:
        self.left -= 1
        if self.queue:
            self.core.start(self.queue.popleft(), time.monotonic())
        elif self.left == 0 and self.wake.locked():
            self.wake.release()


class _Driver:
    """Who leads, and how the others wait."""

    def __init__(self, target: Target, timeout: float) -> None:
        self.target = target
        self._timeout = timeout
        self.closed = False
        self._open()

    def _open(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._leading = False
        self._followers: list[_Waiter] = []
        self._links = Links(self.target)
        self._waking, self._waker = stdsocket.socketpair()
        self._waking.setblocking(False)
        self._waker.setblocking(False)
        self._poller = zmq.Poller()
        self._poller.register(self._waking.fileno(), zmq.POLLIN)
        self._link_of: dict[Any, str] = {}
        try:
            self._meet()
        except BaseException:
            self.close()
            raise

    def _meet(self) -> None:
        """Wait until a node has said what the cluster looks like. Raises ClusterUnreachable."""
        core = self._links.core
        deadline = time.monotonic() + self._timeout
        while core.view is None:
            self._links.turn()
            due = core.next_deadline()
            self._pump(deadline if due is None else min(due, deadline))
            if time.monotonic() >= deadline and core.view is None:
                raise unreachable(core.tried)

    @property
    def view(self) -> View:
        if os.getpid() != self._pid:
            self._reopen_after_fork()
        if self.closed:
            raise ClientClosed("this client is closed")
        view = self._links.core.view
        assert view is not None
        return view

    def run(self, requests: Sequence[Request]) -> None:
        """Have these done, with an answer or an error each."""
        if not requests:
            return
        waiter = _Waiter(self._links.core, requests)
        with self._mutex:
            if self.closed:
                raise ClientClosed("this client is closed")
            waiter.start()
            if self._leading:
                self._followers.append(waiter)
                self._nudge()
            else:
                self._leading = waiter.leads = True
        try:
            if not waiter.leads:
                waiter.wake.acquire()
            if waiter.leads:
                self._lead(waiter)
        except BaseException:  # Ctrl-C: nobody waits for these any more
            self._give_up(requests, waiter)
            raise
        finally:
            if waiter.leads:
                self._hand_over(waiter)

    def _lead(self, waiter: _Waiter) -> None:
        """Drive the sockets until our own requests are answered."""
        links = self._links
        while True:
            with self._mutex:
                if waiter.left > 0:
                    links.turn()
                if waiter.left <= 0:
                    return
                due = links.core.next_deadline()
            self._pump(due)

    def _hand_over(self, waiter: _Waiter) -> None:
        with self._mutex:
            self._leading = waiter.leads = False
            self._followers = [other for other in self._followers if other.left > 0]
            if self._followers:
                follower = self._followers.pop(0)
                self._leading = follower.leads = True
                follower.wake.release()

    def _give_up(self, requests: Iterable[Request], waiter: _Waiter) -> None:
        with self._mutex:
            waiter.queue.clear()
            waiter.left = 0
            for request in requests:
                self._links.core.cancel(request)
            if waiter in self._followers:
                self._followers.remove(waiter)

    def _pump(self, due: float | None) -> None:
        """Wait for frames, a nudge, or the time; take what has come."""
        links = self._links
        for link, socket in links.opened:
            self._poller.register(socket, zmq.POLLIN)
            self._link_of[socket] = link
        links.opened.clear()
        wait_ms = 1000 if due is None else max(0, int((due - time.monotonic()) * 1000) + 1)
        ready = self._poller.poll(wait_ms)
        with self._mutex:
            for socket, _ in ready:
                if isinstance(socket, int):  # the nudges' descriptor
                    self._drain_nudges()
                else:
                    links.receive(self._link_of[socket])

    def _nudge(self) -> None:
        try:
            self._waker.send(b"x")
        except BlockingIOError:
            return  # there are enough nudges in it

    def _drain_nudges(self) -> None:
        try:
            self._waking.recv(4096)
        except BlockingIOError:
            return

    def standing(self, link: str) -> bool:
        """Whether a node is believed to answer."""
        return self._links.core.standing(link)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if os.getpid() != self._pid:
            return  # the parent's sockets are the parent's to close
        with self._mutex:
            self._links.core.close()
            self._nudge()
        while self._leading:  # its thread has its answer, ClientClosed, and is on its way out
            time.sleep(0.001)
        self._links.close()
        self._waking.close()
        self._waker.close()

    def _reopen_after_fork(self) -> None:
        """Sockets, locks and waiters are the parent's; what is known of the cluster was learnt by asking again."""
        self._links.abandon()
        self._waking.close()
        self._waker.close()
        if not self.closed:
            self._open()


class Bucket:
    """A bucket's calls. A cheap, immutable view: make as many as you like.

    Every call takes `timeout` (seconds, retries included). Quorums (`r`, `w`, and `pr`, `pw`, which count primaries only) are a
    number, "one", "quorum" or "all"; `n` narrows the bucket's number of replicas. Errors: dynazmq.errors.
    """

    def __init__(self, driver: _Driver, options: Options) -> None:
        self._driver = driver
        self._options = options

    def __repr__(self) -> str:
        return f"<Bucket {self.name!r}>"

    @property
    def name(self) -> str:
        return self._options.bucket

    def with_options(
        self,
        *,
        n: int | None = None,
        r: Level = None,
        w: Level = None,
        pr: Level = None,
        pw: Level = None,
        timeout: float | None = None,
        codec: str | Codec | None = None,
        resolver: Resolver | None = None,
    ) -> Bucket:
        """The same bucket with other defaults; what is not given stays."""
        changed = self._options.with_(n=n, r=r, w=w, pr=pr, pw=pw, timeout=timeout, codec=codec, resolver=resolver)
        return Bucket(self._driver, changed)

    def get(self, key: Key, *, r: Level = None, pr: Level = None, n: int | None = None, timeout: float | None = None) -> Result:
        """Read a key: all concurrent values, and the context with which to replace them. An absent key is no error."""
        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return self._perform(flows.get(self._driver.view, options, key))

    def put(
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
        return self._perform(flows.put(self._driver.view, options, key, value, context))

    def delete(
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
        return self._perform(flows.delete(self._driver.view, options, key, context))

    def get_many(
        self, keys: Iterable[Key], *, r: Level = None, pr: Level = None, n: int | None = None, timeout: float | None = None
    ) -> Batch[Key, Result]:
        """Read many keys, one frame for each node. Outcome by key: a Result or an error. `timeout` is each key's own."""
        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return self._perform(flows.get_many(self._driver.view, options, keys))

    def put_many(
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
        return self._perform(flows.put_many(self._driver.view, options, items, contexts))

    def delete_many(
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
        return self._perform(flows.delete_many(self._driver.view, options, keys, contexts))

    def keys(self, *, replicas: int = 0, timeout: float | None = None) -> Iterator[str | bytes]:
        """All live keys, in the order of their places on the ring: str where they are UTF-8, else bytes.

        No snapshot: what is written meanwhile may show or not. Needs N - W + 1 primaries of every partition, so that no
        acknowledged write is missed; `replicas` asks fewer (or more). `timeout` is each page's.
        """
        options = self._with(timeout=timeout)
        scanner = Scanner(options.bucket, options.timeout, self._driver.view, self._driver.standing, replicas)
        while not scanner.done:
            yield from self._perform(flows.page(self._driver.view, options, scanner))

    def configure(self, *, n: int | None = None, r: int | None = None, w: int | None = None) -> None:
        """Give the bucket a policy of its own; it spreads to all nodes in some seconds. What is not given: the cluster's."""
        self._perform(flows.configure(self._driver.view, self._options, n, r, w))

    def _with(self, **changes: Any) -> Options:
        for value in changes.values():
            if value is not None:
                return self._options.with_(**changes)
        return self._options

    def _perform(self, flow: Flow[T]) -> T:
        run = self._driver.run
        try:
            while True:
                run(next(flow))
        except StopIteration as stop:
            result: T = stop.value
            return result


class Client(Bucket):
    """A connection to a cluster. Its own calls are those of bucket "default". Thread-safe; a forked child opens its own."""

    def __init__(
        self, dir: str | os.PathLike[str] | None = None, endpoints: Sequence[str] | None = None, timeout: float = 2.0
    ) -> None:
        """See `connect`."""
        options = Options().with_(timeout=timeout)
        super().__init__(_Driver(Target(dir, endpoints), timeout), options)

    def bucket(
        self,
        name: str = DEFAULT_BUCKET,
        *,
        codec: str | Codec = "raw",
        resolver: Resolver | None = None,
        timeout: float | None = None,
    ) -> Bucket:
        """A view of one bucket. codec: raw (bytes), text, json or msgpack. resolver: makes one value of several siblings."""
        return Bucket(self._driver, self._options.with_(bucket=name, codec=codec, resolver=resolver, timeout=timeout))

    @property
    def view(self) -> View:
        """What the client knows of the cluster: ring, endpoints, policies."""
        return self._driver.view

    def close(self) -> None:
        """Close the sockets; calls under way in other threads end with ClientClosed. Again does nothing."""
        self._driver.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {', '.join(self._driver.target.endpoints)}>"
