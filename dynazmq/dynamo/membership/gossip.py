"""§4.8.1 §4.8.2 Gossip: how what membership.py keeps comes to all nodes.

Each second a node sends a digest of what it knows to one random reachable peer, and now and then to one that is away or was
away at its start (a seed, §4.8.2). The peer answers with what it knows better and the names of which it knows less; those come
back in a third message, and so do ring, policies and intents if the peer's are others. So each exchange brings news both ways.

A step of a change of members waits for everybody to say that he knows of it (change.py). So whoever turns to a new ring, or has
something else to say of himself that others wait for, tells some peers at once instead of waiting for the next second.

A node that starts on an empty disk asks all peers for their ring before it serves clients: its own may be years old. It relies on
what the cluster began with only if all founders say that they know no other, since then all of them have just begun.

Everything that a node tells in this way is told together with what it remembers of others' disks (stale_disks.py), and a node
that has started on rows of an earlier life asks for that first of all.

A node that meets a peer by a ring that does not fit its own (membership.is_near) tells it its ring, or asks for the newer one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from dynazmq.dynamo.membership.change import intent_rows
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.membership.records import policies_digest, policy_rows
from dynazmq.dynamo.membership.stale_disks import Vouches
from dynazmq.dynamo.messages import GossipDelta, GossipDigest
from dynazmq.dynamo.runtime import Address, Runtime
from dynazmq.dynamo.values.ring import Ring

_TOLD_AT_ONCE = 16
_ASK_AGAIN_S = 0.05
_ASK_OF_DISK_S = 0.25  # when a node has been up for a while, and is not sure of its disk yet
_ESTRANGED_SHARE = 0.2  # of exchanges: so seldom is one greeted who should not live any more
_SAY_SO_S = 2.0  # a node that is still asking then says whom it waits for
_APART_PAUSE_S = 0.1
_TELL_PAUSE_S = 0.02  # a disk that stores nothing makes the same news again and again


class Gossip:
    """One node's exchanges with its peers."""

    def __init__(
        self, runtime: Runtime, membership: Membership, failure: FailureDetector, vouches: Vouches, keys: Callable[[], int]
    ) -> None:
        """keys: how many this node holds."""
        self._runtime = runtime
        self._membership = membership
        self._failure = failure
        self._vouches = vouches
        self._keys = keys
        self._interval = runtime.config.timing.gossip_interval_ms / 1000
        self._next = runtime.now + self._interval * runtime.random.random()
        self._ask_at = runtime.now
        self._ask_of_disk_at = runtime.now
        self._say_at = runtime.now + _SAY_SO_S
        self._together_at = runtime.now
        self._told_policies = membership.policies
        self._tell_at = runtime.now
        self._ignorant: set[Address] = set()  # peers that have said that they rely on no ring

    def tick(self) -> None:
        now, membership = self._runtime.now, self._membership
        if not membership.settled and now >= self._ask_at:
            self._ask_for_ring()
        if not self._vouches.sure and now >= self._ask_of_disk_at:
            self._ask_of_disk()
        if membership.apart and now >= self._together_at:
            self._bring_together()
        if now >= self._next:
            self._next = now + self._interval * (0.9 + 0.2 * self._runtime.random.random())
            self._exchange()
            membership.step()

    def tell_news(self) -> None:
        """What others wait for, at once; after `tick` and after all that must be so before this node says it."""
        if self._membership.news and self._runtime.now >= self._tell_at:
            self._tell_at = self._runtime.now + _TELL_PAUSE_S
            self._tell_at_once()

    def next_deadline(self) -> float:
        due = self._next if self._membership.settled else min(self._next, self._ask_at)
        due = due if self._vouches.sure else min(due, self._ask_of_disk_at)
        due = min(due, max(self._together_at, self._runtime.now)) if self._membership.apart else due
        return min(due, max(self._tell_at, self._runtime.now)) if self._membership.news else due

    def _exchange(self) -> None:
        me = self._membership.beat(self._keys())
        peers = [name for name in self._membership.members if name != me.name]
        near = [name for name in peers if self._failure.reachable(name)]
        away = [name for name in peers if not self._failure.reachable(name)]
        random = self._runtime.random
        if near:
            self._greet(random.choice(near))
        if away and (not near or random.random() < len(away) / (len(near) + 1)):
            self._greet(random.choice(away))
        estranged = self._membership.estranged()
        if estranged and random.random() < _ESTRANGED_SHARE:
            self._greet(random.choice(estranged))

    def _greet(self, peer: str) -> None:
        """A digest, and who sends it: to a peer that does not know this node, the answer's address."""
        self._runtime.send(peer, self._delta([list(self._membership.members[self._runtime.name])]))
        members = [[m.name, m.incarnation, m.heartbeat] for m in self._membership.members.values()]
        self._runtime.send(peer, self._digest_of(members))

    def _digest_of(self, members: list[Any]) -> GossipDigest:
        membership, ring = self._membership, self._membership.ring
        policies = policies_digest(membership.policies)
        return GossipDigest(members, ring.version, ring.digest(), policies, membership.knowledge())

    def _delta(
        self, members: list[Any], wanted: Sequence[str] = (), ring: Sequence[Any] = (), buckets: Sequence[Any] = (),
        intents: Sequence[Any] = (), losses: Sequence[Any] = (),
    ) -> GossipDelta:  # fmt: skip
        """With what everybody is to know who hears from this node."""
        told = members, list(wanted), list(ring), list(buckets), list(intents), list(losses)
        return GossipDelta(*told, self._vouches.rows(), self._vouches.says)

    def _ask_of_disk(self) -> None:
        """What others remember of this node: they answer whoever wants a record, and so tell it what all are told."""
        self._ask_of_disk_at = self._runtime.now + (_ASK_AGAIN_S if self._failure.settling() else _ASK_OF_DISK_S)
        me = self._runtime.name
        for name in self._vouches.unheard():
            if self._failure.reachable(name) or self._failure.settling():
                self._runtime.send(name, self._delta([list(self._membership.members[me])], [me]))

    def _tell_at_once(self) -> None:
        """Say what has changed without being asked: to all peers, or to some where they are many."""
        membership = self._membership
        membership.news = False
        me = membership.beat(self._keys())
        policies = policy_rows(membership.policies) if membership.policies is not self._told_policies else []
        self._told_policies = membership.policies
        losses = membership.losses.to_wire()
        told = self._delta([list(me)], (), membership.ring.to_wire(), policies, intent_rows(membership.intents), losses)
        near = [name for name in membership.members if name != me.name and self._failure.reachable(name)]
        while len(near) > _TOLD_AT_ONCE:
            near.pop(int(self._runtime.random.random() * len(near)))
        for name in near:
            self._runtime.send(name, told)
        membership.step()

    def _bring_together(self) -> None:
        """Tell who is behind what this node knows; ask who is ahead."""
        membership = self._membership
        self._together_at = self._runtime.now + _APART_PAUSE_S
        apart, membership.apart = membership.apart, {}
        ring, policies = membership.ring.to_wire(), policy_rows(membership.policies)
        told = self._delta([], (), ring, policies, intent_rows(membership.intents))
        for peer, version in apart.items():
            self._runtime.send(peer, told if version < membership.ring.version else self._digest_of([]))

    def _ask_for_ring(self) -> None:
        now = self._runtime.now
        if now >= self._say_at:
            self._say_at = math.inf
            unheard = ", ".join(self._membership.founders.unheard(self._ignorant))
            self._runtime.note(f"nobody has told the ring yet: waiting for a member that knows it, or for {unheard}", "WARN")
        self._ask_at = now + _ASK_AGAIN_S
        for name in self._membership.members:
            if name != self._runtime.name:
                self._greet(name)
                self._runtime.send(name, self._digest_of([]))

    # --- messages ---------------------------------------------------------------------------------------------------------

    def on_digest(self, sender: Address, message: GossipDigest) -> None:
        """Answer with what we know better; ask for what the sender knows better."""
        membership = self._membership
        asked = bool(message.members)  # else it is the question that follows below, and no members are meant
        theirs = {name: (incarnation, heartbeat) for name, incarnation, heartbeat in message.members}
        members = membership.members
        better = [list(m) for m in members.values() if asked and (m.incarnation, m.heartbeat) > theirs.get(m.name, (-1, -1))]
        wanted = [name for name, life in theirs.items() if life > self._life_of(name)]
        mine, told = membership.ring.rank, (message.ring_version, message.ring_digest)
        ring = membership.ring.to_wire() if membership.settled and (mine > told or not asked) else []
        # Which side's policies and intents are newer a digest cannot say: each side merges the other's.
        others = policies_digest(membership.policies) != message.policies_digest
        buckets = policy_rows(membership.policies) if others else []
        differ = others or membership.knowledge() != message.knowledge
        intents = intent_rows(membership.intents) if differ else []
        losses = membership.losses.to_wire() if differ else []
        if better or wanted or ring or buckets or intents or losses or not asked:
            self._runtime.send(sender, self._delta(better, wanted, ring, buckets, intents, losses))
        # The sender's ring and policies come with its answer to a digest of ours. One without members is told from those that a
        # node sends by itself and is not asked back: else a row that one side refuses would keep both asking for ever.
        if asked and (told > mine or differ):
            self._runtime.send(sender, self._digest_of([]))

    def on_delta(self, sender: Address, message: GossipDelta) -> None:
        membership = self._membership
        assert isinstance(sender, str)
        self._vouches.hear(sender, message.vouched, message.disk)
        for row in message.members:
            membership.learn_member(row)
        if membership.is_gone(sender):
            membership.hear_expelled(str(sender), message.intents)
        else:
            for row in message.buckets:
                membership.learn_policy(row)
            membership.learn_intents(message.intents, sender)
            membership.learn_losses(message.losses)
        if membership.is_gone(sender):
            # It may have made a step that nobody waits for any more: its ring must not win over the others'.
            if message.ring:
                membership.doubt_ring(Ring.from_wire(message.ring))
        else:
            if message.ring:
                membership.learn_ring(Ring.from_wire(message.ring))
            if not membership.settled:
                self._heard_while_unsettled(sender, message)
        records = [list(membership.members[name]) for name in message.wanted if name in membership.members]
        if records:
            self._runtime.send(sender, self._delta(records))
        if message.members:
            membership.step()

    def _heard_while_unsettled(self, sender: Address, message: GossipDelta) -> None:
        """One who knows the ring is enough to rely on it. Who has none to tell when it is asked relies on none."""
        if message.ring:
            self._membership.settle()
        elif not message.members:  # else it may be a greeting, which tells of its sender only
            self._ignorant.add(sender)
            self._membership.settle(self._ignorant)

    def _life_of(self, name: str) -> tuple[int, int]:
        member = self._membership.members.get(name)
        return (member.incarnation, member.heartbeat) if member is not None else (-1, -1)
