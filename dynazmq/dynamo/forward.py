"""§4.5 Which node coordinates a put: one of the key's reachable primaries, so that dots come from few actors.

A node that is none of them passes the put on to the first, and the answer back. It is then the client of that primary: if no
answer comes it tries the next one, as a retry (recall.py). Only when no primary can be reached does a fallback coordinate itself.
"""

from __future__ import annotations

from dataclasses import replace

from dynazmq.dynamo.messages import TIMEOUT, Failure, Put, PutReply
from dynazmq.dynamo.put import PutOp, Puts
from dynazmq.dynamo.recall import Recalls
from dynazmq.dynamo.routing import Routes
from dynazmq.dynamo.runtime import Address, Runtime


class ForwardOp:
    """A put that another node coordinates for us."""

    __slots__ = ("at_node", "op", "primaries", "request_id", "tries")

    def __init__(self, op: PutOp, primaries: list[str]) -> None:
        self.op = op
        self.primaries = primaries  # still to try, next one last
        self.request_id = 0
        self.at_node = ""
        self.tries = 0  # that left this node


class Forwards:
    """The entrance of puts: decides who coordinates."""

    def __init__(self, runtime: Runtime, routes: Routes, puts: Puts, recalls: Recalls) -> None:
        self._runtime = runtime
        self._routes = routes
        self._puts = puts
        self._recalls = recalls
        self._timeout = runtime.config.timing.forward_timeout_ms / 1000
        self._ops: dict[int, ForwardOp] = {}

    def __len__(self) -> int:
        return len(self._ops)

    def on_put(self, client: Address, message: Put) -> None:
        op = self._puts.admit(client, message)
        if op is None:
            return
        name = self._runtime.name
        if (name, "") not in op.copies.targets:
            primaries = op.copies.reachable_primaries
            if primaries and not message.hops and len(self._ops) < self._runtime.config.max_in_flight:
                self._runtime.counters["forwards"] += 1
                self._next(ForwardOp(op, primaries[::-1]))
                return
            op.copies = self._routes.copies_with_me(self._routes.partition_of(op.at), len(op.copies.primaries))
        if message.age_ms:
            self._recalls.begin(op)
        else:
            self._puts.write(op)

    def _next(self, forward: ForwardOp) -> None:
        op, now = forward.op, self._runtime.now
        forward.request_id = next(self._runtime.request_ids)
        forward.at_node = forward.primaries.pop()
        waited_ms = int((now - op.started) * 1000)
        # A try that left this node may have been done: the next one is its retry, and at least a millisecond old.
        age_ms = op.message.age_ms + waited_ms + 1 if op.message.age_ms or forward.tries else 0
        budget_ms = op.message.budget_ms - waited_ms
        self._ops[forward.request_id] = forward
        forward.tries += 1
        self._runtime.send(
            forward.at_node, replace(op.message, request_id=forward.request_id, hops=1, age_ms=age_ms, budget_ms=budget_ms)
        )
        self._runtime.call_at(min(now + self._timeout, op.deadline), self._overdue, (forward, forward.request_id))

    def _overdue(self, late: tuple[ForwardOp, int]) -> None:
        forward, request_id = late
        if self._ops.get(request_id) is not forward:
            return
        op = forward.op
        if self._runtime.now >= op.deadline:
            del self._ops[request_id]
            self._puts.fail(op.client, op.message, TIMEOUT, op.quorum.needed, 0, f"{forward.at_node} did not answer in time")
        elif forward.primaries:
            del self._ops[request_id]
            self._next(forward)
        else:
            self._runtime.call_at(op.deadline, self._overdue, late)

    def undelivered(self, request_id: int) -> None:
        """The transport could not even take it: this try never left."""
        forward = self._ops.pop(request_id, None)
        if forward is None:
            return
        forward.tries -= 1
        if not forward.primaries:
            copies = self._routes.copies(self._routes.partition_of(forward.op.at), len(forward.op.copies.primaries))
            forward.primaries = [node for node in reversed(copies.reachable_primaries) if node != forward.at_node]
        if forward.primaries:
            self._next(forward)
            return
        op = forward.op
        op.message.hops = 1  # nobody left: coordinate it here
        self.on_put(op.client, op.message)

    def on_put_reply(self, sender: Address, message: PutReply) -> None:
        forward = self._ops.pop(message.request_id, None)
        if forward is not None and isinstance(sender, str):
            self._runtime.send(forward.op.client, replace(message, request_id=forward.op.message.request_id))

    def on_failure(self, sender: Address, message: Failure) -> None:
        forward = self._ops.pop(message.request_id, None)
        if forward is not None and isinstance(sender, str):
            self._runtime.send(forward.op.client, replace(message, request_id=forward.op.message.request_id))
