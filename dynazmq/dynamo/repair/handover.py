"""§4.9 Handover: what a node holds that is no longer its own, after the ring has changed.

    strays     rows of partitions that others own now. Each of their primaries is asked whether it has these very states, is sent
               what it lacks, and when all have acknowledged all, the page is dropped here
    hints      for a node that has left, or for a key that is no longer its target's: they become hints for the key's primaries

A stray is dropped only when the change is over: when the ring is at rest no node asks this one any more, but for messages that
are on their way, for which there is a grace (and gets that are answered too late begin anew, get.py). What still arrives later,
of a write that was long under way, is a stray again, and goes the same way: the trees show that there is one.

A member that was removed and on which nothing is left says so (`left`), and may end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import Mend, MendReply, Refused, StrayAsk, StrayTell
from dynazmq.dynamo.repair.exchange import START, TreeId
from dynazmq.dynamo.replica.hints import Hints, StateTooLarge
from dynazmq.dynamo.replica.replica import BadMessage, Replica
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import Address, Row, Runtime, StoreFailed
from dynazmq.dynamo.values.merkle import row_hash
from dynazmq.dynamo.values.ring import Ring, place

_ROWS = 64  # of a page
_RESTS = 2  # after a page: so many times as long as it took
_PAGE_BYTES = 512 << 10
_HINTS_AT_ONCE, _HINTS_EVERY_S = 64, 0.02  # few in one turn, which is to be short, and soon the next
_EVERY_S = 0.5
_GRACE_S = 2.0
_PATIENCE_S = 5.0


class _Page:
    """Strays on their way to their primaries. `open`: primary → indices of rows that it has not acknowledged, None at first."""

    def __init__(self, ring: Ring, tree: TreeId, rows: list[tuple[Row, bytes]], primaries: list[str], now: float) -> None:
        self.ring = ring
        self.tree = tree
        self.rows = rows
        self.open: dict[str, set[int] | None] = dict.fromkeys(primaries)
        self.began = self.asked_at = now
        self.questions: dict[int, str] = {}  # request id → primary that was asked what it has
        self.mends: dict[int, tuple[str, int]] = {}  # request id → (primary, index of the row that it was sent)


class Handover:
    """One node's. `strays`: trees of which it holds rows and is no holder, as of the last look."""

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        failure: FailureDetector,
        trees: Trees,
        replica: Replica,
        hints: Hints,
        may_get_hints: Callable[[], bool],
    ) -> None:
        """may_get_hints: whether what this node has under way may still leave some here."""
        self._runtime = runtime
        self._membership = membership
        self._failure = failure
        self._trees = trees
        self._replica = replica
        self._hints = hints
        self._may_get_hints = may_get_hints
        self._next = runtime.now
        self._ring: Ring | None = None
        self._since = runtime.now  # of this ring
        self._page: _Page | None = None
        self._look_at_hints = True
        self._redirecting: Iterator[tuple[str, Row, bytes]] | None = None
        self._cursor: tuple[TreeId, Row] = ((-1, 0), START)  # behind the last page
        self.strays = 0

    def tick(self) -> None:
        now, ring = self._runtime.now, self._membership.ring
        if ring is not self._ring:
            self._ring, self._since, self._page = ring, now, None
            self._cursor = ((-1, 0), START)
            self._look_at_hints, self._redirecting = True, None
        elif now < self._next:
            return
        self._next = now + _EVERY_S
        strays = list(self._strays()) if ring.at_rest and self._membership.settled else []
        self.strays = len(strays)
        if not ring.at_rest or not self._membership.settled or now - self._since < _GRACE_S:
            return
        try:
            astray = self._hints.sent_back or any(target not in ring.owners for target in self._hints.pending)
            if self._look_at_hints or astray:
                self._redirect_hints()
            if self._page is not None and now - self._page.asked_at > _PATIENCE_S:
                self._page = None
            if strays and self._page is None:
                self._ask(strays[0])
        except StoreFailed:
            self._runtime.counters["store_failures"] += 1
        if self._membership.standing == "leaving" and not strays and self._is_known_empty():
            self._membership.leave()

    def next_deadline(self) -> float:
        return self._next

    def _is_known_empty(self) -> bool:
        """And stays so. A partition that is not surveyed yet may hold rows that no tree shows."""
        surveyed = self._trees.known == self._membership.ring.partitions
        return surveyed and not self._replica.keys and not self._hints.pending and not self._may_get_hints()

    # --- strays -----------------------------------------------------------------------------------------------------------

    def _strays(self) -> Iterator[TreeId]:
        ring, me, levels = self._membership.ring, self._runtime.name, self._membership.in_force.levels
        for partition in range(ring.partitions):
            for n in levels:
                if me not in ring.primaries(partition, n) and (tree := self._trees.of(partition, n)) and tree.hashes[0]:
                    yield partition, n

    def _ask(self, tree: TreeId) -> None:
        """Take a page of this tree's rows and ask its primaries for them."""
        partition, n = tree
        ring = self._membership.ring
        primaries = list(ring.primaries(partition, n))
        if not all(self._failure.reachable(name) for name in primaries):
            return
        rows = self._next_rows(tree)
        if not rows:
            return
        self._page = page = _Page(ring, tree, rows, primaries, self._runtime.now)
        asked = [[bucket, key, row_hash(at, state)] for (at, bucket, key), state in rows]
        for name in primaries:
            request_id = next(self._runtime.request_ids)
            page.questions[request_id] = name
            self._runtime.send(name, StrayAsk(request_id, ring.digest(), asked))

    def _next_rows(self, tree: TreeId) -> list[tuple[Row, bytes]]:
        """The next page of a tree's rows, behind the last one; from the beginning again when there are none behind it.

        It may be empty and others behind it: what was just dropped is skipped, and not gone yet.
        """
        partition, n = tree
        places = self._membership.ring.places_of(partition)
        cursor, self._cursor = self._cursor, (tree, START)
        behind: Row | None = cursor[1] if cursor[0] == tree else START
        while behind is not None:
            found, behind = self._runtime.store.rows(*places, behind, _ROWS)
            rows, size = [], 0
            for at, bucket, key, state in found:
                if self._membership.in_force.level(bucket) != n:
                    continue
                if size > _PAGE_BYTES:
                    break
                self._cursor = (tree, (at, bucket, key))
                if state is None:
                    self._replica.read_own(at, bucket, key)  # which finds the damage, and gives it up
                    continue
                rows.append(((at, bucket, key), state))
                size += len(state)
            if rows:
                return rows
        return []

    def on_stray_ask(self, sender: Address, message: StrayAsk) -> None:
        """A primary's side: what it has is durable before it says so."""
        if message.ring_digest != self._membership.ring.digest():
            self._runtime.send(sender, Refused(message.request_id, f"{self._runtime.name} knows another ring"))
            return
        if len(message.rows) > _ROWS:
            raise BadMessage(f"{len(message.rows):,} rows: there are at most {_ROWS} on a page")
        missing = []
        for index, (bucket, key, hashed) in enumerate(message.rows):
            at = place(bucket, key)
            if row_hash(at, self._replica.read_own(at, bucket, key)) != hashed:
                missing.append(index)
        self._runtime.send(sender, StrayTell(message.request_id, missing))

    def on_stray_tell(self, sender: Address, message: StrayTell) -> None:
        page = self._page
        if page is None or page.questions.get(message.request_id) != sender:
            return
        assert isinstance(sender, str)
        del page.questions[message.request_id]
        if not all(0 <= index < len(page.rows) for index in message.missing):
            raise BadMessage("an index of a row that was not asked for")
        page.open[sender] = set(message.missing)
        page.asked_at = self._runtime.now
        self._runtime.counters["strays_mended"] += len(message.missing)
        for index in message.missing:
            (_, bucket, key), state = page.rows[index]
            request_id = next(self._runtime.request_ids)
            page.mends[request_id] = sender, index
            self._runtime.send(sender, Mend(request_id, bucket, key, state))
        self._drop_if_all_have_it(page)

    def on_mend_reply(self, sender: Address, message: MendReply) -> None:
        page = self._page
        if page is None or (sent := page.mends.get(message.request_id)) is None or sent[0] != sender:
            return
        del page.mends[message.request_id]
        if isinstance(still_open := page.open[sent[0]], set):
            still_open.discard(sent[1])
        page.asked_at = self._runtime.now
        self._drop_if_all_have_it(page)

    def on_refused(self, sender: str, request_id: int) -> bool:
        """It knows another ring, or cannot store now: the page is asked about anew. Whether the request was one of these."""
        page = self._page
        if page is None or (request_id not in page.questions and request_id not in page.mends):
            return False
        self._page = None
        return True

    def _drop_if_all_have_it(self, page: _Page) -> None:
        if any(still_open is None or still_open for still_open in page.open.values()):
            return
        self._page = None
        if page.ring is not self._membership.ring:
            return
        for row, state in page.rows:
            self._replica.drop(*row, state)
            self._runtime.counters["strays_dropped"] += 1
        now = self._runtime.now
        self._runtime.call_at(now + min(_RESTS * (now - page.began), _EVERY_S), self._go_on, page.ring)

    def _go_on(self, ring: Ring) -> None:
        if ring is self._membership.ring:
            self._next = self._runtime.now
            self.tick()

    # --- hints ------------------------------------------------------------------------------------------------------------

    def _redirect_hints(self) -> None:
        """Make of each hint whose target is no primary of its key hints for those who are: some of them at a time."""
        if self._redirecting is None:
            self._redirecting, self._hints.sent_back = self._hints.all(), False
        looked = 0
        for target, (at, bucket, key), state in islice(self._redirecting, _HINTS_AT_ONCE):
            looked += 1
            self._redirect(target, at, bucket, key, state)
        if looked < _HINTS_AT_ONCE:
            self._redirecting, self._look_at_hints = None, False
        else:
            self._next = self._runtime.now + _HINTS_EVERY_S

    def _redirect(self, target: str, at: int, bucket: str, key: bytes, state: bytes) -> None:
        ring, me = self._membership.ring, self._runtime.name
        primaries = ring.primaries(ring.partition_of(at), self._membership.policy(bucket).n)
        if target in primaries:
            return
        try:
            for name in primaries:
                self._replica.merge("" if name == me else name, at, bucket, key, state)
        except StateTooLarge:
            self._runtime.counters["repairs_failed"] += 1  # it stays; a client has to resolve one of both
            return
        self._hints.forget(target, at, bucket, key)
        self._hints.end_session(state)
        self._runtime.counters["hints_redirected"] += 1
