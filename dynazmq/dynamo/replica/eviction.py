"""§4.6 §4.7 Hints that take more room than they may: those are let go that anti-entropy can bring instead.

A primary that stays away for a week would fill the disks of those who stand in for it. A limit on that must refuse no write, and
must not cost one either: a hint is a copy that a write was acknowledged for. Past `max_hint_bytes` they are *offered*:

    the target for which most bytes are kept, page by page
        ──Mend──▶ all other primaries of the key
        ◀─MendReply──  each has it for good
    at W of them and at every one that there is: the hint goes, if it is still what was offered, and the ring is

Where the ring has changed meanwhile, some of those who answer may be no primaries any more: of those who are read now too few
might have it. So the hint stays, and is offered to those who are, when the ring is at rest.

The target is brought the key by anti-entropy when it is back. A hint whose key has too few other primaries, or one that is away,
stays: over the limit, and `status` shows by how much.

Until then N − 1 disks have what was let go. That is enough for whatever W a write had, but N: one that waited for all in a bucket
of a smaller W, and counted the hint for the primary that was away, has a copy less than it was acknowledged for. Nothing tells
such a hint from others. Who wants a write on N disks whatever comes asks for N primaries (pw).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import Mend, MendReply
from dynazmq.dynamo.replica.hints import Hints, StateTooLarge
from dynazmq.dynamo.replica.replica import Replica
from dynazmq.dynamo.runtime import Address, Row, Runtime, StoreFailed
from dynazmq.dynamo.values.ring import Ring

_START: Row = (-1, "", b"")
_ROWS = 64  # of a page
_EVERY_S = 0.5
_FRUITLESS_S = 10.0  # until the next look when a whole round has found nothing that may go
_PATIENCE_S = 5.0


@dataclass(slots=True)
class _Offer:
    """A hint that others are asked to keep. ring: by which they are the others. awaited: those who have not said that they do."""

    ring: Ring
    target: str
    row: Row
    state: bytes
    awaited: dict[str, None] = field(default_factory=dict)


class Eviction:
    """One node's. Works only while there is too much."""

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        failure: FailureDetector,
        hints: Hints,
        replica: Replica,
        anti_entropy_works: Callable[[], bool],
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self._failure = failure
        self._hints = hints
        self._replica = replica
        self._anti_entropy_works = anti_entropy_works
        self._next = runtime.now
        self._offers: dict[int, _Offer] = {}  # by the request of each Mend under way
        self._offered_at = 0.0
        self._cursor: tuple[str, Row] = "", _START  # whose hints are gone through, and how far
        self._gained = False  # whether a hint of the present page has gone
        self._found = False  # whether this round has found anything that may go

    def tick(self) -> None:
        now = self._runtime.now
        if now < self._next:
            return
        self._next = now + _EVERY_S
        if self._offers and now - self._offered_at > _PATIENCE_S:
            self._offers.clear()
        try:
            self._go_on()
        except StoreFailed:
            self._runtime.counters["store_failures"] += 1

    def next_deadline(self) -> float:
        return self._next

    def _go_on(self) -> None:
        """Offer the next page, unless one is under way or there is room. Raises StoreFailed."""
        totals = self._runtime.store.hint_totals()
        if self._offers or sum(total.bytes for total in totals.values()) <= self._runtime.config.max_hint_bytes:
            return
        if not self._membership.settled or not self._membership.ring.at_rest:
            return  # who the primaries are is about to change; hints may be redirected (handover.py)
        if not self._anti_entropy_works():
            return
        target, after = self._cursor
        if target not in totals:
            target, after = max(totals, key=lambda name: totals[name].bytes), _START
        rows, behind = self._hints.page(target, after, _ROWS)
        for row, state in rows:
            self._offer(_Offer(self._membership.ring, target, row, state))
        self._offered_at = self._runtime.now
        self._cursor = (target, behind) if behind is not None else ("", _START)
        if behind is None:
            if not self._found:
                self._next = self._runtime.now + _FRUITLESS_S
            self._found = False

    def _offer(self, offer: _Offer) -> None:
        at, bucket, key = offer.row
        others = self._others(offer.target, at, bucket)
        if not others:
            return
        if self._runtime.name in others:
            try:
                self._replica.merge("", at, bucket, key, offer.state)
            except StateTooLarge:
                return  # a client has to resolve one of both
        offer.awaited = {name: None for name in others if name != self._runtime.name}
        self._found = True
        for name in offer.awaited:
            request_id = next(self._runtime.request_ids)
            self._offers[request_id] = offer
            self._runtime.send(name, Mend(request_id, bucket, key, offer.state))

    def _others(self, target: str, at: int, bucket: str) -> tuple[str, ...]:
        """Who must have a key before the hint for this target may go; () when it must stay."""
        ring, policy = self._membership.ring, self._membership.policy(bucket)
        primaries = ring.primaries(ring.partition_of(at), policy.n)
        others = tuple(name for name in primaries if name != target)
        if target not in primaries or len(others) < max(policy.w, 1):
            return ()
        me = self._runtime.name
        if others == (me,) or not all(name == me or self._failure.reachable(name) for name in others):
            return ()
        return others

    def on_mend_reply(self, sender: Address, message: MendReply) -> None:
        """One of them has it, with whatever it had before."""
        offer = self._offers.get(message.request_id)
        if offer is None or not isinstance(sender, str) or sender not in offer.awaited:
            return
        del self._offers[message.request_id]
        del offer.awaited[sender]
        kept = not offer.awaited and offer.ring is self._membership.ring
        if kept and self._hints.holds(offer.target, offer.row, offer.state):
            self._hints.forget(offer.target, *offer.row)
            self._hints.end_session(offer.state)
            self._runtime.counters["hints_evicted"] += 1
            self._gained = True
        if not self._offers and self._gained:
            # The next page, after a rest as long as this one took: foreground work goes first.
            self._gained, now = False, self._runtime.now
            self._runtime.call_at(now + min(now - self._offered_at, _EVERY_S), self._look_again, None)

    def _look_again(self, _: None) -> None:
        self._next = self._runtime.now
        self.tick()

    def on_refused(self, sender: str, request_id: int) -> bool:
        """It cannot take one now, so that one stays. Whether the request was one of these."""
        offer = self._offers.pop(request_id, None)
        return offer is not None
