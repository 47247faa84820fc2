"""A decision of an admin is acknowledged when two nodes have it on disk: what becomes of members (§4.8.1), and buckets' policies.

    admin ── ChangeMembers, SetBucket, AcknowledgeLosses ──▶ this node: it is stored
    ─────────────────────────────────────── commit ───────────────────────────────────────
                 this node ── Decided ──▶ every other member: learned as if by gossip
    ─────────────────────────────────────── commit (of theirs) ───────────────────────────
                 this node ◀── DecidedReply
    admin ◀── ChangeMembersReply …: at the first of these

So the loss of one disk undoes nothing that an admin was told is decided. Who has nobody beside him answers at once. When nobody
has answered in time the outcome is unknown, and is said to be: the decision is on this disk, gossip carries it on as soon as
somebody can be reached, and it is lost if the disk is lost before. To ask once more is safe: the same decision is not made twice.
"""

from __future__ import annotations

from dynazmq.dynamo.membership.change import BY_FORCE
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import (
    TIMEOUT,
    AcknowledgeLossesReply,
    ChangeMembersReply,
    Decided,
    DecidedReply,
    Failure,
    SetBucketReply,
)
from dynazmq.dynamo.runtime import Address, Runtime

Reply = ChangeMembersReply | SetBucketReply | AcknowledgeLossesReply

_PATIENCE_S = 1.0
_AGAIN_S = 0.2


class _Pending:
    """A decision that is on this node's disk, and whose admin waits."""

    def __init__(self, admin: Address, reply: Reply, told: Decided, deadline: float) -> None:
        self.admin = admin
        self.reply = reply
        self.told = told
        self.deadline = deadline


class Decisions:
    """Those that were made here and wait for a second copy."""

    def __init__(self, runtime: Runtime, membership: Membership) -> None:
        self._runtime = runtime
        self._membership = membership
        self._pending: dict[int, _Pending] = {}  # by the request id of what the others were told

    def __len__(self) -> int:
        return len(self._pending)

    def acknowledge(
        self, admin: Address, reply: Reply, *, names: list[str] | None = None, buckets: list[str] | None = None
    ) -> None:
        """Answer the admin when a second member has stored what is known here of these members and buckets, and of losses."""
        self._membership.store_again()  # it may have been decided before, in a turn that could not be stored
        if not self._others():
            self._runtime.send(admin, reply)
            return
        request_id = next(self._runtime.request_ids)
        membership = self._membership
        intents = [list(membership.intents[name]) for name in names or ()]
        policies = [[bucket, *membership.policies[bucket]] for bucket in buckets or ()]
        told = Decided(request_id, intents, policies, membership.losses.to_wire())
        self._pending[request_id] = _Pending(admin, reply, told, self._runtime.now + _PATIENCE_S)
        self._runtime.aborts.append((self._forget, request_id))
        self._tell(request_id)

    def _others(self) -> list[str]:
        """Members whose copy counts: not a node that waits to be let in, nor one that is removed by force. Sorted."""
        membership, me = self._membership, self._runtime.name
        intents = membership.intents
        return [
            name for name in membership.ring.members
            if name != me and (name not in intents or intents[name].kind not in BY_FORCE)
        ]  # fmt: skip

    def _tell(self, request_id: int) -> None:
        """And once more, until somebody has answered: a message may be lost, and somebody come back."""
        pending = self._pending.get(request_id)
        if pending is None:
            return
        now = self._runtime.now
        if now >= pending.deadline:
            del self._pending[request_id]
            text = (
                f"{self._runtime.name} has it on its disk, and no other member has confirmed it within {_PATIENCE_S:g} s: others "
                "hear of it when they can be reached, unless that disk is lost before"
            )
            self._runtime.send(pending.admin, Failure(pending.reply.request_id, TIMEOUT, 2, 1, 0, text))
            return
        for name in self._others():
            self._runtime.send(name, pending.told)
        self._runtime.call_at(min(now + _AGAIN_S, pending.deadline), self._tell, request_id)

    def _forget(self, request_id: int) -> None:
        """The turn's commit failed: the decision is not stored here, and whoever made it says so."""
        self._pending.pop(request_id, None)

    def on_decided(self, sender: Address, message: Decided) -> None:
        """Another node's admin has decided this. Raises ValueError."""
        membership = self._membership
        if membership.is_gone(sender):
            return
        if membership.learn_decision(message.intents, message.buckets, message.losses):
            self._runtime.send(sender, DecidedReply(message.request_id))

    def on_decided_reply(self, sender: Address, message: DecidedReply) -> None:
        if sender in self._others() and (pending := self._pending.pop(message.request_id, None)) is not None:
            self._runtime.send(pending.admin, pending.reply)
