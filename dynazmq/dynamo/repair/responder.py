"""§4.7 Anti-entropy, the side that is asked: what a node tells its peers of its trees and rows, and how it merges what they send.

Clients may look at trees and rows as well (`dynazmq verify`): nothing changes by that.
"""

from __future__ import annotations

from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.messages import Mend, MendReply, Refused, RowsAsk, RowsTell, TreeAsk, TreeTell
from dynazmq.dynamo.repair.anti_entropy import AntiEntropy
from dynazmq.dynamo.repair.exchange import NODES_PER_QUESTION, START, rows_with
from dynazmq.dynamo.replica.hints import StateTooLarge
from dynazmq.dynamo.replica.replica import BadMessage, Replica
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import Address, Runtime
from dynazmq.dynamo.values.merkle import FANOUT, NODES, places_of_leaves, row_hash
from dynazmq.dynamo.values.ring import place


class Answers:
    """This node's answers to exchanges that others began. It keeps nothing between two of them."""

    def __init__(
        self, runtime: Runtime, membership: Membership, trees: Trees, replica: Replica, anti_entropy: AntiEntropy
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self._trees = trees
        self._replica = replica
        self._anti_entropy = anti_entropy

    def on_tree_ask(self, sender: Address, message: TreeAsk) -> None:
        if self._declined(sender, message.request_id):
            return
        if len(message.nodes) % 3 or len(message.nodes) > 3 * NODES_PER_QUESTION:
            raise BadMessage(f"{len(message.nodes):,} numbers: three for each of at most {NODES_PER_QUESTION:,} nodes")
        hashes = []
        used = self._membership.in_force.levels
        numbers = iter(message.nodes)
        for partition, n, node in zip(numbers, numbers, numbers, strict=True):
            if not 0 <= partition < self._membership.ring.partitions or not 0 <= node < NODES:
                raise BadMessage(f"node {node} of partition {partition}: there are {NODES:,} nodes in a tree")
            tree = self._trees.of(partition, n) if n in used else None  # one is made when it is asked for
            hashes.append(-1 if tree is None else tree.hashes[node])
        self._runtime.send(sender, TreeTell(message.request_id, hashes))

    def on_rows_ask(self, sender: Address, message: RowsAsk) -> None:
        """A damaged row is told as one of no hash and no bytes. It is given up, unless it is a client who looks."""
        if self._declined(sender, message.request_id):
            return
        ring = self._membership.ring
        first, last = message.first_leaf, message.last_leaf
        if not 0 <= message.partition < ring.partitions or not FANOUT < first <= last < NODES:
            raise BadMessage(f"leaves {first} to {last} of partition {message.partition}: leaves are {FANOUT + 1} to {NODES - 1}")
        bounds = places_of_leaves(message.partition, ring.partitions, first, last)
        after = (message.after_place, message.after_bucket, message.after_key)
        rows, behind = rows_with(self._runtime.store, self._membership, bounds, message.n, after)
        if isinstance(sender, str):
            self._replica.give_up_damaged(rows)
        told = [[bucket, key, row_hash(at, state or b""), len(state or b"")] for at, bucket, key, state in rows]
        self._runtime.send(sender, RowsTell(message.request_id, told, behind is not None, *(behind or START)))

    def on_mend(self, sender: Address, message: Mend) -> None:
        if self._declined(sender, message.request_id):
            return
        at = place(message.bucket, message.key)
        if not self._replica.holds(at, message.bucket):
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

    def _declined(self, sender: Address, request_id: int) -> bool:
        """Whether a peer asks while anti-entropy is paused. A client that asks only looks."""
        if self._anti_entropy.paused and isinstance(sender, str):
            self._runtime.send(sender, Refused(request_id, f"anti-entropy is paused on {self._runtime.name}"))
            return True
        return False
