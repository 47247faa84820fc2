"""The blocking client: what a program calls. Thread-safe; how its threads share the sockets: shared_connection.py."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from dynazmq.client.api.green import warn_on_gevent
from dynazmq.client.api.links import Target
from dynazmq.client.api.shared_connection import Connection
from dynazmq.client.core import flows
from dynazmq.client.core.flows import AnyContext, Begin, DeleteItem, Flow, PutItem
from dynazmq.client.core.requests import Key, Level, Options, Resolver
from dynazmq.client.core.scan import Scanner
from dynazmq.client.values.codecs import Codec
from dynazmq.client.values.results import Batch, PutResult, Result, collected
from dynazmq.client.values.view import View
from dynazmq.config import DEFAULT_BUCKET, SIBLINGS
from dynazmq.errors import DynazmqError

if TYPE_CHECKING:
    from dynazmq.client.inspect.explained import Explanation
    from dynazmq.client.inspect.traced import Trace

T = TypeVar("T")


def connect(
    dir: str | os.PathLike[str] | None = None,
    endpoints: Sequence[str] | None = None,
    timeout: float = 2.0,
) -> Client:
    """A client of the local cluster, of the one in `dir` (or DYNAZMQ_DIR), or of the one with these endpoints.

    Returns when a node has said what the cluster looks like. `timeout`, in seconds, bounds this and, unless a call says
    otherwise, every call with all its retries. Raises NoSuchCluster, ClusterUnreachable, ProtocolError, InvalidRequest.
    """
    return Client(dir, endpoints, timeout)


class _Driver:
    """The connection of this process: a forked child makes its own when it first needs one."""

    def __init__(self, target: Target, timeout: float) -> None:
        self.target = target
        self._timeout = timeout
        self._closed = False
        self._connect()

    def _connect(self) -> None:
        connection = Connection(self.target, self._timeout)
        self._finalizer = weakref.finalize(self, connection.close_unused)
        self._connection, self.run = connection, connection.run

    @property
    def view(self) -> View:
        """Asked for at the beginning of each call. Raises ClientClosed; more in a forked child, which connects now, and where
        another cluster was made in the place of the one that was connected to.
        """
        if self._connection.closed or self._connection.successor is not None:
            self._reconnect()
        return self._connection.view

    def stream(self, items: object, begin: Begin[T], ordered: bool) -> Iterator[tuple[Key, T | DynazmqError]]:
        """See `Connection.stream`."""
        assert self.view is not None  # a forked child connects now
        return self._connection.stream(flows.one_by_one(items), begin, ordered)

    def _reconnect(self) -> None:
        found = self._connection
        with found.after_fork:
            if self._connection is found and not self._closed:
                self.target = found.successor or self.target
                self._finalizer.detach()
                self._connect()
                found.close()

    def standing(self, link: str) -> bool:
        """Whether a node is believed to answer."""
        return self._connection.core.standing(link)

    @property
    def overloads(self) -> int:
        return self._connection.core.overloads

    def close(self) -> None:
        self._closed = True
        self._finalizer.detach()
        self._connection.close()


class Bucket:
    """A bucket's calls. A cheap, immutable view: make as many as you like.

    Every call takes `timeout` (seconds, retries included). It counts from when the request is let out: more than 256 of them, or
    4 MiB of values, for one node wait in the client for their turn, as long as others are answered. Quorums (`r`, `w`, and `pr`,
    `pw`, which count primaries only) are a number, "one", "quorum" or "all"; `n` narrows the bucket's number of replicas. Errors:
    dynazmq.errors.
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
        operation: str | None = None,
    ) -> Bucket:
        """The same bucket with other defaults; what is not given stays.

        operation: what errors say has failed, for who makes one operation of several calls; otherwise the call.
        """
        changed = self._options.with_(
            n=n, r=r, w=w, pr=pr, pw=pw, timeout=timeout, codec=codec, resolver=resolver, operation=operation
        )
        return Bucket(self._driver, changed)

    def get(
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

        best_effort: for who writes next. Where R replicas cannot be heard, fewer do, or none: `Result.unseen` names those whose
        copies were not seen, and the context does not cover what only they hold. Some of the timeout is left for the write.
        """
        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return self._perform(flows.get(self._driver.view, options, key, best_effort))

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

        A generator is read as there is room for its keys; the results are held all the same: `get_iter` gives them as they come.
        best_effort: as of `get`.
        """
        if flows.is_lazy(keys):
            return collected(self.get_iter(keys, r=r, pr=pr, n=n, timeout=timeout, best_effort=best_effort))
        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return self._perform(flows.get_many(self._driver.view, options, keys, best_effort))

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
        """Write many keys, each with its context if `contexts` has one. Not atomic: each key has its own outcome.

        A generator is read as there is room for its values, each item is a put of its own, and a context is looked up when it is
        its key's turn. What the generator raises is raised when all before it has ended, with a note of how much of that was
        done; `put_iter` tells each.
        """
        if flows.is_lazy(items):
            return collected(self.put_iter(flows.known_items(items, contexts), w=w, pw=pw, n=n, timeout=timeout))
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
        if flows.is_lazy(keys):
            return collected(self.delete_iter(flows.known_keys(keys, contexts), w=w, pw=pw, n=n, timeout=timeout))
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return self._perform(flows.delete_many(self._driver.view, options, keys, contexts))

    def get_iter(
        self,
        keys: Iterable[Key],
        *,
        ordered: bool = False,
        r: Level = None,
        pr: Level = None,
        n: int | None = None,
        timeout: float | None = None,
        best_effort: bool = False,
    ) -> Iterator[tuple[Key, Result | DynazmqError]]:
        """Read any number of keys: (key, outcome) of each, as they come, or with `ordered` as the keys do.

        Keys are taken as there is room for them, so they may be a generator without end, and few results are held at a time. An
        outcome is a Result or an error, as of `get_many`. What `keys` raises is raised when all before it was told.
        """
        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return self._driver.stream(keys, flows.begin_get(lambda: self._driver.view, options, best_effort), ordered)

    def put_iter(
        self,
        items: Mapping[Any, Any] | Iterable[PutItem],
        *,
        ordered: bool = False,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[Key, PutResult | DynazmqError]]:
        """Write any number of pairs of key and value, or triples with a context: (key, outcome) of each, as they come.

        As `get_iter`. Each item is a put of its own, also of a key that comes twice. Who leaves the loop early has as many as 512
        puts under way that may be done or not: those whose outcome was not told.
        """
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return self._driver.stream(flows.pairs_of(items), flows.begin_put(lambda: self._driver.view, options), ordered)

    def delete_iter(
        self,
        keys: Iterable[DeleteItem],
        *,
        ordered: bool = False,
        w: Level = None,
        pw: Level = None,
        n: int | None = None,
        timeout: float | None = None,
    ) -> Iterator[tuple[Key, PutResult | DynazmqError]]:
        """Delete any number of keys, or pairs of key and context: (key, outcome) of each, as they come. As `put_iter`."""
        options = self._with(w=w, pw=pw, n=n, timeout=timeout)
        return self._driver.stream(keys, flows.begin_delete(lambda: self._driver.view, options), ordered)

    def keys(self, *, replicas: int = 0, timeout: float | None = None) -> Iterator[str | bytes]:
        """All live keys, in the order of their places on the ring: str where they are UTF-8, else bytes.

        No snapshot: what is written meanwhile may show or not. N - W + 1 primaries of every partition must answer, and R at
        least, so that no acknowledged write is missed that is with W of them (what only a hint holds shows once it is handed
        off); `replicas` asks fewer (or more). `timeout` is each page's. Raises `Unavailable` where too few can be reached.
        """
        options = self._with(timeout=timeout)
        scanner = Scanner(options.bucket, options.timeout, lambda: self._driver.view, self._driver.standing, replicas)
        while not scanner.done:
            yield from self._perform(flows.page(self._driver.view, options, scanner))

    def explain(self, key: Key, *, timeout: float | None = None) -> Explanation:
        """Where a key lives, what each node holds of it, what a get would return and what repair does next. Changes nothing.

        A node that does not answer in a moment is told as such. What `dynazmq explain --json` prints is `.document()` of it.
        """
        from dynazmq.client.inspect import looking  # only who looks pays for importing it

        return self._perform(looking.explain(self._driver.view, self._with(timeout=timeout), key))

    def trace_get(
        self, key: Key, *, r: Level = None, pr: Level = None, n: int | None = None, timeout: float | None = None
    ) -> Trace:
        """A get, and its timeline through coordinator and replicas; `.result` is what `get` returns, `.error` what it raises.

        Takes a second or so longer than the request when a replica is silent: late answers are waited for.
        """
        from dynazmq.client.inspect import looking  # only who looks pays for importing it

        options = self._with(r=r, pr=pr, n=n, timeout=timeout)
        return self._perform(looking.trace_get(self._driver.view, options, key))

    def trace_put(
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
        return self._perform(looking.trace_put(self._driver.view, options, key, value, context))

    def trace_delete(
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
        return self._perform(looking.trace_delete(self._driver.view, options, key, context))

    def configure(self, *, n: int | None = None, r: int | None = None, w: int | None = None, conflict: str = SIBLINGS) -> None:
        """Give the bucket a policy of its own; it spreads to all nodes in some seconds. What is not given: the cluster's.

        conflict: what becomes of concurrent writes: "siblings" keeps all of them, "lww" only the last one, and the others are
        lost though they were acknowledged.
        """
        self._perform(flows.configure(self._driver.view, self._options, n, r, w, conflict))

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
        warn_on_gevent(stacklevel=3)
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

    @property
    def overloads(self) -> int:
        """Times that a node has refused a request for having too much to do. Most were done later all the same."""
        return self._driver.overloads

    def close(self) -> None:
        """Close the sockets; calls under way in other threads end with ClientClosed. Again does nothing."""
        self._driver.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {', '.join(self._driver.target.endpoints)}>"
