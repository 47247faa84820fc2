"""What a node has received and not worked on yet: turns are short whatever is asked.

A frame is worked on when it comes, message after message, while the turn's time lasts (`hurry`). What is left of it goes on in a
later turn, and so do the frames that come meanwhile:

    peers      first, one after the other: what they ask and answer finishes what somebody has begun. Probes wait for nothing
    clients    one after the other as well, some messages each, and at least one of them in every turn. A frame stays packed until
               it is its sender's turn: who sends much waits for it, and for nobody else's

**Bounded** in bytes and frames for each sender, and in bytes for all. Past that a request is declined at once (OVERLOADED, or
Refused), and its sender is told when to come back: after as long as those before it have waited.

The server's loop and the simulator's processes use the same one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from dynazmq.dynamo.runtime import Address, unhurried
from dynazmq.wire.codec import BadFrame
from dynazmq.wire.gate import Gate, Heard

SENDER_BYTES_MAX = 16 << 20
SENDER_FRAMES_MAX = 256
BYTES_MAX = 32 << 20
"""Of frames that wait, from all clients; and as much again from all peers."""

TURN_BYTES_MAX = 4 << 20
"""Of frames that a turn begins; the last one may pass it. What they write is one transaction, which takes its time as well."""

_SLICE = 16
"""Messages of one sender, before it is another's turn."""

_RETRY_MIN_MS, _RETRY_MAX_MS = 50, 2_000

OnBadFrame = Callable[[bytes, bytes, BadFrame], None]
"""Told of the sender's identity, the frame, and what is wrong with it."""


class _Frames:
    """Those of one sender: [frame, packed or begun; its bytes; when it came]."""

    __slots__ = ("bytes", "queue")

    def __init__(self) -> None:
        self.queue: deque[tuple[bytes | Heard, int, float]] = deque()
        self.bytes = 0


class _Lane:
    """Frames of all clients, or of all peers. Whose turn it is comes first."""

    def __init__(self) -> None:
        self.senders: dict[Address, _Frames] = {}
        self.bytes = 0

    def has_room(self, sender: Address, size: int) -> bool:
        """One frame may be as large as any: who has none waiting is not declined for its size alone."""
        if self.bytes + size > BYTES_MAX:
            return False
        frames = self.senders.get(sender)
        return frames is None or (frames.bytes + size <= SENDER_BYTES_MAX and len(frames.queue) < SENDER_FRAMES_MAX)

    def add(self, sender: Address, frame: bytes | Heard, size: int, now: float) -> None:
        frames = self.senders.get(sender)
        if frames is None:
            frames = self.senders[sender] = _Frames()
        frames.queue.append((frame, size, now))
        frames.bytes += size
        self.bytes += size

    def first(self) -> tuple[Address, _Frames]:
        return next(iter(self.senders.items()))

    def turn_over(self, sender: Address, done: bool) -> None:
        """The next sender's turn comes. done: this one's first frame is."""
        frames = self.senders.pop(sender)
        if done:
            _, size, _ = frames.queue.popleft()
            frames.bytes -= size
            self.bytes -= size
        if frames.queue:
            self.senders[sender] = frames

    def waited_ms(self, sender: Address, now: float) -> int:
        """How long this sender's oldest frame has waited; if it has none, whoever's turn is next."""
        frames = self.senders.get(sender)
        if frames is None:
            if not self.senders:
                return 0
            _, frames = self.first()
        return int((now - frames.queue[0][2]) * 1000)


class Intake:
    """One node's. The driver has a clock, this has none: `hurry` says whether the turn's time is over."""

    def __init__(self, gate: Gate, on_bad_frame: OnBadFrame) -> None:
        self._gate = gate
        self._on_bad_frame = on_bad_frame
        self.hurry: Callable[[], bool] = unhurried
        self._peers, self._clients = _Lane(), _Lane()
        self._begun = 0  # bytes of frames in this turn
        self.taken = 0
        """Bytes of the frames that came in this turn."""

    @property
    def waiting(self) -> int:
        """Senders of whom something waits."""
        return len(self._peers.senders) + len(self._clients.senders)

    @property
    def waiting_bytes(self) -> int:
        """Of all frames that wait."""
        return self._peers.bytes + self._clients.bytes

    def begin(self) -> None:
        """A turn."""
        self._begun = self.taken = 0
        self._gate.late = False

    def take(self, identity: bytes, frame: bytes) -> None:
        """A frame has come: work on it, or let it wait."""
        self.taken += len(frame)
        over = self._gate.late or self._begun >= TURN_BYTES_MAX
        if not (over or self._peers.senders or self._clients.senders):  # the usual case: nobody waits
            self._begin(identity, frame)
            return
        peer = self._gate.peer_of(identity) is not None
        lane = self._peers if peer else self._clients
        if not (over or lane.senders):
            self._begin(identity, frame)
        elif peer:
            self._take_of_peer(identity, frame)
        elif lane.has_room(identity, len(frame)):
            lane.add(identity, frame, len(frame), self._gate.now)
        elif (opened := self._open(identity, frame)) is not None:
            self._decline(lane, opened)

    def _begin(self, identity: bytes, frame: bytes) -> None:
        """It is this frame's turn at once."""
        try:
            heard = self._gate.open(identity, frame)
        except BadFrame as error:
            self._on_bad_frame(identity, frame, error)
            return
        self._begun += len(frame)
        if not self._gate.work(heard, self.hurry):
            lane = self._peers if isinstance(heard.sender, str) else self._clients
            lane.add(heard.sender, heard, len(frame), self._gate.now)

    def _take_of_peer(self, identity: bytes, frame: bytes) -> None:
        """It waits, but for its probes."""
        heard, lane = self._open(identity, frame), self._peers
        if heard is None:
            return
        self._gate.hear_probes(heard)
        if lane.has_room(heard.sender, len(frame)):
            lane.add(heard.sender, heard, len(frame), self._gate.now)
        else:
            self._decline(lane, heard)

    def go_on(self) -> None:
        """Work on what waits until the turn is over, peers first; with one of them and with one client at least."""
        for lane in (self._peers, self._clients):
            if lane.senders:
                self._proceed(lane)
            while lane.senders and not self._over():
                self._proceed(lane)

    def _proceed(self, lane: _Lane) -> None:
        """It is the first sender's turn."""
        sender, frames = lane.first()
        frame, size, since = frames.queue[0]
        if not isinstance(frame, Heard):
            assert isinstance(sender, bytes)
            self._begun += size
            heard = self._open(sender, frame)
            if heard is None:
                lane.turn_over(sender, done=True)
                return
            frames.queue[0] = heard, size, since
            frame = heard
        lane.turn_over(sender, done=self._gate.work(frame, self.hurry, _SLICE))

    def _over(self) -> bool:
        return self._gate.late or self._begun >= TURN_BYTES_MAX

    def _open(self, identity: bytes, frame: bytes) -> Heard | None:
        try:
            return self._gate.open(identity, frame)
        except BadFrame as error:
            self._on_bad_frame(identity, frame, error)
            return None

    def _decline(self, lane: _Lane, heard: Heard) -> None:
        waited_ms = lane.waited_ms(heard.sender, self._gate.now)
        self._gate.decline(heard, min(max(waited_ms, _RETRY_MIN_MS), _RETRY_MAX_MS))
