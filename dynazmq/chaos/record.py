"""What clients asked and were told: the simulator's history (simulator/cluster/history.py), kept by threads and with the host's
clock.

`Recorded` is the public client, whose every request is put down when it is made and when it is over: it looks at the requests
that a call makes (client/core/flows.py) and changes nothing. Times are seconds since the run began.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from dynazmq.client.api.sync import Bucket, Client
from dynazmq.client.core.flows import Flow
from dynazmq.client.core.outcomes import required_of
from dynazmq.client.core.requests import Options, Request
from dynazmq.client.values.view import View
from dynazmq.dynamo.messages import Get, GetReply, Put
from dynazmq.errors import ClientClosed
from dynazmq.simulator.cluster.history import OK, UNKNOWN, History, Op

T = TypeVar("T")
_HEAD_BYTES = 24


class Gap(NamedTuple):
    """A time without any success."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def longest_gap(successes: Iterable[float], began: float, ended: float) -> Gap:
    """Between two moments: also before the first success, and after the last."""
    before, longest = began, Gap(began, began)
    for at in (*sorted(at for at in successes if began <= at <= ended), ended):
        if at - before > longest.seconds:
            longest = Gap(before, at)
        before = at
    return longest


@dataclass(slots=True)
class Record:
    """A run's history. Thread-safe. hashed: buckets of whose values the hash is kept, and how they begin."""

    history: History
    hashed: frozenset[str] = frozenset()
    began: float = field(default_factory=time.monotonic)
    began_wall: float = field(default_factory=time.time)
    successes: list[float] = field(default_factory=list)
    acked: int = 0  # writes
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    def begin(self, client: str, requests: Iterable[Request], view: View) -> list[tuple[Op, Request]]:
        """Of requests of other kinds nothing is put down."""
        now = self.now
        begun = []
        with self._lock:
            for request in requests:
                message = request.message
                if isinstance(message, Get | Put):
                    kind = "get" if isinstance(message, Get) else "delete" if message.value is None else "put"
                    op = self.history.begin(client, kind, self._kept(message, message.bucket), now)
                    op.needed = required_of(message, view)
                    begun.append((op, request))
        return begun

    def end(self, begun: Iterable[tuple[Op, Request]]) -> None:
        """One that has neither reply nor error was cut off."""
        now = self.now
        with self._lock:
            for op, request in begun:
                error = request.error
                if error is None and request.reply is None:
                    error = ClientClosed("cut off")
                self.history.end(op, self._kept(request.reply, op.bucket), error, request.sent, now)
                self._note(op, now)

    def end_again(self, op: Op, request: Request) -> None:
        """A write was sent once more, and this came of it."""
        now = self.now
        with self._lock:
            unacked = op.outcome != OK
            self.history.end_again(op, request.reply, request.error, now)
            if unacked:
                self._note(op, now)

    def is_unknown(self, request: Request) -> bool:
        """Whether it is a write, and nobody knows whether it was done."""
        if not isinstance(request.message, Put):
            return False
        op = self.op_of(request.message.write_id)
        return op is not None and op.outcome == UNKNOWN

    def op_of(self, write_id: bytes) -> Op | None:
        with self._lock:
            return self.history.writes.get(write_id)

    def robs(self, name: str) -> None:
        """A node is about to lose its disk."""
        with self._lock:
            self.history.robs(name)

    def _kept(self, message: Any, bucket: str) -> Any:
        """What is put down of a message: that of large values would fill the memory."""
        if bucket not in self.hashed:
            return message
        if isinstance(message, Put) and message.value is not None:
            return replace(message, value=hashed(message.value))
        if isinstance(message, GetReply):
            return replace(message, values=[hashed(value) for value in message.values])
        return message

    def _note(self, op: Op, now: float) -> None:
        if op.outcome == OK:
            self.successes.append(now)
            self.acked += op.kind != "get"


def hashed(value: bytes) -> bytes:
    """How it begins, its size and its hash."""
    head = value[:_HEAD_BYTES].partition(b" ")[0]
    return b"%s (%d bytes, %s)" % (head, len(value), hashlib.blake2b(value, digest_size=12).hexdigest().encode())


class RecordedBucket(Bucket):
    """A bucket's calls, recorded under the name of a client. last: the requests of the call before."""

    def __init__(self, driver: Any, options: Options, record: Record, name: str) -> None:
        super().__init__(driver, options)
        self._record = record
        self._name_of_client = name
        self.last: Sequence[Request] = ()

    def _perform(self, flow: Flow[T]) -> T:
        try:
            while True:
                self.last = requests = next(flow)
                begun = self._record.begin(self._name_of_client, requests, self._driver.view)
                try:
                    self._driver.run(requests)
                finally:
                    self._record.end(begun)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def send_again(self, request: Request, link: str) -> None:
        """The same put once more, to the node at this link: as by a client that has got no answer, or has lost it."""
        op = self._record.op_of(request.message.write_id)
        assert op is not None, "it was made by one of these buckets"
        age_ms = int((time.monotonic() - request.started) * 1000) + 1
        message = replace(request.message, age_ms=age_ms)
        again = Request(message, request.key, request.place, self._options.timeout, request.operation)
        again.only = link
        self._driver.run([again])
        self._record.end_again(op, again)


class Recorded(Client):
    """A client that is recorded."""

    def __init__(self, record: Record, name: str, endpoints: Sequence[str], timeout: float) -> None:
        """Raises as `dynazmq.connect` does."""
        super().__init__(None, endpoints, timeout)
        self._record = record
        self._name_of_client = name

    def recorded(self, bucket: str, name: str = "", **options: Any) -> RecordedBucket:
        """name: of who uses it, where several share the client."""
        chosen = self._options.with_(bucket=bucket, **options)
        return RecordedBucket(self._driver, chosen, self._record, name or self._name_of_client)
