"""A raw client: a DEALER beside one node that says what it likes, in whatever frames, and reads what it likes.

The product's own client (dynazmq/client) waits its turn, reads what it has asked for and sends nothing that is wrong. This one
has no manners: what it does anybody can do who has read docs/protocol.md.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

import zmq

from dynazmq.dynamo.messages import Message
from dynazmq.wire.codec import FROM_CLIENT, BadFrame, Envelope, decode_body, encode, open_frame
from dynazmq.wire.sockets import set_options

_LIFE = 1  # as its incarnation: a client's means nothing to a node
_FRAMES_MAX = 64  # that are read at a time


class Speaker:
    """For one thread. queued: frames that wait at most on each side of its socket."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, cluster_id: int, queued: int = 1_000) -> None:
        self._cluster_id = cluster_id
        self._socket = context.socket(zmq.DEALER)
        set_options(self._socket, 0)  # who does not read must have none: see sockets.py
        self._socket.sndhwm = self._socket.rcvhwm = queued
        self._socket.connect(endpoint)

    def say(self, messages: Sequence[Message]) -> int:
        """How many of their frames were taken: fewer than there are when the node does not read."""
        return sum(self.throw([frame]) for frame in encode(self.envelope(), messages))

    def throw(self, parts: Sequence[bytes]) -> bool:
        """One message of ZeroMQ as it is. False: not taken."""
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def envelope(self) -> Envelope:
        return Envelope(FROM_CLIENT, self._cluster_id, _LIFE, 0, int(time.monotonic() * 1000))

    def hear(self, frames_max: int = _FRAMES_MAX) -> list[Message]:
        """What is there, a bounded part of it. What cannot be understood is passed over."""
        heard: list[Message] = []
        for _ in range(frames_max):
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            try:
                heard += decode_body(open_frame(frame)[1])
            except BadFrame:
                continue
        return heard

    def close(self) -> None:
        self._socket.close(linger=0)

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
