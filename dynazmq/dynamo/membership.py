"""§4.8 Membership: who belongs, which ring they agree on, which policies buckets have; and the gossip that spreads all three.

Each second a node sends a digest of what it knows to one random reachable peer, and now and then to one that is away or was
away at its start (a seed, §4.8.2). The peer answers with what it knows better and the names of which it knows less; those come
back in a third message, and so do the ring and policies if the peer's are others. So each exchange brings news both ways. What
is "better" is decided by each record's subject alone:

    member     (incarnation, heartbeat), only ever raised by the member itself
    ring       its version, the digest breaks a tie
    policies   one version each, the writer's name breaks a tie

so records never go back (I8), in whatever order gossip arrives. A node that hears of itself what it did not say refutes it with
a higher incarnation. Being away is no membership change (§4.8.1): a member that is down keeps its partitions.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import msgpack

from dynazmq.config import BUCKETS_MAX, CONFLICTS, LWW, MEMBERS_MAX, SIBLINGS
from dynazmq.dynamo.claim import claim
from dynazmq.dynamo.failure import FailureDetector
from dynazmq.dynamo.identity import INCARNATION_MAX, Identity
from dynazmq.dynamo.messages import GossipDelta, GossipDigest
from dynazmq.dynamo.ring import Ring
from dynazmq.dynamo.runtime import Address, Runtime

ALIVE = "alive"
_STATUSES = frozenset((ALIVE,))
_COUNTER_MAX = INCARNATION_MAX + 1


class Member(NamedTuple):
    """One record of gossip, as it travels."""

    name: str
    endpoint: str
    incarnation: int
    heartbeat: int
    status: str


class Policy(NamedTuple):
    """How many replicas a bucket's keys have, how many must answer, and what becomes of concurrent writes.

    (version, writer) orders two changes. As it travels and is stored; new fields are appended.
    """

    n: int
    r: int
    w: int
    version: int = 0
    writer: str = ""
    conflict: str = SIBLINGS


class Membership:
    """The cluster as this node knows it. `ring` and `policies` are replaced whole, never changed in place."""

    def __init__(self, runtime: Runtime, identity: Identity, failure: FailureDetector) -> None:
        self._runtime = runtime
        self._identity = identity
        self._failure = failure
        self._interval = runtime.config.timing.gossip_interval_ms / 1000
        self._next_gossip = runtime.now + self._interval * runtime.random.random()
        config = runtime.config
        self.default_policy = Policy(config.n, config.r, config.w)
        self.policies: dict[str, Policy] = {}
        self.members: dict[str, Member] = {
            name: Member(name, endpoint, 0, 0, ALIVE) for name, endpoint in sorted(config.members.items())
        }
        self.ring = self._found_ring()
        self.reload()
        # Our own address may have changed since the last life; only we can say so.
        self.members[runtime.name] = Member(runtime.name, config.endpoint, identity.incarnation, 0, ALIVE)
        self._watch()
        self._save()

    def _found_ring(self) -> Ring:
        config = self._runtime.config
        return Ring(1, claim(dict.fromkeys(sorted(config.members), 1.0), config.partitions, config.n))

    def policy(self, bucket: str) -> Policy:
        return self.policies.get(bucket, self.default_policy)

    def is_lww(self, bucket: str) -> bool:
        """Whether the last of concurrent writes wins in it."""
        return self.policy(bucket).conflict == LWW

    def replica_counts(self) -> list[int]:
        """Each N that some bucket has, ascending."""
        return sorted({self.default_policy.n, *(policy.n for policy in self.policies.values())})

    def incarnation_of(self, name: str) -> int:
        """The newest life of a peer that is known here; 0 when none is."""
        member = self.members.get(name)
        return member.incarnation if member is not None else 0

    def endpoint_of(self, name: str) -> str:
        member = self.members.get(name)
        return member.endpoint if member is not None else ""

    def hear(self, name: str, incarnation: int) -> bool:
        """A frame of a peer's life has come: whether it is the peer's newest life, or a new one. False: from an earlier one."""
        member = self.members.get(name)
        if member is None or incarnation > INCARNATION_MAX:  # nobody could refute that one
            return False
        if incarnation > member.incarnation:
            self.members[name] = member._replace(incarnation=incarnation, heartbeat=0)
        return incarnation >= member.incarnation

    def set_policy(self, bucket: str, n: int, r: int, w: int, conflict: str = SIBLINGS) -> Policy:
        """Change a bucket's policy here; gossip carries it on."""
        version = self.policies[bucket].version + 1 if bucket in self.policies else 1
        policy = Policy(n, r, w, version, self._runtime.name, conflict)
        self.policies = {**self.policies, bucket: policy}
        self._save()
        return policy

    # --- gossip -----------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now = self._runtime.now
        if now < self._next_gossip:
            return
        self._next_gossip = now + self._interval * (0.9 + 0.2 * self._runtime.random.random())
        me = self.members[self._runtime.name]
        self.members[me.name] = me._replace(incarnation=self._identity.incarnation, heartbeat=me.heartbeat + 1)
        peers = [name for name in self.members if name != me.name]
        near = [name for name in peers if self._failure.reachable(name)]
        away = [name for name in peers if not self._failure.reachable(name)]
        if near:
            self._runtime.send(self._runtime.random.choice(near), self._digest())
        if away and (not near or self._runtime.random.random() < len(away) / (len(near) + 1)):
            self._runtime.send(self._runtime.random.choice(away), self._digest())

    def next_deadline(self) -> float:
        return self._next_gossip

    def _digest(self) -> GossipDigest:
        return self._digest_of([[m.name, m.incarnation, m.heartbeat] for m in self.members.values()])

    def _digest_of(self, members: list[Any]) -> GossipDigest:
        return GossipDigest(members, self.ring.version, self.ring.digest(), self._policies_digest())

    def _policies_digest(self) -> bytes:
        """Of what they are, not of how often they changed: two changes at once at two nodes must not look alike."""
        if not self.policies:
            return b""
        return hashlib.blake2b(msgpack.packb(sorted(self._policy_rows())), digest_size=8).digest()

    def on_digest(self, sender: Address, message: GossipDigest) -> None:
        """Answer with what we know better; ask for what the sender knows better."""
        asked = bool(message.members)  # else it is the question that follows below, and no members are meant
        theirs = {name: (incarnation, heartbeat) for name, incarnation, heartbeat in message.members}
        better = [list(m) for m in self.members.values() if asked and (m.incarnation, m.heartbeat) > theirs.get(m.name, (-1, -1))]
        wanted = [name for name, life in theirs.items() if life > self._life_of(name)]
        mine, told = self._ring_rank(self.ring), (message.ring_version, message.ring_digest)
        ring = self.ring.to_wire() if mine > told else []
        # Which side's policies are newer a digest cannot say: each side merges the other's.
        differ = self._policies_digest() != message.policies_digest
        buckets = self._policy_rows() if differ else []
        if better or wanted or ring or buckets:
            self._runtime.send(sender, GossipDelta(better, wanted, ring, buckets))
        # The sender's ring and policies come with its answer to a digest of ours. One without members is told from those that a
        # node sends by itself and is not asked back: else a row that one side refuses would keep both asking for ever.
        if asked and (told > mine or differ):
            self._runtime.send(sender, self._digest_of([]))

    def on_delta(self, sender: Address, message: GossipDelta) -> None:
        for row in message.members:
            self._learn(row)
        if message.ring:
            self._learn_ring(Ring.from_wire(message.ring))
        for row in message.buckets:
            self._learn_policy(row)
        records = [list(self.members[name]) for name in message.wanted if name in self.members]
        if records:
            self._runtime.send(sender, GossipDelta(records, [], [], []))

    def _life_of(self, name: str) -> tuple[int, int]:
        member = self.members.get(name)
        return (member.incarnation, member.heartbeat) if member is not None else (-1, -1)

    @staticmethod
    def _ring_rank(ring: Ring) -> tuple[int, bytes]:
        return ring.version, ring.digest()

    def _learn(self, row: Any) -> None:
        name, endpoint, incarnation, heartbeat, status = row
        told = Member(name, endpoint, incarnation, heartbeat, status)
        if not _is_sound(told):
            self._runtime.counters["gossip_refused"] += 1
            return
        if name == self._runtime.name:
            self._hear_of_myself(told)
            return
        known = self.members.get(name)
        if known is None and len(self.members) >= MEMBERS_MAX:
            self._runtime.counters["gossip_refused"] += 1
            return
        if known is not None and (incarnation, heartbeat) <= (known.incarnation, known.heartbeat):
            return
        self.members[name] = told
        if known is None or known.endpoint != endpoint:
            self._watch()
            self._save()

    def _hear_of_myself(self, told: Member) -> None:
        """Only this node speaks for itself; a rumour that is ahead of it is refuted (W16)."""
        me = self.members[told.name]
        if (told.incarnation, told.heartbeat) > (self._identity.incarnation, me.heartbeat):
            self._identity.refute(told.incarnation)
            heartbeat = me.heartbeat if self._identity.incarnation > told.incarnation else told.heartbeat + 1
            self.members[me.name] = me._replace(incarnation=self._identity.incarnation, heartbeat=heartbeat)
            self._runtime.note(f"refuted a rumour about this node: {told.status} in incarnation {told.incarnation}")

    def _learn_ring(self, ring: Ring) -> None:
        if ring.partitions == self.ring.partitions and self._ring_rank(ring) > self._ring_rank(self.ring):
            self.ring = ring
            self._failure.changes += 1
            self._save()

    def _learn_policy(self, row: Any) -> None:
        bucket, *fields = row
        told = Policy(*fields[: len(Policy._fields)])  # surplus ones are a newer release's
        known = self.policies.get(bucket)
        if not isinstance(bucket, str) or not _is_policy(told) or (known is None and len(self.policies) >= BUCKETS_MAX):
            self._runtime.counters["gossip_refused"] += 1
        elif known is None or (told.version, told.writer) > (known.version, known.writer):
            self.policies = {**self.policies, bucket: told}
            self._save()

    def _policy_rows(self) -> list[Any]:
        return [[bucket, *policy] for bucket, policy in self.policies.items()]

    def _watch(self) -> None:
        self._failure.watch([name for name in sorted(self.members) if name != self._runtime.name])

    # --- what is kept across restarts -------------------------------------------------------------------------------------
    # P2: a cluster whose nodes all died forms again from what each of them stored, without a seed.

    def _save(self) -> None:
        members = [list(member) for member in self.members.values()]
        packed = msgpack.packb([members, self.ring.to_wire(), self._policy_rows()])
        self._runtime.store.set_meta("membership", packed)

    def reload(self) -> None:
        """What was stored, laid over what the configuration said."""
        raw = self._runtime.store.get_meta("membership")
        if raw is None:
            return
        members, ring, policies = msgpack.unpackb(raw)
        for row in members:
            self.members[row[0]] = Member(*row)
        for name, endpoint in self._runtime.config.members.items():
            # The founding members' addresses are the supervisor's to give; a life of theirs is told by gossip anew.
            if name in self.members:
                self.members[name] = self.members[name]._replace(endpoint=endpoint, heartbeat=0)
        self.ring = Ring.from_wire(ring)
        self.policies = {row[0]: Policy(*row[1:]) for row in policies}


def _is_sound(member: Member) -> bool:
    """A record that some version of this program could have written."""
    return (
        isinstance(member.name, str)
        and 0 < len(member.name) <= 64
        and isinstance(member.endpoint, str)
        and len(member.endpoint) <= 256
        and type(member.incarnation) is int
        and 0 <= member.incarnation < _COUNTER_MAX
        and type(member.heartbeat) is int
        and 0 <= member.heartbeat < _COUNTER_MAX
        and member.status in _STATUSES
    )


def _is_policy(policy: Policy) -> bool:
    return (
        all(type(x) is int for x in (policy.n, policy.r, policy.w, policy.version))
        and 1 <= policy.r <= policy.n <= MEMBERS_MAX
        and 1 <= policy.w <= policy.n
        and 0 < policy.version < _COUNTER_MAX
        and isinstance(policy.writer, str)
        and policy.conflict in CONFLICTS
    )
