"""Mutants of who may speak for a key: nodes that never held it, hold it no more, or do not know the ring."""

from __future__ import annotations

from typing import Any

from dynazmq.dynamo.coordinator.dual_ownership import Joint
from dynazmq.dynamo.coordinator.get import Gets
from dynazmq.dynamo.membership import change
from dynazmq.dynamo.membership.gossip import Gossip
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.membership.records import Policy
from dynazmq.dynamo.replica.scans import Scans
from dynazmq.dynamo.values.ring import Ring
from dynazmq.simulator.mutants.mutant import Patches, mutant
from dynazmq.simulator.run.admins import FREEZE, JOIN, LEAVE, POLICY, SWAP
from dynazmq.simulator.run.faults import ISOLATE, SPLIT, WIPE_ALONE
from dynazmq.simulator.run.workload import Load, Mix
from dynazmq.simulator.world.network import Conditions

_KEPT = Mix(get=6.0, delete=0.0)  # what was put stays there
_CHANGING: dict[str, Any] = {
    "acts": (JOIN, LEAVE, SWAP), "acts_max": 6, "acts_every_s": 0.5, "partitions": 24, "anti_entropy_ms": 150, "r": 2, "w": 2,
    "load": Load(clients=4, keys=12, requests=120, think_s=0.1, mix=_KEPT, page_keys=2),
}  # fmt: skip


@mutant("I16", faults=(ISOLATE, SPLIT), load=Load(clients=4, keys=8, requests=60, think_s=0.05, mix=_KEPT), stable_s=0.5)
def count_fallbacks_that_were_told_nothing(patch: Patches) -> None:
    """A key is absent when R nodes hold nothing of it, though some are none of those who should."""
    patch.set(Gets, "_shows_nothing", lambda _self, _op: False)


@mutant("I16", **_CHANGING | {"acts": (JOIN, SWAP, FREEZE), "acts_max": 8})
def answer_whatever_ring_the_asker_goes_by(patch: Patches) -> None:
    """Reads and scans are answered to one whose ring is of long ago."""
    patch.set(Ring, "is_near", lambda _self, _version: True)
    patch.set(Ring, "is_this_or_next", lambda _self, _version: True)


@mutant("I16", **_CHANGING)
def list_nothing_where_nothing_is_held(patch: Patches) -> None:
    """A node tells a page of partitions that it has handed over: no keys, and no error."""
    patch.set(Scans, "_why_not", lambda _self, _message, _partitions: "")


@mutant("I16", "I11", **_CHANGING | {"faults": (WIPE_ALONE,), "r": 1, "w": 3, "every_s": 4.0, "lasting_s": 3.0})
def believe_what_the_cluster_began_with(patch: Patches) -> None:
    """A node that has lost its disk and hears nobody for a second goes by the first ring."""

    def ask(self: Gossip) -> None:
        original(self)
        if self._runtime.now - self._runtime.started >= 1.0:
            self._membership.settle()

    original = Gossip._ask_for_ring
    patch.set(Gossip, "_ask_for_ring", ask)


_REPLICAS: dict[str, Any] = _CHANGING | {
    "acts": (POLICY,), "acts_max": 12, "acts_every_s": 0.6, "anti_entropy_ms": 60_000, "n": 3,
    "load": Load(clients=4, keys=12, requests=150, think_s=0.05, mix=_KEPT),
}  # fmt: skip


@mutant("I7", "I16", "I11", "I1", **_REPLICAS)
def read_a_larger_n_before_it_is_filled(patch: Patches) -> None:
    """A bucket's new replicas are read as soon as everybody knows of them."""
    patch.set(change, "gaining", lambda _ring, _default: [])


@mutant("I7", "I16", "I11", "I1", **_REPLICAS)
def go_by_a_policy_as_soon_as_it_is_heard_of(patch: Patches) -> None:
    """What a policy says is in force at each node when it hears of it."""
    patch.set(Membership, "policy", lambda self, bucket: self.policies.get(bucket, self.default_policy))


@mutant("I15", **_REPLICAS | {"acts_every_s": 0.2, "acts_max": 40, "r": 2, "w": 2})
def acknowledge_by_a_smaller_w_before_all_know_of_it(patch: Patches) -> None:
    """A write is acknowledged by as few as a policy says that this node has heard of, and that is not in force yet."""

    def fewer(self: Membership, bucket: str) -> Policy:
        held, wanted = self.in_force.policy(bucket), self.policies.get(bucket, self.default_policy)
        return held._replace(w=min(held.w, wanted.w)) if wanted.n == held.n else held

    patch.set(Membership, "policy", fewer)


@mutant("I7", "I16", "I11", "I1", **_REPLICAS | {
    "conditions": Conditions(spikes=0.1, spike_s=0.1), "acts_every_s": 0.1, "acts_max": 60,
    "load": Load(clients=4, keys=12, requests=300, think_s=0.02, mix=_KEPT),
})  # fmt: skip
def await_w_of_those_who_become_the_only_ones(patch: Patches) -> None:
    """A put of a bucket whose replicas change is done when W of the old have it, whoever else is to have it."""
    patch.set(Joint, "_await_copies", lambda _self, _op, _names: None)
