"""A client in virtual time: the real `ClientCore`, with its routing, attempts and deadlines, on the simulated network.

Stories call `get`, `put`, `delete`: they let time pass until the answer is there and return it or raise its error, as the real
client does. Whoever wants several requests under way at once uses `begin_get` and `begin_put`, which return a `Call`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dynazmq.client.core.core import ASK_ABOVE_BYTES, ClientCore
from dynazmq.client.core.requests import Options, Request, get_request, get_result, put_request, put_result
from dynazmq.client.core.scan import PAGE_KEYS
from dynazmq.client.values.context import Context
from dynazmq.client.values.results import PutResult, Result
from dynazmq.config import SIBLINGS
from dynazmq.dynamo.messages import OVERLOADED, TIMEOUT, AcknowledgeLosses, ChangeMembers, Failure, Put, SetBucket
from dynazmq.simulator.cluster.history import History, Op
from dynazmq.simulator.cluster.listing import Listing
from dynazmq.simulator.cluster.process import CLIENT
from dynazmq.simulator.cluster.watch import Watch
from dynazmq.simulator.world.network import Network
from dynazmq.simulator.world.world import World
from dynazmq.wire.codec import FROM_CLIENT, BadFrame, Envelope, decode_body, encode_counted, open_frame

_LISTING_S = 60.0

SCHEME = "ipc://"
"""A simulated node's endpoint: this and its name."""


class Call:
    """A request under way. `op` is its entry in the history."""

    def __init__(self, client: Client, options: Options, request: Request, op: Op | None) -> None:
        self._client = client
        self._options = options
        self.request = request
        self.op = op
        self.done = False
        self.then: Callable[[], None] | None = None

    def result(self) -> Any:
        """Let time pass until it is done: a `Result`, a `PutResult`, or the error raised."""
        world = self._client.world
        world.run_until(lambda: self.done, self.request.timeout + 1.0)
        assert self.done, "the client's own deadline ends every request"
        if isinstance(self.request.message, SetBucket | ChangeMembers | AcknowledgeLosses):
            if self.request.error is not None:
                raise self.request.error
            return None
        if self.op is not None and self.op.kind == "get":
            return get_result(self._options, self.request)
        return put_result(self.request)


class Client:
    """One client process with one `ClientCore`."""

    def __init__(
        self,
        world: World,
        network: Network,
        watch: Watch,
        name: str,
        nodes: list[str],
        cluster_id: int,
        one_clock: bool,
        ask_above_bytes: int = ASK_ABOVE_BYTES,
    ) -> None:
        """one_clock: its monotonic clock is the nodes'. ask_above_bytes: retries of larger values ask before they send them."""
        self.world = world
        self.name = name
        self.alive = True
        self.waiting = 0
        self.frozen_since = math.inf
        self._network = network
        # Beyond all the nodes': a clock that shows nearly the same time as another is one clock for who compares them.
        self._clock_s = 0.0 if one_clock else 50_000 + world.random(f"clock of {name}").random() * 50_000
        self._watch = watch
        self._calls: list[Call] = []  # under way
        self._history: History = watch.history
        self._random = world.random(f"client {name}")
        self.core = ClientCore([SCHEME + node for node in nodes], cluster_id, self._random, world.now, ask_above_bytes)
        self._due = math.inf
        network.attach(CLIENT + name, self)
        self.options = Options().with_(codec="text")
        self._drive()

    # --- as the real client's buckets ------------------------------------------------------------------------------------

    def get(self, key: str, **options: Any) -> Result:
        found: Result = self.begin_get(key, **options).result()
        return found

    def put(self, key: str, value: str, context: Context | None = None, **options: Any) -> PutResult:
        done: PutResult = self.begin_put(key, value, context, **options).result()
        return done

    def delete(self, key: str, context: Context | None = None, **options: Any) -> PutResult:
        """Without a context: of what a read finds."""
        if context is None:
            found = self.get(key)
            if not found.found:
                return PutResult(found.context, (), ())
            context = found.context
        done: PutResult = self.begin_put(key, None, context, **options).result()
        return done

    def configure(self, bucket: str, n: int, r: int, w: int, conflict: str = SIBLINGS) -> None:
        """Give a bucket a policy of its own."""
        self.connected()
        request = Request(SetBucket(0, bucket, n, r, w, conflict), bucket, 0, 2.0, "configure")
        self._start(Call(self, self.options, request, None)).result()

    def change_members(self, intents: list[list[Any]], at: str = "") -> None:
        """Decide who belongs to the cluster (messages.ChangeMembers)."""
        self.connected()
        self.begin_change(intents, at).result()

    def acknowledge_losses(self, ring_version: int) -> None:
        """Say that it is known what was lost with rings up to this version."""
        self.connected()
        request = Request(AcknowledgeLosses(0, ring_version), "", 0, 2.0, "acknowledge losses")
        self._start(Call(self, self.options, request, None)).result()

    def begin_change(self, intents: list[list[Any]], at: str = "") -> Call:
        request = Request(ChangeMembers(0, b"", intents), "", 0, 2.0, "change members")
        request.only = SCHEME + at if at else None
        return self._start(Call(self, self.options, request, None))

    def begin_get(self, key: str, at: str = "", **options: Any) -> Call:
        """at: the one node to ask."""
        view, chosen = self.connected(), self.options.with_(**options)
        request = get_request(chosen, view, key)
        return self._start(Call(self, chosen, request, self._begin("get", request, at)))

    def begin_put(self, key: str, value: str | None, context: Context | None = None, at: str = "", **options: Any) -> Call:
        """value None: a tombstone."""
        view, chosen = self.connected(), self.options.with_(**options)
        encoded = None if value is None else chosen.codec.encode(value)
        request = put_request(chosen, view, key, encoded, context)
        request.message.write_id = self._random.randbytes(16)  # put_request draws from the system
        return self._start(Call(self, chosen, request, self._begin("delete" if value is None else "put", request, at)))

    def keys(self) -> list[str]:
        """All live keys of the bucket."""
        listing = self.begin_keys()
        self.world.run_until(lambda: listing.done, _LISTING_S)
        assert listing.done, f"no end after {_LISTING_S:g} s"
        if listing.error is not None:
            raise listing.error
        return listing.keys

    def begin_keys(self, page_keys: int = PAGE_KEYS) -> Listing:
        """page_keys: how many a node tells at a time, at most."""
        return Listing(self, self._watch.presence, page_keys)

    def begin(self, request: Request) -> Call:
        """Any request that no history is kept of."""
        return self._start(Call(self, self.options, request, None))

    def connected(self) -> Any:
        """The client's view of the cluster, learned on first use."""
        self.world.run_until(lambda: self.core.view is not None, 5.0)
        assert self.core.view is not None, f"{self.name} finds no node"
        return self.core.view

    # --- driving the core ------------------------------------------------------------------------------------------------

    def _begin(self, kind: str, request: Request, at: str) -> Op:
        request.only = SCHEME + at if at else None
        op = self._history.begin(self.name, kind, request.message, self.world.now)
        if kind == "get":
            self._watch.presence.get_began(op)
        else:
            op.level = request.message.n, request.message.w, request.message.pw
        return op

    def _start(self, call: Call) -> Call:
        call.request.notify = lambda _request: self._ended(call)
        self._calls.append(call)
        self.core.start(call.request, self.world.now)
        self._drive()
        return call

    def _ended(self, call: Call) -> None:
        call.done = True
        self._calls.remove(call)
        request, op = call.request, call.op
        if op is not None:
            self._history.end(op, request.reply, request.error, request.sent, self.world.now)
            self._watch.answered(op)
            self.world.record("ended", str(op.index), op.outcome, op.values, op.token)
        if call.then is not None:
            call.then()

    def arrive(self, source: str, frame: bytes) -> None:
        try:
            _, body = open_frame(frame)
            messages = decode_body(body)
        except BadFrame:
            return
        for message in messages:
            if isinstance(message, Failure):
                self._watch.figures["overloaded"] += message.code == OVERLOADED
                if message.code == TIMEOUT:
                    self._is_unknown(source, message.request_id)
        self.core.receive(SCHEME + source, messages, self.world.now)
        self._drive()

    def _is_unknown(self, source: str, request_id: int) -> None:
        for call in self._calls:
            asked = call.request.message
            if isinstance(asked, Put) and asked.request_id == request_id and not asked.age_ms:
                self._watch.left_unknown(source, asked)

    def _on_due(self, when: float) -> None:
        if when == self._due:
            self._due = math.inf
            self._drive()

    def _drive(self) -> None:
        """As `Links.turn`: let time pass, send what there is; what cannot be sent is the core's to place anew."""
        core, now = self.core, self.world.now
        core.tick(now)
        while outbox := core.drain():
            sent_ms = int((now + self._clock_s) * 1000)
            envelope = Envelope(FROM_CLIENT, core.view.cluster_id if core.view else 0, 0, 0, sent_ms)
            for link, messages in outbox.items():
                left = 0
                for frame, count in encode_counted(envelope, messages):
                    if not self._network.send(CLIENT + self.name, link.removeprefix(SCHEME), frame):
                        core.undeliverable(link, messages[left:], now)
                        break
                    left += count
        due = core.next_deadline()
        if due is not None and max(due, now) < self._due:
            # A hair later: a timer that is due at this very moment would otherwise be looked at again and again.
            self._due = max(due, now) + 1e-6
            self.world.at(self._due, self._on_due, self._due)
