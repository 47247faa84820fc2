"""Client ↔ node: looking closely at one key (`explain`, `trace`), and at hints. At trees and rows as peers do (repair.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from dynazmq.config import TRACE_MS_MAX
from dynazmq.dynamo.messages.fields import (
    AfterBucket,
    AfterKey,
    AfterPlace,
    BucketName,
    ClusterName,
    Count,
    Key,
    KnownAge,
    MaybeNode,
    Micros,
    Note,
    Place,
    RequestId,
    State,
    Whole,
    Word,
    many,
)
from dynazmq.dynamo.messages.registry import CLIENT, REFUSED, Message, message
from dynazmq.dynamo.messages.repair import Digests

POINTS_MAX = 512


class HintRow(NamedTuple):
    """A hint for a key. age_ms: for how long it has been kept; -1 if it is of an earlier life of the process."""

    target: MaybeNode
    state: State
    age_ms: KnownAge


class Point(NamedTuple):
    """Something that was noted of a traced key (wire/tracing.py).

    peer: "" for the asker, "client" for any other. message: its name. operation: this node's own number for what a client asked
    of it. woke, since: of what was heard, when the node went on and since when it had been waiting.
    """

    at_us: Micros
    what: Annotated[str, Word(("heard", "done", "committed", "sent", "unsent"))]
    peer: MaybeNode
    message: MaybeNode
    request_id: RequestId
    operation: Count
    note: Note
    size: Count
    since_us: Micros
    woke_us: Micros


@message(35, by=CLIENT, declined=REFUSED)
@dataclass(slots=True)
class HintsAsk(Message):
    """Which hints do you keep for this target, behind `after` and up to a place? Changes nothing."""

    request_id: RequestId
    target: MaybeNode
    last_place: Place
    after_place: AfterPlace
    after_bucket: AfterBucket
    after_key: AfterKey


@message(36, answers=(HintsAsk,))
@dataclass(slots=True)
class HintsTell(Message):
    """rows: as those of RowsTell. more: others are behind `next`."""

    request_id: RequestId
    rows: Digests
    more: bool
    next_place: AfterPlace
    next_bucket: AfterBucket
    next_key: AfterKey


@message(46, by=CLIENT, declined=REFUSED)
@dataclass(slots=True)
class LookAsk(Message):
    """What do you hold of this key? Changes nothing (promise 8), not even where a row is damaged."""

    request_id: RequestId
    bucket: BucketName
    key: Key


@message(47, answers=(LookAsk,), vouches=True)
@dataclass(slots=True)
class LookTell(Message):
    """state: the node's own copy, b"" if it has none or it is damaged. It is durable. A damaged hint has no state."""

    request_id: RequestId
    state: State
    damaged: bool
    hints: Annotated[list[Any], many(HintRow, 4096)]


@message(48, by=CLIENT, declined=REFUSED)
@dataclass(slots=True)
class TraceAsk(Message):
    """Note what you hear and say about this key for note_ms, at most 10,000; answered at once, by a TraceTell without points.

    With note_ms 0: tell what was noted for this asker under this number. wait_ms: before that, wait so long at most for answers
    that others owe you. When it is 0 as well, the trace is over and its notes are dropped.
    """

    request_id: RequestId
    trace: RequestId
    bucket: BucketName
    key: Key
    note_ms: Annotated[int, Whole(0, TRACE_MS_MAX)]
    wait_ms: Annotated[int, Whole(0, TRACE_MS_MAX)]


@message(49, answers=(TraceAsk,))
@dataclass(slots=True)
class TraceTell(Message):
    """clock: equal on nodes whose times can be compared. lost: points that were not noted, past the first 512."""

    request_id: RequestId
    clock: ClusterName
    lost: Count
    points: Annotated[list[Any], many(Point, POINTS_MAX)]
