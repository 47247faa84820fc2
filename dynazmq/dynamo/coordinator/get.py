"""§4.5 §4.6 The life of one get, top to bottom, ending in read repair.

    client ──Get──▶ coordinator     any node; ──Read──▶ just enough replicas for R, itself first if it has a copy
                        ◀─ReadReply─┘        a slow one is hedged: after a small delay the next is asked as well
    client ◀─GetReply── at R replies: all concurrent versions and one context that covers them
                        ──Write──▶ to each replica that answered with less: read repair

*Absent* is what R primaries say. A fallback that has nothing of a key, or a tombstone, was not told what came before the primary
for whom it stands in went away. So where too few primaries can be reached and nobody shows a value, the key is unknown, and that
is an error. What is found is answered at R of whoever holds it or stands in (§4.6).

Asking R and not N replicas is where we depart from the paper: a third of the reads is saved, and the hedge brings back what
asking everybody would have given, a slow replica that does not make the get slow.
"""

from __future__ import annotations

from collections.abc import Iterator

from dynazmq.config import BUDGET_MS_MAX
from dynazmq.dynamo.coordinator.operations import Operations
from dynazmq.dynamo.coordinator.stats import Latency
from dynazmq.dynamo.coordinator.suspected_retries import Elsewhere
from dynazmq.dynamo.membership.failure import FailureDetector
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import (
    INVALID,
    NOT_YET,
    OVERLOADED,
    STORAGE,
    TIMEOUT,
    UNAVAILABLE,
    Failure,
    Get,
    GetReply,
    Read,
    ReadReply,
    Write,
)
from dynazmq.dynamo.replica.hints import StateTooLarge, fits
from dynazmq.dynamo.replica.preference_list import Copies, Routes
from dynazmq.dynamo.replica.replica import BadMessage, Replica
from dynazmq.dynamo.runtime import Address, Runtime, StoreFailed
from dynazmq.dynamo.values.lww import latest
from dynazmq.dynamo.values.quorum import IMPOSSIBLE, Quorum
from dynazmq.dynamo.values.ring import place
from dynazmq.dynamo.values.versions import EMPTY, Siblings, decode, decode_stored, encode, node_of, seal_context, sync


class GetOp:
    """One get under way."""

    __slots__ = (
        "at", "candidates", "client", "deadline", "done", "held", "message", "primaries", "quorum", "request_id", "started",
        "states",
    )  # fmt: skip

    def __init__(self, client: Address, message: Get, at: int, now: float) -> None:
        self.client = client
        self.message = message
        self.at = at
        self.request_id = 0  # this and the next three: of its present round, see Gets._begin
        self.quorum: Quorum
        self.primaries: tuple[str, ...] = ()
        self.candidates: list[tuple[str, bool]] = []  # (node, is it a primary) still to ask, next one last
        self.states: dict[str, bytes] = {}  # who answered → what it holds; checked when it came
        self.started = now
        self.deadline = now + message.budget_ms / 1000
        self.held = 0  # bytes of the states
        self.done = False


class Gets:
    """Coordinates gets at this node."""

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        failure: FailureDetector,
        routes: Routes,
        replica: Replica,
        latency: Latency,
        elsewhere: Elsewhere,
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self._failure = failure
        self._routes = routes
        self._replica = replica
        self._latency = latency
        self._elsewhere = elsewhere
        self._ops: Operations[GetOp] = Operations()

    def __len__(self) -> int:
        return len(self._ops)

    def under_way(self) -> Iterator[tuple[str, bytes]]:
        """(bucket, key) of each."""
        return ((op.message.bucket, op.message.key) for op in self._ops.values())

    # --- 1. a client asks -------------------------------------------------------------------------------------------------

    def on_get(self, client: Address, message: Get) -> None:
        if message.budget_ms <= 0:
            self._runtime.counters["expired"] += 1
            return
        message.budget_ms = min(message.budget_ms, BUDGET_MS_MAX)
        try:
            n, r, pr = self._effective(message)
        except BadMessage as error:
            self._fail(client, message.request_id, INVALID, 0, 0, str(error))
            return
        if len(self._ops) >= self._runtime.config.max_in_flight:
            self._runtime.counters["overloads"] += 1
            self._fail(client, message.request_id, OVERLOADED, 0, 0, f"{len(self._ops):,} gets under way")
            return
        if (held := self._ops.bytes + self._runtime.replying_bytes) > self._runtime.config.max_bytes_in_flight:
            self._runtime.counters["overloads"] += 1
            self._fail(client, message.request_id, OVERLOADED, 0, 0, f"{held:,} bytes of gets under way")
            return
        at = place(message.bucket, message.key)
        copies = self._routes.copies(self._routes.partition_of(at), n)
        if len(copies.targets) < r or len(copies.reachable_primaries) < pr:
            self._unavailable(client, message.request_id, copies, r, pr)
            return
        self._begin(GetOp(client, message, at, self._runtime.now), copies, Quorum(r, pr))

    def _begin(self, op: GetOp, copies: Copies, quorum: Quorum) -> None:
        op.request_id = next(self._runtime.request_ids)
        op.quorum = quorum
        op.primaries = copies.primaries
        op.candidates = list(copies.readers)
        self._ask(op, quorum.needed)

    def ring_changed(self) -> None:
        """Others hold what some gets have asked for, or more are to be asked: those begin anew.

        Who was asked may have nothing any more when the question comes, and nobody may take that for an answer.
        """
        for op in [op for op in self._ops.values() if not op.done]:
            try:
                n, r, pr = self._effective(op.message)
            except BadMessage as error:  # of fewer replicas than it has asked for
                self._end(op, INVALID, str(error))
                continue
            copies = self._routes.copies(self._routes.partition_of(op.at), n)
            if copies.primaries != op.primaries or r > op.quorum.needed:
                self._runtime.counters["gets_begun_anew"] += 1
                self._ops.drop(op.request_id)
                op.states.clear()
                self._begin(op, copies, Quorum(r, pr))

    def _effective(self, message: Get) -> tuple[int, int, int]:
        """n, r, pr of this request after the bucket's policy. Raises BadMessage with the limit and what was given."""
        policy = self._membership.policy(message.bucket)
        if not (message.n or message.r or message.pr):  # the usual case
            return policy.n, policy.r, 0
        n = message.n or policy.n
        if not 1 <= n <= policy.n:
            raise BadMessage(f"n={n} is not in 1..{policy.n}, the bucket's n")
        r = n if message.r == -1 else message.r or min(policy.r, n)
        if not 1 <= r <= n:
            raise BadMessage(f"r={r} is not in 1..{n} (n={n})")
        if not 0 <= message.pr <= n:
            raise BadMessage(f"pr={message.pr} is not in 0..{n} (n={n})")
        return n, max(r, message.pr), message.pr

    # --- 2. replicas are asked --------------------------------------------------------------------------------------------

    def _ask(self, op: GetOp, how_many: int) -> None:
        """Ask the next candidates; the own copy answers at once. Ends the op when nobody is left to ask."""
        me = self._runtime.name
        self._ops[op.request_id] = op
        budget_ms, ring_version = int((op.deadline - self._runtime.now) * 1000), self._membership.ring.version
        for _ in range(how_many):
            if not op.candidates:
                break
            node, primary = op.candidates.pop()
            op.quorum.ask(node, primary)
            if node != me:
                self._runtime.send(node, Read(op.request_id, op.message.bucket, op.message.key, budget_ms, ring_version))
                continue
            try:
                state = self._replica.read(op.at, op.message.bucket, op.message.key)
            except (StoreFailed, StateTooLarge):
                self.on_refused(me, op.request_id)
            else:
                if (op.at, op.message.bucket, op.message.key) in self._runtime.unproven:
                    self._runtime.aborts.append((self._unread, op))
                self._answered(op, me, state)
        if op.request_id in self._ops:
            self._runtime.call_at(min(self._runtime.now + self._latency.hedge_s, op.deadline), self._overdue, op)

    def on_read_reply(self, sender: Address, message: ReadReply) -> None:
        """Raises MalformedVersion: that is no answer, and what it says is kept nowhere."""
        op = self._ops.get(message.request_id)
        if op is not None and isinstance(sender, str):
            if message.state != op.states.get(self._runtime.name):  # which is in order
                decode(message.state)
            self._failure.answered(sender)
            if not op.done:
                self._latency.replica(self._runtime.now - op.started)
            self._answered(op, sender, message.state)

    def on_refused(self, sender: str, request_id: int) -> bool:
        """A replica cannot read now. Whether the request was a get's."""
        op = self._ops.get(request_id)
        if op is None or not op.quorum.fail(sender):
            return False
        if op.done:
            if not op.quorum.outstanding:
                self._ops.drop(request_id)
        elif op.candidates:
            self._ask(op, 1)
        elif op.quorum.state == IMPOSSIBLE:
            self._end(op, STORAGE, "too few replicas could read their storage")
        elif op.quorum.reached:
            self._seek(op)
        return True

    def _overdue(self, op: GetOp) -> None:
        """A replica is slow: ask one more, until the deadline."""
        if op.request_id not in self._ops:
            return
        if self._runtime.now >= op.deadline:
            if op.done:
                self._ops.drop(op.request_id)
            else:
                self._end(op, TIMEOUT, "the deadline passed before enough replicas answered")
        elif op.done or not op.candidates:
            self._runtime.call_at(op.deadline, self._overdue, op)
        elif any(self._failure.silent(node, op.started) for node in op.quorum.outstanding) or self._latency.may_hedge():
            self._runtime.counters["hedges"] += 1
            self._ask(op, 1)
        else:
            self._runtime.call_at(min(self._runtime.now + self._latency.hedge_s, op.deadline), self._overdue, op)

    # --- 3. enough have answered ------------------------------------------------------------------------------------------

    def _answered(self, op: GetOp, who: str, state: bytes) -> None:
        if not op.quorum.answer(who):
            return
        op.states[who] = state
        self._ops.hold(op, len(state))
        if op.done:
            self._repair(op)  # a late answer to a hedged get
        elif op.quorum.reached:
            if op.quorum.primaries < op.quorum.needed and self._shows_nothing(op):
                self._seek(op)
                return
            op.done = True
            merged = self._repair(op)
            if merged is not None:
                self._reply(op, merged)
        if op.done and not op.quorum.outstanding:
            self._ops.drop(op.request_id)

    def _shows_nothing(self, op: GetOp) -> bool:
        """Whether there is no value in what has been answered, taken together."""
        merged = EMPTY
        for state in op.states.values():
            merged = sync(merged, decode_stored(state))
        return not merged.values

    def _seek(self, op: GetOp) -> None:
        """Others are heard before it is called absent."""
        if op.candidates:
            self._ask(op, 1)
        elif not op.quorum.outstanding:
            needed, primaries = op.quorum.needed, op.quorum.primaries
            self._runtime.counters["absences_unknown"] += 1
            text = f"unknown: it is absent if {needed} primaries say so, {primaries} can be reached; nobody else shows a value"
            self._end(op, NOT_YET if self._failure.settling() else UNAVAILABLE, text)

    def _reply(self, op: GetOp, merged: Siblings) -> None:
        message = op.message
        values: list[bytes] = []
        written: list[list[str | int]] = []  # by whom, as which of its writes, when
        for actor, counter, value, _, wall_ms in merged.live:
            if value is not None:
                values.append(value)
                written.append([node_of(actor), counter, wall_ms])
        if len(values) > 1:
            self._runtime.counters["siblings_read"] += 1
        token = seal_context(self._elsewhere.shown(merged), message.bucket, message.key, self._runtime.config.secret)
        # A copy of the list: a hedged replica may answer before this leaves.
        reply = GetReply(message.request_id, values, written, token, list(op.quorum.answered))
        self._runtime.replying_bytes += sum(map(len, values))
        self._runtime.send(op.client, reply)
        if self._runtime.unproven and (op.at, message.bucket, message.key) in self._runtime.unproven:
            text = "what was read could not be stored"
            failure = Failure(message.request_id, STORAGE, op.quorum.needed, 0, 0, text)
            self._runtime.unless_stored(op.client, reply, failure)
        self._runtime.counters["gets_ok"] += 1
        self._latency.get(self._runtime.now - op.started)

    # --- 4. read repair ---------------------------------------------------------------------------------------------------

    def _repair(self, op: GetOp) -> Siblings | None:
        """The merge of all answers so far; whoever answered with less is sent it. None: it is too much, the client knows."""
        states = list(op.states.values())
        newest = states[0]
        merged = decode_stored(newest)
        if states.count(newest) == len(states):  # the usual case: one comparison of bytes
            if len(merged.live) < 2 or not self._membership.is_lww(op.message.bucket):
                return merged
        else:
            for state in states[1:]:
                merged = sync(merged, decode_stored(state))
            merged = self._without_overwritten(op, merged)
        if len(merged.live) != 1 and self._membership.is_lww(op.message.bucket):
            merged, discarded = latest(merged, *map(decode_stored, states))
            self._runtime.counters["lww_discarded"] += len(discarded)
        raw = encode(merged)
        if not fits(merged, raw):
            count = len(merged.live)
            text = f"{count:,} siblings of {len(raw):,} bytes on {len(states)} nodes together: read with r=1 and resolve"
            self._fail(op.client, op.message.request_id, INVALID, 0, 0, text)
            return None
        copies = self._routes.copies(self._routes.partition_of(op.at), self._membership.policy(op.message.bucket).n)
        stands_for = dict(copies.targets)
        for who, state in op.states.items():
            if state == raw or who not in stands_for:  # a spare that was asked in haste keeps nothing
                continue
            self._runtime.counters["read_repairs"] += 1
            op.states[who] = raw
            if who == self._runtime.name:
                self._repair_own(op, stands_for[who], raw)
            else:
                self._runtime.send(who, Write(0, op.message.bucket, op.message.key, raw, stands_for[who], BUDGET_MS_MAX))
        return merged

    def _without_overwritten(self, op: GetOp, merged: Siblings) -> Siblings:
        try:
            return self._replica.without_overwritten(op.at, op.message.bucket, op.message.key, merged)
        except (StoreFailed, StateTooLarge):
            return merged  # as others hold it

    def _repair_own(self, op: GetOp, stands_for: str, raw: bytes) -> None:
        try:
            self._replica.merge(stands_for, op.at, op.message.bucket, op.message.key, raw)
        except (StoreFailed, StateTooLarge):
            self._runtime.counters["repairs_failed"] += 1  # the answer does not rest on it

    # --- what can go wrong ------------------------------------------------------------------------------------------------

    def _unavailable(self, client: Address, request_id: int, copies: Copies, r: int, pr: int) -> None:
        if self._failure.settling():
            self._fail(client, request_id, NOT_YET, r, len(copies.targets), f"{self._runtime.name} has just started")
            return
        required, alive = (r, len(copies.targets)) if len(copies.targets) < r else (pr, len(copies.reachable_primaries))
        what = "replicas" if required == r else "primaries"
        self._fail(client, request_id, UNAVAILABLE, required, alive, f"{required} {what} are needed, {alive} can be reached")

    def _unread(self, op: GetOp) -> None:
        """The own copy that this get has read was not stored: neither its client nor, by read repair, anybody else may see it."""
        if not op.done:
            self._end(op, STORAGE, self._runtime.not_stored("what was read"))
        else:
            self._ops.drop(op.request_id)

    def _end(self, op: GetOp, code: int, text: str) -> None:
        self._ops.drop(op.request_id)
        op.done = True
        self._fail(op.client, op.message.request_id, code, op.quorum.needed, len(op.quorum.answered), text)

    def _fail(self, client: Address, request_id: int, code: int, required: int, received: int, text: str) -> None:
        self._runtime.counters["gets_failed"] += 1
        self._runtime.send(client, Failure(request_id, code, required, received, 50 if code == OVERLOADED else 0, text))
