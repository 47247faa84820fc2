"""The messages of upkeep: replicas that compare themselves, hand keys over, and forget. The rules are those of messages.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


# --- new owner ↔ old owner, and back (§4.9: transfer and handover) ---------------------------------------------------------


@dataclass(slots=True)
class FillAsk:
    """A page of your rows of a partition that will be mine, behind `after`. ring_digest: of the change that this is for."""

    request_id: int
    ring_digest: bytes
    partition: int
    after_place: int
    after_bucket: str
    after_key: bytes


@dataclass(slots=True)
class FillTell:
    """rows: [bucket, key, state] in the order of their places. more: others are behind `next`."""

    request_id: int
    rows: list[Any]
    more: bool
    next_place: int
    next_bucket: str
    next_key: bytes


@dataclass(slots=True)
class StrayAsk:
    """I hold these rows, of which you are a primary and I am not: do you have them? rows: [bucket, key, hash], at most 64."""

    request_id: int
    ring_digest: bytes
    rows: list[Any]


@dataclass(slots=True)
class StrayTell:
    """missing: indices of rows whose very state is not durable here. They are then sent (Mend)."""

    request_id: int
    missing: list[int]


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
