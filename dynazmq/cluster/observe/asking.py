"""Asking nodes, over one DEALER each, how they are or anything else: one that is away never holds up the question to another.

`ask` puts questions for status on their way and `collect` takes what has come back: neither blocks. `gather` and `question` wait,
and no longer than they are told. Imports ZeroMQ, so who wants to start
fast imports this module late.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import zmq

from dynazmq.cluster.observe.node_health import Answer
from dynazmq.config import FRAME_BYTES_MAX
from dynazmq.dynamo.membership.change import Intent
from dynazmq.dynamo.messages import (
    AcknowledgeLosses,
    ChangeMembers,
    HintsAsk,
    Message,
    RowsAsk,
    SetAntiEntropy,
    StatusReply,
    StatusRequest,
    Topology,
    TopologyRequest,
    TreeAsk,
)
from dynazmq.dynamo.values.ring import Ring
from dynazmq.wire.codec import FROM_CLIENT, BadFrame, Envelope, OtherVersion, decode_body, encode, open_frame
from dynazmq.wire.door import inner_endpoint

Question = StatusRequest | TopologyRequest | TreeAsk | RowsAsk | HintsAsk | SetAntiEntropy | ChangeMembers | AcknowledgeLosses


@dataclass(slots=True)
class _Line:
    """The line to one node. `asked`: the request whose answer is awaited; an answer to any other is too late to be true."""

    socket: zmq.Socket[bytes]
    asked: int = 0
    endpoint: str = ""


@dataclass(slots=True)
class Asker:
    """For one thread. `close` it."""

    cluster_id: int
    endpoints: Mapping[str, str]
    rings: dict[str, Ring] = field(default_factory=dict)
    """digest → ring, as far as nodes were asked for it"""
    intents: dict[str, Intent] = field(default_factory=dict)
    """name → what was last decided of that member, as far as nodes were asked for their ring"""
    versions: dict[str, int] = field(default_factory=dict)
    """name → the version of the protocol that it speaks, of nodes that speak another one than this process"""
    _context: zmq.Context[zmq.Socket[bytes]] = field(default_factory=lambda: zmq.Context(io_threads=1))
    _lines: dict[str, _Line] = field(default_factory=dict)
    _next: int = 1
    _incarnation: int = field(default_factory=lambda: secrets.randbits(63) | 1)

    def ask(self, names: Iterable[str]) -> None:
        """Ask these nodes for their status. Never blocks; a node that is away is not told later what was asked now."""
        for name in names:
            line = self._line(name)
            question = StatusRequest(0)
            if self._send(line.socket, [question]):
                line.asked = question.request_id

    def ask_ring(self, name: str) -> None:
        """Ask one node for its ring; it turns up in `rings`."""
        self._send(self._line(name).socket, [TopologyRequest(0)])

    def collect(self) -> dict[str, Answer]:
        """The answers that are here by now: name → answer to the question asked last."""
        answers: dict[str, Answer] = {}
        for name, line in self._lines.items():
            for message in self._receive(name, line.socket):
                if isinstance(message, StatusReply) and message.request_id == line.asked:
                    if answer := Answer.parse(name, message.status):
                        answer.heard_at = time.time()
                        answers[name] = answer
                elif isinstance(message, Topology):
                    self._learn(message)
        return answers

    def gather(self, names: Iterable[str], deadline: float, *, rings: bool = True) -> dict[str, Answer]:
        """Ask and wait until all have answered, or until `deadline` (monotonic); with the ring that they speak of."""
        missing = set(names)
        self.ask(sorted(missing))
        answers: dict[str, Answer] = {}
        wanted: set[str] = set()
        while missing or not wanted <= self.rings.keys():
            for name, answer in self.collect().items():
                answers[name] = answer
                missing.discard(name)
                digest = answer.ring_digest
                if rings and digest and digest not in wanted:
                    wanted.add(digest)
                    if digest not in self.rings:
                        self.ask_ring(name)
            left = deadline - time.monotonic()
            if left <= 0 or not (missing or not wanted <= self.rings.keys()):
                break
            self._wait(left)
        return answers

    def question(self, questions: Sequence[tuple[str, Question]], timeout: float) -> list[Message | None]:
        """Ask these nodes these questions, all at once. Their answers in the same order; None where none came within `timeout`.

        What is for one node leaves in one frame, so nothing that others ask of it comes between. Refused and Failure are answers.
        """
        deadline = time.monotonic() + timeout
        waiting: dict[int, int] = {}
        for name in dict.fromkeys(name for name, _ in questions):
            mine = [(index, message) for index, (to, message) in enumerate(questions) if to == name]
            if self._send(self._line(name).socket, [message for _, message in mine]):
                waiting.update((message.request_id, index) for index, message in mine)
        answers: list[Message | None] = [None] * len(questions)
        while waiting and (left := deadline - time.monotonic()) > 0:
            self._wait(left)
            for name, line in self._lines.items():
                for message in self._receive(name, line.socket):
                    index = waiting.pop(getattr(message, "request_id", 0), None)
                    if index is not None:
                        answers[index] = message
        return answers

    def sockets(self) -> list[zmq.Socket[bytes]]:
        """To be polled by a loop that calls `collect`."""
        return [line.socket for line in self._lines.values()]

    def follow(self, endpoints: Mapping[str, str]) -> None:
        """Members have come, gone or moved."""
        for name in [name for name in self._lines if self._lines[name].endpoint != endpoints.get(name)]:
            self.reconnect(name)
            self.versions.pop(name, None)
        self.endpoints = dict(endpoints)

    def reconnect(self, name: str) -> None:
        """Another process answers for this node now: do not wait for the back-off to find it."""
        if line := self._lines.pop(name, None):
            line.socket.close(linger=0)

    def close(self) -> None:
        for line in self._lines.values():
            line.socket.close(linger=0)
        self._lines.clear()
        self._context.term()

    def _line(self, name: str) -> _Line:
        line = self._lines.get(name)
        if line is None:
            endpoint = self.endpoints[name]
            line = self._lines[name] = _Line(self._connect(endpoint), endpoint=endpoint)
        return line

    def _connect(self, endpoint: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.sndhwm = 2  # questions to a node that is away: the newest matter, and not many of them
        socket.rcvhwm = 16
        socket.maxmsgsize = FRAME_BYTES_MAX
        socket.reconnect_ivl = 20
        socket.reconnect_ivl_max = 200
        try:
            socket.connect(inner_endpoint(endpoint))  # a node that is full of clients answers all the same
        except BaseException:
            socket.close()  # `close` would wait for one that it does not know of, without end
            raise
        return socket

    def _send(self, socket: zmq.Socket[bytes], messages: Sequence[Question]) -> bool:
        """Give them their request ids, and send them. False when the line takes no more."""
        for message in messages:
            self._next += 1
            message.request_id = self._next
        now_ms = int(time.monotonic() * 1000)
        envelope = Envelope(FROM_CLIENT, self.cluster_id, self._incarnation, 0, now_ms)
        try:
            for frame in encode(envelope, messages):
                socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _learn(self, topology: Topology) -> None:
        try:
            ring = Ring.from_wire(topology.ring)
            intents = [Intent.from_wire(row) for row in topology.intents]
        except (ValueError, TypeError):
            return
        self.rings[ring.digest().hex()] = ring
        learn(self.intents, intents)

    def _receive(self, name: str, socket: zmq.Socket[bytes]) -> Iterator[Message]:
        """What is there. What does not decode is passed over: a node's fault never ends an observer."""
        while True:
            try:
                frame = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                _, body = open_frame(frame)
                messages = decode_body(body)
            except OtherVersion as error:
                self.versions[name] = error.version
                continue
            except BadFrame:
                continue
            self.versions.pop(name, None)
            yield from messages

    def _wait(self, seconds: float) -> None:
        poller = zmq.Poller()
        for socket in self.sockets():
            poller.register(socket, zmq.POLLIN)
        poller.poll(max(1, int(seconds * 1000)))


def learn(known: dict[str, Intent], intents: Iterable[Intent]) -> None:
    """Of two decisions of one member the later one holds, as between nodes."""
    for intent in intents:
        if intent.name not in known or known[intent.name].rank < intent.rank:
            known[intent.name] = intent
