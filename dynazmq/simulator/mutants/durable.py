"""Mutants of durability: acknowledgements that promise too much, hints that are lost, dots that are given twice."""

from __future__ import annotations

from dynazmq.dynamo.coordinator.get import Gets
from dynazmq.dynamo.coordinator.idempotent_retry import Recalls
from dynazmq.dynamo.coordinator.put import Puts
from dynazmq.dynamo.coordinator.put_op import PutOp
from dynazmq.dynamo.membership.identity import Identity
from dynazmq.dynamo.messages import Put
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.replica.hints import Hints
from dynazmq.dynamo.replica.replica import Replica
from dynazmq.dynamo.runtime import Address, Runtime
from dynazmq.simulator.cluster.process import Process
from dynazmq.simulator.mutants.mutant import Patches, mutant
from dynazmq.simulator.run.faults import CRASH, DAMAGE, FLICKERING_DISK, FULL_DISK, ISOLATE, PAUSE, WIPE
from dynazmq.simulator.run.workload import Load, Mix
from dynazmq.simulator.world.network import Conditions

_LOSSES = Conditions(loss=0.1)
_MANY_KEYS = Load(clients=3, keys=12, requests=40, think_s=0.05)
_HOT = Load(clients=8, keys=1, requests=80, think_s=0.001)
_BLIND = Load(clients=3, keys=3, requests=50, think_s=0.05, mix=Mix(put_blind=8))


@mutant("I1", "I15", "I12", faults=(CRASH,), every_s=0.2)
def speak_before_commit(patch: Patches) -> None:
    """Messages leave a node before the writes that they speak of are durable."""

    def speak(self: Process, life: int) -> None:
        if life == self._life and self.state == "up":
            self._send(self.node.drain(), 1 << 30)
            original(self, life)

    original = Process._speak
    patch.set(Process, "_speak", speak)


@mutant("I1", "I15", faults=(FULL_DISK,), w=1, r=1)
def answer_although_the_commit_failed(patch: Patches) -> None:
    """A turn whose commit failed is answered as if it had been stored."""
    patch.set(Node, "turn_failed", lambda *_: None)


@mutant("I12", "I6", "I5", "I3", faults=(FLICKERING_DISK,), load=_HOT, every_s=0.1, lasting_s=1.0)
def show_what_was_not_stored(patch: Patches) -> None:
    """A read shows a dot of its own turn, whose commit then fails, and the dot is given again."""
    patch.set(Runtime, "unless_stored", lambda *_: None)
    patch.set(Gets, "_unread", lambda *_: None)
    patch.set(Recalls, "_unread", lambda *_: None)


@mutant("I15")
def acknowledge_one_copy_too_early(patch: Patches) -> None:
    """A put is acknowledged at W - 1 copies."""

    def admit(self: Puts, client: Address, message: Put) -> PutOp | None:
        op = original(self, client, message)
        if op is not None:
            op.quorum.needed -= 1
        return op

    original = Puts.admit
    patch.set(Puts, "admit", admit)


@mutant("I2", "I1", faults=(PAUSE, ISOLATE), conditions=_LOSSES, load=_MANY_KEYS, every_s=0.4, lasting_s=0.6)
def delete_a_hint_when_it_is_sent(patch: Patches) -> None:
    """A hint is forgotten before its target has said that it is stored there."""

    def deliver(self: Hints, target: str) -> None:
        original(self, target)
        delivery = self._deliveries.get(target)
        for row, _ in list(delivery.sent.values()) if delivery is not None else ():
            if self._read(target, *row):
                self.forget(target, *row)

    original = Hints.deliver
    patch.set(Hints, "deliver", deliver)


@mutant("I15", faults=(PAUSE, ISOLATE))
def acknowledge_hints_and_keep_none(patch: Patches) -> None:
    """A fallback acknowledges what it holds for another, and does not store it."""
    patch.set(Hints, "keep", lambda *_: None)


@mutant("I2", faults=(PAUSE, ISOLATE), load=_MANY_KEYS, every_s=0.4, lasting_s=0.6)
def place_no_hints(patch: Patches) -> None:
    """Nobody stands in for a replica that does not answer."""
    patch.set(Puts, "_stand_in", lambda *_: None)
    patch.set(Puts, "_keep_hint", lambda *_: None)


@mutant("I12", faults=(WIPE,), lossy_max=1_000, load=_BLIND, every_s=0.1, lasting_s=0.2)
def give_dots_again_after_a_lost_disk(patch: Patches) -> None:
    """A node whose disk was wiped counts on under its old name."""
    patch.set(Identity, "_draw", lambda _self: "0000000001")
    patch.set(Replica, "_check_counter", lambda *_: None)


@mutant("I12", faults=(DAMAGE,), load=_BLIND, every_s=0.1, lasting_s=0.2)
def keep_the_epoch_when_a_row_is_damaged(patch: Patches) -> None:
    """A node that lost a row, and with it a counter, counts on under its old name."""
    patch.set(Identity, "new_epoch", lambda *_: None)
