"""Client ↔ node: where everything is, how a node is, and that something be otherwise (admin.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from dynazmq.config import BUCKETS_MAX, CONFLICTS, MEMBERS_MAX, SIBLINGS
from dynazmq.dynamo.messages.fields import (
    U64,
    BucketName,
    ClusterName,
    Conflict,
    Count,
    Digest,
    Document,
    Endpoint,
    Incarnation,
    MaybeNode,
    NodeName,
    Replicas,
    RequestId,
    Version,
    Weight,
    Word,
    many,
)
from dynazmq.dynamo.messages.membership import Intents, RingAsIs
from dynazmq.dynamo.messages.registry import CLIENT, FAILURE, STRANGER, Message, message


class Whereabouts(NamedTuple):
    """A member, where it listens, its present life, and how the node that tells of it sees it."""

    name: NodeName
    endpoint: Endpoint
    incarnation: Incarnation
    state: Annotated[str, Word(("up", "suspect", "down"))]


class BucketPolicy(NamedTuple):
    """Of a bucket with a policy of its own: what is in force, and what is wanted and will be as soon as it may."""

    bucket: BucketName
    n: Replicas
    r: Replicas
    w: Replicas
    conflict: Conflict
    wanted_n: Replicas = 0
    wanted_r: Replicas = 0
    wanted_w: Replicas = 0


class Wish(NamedTuple):
    """What shall become of a member. replaces: whose place it takes."""

    name: NodeName
    kind: Annotated[str, Word(("in", "out", "expel", "gone"))]
    weight: Weight
    replaces: MaybeNode


@message(7, by=STRANGER | CLIENT)
@dataclass(slots=True)
class TopologyRequest(Message):
    """Where is everything? A client may send it before it knows the cluster's id."""

    request_id: RequestId


@message(8, answers=(TopologyRequest,))
@dataclass(slots=True)
class Topology(Message):
    """ring: Ring.to_wire(). buckets: those with a policy of their own. n, r, w: of all others."""

    request_id: RequestId
    cluster: ClusterName
    cluster_id: U64
    name: NodeName
    ring: RingAsIs
    members: Annotated[list[Any], many(Whereabouts, 2 * MEMBERS_MAX)]
    buckets: Annotated[list[Any], many(BucketPolicy, BUCKETS_MAX)]
    n: Replicas
    r: Replicas
    w: Replicas
    max_value_bytes: Count
    intents: Intents = field(default_factory=list)


@message(9, by=CLIENT, declined=FAILURE)
@dataclass(slots=True)
class SetBucket(Message):
    """Give a bucket a policy of its own; it spreads by gossip.

    n, r, w: 0 stands for the cluster's. conflict: siblings, lww, or "" for siblings.
    """

    request_id: RequestId
    bucket: BucketName
    n: Replicas
    r: Replicas
    w: Replicas
    conflict: Annotated[str, Word(("", *CONFLICTS))] = SIBLINGS


@message(10, answers=(SetBucket,), vouches=True)
@dataclass(slots=True)
class SetBucketReply(Message):
    """It is durable here and at another member, if there is one. version: of the policy as it now stands."""

    request_id: RequestId
    version: Version


@message(11, by=STRANGER | CLIENT)
@dataclass(slots=True)
class StatusRequest(Message):
    """Look at a node; changes nothing (promise 8)."""

    request_id: RequestId


@message(12, answers=(StatusRequest,))
@dataclass(slots=True)
class StatusReply(Message):
    """status: a JSON document (docs/protocol.md), so that readers of it need no release in step with the nodes."""

    request_id: RequestId
    status: Document


@message(37, by=CLIENT, declined=FAILURE)
@dataclass(slots=True)
class SetAntiEntropy(Message):
    """Hold this node's exchanges with its peers, or let them go on. The node keeps it in mind when it starts again."""

    request_id: RequestId
    paused: bool


@message(38, answers=(SetAntiEntropy,), vouches=True)
@dataclass(slots=True)
class SetAntiEntropyReply(Message):
    """It is so now. on: whether this node keeps trees at all."""

    request_id: RequestId
    paused: bool
    on: bool


@message(40, by=CLIENT, declined=FAILURE)
@dataclass(slots=True)
class ChangeMembers(Message):
    """Decide who belongs (change.py).

    ring_digest: of the ring for which this was planned, b"" for any: another one is refused, and a new plan is due.
    """

    request_id: RequestId
    ring_digest: Digest
    intents: Annotated[list[Any], many(Wish, MEMBERS_MAX)]


@message(41, answers=(ChangeMembers,), vouches=True)
@dataclass(slots=True)
class ChangeMembersReply(Message):
    """The decision is durable here and at another member, if there is one. ring_version: of the ring that begins to change."""

    request_id: RequestId
    ring_version: Version


@message(52, by=CLIENT, declined=FAILURE)
@dataclass(slots=True)
class AcknowledgeLosses(Message):
    """An admin knows of the partitions that were lost with rings up to this version: they are spoken of no more."""

    request_id: RequestId
    ring_version: Version


@message(53, answers=(AcknowledgeLosses,), vouches=True)
@dataclass(slots=True)
class AcknowledgeLossesReply(Message):
    """It is durable here and at another member, if there is one."""

    request_id: RequestId
