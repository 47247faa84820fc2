"""Between one node and its transport: which frames are heard, and how what the node says is put into frames.

The server's loop and the simulator's processes use the same one, so that the rules below are what the simulator proves.

    strangers   a client that does not know the cluster's id yet may ask where everything is, and for a status; nothing else.
                One that means another cluster is told that this is not it: where that was, another was made since
    versions    a frame of another version of the protocol is not understood: a client is told which one is spoken here, a peer's
                is noted. Two versions in one cluster take each other for down
    lives       of or for an earlier life of either side only gossip and probes are heard: its requests are void (N11), and so is
                what it says of disks
    age         what a frame spent under way is taken off its requests' budgets. Expired work is then dropped by the core; and
                a state that was under way for very long is not taken in at all (tombstone_gc.py rests on it). Hosts have clocks
                of their own: a peer's frame is as old as it came later than the quickest that we had of this peer, and so is
                that of a client with another clock
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from dynazmq.config import MESSAGES_PER_FRAME_MAX
from dynazmq.dynamo.membership.stale_disks import FOR_ANOTHER_LIFE
from dynazmq.dynamo.messages import (
    ABOUT_LIVES,
    DATED,
    FROM_STRANGERS,
    OTHER_CLUSTER,
    OVERLOADED,
    WITH_AGE,
    WITH_BUDGET,
    Failure,
    GossipDelta,
    Message,
    Probe,
    ProbeReply,
    request_id_of,
)
from dynazmq.dynamo.messages.fields import aged
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.runtime import Address
from dynazmq.wire.codec import (
    FROM_CLIENT,
    FROM_NODE,
    SENT_MS_MAX,
    BadFrame,
    Envelope,
    OtherCluster,
    OtherVersion,
    OutOfBounds,
    decode_body,
    encode,
    encode_counted,
    introduction,
    open_frame,
)
from dynazmq.wire.tracing import Tracer

_CLOCKS_DIFFER_MS = 3_600_000
"""An age above this says that a client's clock is another one: then only its frames among themselves tell of an age."""

_QUICKEST_MS = 10_000
"""The quickest frame of a client with another clock is looked for in so much time and as much before: a host that was suspended
has a clock that is behind from then on, and its requests would be out of time for ever."""

_CLIENTS_MAX = 4_096
"""With other clocks: 1 MB."""

_DRIFT = 0.0002
"""How far the clocks of two hosts may run apart, as a part of the time that passes. Crystals are ten times better."""

_A_START = 1000
"""By at least so much a new process raises its incarnation, mostly (identity.py); a refutation by one."""

_PROBES = frozenset((Probe, ProbeReply))

_WORDS = frozenset((ProbeReply, GossipDelta))
"""In which a peer says what it remembers of the life that it speaks to (dynamo/membership/stale_disks.py)."""

_LATE_MS = 250
"""A client that waits this long begins to ask elsewhere."""

_COME_BACK_MS = 1_000
"""When somebody who could not be given a connection may try again."""

_UNSENDABLE = (BadFrame, ValueError, TypeError, OverflowError)
"""What it raises to encode a message that is too large, or holds what does not travel."""


class _OtherClocks:
    """How late frames of clients are whose clocks are not ours: later than the quickest of the same client."""

    def __init__(self) -> None:
        self._quickest: OrderedDict[bytes, tuple[float, float, float]] = OrderedDict()  # since when; least lag since and before

    def age_ms(self, client: bytes, lag: float, now_ms: float) -> int:
        """lag: what our clock says less what the frame says, whatever that means."""
        since, least, before = self._quickest.get(client, (now_ms, lag, lag))
        if now_ms - since >= _QUICKEST_MS:
            since, least, before = now_ms, lag, least
        least = min(least, lag)
        self._quickest[client] = since, least, before
        if len(self._quickest) > _CLIENTS_MAX:
            self._quickest.popitem(last=False)
        return int(lag - min(least, before))


class Heard:
    """A frame that was opened. `next`: the first of its messages that was not worked on yet."""

    __slots__ = ("envelope", "messages", "next", "refused", "sender")

    def __init__(self, sender: Address, envelope: Envelope, messages: list[Message], refused: list[OutOfBounds]) -> None:
        self.sender = sender
        self.envelope = envelope
        self.messages = messages
        self.refused = refused  # those with a value that is not admitted
        self.next = 0


class Gate:
    """One node's."""

    def __init__(self, node: Node, cluster_id: int, peer_of: Callable[[bytes], str | None]) -> None:
        """peer_of: the node's name in the identity that the transport gives a sender; None for a client's."""
        self._node = node
        self._cluster_id = cluster_id
        self.peer_of = peer_of
        self.other_versions: dict[str, int] = {}
        """Members that speak another version of the protocol, by what came from them last."""
        self.late = False
        """Whether `work` has found that the turn's time is over; the driver says when another one begins."""
        self.watch: Tracer | None = None
        """Who notes what is heard and said, while somebody traces a key."""
        self._new_work = False  # of the core's, by what was spoken last
        self._quickest: dict[str, tuple[int, float, float]] = {}  # peer → its incarnation, least lag in ms, when that was so
        self._other_clocks = _OtherClocks()
        self._state_life_ms = node.runtime.config.timing.retirement_grace_ms * 2 // 3 or _CLOCKS_DIFFER_MS

    @property
    def now(self) -> float:
        return self._node.runtime.now

    def open(self, identity: bytes, frame: bytes) -> Heard:
        """Check one frame. Raises BadFrame: it is dropped whole."""
        refused: list[OutOfBounds] = []
        try:
            envelope, body = open_frame(frame)
            messages = decode_body(body, refused)
            if envelope.kind != FROM_CLIENT:
                return Heard(self._peer(identity, envelope), envelope, messages, refused)
            if envelope.cluster_id != self._cluster_id:
                self._check_stranger(envelope, messages, refused)
            return Heard(identity, envelope, messages, refused)
        except BadFrame as error:
            self._node.runtime.counters["frames_refused"] += 1
            if isinstance(error, OtherVersion):
                self._note_version(identity, error.version)
            raise

    def work(self, heard: Heard, hurry: Callable[[], bool], most: int = MESSAGES_PER_FRAME_MAX) -> bool:
        """Give a frame's next messages to the core: one, and so many at most as long as there is no hurry. Whether all are done.

        A message with a value that is not admitted is refused, and the others of its frame are heard.
        """
        sender, messages, done = heard.sender, heard.messages, heard.next
        void, age_ms = self._standing(sender, heard.envelope)
        receive = self._node.receive if self.watch is None else self.watch.receive
        for message in messages if not done and len(messages) <= most else messages[done : done + most]:
            done += 1
            if (void or age_ms) and not self._holds(message, void, age_ms):
                continue
            receive(sender, message)
            if hurry():
                self.late = True
                break
        if done < len(messages):
            heard.next = done
            return False
        if heard.refused and not void:
            for each in heard.refused:
                self._node.refuse(sender, each.kind, each.request_id, each.text)
        return True

    def _holds(self, message: Any, void: bool, age_ms: int) -> bool:
        """Whether a message still means something: not one of another life, nor a state of long ago. It is told its age.

        message: a Message; which fields it has is what the sets of kinds say. Under load each message comes here.
        """
        kind = message.__class__
        if void and kind not in ABOUT_LIVES:
            self._node.runtime.counters["messages_of_other_lives"] += 1
            return False
        if void and kind in _WORDS:
            message.disk = FOR_ANOTHER_LIFE
        if age_ms > self._state_life_ms and kind in DATED:
            self._node.runtime.counters["states_too_old"] += 1
            return False
        if kind in WITH_BUDGET:
            message.budget_ms -= age_ms
            if age_ms >= _LATE_MS and kind in WITH_AGE:
                # It waited for a frozen node: another may have done the put meanwhile, so this is a retry (idempotent_retry.py).
                message.age_ms = aged(message.age_ms, age_ms)
        return True

    def _standing(self, sender: Address, envelope: Envelope) -> tuple[bool, int]:
        """Whether a frame is void, being of or for another life; and how long it was under way, in ms."""
        node = self._node
        if sender.__class__ is not str:
            lag = int(node.runtime.now * 1000) - envelope.sent_ms
            if 0 <= lag < _CLOCKS_DIFFER_MS:
                return False, lag
            if not 0 < envelope.sent_ms <= SENT_MS_MAX:
                return False, 0
            return False, self._other_clocks.age_ms(cast(bytes, sender), lag, node.runtime.now * 1000)
        if node.heard(sender, envelope.incarnation) and node.identity.is_me(envelope.to_incarnation):
            return False, self._age_ms(sender, envelope)
        return True, 0

    def hear_probes(self, heard: Heard) -> None:
        """Of a frame that has to wait: its probes are heard at once.

        Gossip waits as all else does. A peer that says that it knows of a new ring must be heard after the writes that it sent
        before it did: who compares the old owners' trees then relies on those being there (transfer.py).
        """
        if not isinstance(heard.sender, str):
            return  # a client under a name that looks like a peer's
        void, _ = self._standing(heard.sender, heard.envelope)
        for message in heard.messages:
            if message.__class__ in _PROBES and self._holds(message, void, 0):
                self._node.receive(heard.sender, message)
        heard.messages = [message for message in heard.messages if message.__class__ not in _PROBES]

    def decline(self, heard: Heard, retry_after_ms: int) -> None:
        """There is too much to do already: each request is told so, nothing is attempted."""
        for message in heard.messages[heard.next :]:
            self._node.overloaded(heard.sender, message, retry_after_ms)

    def _note_version(self, identity: bytes, version: int) -> None:
        self._node.runtime.counters["frames_of_other_versions"] += 1
        name = self.peer_of(identity)
        if name in self._node.membership.members:
            self.other_versions[name] = version

    def introduction(self) -> bytes:
        """What a client of another version is answered."""
        return introduction(Envelope(FROM_NODE, self._cluster_id, self._node.identity.incarnation, 0, 0))

    def not_here(self, messages: Iterable[Message]) -> Iterator[bytes]:
        """What a client is answered that means another cluster."""
        envelope = Envelope(FROM_NODE, self._cluster_id, self._node.identity.incarnation, 0, 0)
        text = f"{self._node.runtime.name} is of the cluster {self._node.runtime.config.cluster}, not of the one that is meant"
        asked = [each for message in messages if (each := request_id_of(message))]
        return encode(envelope, [Failure(each, OTHER_CLUSTER, 0, 0, 0, text) for each in asked])

    def no_way_in(self, text: str) -> bytes:
        """What somebody is told who cannot be given a connection. Request 0: it has asked nothing yet."""
        envelope = Envelope(FROM_NODE, self._cluster_id, self._node.identity.incarnation, 0, 0)
        return next(encode(envelope, [Failure(0, OVERLOADED, 0, 0, _COME_BACK_MS, text)]))

    def _age_ms(self, peer: str, envelope: Envelope) -> int:
        """How much later this frame came than the quickest of this peer."""
        now_ms = self._node.runtime.now * 1000
        lag = now_ms - envelope.sent_ms
        incarnation, least, then = self._quickest.get(peer, (-_A_START, 0.0, 0.0))
        least += (now_ms - then) * _DRIFT
        if lag >= least and envelope.incarnation <= incarnation:  # nothing new: the drift goes on from where it began
            return int(lag - least)
        if lag < least or envelope.incarnation >= incarnation + _A_START:  # its host may have been booted anew
            least = lag
        self._quickest[peer] = max(incarnation, envelope.incarnation), least, now_ms
        return int(lag - least)

    def _peer(self, identity: bytes, envelope: Envelope) -> str:
        """The name of the member that sent it. Raises BadFrame."""
        if envelope.cluster_id != self._cluster_id:
            raise BadFrame("another cluster", f"{envelope.cluster_id:016x}")
        name = self.peer_of(identity)
        if name is None or name == self._node.runtime.name:
            raise BadFrame("unknown sender")
        if self.other_versions:
            self.other_versions.pop(name, None)
        return name

    def _check_stranger(self, envelope: Envelope, messages: list[Message], refused: list[OutOfBounds]) -> None:
        """A client that does not know which cluster this is, or takes it for another. Raises BadFrame."""
        if envelope.cluster_id:
            raise OtherCluster(envelope.cluster_id, messages)
        if refused or not FROM_STRANGERS.issuperset(map(type, messages)):
            raise BadFrame("another cluster", f"{envelope.cluster_id:016x}")

    def speak(self, outbox: Mapping[Address, list[Message]], sent_ms: int, send: Callable[[Address, bytes], bool]) -> bool:
        """Send all. What cannot be sent goes back to the core: whether that has given it new work.

        send: False when it was not taken. Of messages whose frame has left nobody may say that they were not sent.
        """
        node, self._new_work = self._node, False
        for to, messages in outbox.items():
            to_incarnation = node.membership.incarnation_of(to) if isinstance(to, str) else 0
            envelope = Envelope(FROM_NODE, self._cluster_id, node.identity.incarnation, to_incarnation, sent_ms)
            untaken = self._speak_to(to, envelope, messages, send)
            if untaken:
                if self.watch is not None:
                    self.watch.spoken(to, untaken, False)
                node.undeliverable(to, untaken)
                self._new_work = True
        return self._new_work

    def _speak_to(
        self, to: Address, envelope: Envelope, messages: list[Message], send: Callable[[Address, bytes], bool]
    ) -> list[Message]:
        """Those that the transport did not take. Each frame leaves before the next is made: a turn may answer with many MiB."""
        left = 0
        try:
            for frame, count in encode_counted(envelope, messages):
                if self.watch is not None:
                    self.watch.speaking()
                if not send(to, frame):
                    return messages[left:]
                if self.watch is not None:
                    self.watch.spoken(to, messages[left : left + count], True)
                left += count
        except _UNSENDABLE:
            sendable = self._sendable(to, envelope, messages[left:])
            if len(sendable) == len(messages) - left:
                raise  # each of them can be sent alone
            return self._speak_to(to, envelope, sendable, send)
        return []

    def _sendable(self, to: Address, envelope: Envelope, messages: list[Message]) -> list[Message]:
        """Those that fit into a frame. One that does not is no reason to keep the others from being sent."""
        runtime, sendable = self._node.runtime, []
        for message in messages:
            try:
                list(encode_counted(envelope, [message]))
            except _UNSENDABLE as error:
                runtime.counters["unsendable"] += 1
                runtime.note(f"cannot send a {message.__class__.__name__} to {to!r}: {error}", "WARN")
                self._node.unsendable(to, message)
                self._new_work = True
            else:
                sendable.append(message)
        return sendable
