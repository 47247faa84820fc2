"""The timeline of one request: values, and how they are written as JSON (`dynazmq trace … --json`, schema dynazmq.trace/1).

Times are microseconds from the moment at which the client began. trace.py makes them from what the nodes noted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dynazmq.client.inspect.explained import text_of
from dynazmq.client.values.results import PutResult, Result
from dynazmq.errors import DynazmqError

CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Point:
    """Something that happened at one place.

    what: asked | answered | failed (the client), heard | done | committed | sent | unsent (a node; wire/tracing.py says what they
    mean). peer: from or to whom. message: its name. note: the primary that a Write's copy is meant for, the nodes that a reply
    rests on, a Failure's text. size: bytes; of a GetReply, values; of a commit, rows. since_us: of what was committed, when that
    began; of what was heard, when the node began to wait; woke_us: when it went on.
    """

    at_us: int
    node: str
    what: str
    peer: str = ""
    message: str = ""
    request_id: int = 0
    operation: int = 0
    note: str = ""
    size: int = 0
    since_us: int = 0
    woke_us: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """kind: way (the request is under way) | queue (it waits for the node's loop) | work (read, merge) | commit | back (the
    answer is under way, or waits at its asker)"""

    kind: str
    begin_us: int
    end_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one node did for the request, in answer to one message."""

    node: str
    role: str
    """client | coordinator | forwards | replica | stand-in | repaired | asked about a retry"""
    asked_by: str
    message: str
    stands_in_for: str = ""
    begin_us: int
    end_us: int
    """When its asker has its answer; if there is none, when it was through."""
    answered: bool
    left: bool = True
    """False: the transport would not take the message that was for it."""
    late: bool = False
    """Its answer came after the client's, or never."""
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One real request, as its coordinator and replicas saw it."""

    operation: str
    """get | put | delete"""
    bucket: str
    key: bytes
    needed: int
    """R or W."""
    elapsed_us: int
    """Until the client had its answer, or gave up."""
    quorum_us: int | None
    """When the coordinator sent the answer: R replies, or W durable copies, were there. None: never."""
    quorum_of: tuple[str, ...]
    """The nodes that it rests on."""
    rows: tuple[Row, ...]
    points: tuple[Point, ...]
    """All that is known to be of this request, in the order of time."""
    comparable: bool = True
    """False: the nodes' clocks are not one clock. Each node's times are then shifted to begin when it was asked."""
    silent: dict[str, str]
    """Nodes that took no part in the tracing, and why: what they did is not here."""
    lost: int = 0
    """Points that nodes did not note, having noted so many."""
    others: int = 0
    """Requests of others about this key, at the same time; left out here."""
    result: Result | PutResult | None = None
    error: DynazmqError | None = None

    @property
    def coordinator(self) -> str:
        """The node that gave the answer; "" if none did."""
        rows = [row for row in self.rows if row.role == "coordinator"]
        return next((row.node for row in rows if row.answered), rows[0].node if rows else "")

    @property
    def late(self) -> tuple[str, ...]:
        """Replicas whose answer came after the client's, or never."""
        return tuple(row.node for row in self.rows if row.late)

    @property
    def stand_ins(self) -> tuple[tuple[str, str], ...]:
        """(node, the primary for which it took a copy)"""
        return tuple((row.node, row.stands_in_for) for row in self.rows if row.stands_in_for)

    def document(self) -> dict[str, Any]:
        """As JSON has it, but for the schema's name."""
        key, encoding = text_of(self.key)
        return {
            "operation": self.operation,
            "bucket": self.bucket,
            "key": key,
            "encoding": encoding,
            "ok": self.error is None,
            "error": "" if self.error is None else str(self.error),
            "elapsed_us": self.elapsed_us,
            "coordinator": self.coordinator,
            "quorum": {"needed": self.needed, "at_us": self.quorum_us, "of": list(self.quorum_of)},
            "late": list(self.late),
            "stand_ins": [list(pair) for pair in self.stand_ins],
            "comparable": self.comparable,
            "silent": self.silent,
            "lost": self.lost,
            "others": self.others,
            "rows": [
                {
                    "node": row.node,
                    "role": row.role,
                    "asked_by": row.asked_by,
                    "message": row.message,
                    "stands_in_for": row.stands_in_for,
                    "begin_us": row.begin_us,
                    "end_us": row.end_us,
                    "answered": row.answered,
                    "left": row.left,
                    "late": row.late,
                    "spans": [{"kind": span.kind, "begin_us": span.begin_us, "end_us": span.end_us} for span in row.spans],
                }
                for row in self.rows
            ],
            "points": [
                {
                    "at_us": point.at_us,
                    "node": point.node,
                    "what": point.what,
                    "peer": point.peer,
                    "message": point.message,
                    "request_id": point.request_id,
                    "note": point.note,
                    "size": point.size,
                }
                for point in self.points
            ],
        }
