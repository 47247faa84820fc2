"""§4.5 A retried put never creates a sibling of itself (promise 6).

A client that got no answer sends its put again, to another coordinator, with the same write id. If the first try is still a live
sibling somewhere, the two merge (`versions.sync` keeps one per write id). The hard corner is a first try that was stored, read
and overwritten before the retry comes: a second dot would bring the overwritten value back. So a retry first asks the replicas:

    coordinator ──Recall──▶ the other reachable nodes of the first N, and some behind them if one may have stood in for a primary
                ◀─RecallReply── the write's dot, or "never here", or "my memory does not reach back that far"

One that has it, or what overwrote it, settles it: the put is done already, and only its copies are completed to W. Otherwise all
are heard, and at least N − W + 1 of them (so many that no W of N acknowledged it; if the bucket's W was smaller then, by that
one), or all that can be reached, must be certain that it was never there: then it is written anew. Whoever does not answer is
waited for only a little. When neither comes before the deadline the outcome stays unknown, and that is what the client is told.

Who stands in for whom is seen from each node: the first try may be with a node that this one would not have asked to store it,
be it that another was reachable there, or that it coordinated itself since no primary was. So where anybody has been away, those
are asked as well. What they say settles it if they know the write; that they do not is no ground to write it anew.

A first try that arrives at a replica after it was asked, out of a slow network, is a retry from there on: it asks in its turn.
Who was not asked may hold the first try all the same, under a dot that nobody here has seen. So what a retry writes says in the
key's state that it was retried (versions.py): when the two meet they are one write, be it live or overwritten by then.

Whoever overwrites the first try knows of the retry by that, or suspects it. When that is so, and what stays weak, is said in
suspected_retries.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynazmq.config import RETRIED_MAX
from dynazmq.dynamo.coordinator.put import Puts
from dynazmq.dynamo.coordinator.put_op import PutOp
from dynazmq.dynamo.coordinator.suspected_retries import NOTICED_S
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import INVALID, OVERLOADED, STORAGE, TIMEOUT, Recall, RecallReply
from dynazmq.dynamo.replica.hints import StateTooLarge
from dynazmq.dynamo.replica.replica import UNDER_WAY_S, Replica
from dynazmq.dynamo.runtime import Address, Runtime, StoreFailed
from dynazmq.dynamo.values.versions import Dot, Siblings, decode, sync

_PATIENCE_S = 0.1  # with a replica that does not answer, though enough others are certain
_ASKED_PATIENCE_S = 0.025  # with all of them, for who has only asked: sending the value takes hardly longer

_STAND_INS_MAX = 8
"""So many are asked who may have stood in for a primary, in the order in which they do: in large clusters somebody is away."""


class RecallOp:
    """What is known so far of a retried put's first try."""

    __slots__ = ("dot", "never", "op", "outstanding", "patient", "refused", "request_id", "state")

    def __init__(self, op: PutOp, request_id: int, state: Siblings) -> None:
        self.op = op
        self.request_id = request_id
        self.state = state  # merge of all answers
        self.dot: Dot | None = None  # of the first try, as somebody knows it
        self.refused = False  # whether somebody would not answer
        self.outstanding: set[str] = set()
        self.never = 0  # who is certain that it was never there
        self.patient = True

    @property
    def accounted(self) -> bool:
        """Whether the write is there, or what overwrote it. Who remembers that it was overwritten need not have that any more:
        it was in a hint that was delivered since.
        """
        return self.state.knows(self.op.message.write_id) or (self.dot is not None and self.state.context.covers(*self.dot))


class Recalls:
    """Settles at this node, as a coordinator, what became of the first tries of retried puts."""

    def __init__(self, runtime: Runtime, membership: Membership, failure: FailureDetector, replica: Replica, puts: Puts) -> None:
        self._runtime = runtime
        self._membership = membership
        self._failure = failure
        self._replica = replica
        self._puts = puts
        self._ops: dict[int, RecallOp] = {}

    def __len__(self) -> int:
        return len(self._ops)

    def under_way(self) -> Iterator[tuple[str, bytes]]:
        """(bucket, key) of each."""
        return ((recall.op.message.bucket, recall.op.message.key) for recall in self._ops.values())

    def tried_elsewhere_ms(self, write_id: bytes) -> int:
        """How old a put is that says it is the first try, though another coordinator has asked about it here; else 0."""
        return self._replica.tried_elsewhere_ms(write_id)

    def begin(self, op: PutOp) -> None:
        """Ask this node's own memory, then the others'."""
        self._runtime.counters["recalls"] += 1
        message, name = op.message, self._runtime.name
        if len(self._ops) >= self._runtime.config.max_in_flight:
            self._runtime.counters["overloads"] += 1
            self._puts.refuse(op, OVERLOADED, f"{len(self._ops):,} retried puts under way")
            return
        try:
            sure, dot, state = self._replica.recall(op.at, message.bucket, message.key, message.write_id, message.age_ms)
        except StoreFailed as error:
            self._puts.refuse(op, STORAGE, str(error))
            return
        except StateTooLarge as error:
            self._puts.refuse(op, INVALID, str(error))
            return
        recall = RecallOp(op, next(self._runtime.request_ids), decode(state))
        if len(recall.state.context.retried.difference([message.write_id])) >= RETRIED_MAX:
            text = f"{RETRIED_MAX} writes of this key were retried while some node was away, the limit"
            self._puts.fail(op.client, message, TIMEOUT, op.quorum.needed, 0, text)
            return
        recall.dot = dot
        if recall.accounted:
            self._known(recall)
            return
        self._ops[recall.request_id] = recall
        if (op.at, message.bucket, message.key) in self._runtime.unproven:
            self._runtime.aborts.append((self._unread, recall))
        recall.never += sure and dot is None
        others = [node for node, _ in op.copies.targets if node != name] + self._stand_ins(op)
        recall.outstanding = set(others)
        budget_ms = int((op.deadline - self._runtime.now) * 1000)
        request = Recall(recall.request_id, message.bucket, message.key, message.write_id, message.age_ms, budget_ms)
        for node in others:
            self._runtime.send(node, request)
        patience_s = _ASKED_PATIENCE_S if op.asks else _PATIENCE_S
        self._runtime.call_at(min(self._runtime.now + patience_s, op.deadline), self._impatient, recall)
        self._runtime.call_at(op.deadline, self._overdue, recall)
        self._settle(recall)

    def _stand_ins(self, op: PutOp) -> list[str]:
        """Who else may hold its first try, for a primary that its coordinator could not reach. That one may be back by now."""
        first_try = self._runtime.now - op.message.age_ms / 1000
        if not self._failure.misses_somebody() and self._failure.changed_at + NOTICED_S < first_try:
            return []
        return list(op.copies.spares[:_STAND_INS_MAX])

    def on_reply(self, sender: Address, message: RecallReply) -> None:
        recall = self._ops.get(message.request_id)
        if recall is None or not isinstance(sender, str) or sender not in recall.outstanding:
            return
        recall.state = sync(recall.state, decode(message.state))  # first: one that is malformed is no answer
        recall.outstanding.discard(sender)
        if message.actor:
            recall.dot = message.actor, message.counter
        else:
            recall.never += message.sure and any(node == sender for node, _ in recall.op.copies.targets)
        if recall.accounted:
            self._known(recall)
        else:
            self._settle(recall)

    def on_refused(self, sender: str, request_id: int) -> bool:
        recall = self._ops.get(request_id)
        if recall is None or sender not in recall.outstanding:
            return False
        recall.outstanding.discard(sender)
        recall.refused = True
        self._settle(recall)
        return True

    def _unread(self, recall: RecallOp) -> None:
        """What was read here was not stored."""
        if self._ops.pop(recall.request_id, None) is not None:
            self._puts.refuse(recall.op, STORAGE, self._runtime.not_stored("what was read"))

    def _impatient(self, recall: RecallOp) -> None:
        if recall.request_id in self._ops:
            recall.patient = False
            self._settle(recall)

    def _settle(self, recall: RecallOp) -> None:
        if recall.patient and recall.outstanding:
            return
        op = recall.op
        if recall.dot is not None and not op.asks:
            # Done, and overwritten by what nobody who has answered has. It is awaited: W copies of anything else are no ground to
            # acknowledge it. Where all have answered, what overwrote it was forgotten since.
            if not recall.outstanding and not recall.refused:
                self._known(recall)
            return
        if op.asks:
            del self._ops[recall.request_id]
            self._puts.ask_for_value(op)
            return
        needed = len(op.copies.primaries) - self._acknowledged_by(op) + 1
        if recall.never >= min(needed, len(op.copies.targets)):
            del self._ops[recall.request_id]
            self._puts.write(op)

    def _acknowledged_by(self, op: PutOp) -> int:
        """How many replicas have stored its first try at least, if that was acknowledged.

        A W that the put names is that of all its tries. The bucket's may have been smaller then, or is so elsewhere still.
        """
        message = op.message
        if message.w > 0:
            return op.quorum.needed
        first_try = op.started - message.age_ms / 1000 - UNDER_WAY_S
        n, w = self._membership.in_force.least(message.bucket, first_try)
        n = message.n or n
        return max(n if message.w else min(w, n), message.pw)

    def _overdue(self, recall: RecallOp) -> None:
        """Too few are certain: at the deadline the outcome stays unknown."""
        if recall.request_id not in self._ops:
            return
        op = recall.op
        del self._ops[recall.request_id]
        text = "what became of the first try could not be found out in time"
        self._puts.fail(op.client, op.message, TIMEOUT, op.quorum.needed, 0, text)

    def _known(self, recall: RecallOp) -> None:
        """It is done already. Complete its copies and answer with its own dot, if that is known still."""
        self._ops.pop(recall.request_id, None)
        op = recall.op
        try:
            self._puts.complete(op, recall.state, recall.dot)
        except (StoreFailed, StateTooLarge) as error:
            self._puts.fail(op.client, op.message, TIMEOUT, op.quorum.needed, 0, f"the first try is known, but: {error}")
