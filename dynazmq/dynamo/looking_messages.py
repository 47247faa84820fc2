"""The messages of who looks closely at one key: `explain` and `trace`. The rules are those of messages.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class LookAsk:
    """What do you hold of this key? Changes nothing (promise 8), not even where a row is damaged."""

    request_id: int
    bucket: str
    key: bytes


@dataclass(slots=True)
class LookTell:
    """state: the node's own copy, b"" if it has none or it is damaged. It is durable.

    hints: [target, state, for how many milliseconds it has been kept], -1 for one of which that is not known (it is of an earlier
    life of the process); a damaged one has no state.
    """

    request_id: int
    state: bytes
    damaged: bool
    hints: list[Any]


@dataclass(slots=True)
class TraceAsk:
    """Note what you hear and say about this key for note_ms, at most 10,000; answered at once, by a TraceTell without points.

    With note_ms 0: tell what was noted for this asker under this number. wait_ms: before that, wait so long at most for answers
    that others owe you. When it is 0 as well, the trace is over and its notes are dropped.
    """

    request_id: int
    trace: int
    bucket: str
    key: bytes
    note_ms: int
    wait_ms: int


@dataclass(slots=True)
class TraceTell:
    """clock: equal on nodes whose times can be compared. lost: points that were not noted, past the first 512.

    points: [microseconds of the clock, heard|done|committed|sent|unsent, peer ("" for the asker, "client" for any other), name of
    the message, request id, operation, note, idle], operation being this node's own number for what a client asked of it, and
    idle, of what was heard, since when the node had been waiting.
    """

    request_id: int
    clock: str
    lost: int
    points: list[Any]
