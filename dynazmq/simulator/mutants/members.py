"""Mutants of membership: steps that are made too early, copies that are left behind, and what leaves with whoever leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dynazmq.dynamo import admin
from dynazmq.dynamo.coordinator.dual_ownership import Joint
from dynazmq.dynamo.membership import change, expulsion, membership
from dynazmq.dynamo.membership.change import Intents
from dynazmq.dynamo.membership.decisions import Decisions, Reply
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.repair.exchange import START
from dynazmq.dynamo.repair.handover import Handover
from dynazmq.dynamo.replica.hints import Hints
from dynazmq.dynamo.runtime import Address, Row
from dynazmq.dynamo.values.ring import Quorums, Ring
from dynazmq.simulator.mutants.mutant import Patches, mutant
from dynazmq.simulator.run.admins import EACH_OTHER, EXPULSION, JOIN, LEAVE, PARDON, REPLACE, REWEIGH, SWAP
from dynazmq.simulator.run.faults import DAMAGE, FLICKERING_DISK, FULL_DISK, ISOLATE, PAUSE, SPLIT
from dynazmq.simulator.run.workload import Load, Mix
from dynazmq.simulator.world.network import Conditions

_HOT = Load(clients=6, keys=12, requests=80, think_s=0.004, mix=Mix(put_blind=2.0))
_COMINGS: dict[str, Any] = {"acts": (JOIN, LEAVE, SWAP), "acts_max": 4, "partitions": 24, "n": 3}
_QUICK: dict[str, Any] = {**_COMINGS, "acts_every_s": 0.1, "r": 2, "w": 2, "anti_entropy_ms": 150, "load": _HOT}
_SELDOM = 60_000  # exchanges are on, since a change needs their trees, and bring nothing while the run lasts
_AWAY: dict[str, Any] = {
    **_COMINGS, "acts_every_s": 1.0, "r": 1, "w": 3, "load": Load(clients=3, keys=12, requests=80, think_s=0.15),
    "faults": (PAUSE, ISOLATE, SPLIT), "every_s": 0.4, "lasting_s": 1.5, "anti_entropy_ms": _SELDOM,
}  # fmt: skip


@mutant("I11", "I7", "I1", **_QUICK)
def flip_before_all_have_confirmed(patch: Patches) -> None:
    """New owners are read before they have said that they have everything."""

    def next_ring(ring: Ring, target: change.Side, default: Quorums, _: Callable[[str], bool]) -> Ring | None:
        return change.next_ring(ring, target, default, lambda _name: True)

    patch.set(membership, "next_ring", next_ring)


@mutant("I11", "I7", **_QUICK)
def step_before_everybody_knows(patch: Patches) -> None:
    """The ring's next step is made although somebody may still go by the one before."""
    patch.set(Membership, "awaited", lambda _self: [])


@mutant("I11", "I7", **_QUICK)
def write_to_the_owners_that_are_read_only(patch: Patches) -> None:
    """While a change fills, what is written does not go to the new owners."""
    patch.set(Joint, "ask", lambda *_: None)


@mutant("I7", "I2", "I1", **_QUICK)
def drop_what_will_be_others_before_the_flip(patch: Patches) -> None:
    """Old owners that are still read drop their copies as soon as a change begins."""

    def tick(self: Handover) -> None:
        original(self)
        ring, me = self._membership.ring, self._runtime.name
        for partition in range(ring.partitions) if ring.filling else ():
            if me in ring.holders(partition, 3) and me not in Ring(1, ring.also).primaries(partition, 3):
                rows, _ = self._runtime.store.rows(*ring.places_of(partition), START, 512)
                for at, bucket, key, state in rows:
                    self._replica.drop(at, bucket, key, state or b"")

    original = Handover.tick
    patch.set(Handover, "tick", tick)


@mutant("I11", "I9", **_AWAY)
def leave_with_hints(patch: Patches) -> None:
    """A node that leaves ends although it still keeps hints for others."""

    def tick(self: Handover) -> None:
        pending, self._hints.pending = self._hints.pending, {}
        try:
            original(self)
        finally:
            self._hints.pending = pending

    original = Handover.tick
    patch.set(Handover, "tick", tick)


@mutant("I9", **_AWAY)
def keep_hints_for_who_left(patch: Patches) -> None:
    """A hint for a node that has left waits for its return."""
    patch.set(Handover, "_redirect", lambda *_: None)


_ROTTING: dict[str, Any] = {
    **_AWAY, "acts": (LEAVE, SWAP, REPLACE, EXPULSION), "losses_max": 2, "lossy_max": 1, "faults": (*_AWAY["faults"], DAMAGE),
    "every_s": 0.15, "anti_entropy_ms": 150,
}  # fmt: skip


@mutant("I9", **_ROTTING)
def pass_over_damaged_hints_for_who_left(patch: Patches) -> None:
    """Hints for a node that has left are redirected, but for those that are damaged: they pend for ever."""

    def all_sound(self: Hints) -> Iterator[tuple[str, Row, bytes]]:
        for target in list(self.pending):
            rows, _ = self._runtime.store.hints(target, START, 1 << 30)
            yield from ((target, row[:3], row[3]) for row in rows if row[3] is not None)

    patch.set(Hints, "all", all_sound)


@mutant("I12", **_QUICK | {"faults": (FLICKERING_DISK,), "every_s": 0.1, "lasting_s": 1.0, "acts_max": 6})
def bring_to_new_owners_what_was_not_stored(patch: Patches) -> None:
    """A put whose commit failed gets its hints for new owners all the same, and its dot is given again."""
    patch.set(Joint, "forget", lambda *_: None)


@mutant("I11", **_QUICK | {"faults": (FLICKERING_DISK,), "every_s": 0.1, "lasting_s": 1.0, "acts_max": 6})
def know_a_ring_that_was_not_stored(patch: Patches) -> None:
    """A commit fails, and the node goes on to say that it knows the ring that it would have stored."""
    patch.set(Membership, "turn_failed", lambda _self: None)


_TORN: dict[str, Any] = {
    **_COMINGS, "acts": (EACH_OTHER,), "acts_max": 1, "acts_every_s": 0.3, "losses_max": 2, "anti_entropy_ms": 150,
    "nodes": 5, "r": 2, "w": 2, "apart_max": 2, "lossy_max": 1, "load": Load(clients=2, keys=6, requests=60, think_s=0.1),
}  # fmt: skip


@mutant("I9", "I11", "I14", **_TORN)
def expel_without_a_majority(patch: Patches) -> None:
    """An expulsion takes effect where it was decided, whoever else agrees."""
    patch.set(admin, "objection", lambda *_: "")
    patch.set(membership, "taking_effect", lambda ring, intents, _knows: expulsion.taking_effect(ring, intents, lambda _: True))
    patch.set(membership, "withdrawn", lambda *_: [])
    patch.set(expulsion, "vote", _unanimous)


def _unanimous(ring: Ring, intents: Intents) -> expulsion.Vote | None:
    accused = tuple(sorted(name for name, intent in intents.items() if intent.kind == change.EXPEL))
    return expulsion.Vote(accused, ring.members, 1) if accused else None


@mutant("I9", **_TORN | {"nodes": 4, "acts": (PARDON,), "acts_max": 3, "conditions": Conditions(delay_s=0.008, jitter_s=0.01)})
def leave_who_was_pardoned_too_late_alone(patch: Patches) -> None:
    """Who has heard of a pardon that nobody else knows of is not told that it came too late."""
    patch.set(membership, "upheld", lambda *_: [])


@mutant("I15", **_QUICK)
def acknowledge_a_decision_on_one_disk(patch: Patches) -> None:
    """An admin is told that it is decided when the node that he has told has stored it."""

    def acknowledge(self: Decisions, admin: Address, reply: Reply, **_: object) -> None:
        self._runtime.send(admin, reply)

    patch.set(Decisions, "acknowledge", acknowledge)


@mutant("I15", **{**_QUICK, "acts": (REWEIGH,), "acts_every_s": 0.3, "faults": (FULL_DISK,), "every_s": 0.3, "lasting_s": 3.0})
def acknowledge_what_could_not_be_stored_before(patch: Patches) -> None:
    """What was decided in a turn that could not be stored is known, and so it is acknowledged when it is asked for again."""
    original = Decisions.acknowledge

    def acknowledge(self: Decisions, *given: Any, **names: Any) -> None:
        with_it = vars(self._membership).setdefault("store_again", lambda: None)
        original(self, *given, **names)
        assert vars(self._membership).pop("store_again") is with_it

    patch.set(Decisions, "acknowledge", acknowledge)
