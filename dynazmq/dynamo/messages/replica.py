"""Coordinator ↔ replica (§4.5, §4.6): copies are read, written, looked for and brought home.

`state` is one key's causal state, as `versions.encode` writes it; b"" means that there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from dynazmq.dynamo.messages.fields import (
    Actor,
    Age,
    BucketName,
    Budget,
    Counter,
    Key,
    MaybeNode,
    Prose,
    RequestId,
    RequestIds,
    State,
    Version,
    WriteId,
)
from dynazmq.dynamo.messages.registry import PEER, REFUSED, Message, message


@message(13, by=PEER, declined=REFUSED, traced=True)
@dataclass(slots=True)
class Read(Message):
    """What do you hold of this key? ring_version: of the ring by which you were chosen; 0 if that is not said."""

    request_id: RequestId
    bucket: BucketName
    key: Key
    budget_ms: Budget
    ring_version: Version = 0


@message(14, answers=(Read,))
@dataclass(slots=True)
class ReadReply(Message):
    request_id: RequestId
    state: State


@message(15, by=PEER, declined=REFUSED, vouches=True, dated=True, traced=True)
@dataclass(slots=True)
class Write(Message):
    """Merge this state into yours. hint_for: "" for a replica's own copy, else the primary that you stand in for.

    request_id 0 asks for no reply (read repair).
    """

    request_id: RequestId
    bucket: BucketName
    key: Key
    state: State
    hint_for: MaybeNode
    budget_ms: Budget


@message(16, answers=(Write,), vouches=True)
@dataclass(slots=True)
class WriteReply(Message):
    """These are durable here."""

    request_ids: RequestIds


@message(17, declines=REFUSED)
@dataclass(slots=True)
class Refused(Message):
    """A node does not do what it was asked. Its storage failed, mostly; or a peer wants to compare and anti-entropy is paused."""

    request_id: RequestId
    text: Prose


@message(18, by=PEER, declined=REFUSED, traced=True)
@dataclass(slots=True)
class Recall(Message):
    """Do you know this write? Asked before a retry is given a dot of its own. age_ms: since its first try."""

    request_id: RequestId
    bucket: BucketName
    key: Key
    write_id: WriteId
    age_ms: Age
    budget_ms: Budget


@message(19, answers=(Recall,))
@dataclass(slots=True)
class RecallReply(Message):
    """actor "" and sure: it was never here. actor "" and not sure: this node's memory does not reach back that far."""

    request_id: RequestId
    sure: bool
    actor: Actor
    counter: Counter
    state: State


@message(20, by=PEER, declined=REFUSED, dated=True, traced=True)
@dataclass(slots=True)
class Handoff(Message):
    """A hint goes home (§4.6): merge this state into your own copy."""

    request_id: RequestId
    bucket: BucketName
    key: Key
    state: State


@message(21, answers=(Handoff,), vouches=True)
@dataclass(slots=True)
class HandoffReply(Message):
    """It is durable at its primary; the holder may forget the hint."""

    request_id: RequestId
