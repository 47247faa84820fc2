"""What a coordinator knows of one put under way. put.py is its life."""

from __future__ import annotations

from dynazmq.dynamo.messages import Put
from dynazmq.dynamo.replica.preference_list import Copies
from dynazmq.dynamo.runtime import Address
from dynazmq.dynamo.values.quorum import Quorum
from dynazmq.dynamo.values.ring import Ring
from dynazmq.dynamo.values.versions import Context


class PutOp:
    """One put under way at its coordinator."""

    __slots__ = (
        "asks", "at", "client", "context", "copies", "deadline", "done", "gone", "held", "joint", "maybe", "message", "others",
        "quorum", "request_id", "ring", "spares", "stands_for", "started", "state", "stood_in", "void", "why_not",
    )  # fmt: skip

    def __init__(
        self, client: Address, message: Put, at: int, seen: Context, copies: Copies, ring: Ring, quorum: Quorum, now: float
    ) -> None:
        self.client = client
        self.message = message
        self.at = at
        self.context = seen  # what the caller has seen; with the new dot, once there is one
        self.copies = copies
        self.ring = ring  # of the copies
        self.quorum = quorum
        self.request_id = 0
        self.started = now
        self.deadline = now + message.budget_ms / 1000
        self.state = b""
        self.held = 0  # bytes of it
        self.gone: list[tuple[bytes, int]] = []  # write id and time of each that it has overwritten
        self.stands_for: dict[str, str] = {}  # who was asked → the primary it stands in for, or ""
        self.stood_in: set[str] = set()  # primaries for which a hint was placed after they failed to answer
        self.spares: list[str] = []  # next one last
        self.joint: set[str] = set()  # who has a copy beside these because members change (dual_ownership.py), and
        self.others: set[str] = set()  # whose answer is awaited
        self.maybe = False  # whether an earlier try that this node passed on may have been done
        self.asks = False  # whether its client has kept the value back (PutAsk)
        self.done = False
        self.void = False  # whether its dot was never given, since the turn's commit failed: there is no such write
        self.why_not = ""  # what a replica said that has refused it

    @property
    def retried(self) -> bool:
        """Whether this is not the first try of its write: another may have been done, by whomever."""
        return self.maybe or self.message.age_ms > 0
