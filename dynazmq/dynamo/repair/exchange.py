"""§4.7 One exchange with one peer, on the side that asks: from the roots of all shared trees down to the keys that differ.

    roots   ─▶ the trees that differ
    branches, then leaves of each of those ─▶ runs of leaves that differ
    rows    of each run, page by page: key hashes of both sides ─▶ the keys that differ
    mends   of those: states go there, what is lacking here comes back

One question is under way at a time, and a page's mends are waited for before the next question. Whoever made it (anti_entropy.py)
looks after each answer whether it has `ended`, and then whether it was `whole`: whether all was compared and is stored.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import Mend, MendReply, RowsAsk, RowsTell, TreeAsk, TreeTell
from dynazmq.dynamo.replica.hints import StateTooLarge
from dynazmq.dynamo.replica.replica import BadMessage, Replica
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import OwnRow, Row, Runtime, Store
from dynazmq.dynamo.values.merkle import LEAVES, Tree, children, places_of_leaves, row_hash, runs
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import decode

ROWS_PER_PAGE = 512
NODES_PER_QUESTION = LEAVES
START: Row = (-1, "", b"")

_MENDS = 64
_MEND_BYTES = 512 << 10
_YOUNG_MS = 1000
_BUSY_S = 30.0

TreeId = tuple[int, int]
"""(partition, n), n being the level (Ring.level) of its buckets."""

Looked = dict[tuple[str, int, int], float]
"""(peer, partition, n) → when this tree was last looked into with this peer."""


class Exchange:
    """With one life of a peer. `asked_at`: when something was last sent that is waited for."""

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        trees: Trees,
        replica: Replica,
        peer: str,
        shared: list[TreeId],
        looked: Looked,
        *,
        compared_before: bool,
        thorough: bool = False,
    ) -> None:
        """shared: the trees to compare. compared_before: an exchange with this life of the peer was whole.

        thorough: young keys, too.
        """
        self._runtime = runtime
        self._membership = membership
        self._trees = trees
        self._replica = replica
        self._looked = looked
        self._compared_before = compared_before
        self._young_ms = 0 if thorough else _YOUNG_MS
        self.peer = peer
        self.incarnation = membership.incarnation_of(peer)
        self.began = self.asked_at = runtime.now
        self.ended = False
        self.todo: list[TreeId] = []  # trees that differ, next one last
        self._question = 0  # its request id
        self._asked: list[tuple[TreeId, int]] = []  # (tree, node) of the TreeAsk under way
        self._roots = [tree for tree in reversed(shared) if trees.of(*tree) is not None]  # still to be asked for, next one last
        self._runs: list[tuple[int, int]] = []  # of the tree that is last in todo, next one last
        self._after = START  # within the run that is last
        self._mends: dict[int, Row] = {}  # request id → what was sent
        self.whole = len(self._roots) == len(shared)

    def begin(self) -> None:
        self._go_on()

    def awaits(self, request_id: int) -> bool:
        return not self.ended and (request_id == self._question or request_id in self._mends)

    @property
    def roots_left(self) -> int:
        """Trees whose roots are not known yet."""
        return sum(node == 0 for _, node in self._asked) + len(self._roots)

    # --- trees ------------------------------------------------------------------------------------------------------------

    def on_tree_tell(self, message: TreeTell) -> None:
        if not self._asked or message.request_id != self._question:
            raise BadMessage("an answer to another question")
        self._question = 0
        asked, self._asked = self._asked, []
        if len(message.hashes) != len(asked):
            raise BadMessage(f"{len(message.hashes):,} hashes for {len(asked):,} nodes")
        differing: list[tuple[TreeId, int]] = []
        for (tree_id, node), theirs in zip(asked, message.hashes, strict=True):
            tree = self._trees.of(*tree_id)
            if tree is None or theirs < 0:
                self.whole = False
            elif tree.hashes[node] != theirs and not (node == 0 and self._busy(tree_id, tree)):
                differing.append((tree_id, node))
        if differing and differing[0][1] == 0:
            self.todo = [tree_id for tree_id, _ in reversed(differing)]
            self._go_on()
        elif differing and children(differing[0][1]):
            self._ask_nodes([(tree_id, child) for tree_id, node in differing for child in children(node)])
        else:
            self._runs = list(runs(node for _, node in differing))[::-1]
            if not differing and self.todo:
                self.todo.pop()  # it has become equal meanwhile
                self._go_on()
            else:
                self._next_page()

    def _busy(self, tree_id: TreeId, tree: Tree) -> bool:
        """It is being written, and was looked into with this peer not long ago."""
        now, at = self._runtime.now, (self.peer, *tree_id)
        looked = self._looked.get(at, -_BUSY_S)
        if self._compared_before and now - tree.changed_at < _YOUNG_MS / 1000 and now - looked < _BUSY_S:
            return True
        self._looked[at] = now
        return False

    def _go_on(self) -> None:
        """With the next tree that differs, then with the next roots; or this was the end."""
        if self.todo:
            tree_id = self.todo[-1]
            self._ask_nodes([(tree_id, node) for node in children(0)])
        elif self._roots:
            asked, self._roots = self._roots[-NODES_PER_QUESTION:], self._roots[:-NODES_PER_QUESTION]
            self._ask_nodes([(tree_id, 0) for tree_id in reversed(asked)])
        else:
            self.ended = True

    def _ask_nodes(self, nodes: list[tuple[TreeId, int]]) -> None:
        self._asked = nodes
        self._ask(TreeAsk(0, [number for (partition, n), node in nodes for number in (partition, n, node)]))

    def _ask(self, message: TreeAsk | RowsAsk) -> None:
        self._question = message.request_id = next(self._runtime.request_ids)
        self.asked_at = self._runtime.now
        self._runtime.send(self.peer, message)

    # --- rows -------------------------------------------------------------------------------------------------------------

    def _next_page(self) -> None:
        if not self._runs:
            if self.todo:
                self.todo.pop()
            self._go_on()
            return
        partition, n = self.todo[-1]
        (first, last), (at, bucket, key) = self._runs[-1], self._after
        self._ask(RowsAsk(0, partition, n, first, last, at, bucket, key))

    def on_rows_tell(self, message: RowsTell) -> None:
        if self._asked or not self._question or message.request_id != self._question:
            raise BadMessage("an answer to another question")
        self._question = 0
        partition, n = self.todo[-1]
        bounds = places_of_leaves(partition, self._membership.ring.partitions, *self._runs[-1])
        theirs = self._told(message, bounds, n)
        own, behind = rows_with(self._runtime.store, self._membership, bounds, n, self._after)
        self._replica.give_up_damaged(own)
        their_end = (message.next_place, message.next_bucket, message.next_key) if message.more else None
        end = min((each for each in (behind, their_end) if each is not None), default=None)
        if end is not None and (end <= self._after or end[0] > bounds[1]):
            raise BadMessage("a page that does not go forward, or beyond what was asked for")
        sent, done = 0, self._after
        for row, differing in _differences(own, theirs, end):
            if sent >= _MENDS:
                end = done
                break
            if differing is not None:
                sent += self._mend(row, differing, theirs[row][1] if row in theirs else 0)
            done = row
        if end is None:
            self._runs.pop()
        self._after = end or START
        if not self._mends:
            self._next_page()

    def _told(self, message: RowsTell, bounds: tuple[int, int], n: int) -> dict[Row, tuple[int, int]]:
        """row → hash, bytes. Raises BadMessage for rows that were not asked for: we would take copies of what is not ours."""
        if len(message.rows) > ROWS_PER_PAGE:
            raise BadMessage(f"{len(message.rows):,} rows on a page: there are at most {ROWS_PER_PAGE}")
        theirs: dict[Row, tuple[int, int]] = {}
        for bucket, key, hashed, size in message.rows:
            at = place(bucket, key)
            if not bounds[0] <= at <= bounds[1]:
                raise BadMessage("a row of other leaves than those that were asked for")
            if self._membership.in_force.level(bucket) == n:  # they may know of another one than we, for a moment
                theirs[at, bucket, key] = hashed, size
        return theirs

    # --- keys -------------------------------------------------------------------------------------------------------------

    def _mend(self, row: Row, state: bytes, their_bytes: int) -> int:
        """Ship one key, unless it is young. How many were shipped, large ones counted more."""
        written_ms = max((sibling.wall_ms for sibling in decode(state).live), default=0)
        if 0 <= self._runtime.wall_ms - written_ms < self._young_ms:  # written by a clock that is ahead: of unknown age
            return 0
        request_id = next(self._runtime.request_ids)
        self._mends[request_id] = row
        self.asked_at = self._runtime.now
        self._runtime.counters["keys_exchanged"] += 1
        self._runtime.send(self.peer, Mend(request_id, row[1], row[2], state))
        return 1 + (len(state) + their_bytes) * _MENDS // _MEND_BYTES

    def on_mend_reply(self, message: MendReply) -> None:
        row = self._mends.pop(message.request_id, None)
        if row is None:
            raise BadMessage("an answer to another question")
        if message.state:
            try:
                self._replica.merge("", *row, message.state)
            except StateTooLarge:
                self._runtime.counters["repairs_failed"] += 1
                self.whole = False
        if not self._mends:
            self._next_page()

    def refused(self, request_id: int) -> bool:
        """The peer could not take one key, as when both states together are too large. False: it answers no questions now."""
        if self._mends.pop(request_id, None) is None:
            return False
        self.whole = False
        if not self._mends:
            self._next_page()
        return True


def _differences(own: list[OwnRow], theirs: dict[Row, tuple[int, int]], end: Row | None) -> Iterator[tuple[Row, bytes | None]]:
    """Each row of either side up to `end`, in order, with our state if it differs and None if it does not."""
    mine = {(at, bucket, key): state or b"" for at, bucket, key, state in own}
    for row in sorted({*mine, *theirs}):
        if end is not None and row > end:
            return
        state = mine.get(row, b"")
        yield row, None if row_hash(row[0], state) == theirs.get(row, (0, 0))[0] else state


def rows_with(
    store: Store, membership: Membership, bounds: tuple[int, int], n: int, after: Row
) -> tuple[list[OwnRow], Row | None]:
    """A page of a node's own rows, those of buckets of another level than n left out. Raises StoreFailed."""
    rows, behind = store.rows(*bounds, after, ROWS_PER_PAGE)
    return [row for row in rows if membership.in_force.level(row[1]) == n], behind
