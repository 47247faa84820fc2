"""§4.5 §4.9 Puts while members come or go: a write is done when the owners of *both* rings have it.

W of the owners that are read, as always (put.py), and all others who hold the key by the other set of owners. So whichever of
the two sets a reader asks, R of it meet the write. One that cannot be reached, or does not answer for the time that a hint is
worth, gets a hint here, on the coordinator's disk: the write is durable by its W copies and will be brought.

The same where a bucket is to have another number of replicas. Its new holders may be some of the old ones, and then W of the old
need not be any of these: so of such a put the answers of all of them are awaited, whatever W is.

A hint is counted on once it is stored: when its turn's commit fails, the put waits for it again.

An operation that was begun before the ring changed is caught up with: before this node says that it knows of the change, its
operations obey it.
"""

from __future__ import annotations

from collections.abc import Callable

from dynazmq.dynamo.coordinator.put_op import PutOp
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import Write
from dynazmq.dynamo.replica.hints import StateTooLarge
from dynazmq.dynamo.replica.replica import Replica
from dynazmq.dynamo.runtime import Runtime, StoreFailed


class Joint:
    """The other owners' copies of the puts that this node coordinates. `PutOp.others`: whose answers are awaited."""

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        failure: FailureDetector,
        replica: Replica,
        complete: Callable[[PutOp], None],
    ) -> None:
        """complete: called when the last of an operation's others has its copy."""
        self._runtime = runtime
        self._membership = membership
        self._failure = failure
        self._replica = replica
        self._complete = complete
        self._patience = runtime.config.timing.hint_after_ms / 1000
        self._ops: dict[int, PutOp] = {}

    def __len__(self) -> int:
        return len(self._ops)

    def ask(self, op: PutOp) -> None:
        """Write to everybody who holds the key and was not asked by `op.copies`, unless it was asked here already."""
        ring, message = self._membership.ring, op.message
        partition, level = ring.partition_of(op.at), self._membership.in_force.level(message.bucket)
        n = message.n if 0 < message.n < ring.read_n(level) else None  # the bucket's own: all of both sides
        primaries, others = ring.primaries(partition, level)[:n], ring.others(partition, level)[:n]
        if ring.read_n(level) != level:
            self._await_copies(op, others)
        holders = dict.fromkeys(primaries + others)
        missing = [name for name in holders if name not in op.copies.primaries and name not in op.joint]
        if not missing:
            return
        request_id = next(self._runtime.request_ids)
        self._ops[request_id] = op
        budget_ms = max(int((op.deadline - self._runtime.now) * 1000), 1)
        for name in missing:
            op.joint.add(name)
            if name != self._runtime.name and self._failure.reachable(name):
                op.others.add(name)
                self._runtime.send(name, Write(request_id, message.bucket, message.key, op.state, "", budget_ms))
            elif not self._keep(op, name):
                op.others.add(name)
        if op.others:
            when = min(self._runtime.now + self._patience, op.deadline)
            self._runtime.call_at(when, self._overdue, request_id)
        else:
            del self._ops[request_id]

    def _await_copies(self, op: PutOp, names: tuple[str, ...]) -> None:
        """Of the put itself these are to answer, and not only W of whom it went to.

        Of who did not get it as its own a stand-in may have a hint; but it need not be one of the W who have answered.
        """
        awaited = False
        for name in names:
            if name == self._runtime.name or name not in op.copies.primaries or name in op.others or name in op.joint:
                continue
            own = op.stands_for.get(name) == ""
            if own and name in op.quorum.outstanding:
                op.others.add(name)
                awaited = True
            elif not own or name not in op.quorum.answered:
                op.joint.add(name)
                if not self._keep(op, name):
                    op.others.add(name)
                    awaited = True
        if awaited:
            self._runtime.call_at(min(self._runtime.now + self._patience, op.deadline), self._copies_overdue, op)

    def _copies_overdue(self, op: PutOp) -> None:
        for name in sorted(op.others.intersection(op.copies.primaries)):
            if not op.done and self._keep(op, name):
                op.others.discard(name)
        self._complete(op)

    def forget(self, op: PutOp) -> None:
        """The turn that gave it its dot was not stored: there is no such write."""
        for request_id in [request_id for request_id, asked in self._ops.items() if asked is op]:
            del self._ops[request_id]

    def answered(self, sender: str, request_id: int) -> None:
        """Its copy is durable there."""
        op = self._ops.get(request_id)
        if op is not None:
            self._one_less(op, sender, request_id)

    def on_refused(self, sender: str, request_id: int) -> bool:
        """It could not store it. Whether the request was one of these."""
        op = self._ops.get(request_id)
        if op is None or sender not in op.others:
            return False
        if self._keep(op, sender):
            self._one_less(op, sender, request_id)
        return True

    def _overdue(self, request_id: int) -> None:
        op = self._ops.get(request_id)
        if op is None:
            return
        for name in sorted(op.others):
            if self._keep(op, name):
                self._one_less(op, name, request_id)
        self._ops.pop(request_id, None)

    def _keep(self, op: PutOp, name: str) -> bool:
        """Have this holder's copy here, in a hint or, if it is this node, as its own. False: that cannot be now."""
        stands_for = name if name != self._runtime.name else ""
        try:
            self._replica.merge(stands_for, op.at, op.message.bucket, op.message.key, op.state)
        except (StoreFailed, StateTooLarge):
            self._runtime.counters["hints_not_kept"] += 1
            return False
        self._runtime.aborts.append((self._not_kept, (op, name)))
        return True

    def _not_kept(self, kept: tuple[PutOp, str]) -> None:
        """The turn's commit failed: nobody has this holder's copy, and the put waits for it again, if there still is one."""
        op, name = kept
        if not op.void:
            op.others.add(name)
            self._runtime.call_at(self._runtime.now + self._patience, self._keep_again, kept)

    def _keep_again(self, kept: tuple[PutOp, str]) -> None:
        op, name = kept
        if name not in op.others:
            return
        if self._keep(op, name):
            op.others.discard(name)
            self._complete(op)
        elif self._runtime.now < op.deadline:
            self._runtime.call_at(self._runtime.now + self._patience, self._keep_again, kept)

    def _one_less(self, op: PutOp, name: str, request_id: int) -> None:
        op.others.discard(name)
        if not op.others:
            self._ops.pop(request_id, None)
            self._complete(op)
