"""§4.4 Forgetting safely: tombstones and clock entries that nobody needs any more.

A delete writes a tombstone, which must stay as long as an older version of its key may still turn up anywhere: without it that
version would be taken for news, and the deleted value be back (promise 4). The paper does not say when it may go. Many stores let
it go by its age and ask the operator to have repaired everything until then. Here it goes when it is known that nothing older is
left. The same is true of a clock entry whose actor is gone for good, a lost disk's epoch or a removed node: it must stay as long
as a version with one of its dots may turn up; and of the memory of a retried write (versions.py), as long as another try of it
may. So all are one act, *retirement*: all copies of a state are replaced by less at once, a tombstone by nothing, a long context
by one of the actors that still are, and what was retried by what nobody need know any more.

The first primary of a key proposes; every member of the cluster is asked, twice:

    proposer ──RetireAsk: key, hash of the state──▶ every member
             ◀─RetireTell: clear or not, and under which names this node issues dots
               … a grace later, with the same state, once more …
             ──Retire: key, hash, what remains──▶ every member, who replaces exactly that state and no other

A member says *clear* when it holds nothing of the key but that very state, as a primary must; no hint for it, nor had one during
the last grace; no put, get or recall of it under way; and if it has lived for a grace, so that no message of its last life is
under way. It says so of what is safe from loss of power, too (`Store.harden`).

**Why nothing older is left.** It could be in a row, a hint or an operation of some member: each was asked. Or in a message that
was sent before its sender was asked: those are dropped when they are older than two thirds of the grace (gate.py), so at the
second asking they have been done, or never will be. What they did then is seen: a row or a hint, or a hint that was there in
between. Nor is it on a disk that is put back later, a backup or a snapshot from before the first asking: each who is clear counts
that, and when all have been asked for the second time everybody remembers everybody's count (stale_disks.py).

A member that is away is not asked, and so nothing at all is retired while any is: *it is never forgotten by age alone*.
That is the price: whoever will not come back should be removed from the cluster. Nor is anything while members come or go.

**And why nothing newer is lost.** A state that has changed has another hash. A write that arrives beside the retirement merges
with whatever it meets. A retirement that reaches some copies only is undone by the next exchange (anti_entropy.py), which brings
the tombstone, and no value, back to the others; and is done again.

A key that is forgotten may be written again. Its dots must not begin at 1, since contexts that clients hold may cover the old
ones: what a coordinator buries raises a floor under all its counters (identity.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any

from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.membership.stale_disks import Vouches
from dynazmq.dynamo.messages import Refused, Retire, RetireAsk, RetireTell
from dynazmq.dynamo.replica.collectable import CLOCK_ENTRIES_KEPT, Retirable, without_actors, without_retried
from dynazmq.dynamo.replica.hints import Hints
from dynazmq.dynamo.replica.replica import BadMessage, Replica
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import Address, Row, Runtime, StoreFailed
from dynazmq.dynamo.values.lww import CLOCK
from dynazmq.dynamo.values.merkle import row_hash
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import Siblings, decode, encode

_ROWS_PER_ROUND = 256
_ROUND_BYTES = 512 << 10
_EVERY_S = 0.1
_QUIET_S = 1.0  # after a write; a key that is written again and again is not asked about
_RETRY_S = 5.0
_PATIENCE_S = 2.0
_CANDIDATES_MAX = 100_000
_NOT_STORED = -1  # instead of a count

UnderWay = Callable[[], Iterator[tuple[str, bytes]]]
"""(bucket, key) of each operation that a technique has under way."""


class Candidate:
    """A row that may be retired."""

    __slots__ = ("cleared_at", "hash")

    def __init__(self) -> None:
        self.hash = 0
        self.cleared_at: float | None = None  # when all had said that this state is clear, for the first time


class Round:
    """One asking of all members."""

    __slots__ = ("actors", "asked_at", "clear", "request_id", "rows", "waiting")

    def __init__(self, request_id: int, rows: list[tuple[Row, bytes]], waiting: set[str], now: float) -> None:
        self.request_id = request_id
        self.rows = rows  # with their states
        self.waiting = waiting
        self.asked_at = now
        self.clear = [True] * len(rows)
        self.actors: set[str] = set()


class Retirement:
    """Proposes retirements of the keys of which this node is the first primary, and answers those of others."""

    def __init__(
        self,
        runtime: Runtime,
        identity: Identity,
        membership: Membership,
        failure: FailureDetector,
        hints: Hints,
        replica: Replica,
        retirable: Retirable,
        trees: Trees,
        vouches: Vouches,
        under_way: tuple[UnderWay, ...],
    ) -> None:
        self._runtime = runtime
        self._identity = identity
        self._membership = membership
        self._failure = failure
        self._hints = hints
        self._replica = replica
        self._retirable = retirable
        self._trees = trees
        self._vouches = vouches
        self._ring = membership.ring
        self._under_way = under_way
        self._grace = runtime.config.timing.retirement_grace_ms / 1000
        self._next = runtime.now + _QUIET_S if self._grace else float("inf")
        self._candidates: dict[Row, Candidate] = {}
        self._due: list[tuple[float, Row]] = []  # a heap, one entry for each candidate
        self._round: Round | None = None

    def __len__(self) -> int:
        return len(self._candidates)

    # --- proposing --------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now = self._runtime.now
        if now < self._next:
            return
        self._next = now + _QUIET_S
        if self._membership.ring is not self._ring and self._membership.ring.at_rest:
            self._look_at_what_is_mine_now()
        self._absorb()
        current = self._round
        if current is not None:
            if now - current.asked_at > _PATIENCE_S:
                self._abandon(current)
            return
        if self._due and self._due[0][0] <= now and self._membership.ring.at_rest and self._everybody_reachable():
            self._ask()
        if self._due:
            self._next = max(now + _EVERY_S, min(self._next, self._due[0][0]))

    def next_deadline(self) -> float:
        return self._next

    def _look_at_what_is_mine_now(self) -> None:
        """Notes were taken of rows when they came, and were others' to propose then."""
        self._ring = ring = self._membership.ring
        me = self._runtime.name
        self._trees.survey(partition for partition in range(ring.partitions) if ring.walk(partition)[0] == me)

    def _absorb(self) -> None:
        """New notes: those that are this node's to propose."""
        ring, me = self._membership.ring, self._runtime.name
        for row in self._retirable.take():
            if row in self._candidates or len(self._candidates) >= _CANDIDATES_MAX:
                continue
            if ring.walk(ring.partition_of(row[0]))[0] == me:
                self._candidates[row] = Candidate()
                heappush(self._due, (self._runtime.now + _QUIET_S, row))

    def _everybody_reachable(self) -> bool:
        return all(self._failure.reachable(name) for name in self._membership.members)

    def _ask(self) -> None:
        """The next round."""
        rows = self._next_rows()
        if not rows:
            return
        others = [name for name in self._membership.members if name != self._runtime.name]
        self._round = current = Round(next(self._runtime.request_ids), rows, set(others), self._runtime.now)
        asked = [[bucket, key, self._candidates[at, bucket, key].hash] for (at, bucket, key), _ in rows]
        vouched = self._vouches.rows()
        try:
            unclear = self._unclear(asked)
            if len(unclear) < len(asked):
                self._runtime.store.harden()
                # This node's own count as it was before this turn, which makes that safe: what is counted now may be lost.
                vouched.append([self._runtime.name, self._vouches.stored])
        except StoreFailed:
            self._abandon(current)
            return
        self._runtime.aborts.append((self._not_stored, current))
        for name in others:
            self._runtime.send(name, RetireAsk(current.request_id, asked, vouched))
        self._heard(current, unclear, self._names())

    def _next_rows(self) -> list[tuple[Row, bytes]]:
        """Rows that are due and still hold something to retire, with their states."""
        rows: list[tuple[Row, bytes]] = []
        size = 0
        while self._due and self._due[0][0] <= self._runtime.now and len(rows) < _ROWS_PER_ROUND and size < _ROUND_BYTES:
            row = self._due[0][1]
            try:
                state = self._replica.read_own(*row)
            except StoreFailed:
                break  # it stays the next
            heappop(self._due)
            if not _worth_it(decode(state)):
                del self._candidates[row]
                continue
            candidate, hashed = self._candidates[row], row_hash(row[0], state)
            if candidate.hash != hashed:
                candidate.hash, candidate.cleared_at = hashed, None
            rows.append((row, state))
            size += len(state)
        return rows

    def on_retire_tell(self, sender: Address, message: RetireTell) -> None:
        current = self._round
        if current is None or current.request_id != message.request_id or sender not in current.waiting:
            return
        if not all(0 <= index < len(current.rows) for index in message.unclear):
            raise BadMessage("an index of a row that was not asked for")
        current.waiting.discard(str(sender))
        if self._vouches.learn([[sender, message.vouched]]):
            self._runtime.aborts.append((self._not_stored, current))
        self._heard(current, message.unclear, message.actors)

    def on_refused(self, sender: str, request_id: int) -> bool:
        """A member cannot read or sync its storage now. Whether the request was a round's."""
        current = self._round
        if current is None or current.request_id != request_id or sender not in current.waiting:
            return False
        self._abandon(current)
        return True

    def _heard(self, current: Round, unclear: list[int], actors: list[str]) -> None:
        for index in unclear:
            current.clear[index] = False
        current.actors.update(actors)
        if not current.waiting:
            self._conclude(current)

    def _conclude(self, current: Round) -> None:
        """Everybody has answered: the first time, or a grace after it."""
        self._round = None
        now = self._runtime.now
        done: list[tuple[Row, int, bytes]] = []
        for (row, state), clear in zip(current.rows, current.clear, strict=True):
            candidate = self._candidates[row]
            if not clear:
                candidate.cleared_at = None
            elif candidate.cleared_at is None:
                candidate.cleared_at = now
                heappush(self._due, (now + self._grace, row))
                continue
            elif current.asked_at - candidate.cleared_at >= self._grace:
                del self._candidates[row]
                if (remains := _remains(state, current.actors)) is not None:
                    done.append((row, candidate.hash, remains))
                continue
            heappush(self._due, (now + _RETRY_S, row))
        self._retire(done)
        self._next = now + _EVERY_S

    def _abandon(self, current: Round) -> None:
        """Somebody did not answer. What was clear to all before stays so; it is asked about again."""
        self._round = None
        for row, _ in current.rows:
            heappush(self._due, (self._runtime.now + _RETRY_S, row))

    def _not_stored(self, current: Round) -> None:
        """The turn's commit failed, and with it a count that everybody is to have in mind when the second round is over."""
        for row, _ in current.rows:
            if row in self._candidates:
                self._candidates[row].cleared_at = None
        current.clear = [False] * len(current.rows)

    def _retire(self, rows: list[tuple[Row, int, bytes]]) -> None:
        if not rows:
            return
        told = [[bucket, key, hashed, remains] for (_, bucket, key), hashed, remains in rows]
        for name in self._membership.members:
            if name != self._runtime.name:
                self._runtime.send(name, Retire(told))
        counters = self._runtime.counters
        for row, hashed, remains in rows:
            self._runtime.aborts.append((self._again, row))
            try:
                retired = self._replica.retire(*row, hashed, remains)
            except StoreFailed:  # so it is here still, and anti-entropy brings it back to the others
                counters["store_failures"] += 1
                self._again(row)
                continue
            if retired:
                counters["clocks_shortened" if remains else "tombstones_collected"] += 1

    def _again(self, row: Row) -> None:
        """It could not be read here, or the turn's commit failed."""
        if row not in self._candidates:
            self._candidates[row] = Candidate()
            heappush(self._due, (self._runtime.now + _RETRY_S, row))

    # --- answering --------------------------------------------------------------------------------------------------------

    def on_retire_ask(self, sender: Address, message: RetireAsk) -> None:
        self._vouches.learn(message.vouched)
        unclear = self._unclear(message.rows)
        if len(unclear) == len(message.rows):
            self._runtime.send(sender, RetireTell(message.request_id, unclear, self._names()))
        else:
            told = RetireTell(message.request_id, unclear, self._names(), self._vouches.mine)
            self._runtime.aborts.append((self._not_vouched, told))
            self._runtime.call_at(self._runtime.now, self._tell, (sender, told))

    def _not_vouched(self, told: RetireTell) -> None:
        told.vouched = _NOT_STORED

    def _tell(self, asked: tuple[Address, RetireTell]) -> None:
        """In a turn of its own: what was counted and seen is committed, and with this turn safe from loss of power."""
        sender, told = asked
        if told.vouched == _NOT_STORED:
            self._runtime.send(sender, Refused(told.request_id, self._runtime.not_stored("that it vouches")))
            return
        self._runtime.store.harden()
        self._runtime.send(sender, told)

    def _names(self) -> list[str]:
        return [self._identity.actor, self._identity.stand_in_actor]

    def _unclear(self, rows: list[list[object]]) -> list[int]:
        """The rows of which something older may be here, by their index in the question. Raises StoreFailed."""
        young = self._runtime.now - self._runtime.started < self._grace
        if not self._grace or young or not self._membership.ring.at_rest:
            return list(range(len(rows)))
        busy = {key for operations in self._under_way for key in operations()}
        asked = [_asked(row) for row in rows]
        unclear = [i for i, row in enumerate(asked) if row[1:3] in busy or not self._is_clear(*row)]
        if len(unclear) < len(asked):
            self._vouches.vouch()
        return unclear

    def _is_clear(self, at: int, bucket: str, key: bytes, hashed: int) -> bool:
        """Here are that state and no other, and no hints; who is no primary may hold nothing."""
        if self._hints.lately((at, bucket, key), self._grace):
            return False
        state = self._replica.read_own(at, bucket, key)
        if state:
            return row_hash(at, state) == hashed
        ring = self._membership.ring
        return self._runtime.name not in ring.primaries(ring.partition_of(at), self._membership.policy(bucket).n)

    def on_retire(self, sender: Address, message: Retire) -> None:
        for row in message.rows:
            at, bucket, key, hashed = _asked(row[:3])
            if row[3].__class__ is not bytes:
                raise BadMessage("what remains of a row is bytes")
            self._replica.retire(at, bucket, key, hashed, row[3])


def _worth_it(state: Siblings) -> bool:
    context = state.context
    return bool(context) and (not state.values or len(context.vector) > CLOCK_ENTRIES_KEPT or bool(context.retried))


def _remains(state: bytes, actors: set[str]) -> bytes | None:
    """What a state is replaced by; None if all of it is still needed. actors: all that may still issue dots."""
    known = decode(state)
    if not known.values:
        return b""
    less = encode(without_retried(without_actors(known, actors | {CLOCK})))
    return less if less != state else None


def _asked(row: list[Any]) -> tuple[int, str, bytes, int]:
    """place, bucket, key, hash of a row in a message."""
    bucket, key, hashed = row
    return place(bucket, key), bucket, key, hashed
