"""Client ↔ coordinator (§4.5): reading, writing, and walking through all keys.

A node that forwards a put is itself the client of the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from dynazmq.dynamo.messages.fields import (
    HOPS_MAX,
    Actor,
    AfterKey,
    AfterPlace,
    Age,
    BucketName,
    Budget,
    ContextToken,
    Count,
    Counter,
    Key,
    Limit,
    MaybeValue,
    Names,
    NodeName,
    Partitions,
    Place,
    Prose,
    Quorum,
    Replicas,
    RequestId,
    Values,
    Version,
    WallMs,
    Whole,
    WriteId,
    many,
)
from dynazmq.dynamo.messages.registry import CLIENT, FAILURE, PEER, Message, message

INVALID = 1  # breaks a rule of the API; nothing was attempted
UNAVAILABLE = 2  # too few replicas can be reached; nothing was attempted
TIMEOUT = 3  # the deadline passed first; a put may have been stored
OVERLOADED = 4  # this node has enough to do; nothing was attempted
STORAGE = 5  # this node could not store or read; nothing was attempted, another node may be able to
NOT_YET = 6  # this node is starting or stopping; nothing was attempted, another node may be able to
ELSEWHERE = 7  # this node and the asker go by different rings; nothing was attempted. A Topology comes with it
OTHER_CLUSTER = 8  # this node is of another cluster than the one that was asked; nothing was attempted, nor ever will be


class Origin(NamedTuple):
    """Of a value: the coordinator's name, as which of its writes, and when it was written."""

    node: Actor
    counter: Counter
    wall_ms: WallMs


class StandIn(NamedTuple):
    """Who holds a copy, and the primary for which it does."""

    fallback: NodeName
    primary: NodeName


class Entry(NamedTuple):
    """A key in a page of them. live is False for a tombstone."""

    place: Place
    key: Key
    live: bool


@message(0, by=CLIENT, declined=FAILURE, traced=True)
@dataclass(slots=True)
class Get(Message):
    """Read a key. n, r: 0 means the bucket's policy; r = -1 means all. pr: of them from primaries (strict)."""

    request_id: RequestId
    bucket: BucketName
    key: Key
    n: Replicas
    r: Quorum
    pr: Replicas
    budget_ms: Budget


@message(1, answers=(Get,))
@dataclass(slots=True)
class GetReply(Message):
    """All concurrent values, tombstones left out. Absent by quorum when there is none. siblings: parallel to values."""

    request_id: RequestId
    values: Values
    siblings: Annotated[list[Any], many(Origin, 4096)]
    context: ContextToken
    responders: Names


@message(2, by=CLIENT | PEER, declined=FAILURE, traced=True)
@dataclass(slots=True)
class Put(Message):
    """Write a value, or a tombstone when value is None.

    write_id: 16 bytes, drawn anew by the client for each write and kept through its retries. age_ms: 0 for the first try; for a
    retry, how long ago the first try was sent. hops: how often it was passed on; after the last time whoever has it coordinates.
    """

    request_id: RequestId
    bucket: BucketName
    key: Key
    value: MaybeValue
    context: ContextToken
    write_id: WriteId
    age_ms: Age
    hops: Annotated[int, Whole(0, HOPS_MAX)]
    n: Replicas
    w: Quorum
    pw: Replicas
    budget_ms: Budget


@message(54, by=CLIENT, declined=FAILURE, traced=True)
@dataclass(slots=True)
class PutAsk(Message):
    """Has this put been done? Asked of a primary by a retry, before it sends a large value again.

    A PutTell says so soon. If the first try is known, this is the retry in all other respects, and is answered as that is.
    """

    request_id: RequestId
    bucket: BucketName
    key: Key
    context: ContextToken
    write_id: WriteId
    age_ms: Age
    n: Replicas
    w: Quorum
    pw: Replicas
    budget_ms: Budget


@message(55, answers=(PutAsk,))
@dataclass(slots=True)
class PutTell(Message):
    """known: the put's own answer follows. Else nobody who was asked knows that write, or not at once: send the Put."""

    request_id: RequestId
    known: bool


@message(3, answers=(Put,), vouches=True)
@dataclass(slots=True)
class PutReply(Message):
    """W durable copies exist. acked: who holds them; stand_ins: those among them that keep it for another."""

    request_id: RequestId
    context: ContextToken
    acked: Names
    stand_ins: Annotated[list[Any], many(StandIn, 256)]


@message(4, declines=FAILURE)
@dataclass(slots=True)
class Failure(Message):
    """The request was not done, or its outcome is unknown: `code` is one of those above."""

    request_id: RequestId
    code: Annotated[int, Whole(0, 255)]
    required: Count
    received: Count
    retry_after_ms: Limit
    text: Prose


@message(5, by=CLIENT, declined=FAILURE)
@dataclass(slots=True)
class Scan(Message):
    """A page of one node's own keys of a bucket, in the order of their places: `partitions` ascending.

    Starts behind (after_place, after_key); after_place = -1 from the beginning. limit: keys, at most 2,000. ring_version: of the
    ring by which this node was chosen; 0 if that is not said.
    """

    request_id: RequestId
    bucket: BucketName
    partitions: Partitions
    after_place: AfterPlace
    after_key: AfterKey
    limit: Limit
    budget_ms: Budget
    ring_version: Version = 0


@message(6, answers=(Scan,))
@dataclass(slots=True)
class ScanReply(Message):
    """more: whether another page follows the last entry.

    A page may be empty and more still True: next_place, next_key say from where to go on.
    """

    request_id: RequestId
    entries: Annotated[list[Any], many(Entry, 2000)]
    more: bool
    next_place: AfterPlace
    next_key: AfterKey
