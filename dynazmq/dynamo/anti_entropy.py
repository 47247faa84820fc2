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

from dynazmq.dynamo.failure import FailureDetector
from dynazmq.dynamo.hints import StateTooLarge
from dynazmq.dynamo.membership import Membership
from dynazmq.dynamo.merkle import FANOUT, LEAVES, NODES, Tree, children, places_of_leaves, row_hash, runs
from dynazmq.dynamo.messages import (
    STORAGE,
    Failure,
    Mend,
    MendReply,
    Refused,
    RowsAsk,
    RowsTell,
    SetAntiEntropy,
    SetAntiEntropyReply,
    TreeAsk,
    TreeTell,
)
from dynazmq.dynamo.replica import BadMessage, Replica, check_key
from dynazmq.dynamo.ring import Ring, place
from dynazmq.dynamo.runtime import Address, OwnRow, Row, Runtime, StoreFailed
from dynazmq.dynamo.trees import Trees
from dynazmq.dynamo.versions import decode

_ROWS_PER_PAGE = 512
_NODES_PER_QUESTION = LEAVES
_MENDS = 64
_MEND_BYTES = 512 << 10
_PATIENCE_S = 5.0
_SOON_S = 0.05
_YOUNG_MS = 1000
_BUSY_S = 30.0
_START: Row = (-1, "", b"")
_PAUSED = "anti_entropy_paused"  # the meta value: b"1", or empty

TreeId = tuple[int, int]
"""(partition, n)."""


class Exchange:
    """With one peer: what is still to be compared, and the question that waits for its answer."""

    __slots__ = (
        "after", "asked", "asked_at", "began", "incarnation", "mends", "peer", "question", "roots", "runs", "todo", "unknown",
    )  # fmt: skip

    def __init__(self, peer: str, incarnation: int, now: float) -> None:
        self.peer = peer
        self.incarnation = incarnation
        self.began = self.asked_at = now
        self.question = 0  # its request id
        self.asked: list[tuple[TreeId, int]] = []  # (tree, node) of the TreeAsk under way
        self.roots: list[TreeId] = []  # trees whose roots are still to be asked for, next one last
        self.todo: list[TreeId] = []  # trees that differ, next one last
        self.runs: list[tuple[int, int]] = []  # of the tree that is last in todo, next one last
        self.after = _START  # within the run that is last
        self.mends: dict[int, tuple[Row, bytes]] = {}  # request id → what was sent
        self.unknown = False  # some tree could not be compared


class AntiEntropy:
    """This node's exchanges, and its answers to those of others."""

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
        self._looked: dict[tuple[str, int, int], float] = {}  # (peer, partition, n) → when it was last found to differ
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
        peers = [name for name in self._membership.members if self._failure.reachable(name) and next(self._shared(name), None)]
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
        levels = self._membership.replica_counts()
        for partition in range(ring.partitions):
            walk = ring.walk(partition)
            if me not in walk or peer not in walk:
                continue
            mine, its = walk.index(me), walk.index(peer)
            if mine < its:
                yield from ((partition, n) for n in levels if its < n)

    def open_with(self) -> list[str]:
        """Reachable peers of which it is not known that they hold the same: not compared in this life, or differing just now."""
        reachable = [name for name in self._membership.members if self._failure.reachable(name)]
        peers = [name for name in reachable if next(self._shared(name), None)] if self._trees.on else []
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
                roots = sum(node == 0 for _, node in exchange.asked) + len(exchange.roots)
                left = len(exchange.todo) + (0 if known else roots)
            found[peer] = shared, left
        return found

    def _count_shared(self) -> dict[str, int]:
        ring, levels = self._membership.ring, self._membership.replica_counts()
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
        text = f"{self._runtime.name} could not store it"
        self._runtime.send(sender, Failure(request_id, STORAGE, 0, 0, 0, text))

    def _declined(self, sender: Address, request_id: int) -> bool:
        """Whether a peer asks while this is paused. A client that asks only looks."""
        if self.paused and isinstance(sender, str):
            self._runtime.send(sender, Refused(request_id, f"anti-entropy is paused on {self._runtime.name}"))
            return True
        return False

    # --- one exchange, from the roots down --------------------------------------------------------------------------------

    def _begin(self, peer: str) -> None:
        self._exchange = exchange = Exchange(peer, self._membership.incarnation_of(peer), self._runtime.now)
        self._runtime.counters["exchanges"] += 1
        shared = list(self._shared(peer))
        exchange.roots = [tree for tree in reversed(shared) if self._trees.of(*tree) is not None]
        exchange.unknown = len(exchange.roots) < len(shared)
        self._go_on(exchange)

    def _ask_nodes(self, exchange: Exchange, nodes: list[tuple[TreeId, int]]) -> None:
        exchange.asked = nodes
        flat = [number for (partition, n), node in exchange.asked for number in (partition, n, node)]
        self._ask(exchange, TreeAsk(0, flat))

    def _ask(self, exchange: Exchange, message: TreeAsk | RowsAsk) -> None:
        exchange.question = message.request_id = next(self._runtime.request_ids)
        exchange.asked_at = self._runtime.now
        self._runtime.send(exchange.peer, message)

    def _awaited(self, sender: Address, request_id: int) -> Exchange | None:
        exchange = self._exchange
        if exchange is None or exchange.peer != sender or exchange.question != request_id:
            return None
        exchange.question = 0
        return exchange

    def on_tree_tell(self, sender: Address, message: TreeTell) -> None:
        exchange = self._awaited(sender, message.request_id)
        if exchange is None:
            return
        asked, exchange.asked = exchange.asked, []
        if len(message.hashes) != len(asked):
            raise BadMessage(f"{len(message.hashes):,} hashes for {len(asked):,} nodes")
        differing: list[tuple[TreeId, int]] = []
        for (tree_id, node), theirs in zip(asked, message.hashes, strict=True):
            tree = self._trees.of(*tree_id)
            if tree is None or theirs < 0:
                exchange.unknown = True
            elif tree.hashes[node] != theirs and not (node == 0 and self._busy(exchange, tree_id, tree)):
                differing.append((tree_id, node))
        if differing and differing[0][1] == 0:
            exchange.todo = [tree_id for tree_id, _ in reversed(differing)]
            self._go_on(exchange)
        elif differing and children(differing[0][1]):
            self._ask_nodes(exchange, [(tree_id, child) for tree_id, node in differing for child in children(node)])
        else:
            exchange.runs = list(runs(node for _, node in differing))[::-1]
            if not differing and exchange.todo:
                exchange.todo.pop()  # it has become equal meanwhile
                self._go_on(exchange)
            else:
                self._next_page(exchange)

    def _busy(self, exchange: Exchange, tree_id: TreeId, tree: Tree) -> bool:
        """It is being written, and was looked into with this peer not long ago."""
        now, at = self._runtime.now, (exchange.peer, *tree_id)
        looked = self._looked.get(at, -_BUSY_S)
        known = self.compared.get(exchange.peer) == exchange.incarnation
        if known and now - tree.changed_at < _YOUNG_MS / 1000 and now - looked < _BUSY_S:
            return True
        self._looked[at] = now
        return False

    def _go_on(self, exchange: Exchange) -> None:
        """With the next tree that differs, then with the next roots; or this was the end."""
        if exchange.todo:
            tree_id = exchange.todo[-1]
            self._ask_nodes(exchange, [(tree_id, node) for node in children(0)])
            return
        if exchange.roots:
            asked, exchange.roots = exchange.roots[-_NODES_PER_QUESTION:], exchange.roots[:-_NODES_PER_QUESTION]
            self._ask_nodes(exchange, [(tree_id, 0) for tree_id in reversed(asked)])
            return
        self._exchange = None
        if not exchange.unknown:
            self.compared[exchange.peer] = exchange.incarnation
        elif exchange.peer in self.compared and self.compared[exchange.peer] != exchange.incarnation:
            del self.compared[exchange.peer]

    def _next_page(self, exchange: Exchange) -> None:
        if not exchange.runs:
            if exchange.todo:
                exchange.todo.pop()
            self._go_on(exchange)
            return
        partition, n = exchange.todo[-1]
        (first, last), (at, bucket, key) = exchange.runs[-1], exchange.after
        self._ask(exchange, RowsAsk(0, partition, n, first, last, at, bucket, key))

    def on_rows_tell(self, sender: Address, message: RowsTell) -> None:
        exchange = self._awaited(sender, message.request_id)
        if exchange is None:
            return
        partition, n = exchange.todo[-1]
        bounds = places_of_leaves(partition, self._membership.ring.partitions, *exchange.runs[-1])
        theirs = self._told(message, bounds, n)
        own, behind = self._rows(bounds, n, exchange.after)
        their_end = (message.next_place, message.next_bucket, message.next_key) if message.more else None
        end = min((each for each in (behind, their_end) if each is not None), default=None)
        if end is not None and (end <= exchange.after or end[0] > bounds[1]):
            raise BadMessage("a page that does not go forward, or beyond what was asked for")
        sent, done = 0, exchange.after
        for row, differing in self._differences(own, theirs, end):
            if sent >= _MENDS:
                end = done
                break
            if differing is not None:
                sent += self._mend(exchange, row, differing, theirs[row][1] if row in theirs else 0)
            done = row
        if end is None:
            exchange.runs.pop()
        exchange.after = end or _START
        if not exchange.mends:
            self._next_page(exchange)

    def _told(self, message: RowsTell, bounds: tuple[int, int], n: int) -> dict[Row, tuple[int, int]]:
        """row → hash, bytes. Raises BadMessage for rows that were not asked for: we would take copies of what is not ours."""
        if len(message.rows) > _ROWS_PER_PAGE:
            raise BadMessage(f"{len(message.rows):,} rows on a page: there are at most {_ROWS_PER_PAGE}")
        theirs: dict[Row, tuple[int, int]] = {}
        for bucket, key, hashed, size in message.rows:
            if (type(bucket), type(key), type(hashed), type(size)) != (str, bytes, int, int) or size < 0:
                raise BadMessage("a row is told as bucket, key, hash and bytes")
            check_key(bucket, key)
            at = place(bucket, key)
            if not bounds[0] <= at <= bounds[1]:
                raise BadMessage("a row of other leaves than those that were asked for")
            if self._membership.policy(bucket).n == n:  # they may know of another one than we, for a moment
                theirs[at, bucket, key] = hashed, size
        return theirs

    def _rows(self, bounds: tuple[int, int], n: int, after: Row) -> tuple[list[OwnRow], Row | None]:
        """A page of own rows, those of buckets with another n left out. Raises StoreFailed."""
        rows, behind = self._runtime.store.rows(*bounds, after, _ROWS_PER_PAGE)
        return [row for row in rows if self._membership.policy(row[1]).n == n], behind

    def _differences(
        self, own: list[OwnRow], theirs: dict[Row, tuple[int, int]], end: Row | None
    ) -> Iterator[tuple[Row, bytes | None]]:
        """Each row of either side up to `end`, in order, with our state if it differs and None if it does not."""
        mine = {(at, bucket, key): state or b"" for at, bucket, key, state in own}
        for row in sorted({*mine, *theirs}):
            if end is not None and row > end:
                return
            state = mine.get(row, b"")
            yield row, None if row_hash(row[0], state) == theirs.get(row, (0, 0))[0] else state

    def _mend(self, exchange: Exchange, row: Row, state: bytes, their_bytes: int) -> int:
        """Ship one key, unless it is young. How many were shipped, large ones counted more."""
        written_ms = max((sibling.wall_ms for sibling in decode(state).live), default=0)
        if 0 <= self._runtime.wall_ms - written_ms < _YOUNG_MS:  # written by a clock that is ahead: of unknown age
            return 0
        request_id = next(self._runtime.request_ids)
        exchange.mends[request_id] = row, state
        exchange.asked_at = self._runtime.now
        self._runtime.counters["keys_exchanged"] += 1
        self._runtime.send(exchange.peer, Mend(request_id, row[1], row[2], state))
        return 1 + (len(state) + their_bytes) * _MENDS // _MEND_BYTES

    def on_mend_reply(self, sender: Address, message: MendReply) -> None:
        exchange = self._exchange
        if exchange is None or exchange.peer != sender or message.request_id not in exchange.mends:
            return
        (at, bucket, key), _ = exchange.mends.pop(message.request_id)
        if message.state:
            try:
                self._replica.merge("", at, bucket, key, message.state)
            except StateTooLarge:
                self._runtime.counters["repairs_failed"] += 1
        if not exchange.mends:
            self._next_page(exchange)

    def on_refused(self, peer: str, request_id: int) -> bool:
        """The peer cannot read or store now. Whether the request was an exchange's."""
        exchange = self._exchange
        if exchange is None or peer != exchange.peer or (request_id != exchange.question and request_id not in exchange.mends):
            return False
        if exchange.mends.pop(request_id, None) is not None:  # it alone, as when both states together would be too large
            exchange.unknown = True
            if not exchange.mends:
                self._next_page(exchange)
        else:
            self._runtime.counters["exchanges_abandoned"] += 1
            self._exchange = None
        return True

    # --- what others ask, and clients that look ---------------------------------------------------------------------------

    def on_tree_ask(self, sender: Address, message: TreeAsk) -> None:
        if self._declined(sender, message.request_id):
            return
        if len(message.nodes) % 3 or len(message.nodes) > 3 * _NODES_PER_QUESTION:
            raise BadMessage(f"{len(message.nodes):,} numbers: three for each of at most {_NODES_PER_QUESTION:,} nodes")
        hashes = []
        used = self._membership.replica_counts()
        numbers = iter(message.nodes)
        for partition, n, node in zip(numbers, numbers, numbers, strict=True):
            if not 0 <= partition < self._membership.ring.partitions or not 0 <= node < NODES:
                raise BadMessage(f"node {node} of partition {partition}: there are {NODES:,} nodes in a tree")
            tree = self._trees.of(partition, n) if n in used else None  # one is made when it is asked for
            hashes.append(-1 if tree is None else tree.hashes[node])
        self._runtime.send(sender, TreeTell(message.request_id, hashes))

    def on_rows_ask(self, sender: Address, message: RowsAsk) -> None:
        """A damaged row is told as one of no hash and no bytes."""
        if self._declined(sender, message.request_id):
            return
        ring = self._membership.ring
        first, last = message.first_leaf, message.last_leaf
        if not 0 <= message.partition < ring.partitions or not FANOUT < first <= last < NODES:
            raise BadMessage(f"leaves {first} to {last} of partition {message.partition}: leaves are {FANOUT + 1} to {NODES - 1}")
        after = (message.after_place, message.after_bucket, message.after_key)
        rows, behind = self._rows(places_of_leaves(message.partition, ring.partitions, first, last), message.n, after)
        told = [[bucket, key, row_hash(at, state or b""), len(state or b"")] for at, bucket, key, state in rows]
        self._runtime.send(sender, RowsTell(message.request_id, told, behind is not None, *(behind or _START)))

    def on_mend(self, sender: Address, message: Mend) -> None:
        if self._declined(sender, message.request_id):
            return
        check_key(message.bucket, message.key)
        at = place(message.bucket, message.key)
        n = self._membership.policy(message.bucket).n
        ring = self._membership.ring
        if self._runtime.name not in ring.primaries(ring.partition_of(at), n):
            self._runtime.send(sender, Refused(message.request_id, f"{self._runtime.name} is no primary of this key"))
            return
        try:
            if message.state:
                self._replica.merge("", at, message.bucket, message.key, message.state)
        except StateTooLarge as error:
            self._runtime.send(sender, Refused(message.request_id, str(error)))
            return
        held = self._replica.read_own(at, message.bucket, message.key)
        self._runtime.send(sender, MendReply(message.request_id, b"" if held == message.state else held))

