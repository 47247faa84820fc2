"""§4.3 What a node does to its own copies: read, merge, remember.

A replica never decides: it merges what it is given (`versions.sync`), so messages may come twice, late and in any order (N9,
N10). In a bucket where the last write wins it keeps the last of what is left; that has no order either (lww.py). Coordinators use
the same functions on the node's own copy.

It also remembers for a while the ids of writes that were overwritten here, and knows one that comes under another dot for what it
is (overwritten.py).
"""

from __future__ import annotations

from collections import OrderedDict

from dynazmq.config import BUDGET_MS_MAX
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import (
    Handoff,
    HandoffReply,
    Read,
    ReadReply,
    Recall,
    RecallReply,
    Refused,
    Write,
    WriteReply,
)
from dynazmq.dynamo.messages.fields import aged
from dynazmq.dynamo.replica.collectable import Retirable
from dynazmq.dynamo.replica.hints import Hints, check_size
from dynazmq.dynamo.replica.marks import Marks
from dynazmq.dynamo.replica.overwritten import Overwritten
from dynazmq.dynamo.replica.preference_list import Routes
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import Address, DamagedRow, OwnRow, Runtime
from dynazmq.dynamo.values.lww import latest
from dynazmq.dynamo.values.merkle import row_hash
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import Dot, Siblings, decode, decode_stored, encode, sync

UNDER_WAY_S = 0.2
"""The age in a Put or a Recall is that of its sending."""

_RETRIES_MAX = 8_192
"""Of which a node remembers that it was asked: 2 MB. A first try that is still under way arrives within a request's time."""

_ACKNOWLEDGED_MAX = 256  # with one WriteReply
_NOT_STORED = "what was read could not be stored"


class BadMessage(ValueError):
    """A field holds what no sender of this protocol would send. The frame was whole; the message is counted and dropped."""


class Replica:
    """This node's copies. `own` is what it holds as a primary; hints are what it holds for others."""

    def __init__(
        self,
        runtime: Runtime,
        identity: Identity,
        membership: Membership,
        routes: Routes,
        hints: Hints,
        trees: Trees,
        retirable: Retirable,
        overwritten: Overwritten,
    ) -> None:
        self._runtime = runtime
        self._trees = trees
        self._retirable = retirable
        self._identity = identity
        self._membership = membership
        self._routes = routes
        self._hints = hints
        self.keys = runtime.store.key_count()
        self.overwritten = overwritten
        self._retries: OrderedDict[bytes, float] = OrderedDict()  # write ids asked about → when they were tried first
        self.marks = Marks(runtime)

    # --- the node's own copy, also for its coordinators -------------------------------------------------------------------

    def read(self, at: int, bucket: str, key: bytes) -> bytes:
        """All that this node holds of a key: its own copy, what it keeps for others, marks that wait. Raises StateTooLarge."""
        own = self.read_own(at, bucket, key)
        if not self._hints.pending and not self.marks.waiting:
            return own
        for kept in self._hints.states_of(at, bucket, key):
            if own and own != kept:
                both = sync(decode(own), decode(kept))
                own = encode(both)
                check_size(both, own)
            else:
                own = kept
        return self.marks.on((at, bucket, key), own)

    def known(self, at: int, bucket: str, key: bytes) -> tuple[bytes, Siblings]:
        """The same as `read` with what it means."""
        held = self.read(at, bucket, key)
        return held, decode_stored(held)

    def merge(self, stands_for: str, at: int, bucket: str, key: bytes, state: bytes) -> bool:
        """Take a version into the own copy, or into the hint for the primary that this node stands in for.

        False: it held a write that was overwritten here under another dot. Whoever sent it should be shown what this node has.
        Raises StoreFailed, StateTooLarge.
        """
        if stands_for:
            self._hints.keep(stands_for, at, bucket, key, state)
            return True
        known = self.read_own(at, bucket, key)
        if known == state:
            return True
        came, stored = decode(state), decode_stored(known)
        self._check_counter(came, stored)
        incoming = self.overwritten.recognise(stored, came)
        after = sync(stored, incoming)
        if len(after.live) != 1:
            after = self._resolved(bucket, after, stored, incoming)
        merged = state if after is came else encode(after)
        if merged != known:
            if after is not came:
                check_size(after, merged)
            self.keys += not known
            self.overwritten.learn(stored, after)
            self._write_own(at, bucket, key, known, merged)
        return incoming is came

    def _resolved(self, bucket: str, merged: Siblings, *of: Siblings) -> Siblings:
        """What the bucket's policy leaves of concurrent writes that meet here: all of them, or the last one."""
        if not self._membership.is_lww(bucket):
            return merged
        one, discarded = latest(merged, *of)
        self._runtime.counters["lww_discarded"] += len(discarded)
        for sibling in discarded:
            self.overwritten.add(sibling.write_id, sibling.dot)
        return one

    def without_overwritten(self, at: int, bucket: str, key: bytes, seen: Siblings) -> Siblings:
        """What others hold, for who reads through this node: without writes of which it knows that they were overwritten.

        Raises StoreFailed, StateTooLarge.
        """
        if not any(sibling.write_id in self.overwritten for sibling in seen.live):
            return seen
        own = decode(self.read(at, bucket, key))  # as it is by now: what overwrote them is in it
        return sync(own, self.overwritten.recognise(own, seen))

    def store(self, stands_for: str, at: int, bucket: str, key: bytes, state: bytes, held: bytes) -> None:
        """Keep a state that was computed from everything that this node holds: `held`, as `read` has just given it."""
        if stands_for:
            self._hints.keep(stands_for, at, bucket, key, state)
            return
        # With hints about, it may rest on one of them alone: then this is the first own row.
        whole = not self._hints.pending and not self.marks.waiting
        own = held if whole or not held else self.read_own(at, bucket, key)
        if not own:
            self.keys += 1
        self._write_own(at, bucket, key, own, state)

    def _write_own(self, at: int, bucket: str, key: bytes, old: bytes, new: bytes) -> None:
        self._runtime.store.write(at, bucket, key, new)
        self._trees.written(at, bucket, key, old, new)
        self._retirable.look(at, bucket, key, new)

    def holds(self, at: int, bucket: str) -> bool:
        """Whether this node keeps a copy of its own of such a key: as a primary, or as one of the other owners of a change."""
        ring = self._membership.ring
        return self._runtime.name in ring.holders(ring.partition_of(at), self._membership.in_force.level(bucket))

    def drop(self, at: int, bucket: str, key: bytes, state: bytes) -> None:
        """Remove exactly this state, which the key's primaries have (handover.py)."""
        if self.read_own(at, bucket, key) != state:
            return
        known, actor = decode(state), self._identity.actor
        if any(sibling.actor == actor for sibling in known.live):
            # It may hold this key again before it has been told of that dot, and would give it to another write.
            self._identity.new_epoch("writes of its own are others' to keep now")
        else:
            self._identity.forget_up_to(known.context.last(actor))
        self.keys -= 1
        self._write_own(at, bucket, key, state, b"")

    def retire(self, at: int, bucket: str, key: bytes, hashed: int, remains: bytes) -> bool:
        """Replace exactly the state with this hash by what remains of it: b"" for a tombstone. Whether it was that state."""
        own = self.read_own(at, bucket, key)
        if not own or row_hash(at, own) != hashed:
            return False
        state = decode(own)
        if state.values if not remains else decode(remains).live != state.live:
            raise BadMessage("what remains of a row has all its values")
        if not remains:
            self._identity.forget_up_to(state.context.last(self._identity.actor))
            self.keys -= 1
        self._write_own(at, bucket, key, own, remains)
        return True

    def read_own(self, at: int, bucket: str, key: bytes) -> bytes:
        try:
            return self._runtime.store.read(at, bucket, key)
        except DamagedRow:
            self._runtime.counters["rows_damaged"] += 1
            self._identity.new_epoch("a damaged row was found")
            # Gone for good, in the same turn as the new epoch: what replaces it comes from the peers. And what it had overwritten
            # may have been overwritten by what is lost with it.
            self._runtime.store.write(at, bucket, key, b"")
            self._trees.forget(at)
            self.overwritten.clear()
            self.keys -= 1
            return b""

    def give_up_damaged(self, page: list[OwnRow]) -> None:
        """Those of a page of own rows that are damaged. Raises StoreFailed.

        A row that a peer lacks, too, is not shipped, and so nobody would read it: its tree would differ until the next survey.
        """
        for at, bucket, key, state in page:
            if state is None:
                self.read_own(at, bucket, key)  # which finds the damage

    def _check_counter(self, incoming: Siblings, known: Siblings) -> None:
        """A dot of ours that we do not know: this store was set back, and its counters are not to be trusted."""
        actor = self._identity.actor
        issued = incoming.context.last(actor)
        if issued > max(known.context.last(actor), self._identity.floor):
            self._identity.new_epoch(f"a peer shows write {issued} of {actor}, which is not in this store")

    # --- write ids --------------------------------------------------------------------------------------------------------

    def find(self, state: Siblings, write_id: bytes) -> Dot | None:
        """The dot of a write that is live in this state, or that was overwritten here not long ago."""
        for sibling in state.live:
            if sibling.write_id == write_id:
                return sibling.dot
        return self.overwritten.find(write_id)

    def is_done(self, state: Siblings, write_id: bytes) -> bool:
        """Whether this write is in this node's state, or is known to have been overwritten, under whatever dot."""
        return state.knows(write_id) or write_id in self.overwritten

    def recall(self, at: int, bucket: str, key: bytes, write_id: bytes, age_ms: int) -> tuple[bool, Dot | None, bytes]:
        """(is the answer certain, the write's dot if it is known here, the key's state).

        Of a write that was retried before and is overwritten the state may be all that tells (`Siblings.knows`).
        """
        state = self.read(at, bucket, key)
        dot = self.find(decode(state), write_id)
        first_try = self._runtime.now - age_ms / 1000 - UNDER_WAY_S
        return dot is not None or first_try > self.overwritten.since, dot, state

    def tried_elsewhere_ms(self, write_id: bytes) -> int:
        """How old a write is of which this node was asked, since somebody tries it again; 0 if it was not."""
        first_try = self._retries.get(write_id)
        return aged(1, int((self._runtime.now - first_try) * 1000)) if first_try is not None else 0

    def _note_retry(self, write_id: bytes, age_ms: int) -> None:
        """Whoever asks may write it anew by now, be it because this node has never seen it. So a first try that comes here after
        this is the later one (forward.py): done as if nobody else had, it would get a second dot of which no state tells.
        """
        self._retries[write_id] = self._runtime.now - age_ms / 1000
        if len(self._retries) > _RETRIES_MAX:
            self._retries.popitem(last=False)

    # --- messages ---------------------------------------------------------------------------------------------------------

    def on_read(self, sender: Address, message: Read) -> None:
        if message.budget_ms <= 0:
            self._runtime.counters["expired"] += 1
            return
        if message.ring_version and not self._membership.ring.is_near(message.ring_version):
            self._refuse_by_ring(sender, message)
            return
        at = place(message.bucket, message.key)
        self._show(sender, at, message, ReadReply(message.request_id, self.read(at, message.bucket, message.key)))

    def _show(self, peer: Address, at: int, asked: Read | Recall, reply: ReadReply | RecallReply) -> None:
        """Answer with a key's state. It may have a dot that this turn has given: that is not so before the commit."""
        self._runtime.send(peer, reply)
        if self._runtime.unproven and (at, asked.bucket, asked.key) in self._runtime.unproven:
            self._runtime.unless_stored(peer, reply, Refused(asked.request_id, _NOT_STORED))

    def _refuse_by_ring(self, sender: Address, message: Read) -> None:
        """One of both is steps behind: what is not here says nothing, since others may own the key by now, or may have then."""
        self._runtime.counters["reads_refused"] += 1
        self._membership.met(sender, message.ring_version)
        text = f"{self._runtime.name} goes by ring {self._membership.ring.version}, and was asked by ring {message.ring_version}"
        self._runtime.send(sender, Refused(message.request_id, text))

    def on_write(self, sender: Address, message: Write) -> None:
        if message.budget_ms <= 0:
            self._runtime.counters["expired"] += 1
            return
        at = place(message.bucket, message.key)
        if message.hint_for == self._runtime.name:
            message.hint_for = ""  # the sender holds us for away, and has found us: it is our own copy
        if message.hint_for and message.hint_for not in self._membership.members:
            if message.hint_for not in self._membership.intents:
                raise BadMessage(f"a hint for {message.hint_for!r}, who is no member")
            self._runtime.counters["hints_refused"] += 1  # its sender's ring is a step behind ours
            self._runtime.send(sender, Refused(message.request_id, f"{message.hint_for} is no member any more"))
            return
        if not self.merge(message.hint_for, at, message.bucket, message.key, message.state):
            self._correct(sender, at, message.bucket, message.key)
        if message.request_id:
            self._stored(sender, message.request_id)

    def _stored(self, sender: Address, request_id: int) -> None:
        """Acknowledge a write. Those of one turn to one coordinator leave as one message: half of a put's messages are these."""
        waiting = self._runtime.outbox.get(sender)
        if waiting and (last := waiting[-1]).__class__ is WriteReply and len(last.request_ids) < _ACKNOWLEDGED_MAX:
            last.request_ids.append(request_id)
        else:
            self._runtime.send(sender, WriteReply([request_id]))

    def _correct(self, sender: Address, at: int, bucket: str, key: bytes) -> None:
        """Repair what a primary holds that has sent us a write that is overwritten."""
        primaries = self._routes.copies(self._routes.partition_of(at), self._membership.policy(bucket).n).primaries
        if sender in primaries:
            self._runtime.send(sender, Write(0, bucket, key, self.read_own(at, bucket, key), "", BUDGET_MS_MAX))

    def on_recall(self, sender: Address, message: Recall) -> None:
        if message.budget_ms <= 0:
            self._runtime.counters["expired"] += 1
            return
        self._note_retry(message.write_id, message.age_ms)
        at = place(message.bucket, message.key)
        sure, dot, state = self.recall(at, message.bucket, message.key, message.write_id, message.age_ms)
        actor, counter = dot or ("", 0)
        self._show(sender, at, message, RecallReply(message.request_id, sure, actor, counter, state))

    def on_handoff(self, sender: Address, message: Handoff) -> None:
        """A hint comes home. Refused when it is for a key that is not ours (W18)."""
        at = place(message.bucket, message.key)
        if not self.holds(at, message.bucket):
            self._runtime.counters["handoffs_refused"] += 1
            self._runtime.send(sender, Refused(message.request_id, f"{self._runtime.name} is no primary of this key"))
            return
        self.merge("", at, message.bucket, message.key, message.state)
        self._runtime.send(sender, HandoffReply(message.request_id))
