"""Node ↔ node: replicas compare themselves (§4.7), hand keys over (§4.9), and forget (§4.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from dynazmq.config import MEMBERS_MAX, PARTITIONS_MAX
from dynazmq.dynamo.messages.fields import (
    Actors,
    AfterBucket,
    AfterKey,
    AfterPlace,
    BucketName,
    Digest,
    Hash,
    Key,
    KnownHash,
    Partition,
    RequestId,
    Size,
    State,
    Version,
    Whole,
    many,
)
from dynazmq.dynamo.messages.membership import Vouched
from dynazmq.dynamo.messages.registry import CLIENT, PEER, REFUSED, Message, message

Level = Annotated[int, Whole(0, 257 * MEMBERS_MAX)]
"""An N, or two of them while a bucket is to have another (Ring.level)."""

ROWS_MAX = 512
"""Of one page that shows rows by their hashes."""

FILL_ROWS_MAX = 64
STRAYS_MAX = 64
RETIRED_MAX = 256
NODES_MAX = 1024
"""Nodes of Merkle trees in one question."""

Leaf = Annotated[int, Whole(0, 2047)]
Index = Annotated[int, Whole(0, ROWS_MAX)]


class RowDigest(NamedTuple):
    """A row of a page: its hash, and the bytes of its state. A damaged one has neither."""

    bucket: BucketName
    key: Key
    hash: Hash
    size: Size


class HashedRow(NamedTuple):
    """A row, and the hash of the state that is meant."""

    bucket: BucketName
    key: Key
    hash: Hash


class StateRow(NamedTuple):
    """A row with its state."""

    bucket: BucketName
    key: Key
    state: State


class RetiredRow(NamedTuple):
    """A row, the hash of the state that is meant, and what remains of it; b"" for nothing."""

    bucket: BucketName
    key: Key
    hash: Hash
    remains: State


Digests = Annotated[list[Any], many(RowDigest, ROWS_MAX)]

# --- primary ↔ primary (§4.7); clients look in the same way -----------------------------------------------------------------


@message(26, by=CLIENT | PEER, declined=REFUSED)
@dataclass(slots=True)
class TreeAsk(Message):
    """What are the hashes of these nodes in your Merkle trees? nodes: partition, n, node number; and so on."""

    request_id: RequestId
    nodes: Annotated[list[int], many(Annotated[int, Whole(0, max(PARTITIONS_MAX - 1, 257 * MEMBERS_MAX))], 3 * NODES_MAX)]


@message(27, answers=(TreeAsk,))
@dataclass(slots=True)
class TreeTell(Message):
    """In the order of the question; -1 for a tree that is not known yet."""

    request_id: RequestId
    hashes: Annotated[list[int], many(KnownHash, NODES_MAX)]


@message(28, by=CLIENT | PEER, declined=REFUSED)
@dataclass(slots=True)
class RowsAsk(Message):
    """Which rows of buckets with this n do you have in this run of leaves, behind `after`?"""

    request_id: RequestId
    partition: Partition
    n: Level
    first_leaf: Leaf
    last_leaf: Leaf
    after_place: AfterPlace
    after_bucket: AfterBucket
    after_key: AfterKey


@message(29, answers=(RowsAsk,))
@dataclass(slots=True)
class RowsTell(Message):
    """rows: in the order of (place, bucket, key). more: others are behind `next`, which is in that run of leaves."""

    request_id: RequestId
    rows: Digests
    more: bool
    next_place: AfterPlace
    next_bucket: AfterBucket
    next_key: AfterKey


@message(30, by=PEER, declined=REFUSED, vouches=True, dated=True, traced=True)
@dataclass(slots=True)
class Mend(Message):
    """We differ in this key: merge this state (b"" if I have none) into your own copy, and tell me what I lack."""

    request_id: RequestId
    bucket: BucketName
    key: Key
    state: State


@message(31, answers=(Mend,), vouches=True, dated=True)
@dataclass(slots=True)
class MendReply(Message):
    """It is durable here. state: my copy after the merge; b"" if it is what you sent."""

    request_id: RequestId
    state: State


# --- new owner ↔ old owner, and back (§4.9: transfer and handover) ---------------------------------------------------------


@message(42, by=PEER, declined=REFUSED)
@dataclass(slots=True)
class FillAsk(Message):
    """A page of your rows of a partition that will be mine, behind `after`. ring_digest: of the change that this is for.

    salvage: nobody is left who held it; show me also what you keep of it as hints.
    """

    request_id: RequestId
    ring_digest: Digest
    partition: Partition
    after_place: AfterPlace
    after_bucket: AfterBucket
    after_key: AfterKey
    salvage: bool = False


@message(43, answers=(FillAsk,), vouches=True)
@dataclass(slots=True)
class FillTell(Message):
    """rows: in the order of their places. more: others are behind `next`."""

    request_id: RequestId
    rows: Annotated[list[Any], many(StateRow, FILL_ROWS_MAX)]
    more: bool
    next_place: AfterPlace
    next_bucket: AfterBucket
    next_key: AfterKey


@message(44, by=PEER, declined=REFUSED)
@dataclass(slots=True)
class StrayAsk(Message):
    """I hold these rows, of which you are a primary and I am not: do you have them?"""

    request_id: RequestId
    ring_digest: Digest
    rows: Annotated[list[Any], many(HashedRow, STRAYS_MAX)]


@message(45, answers=(StrayAsk,), vouches=True)
@dataclass(slots=True)
class StrayTell(Message):
    """missing: indices of rows whose very state is not durable here. They are then sent (Mend)."""

    request_id: RequestId
    missing: Annotated[list[int], many(Index, STRAYS_MAX)]


# --- proposer ↔ member (§4.4: forgetting) ---------------------------------------------------------------------------------


@message(32, by=PEER, declined=REFUSED, vouches=True)
@dataclass(slots=True)
class RetireAsk(Message):
    """Is anything older of these keys about? rows: with the hash of the state that all should hold.

    vouched: how often each member has vouched, as far as it has told me, and myself as far as it is safe on my disk; keep that in
    mind (dynamo/membership/stale_disks.py).
    """

    request_id: RequestId
    rows: Annotated[list[Any], many(HashedRow, RETIRED_MAX)]
    vouched: Vouched = field(default_factory=list)


@message(33, answers=(RetireAsk,), vouches=True)
@dataclass(slots=True)
class RetireTell(Message):
    """unclear: indices of rows of which there may be. actors: the names under which this node may still issue dots.

    vouched: how often it has vouched, this time included; 0 where it does not vouch for any of them.
    """

    request_id: RequestId
    unclear: Annotated[list[int], many(Index, RETIRED_MAX)]
    actors: Actors
    vouched: Version = 0


@message(34, by=PEER, vouches=True)
@dataclass(slots=True)
class Retire(Message):
    """Nothing older is left anywhere."""

    rows: Annotated[list[Any], many(RetiredRow, RETIRED_MAX)]
