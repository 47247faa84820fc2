"""Every message, grouped by conversation: the protocol on three pages. The others are upkeep_messages.py and looking_messages.py.

A message is a positional record; on the wire it is the msgpack array [code, field, field, …] (`wire/codec.py`), its code being
its place in `MESSAGES`. Rules of growth: codes and the order of fields never change, new fields are appended, a receiver
ignores surplus fields. Only flat fields on the hot path; there are no maps anywhere.

`request_id` is chosen by whoever asks and is returned unchanged; it means nothing to anyone else. `budget_ms` is the time that
the asker still has *when the frame leaves*: clocks differ between hosts, durations do not. The receiver's edge subtracts what
the frame spent under way, and expired work is dropped.

`state` is one key's causal state, as `versions.encode` writes it; b"" means that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dynazmq.config import SIBLINGS
from dynazmq.dynamo.looking_messages import (
    LookAsk as LookAsk,
)
from dynazmq.dynamo.looking_messages import (
    LookTell as LookTell,
)
from dynazmq.dynamo.looking_messages import (
    TraceAsk as TraceAsk,
)
from dynazmq.dynamo.looking_messages import (
    TraceTell as TraceTell,
)
from dynazmq.dynamo.upkeep_messages import (
    FillAsk as FillAsk,
)
from dynazmq.dynamo.upkeep_messages import (
    FillTell as FillTell,
)
from dynazmq.dynamo.upkeep_messages import (
    HintsAsk as HintsAsk,
)
from dynazmq.dynamo.upkeep_messages import (
    HintsTell as HintsTell,
)
from dynazmq.dynamo.upkeep_messages import (
    Mend as Mend,
)
from dynazmq.dynamo.upkeep_messages import (
    MendReply as MendReply,
)
from dynazmq.dynamo.upkeep_messages import (
    Retire as Retire,
)
from dynazmq.dynamo.upkeep_messages import (
    RetireAsk as RetireAsk,
)
from dynazmq.dynamo.upkeep_messages import (
    RetireTell as RetireTell,
)
from dynazmq.dynamo.upkeep_messages import (
    RowsAsk as RowsAsk,
)
from dynazmq.dynamo.upkeep_messages import (
    RowsTell as RowsTell,
)
from dynazmq.dynamo.upkeep_messages import (
    SetAntiEntropy as SetAntiEntropy,
)
from dynazmq.dynamo.upkeep_messages import (
    SetAntiEntropyReply as SetAntiEntropyReply,
)
from dynazmq.dynamo.upkeep_messages import (
    StrayAsk as StrayAsk,
)
from dynazmq.dynamo.upkeep_messages import (
    StrayTell as StrayTell,
)
from dynazmq.dynamo.upkeep_messages import (
    TreeAsk as TreeAsk,
)
from dynazmq.dynamo.upkeep_messages import (
    TreeTell as TreeTell,
)

# --- codes of a Failure ---------------------------------------------------------------------------------------------------

INVALID = 1  # breaks a rule of the API; nothing was attempted
UNAVAILABLE = 2  # too few replicas can be reached; nothing was attempted
TIMEOUT = 3  # the deadline passed first; a put may have been stored
OVERLOADED = 4  # this node has enough to do; nothing was attempted
STORAGE = 5  # this node could not store or read; nothing was attempted, another node may be able to
NOT_YET = 6  # this node is starting or stopping; nothing was attempted, another node may be able to
ELSEWHERE = 7  # this node and the asker go by different rings; nothing was attempted. A Topology comes with it

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

    Starts behind (after_place, after_key); after_place = -1 from the beginning. limit: keys, at most 2,000. ring_version: of the
    ring by which this node was chosen; 0 if that is not said.
    """

    request_id: int
    bucket: str
    partitions: list[int]
    after_place: int
    after_key: bytes
    limit: int
    budget_ms: int
    ring_version: int = 0


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

    buckets: [name, n, r, w, conflict] of those with a policy of their own. intents: as in GossipDelta.
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
    intents: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class ChangeMembers:
    """Decide who belongs (change.py). intents: [name, in|out|gone, weight, name that it replaces or ""].

    ring_digest: of the ring for which this was planned, b"" for any: another one is refused, and a new plan is due.
    """

    request_id: int
    ring_digest: bytes
    intents: list[Any]


@dataclass(slots=True)
class ChangeMembersReply:
    """The decision is durable here, and gossip carries it on. ring_version: of the ring that now begins to change."""

    request_id: int
    ring_version: int


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
    """What do you hold of this key? ring_version: of the ring by which you were chosen; 0 if that is not said."""

    request_id: int
    bucket: str
    key: bytes
    budget_ms: int
    ring_version: int = 0


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
    """A node does not do what it was asked (Read, Write, Recall, Handoff, TreeAsk, RowsAsk, Mend, HintsAsk, LookAsk, TraceAsk).

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
    """What I know, in short. members: [name, incarnation, heartbeat]; without any it asks for the ring and policies alone.

    knowledge: Membership.knowledge(), which stands for ring and intents.
    """

    members: list[Any]
    ring_version: int
    ring_digest: bytes
    policies_digest: bytes
    knowledge: bytes = b""


@dataclass(slots=True)
class GossipDelta:
    """What I know better than your digest, and the names of which you know better (wanted).

    members: records.Member each. ring: Ring.to_wire() or []. buckets: [name, n, r, w, version, writer,
    conflict]. intents: [name, in|out|gone, weight, name that it replaces or "", version, writer].
    """

    members: list[Any]
    wanted: list[str]
    ring: list[Any]
    buckets: list[Any]
    intents: list[Any] = field(default_factory=list)


MESSAGES: tuple[type, ...] = (
    Get, GetReply, Put, PutReply, Failure, Scan, ScanReply, TopologyRequest, Topology, SetBucket, SetBucketReply,
    StatusRequest, StatusReply, Read, ReadReply, Write, WriteReply, Refused, Recall, RecallReply, Handoff, HandoffReply,
    Probe, ProbeReply, GossipDigest, GossipDelta, TreeAsk, TreeTell, RowsAsk, RowsTell, Mend, MendReply, RetireAsk,
    RetireTell, Retire, HintsAsk, HintsTell, SetAntiEntropy, SetAntiEntropyReply, Stopping, ChangeMembers,
    ChangeMembersReply, FillAsk, FillTell, StrayAsk, StrayTell, LookAsk, LookTell, TraceAsk, TraceTell,
)  # fmt: skip

Message = (
    Get | GetReply | Put | PutReply | Failure | Scan | ScanReply | TopologyRequest | Topology | SetBucket | SetBucketReply
    | StatusRequest | StatusReply | Read | ReadReply | Write | WriteReply | Refused | Recall | RecallReply | Handoff
    | HandoffReply | Probe | ProbeReply | GossipDigest | GossipDelta | TreeAsk | TreeTell | RowsAsk | RowsTell | Mend | MendReply
    | RetireAsk | RetireTell | Retire
    | HintsAsk | HintsTell | SetAntiEntropy | SetAntiEntropyReply | Stopping | ChangeMembers | ChangeMembersReply | FillAsk
    | FillTell | StrayAsk | StrayTell | LookAsk | LookTell | TraceAsk | TraceTell
)  # fmt: skip
