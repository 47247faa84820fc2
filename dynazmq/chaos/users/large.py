"""Large values, by the product's own client: threads that put and get them beside each other, in a bucket of their own.

What they ask and are told is recorded and judged as everything else. The record keeps of each value who wrote it and its hash
(record.py): a thousand values of a megabyte are a gigabyte.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from dynazmq.chaos.load import Seat
from dynazmq.chaos.record import Record, RecordedBucket
from dynazmq.chaos.users import tally
from dynazmq.chaos.users.plan import LARGE, LARGE_BUCKET, spells
from dynazmq.errors import ClientClosed, ClusterUnreachable, DynazmqError
from dynazmq.simulator.cluster.history import FAILED, OK, UNKNOWN, History

CLIENTS = 4
BYTES_MAX = 1 << 20

_KEYS = 5
_WRITES = 150  # of all of them, after which others take their place: what is stored in the end stays small
_SIZES = (64 << 10, 256 << 10, 512 << 10, BYTES_MAX)
_THINK_S = 0.25
_TIMEOUT_S = 10.0
_BATCH = 3


class LargeValues:
    """bugs: what ended a client although it is no error of the cluster's."""

    def __init__(self, record: Record, seed: int, seconds: float, prefix: str, endpoints: Callable[[], Sequence[str]]) -> None:
        self.bugs: list[BaseException] = []
        self.prefix = f"{prefix}-large"
        self.writes = 0
        self._seconds, self._seed = seconds, seed
        self._end = threading.Event()
        self._seats = [Seat(record, f"large{i + 1}", Random(f"large seat {seed} {i}"), endpoints) for i in range(CLIENTS)]
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Each ends the call that it makes."""
        self._end.set()
        for thread, seat in zip(self._threads, self._seats, strict=True):
            if thread.ident is not None:
                thread.join()
            seat.close()

    def _run(self, number: int) -> None:
        client = _LargeClient(self, f"large{number + 1}", Random(f"large {self._seed} {number}"))
        try:
            for spell in spells(self._seed, LARGE, self._seconds):
                if self._end.wait(spell.gap_s):
                    return
                until = time.monotonic() + spell.lasting_s
                while time.monotonic() < until and not self._end.wait(client.random.expovariate(1 / _THINK_S)):
                    self._step(self._seats[number], client)
        except BaseException as bug:
            self.bugs.append(bug)

    def _step(self, seat: Seat, client: _LargeClient) -> None:
        try:
            connection = seat.client()
            largest = min(BYTES_MAX, connection.view.max_value_bytes)
            client.step(connection.recorded(LARGE_BUCKET, timeout=_TIMEOUT_S), largest)
        except (ClusterUnreachable, ClientClosed):
            self._end.wait(0.1)
        except DynazmqError:
            return  # recorded


class _LargeClient:
    """One client's calls."""

    def __init__(self, values: LargeValues, name: str, random: Random) -> None:
        self.random = random
        self._values = values
        self._name = name
        self._written = 0
        self._filling = random.randbytes(BYTES_MAX)

    def step(self, bucket: RecordedBucket, largest: int) -> None:
        """Read, or read and write: mostly what replaces all that was found. Raises DynazmqError."""
        verb = self.random.choices(("get", "update", "blind", "batch", "delete"), (4, 6, 1, 1, 0.5))[0]
        if verb == "batch":
            keys = self._keys(_BATCH)
            found = bucket.get_many(keys)
            contexts = {key: each.context for key, each in found.ok.items()}
            bucket.put_many({key: self._value(largest) for key in keys}, contexts)
            return
        (key,) = self._keys(1)
        context = bucket.get(key).context if verb != "blind" else None
        if verb == "delete":
            bucket.delete(key, context)
        elif verb != "get":
            bucket.put(key, self._value(largest), context)

    def _keys(self, count: int) -> list[str]:
        generation = self._values.writes // _WRITES
        return [f"{self._values.prefix}-{generation}-{i}" for i in self.random.sample(range(_KEYS), count)]

    def _value(self, largest: int) -> bytes:
        """No other is like it."""
        self._written += 1
        self._values.writes += 1
        head = f"{self._name}-{self._written} ".encode()
        return head + self._filling[: min(self.random.choice(_SIZES), largest) - len(head)]


def counted(history: History) -> Counter[str]:
    """What came of the large values."""
    found: Counter[str] = Counter()
    for op in history.ops:
        if op.bucket == LARGE_BUCKET:
            found[tally.LARGE_READS if op.kind == "get" else tally.LARGE_PUTS] += op.kind != "get" or op.outcome == OK
            found[tally.LARGE_UNKNOWN] += op.outcome == UNKNOWN
            found[tally.LARGE_REFUSED] += op.outcome == FAILED
    return found
