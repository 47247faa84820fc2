"""One node as a process: the real `Node`, driven by the loop of server.py in virtual time.

A turn has two halves with time between them, as long as the commit takes:

    hear    receive every frame that is there, then do what is due
    ····    a crash here loses the turn: nothing was committed, nothing was said
    speak   commit, and only then send (*commit before speak*); what cannot be sent is placed anew, committed, sent

What arrives meanwhile waits, so turns take in more the busier the node is, as the real ones do. A crash may also be set to come
between the commit and the sending, or after the first frame of it (`Process.crash_when`). The disk survives its process.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from itertools import islice
from random import Random
from typing import Protocol

from dynazmq.config import NodeConfig
from dynazmq.dynamo.messages import Message
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.replica.rescue import rescued
from dynazmq.dynamo.runtime import Address, StoreFailed
from dynazmq.simulator.world.disk import Disk
from dynazmq.simulator.world.network import Network
from dynazmq.simulator.world.world import World
from dynazmq.wire.codec import BadFrame
from dynazmq.wire.gate import Gate
from dynazmq.wire.intake import Intake

CLIENT = "client:"
"""Ports that begin so are clients'."""

BEFORE_COMMIT, AFTER_COMMIT, AMID_SENDING = "before the commit", "after the commit", "amid the sending"
CRASH_POINTS = (BEFORE_COMMIT, AFTER_COMMIT, AMID_SENDING)

# As in server.py, which says why.
_FRAMES_PER_TURN_MAX = 128
_ROUNDS_MAX = 8
_DRAIN_S, _NOTICE_S = 1.0, 0.1

_STEP_S = 0.00005
_COMMIT_S = 0.0002
_RETRY_S = 0.5


class Witness(Protocol):
    """Looks on at every turn of every process."""

    def committing(self, process: Process) -> None:
        """The turn's writes are about to be made durable."""

    def turned(self, process: Process) -> None:
        """The turn is over: committed, and said what it has to say."""


class Process:
    """A node that can be crashed, paused, restarted and robbed of its disk."""

    def __init__(
        self, world: World, network: Network, config: NodeConfig, witness: Witness, clock_s: float = 0.0, turn_messages: int = 0
    ) -> None:
        """clock_s: what this host's monotonic clock shows at first. turn_messages: that a turn has time for; 0: for all."""
        self.world = world
        self.config = config
        self.name = config.name
        self.disk = Disk(config.sync)
        self.node: Node
        self._gate: Gate
        self._intake: Intake
        self.state = "down"  # up | paused | down
        self.wall_offset_ms = 0
        self.crashes = 0
        self.crash_when = ""  # one of CRASH_POINTS: it crashes there in the next turn that writes a row or a hint,
        self.crash_at_notes = False  # or, with this, anything
        self._clock_s = clock_s
        self._clock_rate = 1.0
        self._past: Counter[str] = Counter()  # what its earlier lives counted
        self._network = network
        self._witness = witness
        self._random = world.random(f"node {config.name}")
        self._turn_messages = turn_messages
        self._messages_left = 0
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._life = 0
        self._busy = False  # between hearing and speaking
        self._wake = math.inf
        self._frozen_since = math.inf
        self._stopped_at = math.inf

    # --- life -------------------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        return self.state != "down"

    @property
    def stopping(self) -> bool:
        """It was told to end and has not ended yet."""
        return self.alive and self._stopped_at < math.inf

    @property
    def waiting(self) -> int:
        return len(self._inbox)

    @property
    def frozen_since(self) -> float:
        return self._frozen_since

    @property
    def life(self) -> int:
        """Which life of the process this is, from 1 on."""
        return self._life

    @property
    def counted(self) -> Counter[str]:
        """What the nodes of all its lives have counted."""
        return self._past + self.node.runtime.counters if self.alive else self._past

    def start(self) -> None:
        """A new life of the process, on the disk as it is. If that cannot be read or written its supervisor tries again."""
        assert self.state == "down", f"{self.name} is {self.state}"
        self._life += 1
        self._busy, self._wake, self._frozen_since, self._stopped_at = False, math.inf, math.inf, math.inf
        self._inbox.clear()
        self.crash_when, self.crash_at_notes = "", False
        try:
            self.node = Node(self.config, self.disk, Random(self._random.random()), self._now, self._wall_ms)
            self.disk.commit()
        except StoreFailed:
            self.disk.rollback()
            self.world.at(self.world.now + _RETRY_S, self._start_again, self._life)
            return
        self._gate = Gate(self.node, self.config.cluster_id, _peer_of)
        self._intake = Intake(self._gate, _dropped)
        self._intake.hurry = self._hurry
        self.state = "up"
        self._network.attach(self.name, self)
        self.world.record("start", self.name, self.node.identity.epoch)
        self._wake_at(self.world.now)

    def _start_again(self, life: int) -> None:
        if life == self._life and self.state == "down":
            self.start()

    def crash(self) -> None:
        """kill -9: what was not committed never was. Its supervisor does not start it again by itself."""
        if self.state == "down":
            self._life += 1  # one that was to be tried again is not
            return
        self._past.update(self.node.runtime.counters)
        self.state = "down"
        self.crashes += 1
        self.disk.crash()
        self._inbox.clear()
        self.world.record("crash", self.name)

    def stop(self) -> None:
        """SIGTERM: what is under way is finished, for a second at most, and nothing new is begun."""
        assert self.state == "up", f"{self.name} is {self.state}"
        self._stopped_at = self.world.now
        self.node.stop()
        self.world.record("stop", self.name)
        self._wake_at(self.world.now)
        self.world.at(self.world.now + _NOTICE_S, self._end_if_done, self._life)

    def _end_if_done(self, life: int) -> None:
        if life != self._life or not self.alive:
            return
        passed_s = self.world.now - self._stopped_at
        if self._busy or self.state == "paused" or (self.node.in_flight and passed_s < _DRAIN_S):
            self.world.at(self.world.now + _NOTICE_S / 10, self._end_if_done, life)
            return
        self._past.update(self.node.runtime.counters)
        self.state = "down"
        self._inbox.clear()
        self.world.record("end", self.name)

    def pause(self) -> None:
        """SIGSTOP."""
        if self.state == "up":
            self.state = "paused"
            self._frozen_since = self.world.now
            self.world.record("pause", self.name)

    def resume(self) -> None:
        """SIGCONT: what has arrived meanwhile is waiting."""
        if self.state == "paused":
            self.state = "up"
            self._frozen_since = math.inf
            self.world.record("resume", self.name)
            if self._busy:
                self._speak(self._life)
            else:
                self._turn()

    # --- its clocks -------------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> float:
        return self._clock_s + self.world.now * self._clock_rate

    def set_clock(self, rate: float = 1.0, ahead_s: float = 0.0) -> None:
        """This host's monotonic clock goes so much faster from now on; and, if it is down, it comes up so far ahead or behind."""
        assert not ahead_s or self.state == "down"
        self._clock_s += self.world.now * (self._clock_rate - rate) + ahead_s
        self._clock_rate = rate
        if self.state == "up":
            self._wake_at(self.world.now)

    @property
    def _wall_ms(self) -> int:
        return self.world.wall_ms + self.wall_offset_ms

    # --- a turn -----------------------------------------------------------------------------------------------------------

    def arrive(self, source: str, frame: bytes) -> None:
        self._inbox.append((source, frame))
        if self.state == "up" and not self._busy:
            self._turn()

    def _wake_at(self, when: float) -> None:
        if when < self._wake:
            self._wake = when
            self.world.at(when, self._on_wake, self._life, when)

    def _on_wake(self, life: int, when: float) -> None:
        if life != self._life or when != self._wake:
            return
        self._wake = math.inf
        if self.state == "up" and not self._busy:
            self._turn()

    def _turn(self) -> None:
        """First half."""
        node, inbox = self.node, self._inbox
        node.wake(self._now, self._wall_ms)
        self._intake.begin()
        self._messages_left = self._turn_messages
        for _ in range(min(len(inbox), _FRAMES_PER_TURN_MAX)):
            source, frame = inbox.popleft()
            self._intake.take(source.encode(), frame)
        if self._intake.waiting:
            self._intake.go_on()
        node.tick(self._now, self._wall_ms)
        takes_s = _STEP_S
        if self.disk.dirty:
            takes_s += _COMMIT_S + self.disk.slow_s
        self._busy = True
        self.world.at(self.world.now + takes_s, self._speak, self._life)

    def _speak(self, life: int) -> None:
        """Second half."""
        if life != self._life or self.state != "up":
            return
        self._busy = False
        crash_when = self.crash_when if self.disk.dirty or (self.crash_at_notes and self.disk.notes) else ""
        if crash_when == BEFORE_COMMIT:
            self.crash()
            return
        for _ in range(_ROUNDS_MAX):
            stored = self._commit()
            if crash_when == AFTER_COMMIT:
                self.crash()
            if self.state == "down":
                return
            outbox = self.node.drain()
            if not outbox:
                break
            new_work = self._send(outbox, 1 if crash_when else 1 << 30)
            if crash_when:
                self.crash()
                return
            if stored and not new_work:
                break
        self.node.runtime.notes.clear()
        self._witness.turned(self)
        if self.node.membership.expelled:
            self.crash()  # the server ends itself
            self._past["expelled"] += 1
            return
        if self.node.vouches.rebuild:
            self._set_disk_aside()
            return
        if self._inbox or self._intake.waiting:
            self._turn()
        else:
            self._wake_at(max(self.world.now, (self.node.next_deadline() - self._clock_s) / self._clock_rate))

    def _set_disk_aside(self) -> None:
        """The server does, and its supervisor starts it again."""
        identity, notes = self.node.identity, self.node.vouches.for_the_next_disk()
        self.crash()
        try:
            kept = list(rescued(self.disk, self.name, identity.unproven))
        except StoreFailed:
            self.world.at(self.world.now + _RETRY_S, self._start_again, self._life)
            return
        self._past["disks_set_aside"] += 1
        self._past["rows_rescued"] += len(kept)
        self.disk.wipe()
        self.disk.take_over(kept, notes)
        self.world.record("aside", self.name)
        self.start()

    def _commit(self) -> bool:
        self._witness.committing(self)
        try:
            self.disk.commit()
        except StoreFailed as error:
            self.disk.rollback()
            self._take_back(str(error))
            return False
        return True

    def _take_back(self, why: str) -> None:
        try:
            self.node.turn_failed(why)
        except StoreFailed:
            self.crash()  # a disk that can be neither written nor read: the process ends, the supervisor tries again
            self.world.at(self.world.now + _RETRY_S, self._start_again, self._life)

    def _send(self, outbox: dict[Address, list[Message]], destinations_max: int) -> bool:
        """See `Gate.speak`."""
        some = dict(islice(outbox.items(), destinations_max))
        return self._gate.speak(some, int(self._now * 1000), self._send_frame)

    def _send_frame(self, to: Address, frame: bytes) -> bool:
        return self._network.send(self.name, to if isinstance(to, str) else to.decode(), frame)

    def _hurry(self) -> bool:
        """A turn takes no virtual time: it is over after so many messages, if there are so many."""
        self._messages_left -= 1
        return self._turn_messages > 0 and self._messages_left <= 0


def _dropped(_identity: bytes, _frame: bytes, _error: BadFrame) -> None:
    """Counted by the gate; the server logs it as well."""


def _peer_of(identity: bytes) -> str | None:
    source = identity.decode()
    return None if source.startswith(CLIENT) else source
