"""§4.5 Have those who hold a try of a put know that its write may have another dot (promise 4; versions.py, "A retried write").

Its coordinator does so when it expects that the client asks elsewhere, or tells it that the outcome is unknown (put.py): in its
own copy, in hints that it keeps for others, and at all who have the try or may have it, since they were asked to store it and an
acknowledgement can be lost. The turn in which that is decided need not be stored, and then nothing of it leaves this node. It is
done again in later turns, until one is stored; marks.py says what holds in between.
"""

from __future__ import annotations

from collections.abc import Iterable

from dynazmq.config import BUDGET_MS_MAX
from dynazmq.dynamo.coordinator.put_op import PutOp
from dynazmq.dynamo.messages import Write
from dynazmq.dynamo.replica.hints import Hints, StateTooLarge
from dynazmq.dynamo.replica.marks import Mark
from dynazmq.dynamo.replica.replica import Replica
from dynazmq.dynamo.runtime import Runtime, StoreFailed
from dynazmq.dynamo.values.versions import decode, encode

_AGAIN_S = 0.5
_KEYS_AT_ONCE = 64


class Marking:
    """One coordinator's."""

    def __init__(self, runtime: Runtime, replica: Replica, hints: Hints) -> None:
        self._runtime = runtime
        self._replica = replica
        self._hints = hints
        self._marks = replica.marks
        self._due = False  # whether what waits is looked at again

    def mark(self, op: PutOp, write_ids: Iterable[bytes]) -> None:
        """These writes, the put's own or some that it has overwritten, may have other dots."""
        me, message = self._runtime.name, op.message
        op.state = encode(decode(op.state).with_retried(*write_ids))
        op.context = op.context.with_retried(write_ids)
        asked = (*op.quorum.answered, *op.quorum.outstanding)
        holders = {node: op.stands_for[node] for node in asked} | dict.fromkeys(sorted(op.joint), "")
        told = tuple((node, stands_for) for node, stands_for in holders.items() if node != me)
        mark = Mark((op.at, message.bucket, message.key), op.stands_for[me], op.state, told)
        if self._store(mark):
            self._runtime.aborts.append((self._not_stored, (op, mark)))
        else:
            self._runtime.call_at(self._runtime.now, self._not_stored, (op, mark))

    def _store(self, mark: Mark) -> bool:
        """False: the store cannot now."""
        (at, bucket, key), state = mark.row, mark.state
        try:
            own = [""] if self._replica.holds(at, bucket) else []  # a stand-in may be an owner too while members change
            for stands_for in dict.fromkeys((mark.stands_for, *own, *self._hints.targets_of(*mark.row))):
                self._merge(stands_for, mark)
        except StoreFailed:
            return False
        for node, stands_for in mark.told:
            self._runtime.send(node, Write(0, bucket, key, state, stands_for, BUDGET_MS_MAX))
        return True

    def _merge(self, stands_for: str, mark: Mark) -> None:
        try:
            self._replica.merge(stands_for, *mark.row, mark.state)
        except StateTooLarge:
            self._runtime.counters["marks_given_up"] += 1  # a client has to resolve some of the siblings

    def _not_stored(self, marked: tuple[PutOp, Mark]) -> None:
        """It waits, unless the dot was given in the turn that was not stored: then there is no such try."""
        op, mark = marked
        if not op.void:
            self._keep(mark)

    def _keep(self, mark: Mark) -> None:
        self._marks.keep(mark)
        if not self._due:
            self._due = True
            self._runtime.call_at(self._runtime.now + _AGAIN_S, self._again, None)

    def _again(self, _: None) -> None:
        self._due = False
        for mark in self._marks.take(_KEYS_AT_ONCE):
            if self._store(mark):
                self._runtime.aborts.append((self._keep, mark))
            else:
                self._keep(mark)
        if self._marks and not self._due:
            self._due = True
            self._runtime.call_at(self._runtime.now + _AGAIN_S, self._again, None)
