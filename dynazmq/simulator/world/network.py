"""A network with a will of its own: frames are late, lost, doubled, garbled, overtaken; links are cut, clogged or bad, each way.

What it models of ZeroMQ (wire/sockets.py) is what the core can tell: a send is refused at once when the peer's process is gone,
when its connection has been dead for longer than the heartbeats allow, or when a thousand frames wait; everything else is
accepted and may still never arrive. A node that is back is connected to a little later. What was under way to its earlier life
may reach the new one (N16): libzmq keeps what it has accepted for an endpoint, whoever listens there.

Ports have names: a node's is its own, a client's begins with "client:". A client is beside a node (it can reach what that node
can) or beside none (it can reach everybody).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol
from zlib import crc32

from dynazmq.simulator.world.world import World

FRAMES_QUEUED_MAX = 1_000
_FRAMES_LEFT_OVER_MAX = 100  # for one process that is down
_RECONNECT_S = 0.2
_APART_S = 1e-5  # frames that were held leave in order


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

    left_over: float = 0.0
    """Of the frames that find their process dead, how many wait for its next life."""

    notice_s: float = 0.8
    """How long a link must be dead until a sender is told so (ZeroMQ's heartbeats); infinite: never."""

    def calmed(self) -> Conditions:
        """The same way to go, on which nothing is lost, held up, doubled or garbled."""
        return Conditions(delay_s=self.delay_s, jitter_s=self.jitter_s)


@dataclass(slots=True)
class Clog:
    """A link that lets nothing through for a while. What is sent waits, in order; beyond `room` frames it vanishes, and nobody is
    told: as a plain ROUTER does at its high-water mark, or a middlebox that keeps the connection alive."""

    room: int
    held: list[tuple[str, str, bytes]] = field(default_factory=list)


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
        self._bad: dict[tuple[str, str], Conditions] = {}  # (from, to) → a weather of its own
        self._clogs: dict[tuple[str, str], Clog] = {}
        self._left_over: dict[str, list[tuple[str, bytes]]] = {}
        self._connected_at: dict[tuple[str, str], float] = {}
        self._attached_at: dict[str, float] = {}
        self._last_arrival: dict[tuple[str, str], float] = {}

    def attach(self, name: str, port: Port) -> None:
        """A process has begun to listen. Those who knew an earlier one find it a little later."""
        if name in self.ports:
            for other in self.ports:
                self._connected_at[other, name] = self._world.now + self._random.random() * _RECONNECT_S
        self.ports[name] = port
        self._attached_at[name] = self._world.now
        for i, (source, frame) in enumerate(self._left_over.pop(name, ())):
            self._world.at(self._connected_at[source, name] + i * _APART_S, self._arrive, source, name, frame)

    # --- sending ----------------------------------------------------------------------------------------------------------

    def send(self, source: str, target: str, frame: bytes) -> bool:
        """False: the transport could not take it."""
        now, random = self._world.now, self._random
        port = self.ports.get(target)
        if port is None or not port.alive or now < self._connected_at.get((source, target), 0.0):
            return False
        dead_since = min(self._cut_since(source, target), self._cut_since(target, source), port.frozen_since)
        if now - dead_since > self.conditions.notice_s or port.waiting >= FRAMES_QUEUED_MAX:
            return False
        if self._clogs and (clog := self._clogs.get(self._between(source, target))) is not None:
            if len(clog.held) < clog.room:
                clog.held.append((source, target, frame))
            return True
        conditions = self._weather(source, target)
        copies = 1
        if conditions.loss and random.random() < conditions.loss:
            copies = 0
        elif conditions.duplication and random.random() < conditions.duplication:
            copies = 2
        if copies:
            self._post(source, target, frame, conditions, self._arrive)
        if copies == 2:
            self._post(source, target, frame, conditions, partial(self._arrive_again, now))
        return True

    def _between(self, source: str, target: str) -> tuple[str, str]:
        """The link between two ports: that of the nodes that they are beside."""
        return self.beside.get(source, source), self.beside.get(target, target)

    def _weather(self, source: str, target: str) -> Conditions:
        return self._bad.get(self._between(source, target), self.conditions) if self._bad else self.conditions

    def _post(
        self, source: str, target: str, frame: bytes, conditions: Conditions, arrive: Callable[[str, str, bytes], None]
    ) -> None:
        random = self._random
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
        self._world.at(when, arrive, source, target, frame)

    def _arrive_again(self, sent: float, source: str, target: str, frame: bytes) -> None:
        """The second copy of a frame. A connection gives what it carries to one process: of two copies the later does not come to
        the next life of who had the first (seed 533110).
        """
        if self._attached_at[target] <= sent and self.ports[target].alive:
            self._arrive(source, target, frame)

    def _arrive(self, source: str, target: str, frame: bytes) -> None:
        port = self.ports[target]
        if self._cut_since(source, target) < math.inf:
            return
        if not port.alive:
            if self.conditions.left_over and self._random.random() < self.conditions.left_over:
                left_over = self._left_over.setdefault(target, [])
                if len(left_over) < _FRAMES_LEFT_OVER_MAX:
                    left_over.append((source, frame))
            return
        self._world.record("frame", source, target, crc32(frame))
        port.arrive(source, frame)

    # --- faults -----------------------------------------------------------------------------------------------------------

    def _cut_since(self, source: str, target: str) -> float:
        if not self._cut:
            return math.inf
        return self._cut.get(self._between(source, target), math.inf)

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

    def spoil(self, source: str, target: str, conditions: Conditions) -> None:
        """One direction of one link gets a weather of its own."""
        self._bad[source, target] = conditions

    def restore(self, source: str, target: str) -> None:
        self._bad.pop((source, target), None)

    def clog(self, source: str, target: str, room: int) -> None:
        """Nothing gets from one to the other for now, and nobody is told. Up to `room` frames wait."""
        self._clogs.setdefault((source, target), Clog(room))

    def unclog(self, source: str, target: str) -> None:
        """What was held leaves, in order."""
        clog = self._clogs.pop((source, target), None)
        when = self._world.now + self.conditions.delay_s
        for sender, receiver, frame in clog.held if clog is not None else ():
            when = self._last_arrival[sender, receiver] = max(when, self._last_arrival.get((sender, receiver), 0.0)) + _APART_S
            self._world.at(when, self._arrive, sender, receiver, frame)

    def heal(self) -> None:
        """All links are whole again; what the weather is like stays."""
        self._cut.clear()
        self._slow.clear()
        self._bad.clear()
        for link in list(self._clogs):
            self.unclog(*link)
