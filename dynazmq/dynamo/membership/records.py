"""§4.8 The records of a cluster's members and buckets: as gossip carries them, and as a node keeps them across its lives.

    member    what one says of itself          (this module)
    policy    what holds for one bucket        (this module)
    intent    what admins want of one member   change.py
    loss      of which partition nothing is left   losses.py
    ring      who owns what                    ring.py

A record travels and is stored as the list of its fields. None changes its place; a newer release appends some, and an older one
passes over those. What a peer sends is looked at before it is believed: a record that no version of this program could have
written is not *sound*, and is refused. Which of two sound ones is the better, and what follows from it, says membership.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import msgpack

from dynazmq.config import CONFLICTS, MEMBERS_MAX, SIBLINGS
from dynazmq.dynamo.membership.change import Intent, intent_rows
from dynazmq.dynamo.membership.identity import INCARNATION_MAX
from dynazmq.dynamo.membership.losses import Losses
from dynazmq.dynamo.messages.fields import is_endpoint
from dynazmq.dynamo.values.ring import BucketQuorums, Ring

_STEP_MAX = 1 << 20
_FIRST_MAX = 1 << 40
_RING_FIELDS = 7  # with what is in force for buckets


def in_reach(told: int, known: int) -> bool:
    """Whether a record's version may be believed by who knows this one of it; 0: none.

    Versions rise by one, by whoever decides something, and must never come to the end of their range: a ring could not change any
    more. An end that peers may name is one that they can bring about, by a single frame. So none may jump. A node can have been
    away for a million decisions, which no cluster makes; and to come to the end in such steps takes four million million
    frames, each of which is committed. Who knows nothing yet, as a new member, believes what is a million times higher.
    """
    return told <= (known + _STEP_MAX if known else _FIRST_MAX)


_LIFE_STEP_MAX = 1 << 16
_LIFE_FIRST_MAX = 1 << 44


def life_in_reach(told: int, known: int) -> bool:
    """The same of an incarnation. Lives are numbered by the time, in milliseconds since 1970, and any is believed up to the year
    2527; beyond, as many as it may have been refuted meanwhile.
    """
    return told <= max(known + _LIFE_STEP_MAX, _LIFE_FIRST_MAX)


ALIVE = "alive"
DIGEST_BYTES = 8
_STATUSES = frozenset((ALIVE,))
_COUNTER_MAX = INCARNATION_MAX + 1


class Member(NamedTuple):
    """One record of gossip, as it travels.

    knows: a digest of the ring and the intents that it knows. filled: the digest of the ring for whose change it has all the keys
    that it gains. keys: rows that it held when it said so, -1 if it did not say.
    """

    name: str
    endpoint: str
    incarnation: int
    heartbeat: int
    status: str
    knows: bytes = b""
    filled: bytes = b""
    keys: int = -1

    @property
    def sound(self) -> bool:
        """Whether some version of this program could have written it."""
        return (
            isinstance(self.name, str)
            and 0 < len(self.name) <= 64
            and is_endpoint(self.endpoint)
            and type(self.incarnation) is int
            and 0 <= self.incarnation < _COUNTER_MAX
            and type(self.heartbeat) is int
            and 0 <= self.heartbeat < _COUNTER_MAX
            and self.status in _STATUSES
            and isinstance(self.knows, bytes)
            and len(self.knows) <= DIGEST_BYTES
            and isinstance(self.filled, bytes)
            and len(self.filled) <= DIGEST_BYTES
            and type(self.keys) is int
            and -1 <= self.keys < _COUNTER_MAX
        )


class Policy(NamedTuple):
    """How many replicas a bucket's keys have, how many must answer, and what becomes of concurrent writes.

    As it travels and is stored; new fields are appended.
    """

    n: int
    r: int
    w: int
    version: int = 0
    writer: str = ""
    conflict: str = SIBLINGS

    @property
    def rank(self) -> tuple[int, str, int, int, int, str]:
        """Of two changes the one of higher rank holds: the later one, at once the one whose writer's name is greater.

        What it says breaks the last tie: a node that has lost its disk may give a version for a second time.
        """
        return self.version, self.writer, self.n, self.r, self.w, self.conflict

    @property
    def sound(self) -> bool:
        return (
            all(type(x) is int for x in (self.n, self.r, self.w, self.version))
            and 1 <= self.r <= self.n <= MEMBERS_MAX
            and 1 <= self.w <= self.n
            and 0 < self.version < _COUNTER_MAX
            and isinstance(self.writer, str)
            and self.conflict in CONFLICTS
        )


Policies = Mapping[str, Policy]
"""By bucket; one that has none goes by the cluster's default."""


def policy_rows(policies: Policies) -> list[Any]:
    """As they travel and are stored."""
    return [[bucket, *policy] for bucket, policy in policies.items()]


def wanted_quorums(policies: Policies) -> tuple[BucketQuorums, ...]:
    """As a ring has them."""
    return tuple((bucket, wanted.n, wanted.r, wanted.w) for bucket, wanted in sorted(policies.items()))


def policies_digest(policies: Policies) -> bytes:
    """Of what they are, not of how often they changed: two changes at once at two nodes must not look alike."""
    if not policies:
        return b""
    return hashlib.blake2b(msgpack.packb(sorted(policy_rows(policies))), digest_size=DIGEST_BYTES).digest()


class Kept(NamedTuple):
    """All that a node knows of its cluster, as it lies on its disk. settled: whether it may rely on this ring (membership.py)."""

    members: dict[str, Member]
    ring: Ring
    policies: dict[str, Policy]
    intents: dict[str, Intent]
    settled: bool
    losses: Losses
    least: list[Any]  # by which writes were acknowledged a moment ago (in_force.py)

    def pack(self) -> bytes:
        members = [list(member) for member in self.members.values()]
        rows = [members, self.ring.to_wire(), policy_rows(self.policies), intent_rows(self.intents), self.settled]
        packed: bytes = msgpack.packb([*rows, self.losses.to_wire(), self.least])
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> Kept:
        members, ring, policies, *later = msgpack.unpackb(packed)
        intents, settled, *latest = later or ([], True)  # two more than in stores of earlier releases, then one, and one
        losses, *newest = latest or [[]]
        known = {row[0]: Policy(*row[1:]) for row in policies}
        return cls(
            {row[0]: Member(*row) for row in members},
            _ring_of(ring, known),
            known,
            {row[0]: Intent(*row) for row in intents},
            settled,
            Losses.from_wire(losses),
            newest[0] if newest else [],
        )


def _ring_of(wire: list[Any], policies: Policies) -> Ring:
    """As it was stored. An earlier release's says nothing of buckets: there a policy was in force where it was known."""
    ring = Ring.from_wire(wire)
    if len(wire) >= _RING_FIELDS or not policies:
        return ring
    quorums = wanted_quorums(policies)
    return replace(ring, quorums=quorums, also_quorums=quorums if ring.also else ())
