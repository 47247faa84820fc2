"""§4.5 §4.6 The life of one put (or delete: its value is a tombstone), top to bottom.

    client ──Put──▶ any node        not among the key's reachable N? forward.py passes it to a primary
                    coordinator     a retry first asks whether its first try is known (idempotent_retry.py)
                      1. merge      all that this node holds of the key, minus what the context covers, plus the new dot
                      2. replicate  ──Write──▶ the other reachable nodes of the preference list's first N;
                                               a fallback gets the name of the primary that it stands in for
                      3. count      ◀─WriteReply── durable there. The coordinator's own copy is durable, too, before anything
                                               of this leaves the node: the driver commits before it sends
    client ◀─PutReply── at W
                      4. afterwards a replica that is slow or refuses is stood in for: a fallback gets the version with a hint;
                                    when nobody is left, the coordinator keeps the hint itself

Steps 2 and 4 together are the sloppy quorum: a put succeeds while W nodes of the whole cluster can be reached (promise 2).
"""

from __future__ import annotations

from collections.abc import Iterator

from dynazmq.config import BUDGET_MS_MAX, SIBLINGS_MAX, STATE_BYTES_MAX, SUSPECTED_MAX
from dynazmq.dynamo.coordinator.dual_ownership import Joint
from dynazmq.dynamo.coordinator.marking import Marking
from dynazmq.dynamo.coordinator.operations import Operations
from dynazmq.dynamo.coordinator.put_op import PutOp
from dynazmq.dynamo.coordinator.stats import Latency
from dynazmq.dynamo.coordinator.suspected_retries import NOTICED_S, Elsewhere
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import (
    INVALID,
    NOT_YET,
    OVERLOADED,
    STORAGE,
    TIMEOUT,
    UNAVAILABLE,
    Failure,
    Put,
    PutReply,
    PutTell,
    Write,
    WriteReply,
)
from dynazmq.dynamo.messages.fields import COUNTER_MAX
from dynazmq.dynamo.replica.hints import Hints, StateTooLarge, check_size
from dynazmq.dynamo.replica.preference_list import Copies, Routes
from dynazmq.dynamo.replica.replica import BadMessage, Replica
from dynazmq.dynamo.runtime import Address, Runtime, StoreFailed
from dynazmq.dynamo.values.lww import at_least, clock, latest, stamp
from dynazmq.dynamo.values.quorum import IMPOSSIBLE, Quorum
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import (
    BadContext,
    Dot,
    Siblings,
    context_fits,
    decode,
    encode,
    open_context,
    put,
    seal_context,
)

WRITE_ID_BYTES = 16

_RETRY_EXPECTED_S = 0.25
"""A client that has waited for a little longer asks elsewhere."""


class Puts:
    """Coordinates puts at this node."""

    def __init__(
        self,
        runtime: Runtime,
        identity: Identity,
        membership: Membership,
        failure: FailureDetector,
        routes: Routes,
        replica: Replica,
        hints: Hints,
        latency: Latency,
        elsewhere: Elsewhere,
    ) -> None:
        self._runtime = runtime
        self._identity = identity
        self._membership = membership
        self._failure = failure
        self._routes = routes
        self._replica = replica
        self._hints = hints
        self._latency = latency
        self._elsewhere = elsewhere
        self._marking = Marking(runtime, replica, hints)
        self._hint_after = runtime.config.timing.hint_after_ms / 1000
        self._ops: Operations[PutOp] = Operations()
        self.write_ids: set[bytes] = set()  # of these
        self._joint = Joint(runtime, membership, failure, replica, self._reply_if_done)

    def __len__(self) -> int:
        return len(self._ops)

    @property
    def may_leave_hints(self) -> bool:
        """Whether somebody is waited for, instead of whom a hint may have to be kept here."""
        return bool(self._ops or len(self._joint))

    def ring_changed(self) -> None:
        """What is under way obeys the new ring as well, before this node says that it knows of it."""
        for op in list(self._ops.values()):
            if not op.done:
                self._runtime.counters["puts_caught_up"] += 1
                try:
                    self._joint.ask(op)
                except (StoreFailed, StateTooLarge) as error:
                    self._runtime.note(f"a put under way does not reach its new owners, which will fetch it: {error}")

    def under_way(self) -> Iterator[tuple[str, bytes]]:
        """(bucket, key) of each."""
        return ((op.message.bucket, op.message.key) for op in self._ops.values())

    # --- a client asks ----------------------------------------------------------------------------------------------------

    def admit(self, client: Address, message: Put) -> PutOp | None:
        """The op for a put that may be done, or None: then it was refused, and nothing was attempted."""
        if message.budget_ms <= 0:
            self._runtime.counters["expired"] += 1
            return None
        message.budget_ms = min(message.budget_ms, BUDGET_MS_MAX)
        try:
            n, w, pw = self._effective(message)
            seen = open_context(message.context, message.bucket, message.key, self._runtime.config.secret)
        except (BadMessage, BadContext) as error:
            self.fail(client, message, INVALID, 0, 0, str(error))
            return None
        if len(self._ops) >= self._runtime.config.max_in_flight:
            self._runtime.counters["overloads"] += 1
            self.fail(client, message, OVERLOADED, 0, 0, f"{len(self._ops):,} puts under way")
            return None
        if self._ops and self._ops.bytes + len(message.value or b"") > self._runtime.config.max_bytes_in_flight:
            self._runtime.counters["overloads"] += 1
            self.fail(client, message, OVERLOADED, 0, 0, f"{self._ops.bytes:,} bytes of puts under way")
            return None
        at = place(message.bucket, message.key)
        copies = self._routes.copies(self._routes.partition_of(at), n)
        if len(copies.targets) < w or len(copies.reachable_primaries) < pw:
            self._unavailable(client, message, copies, w, pw)
            return None
        return PutOp(client, message, at, seen, copies, self._membership.ring, Quorum(w, pw), self._runtime.now)

    def _effective(self, message: Put) -> tuple[int, int, int]:
        """n, w, pw of this request after the bucket's policy. Raises BadMessage with the limit and what was given."""
        if message.value is not None and len(message.value) > self._runtime.config.max_value_bytes:
            limit = self._runtime.config.max_value_bytes
            raise BadMessage(f"value of {len(message.value):,} bytes is over the limit of {limit:,} bytes")
        policy = self._membership.policy(message.bucket)
        if not (message.n or message.w or message.pw):  # the usual case
            return policy.n, policy.w, 0
        n = message.n or policy.n
        if not 1 <= n <= policy.n:
            raise BadMessage(f"n={n} is not in 1..{policy.n}, the bucket's n")
        w = n if message.w == -1 else message.w or min(policy.w, n)
        if not 1 <= w <= n:
            raise BadMessage(f"w={w} is not in 1..{n} (n={n})")
        if not 0 <= message.pw <= n:
            raise BadMessage(f"pw={message.pw} is not in 0..{n} (n={n})")
        return n, max(w, message.pw), message.pw

    # --- 1. merge ---------------------------------------------------------------------------------------------------------

    def write(self, op: PutOp) -> None:
        """Give the put its dot and store it here."""
        message, name = op.message, self._runtime.name
        try:
            held, known = self._replica.known(op.at, message.bucket, message.key)
            if self._replica.is_done(known, message.write_id):
                self.complete(op, known, self._replica.find(known, message.write_id))
                return
            stands_for = dict(op.copies.targets)[name]
            actor, floor = self._actor(op, known, stands_for)
            wall_ms = self._runtime.wall_ms
            if lww := self._membership.is_lww(message.bucket):
                wall_ms = stamp(known, op.context, wall_ms)
                op.context = at_least(op.context, wall_ms)
            state, new, gone = put(known, op.context, actor, message.value, message.write_id, wall_ms, floor)
            if lww:
                state, discarded = latest(state)
                gone += discarded
                self._runtime.counters["lww_discarded"] += len(discarded)
            op.context = op.context.add(new.actor, new.counter)
            # Of this write, if whoever could not be asked may hold its first try; and of those that end here.
            again = [message.write_id] if op.retried else []
            if gone:
                op.gone = [(sibling.write_id, sibling.wall_ms) for sibling in gone]
                again += self._elsewhere.suspected(state, gone)
            if again:
                state, op.context = state.with_retried(*again), op.context.with_retried(again)
            if (refusal := _too_much(known, state, encoded := encode(state))) is not None:
                self.refuse(op, INVALID, refusal)
                return
            self.replicate(op, encoded, stands_for, held)
            for sibling in gone:
                self._replica.overwritten.add(sibling.write_id, sibling.dot)
        except StoreFailed as error:
            self._runtime.counters["store_failures"] += 1
            self.refuse(op, STORAGE, str(error))
        except StateTooLarge as error:
            self.refuse(op, INVALID, str(error))

    def complete(self, op: PutOp, state: Siblings, dot: Dot | None) -> None:
        """The put is done already, under this dot: bring its copies to W. state: what is known of the key elsewhere.

        A frame came twice (N9), or a retry has found its first try; dot is None for one that is overwritten and of which the
        state knows no more than that. Raises StoreFailed, StateTooLarge.
        """
        self._runtime.counters["retries_recognised"] += 1
        if op.asks:
            self._runtime.counters["values_not_resent"] += 1
            self._runtime.send(op.client, PutTell(op.message.request_id, True))
        message = op.message
        stands_for = dict(op.copies.targets)[self._runtime.name]
        op.context = at_least(op.context, clock(state.context))
        if dot is not None:
            op.context = op.context.add(*dot)
        self._replica.merge(stands_for, op.at, message.bucket, message.key, encode(state))
        # What this node holds now, merged, is what the others get: at least the first try, or what overwrote it.
        held = encoded = self._replica.read(op.at, message.bucket, message.key)
        known = decode(held)
        # It may have been tried more often than twice, and not all tries were found. Only of a state that has the write, or what
        # overwrote it, or of none at all: any other would say that it is overwritten, and by nothing.
        if op.retried and (not held or known.knows(message.write_id) or (dot is not None and known.context.covers(*dot))):
            known, op.context = known.with_retried(message.write_id), op.context.with_retried([message.write_id])
            check_size(known, encoded := encode(known))
        self.replicate(op, encoded, stands_for, held)

    def _actor(self, op: PutOp, known: Siblings, stands_for: str) -> tuple[str, int]:
        """The name under which the dot is given, and the counter above which it is.

        A caller who has seen more of ours than this store held at any time: it was set back.
        """
        identity = self._identity
        actor, floor = (identity.stand_in_actor, 0) if stands_for else (identity.actor, identity.floor)
        given, seen = max(known.context.last(actor), floor), op.context.last(actor)
        if seen <= given < COUNTER_MAX - 1:  # the usual case
            return actor, floor
        if max(given, seen) >= COUNTER_MAX - 1:
            identity.new_epoch(f"the counters of {actor} are at their end, as somebody has told them")
        else:
            identity.new_epoch(f"a client shows write {seen} of {actor}, which is not in this store")
        return (identity.stand_in_actor if stands_for else identity.actor), 0

    # --- 2. replicate -----------------------------------------------------------------------------------------------------

    def replicate(self, op: PutOp, state: bytes, own_stands_for: str, held: bytes) -> None:
        """Store the state here, where `held` was, and send it to the other targets. Raises StoreFailed, having done nothing."""
        message, name = op.message, self._runtime.name
        self._replica.store(own_stands_for, op.at, message.bucket, message.key, state, held)
        op.state = state
        op.spares = list(reversed(op.copies.spares))
        op.request_id = request_id = next(self._runtime.request_ids)
        self._ops[request_id] = op
        self.write_ids.add(message.write_id)
        self._ops.hold(op, len(state))
        self._runtime.aborts.append((self._not_stored, op))
        self._runtime.unproven.add((op.at, message.bucket, message.key))
        budget_ms = int((op.deadline - self._runtime.now) * 1000)
        for node, stands_for in op.copies.targets:
            op.quorum.ask(node, not stands_for)
            op.stands_for[node] = stands_for
            if node != name:
                self._runtime.send(node, Write(request_id, message.bucket, message.key, state, stands_for, budget_ms))
        for primary in op.copies.alone:
            self._keep_hint(op, primary)
        if (ring := self._membership.ring).also or ring is not op.ring:
            self._joint.ask(op)
        self._runtime.call_at(min(self._runtime.now + self._latency.hedge_s, op.deadline), self._overdue, op)
        self._answered(op, name)

    # --- 3. count ---------------------------------------------------------------------------------------------------------

    def on_write_reply(self, sender: Address, message: WriteReply) -> None:
        assert isinstance(sender, str)
        self._failure.answered(sender)
        for request_id in message.request_ids:
            op = self._ops.get(request_id)
            if op is not None:
                self._latency.replica(self._runtime.now - op.started)
                self._answered(op, sender)
            else:
                self._joint.answered(sender, request_id)

    def _answered(self, op: PutOp, who: str) -> None:
        twin = self._holder(op, op.stands_for[who] or who) if op.stood_in and who in op.quorum.outstanding else ""
        if not op.quorum.answer(who):
            return
        if op.others and not op.stands_for[who]:
            op.others.discard(who)
        if twin:
            # A primary and its stand-in are one copy: the hint goes home and is gone. The primary counts if both are there.
            op.quorum.answered.remove(who if op.stands_for[who] else twin)
        self._reply_if_done(op)
        if twin or not op.quorum.outstanding:
            self._one_less(op)

    def _holder(self, op: PutOp, primary: str) -> str:
        """Who has acknowledged this primary's copy: itself or a stand-in; "" if nobody has."""
        return next((node for node in op.quorum.answered if (op.stands_for[node] or node) == primary), "")

    def _one_less(self, op: PutOp) -> None:
        """One who was asked will not answer again."""
        if not op.done and op.quorum.state == IMPOSSIBLE:
            why = f" ({op.why_not})" if op.why_not else ""
            self._leave_unknown(op, f"too few replicas could store it; some have{why}")
        if not op.quorum.outstanding:
            self._forget(op)

    def _reply_if_done(self, op: PutOp) -> None:
        if op.done or op.others or not op.quorum.reached:
            return
        if self._runtime.now >= op.started + _RETRY_EXPECTED_S:
            self._expect_retry(op)  # first: what is overwritten by this reply's context is so under the retry's dot as well
        self._reply(op)

    def _reply(self, op: PutOp) -> None:
        op.done = True
        message, acked = op.message, op.quorum.answered
        token = seal_context(op.context, message.bucket, message.key, self._runtime.config.secret)
        stand_ins = [[node, op.stands_for[node]] for node in acked if op.stands_for[node]]
        # A copy of the list: a third replica may answer before this leaves, and the reply speaks of W.
        self._runtime.send(op.client, PutReply(message.request_id, token, list(acked), stand_ins))
        self._runtime.counters["puts_ok"] += 1
        self._latency.put(self._runtime.now - op.started)

    # --- 4. afterwards ----------------------------------------------------------------------------------------------------

    def _overdue(self, op: PutOp) -> None:
        """Somebody is slow. Before W: stand in for them now, if they are silent or that may be hedged.

        After W: give them the patience that a hint is worth, and then as long as they answer others. At the deadline nobody is
        waited for.
        """
        if op.request_id not in self._ops:
            return
        now = self._runtime.now
        if now >= op.deadline:
            for primary in dict.fromkeys([op.stands_for[node] or node for node in op.quorum.outstanding]):
                if not self._holder(op, primary):
                    self._keep_hint(op, primary)  # neither it nor a stand-in has it: nobody else will bring it
            if not op.done:
                self._leave_unknown(op, "the deadline passed before W copies")
            self._forget(op)
            return
        if now >= op.started + _RETRY_EXPECTED_S:
            self._expect_retry(op)
        if not op.done or now >= op.started + self._hint_after:
            for node in list(op.quorum.outstanding):
                if self._failure.silent(node, op.started) or (not op.done and self._latency.may_hedge()):
                    self._stand_in(op, op.stands_for[node] or node)
        again = self._hint_after if op.done else self._latency.hedge_s
        self._runtime.call_at(min(now + again, op.deadline), self._overdue, op)

    def _expect_retry(self, op: PutOp) -> None:
        """The client may be asking elsewhere by now, where nobody knows of this try: somebody here is silent, and may be there.

        So this try says already that its write may have another dot, before anybody overwrites it; and so may those that it has
        overwritten, if they were written when he who is silent was lost. Slow peers are no reason: the retry finds the write with
        them (idempotent_retry.py), and under load each put would be stored twice.

        Who was away before the put began was not even asked to store it; while its client has no answer he is a reason, too,
        as long as there is room: puts that are slow because nodes have much to do are many, and somebody may be away for days.
        """
        silent = any(self._failure.silent(node, op.started) for node in op.quorum.outstanding)
        away = not op.done and self._failure.misses_somebody()
        if silent or (away and len(decode(op.state).context.retried) < SUSPECTED_MAX):
            self._mark(op)

    def _leave_unknown(self, op: PutOp, text: str) -> None:
        """The client is told that some have it, and will mostly try again elsewhere: be it where nobody can hear of this try."""
        self._mark(op)
        self.fail(op.client, op.message, TIMEOUT, op.quorum.needed, len(op.quorum.answered), text)
        op.done = True

    def _mark(self, op: PutOp) -> None:
        """Have those who hold this try know that its write may have another dot."""
        message = op.message
        again = [] if op.done else [message.write_id]
        again += [write_id for write_id, wall_ms in op.gone if self._elsewhere.age_s(wall_ms) < NOTICED_S]
        if op.context.retried.issuperset(again):
            return
        if op.done and len(decode(op.state).context.retried) >= SUSPECTED_MAX:
            return
        self._marking.mark(op, again)

    def _stand_in(self, op: PutOp, primary: str) -> None:
        """Have somebody hold the version for a primary that does not answer: the next spare, or this node."""
        if primary in op.stood_in:
            return
        op.stood_in.add(primary)
        self._runtime.counters["stand_ins"] += 1
        while op.spares:
            node = op.spares.pop()
            # One that somebody stands in for gets that copy when the hint goes home: with another it would hold two.
            if not self._failure.reachable(node) or node in op.stands_for or node in op.stands_for.values():
                continue
            op.quorum.ask(node, primary=False)
            op.stands_for[node] = primary
            budget_ms = max(int((op.deadline - self._runtime.now) * 1000), 100)
            self._runtime.send(node, Write(op.request_id, op.message.bucket, op.message.key, op.state, primary, budget_ms))
            return
        self._keep_hint(op, primary)

    def _keep_hint(self, op: PutOp, primary: str) -> None:
        """A hint here, on the disk of the own copy, does not count toward W."""
        if primary == self._runtime.name:
            return
        try:
            self._hints.keep(primary, op.at, op.message.bucket, op.message.key, op.state)
        except (StoreFailed, StateTooLarge):
            self._runtime.counters["hints_not_kept"] += 1

    def hear_why(self, request_id: int, text: str) -> None:
        """A replica has refused, for this reason: its client may have to be told."""
        if (op := self._ops.get(request_id)) is not None:
            op.why_not = text

    def on_refused(self, sender: str, request_id: int) -> bool:
        """A replica could not store it. Whether the request was a put's."""
        op = self._ops.get(request_id)
        if op is None or sender not in op.quorum.outstanding:
            return self._joint.on_refused(sender, request_id)
        op.quorum.fail(sender)
        if op.stands_for[sender]:
            op.stood_in.discard(op.stands_for[sender])
        self._stand_in(op, op.stands_for[sender] or sender)
        self._one_less(op)
        return True

    def _forget(self, op: PutOp) -> None:
        self._ops.drop(op.request_id)
        self.write_ids.discard(op.message.write_id)

    # --- what can go wrong ------------------------------------------------------------------------------------------------

    def _not_stored(self, op: PutOp) -> None:
        """This turn's commit failed: the dot was never given, and nothing of this put has left the node."""
        self._forget(op)
        self._joint.forget(op)
        op.done = op.void = True
        self.refuse(op, STORAGE, self._runtime.not_stored())

    def _unavailable(self, client: Address, message: Put, copies: Copies, w: int, pw: int) -> None:
        if self._failure.settling():
            self.fail(client, message, NOT_YET, w, len(copies.targets), f"{self._runtime.name} has just started")
            return
        few = len(copies.targets) < w
        required, alive = (w, len(copies.targets)) if few else (pw, len(copies.reachable_primaries))
        what = "replicas" if few else "primaries"
        self.fail(client, message, UNAVAILABLE, required, alive, f"{required} {what} are needed, {alive} can be reached")

    def ask_for_value(self, op: PutOp) -> None:
        """Its client has asked without the value, and has to send it."""
        self._runtime.send(op.client, PutTell(op.message.request_id, False))

    def refuse(self, op: PutOp, code: int, text: str) -> None:
        """Nothing was attempted here. If it may have been elsewhere, that is what the client must hear."""
        if op.maybe:
            text = f"an earlier try may have been done, but: {text}"
        self.fail(op.client, op.message, TIMEOUT if op.maybe else code, op.quorum.needed, 0, text)

    def fail(self, client: Address, message: Put, code: int, required: int, received: int, text: str) -> None:
        self._runtime.counters["puts_failed"] += 1
        self._runtime.send(client, Failure(message.request_id, code, required, received, 50 if code == OVERLOADED else 0, text))


def _too_much(before: Siblings, after: Siblings, encoded: bytes) -> str | None:
    """Why a put would make the key too large to be read again, if it would."""
    count = len(after.live)
    if count > SIBLINGS_MAX and count > len(before.live):
        return f"{count:,} siblings, the limit is {SIBLINGS_MAX}: resolve them first (put with the context of a get)"
    if not context_fits(after.context):
        return f"its context has {len(after.context.vector):,} entries, more than a client can be given"
    if len(encoded) > STATE_BYTES_MAX:
        return f"{count:,} siblings of {len(encoded):,} bytes, the limit is {STATE_BYTES_MAX:,}: resolve them first"
    return None
