"""§4.6 Hinted handoff: keeping what belongs to a primary that is away, and bringing it home.

A hint is a row (target, key) → merged version: many writes to one key make one hint. It is as durable as a replica's own copy,
its acknowledgement counts toward W, and reads see it while the target is away. It is deleted only after the target said that
its copy is durable, and only if it is still what was sent: a write that came in between stays for the next round.

Delivery begins when the failure detector says that a target is back, and a timer looks again, because events can be missed.
One batch per target is under way at a time; the target's acknowledgements pace the next one, so a busy target is not flooded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from dynazmq.config import MERGED_BYTES_MAX, MESSAGES_PER_FRAME_MAX
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.messages import Handoff, HandoffReply, HintsAsk, HintsTell
from dynazmq.dynamo.replica.overwritten import Overwritten
from dynazmq.dynamo.runtime import Address, DamagedRow, Runtime, StoreFailed
from dynazmq.dynamo.values.merkle import row_hash
from dynazmq.dynamo.values.versions import Siblings, context_fits, decode, encode, sync

Row = tuple[int, str, bytes]  # place, bucket, key
_START: Row = (-1, "", b"")
_BATCH_TIMEOUT_S = 2.0
_BATCH_BYTES = 512 << 10
_GONE_MAX = 32_768
_ROWS_PER_PAGE = 64  # shown to who looks: as many as are delivered at a time


class StateTooLarge(ValueError):
    """Two states that are each within the limits would together be more than a frame carries: they stay apart."""


def fits(state: Siblings, encoded: bytes) -> bool:
    """Whether a merge of two states can still be sent, and be read by a client."""
    return len(encoded) <= MERGED_BYTES_MAX and len(state.live) <= MESSAGES_PER_FRAME_MAX and context_fits(state.context)


def check_size(state: Siblings, encoded: bytes) -> None:
    """Raises StateTooLarge."""
    if not fits(state, encoded):
        raise StateTooLarge(f"{len(state.live):,} siblings of {len(encoded):,} bytes together: resolve some of them first")


class Delivery:
    """The handoff to one target: a cursor over its hints, and the batch under way."""

    __slots__ = ("cursor", "sent", "sent_at")

    def __init__(self) -> None:
        self.cursor = _START
        self.sent: dict[int, tuple[Row, bytes]] = {}
        self.sent_at = 0.0


class Hints:
    """Hints that this node holds for others. `pending` maps target → count."""

    def __init__(self, runtime: Runtime, identity: Identity, failure: FailureDetector, overwritten: Overwritten) -> None:
        self._runtime = runtime
        self._identity = identity
        self._failure = failure
        self._overwritten = overwritten
        self._interval = runtime.config.timing.handoff_interval_ms / 1000
        self._batch = runtime.config.timing.handoff_batch
        self._next_look = runtime.now + self._interval
        self._deliveries: dict[str, Delivery] = {}
        self.pending: dict[str, int] = {}
        self.since: dict[str, float] = {}  # target → when its oldest hint came, as far as this life of the process knows
        self.sent_back = False  # whether a target has refused one: its key may be others' by now (handover.py)
        self._gone: OrderedDict[Row, float] = OrderedDict()  # rows of hints that went lately, and when; the oldest first
        self._gone_since = runtime.now  # all that went since then are known
        self._kept: OrderedDict[tuple[str, Row], float] = OrderedDict()  # when hints of this life came, the newest of them
        self.reload()

    def reload(self) -> None:
        """Count anew what is stored: at the start, and after a failed commit."""
        self.pending = {target: total.count for target, total in self._runtime.store.hint_totals().items()}
        self.since = {target: self.since.get(target, self._runtime.now) for target in self.pending}

    # --- keeping ----------------------------------------------------------------------------------------------------------

    def keep(self, target: str, place: int, bucket: str, key: bytes, state: bytes) -> None:
        """Merge a version into the hint for (target, key). Raises StoreFailed, StateTooLarge, MalformedVersion."""
        store = self._runtime.store
        known = self._read(target, place, bucket, key)
        if known == state:
            return
        before, came = decode(known), decode(state)
        after = sync(before, self._overwritten.recognise(before, came))
        merged = state if after is came else encode(after)
        if merged == known:
            return
        if known:
            check_size(after, merged)
            self._overwritten.learn(before, after)
        if not known:
            self.pending[target] = self.pending.get(target, 0) + 1
            self.since.setdefault(target, self._runtime.now)
            self._runtime.counters["hints_stored"] += 1
            self._kept[target, (place, bucket, key)] = self._runtime.now
            if len(self._kept) > _GONE_MAX:
                self._kept.popitem(last=False)
        store.write_hint(target, place, bucket, key, merged)

    def states_of(self, place: int, bucket: str, key: bytes) -> list[bytes]:
        """What is kept of a key for anybody: a fallback answers reads with it."""
        # A copy: a damaged hint that is found on the way is given up, and may have been the last for its target.
        return [state for target in list(self.pending) if (state := self._read(target, place, bucket, key))]

    def targets_of(self, place: int, bucket: str, key: bytes) -> list[str]:
        """For whom something is kept of a key."""
        return [target for target in list(self.pending) if self._read(target, place, bucket, key)]

    def lately(self, row: Row, within_s: float) -> bool:
        """Whether a hint for this key is here, or may have been during this time."""
        if self.targets_of(*row):
            return True
        begin = self._runtime.now - within_s
        return self._gone_since > begin or self._gone.get(row, begin) > begin

    def holds(self, target: str, row: Row, state: bytes) -> bool:
        """Whether the hint for (target, key) is this very state."""
        return self._read(target, *row) == state

    def _read(self, target: str, place: int, bucket: str, key: bytes) -> bytes:
        try:
            return self._runtime.store.read_hint(target, place, bucket, key) if target in self.pending else b""
        except DamagedRow:
            self._runtime.counters["rows_damaged"] += 1
            self._runtime.counters["hints_dropped"] += 1  # read repair and anti-entropy bring what it held
            self._identity.new_epoch("a damaged hint was found")
            self.forget(target, place, bucket, key)
            return b""

    def all(self) -> Iterator[tuple[str, Row, bytes]]:
        """(target, row, state) of each hint that is here when it is its turn; who goes through them may change them."""
        for target in list(self.pending):
            after: Row | None = _START
            while after is not None:
                rows, after = self.page(target, after, _ROWS_PER_PAGE)
                yield from ((target, row, state) for row, state in rows)

    def page(self, target: str, after: Row, limit: int) -> tuple[list[tuple[Row, bytes]], Row | None]:
        """The next hints for a target behind `after`, and where to go on. Raises StoreFailed.

        Damaged ones are given up, for anti-entropy to mend: who passed them over would leave them to be met by nobody.
        """
        rows, behind = self._runtime.store.hints(target, after, limit)
        sound: list[tuple[Row, bytes]] = []
        for place, bucket, key, state in rows:
            if state is None:
                self._read(target, place, bucket, key)  # which finds the damage
            else:
                sound.append(((place, bucket, key), state))
        return sound, behind

    def on_hints_ask(self, sender: Address, message: HintsAsk) -> None:
        """Somebody looks at what is kept. A damaged hint is told as one of no hash and no bytes."""
        after = (message.after_place, message.after_bucket, message.after_key)
        rows, end = self._runtime.store.hints(message.target, after, _ROWS_PER_PAGE)
        told = [row for row in rows if row[0] <= message.last_place]
        more = end is not None and end[0] <= message.last_place
        behind = end if more and end is not None else _START
        told_rows = [[bucket, key, row_hash(place, state or b""), len(state or b"")] for place, bucket, key, state in told]
        self._runtime.send(sender, HintsTell(message.request_id, told_rows, more, *behind))

    def told(self, row: Row) -> list[list[str | bytes | int]]:
        """[target, state, age in ms] of each hint for a key, for who only looks: a damaged one is told without a state."""
        told: list[list[str | bytes | int]] = []
        for target in self.pending:
            try:
                if not (state := self._runtime.store.read_hint(target, *row)):
                    continue
            except DamagedRow:
                state = b""
            came = self._kept.get((target, row))
            told.append([target, state, -1 if came is None else int((self._runtime.now - came) * 1000)])
        return told

    # --- bringing home ----------------------------------------------------------------------------------------------------

    def deliver(self, target: str) -> None:
        """Send the next batch, unless one is under way or nothing waits."""
        if not self.pending.get(target) or not self._failure.reachable(target):
            return
        delivery = self._deliveries.setdefault(target, Delivery())
        if delivery.sent:
            return
        try:
            rows = self._batch_behind(target, delivery.cursor)
            if not rows and delivery.cursor != _START:
                delivery.cursor = _START  # those that were not acknowledged at first
                rows = self._batch_behind(target, delivery.cursor)
        except StoreFailed:
            self._runtime.counters["store_failures"] += 1  # the timer looks again
            return
        size = 0
        for row, state in rows:
            delivery.cursor = row
            request_id = next(self._runtime.request_ids)
            delivery.sent[request_id] = (row, state)
            handoff = Handoff(request_id, *row[1:], state)
            self._runtime.send(target, handoff)
            if row in self._runtime.unproven:
                self._runtime.unless_stored(target, handoff, None)  # again after a while
            size += len(state)
            if size > _BATCH_BYTES:
                break
        delivery.sent_at = self._runtime.now

    def _batch_behind(self, target: str, behind: Row) -> list[tuple[Row, bytes]]:
        """The next of a target's hints; none only where there are no more. Raises StoreFailed."""
        rows: list[tuple[Row, bytes]] = []
        after: Row | None = behind
        while not rows and after is not None:  # a page of what this turn has deleted is empty
            rows, after = self.page(target, after, self._batch)
        return rows

    def on_handoff_reply(self, sender: Address, message: HandoffReply) -> None:
        delivery = self._deliveries.get(sender) if isinstance(sender, str) else None
        if delivery is None or message.request_id not in delivery.sent:
            return
        assert isinstance(sender, str)
        (place, bucket, key), state = delivery.sent.pop(message.request_id)
        if self._read(sender, place, bucket, key) == state:
            self.forget(sender, place, bucket, key)
            self._runtime.counters["hints_delivered"] += 1
            self.end_session(state)
        if not delivery.sent:
            self.deliver(sender)

    def on_refused(self, sender: str, request_id: int) -> bool:
        """The target could not take one; it is tried again later. Whether the request was a handoff."""
        delivery = self._deliveries.get(sender)
        if delivery is None or delivery.sent.pop(request_id, None) is None:
            return False
        self.sent_back = True
        return True

    def tick(self) -> None:
        now = self._runtime.now
        if now < self._next_look:
            return
        self._next_look = now + self._interval
        for target in list(self.pending):
            delivery = self._deliveries.get(target)
            if delivery is not None and delivery.sent and now - delivery.sent_at > _BATCH_TIMEOUT_S:
                delivery.sent.clear()
                delivery.cursor = _START
            self.deliver(target)

    def next_deadline(self) -> float:
        return self._next_look if self.pending else float("inf")

    def end_session(self, state: bytes) -> None:
        """A hint with this state is gone. If this node wrote it itself, as a stand-in, its counter of the key went with it."""
        if decode(state).context.last(self._identity.stand_in_actor):
            self._identity.end_session()

    def forget(self, target: str, place: int, bucket: str, key: bytes) -> None:
        """It has come home, or others have it."""
        self._runtime.store.delete_hint(target, place, bucket, key)
        self._kept.pop((target, (place, bucket, key)), None)
        gone = self._gone
        gone[place, bucket, key] = self._runtime.now
        gone.move_to_end((place, bucket, key))
        if len(gone) > _GONE_MAX:
            _, self._gone_since = gone.popitem(last=False)
        left = self.pending.get(target, 0) - 1
        if left > 0:
            self.pending[target] = left
        else:
            self.pending.pop(target, None)
            self.since.pop(target, None)
            self._deliveries.pop(target, None)
