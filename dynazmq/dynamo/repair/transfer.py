"""§4.9 Transfer: how the keys of a partition come to a node that will own it.

    new owner ── FillAsk: your rows of this partition, behind this key ──▶ an old owner that can be reached
              ◀─ FillTell: a page of them, in the order of their places     … until there are no more; then
              ── an exchange of trees with *each* old owner (exchange.py), begun after everybody writes to both
              ── its gossip record: I have all that this change gives me

A page is merged and committed together with the place to go on at, so either side may die at any moment: the transfer goes on
from there, from another old owner if need be. The source keeps nothing in mind.

**Throttled**: a new owner has one page under way, and then rests for twice as long as that took. A busy source answers late and
is asked the less.

A bucket whose number of replicas is to be another is filled in the same way. Then also who is a primary before and afterwards
compares with all the others, since it is to have whatever W of them have (Ring.must_have_all), and mostly has it.

**Nothing is served as absent** because it has not come yet: nobody reads from a new owner before the ring is flipped, which is
after all new owners have confirmed (change.py). What was written before everybody wrote to both is found by the exchanges, since
none of the old owners is left out unless it is gone; what was written since came by itself (dual_ownership.py). Where all of
them are gone there is nobody to be filled from: what others may still hold is looked for (salvage.py), and the partition is lost
(losses.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgpack

from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import FillAsk, FillTell, MendReply, Refused, RowsTell, TreeTell
from dynazmq.dynamo.repair.exchange import START, Exchange, TreeId
from dynazmq.dynamo.repair.salvage import PAGE_ROWS, Salvage
from dynazmq.dynamo.replica.hints import Hints, StateTooLarge
from dynazmq.dynamo.replica.replica import BadMessage, Replica
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import Address, Row, Runtime, StoreFailed
from dynazmq.dynamo.values.ring import Ring, place

_PAGE_BYTES = 256 << 10
_PATIENCE_S = 5.0
_RETRY_S = 0.2
_RESTS = 2
"""A new owner rests for so many times as long as a page took: a third of what it and its sources could do, at most."""
_META = "transfer"


class Transfer:
    """What this node gains by the change under way, and what it gives to others who gain."""

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        failure: FailureDetector,
        trees: Trees,
        replica: Replica,
        hints: Hints,
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self._failure = failure
        self._trees = trees
        self._replica = replica
        self._next = runtime.now
        self._ring: Ring | None = None  # that the state below is for, and who was gone then
        self._gone: frozenset[str] = frozenset()
        self._question = 0  # request id of the page under way, from
        self._source = ""
        self._asked_at = 0.0
        self._exchange: Exchange | None = None
        self._compared: set[str] = set()  # old owners with whom an exchange was whole, in this change and this life
        self.partitions = 0
        self.salvage = Salvage(runtime, membership, failure, hints, self._take)
        self._forget()

    def _forget(self) -> None:
        self._todo: list[int] = []  # partitions, the one under way last
        self._after: Row = START
        self.keys = self.bytes = 0
        self.confirmed = False

    @property
    def left(self) -> int:
        """Partitions of which rows are still to come, or to be looked for."""
        return len(self._todo) + self.salvage.left

    # --- when -------------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        now, ring = self._runtime.now, self._membership.ring
        self._next = now + _RETRY_S
        try:
            if ring is not self._ring or self._membership.gone != self._gone:
                self._begin(ring)
        except StoreFailed:
            self._ring = None  # it cannot be read where an earlier life was: tried again
            return
        if not self.partitions or self.confirmed:
            return
        if self._question and (now - self._asked_at > _PATIENCE_S or not self._failure.reachable(self._source)):
            self._question = 0
        exchange = self._exchange
        if exchange and (now - exchange.asked_at > _PATIENCE_S or not self._failure.reachable(exchange.peer)):
            self._exchange = None
        if self._question or self._exchange:
            return
        if self._todo:
            self._ask()
        elif not self._membership.awaited() and self._is_salvaged():
            self._compare()

    def next_deadline(self) -> float:
        return self._next

    def _is_salvaged(self) -> bool:
        """Whether there is nothing left to be looked for; go on with what is."""
        if not self.salvage.left:
            return True
        self._runtime.aborts.append((self._begin_anew, None))
        try:
            return self.salvage.go_on()
        except StoreFailed:
            self._runtime.counters["store_failures"] += 1
            return False

    def _begin_anew(self, _: None) -> None:
        """The turn's commit failed: go on from what is stored."""
        self._ring = None

    def _go_on(self, ring: Ring) -> None:
        if ring is self._membership.ring:
            self.tick()

    def _begin(self, ring: Ring) -> None:
        """With a new ring, or from where an earlier life of this process was."""
        self._ring, self._gone = ring, self._membership.gone
        self._question, self._exchange, self._compared = 0, None, set()
        self.salvage.begin([])
        if not ring.filling:
            self._todo, self.partitions = [], 0  # the figures stay, for who looks afterwards
            return
        self._forget()
        self.partitions = len({partition for partition, _ in self._gained()})
        if not self.partitions:
            return
        lost = self._membership.without_source()
        me = self._runtime.name
        self._todo = sorted({partition for partition, n in self._gained() if me in ring.extras(partition, n)}, reverse=True)
        self._load()
        self._skip_without_source()
        if not self.confirmed:
            self.salvage.begin(sorted({p for p, level in self._gained() if ring.read_n(level) <= lost.get(p, 0)}))

    def _gained(self) -> Iterator[TreeId]:
        """(partition, level) of which this node must have everything before it is read."""
        ring, me = self._membership.ring, self._runtime.name
        if not ring.filling or me not in ring.also:
            return
        for partition in range(ring.partitions):
            yield from ((partition, n) for n in self._membership.in_force.levels if me in ring.must_have_all(partition, n))

    def _save(self) -> None:
        packed = msgpack.packb([self._digest(), self._todo, self._after, self.keys, self.bytes, self.confirmed])
        self._runtime.store.set_meta(_META, packed)

    def _load(self) -> None:
        """From where the store is: an earlier life of this process may have been at it."""
        raw = self._runtime.store.get_meta(_META)
        if raw is None:
            return
        digest, todo, after, keys, size, confirmed = msgpack.unpackb(raw)
        if digest == self._digest():
            self._todo, self._after, self.keys, self.bytes, self.confirmed = todo, tuple(after), keys, size, confirmed
            if confirmed:
                self._membership.filled()

    def _digest(self) -> bytes:
        return self._membership.ring.digest()

    # --- rows -------------------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        partition = self._todo[-1]
        source = next((name for name in self._sources(partition) if self._failure.reachable(name)), "")
        if not source:
            return
        self._source, self._asked_at = source, self._runtime.now
        self._question = next(self._runtime.request_ids)
        self._runtime.send(source, FillAsk(self._question, self._digest(), partition, *self._after))

    def _skip_without_source(self) -> None:
        """Nobody is left to be asked for their rows, in full: they are salvaged."""
        left = [partition for partition in self._todo if self._sources(partition)]
        if left != self._todo:
            self._todo, self._after = left, START

    def _sources(self, partition: int) -> list[str]:
        """Old owners that are not gone: one of them is asked."""
        membership, ring, me = self._membership, self._membership.ring, self._runtime.name
        levels = [n for n in membership.in_force.levels if me in ring.extras(partition, n)]
        primaries = dict.fromkeys(name for n in levels for name in ring.primaries(partition, n))
        return [name for name in primaries if name != me and not membership.is_gone(name)]

    def on_fill_ask(self, sender: Address, message: FillAsk) -> None:
        """The source's side."""
        ring, me = self._membership.ring, self._runtime.name
        if message.ring_digest != ring.digest() or not ring.filling:
            self._runtime.send(sender, Refused(message.request_id, f"{me} does not know of this change"))
            return
        if not 0 <= message.partition < ring.partitions:
            raise BadMessage(f"partition {message.partition} is not in 0..{ring.partitions - 1}")
        after = (message.after_place, message.after_bucket, message.after_key)
        if message.salvage:
            rows, behind = self.salvage.page(message.partition, after)
        else:
            rows, behind = self._runtime.store.rows(*ring.places_of(message.partition), after, PAGE_ROWS)
        told, size = [], 0
        for at, bucket, key, state in rows:
            if size > _PAGE_BYTES and (at, bucket, key) != after:
                behind = after
                break
            after = (at, bucket, key)
            # A damaged row is left to the exchanges with the others.
            if state is not None and sender in ring.extras(message.partition, self._membership.in_force.level(bucket)):
                told.append([bucket, key, state])
                size += len(state)
        self._runtime.send(sender, FillTell(message.request_id, told, behind is not None, *(behind or START)))

    def on_fill_tell(self, sender: Address, message: FillTell) -> None:
        if self.salvage.on_fill_tell(sender, message):
            self._runtime.aborts.append((self._begin_anew, None))
            self._runtime.call_at(self.salvage.rests_until, self._go_on, self._ring)
            return
        if not self._question or message.request_id != self._question or sender != self._source or not self._todo:
            return
        self._question = 0
        self._runtime.aborts.append((self._begin_anew, None))
        behind = (message.next_place, message.next_bucket, message.next_key)
        if message.more and behind <= self._after:
            raise BadMessage("a page that does not go forward")
        for row in message.rows:
            self._take(row, self._todo[-1])
        self._after = behind if message.more else START
        if not message.more:
            self._todo.pop()
        self._save()
        rest = min(_RESTS * (self._runtime.now - self._asked_at), _RETRY_S)
        self._runtime.call_at(self._runtime.now + rest, self._go_on, self._ring)

    def _take(self, row: list[Any], partition: int) -> None:
        """Raises BadMessage."""
        bucket, key, state = row
        at = place(bucket, key)
        if self._membership.ring.partition_of(at) != partition:
            raise BadMessage("a row of another partition than the one that was asked for")
        try:
            self._replica.merge("", at, bucket, key, state)
        except StateTooLarge:
            self._runtime.counters["repairs_failed"] += 1
            return
        self.keys += 1
        self.bytes += len(state)
        self._runtime.counters["keys_transferred"] += 1
        self._runtime.counters["bytes_transferred"] += len(state)

    # --- confirming -------------------------------------------------------------------------------------------------------

    def _compare(self) -> None:
        """With the next old owner; when there is none left, say that all is here."""
        gained = list(self._gained())
        ring = self._membership.ring
        owners = {name for partition, n in gained for name in ring.primaries(partition, n)} - {self._runtime.name}
        owners = {name for name in owners if not self._membership.is_gone(name)}
        peer = min(owners - self._compared, default="")
        if not peer:
            self.confirmed = True
            self._save()
            self._runtime.aborts.append((self._unconfirm, None))
            self._membership.filled()
        elif self._failure.reachable(peer):
            shared = [(partition, n) for partition, n in gained if peer in ring.primaries(partition, n)]
            self._exchange = exchange = Exchange(
                self._runtime, self._membership, self._trees, self._replica, peer, shared, {},
                compared_before=False, thorough=True,
            )  # fmt: skip
            exchange.begin()
            self._look_if_ended(exchange)

    def _unconfirm(self, _: None) -> None:
        self._membership.unfilled_again()
        self._begin_anew(None)

    def _awaited(self, sender: Address, request_id: int) -> Exchange | None:
        exchange = self._exchange
        return exchange if exchange is not None and exchange.peer == sender and exchange.awaits(request_id) else None

    def on_tree_tell(self, sender: Address, message: TreeTell) -> None:
        if (exchange := self._awaited(sender, message.request_id)) is not None:
            exchange.on_tree_tell(message)
            self._look_if_ended(exchange)

    def on_rows_tell(self, sender: Address, message: RowsTell) -> None:
        if (exchange := self._awaited(sender, message.request_id)) is not None:
            exchange.on_rows_tell(message)
            self._look_if_ended(exchange)

    def on_mend_reply(self, sender: Address, message: MendReply) -> None:
        if (exchange := self._awaited(sender, message.request_id)) is not None:
            exchange.on_mend_reply(message)
            self._runtime.aborts.append((self._not_merged, exchange))
            self._look_if_ended(exchange)

    def on_refused(self, peer: str, request_id: int) -> bool:
        """The peer cannot answer now, or does not know of the change yet. Whether the request was one of the transfer's."""
        if self._question and request_id == self._question and peer == self._source:
            self._question = 0
            return True
        if self.salvage.on_refused(peer, request_id):
            return True
        exchange = self._awaited(peer, request_id)
        if exchange is None:
            return False
        if exchange.refused(request_id):
            self._look_if_ended(exchange)
        else:
            self._exchange = None
        return True

    def _look_if_ended(self, exchange: Exchange) -> None:
        if not exchange.ended:
            return
        self._exchange = None
        if exchange.whole:
            self._compared.add(exchange.peer)
            self._runtime.call_at(self._runtime.now, self._go_on, self._ring)

    def _not_merged(self, exchange: Exchange) -> None:
        """The turn's commit failed, and the exchange may have ended in it."""
        exchange.whole = False
        self._compared.discard(exchange.peer)
