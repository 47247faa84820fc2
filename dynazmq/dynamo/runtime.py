"""All that a technique may touch: its name, the time, chance, the store, the outbox and timers.

The core is a state machine that is told of messages and of the time, and leaves what it wants sent and stored in buffers
(etcd's raft and h11 are the models). Nothing here waits, and nothing reads a clock: whoever drives a node, the server's loop
or the simulator, sets `now` once per turn and drains the outbox after the turn's writes are durable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, NamedTuple, Protocol

from dynazmq.config import NodeConfig
from dynazmq.dynamo.messages import Message

Address = str | bytes
"""Who sends or gets a message: a peer's name (str), or what the transport calls a client (bytes)."""


ROWS_LOST = "rows_lost"
"""The meta value in which a store says that it lost rows and does not know which; empty or absent when it has not."""


class StoreFailed(Exception):
    """The store could not read or write now: disk full, I/O error. What it holds is as before."""


_TICKS_PER_S = 1024  # a power of two: n ticks and a time are compared without rounding


class DamagedRow(Exception):
    """A row's checksum does not match: it counts as missing (S7)."""


Row = tuple[int, str, bytes]
"""(place, bucket, key): rows are ordered by it."""

OwnRow = tuple[int, str, bytes, bytes | None]
"""(place, bucket, key, state); None for a state that is damaged."""


@dataclass(frozen=True, slots=True)
class HintTotal:
    """What is kept for one target. bytes: of keys and states together."""

    count: int
    bytes: int


class Store(Protocol):
    """What the core asks of storage. Writes are seen by later reads at once and are durable after the driver's commit.

    A row is found by (place, bucket, key); `place` is the key's position on the ring, so a partition is one range of rows.
    Every call may raise StoreFailed; those that return states may raise DamagedRow.
    """

    def read(self, place: int, bucket: str, key: bytes) -> bytes:
        """This node's own copy; b"" when there is none."""

    def write(self, place: int, bucket: str, key: bytes, state: bytes) -> None: ...

    def read_hint(self, target: str, place: int, bucket: str, key: bytes) -> bytes:
        """What is kept for a primary that is away; b"" when nothing is."""

    def write_hint(self, target: str, place: int, bucket: str, key: bytes, state: bytes) -> None: ...

    def delete_hint(self, target: str, place: int, bucket: str, key: bytes) -> None: ...

    def hints(self, target: str, after: Row, limit: int) -> tuple[list[OwnRow], Row | None]:
        """The hints for a target behind `after`, in order; the state of a damaged one is None.

        No more than `limit`, and fewer (even none) where they are large or some were just deleted. The second result says where
        to go on, or None at the end.
        """

    def hint_total(self, target: str) -> HintTotal:
        """How much is kept for a target, this turn's writes included. It is known and not counted: ask as often as you like."""

    def hint_totals(self) -> dict[str, HintTotal]:
        """The same of each target for which anything is kept, in the order of their names."""

    def scan(
        self, bucket: str, first: int, last: int, after: tuple[int, bytes], limit: int
    ) -> tuple[list[tuple[int, bytes, bytes]], tuple[int, bytes] | None]:
        """(place, key, state) of a bucket's rows and hints between two places, behind `after`.

        Looks at no more than `limit` rows, and at fewer where they are large. The second result says where to go on, or None at
        the end.
        """

    def rows(self, first: int, last: int, after: Row, limit: int) -> tuple[list[OwnRow], Row | None]:
        """This node's own rows between two places and behind `after`, in order; the state of a damaged one is None.

        No more than `limit`, and fewer (even none) where they are large. The second result says where to go on, or None at the
        end.
        """

    def key_count(self) -> int:
        """Rows of this node's own, tombstones included."""

    def harden(self) -> None:
        """After this turn's commit all earlier ones survive loss of power, however the store is set up."""

    def get_meta(self, name: str) -> bytes | None:
        """Identity, ring, members and policies: small values that are committed with the data."""

    def set_meta(self, name: str, value: bytes) -> None: ...


def unhurried() -> bool:
    """There is time for everything."""
    return False


_TIMERS_AT_ONCE = 4
"""Between two looks at the clock. Most are of requests that were answered long ago, and do nothing."""


class Note(NamedTuple):
    """about: what makes two of them one fact where their texts differ, since they quote what somebody has sent; "": the text."""

    level: str
    text: str
    about: str


class Runtime:
    """One node's surroundings, shared by its techniques. Times are seconds of the driver's monotonic clock."""

    __slots__ = (
        "_due", "_ticks", "aborts", "config", "counters", "name", "notes", "now", "outbox", "random", "replying_bytes",
        "request_ids", "started", "store", "trouble", "unproven", "wall_ms",
    )  # fmt: skip

    def __init__(self, config: NodeConfig, store: Store, random: Random, now: float, wall_ms: int) -> None:
        self.name = config.name
        self.config = config
        self.store = store
        self.random = random
        self.now = self.started = now
        self.wall_ms = wall_ms
        self.outbox: dict[Address, list[Message]] = {}
        self.replying_bytes = 0  # of values in the outbox
        self.counters: Counter[str] = Counter()
        self.notes: list[Note] = []
        self.request_ids = count(1)
        # What to undo if this turn's commit fails: called with their argument by Node.turn_failed.
        self.aborts: list[tuple[Callable[[Any], None], Any]] = []
        self.trouble = ""  # why the turn that could not be committed could not
        self.unproven: set[Row] = set()  # rows to which this turn has given a dot, which is given for good by its commit only
        self._due: dict[int, list[tuple[Callable[[Any], None], Any]]] = {}  # tick → what is due then, in order of asking
        self._ticks: list[int] = []  # its keys, as a heap

    def send(self, to: Address, message: Message) -> None:
        """Put a message into the outbox. It leaves after the turn's writes are durable (*commit before speak*)."""
        box = self.outbox.get(to)
        if box is None:
            self.outbox[to] = [message]
        else:
            box.append(message)

    def not_stored(self, what: str = "it") -> str:
        """What somebody is told whose request was undone since the turn's commit failed."""
        return f"{self.name} could not store {what}" + (f": {self.trouble}" if self.trouble else "")

    def unless_stored(self, to: Address, message: Message, instead: Message | None) -> None:
        """A message in the outbox shows a dot that this turn has given (`unproven`): if the commit fails, `instead` is sent."""
        self.aborts.append((self._withdraw, (to, message, instead)))

    def _withdraw(self, told: tuple[Address, Message, Message | None]) -> None:
        to, message, instead = told
        left = [each for each in self.outbox.pop(to, ()) if each is not message]
        for each in [*left, instead] if instead is not None else left:
            self.send(to, each)

    def note(self, text: str, level: str = "INFO", about: str = "") -> None:
        """Something an operator should read, INFO or WARN; the driver logs it. about: see `Note`."""
        if len(self.notes) < 100:  # a flood says nothing more than its beginning
            self.notes.append(Note(level, text, about))

    def call_at(self, when: float, action: Callable[[Any], None], argument: Any) -> None:
        """Call action(argument) in the first turn that comes after `when`, by a tick at most. No timer is cancelled: an action
        looks if it is late.

        Every request sets one and few live to see it, so setting it is a list's append: what is due in one tick is one list.
        """
        tick = int(when * _TICKS_PER_S) + 1
        due = self._due.get(tick)
        if due is None:
            due = self._due[tick] = []
            heappush(self._ticks, tick)
        due.append((action, argument))

    def run_timers(self, hurry: Callable[[], bool] = unhurried) -> None:
        """Call what is due, in the order of its time: a few at least, the rest in the next turn if there is no time for it."""
        ticks, until = self._ticks, self.now * _TICKS_PER_S
        while ticks and ticks[0] <= until:
            tick = heappop(ticks)
            due = self._due.pop(tick)
            if len(due) <= _TIMERS_AT_ONCE:  # the usual case
                for action, argument in due:
                    action(argument)
                if hurry():
                    return
                continue
            for begin in range(0, len(due), _TIMERS_AT_ONCE):
                for action, argument in due[begin : begin + _TIMERS_AT_ONCE]:
                    action(argument)
                if hurry():
                    if begin + _TIMERS_AT_ONCE < len(due):
                        self._put_back(tick, due[begin + _TIMERS_AT_ONCE :])
                    return

    def _put_back(self, tick: int, left: list[tuple[Callable[[Any], None], Any]]) -> None:
        """Before what was asked for at this tick meanwhile."""
        later = self._due.get(tick)
        if later is None:
            heappush(self._ticks, tick)
        self._due[tick] = left + (later or [])

    def next_timer(self) -> float | None:
        return self._ticks[0] / _TICKS_PER_S if self._ticks else None
