"""Bytes that ZeroMQ was given to send and the kernel has not taken yet: bounded for each receiver (promise 7).

ZeroMQ bounds its queues in frames, and a frame may have 100 bytes or 16 MiB: who asks for large values and does not read would
have a node's memory filled with them. It does not tell how many bytes it holds either. But a large frame can be *lent* to it
instead of being copied, and it says when it does not need that one any more, which is when the kernel has all of it. So what is
lent and not returned is what waits, to the byte; small frames are copied, and bounded by their number (sockets.py).

    who has nothing waiting        gets the frame, however large it is
    who has                        gets it while there is room for it, among that receiver's own bytes and among those of all

What finds no room is not sent: the caller hears of it at once, and says so to whoever waits for an answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import TypeAlias

import zmq

LARGE = 64 << 10
"""A frame of so many bytes is lent. Being told of its return costs about as much as copying it."""

Socket: TypeAlias = "zmq.Socket[bytes]"


class Lending:
    """What was lent to the sockets of one kind of receivers."""

    def __init__(self, each_max: int, all_max: int) -> None:
        """each_max, all_max: bytes that may wait for one receiver, and for all of them."""
        self._each_max, self._all_max = each_max, all_max
        self._lent: dict[Hashable, deque[tuple[zmq.MessageTracker, int]]] = {}
        self._bytes = 0

    def has_room(self, receiver: Hashable, size: int) -> bool:
        """Whether a frame of so many bytes may be sent to it now."""
        own = self._waiting_for(receiver)
        if not own:
            return True
        if own + size > self._each_max:
            return False
        return self._bytes + size <= self._all_max or self.settle() + size <= self._all_max

    def send(self, socket: Socket, receiver: Hashable, frame: bytes, flags: int) -> None:
        """Raises zmq.ZMQError when the socket does not take it: then nothing was lent."""
        tracker = socket.send(frame, flags, copy=False, track=True)
        assert tracker is not None, "it was asked for"
        self._lent.setdefault(receiver, deque()).append((tracker, len(frame)))
        self._bytes += len(frame)

    def settle(self) -> int:
        """Count what has come back from anybody, gone ones as well. The bytes that still wait."""
        for receiver in list(self._lent):
            self._waiting_for(receiver)
        return self._bytes

    def _waiting_for(self, receiver: Hashable) -> int:
        lent = self._lent.get(receiver)
        if lent is None:
            return 0
        while lent and lent[0][0].done:  # they leave in their order
            _, size = lent.popleft()
            self._bytes -= size
        if not lent:
            del self._lent[receiver]
        return sum(size for _, size in lent)
