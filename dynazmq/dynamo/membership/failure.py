"""§4.8.3 Failure detection: local, cheap, and about routing only.

Each node judges each peer for itself, by what it hears *in answer* to itself: probes every `probe_interval_ms`, and the replies
of normal traffic. Only answers count, because a peer that we hear but that does not hear us is of no use as a replica (N2).

All probing all is the square of the members. So a node sends no more than `probes_per_s` of them: where peers are many, each is
probed more seldom, and its silence takes longer to be one. (SWIM and memberlist probe one peer at a time and tell each other what
they find. Here nobody is told, §4.8.3: what one node cannot reach another may.)

The probe's answers feed a phi-accrual estimate (Hayashibara et al. 2004): with the mean and the spread of the recent intervals,
phi = -log10 of the probability that an answer is merely late. A send that the transport refuses (the peer's socket is gone, or
does not drain) is suspicion at once; so is the word of a peer that its process ends (`Stopping`), which is also its answer to
probes from then on.

    up ──phi, refused send, its word──▶ suspect ──down_after──▶ down          either ──answer to a probe──▶ up

Suspect and down are treated alike by routing; "down" is a word for people. Suspicion never changes membership, and a suspected
peer is asked on: its next answer clears it, which is all the refutation that a local judgement needs (C21).
"""

from __future__ import annotations

import math
from collections import deque

from dynazmq.dynamo.messages import Probe, ProbeReply, Stopping
from dynazmq.dynamo.runtime import Address, Runtime

UP, SUSPECT, DOWN = "up", "suspect", "down"

_SAMPLES = 40
_SPREAD_MIN = 0.25  # of the mean: a perfectly regular past must not make the smallest jitter suspicious
_SLEEP_S = 0.5  # a turn that comes this late was not the peers' silence but our own


class Peer:
    """What is known of one peer's reachability."""

    __slots__ = ("answered", "intervals", "lost", "probe_answered", "since", "state")

    def __init__(self, now: float) -> None:
        self.state = SUSPECT  # until its first answer
        self.since = now  # of the state
        self.lost = -math.inf  # when it was last noticed that it cannot be reached any more
        self.answered = now  # last answer of any kind
        self.probe_answered = 0.0
        self.intervals: deque[float] = deque(maxlen=_SAMPLES)

    def phi(self, now: float, interval_s: float) -> float:
        """How unlikely this silence is: 1 is one in ten, 8 one in 10^8."""
        mean = max(sum(self.intervals) / len(self.intervals), interval_s) if self.intervals else interval_s
        variance = sum((x - mean) ** 2 for x in self.intervals) / len(self.intervals) if self.intervals else 0.0
        spread = max(math.sqrt(variance), mean * _SPREAD_MIN)
        late = (now - self.answered - mean) / spread
        return -math.log10(max(0.5 * math.erfc(late / math.sqrt(2)), 1e-300))


class FailureDetector:
    """`changes` rises whenever a peer becomes reachable or stops being so: whoever caches routes compares it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._timing = runtime.config.timing
        self._look_interval = self._timing.probe_interval_ms / 4000
        self._interval = self._timing.probe_interval_ms / 1000  # longer when there are many peers
        self._next_probe = runtime.now
        self._next_look = runtime.now
        self._last_tick = runtime.now
        self._sequence = 0
        self._stopping = False
        self._returned: list[str] = []
        self.peers: dict[str, Peer] = {}
        self.changes = 0
        self.changed_at = runtime.now  # when somebody last became reachable or stopped being so

    def watch(self, names: list[str]) -> None:
        """Judge these peers, and no others, from now on."""
        if list(self.peers) == names:
            return
        self.peers = {name: self.peers.get(name) or Peer(self._runtime.now) for name in names}
        self._returned = [name for name in self._returned if name in self.peers]
        self._interval = max(self._timing.probe_interval_ms / 1000, len(names) / self._timing.probes_per_s)
        self.changes += 1

    def reachable(self, name: str) -> bool:
        if name == self._runtime.name:
            return True
        peer = self.peers.get(name)
        return peer is not None and peer.state == UP

    def state_of(self, name: str) -> str:
        if name == self._runtime.name:
            return UP
        peer = self.peers.get(name)
        return peer.state if peer is not None else DOWN

    def silent(self, name: str, since: float) -> bool:
        """It has answered nothing since then, or cannot be reached. One that answers others is busy and will come to ours."""
        peer = self.peers.get(name)
        return peer is None or peer.state != UP or peer.answered <= since

    def misses_somebody(self) -> bool:
        """Whether anybody cannot be reached, for however long."""
        return any(peer.state != UP for peer in self.peers.values())

    def steady(self, name: str, seconds: float) -> bool:
        """Whether it has been reachable for so long without a break that was noticed here."""
        peer = self.peers.get(name)
        return peer is not None and peer.state == UP and self._runtime.now - peer.since >= seconds

    def lost_between(self, begin: float, end: float) -> bool:
        """Whether it was noticed in this time that somebody could not be reached any more, be it back since or not."""
        return self.changed_at >= begin and any(begin <= peer.lost <= end for peer in self.peers.values())

    def settling(self) -> bool:
        """Just started: too early to call anybody unreachable."""
        return self._runtime.now - self._runtime.started < 1.0 and any(peer.state != UP for peer in self.peers.values())

    def take_returned(self) -> list[str]:
        """Peers that became reachable since the last call: hints wait for this (§4.6)."""
        returned, self._returned = self._returned, []
        return returned

    # --- evidence ---------------------------------------------------------------------------------------------------------

    def answered(self, name: str) -> None:
        """A reply of normal traffic. It keeps a reachable peer reachable; only a probe's answer brings one back."""
        peer = self.peers.get(name)
        if peer is not None:
            peer.answered = self._runtime.now

    def refused(self, name: str) -> None:
        """The transport could not take a message for this peer."""
        peer = self.peers.get(name)
        if peer is not None and peer.state == UP:
            self._become(name, peer, SUSPECT)

    def on_probe(self, sender: Address, message: Probe, vouched: int, disk: int) -> None:
        """The answer carries the word about its sender's disk and this node's (stale_disks.py): who is reachable has had it."""
        answer = Stopping(message.sequence) if self._stopping else ProbeReply(message.sequence, vouched, disk)
        self._runtime.send(sender, answer)

    def stop(self) -> None:
        """This node's own process is to end: the peers need not find that out by asking it in vain."""
        self._stopping = True
        for name in self.peers:
            self._runtime.send(name, Stopping(0))

    def on_stopping(self, sender: Address, message: Stopping) -> None:
        assert isinstance(sender, str)
        self.refused(sender)

    def on_probe_reply(self, sender: Address, message: ProbeReply) -> None:
        peer = self.peers.get(sender) if isinstance(sender, str) else None
        # An answer older than the last few probes says that the peer lived then, not that it does now.
        if peer is None or not self._sequence - 3 <= message.sequence <= self._sequence:
            return
        now = self._runtime.now
        if peer.state == UP and peer.probe_answered:
            peer.intervals.append(now - peer.probe_answered)
        peer.answered = peer.probe_answered = now
        if peer.state != UP:
            peer.intervals.clear()
            assert isinstance(sender, str)
            self._become(sender, peer, UP)

    # --- time -------------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Probe, and judge the silence. A process that was itself asleep judges nobody for the time it missed."""
        now = self._runtime.now
        slept = now - self._last_tick
        self._last_tick = now
        if slept > _SLEEP_S:
            for peer in self.peers.values():
                peer.answered = max(peer.answered, min(now, peer.answered + slept))
                peer.probe_answered = 0.0
        if now >= self._next_probe:
            self._sequence += 1
            for name in self.peers:
                self._runtime.send(name, Probe(self._sequence))
            self._next_probe = now + self._interval
        if now >= self._next_look:
            self._next_look = now + self._look_interval
            for name, peer in self.peers.items():
                self._judge(name, peer, now)

    def next_deadline(self) -> float:
        return min(self._next_probe, self._next_look) if self.peers else math.inf

    def _judge(self, name: str, peer: Peer, now: float) -> None:
        if peer.state == UP:
            if now - peer.answered > 1.5 * self._interval and peer.phi(now, self._interval) >= self._timing.suspect_phi:
                self._become(name, peer, SUSPECT)
        elif peer.state == SUSPECT and now - peer.since >= self._timing.down_after_ms / 1000:
            self._become(name, peer, DOWN)

    def _become(self, name: str, peer: Peer, state: str) -> None:
        was, peer.state, peer.since = peer.state, state, self._runtime.now
        if (was == UP) != (state == UP):
            self.changes += 1
            self.changed_at = self._runtime.now
            if state == UP:
                self._returned.append(name)
            else:
                peer.lost = self._runtime.now
                self._runtime.counters["suspicions"] += 1
        elif state == DOWN and peer.lost == -math.inf:
            # Not reached since this node started: that it is lost is noticed now, and not before (suspected_retries.py).
            peer.lost = self.changed_at = self._runtime.now
        self._runtime.note(f"{name} is {state}", "INFO" if state == UP else "WARN")
