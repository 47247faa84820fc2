"""The clients: threads that write and read a few keys at random, as programs do that meet on the same keys.

    siblings   blind puts, puts with contexts old and new or handed over by another client, updates, deletes, batches
    sets       each write reads the set, adds an element of its own to the union of all siblings, and writes that back
    lww        the same as siblings, in a bucket where the last write wins

Each client lives beside a node or two: it was given their endpoints, so in a partition it stays on their side. Some share a
connection. Now and then one closes it and makes another. Of the writes that were given up most are sent again to another node
some time later, with the same write id. Those that were acknowledged are not: lost answers are what stays weak
(dynamo/coordinator/idempotent_retry.py).

Values are unique. A key is given up after `_WRITES` of it and another takes its place: what is known of it stays small, and some
are at rest when the next fault comes.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random

from dynazmq.chaos.record import Record, Recorded, RecordedBucket
from dynazmq.client.core.requests import Request
from dynazmq.client.values.context import Context
from dynazmq.errors import ClientClosed, ClusterUnreachable, DynazmqError
from dynazmq.simulator.run.workload import Mix

BUCKET, LWW_BUCKET = "dynazmq.chaos", "dynazmq.chaos.lww"
SIBLINGS, SETS, LWW = "siblings", "sets", "lww"
BUCKET_OF = {SIBLINGS: BUCKET, SETS: BUCKET, LWW: LWW_BUCKET}

CLIENTS = 12
_THINK_S = 0.035
"""Mean pause of a client between two calls: with twelve of them some 300 operations a second."""

_WRITES = 40
_ACTIVE = {SIBLINGS: 24, SETS: 6, LWW: 10}
_SHARES = {SIBLINGS: 6.0, SETS: 1.5, LWW: 2.5}
_BATCH = 12
_AGAIN = 0.8  # of the writes of unknown outcome are sent again
_AGAIN_S = (0.0, 0.3, 1.0, 4.0)
_TIMEOUTS_S = (0.6, 2.0, 2.0, 5.0)
_CONNECT_S = 1.0
_KNOWN_MAX = 200
_STAYS_S = (5.0, 60.0)
_MIXES = {
    SIBLINGS: Mix(get=4.0, put_blind=1.3, put_known=2.0, update=3.0, delete=1.2),
    LWW: Mix(get=4.0, put_blind=1.3, put_known=1.0, update=3.0, delete=0.5),
}


class Keys:
    """The keys that are in use, and the contexts that clients leave to each other. Thread-safe."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._made = 0
        self._writes: dict[str, int] = {}
        self._active = {kind: [self._another(kind) for _ in range(count)] for kind, count in _ACTIVE.items()}
        self._left: dict[str, Context] = {}

    def _another(self, kind: str) -> str:
        self._made += 1
        return f"{self._prefix}-{kind}-{self._made}"

    def draw(self, kind: str, random: Random) -> str:
        """The first of them more often than the last."""
        with self._lock:
            active = self._active[kind]
            return active[int(len(active) * random.random() ** 2)]

    def draw_some(self, kind: str, count: int, random: Random) -> list[str]:
        with self._lock:
            return random.sample(self._active[kind], min(count, len(self._active[kind])))

    def wrote(self, kind: str, key: str) -> None:
        with self._lock:
            writes = self._writes[key] = self._writes.get(key, 0) + 1
            active = self._active[kind]
            if writes >= _WRITES and key in active:
                active[active.index(key)] = self._another(kind)
                del self._writes[key]
                self._left.pop(key, None)

    def leave(self, key: str, context: Context) -> None:
        with self._lock:
            if key in self._writes:
                self._left[key] = context

    def left(self, key: str) -> Context | None:
        with self._lock:
            return self._left.get(key)


class Load:
    """All clients. endpoints: of the nodes that there are now."""

    def __init__(self, record: Record, seed: int, prefix: str, endpoints: Callable[[], Sequence[str]]) -> None:
        self.record = record
        self.keys = Keys(prefix)
        self._end = threading.Event()
        self.bugs: list[BaseException] = []
        """What ended a client although it is no error of the cluster's."""
        seats = [Seat(record, f"c{i + 1}", Random(f"seat {seed} {i}"), endpoints) for i in range(CLIENTS * 2 // 3)]
        self._users = [
            _User(self, f"c{i + 1}", seats[i % len(seats)], Random(f"client {seed} {i}"), self._end) for i in range(CLIENTS)
        ]
        self._seats = seats

    def start(self) -> None:
        for user in self._users:
            user.start()

    def stop(self) -> None:
        """Each ends the call that it makes."""
        self._end.set()
        for user in self._users:
            if user.ident is not None:  # started, before something else ended the run
                user.join()
        for seat in self._seats:
            seat.close()


class Seat:
    """A connection, made anew when it is asked for and there is none. Clients may share it."""

    def __init__(self, record: Record, name: str, random: Random, endpoints: Callable[[], Sequence[str]]) -> None:
        self._record = record
        self._name = name
        self._random = random
        self._endpoints = endpoints
        self._client: Recorded | None = None
        self._until = 0.0
        self._lock = threading.Lock()

    def client(self) -> Recorded:
        """Raises ClusterUnreachable and its like."""
        with self._lock:
            if self._client is not None and time.monotonic() > self._until:
                self._client.close()  # calls that others make with it end with ClientClosed
                self._client = None
            if self._client is None:
                beside = list(self._endpoints())
                if self._random.random() < 0.8:
                    beside = self._random.sample(beside, min(len(beside), self._random.choice((1, 2))))
                self._client = Recorded(self._record, self._name, beside, _CONNECT_S)
                self._until = time.monotonic() + self._random.uniform(*_STAYS_S)
            return self._client

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None


class _User(threading.Thread):
    def __init__(self, load: Load, name: str, seat: Seat, random: Random, end: threading.Event) -> None:
        super().__init__(name=f"chaos {name}", daemon=True)
        self._load = load
        self._keys = load.keys
        self._user = name
        self._seat = seat
        self._random = random
        self._end = end
        self._known: dict[str, Context] = {}
        self._written = 0
        self._again: list[tuple[float, Request]] = []
        self._client: Recorded

    def run(self) -> None:
        try:
            while not self._end.wait(self._random.expovariate(1 / _THINK_S)):
                try:
                    self._client = self._seat.client()
                    self._step()
                except (ClusterUnreachable, ClientClosed):
                    self._end.wait(0.05)
                except DynazmqError:
                    continue  # recorded
        except BaseException as bug:
            self._load.bugs.append(bug)

    # --- one call ---------------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        now = time.monotonic()
        if self._again and self._again[0][0] <= now:
            self._send_again(self._again.pop(0)[1])
            return
        kind = self._random.choices(list(_SHARES), list(_SHARES.values()))[0]
        bucket = self._client.recorded(BUCKET_OF[kind], self._user, timeout=self._random.choice(_TIMEOUTS_S))
        if kind == SETS:
            self._add_to_set(bucket, self._keys.draw(SETS, self._random))
        elif self._random.random() < 0.08:
            self._batch(bucket, kind)
        else:
            self._single(bucket, kind, self._keys.draw(kind, self._random))

    def _single(self, bucket: RecordedBucket, kind: str, key: str) -> None:
        verb = _MIXES[kind].draw(self._random)
        if verb == "put_blind":
            self._put(bucket, kind, key, None)
        elif verb == "put_known":
            handed = self._keys.left(key) if self._random.random() < 0.3 else None
            self._put(bucket, kind, key, handed or self._known.get(key))
        elif verb == "update":
            self._put(bucket, kind, key, self._get(bucket, key))
        elif verb == "delete":
            self._drop(bucket, kind, key)
        else:
            self._get(bucket, key)

    def _get(self, bucket: RecordedBucket, key: str) -> Context:
        context = bucket.get(key).context
        self._note(key, context)
        return context

    def _put(self, bucket: RecordedBucket, kind: str, key: str, context: Context | None) -> None:
        with self._writing(bucket, kind, [key]):
            done = bucket.put(key, self._value(), context)
        if self._random.random() < 0.5:
            self._note(key, done.context)

    def _drop(self, bucket: RecordedBucket, kind: str, key: str) -> None:
        with self._writing(bucket, kind, [key]):
            bucket.delete(key, self._known.get(key) if self._random.random() < 0.5 else None)

    def _add_to_set(self, bucket: RecordedBucket, key: str) -> None:
        """Read, merge, write: what a client of an add-only set does."""
        found = bucket.get(key)
        union = sorted({element for value in found.values for element in json.loads(value)})
        with self._writing(bucket, SETS, [key]):
            bucket.put(key, set_value(union, self._value().decode()), found.context)

    def _batch(self, bucket: RecordedBucket, kind: str) -> None:
        keys = self._keys.draw_some(kind, self._random.randint(2, _BATCH), self._random)
        verb = self._random.choice(("get", "put", "put", "delete"))
        if verb == "get":
            for key, found in bucket.get_many(keys).ok.items():
                self._note(str(key), found.context)
            return
        known = {key: self._known[key] for key in keys if key in self._known and self._random.random() < 0.7}
        with self._writing(bucket, kind, keys):
            if verb == "put":
                bucket.put_many({key: self._value() for key in keys}, known)
            else:
                bucket.delete_many(keys[:3], {key: known[key] for key in keys[:3] if key in known})

    # --- what it remembers ------------------------------------------------------------------------------------------------

    def _value(self) -> bytes:
        self._written += 1
        padding = "." * self._random.choice((0, 0, 30, 100, 300, 3000))
        return f"{self._user}-{self._written}{padding}".encode()

    def _note(self, key: str, context: Context) -> None:
        if len(self._known) > _KNOWN_MAX:
            self._known.clear()
        self._known[key] = context
        if self._random.random() < 0.2:
            self._keys.leave(key, context)

    # --- puts that are sent again -----------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, bucket: RecordedBucket, kind: str, keys: Sequence[str]) -> Iterator[None]:
        """Whatever comes of it counts as a write of these keys, and may be sent again."""
        try:
            yield
        finally:
            for key in keys:
                self._keys.wrote(kind, key)
            for request in bucket.last:
                if self._load.record.is_unknown(request) and self._random.random() < _AGAIN:
                    due = time.monotonic() + self._random.choice(_AGAIN_S) * self._random.random()
                    self._again.append((due, request))
                    self._again.sort(key=lambda each: each[0])

    def _send_again(self, request: Request) -> None:
        view = self._client.view
        links = [link for link in view.links.values() if link != request.link] or list(view.links.values())
        bucket = self._client.recorded(request.message.bucket, self._user, timeout=1.0)
        bucket.send_again(request, self._random.choice(links))


# --- sets -----------------------------------------------------------------------------------------------------------------


def set_value(elements: Sequence[str], added: str) -> bytes:
    """The added one is the last."""
    return json.dumps([*elements, added]).encode()


def added_by(value: bytes) -> str:
    return str(json.loads(value)[-1])


def elements_of(values: Sequence[bytes]) -> set[str]:
    return {str(element) for value in values for element in json.loads(value)}
