"""§4.7 Anti-entropy: the primaries of each partition compare their Merkle trees and ship only what differs.

    A ── TreeAsk: the roots of all trees that A and B share ──▶ B     one message, and mostly all there is
    A ── TreeAsk: the branches, then the leaves of a tree that differs
    A ── RowsAsk: key hashes of a run of leaves that differ, page by page
    A ── Mend: A's state of a key that differs ──▶ B merges ── MendReply: what A lacks ──▶ A merges

Of two primaries the one that comes first in the preference list asks; B keeps nothing between two questions, so either side may
die at any moment and the next exchange begins anew. Both sides merge (`versions.sync`), neither decides, so an exchange can do no
harm: the worst that a wrong tree causes is work. A node that lost its disk is rebuilt this way, by each of its peers.

**Budget.** A node asks one peer at a time, one question at a time, and mends no more than `_MENDS` keys or `_MEND_BYTES` before
it waits for their replies; a RowsTell says how long they will be. A busy peer answers late, and is then asked less: nothing is
throttled by guesswork.

**Under load** a key that was written a moment ago differs because its copies are still under way. So a tree that is being written
is looked into once in `_BUSY_S`, and in it a young key is left to the next exchange. Clocks of different hosts may disagree about
"a moment ago": then a key is shipped for nothing, or later.

**Paused** by an operator, a node begins no exchange and takes part in none: who asks it is refused and tries again. Trees still
follow the rows, and clients that only look (`verify`) are answered. It stays so through restarts until it is resumed.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import STORAGE, Failure, MendReply, RowsTell, SetAntiEntropy, SetAntiEntropyReply, TreeTell
from dynazmq.dynamo.repair.exchange import Exchange, Looked, TreeId
from dynazmq.dynamo.replica.replica import Replica
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import Address, Runtime, StoreFailed
from dynazmq.dynamo.values.ring import Ring

_PATIENCE_S = 5.0
_SOON_S = 0.05
_PAUSED = "anti_entropy_paused"  # the meta value: b"1", or empty


class AntiEntropy:
    """This node's exchanges: when, with whom, and what is known from them."""

    def __init__(
        self, runtime: Runtime, membership: Membership, failure: FailureDetector, trees: Trees, replica: Replica
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self._failure = failure
        self._trees = trees
        self._replica = replica
        self._interval = runtime.config.timing.anti_entropy_interval_ms / 1000
        self._next = runtime.now + self._interval * runtime.random.random() if trees.on else float("inf")
        self._turn = 0
        self._looked: Looked = {}
        self._tried: dict[str, int] = {}  # peer → the incarnation with which an exchange was begun
        self._exchange: Exchange | None = None
        self._counted: tuple[Ring, list[int], dict[str, int]] | None = None  # for this ring and these Ns: peer → shared trees
        self.compared: dict[str, int] = {}  # peer → the incarnation with which an exchange was completed
        self.paused = bool(runtime.store.get_meta(_PAUSED))

    # --- when, and with whom ----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        if self.paused:
            self._next = self._runtime.now + self._interval
            return
        damaged, self._trees.damaged = self._trees.damaged, []
        for at, bucket, key in damaged:
            try:
                self._replica.read_own(at, bucket, key)  # which finds the damage, and clears the row for its peers to fill
            except StoreFailed:
                self._trees.damaged.append((at, bucket, key))  # tried again; a disk that cannot be read ends no node
        exchange, now = self._exchange, self._runtime.now
        if exchange is not None and (now - exchange.asked_at > _PATIENCE_S or not self._failure.reachable(exchange.peer)):
            self._runtime.counters["exchanges_abandoned"] += 1
            self._exchange = None
        if now < self._next:
            return
        if self._exchange is not None:
            self._next = now + self._interval / 4
            return
        peers = [name for name in self._count_shared() if self._failure.reachable(name)]
        # Who was not asked in its present life comes first and soon, then who could not be compared.
        lives = {name: self._membership.incarnation_of(name) for name in peers}
        new = [name for name in peers if self._tried.get(name) != lives[name]]
        among = new or [name for name in peers if self.compared.get(name) != lives[name]] or peers
        self._next = now + (_SOON_S if new else self._interval)
        if among:
            self._turn += 1
            peer = among[self._turn % len(among)]
            self._tried[peer] = lives[peer]
            self._begin(peer)

    def next_deadline(self) -> float:
        return self._next

    def _shared(self, peer: str) -> Iterator[TreeId]:
        """Trees that this node and a peer both keep as primaries, and that this node asks for."""
        ring, me = self._membership.ring, self._runtime.name
        if peer == me:
            return
        levels = [(level, ring.read_n(level)) for level in self._membership.in_force.levels]
        for partition in range(ring.partitions):
            walk = ring.walk(partition)
            if me not in walk or peer not in walk:
                continue
            mine, its = walk.index(me), walk.index(peer)
            if mine < its:
                yield from ((partition, level) for level, n in levels if its < n)

    def open_with(self) -> list[str]:
        """Reachable peers of which it is not known that they hold the same: not compared in this life, or differing just now."""
        peers = [name for name in self._count_shared() if self._failure.reachable(name)] if self._trees.on else []
        exchange, now = self._exchange, self._runtime.now
        long = exchange.peer if exchange is not None and exchange.todo and now - exchange.began > self._interval / 2 else ""
        return [n for n in peers if n == long or self.compared.get(n) != self._membership.incarnation_of(n)]

    def progress(self) -> dict[str, tuple[int, int]]:
        """Peer → (trees that this node asks it for, those of them of which it is not known that they are equal).

        A node that lost its disk has all of them before it, with each of its peers.
        """
        found = {}
        exchange = self._exchange
        for peer, shared in self._count_shared().items():
            known = self._trees.on and self.compared.get(peer) == self._membership.incarnation_of(peer)
            left = 0 if known else shared
            if exchange is not None and exchange.peer == peer:
                left = len(exchange.todo) + (0 if known else exchange.roots_left)
            found[peer] = shared, left
        return found

    def _count_shared(self) -> dict[str, int]:
        ring, levels = self._membership.ring, self._membership.in_force.levels
        if self._counted is None or self._counted[:2] != (ring, levels):
            counts = {peer: sum(1 for _ in self._shared(peer)) for peer in self._membership.members}
            self._counted = ring, levels, {peer: count for peer, count in counts.items() if count}
        return self._counted[2]

    @property
    def differing(self) -> int:
        """Trees that are known to differ from a peer's and are being mended."""
        return len(self._exchange.todo) if self._exchange is not None else 0

    # --- held, and let go on ----------------------------------------------------------------------------------------------

    def on_set(self, sender: Address, message: SetAntiEntropy) -> None:
        """A client's wish, durable before it is answered."""
        before, self.paused = self.paused, message.paused
        if self.paused:
            self._exchange = None  # what is under way is refused or ignored when it arrives: it is begun anew
        else:
            self._next = min(self._next, self._runtime.now)
        if self.paused != before:
            self._runtime.store.set_meta(_PAUSED, b"1" if self.paused else b"")
            self._runtime.note(f"anti-entropy was {'paused' if self.paused else 'resumed'} by an operator")
        self._runtime.aborts.append((self._not_set, (sender, message.request_id, before)))
        self._runtime.send(sender, SetAntiEntropyReply(message.request_id, self.paused, self._trees.on))

    def _not_set(self, asked: tuple[Address, int, bool]) -> None:
        sender, request_id, self.paused = asked
        self._runtime.send(sender, Failure(request_id, STORAGE, 0, 0, 0, self._runtime.not_stored()))

    # --- the exchange under way -------------------------------------------------------------------------------------------

    def _begin(self, peer: str) -> None:
        self._runtime.counters["exchanges"] += 1
        self._exchange = exchange = Exchange(
            self._runtime, self._membership, self._trees, self._replica, peer, list(self._shared(peer)), self._looked,
            compared_before=self.compared.get(peer) == self._membership.incarnation_of(peer),
        )  # fmt: skip
        exchange.begin()
        self._look_if_ended(exchange)

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
        """The peer cannot read or store now. Whether the request was an exchange's."""
        exchange = self._awaited(peer, request_id)
        if exchange is None:
            return False
        if exchange.refused(request_id):
            self._look_if_ended(exchange)
        else:
            self._runtime.counters["exchanges_abandoned"] += 1
            self._exchange = None
        return True

    def _look_if_ended(self, exchange: Exchange) -> None:
        if not exchange.ended:
            return
        self._exchange = None
        if exchange.whole:
            self.compared[exchange.peer] = exchange.incarnation
        else:
            self.compared.pop(exchange.peer, None)

    def _not_merged(self, exchange: Exchange) -> None:
        """The turn's commit failed, and the exchange may have ended in it."""
        exchange.whole = False
        if self._exchange is not exchange:
            self.compared.pop(exchange.peer, None)
