"""What a node hears and says about one key, with times, for who asked for it (`dynazmq trace`).

A tracer stands beside the gate (`Gate.watch`) while somebody traces, and only then: without a trace the loop pays for one
comparison with None per frame and turn. It notes points of the driver's clock:

    heard      a message about the key was taken in: from here on the node works on it
    done       it has been worked on: read, merged, and what follows from it put into the outbox
    committed  the turn's transaction is durable; `idle` is when it began
    sent       the transport has taken a frame with a message about the key; unsent: it has not

A message is about the key if it names it, or answers one that did: requests and answers are matched by peer and request id.
What a client or peer asked has a number here, its *operation*; what is said meanwhile, and later in its name, has the same.

Bounded: `TRACES_MAX` at a time, each with `POINTS_MAX` points, for `TRACE_MS_MAX`; what nobody collects is dropped soon after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dynazmq.dynamo.messages import (
    ANSWERS_TRACED,
    TRACED,
    Failure,
    GetReply,
    Handoff,
    Mend,
    MendReply,
    Message,
    Put,
    PutReply,
    PutTell,
    ReadReply,
    RecallReply,
    Refused,
    TraceAsk,
    TraceTell,
    Write,
    WriteReply,
)
from dynazmq.dynamo.messages.inspect import POINTS_MAX
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.replica.replica import BadMessage
from dynazmq.dynamo.runtime import Address

if TYPE_CHECKING:
    from dynazmq.wire.gate import Gate

TRACES_MAX = 8
_KEPT_US = 5_000_000  # for who has not collected in time
_LOOK_AGAIN_S = 0.01
_OPEN_MAX = 1_024  # requests of one trace that are not answered yet


class _Trace:
    """One key's points, for one asker."""

    __slots__ = ("asker", "awaited", "bucket", "key", "lost", "operations", "ours", "owed", "points", "until")

    def __init__(self, asker: Address, bucket: str, key: bytes, until: int) -> None:
        self.asker = asker
        self.bucket = bucket
        self.key = key
        self.until = until
        self.points: list[list[Any]] = []
        self.lost = 0
        self.operations = 0  # given so far
        self.owed: dict[tuple[Address, int], int] = {}  # (who asked us, its request id) → operation
        self.awaited: dict[tuple[Address, int], int] = {}  # (whom we asked, our request id) → operation
        self.ours: dict[int, int] = {}  # our request id → operation

    def heard(self, sender: Address, message: Any) -> int:
        """The operation that it belongs to; 0 if it is not about the key."""
        kind = message.__class__
        if kind in TRACED:
            if message.key != self.key or message.bucket != self.bucket:
                return 0
            self.operations += 1
            if message.request_id and len(self.owed) < _OPEN_MAX:
                self.owed[sender, message.request_id] = self.operations
            return self.operations
        return _answered(self.awaited, sender, message) if kind in ANSWERS_TRACED else 0

    def said(self, to: Address, message: Any, caused: int, left: bool) -> int:
        """The same. caused: by which operation, as far as that is known; left: the transport has taken it."""
        kind = message.__class__
        if kind in TRACED:
            if message.key != self.key or message.bucket != self.bucket:
                return 0
            operation = caused or self.ours.get(message.request_id, 0) or self.operations
            if left and message.request_id and len(self.awaited) < _OPEN_MAX:
                self.awaited[to, message.request_id] = operation
            return operation or 1
        return _answered(self.owed, to, message) if kind in ANSWERS_TRACED else 0

    def add(self, *point: Any) -> None:
        if len(self.points) < POINTS_MAX:
            self.points.append(list(point))
        else:
            self.lost += 1


def _answered(asked: dict[tuple[Address, int], int], who: Address, message: Any) -> int:
    ids = message.request_ids if message.__class__ is WriteReply else (message.request_id,)
    take = asked.get if message.__class__ is PutTell else asked.pop  # if it is known, the answer is still to come
    found = [take((who, request_id), 0) for request_id in ids]
    return next((operation for operation in found if operation), 0)


class Tracer:
    """One node's. It makes itself known to the node, and to the gate while there is something to note."""

    def __init__(self, node: Node, gate: Gate, clock_us: Callable[[], int], clock: str) -> None:
        self._node = node
        self._gate = gate
        self._clock_us = clock_us
        self._clock = clock
        self._traces: dict[tuple[Address, int], _Trace] = {}
        self._idle = self._woke = self._committing = self._speaking_us = 0
        self._touched: list[tuple[_Trace, int]] = []  # operations of this turn
        self._caused: list[tuple[Message, _Trace, int]] = []  # what they put into the outbox
        node.looking.driver_trace = self.on_ask

    # --- told by the driver -----------------------------------------------------------------------------------------------

    def idle(self) -> None:
        """The loop begins to wait."""
        self._idle = self._clock_us()

    def woke(self) -> None:
        """It goes on."""
        self._woke = now = self._clock_us()
        for name in [name for name, trace in self._traces.items() if now > trace.until + _KEPT_US]:
            self._end(name)

    def committing(self) -> None:
        self._committing = self._clock_us()

    def committed(self, rows: int) -> None:
        now = self._clock_us()
        for trace, operation in self._touched:
            trace.add(now, "committed", "", "", 0, operation, "", rows, self._committing, 0)
        self._touched.clear()

    def receive(self, sender: Address, message: Message) -> None:
        """In the place of `Node.receive`."""
        at = self._clock_us()
        about = [
            (trace, operation)
            for trace in self._traces.values()
            if at <= trace.until and (operation := trace.heard(sender, message))
        ]
        if not about:
            self._node.receive(sender, message)
            return
        said, note, request_id = message.__class__.__name__, _note(message), _request_id(message)
        for trace, operation in about:
            peer = _name(trace, sender)
            trace.add(at, "heard", peer, said, request_id, operation, *note, self._idle, self._woke)
        outbox = self._node.runtime.outbox
        before = {to: len(messages) for to, messages in outbox.items()}
        self._node.receive(sender, message)
        done = self._clock_us()
        new = [each for to, messages in outbox.items() for each in messages[before.get(to, 0) :] if each.__class__ in TRACED]
        for trace, operation in about:
            trace.add(done, "done", "", "", 0, operation, "", 0, 0, 0)
            self._touched.append((trace, operation))
            for each in new:
                self._caused.append((each, trace, operation))
                if (request_id := _request_id(each)) and len(trace.ours) < _OPEN_MAX:
                    trace.ours[request_id] = operation

    def speaking(self) -> None:
        """A frame is given to the transport next. Who gets it may have answered before this process runs again."""
        self._speaking_us = self._clock_us()

    def spoken(self, to: Address, messages: list[Message], left: bool) -> None:
        """These were given to the transport, when `speaking` said so; left: it took them."""
        at = self._speaking_us
        for message in messages:
            if message.__class__ not in TRACED and message.__class__ not in ANSWERS_TRACED:
                continue
            for trace in self._traces.values():
                if at > trace.until:
                    continue
                caused = next((number for each, whose, number in self._caused if each is message and whose is trace), 0)
                if operation := trace.said(to, message, caused, left):
                    what, peer = "sent" if left else "unsent", _name(trace, to)
                    said, request_id = message.__class__.__name__, _request_id(message)
                    trace.add(at, what, peer, said, request_id, operation, *_note(message), 0, 0)

    def turned(self) -> None:
        """All that this turn had to say has been said."""
        self._caused.clear()
        self._touched.clear()

    # --- asked by a client ------------------------------------------------------------------------------------------------

    def on_ask(self, sender: Address, message: TraceAsk) -> None:
        """Raises BadMessage."""
        name = sender, message.trace
        if message.note_ms:
            if name not in self._traces and len(self._traces) >= TRACES_MAX:
                raise BadMessage(f"{TRACES_MAX} traces are under way at {self._node.runtime.name}, the limit: try again soon")
            until = self._clock_us() + message.note_ms * 1_000
            self._traces[name] = _Trace(sender, message.bucket, message.key, until)
            self._gate.watch = self
            self._tell(sender, message, None)
            return
        if name not in self._traces:
            raise BadMessage(f"no trace {message.trace} of yours: it was collected, or nobody did in time")
        self._tell_when_quiet((sender, message, self._node.runtime.now + message.wait_ms / 1000))

    def _tell_when_quiet(self, asked: tuple[Address, TraceAsk, float]) -> None:
        sender, message, due = asked
        trace = self._traces.get((sender, message.trace))
        runtime = self._node.runtime
        if trace is not None and trace.awaited and runtime.now < due:
            runtime.call_at(runtime.now + _LOOK_AGAIN_S, self._tell_when_quiet, asked)
            return
        self._tell(sender, message, trace)
        if not message.wait_ms:
            self._end((sender, message.trace))

    def _tell(self, sender: Address, message: TraceAsk, trace: _Trace | None) -> None:
        lost, points = (trace.lost, trace.points) if trace is not None else (0, [])
        self._node.runtime.send(sender, TraceTell(message.request_id, self._clock, lost, list(points)))

    def _end(self, name: tuple[Address, int]) -> None:
        self._traces.pop(name, None)
        if not self._traces:
            self._gate.watch = None
            self.turned()


def _name(trace: _Trace, address: Address) -> str:
    if isinstance(address, str):
        return address
    return "" if address == trace.asker else "client"


def _request_id(message: Any) -> int:
    """Of an acknowledgement of several requests, none."""
    return 0 if message.__class__ is WriteReply else int(message.request_id)


def _note(message: Any) -> tuple[str, int]:
    """What there is to say of it, and how many bytes it carries (GetReply: how many values)."""
    match message:
        case Write():
            return message.hint_for, len(message.state)
        case Put():
            words = [("delete", message.value is None), ("retry", message.age_ms), ("passed on", message.hops)]
            return ", ".join(word for word, applies in words if applies), len(message.value or b"")
        case PutTell():
            return "known: it is completed" if message.known else "not known: its value is needed", 0
        case PutReply():
            return " ".join(message.acked), 0
        case GetReply():
            return " ".join(message.responders), len(message.values)
        case Failure() | Refused():
            return message.text[:200], 0
        case ReadReply() | RecallReply() | Handoff() | Mend() | MendReply():
            return "", len(message.state)
    return "", 0
