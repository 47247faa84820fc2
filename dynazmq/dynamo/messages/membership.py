"""Node ↔ node (§4.8): who lives, who belongs, which ring they go by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from dynazmq.config import BUCKETS_MAX, MEMBERS_MAX, PARTITIONS_MAX, SIBLINGS
from dynazmq.dynamo.messages.fields import (
    BucketName,
    Conflict,
    Digest,
    Endpoint,
    Heartbeat,
    Incarnation,
    MaybeNode,
    Names,
    NodeName,
    Partition,
    RecordVersion,
    RequestId,
    Sequence,
    Version,
    Weight,
    Whole,
    Word,
    many,
    row,
)
from dynazmq.dynamo.messages.registry import PEER, Message, message

NAMES_MAX = 16 * MEMBERS_MAX
"""Names of which something was ever decided: those of removed members are kept in mind, so that they are refused."""

Owner = Annotated[int, Whole(0, 2 * MEMBERS_MAX)]
Level = Annotated[int, Whole(1, MEMBERS_MAX)]


class QuorumsRow(NamedTuple):
    """How many replicas a bucket has by a ring, and how many must answer."""

    bucket: BucketName
    n: Level
    r: Level
    w: Level


class RingRow(NamedTuple):
    """A ring (Ring.to_wire). owners, also: for each partition the index of its owner among the members. filling: 0 or 1."""

    version: Version
    members: Names
    owners: Annotated[list[int], many(Owner, PARTITIONS_MAX)]
    also: Annotated[list[int], many(Owner, PARTITIONS_MAX)]
    filling: Annotated[int, Whole(0, 1)]
    quorums: Annotated[list[Any], many(QuorumsRow, BUCKETS_MAX)] = []  # noqa: RUF012  (never one: it says that it may be missing)
    also_quorums: Annotated[list[Any], many(QuorumsRow, BUCKETS_MAX)] = []  # noqa: RUF012


class Life(NamedTuple):
    """How far a node has heard of a member."""

    name: NodeName
    incarnation: Incarnation
    heartbeat: Heartbeat


class MemberRow(NamedTuple):
    """What a member says of itself (records.Member)."""

    name: NodeName
    endpoint: Endpoint
    incarnation: Incarnation
    heartbeat: Heartbeat
    status: Annotated[str, Word(("alive",))]
    knows: Digest = b""
    filled: Digest = b""
    keys: Annotated[int, Whole(-1, (1 << 62) - 1)] = -1


class PolicyRow(NamedTuple):
    """A bucket's policy (records.Policy)."""

    bucket: BucketName
    n: Level
    r: Level
    w: Level
    version: RecordVersion
    writer: MaybeNode
    conflict: Conflict = SIBLINGS


class IntentRow(NamedTuple):
    """What was last decided of a member (change.Intent)."""

    name: NodeName
    kind: Annotated[str, Word(("in", "out", "expel", "gone", "left"))]
    weight: Weight
    replaces: MaybeNode
    version: RecordVersion
    writer: NodeName
    pardons: Version = 0
    agreed: bool = False


class LossRow(NamedTuple):
    """A partition of which no copy was left (losses.Loss)."""

    partition: Partition
    version: Version
    n: Level
    milli_keys: Annotated[int, Whole(-1, (1 << 62) - 1)]
    owners: Names


class LossesRow(NamedTuple):
    """All that is known to be lost (losses.Losses). acknowledged: up to this version of the ring an admin knows of it."""

    acknowledged: Version
    losses: Annotated[list[Any], many(LossRow, PARTITIONS_MAX)]


class VouchRow(NamedTuple):
    """How often a member has vouched that nothing old is left on its disk (dynamo/membership/stale_disks.py)."""

    name: NodeName
    vouched: Version


RingAsIs = Annotated[list[Any], row(RingRow)]
MaybeRing = Annotated[list[Any], row(RingRow, empty=True)]
Lives = Annotated[list[Any], many(Life, 2 * MEMBERS_MAX)]
Members = Annotated[list[Any], many(MemberRow, 2 * MEMBERS_MAX)]
Policies = Annotated[list[Any], many(PolicyRow, BUCKETS_MAX)]
Intents = Annotated[list[Any], many(IntentRow, NAMES_MAX)]
MaybeLosses = Annotated[list[Any], row(LossesRow, empty=True)]
Vouched = Annotated[list[Any], many(VouchRow, 2 * MEMBERS_MAX)]
OwnDisk = Annotated[int, Whole(0, 2)]
"""What a node says of its own disk: 0 I have not been told yet, 1 nobody knows of a newer one, 2 somebody does."""


@message(22, by=PEER, about_lives=True)
@dataclass(slots=True)
class Probe(Message):
    sequence: Sequence


@message(23, answers=(Probe,), about_lives=True)
@dataclass(slots=True)
class ProbeReply(Message):
    """I live. vouched: how often I remember that you have vouched. disk: what I say of my own."""

    sequence: Sequence
    vouched: Version = 0
    disk: OwnDisk = 0


@message(24, by=PEER, vouches=True, about_lives=True)  # who says that it knows a ring must not forget it
@dataclass(slots=True)
class GossipDigest(Message):
    """What I know, in short. Without any members it asks for the ring and policies alone.

    knowledge: Membership.knowledge(), which stands for ring, policies, intents and losses.
    """

    members: Lives
    ring_version: Version
    ring_digest: Digest
    policies_digest: Digest
    knowledge: Digest = b""


@message(25, by=PEER, vouches=True, about_lives=True)
@dataclass(slots=True)
class GossipDelta(Message):
    """What I know better than your digest, and the names of which you know better (wanted).

    vouched: what I remember of others, you among them. disk: what I say of my own.
    """

    members: Members
    wanted: Names
    ring: MaybeRing
    buckets: Policies
    intents: Intents = field(default_factory=list)
    losses: MaybeLosses = field(default_factory=list)
    vouched: Vouched = field(default_factory=list)
    disk: OwnDisk = 0


@message(50, by=PEER, vouches=True)
@dataclass(slots=True)
class Decided(Message):
    """An admin has decided this at my node: tell me when it is on your disk (decisions.py)."""

    request_id: RequestId
    intents: Intents
    buckets: Policies
    losses: MaybeLosses = field(default_factory=list)


@message(51, answers=(Decided,), vouches=True)
@dataclass(slots=True)
class DecidedReply(Message):
    """It is durable here, or a later word on the same."""

    request_id: RequestId


@message(39, by=PEER)
@dataclass(slots=True)
class Stopping(Message):
    """My process ends in good order: it finishes what is under way and begins nothing. Ask others from now on.

    sequence: of the probe that this answers; 0 when the node says so by itself, first of all.
    """

    sequence: Sequence
