"""Every message, grouped by conversation: the protocol on one page.

A message is a positional record; on the wire it is the msgpack array [code, field, field, …] (`wire/codec.py`), its code being
its place in `MESSAGES`. Rules of growth: codes and the order of fields never change, new fields are appended, a receiver
ignores surplus fields. Only flat fields on the hot path; there are no maps anywhere.

`request_id` is chosen by whoever asks and is returned unchanged; it means nothing to anyone else. `budget_ms` is the time that
the asker still has *when the frame leaves*: clocks differ between hosts, durations do not. The receiver's edge subtracts what
the frame spent under way, and expired work is dropped.

`state` is one key's causal state, as `versions.encode` writes it; b"" means that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dynazmq.config import SIBLINGS

# --- codes of a Failure ---------------------------------------------------------------------------------------------------

INVALID = 1  # breaks a rule of the API; nothing was attempted
UNAVAILABLE = 2  # too few replicas can be reached; nothing was attempted
TIMEOUT = 3  # the deadline passed first; a put may have been stored
OVERLOADED = 4  # this node has enough to do; nothing was attempted
STORAGE = 5  # this node could not store or read; nothing was attempted, another node may be able to
NOT_YET = 6  # this node is starting or stopping; nothing was attempted, another node may be able to

# --- client ↔ coordinator (§4.5). A node that forwards a put is itself the client of the next one. ------------------------


@dataclass(slots=True)
class Get:
    """Read a key. n, r: 0 means the bucket's policy; r = -1 means all. pr: of them from primaries (strict)."""

    request_id: int
    bucket: str
    key: bytes
    n: int
    r: int
    pr: int
    budget_ms: int


@dataclass(slots=True)
class GetReply:
    """All concurrent values, tombstones left out. Absent by quorum when there is none.

    siblings: parallel to values, [coordinator's name, counter, milliseconds since 1970 when it was written].
    """

    request_id: int
    values: list[bytes]
    siblings: list[Any]
    context: bytes
    responders: list[str]


@dataclass(slots=True)
class Put:
    """Write a value, or a tombstone when value is None.

    write_id: 16 bytes, drawn anew by the client for each write and kept through its retries. age_ms: 0 for the first try; for a
    retry, how long ago the first try was sent. hops: 1 when a node forwards it: it is then coordinated, not passed on again.
    """

    request_id: int
    bucket: str
    key: bytes
    value: bytes | None
    context: bytes
    write_id: bytes
    age_ms: int
    hops: int
    n: int
    w: int
    pw: int
    budget_ms: int


@dataclass(slots=True)
class PutReply:
    """W durable copies exist. acked: who holds them; stand_ins: [fallback, primary it stands in for] among those."""

    request_id: int
    context: bytes
    acked: list[str]
    stand_ins: list[Any]


@dataclass(slots=True)
class Failure:
    """The request was not done, or its outcome is unknown: `code` is one of those below."""

    request_id: int
    code: int
    required: int
    received: int
    retry_after_ms: int
    text: str


@dataclass(slots=True)
class Scan:
    """A page of one node's own keys of a bucket, in the order of their places: `partitions` ascending.

    Starts behind (after_place, after_key); after_place = -1 from the beginning. limit: keys, at most 2,000.
    """

    request_id: int
    bucket: str
    partitions: list[int]
    after_place: int
    after_key: bytes
    limit: int
    budget_ms: int


@dataclass(slots=True)
class ScanReply:
    """entries: [place, key, live]; live is False for a tombstone. more: whether another page follows the last entry.

    A page may be empty and more still True: next_place, next_key say from where to go on.
    """

    request_id: int
    entries: list[Any]
    more: bool
    next_place: int
    next_key: bytes


@dataclass(slots=True)
class TopologyRequest:
    """Where is everything? The one message that a client may send before it knows the cluster's id."""

    request_id: int


@dataclass(slots=True)
class Topology:
    """ring: Ring.to_wire(). members: [name, endpoint, incarnation, state as this node sees it: up|suspect|down].

    buckets: [name, n, r, w, conflict] of those with a policy of their own.
    """

    request_id: int
    cluster: str
    cluster_id: int
    name: str
    ring: list[Any]
    members: list[Any]
    buckets: list[Any]
    n: int
    r: int
    w: int
    max_value_bytes: int


@dataclass(slots=True)
class SetBucket:
    """Give a bucket a policy of its own; it spreads by gossip.

    n, r, w: 0 stands for the cluster's. conflict: siblings, lww, or "" for siblings.
    """

    request_id: int
    bucket: str
    n: int
    r: int
    w: int
    conflict: str = SIBLINGS


@dataclass(slots=True)
class SetBucketReply:
    """version: of the policies as they now stand."""

    request_id: int
    version: int


@dataclass(slots=True)
class StatusRequest:
    """Look at a node; changes nothing (promise 8)."""

    request_id: int


@dataclass(slots=True)
class StatusReply:
    """status: a JSON document (docs/protocol.md), so that readers of it need no release in step with the nodes."""

    request_id: int
    status: bytes


# --- coordinator ↔ replica (§4.5, §4.6) -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Read:
    request_id: int
    bucket: str
    key: bytes
    budget_ms: int


@dataclass(slots=True)
class ReadReply:
    request_id: int
    state: bytes


@dataclass(slots=True)
class Write:
    """Merge this state into yours. hint_for: "" for a replica's own copy, else the primary that you stand in for.

    request_id 0 asks for no reply (read repair).
    """

    request_id: int
    bucket: str
    key: bytes
    state: bytes
    hint_for: str
    budget_ms: int


@dataclass(slots=True)
class WriteReply:
    """These are durable here."""

    request_ids: list[int]


@dataclass(slots=True)
class Refused:
    """A node does not do what it was asked (Read, Write, Recall, Handoff, TreeAsk, RowsAsk, Mend, HintsAsk).

    Its storage failed, mostly; or a peer wants to compare and anti-entropy is paused here.
    """

    request_id: int
    text: str


@dataclass(slots=True)
class Recall:
    """Do you know this write? Asked before a retry is given a dot of its own. age_ms: since its first try."""

    request_id: int
    bucket: str
    key: bytes
    write_id: bytes
    age_ms: int
    budget_ms: int


@dataclass(slots=True)
class RecallReply:
    """actor "" and sure: it was never here. actor "" and not sure: this node's memory does not reach back that far."""

    request_id: int
    sure: bool
    actor: str
    counter: int
    state: bytes


@dataclass(slots=True)
class Handoff:
    """A hint goes home (§4.6): merge this state into your own copy."""

    request_id: int
    bucket: str
    key: bytes
    state: bytes


@dataclass(slots=True)
class HandoffReply:
    """It is durable at its primary; the holder may forget the hint."""

    request_id: int


# --- primary ↔ primary (§4.7) ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TreeAsk:
    """What are the hashes of these nodes in your Merkle trees? nodes: partition, n, node number; and so on."""

    request_id: int
    nodes: list[int]


@dataclass(slots=True)
class TreeTell:
    """In the order of the question; -1 for a tree that is not known yet."""

    request_id: int
    hashes: list[int]


@dataclass(slots=True)
class RowsAsk:
    """Which rows of buckets with this n do you have in this run of leaves, behind `after`?"""

    request_id: int
    partition: int
    n: int
    first_leaf: int
    last_leaf: int
    after_place: int
    after_bucket: str
    after_key: bytes


@dataclass(slots=True)
class RowsTell:
    """rows: at most 512 of [bucket, key, hash, bytes of the state], in the order of (place, bucket, key). more: others are behind
    `next`, which is in that run of leaves."""

    request_id: int
    rows: list[Any]
    more: bool
    next_place: int
    next_bucket: str
    next_key: bytes


@dataclass(slots=True)
class Mend:
    """We differ in this key: merge this state (b"" if I have none) into your own copy, and tell me what I lack."""

    request_id: int
    bucket: str
    key: bytes
    state: bytes


@dataclass(slots=True)
class MendReply:
    """It is durable here. state: my copy after the merge; b"" if it is what you sent."""

    request_id: int
    state: bytes


# --- proposer ↔ member (§4.4: forgetting) ---------------------------------------------------------------------------------


@dataclass(slots=True)
class RetireAsk:
    """Is anything older of these keys about? rows: [bucket, key, hash of the state that all should hold], at most 256."""

    request_id: int
    rows: list[Any]


@dataclass(slots=True)
class RetireTell:
    """unclear: indices of rows of which there may be. actors: the names under which this node may still issue dots."""

    request_id: int
    unclear: list[int]
    actors: list[str]


@dataclass(slots=True)
class Retire:
    """Nothing older is left anywhere. rows: [bucket, key, hash of the state, what remains of it; b"" for nothing]."""

    rows: list[Any]


# --- client ↔ node: looking closely, and holding anti-entropy (§4.6, §4.7). TreeAsk and RowsAsk are clients' as well. ---------


@dataclass(slots=True)
class HintsAsk:
    """Which hints do you keep for this target, behind `after` and up to a place? Changes nothing."""

    request_id: int
    target: str
    last_place: int
    after_place: int
    after_bucket: str
    after_key: bytes


@dataclass(slots=True)
class HintsTell:
    """rows: as those of RowsTell. more: others are behind `next`."""

    request_id: int
    rows: list[Any]
    more: bool
    next_place: int
    next_bucket: str
    next_key: bytes


@dataclass(slots=True)
class SetAntiEntropy:
    """Hold this node's exchanges with its peers, or let them go on. The node keeps it in mind when it starts again."""

    request_id: int
    paused: bool


@dataclass(slots=True)
class SetAntiEntropyReply:
    """It is so now. on: whether this node keeps trees at all."""

    request_id: int
    paused: bool
    on: bool


# --- node ↔ node (§4.8) ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Probe:
    sequence: int


@dataclass(slots=True)
class ProbeReply:
    sequence: int


@dataclass(slots=True)
class Stopping:
    """My process ends in good order: it finishes what is under way and begins nothing. Ask others from now on.

    sequence: of the probe that this answers; 0 when the node says so by itself, first of all.
    """

    sequence: int


@dataclass(slots=True)
class GossipDigest:
    """What I know, in short. members: [name, incarnation, heartbeat]; without any it asks for the ring and policies alone."""

    members: list[Any]
    ring_version: int
    ring_digest: bytes
    policies_digest: bytes


@dataclass(slots=True)
class GossipDelta:
    """What I know better than your digest, and the names of which you know better (wanted).

    members: records as membership.py writes them. ring: Ring.to_wire() or []. buckets: [name, n, r, w, version, writer,
    conflict].
    """

    members: list[Any]
    wanted: list[str]
    ring: list[Any]
    buckets: list[Any]


MESSAGES: tuple[type, ...] = (
    Get, GetReply, Put, PutReply, Failure, Scan, ScanReply, TopologyRequest, Topology, SetBucket, SetBucketReply,
    StatusRequest, StatusReply, Read, ReadReply, Write, WriteReply, Refused, Recall, RecallReply, Handoff, HandoffReply,
    Probe, ProbeReply, GossipDigest, GossipDelta, TreeAsk, TreeTell, RowsAsk, RowsTell, Mend, MendReply, RetireAsk,
    RetireTell, Retire, HintsAsk, HintsTell, SetAntiEntropy, SetAntiEntropyReply, Stopping,
)  # fmt: skip

Message = (
    Get | GetReply | Put | PutReply | Failure | Scan | ScanReply | TopologyRequest | Topology | SetBucket | SetBucketReply
    | StatusRequest | StatusReply | Read | ReadReply | Write | WriteReply | Refused | Recall | RecallReply | Handoff
    | HandoffReply | Probe | ProbeReply | GossipDigest | GossipDelta | TreeAsk | TreeTell | RowsAsk | RowsTell | Mend | MendReply
    | RetireAsk | RetireTell | Retire
    | HintsAsk | HintsTell | SetAntiEntropy | SetAntiEntropyReply | Stopping
)  # fmt: skip
