"""§4.9 Salvage: what is left of partitions whose holders are all gone for good (losses.py).

There is no old owner to fill a new one from. But others may hold some of it: hints for those who are gone, rows that were not
handed over yet after an earlier change. So a new owner asks *everybody who stays*, itself included, for all that is there:

    new owner ── FillAsk, salvage: rows of this partition, and hints of its keys for whomever ──▶ each member
              ◀─ FillTell: a page of them, in the order of their places

It begins when everybody writes to both sets of owners: what is written later comes by itself (dual_ownership.py). A member that
is merely down is waited for, as in each step of a change; one that has left the ring and still hands over is asked if it is
there. Nothing is given up at the source: after the change it goes to the new owners once more, by handover.

Where a node goes on after a crash it begins anew: a merge may be done twice.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

from dynazmq.dynamo.membership.change import concerned
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import FillAsk, FillTell
from dynazmq.dynamo.repair.exchange import START
from dynazmq.dynamo.replica.hints import Hints
from dynazmq.dynamo.replica.replica import BadMessage
from dynazmq.dynamo.runtime import Address, OwnRow, Row, Runtime

PAGE_ROWS = 64
_PATIENCE_S = 5.0
_RETRY_S = 0.2
_RESTS = 2  # as in transfer.py

TakeRow = Callable[[list[object], int], None]
"""Checks a row that another node has sent, or oneself, as one of this partition, and merges it into the own copy."""


class Salvage:
    """What this node looks for, of one change; and what it shows of its own to who looks."""

    def __init__(
        self, runtime: Runtime, membership: Membership, failure: FailureDetector, hints: Hints, take: TakeRow
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self._failure = failure
        self._hints = hints
        self._take = take
        self.keys = 0  # versions found so far
        self.begin([])

    def begin(self, partitions: list[int]) -> None:
        """For a ring that this node has just turned to, or anew: these are to be salvaged."""
        self._partitions = partitions
        self._todo: list[tuple[str, int]] | None = None  # (member, partition) still to be looked through, next one last
        self._after: Row = START
        self._question = 0  # request id of the page under way, from the member that is last
        self._asked_at = 0.0
        self.rests_until = 0.0

    @property
    def left(self) -> int:
        """Partitions that are not looked for everywhere yet."""
        return len(self._partitions if self._todo is None else {partition for _, partition in self._todo})

    @property
    def waits_for(self) -> str:
        """The member that is asked now."""
        return self._todo[-1][0] if self._todo else ""

    def go_on(self) -> bool:
        """Do what is to be done now; whether all is done. Only when everybody concerned knows the ring."""
        if not self._partitions:
            return True
        now, membership = self._runtime.now, self._membership
        if self._todo is None:
            must = concerned(membership.ring, membership.intents)
            also = [name for name in membership.members if name not in must and self._failure.reachable(name)]
            names = sorted({*must, *also, self._runtime.name}, reverse=True)
            self._todo = [(name, partition) for name in names for partition in reversed(self._partitions)]
        if self._question and (now - self._asked_at > _PATIENCE_S or not self._failure.reachable(self._todo[-1][0])):
            self._question = 0
        while self._todo and not self._question and now >= self.rests_until:
            name, partition = self._todo[-1]
            if name == self._runtime.name:
                kept, behind = self.page(partition, self._after, rows=False)
                self._took([list(row[1:]) for row in kept if row[3] is not None], behind)
            elif self._failure.reachable(name):
                self._asked_at, self._question = now, next(self._runtime.request_ids)
                ask = FillAsk(self._question, membership.ring.digest(), partition, *self._after, True)
                self._runtime.send(name, ask)
            elif name in concerned(membership.ring, membership.intents):
                break  # it is waited for
            else:
                self._todo = [each for each in self._todo if each[0] != name]
                self._after = START
        return not self._todo

    def on_fill_tell(self, sender: Address, message: FillTell) -> bool:
        """Whether it answers the question under way, and more may be done."""
        if not self._question or message.request_id != self._question or not self._todo or sender != self._todo[-1][0]:
            return False
        self._question = 0
        behind = (message.next_place, message.next_bucket, message.next_key)
        if message.more and behind <= self._after:
            raise BadMessage("a page that does not go forward")
        self._took(message.rows, behind if message.more else None)
        self.rests_until = self._runtime.now + min(_RESTS * (self._runtime.now - self._asked_at), _RETRY_S)
        return True

    def on_refused(self, peer: str, request_id: int) -> bool:
        """The member cannot answer now, or does not know of the change yet. Whether the request was one of these."""
        if not self._question or request_id != self._question or not self._todo or peer != self._todo[-1][0]:
            return False
        self._question = 0
        self.rests_until = self._runtime.now + _RETRY_S
        return True

    def _took(self, rows: list[list[object]], behind: Row | None) -> None:
        """A page has come; the next one is behind it, if there is one."""
        assert self._todo is not None
        for row in rows:
            self._take(row, self._todo[-1][1])
            self.keys += 1
            self._runtime.counters["keys_salvaged"] += 1
        self._after = behind or START
        if behind is None:
            self._todo.pop()

    # --- at the one who is asked ------------------------------------------------------------------------------------------

    def page(self, partition: int, after: Row, *, rows: bool = True) -> tuple[list[OwnRow], Row | None]:
        """Own rows and hints, those of one key one after the other, and where to go on. rows False: hints alone.

        Raises StoreFailed.
        """
        store, (first, last) = self._runtime.store, self._membership.ring.places_of(partition)
        found: list[OwnRow] = []
        end: Row | None = None  # up to here all are found
        if rows:
            found, end = store.rows(first, last, after, PAGE_ROWS)
        for target in self._hints.pending:
            kept, behind = store.hints(target, max(after, (first, "", b"")), PAGE_ROWS)
            if behind is not None and behind[0] <= last:
                end = behind if end is None else min(end, behind)
            found += [row for row in kept if row[0] <= last]
        return sorted([row for row in found if end is None or row[:3] <= end], key=itemgetter(0, 1, 2)), end
