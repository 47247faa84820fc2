"""A network with a will of its own: frames are late, lost, doubled, garbled, overtaken; links are cut, in one direction or both.

What it models of ZeroMQ (wire/sockets.py) is what the core can tell: a send is refused at once when the peer's process is gone,
when its connection has been dead for longer than the heartbeats allow, or when a thousand frames wait; everything else is
accepted and may still never arrive. A node that is back is connected to a little later.

Ports have names: a node's is its own, a client's begins with "client:". A client is beside a node (it can reach what that node
can) or beside none (it can reach everybody).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from zlib import crc32

from dynazmq.simulator.world import World

_FRAMES_QUEUED_MAX = 1_000
_RECONNECT_S = 0.2


@dataclass(slots=True, kw_only=True)
class Conditions:
    """What the weather is like. Times in seconds, the rest are chances."""

    delay_s: float = 0.0002
    """The least that a frame takes."""

    jitter_s: float = 0.0002
    """Mean of what it takes beyond that (exponential)."""

    spikes: float = 0.0
    spike_s: float = 0.0
    """Some frames take up to so much longer."""

    loss: float = 0.0
    duplication: float = 0.0
    garbling: float = 0.0
    reordering: bool = False
    """Without it each link is first in, first out, as TCP is."""

    notice_s: float = 0.8
    """How long a link must be dead until a sender is told so (ZeroMQ's heartbeats); infinite: never."""


class Port(Protocol):
    """Where frames arrive."""

    @property
    def alive(self) -> bool: ...

    @property
    def waiting(self) -> int:
        """Frames that have arrived and were not read."""

    @property
    def frozen_since(self) -> float:
        """Since when it has not read anything, infinite when it reads."""

    def arrive(self, source: str, frame: bytes) -> None: ...


class Network:
    """Carries frames from port to port."""

    def __init__(self, world: World, conditions: Conditions) -> None:
        self._world = world
        self._random = world.random("network")
        self.conditions = conditions
        self.ports: dict[str, Port] = {}
        self.beside: dict[str, str] = {}
        self._cut: dict[tuple[str, str], float] = {}  # (from, to) → since when
        self._slow: dict[str, float] = {}
        self._connected_at: dict[tuple[str, str], float] = {}
        self._last_arrival: dict[tuple[str, str], float] = {}

    def attach(self, name: str, port: Port) -> None:
        """A process has begun to listen. Those who knew an earlier one find it a little later."""
        if name in self.ports:
            for other in self.ports:
                self._connected_at[other, name] = self._world.now + self._random.random() * _RECONNECT_S
        self.ports[name] = port

    # --- sending ----------------------------------------------------------------------------------------------------------

    def send(self, source: str, target: str, frame: bytes) -> bool:
        """False: the transport could not take it."""
        now, conditions, random = self._world.now, self.conditions, self._random
        port = self.ports.get(target)
        if port is None or not port.alive or now < self._connected_at.get((source, target), 0.0):
            return False
        dead_since = min(self._cut_since(source, target), self._cut_since(target, source), port.frozen_since)
        if now - dead_since > conditions.notice_s or port.waiting >= _FRAMES_QUEUED_MAX:
            return False
        copies = 1
        if conditions.loss and random.random() < conditions.loss:
            copies = 0
        elif conditions.duplication and random.random() < conditions.duplication:
            copies = 2
        for _ in range(copies):
            self._post(source, target, frame)
        return True

    def _post(self, source: str, target: str, frame: bytes) -> None:
        conditions, random = self.conditions, self._random
        delay = conditions.delay_s + random.expovariate(1.0) * conditions.jitter_s
        delay += self._slow.get(source, 0.0) + self._slow.get(target, 0.0)
        if conditions.spikes and random.random() < conditions.spikes:
            delay += random.random() * conditions.spike_s
        when = self._world.now + delay
        if not conditions.reordering:
            when = self._last_arrival[source, target] = max(when, self._last_arrival.get((source, target), 0.0))
        if conditions.garbling and random.random() < conditions.garbling:
            garbled = bytearray(frame)
            garbled[random.randrange(len(frame))] ^= 1 << random.randrange(8)
            frame = bytes(garbled)
        self._world.at(when, self._arrive, source, target, frame)

    def _arrive(self, source: str, target: str, frame: bytes) -> None:
        port = self.ports[target]
        if not port.alive or self._cut_since(source, target) < math.inf:
            return
        self._world.record("frame", source, target, crc32(frame))
        port.arrive(source, frame)

    # --- faults -----------------------------------------------------------------------------------------------------------

    def _cut_since(self, source: str, target: str) -> float:
        if not self._cut:
            return math.inf
        return self._cut.get((self.beside.get(source, source), self.beside.get(target, target)), math.inf)

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from one to the other any more; the way back is open."""
        self._cut.setdefault((source, target), self._world.now)

    def mend(self, source: str, target: str) -> None:
        self._cut.pop((source, target), None)

    def partition(self, groups: Iterable[Iterable[str]]) -> None:
        """Only who is in one group can reach each other. Who is in none reaches all."""
        sides = [list(group) for group in groups]
        for side in sides:
            for other in sides:
                if other is not side:
                    for source in side:
                        for target in other:
                            self.cut(source, target)

    def slow(self, name: str, seconds: float) -> None:
        """All that this port sends and gets takes so much longer."""
        self._slow[name] = seconds

    def heal(self) -> None:
        """All links are whole again; what the weather is like stays."""
        self._cut.clear()
        self._slow.clear()
