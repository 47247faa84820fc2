"""§4.5 Which node coordinates a put: one of the key's reachable primaries, so that dots come from few actors.

A node that is none of them passes the put on to the first, and the answer back. It is then the client of that primary: if no
answer comes it tries the next one, as a retry (idempotent_retry.py), and if that one refuses, the next. A refusal says that
nothing was attempted *there*: the client is told so only if that holds of every try. When no primary is left, a fallback
coordinates itself.

While the ring changes, whoever passes it on may go by another ring than who gets it. That one passes it on as well if it is no
primary itself: were it to keep a copy in the place of a primary that can be reached, a reader of that primary would miss a write
that was acknowledged with nobody away.
"""

from __future__ import annotations

from dataclasses import replace

from dynazmq.dynamo.coordinator.idempotent_retry import Recalls
from dynazmq.dynamo.coordinator.put import Puts
from dynazmq.dynamo.coordinator.put_op import PutOp
from dynazmq.dynamo.messages import INVALID, NOT_YET, OVERLOADED, TIMEOUT, UNAVAILABLE, Failure, Put, PutAsk, PutReply
from dynazmq.dynamo.messages.fields import HOPS_MAX, aged
from dynazmq.dynamo.replica.preference_list import Routes
from dynazmq.dynamo.runtime import Address, Runtime


class ForwardOp:
    """A put that another node coordinates for us."""

    __slots__ = ("at_node", "op", "primaries", "request_ids", "unanswered")

    def __init__(self, op: PutOp, primaries: list[str]) -> None:
        self.op = op
        self.primaries = primaries  # still to try, next one last
        self.at_node = ""
        self.request_ids: list[int] = []  # of all tries: an early one may be answered late
        self.unanswered = 0  # tries that have left and may have been done

    @property
    def maybe(self) -> bool:
        """Whether the put may have been done already, by a try of ours or by one of the client's."""
        return self.unanswered > 0 or self.op.message.age_ms > 0


class Forwards:
    """The entrance of puts: decides who coordinates."""

    def __init__(self, runtime: Runtime, routes: Routes, puts: Puts, recalls: Recalls) -> None:
        self._runtime = runtime
        self._routes = routes
        self._puts = puts
        self._recalls = recalls
        self._timeout = runtime.config.timing.forward_timeout_ms / 1000
        self._ops: dict[int, ForwardOp] = {}
        self._hops: dict[bytes, int] = {}  # write id of each put that is passed on → how often it had been when it came

    def __len__(self) -> int:
        return len(self._ops)

    def on_put(self, client: Address, message: Put) -> None:
        if not message.age_ms:
            if message.write_id in self._puts.write_ids or message.hops <= self._hops.get(message.write_id, -1):
                # Its frame came twice (N9): the first is under way and will be answered. Were the second passed on, the two would
                # not know of each other; were it refused, its client would take that for a word about both. One that has been
                # passed on more often is the same that comes back, from who goes by another ring: nobody else will do it.
                return
            message.age_ms = self._recalls.tried_elsewhere_ms(message.write_id)  # it may come after its own retry
        op = self._puts.admit(client, message)
        if op is None:
            return
        name = self._runtime.name
        if (name, "") not in op.copies.targets:
            primaries = op.copies.reachable_primaries
            if primaries and message.hops < HOPS_MAX and len(self._ops) < self._runtime.config.max_in_flight:
                self._runtime.counters["forwards"] += 1
                self._hops[message.write_id] = message.hops
                self._next(ForwardOp(op, primaries[::-1]))
                return
            self._place_here(op)
            return
        self._coordinate(op)

    def on_put_ask(self, client: Address, message: PutAsk) -> None:
        """A retry that would rather not send its value again: if this node cannot do without, it is told to send it."""
        self._runtime.counters["put_asks"] += 1
        put = Put(
            message.request_id, message.bucket, message.key, None, message.context, message.write_id, max(message.age_ms, 1), 0,
            message.n, message.w, message.pw, message.budget_ms,
        )  # fmt: skip
        op = self._puts.admit(client, put)
        if op is None:
            return
        op.asks = True
        if (self._runtime.name, "") in op.copies.targets:
            self._recalls.begin(op)
        else:
            self._puts.ask_for_value(op)

    def _place_here(self, op: PutOp) -> None:
        """Coordinate it though this node is none of the key's primaries: one of its copies is here, with a hint."""
        op.copies = self._routes.copies_with_me(self._routes.partition_of(op.at), len(op.copies.primaries))
        if not self._routes.may_keep():
            self._puts.refuse(op, NOT_YET, f"{self._runtime.name} has left the cluster")
        elif len(op.copies.targets) < op.quorum.needed:
            self._puts.refuse(op, UNAVAILABLE, f"{op.quorum.needed} replicas are needed, {len(op.copies.targets)} can be reached")
        else:
            self._coordinate(op)

    def _coordinate(self, op: PutOp) -> None:
        if op.message.age_ms:
            self._recalls.begin(op)
        else:
            self._puts.write(op)

    def _next(self, forward: ForwardOp) -> None:
        """Pass it on to the next primary."""
        op, now = forward.op, self._runtime.now
        request_id = next(self._runtime.request_ids)
        forward.request_ids.append(request_id)
        forward.at_node = forward.primaries.pop()
        age_ms, budget_ms = self._aged(forward)
        forward.unanswered += 1
        self._ops[request_id] = forward
        message = replace(op.message, request_id=request_id, hops=op.message.hops + 1, age_ms=age_ms, budget_ms=budget_ms)
        self._runtime.send(forward.at_node, message)
        self._runtime.call_at(min(now + self._timeout, op.deadline), self._overdue, (forward, request_id))

    def _aged(self, forward: ForwardOp) -> tuple[int, int]:
        """age_ms and budget_ms of the next try: a retry, and at least a millisecond old, if an earlier one may have been done."""
        message = forward.op.message
        waited_ms = int((self._runtime.now - forward.op.started) * 1000)
        return (aged(message.age_ms, waited_ms + 1) if forward.maybe else 0), message.budget_ms - waited_ms

    def _overdue(self, late: tuple[ForwardOp, int]) -> None:
        forward, request_id = late
        if request_id not in self._ops or request_id != forward.request_ids[-1]:
            return
        op = forward.op
        if self._runtime.now >= op.deadline:
            self._end(forward)
            self._puts.fail(op.client, op.message, TIMEOUT, op.quorum.needed, 0, f"{forward.at_node} did not answer in time")
        elif forward.primaries:
            self._next(forward)
        else:
            self._runtime.call_at(op.deadline, self._overdue, late)

    def undelivered(self, request_id: int) -> None:
        """The transport could not even take it: this try never left."""
        forward = self._refused(request_id)
        if forward is None:
            return
        if not forward.primaries:
            copies = self._routes.copies(self._routes.partition_of(forward.op.at), len(forward.op.copies.primaries))
            forward.primaries = [node for node in reversed(copies.reachable_primaries) if node != forward.at_node]
        self._elsewhere(forward)

    def on_put_reply(self, sender: Address, message: PutReply) -> None:
        forward = self._ops.get(message.request_id)
        if forward is not None and isinstance(sender, str):
            self._end(forward)
            self._runtime.send(forward.op.client, replace(message, request_id=forward.op.message.request_id))

    def on_failure(self, sender: Address, message: Failure) -> None:
        forward = self._ops.get(message.request_id)
        if forward is None or not isinstance(sender, str):
            return
        last = message.request_id == forward.request_ids[-1]
        if last and (message.code == TIMEOUT or (message.code in (INVALID, OVERLOADED) and forward.unanswered == 1)):
            self._end(forward)
            self._runtime.send(forward.op.client, replace(message, request_id=forward.op.message.request_id))
        elif message.code != TIMEOUT:
            self._refused(message.request_id)  # if it was an early try, the last one is still under way
            if last:
                self._elsewhere(forward)

    def _refused(self, request_id: int) -> ForwardOp | None:
        """This try was not done."""
        forward = self._ops.pop(request_id, None)
        if forward is not None:
            forward.unanswered -= 1
        return forward

    def _elsewhere(self, forward: ForwardOp) -> None:
        """The last try was not done: the next primary, or nobody is left and this node coordinates."""
        if forward.primaries:
            self._next(forward)
            return
        self._end(forward)
        op = forward.op
        op.maybe = forward.unanswered > 0
        op.message.age_ms, _ = self._aged(forward)
        self._place_here(op)

    def _end(self, forward: ForwardOp) -> None:
        self._hops.pop(forward.op.message.write_id, None)
        for request_id in forward.request_ids:
            self._ops.pop(request_id, None)
