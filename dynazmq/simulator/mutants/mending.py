"""Mutants of repair: replicas that stay apart, gossip that goes back, and what grows because nobody forgets it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dynazmq.dynamo import node
from dynazmq.dynamo.coordinator.get import GetOp, Gets
from dynazmq.dynamo.coordinator.put import Puts
from dynazmq.dynamo.coordinator.put_op import PutOp
from dynazmq.dynamo.membership.gossip import Gossip
from dynazmq.dynamo.membership.membership import Membership
from dynazmq.dynamo.membership.records import Member
from dynazmq.dynamo.membership.stale_disks import Vouches
from dynazmq.dynamo.messages import VOUCHING, GossipDelta, GossipDigest, Mend, MendReply, RetireAsk
from dynazmq.dynamo.repair import exchange, responder
from dynazmq.dynamo.repair.responder import Answers
from dynazmq.dynamo.repair.tombstone_gc import Retirement
from dynazmq.dynamo.replica.eviction import Eviction
from dynazmq.dynamo.replica.replica import Replica
from dynazmq.dynamo.replica.trees import Trees
from dynazmq.dynamo.runtime import Address
from dynazmq.dynamo.values import versions
from dynazmq.dynamo.values.versions import EMPTY, Siblings
from dynazmq.simulator.mutants.mutant import Patches, mutant
from dynazmq.simulator.run.faults import CRASH_ALL, DAMAGE, FULL_DISK, ISOLATE, OLD_DISK, PAUSE, SPLIT, WIPE
from dynazmq.simulator.run.workload import Load, Mix
from dynazmq.simulator.world.network import Conditions

_MANY_KEYS = Load(keys=40, requests=40)
_DELETES = Load(clients=3, keys=8, requests=40, think_s=0.3, mix=Mix(put_blind=0.1, delete=4.0))
_FORGOTTEN = Load(clients=3, keys=30, requests=60, think_s=0.4, mix=Mix(put_blind=2.0, delete=4.0))
_NEVER_READ = Load(clients=3, keys=40, requests=40, think_s=0.1, mix=Mix(get=0.0, update=0.0, put_blind=4.0))
_EXCHANGING = 150


@mutant("I2", faults=(WIPE,), load=_MANY_KEYS)
def repair_nothing_on_reads(patch: Patches) -> None:
    """A get merges what replicas answer, and sends the stale ones nothing."""

    def repair(_self: Gets, op: GetOp) -> Siblings:
        merged = EMPTY
        for state in op.states.values():
            merged = versions.sync(merged, versions.decode(state))
        return merged

    patch.set(Gets, "_repair", repair)


@mutant(
    "I11", faults=(ISOLATE, SPLIT), load=_MANY_KEYS, anti_entropy_ms=_EXCHANGING, max_hint_bytes=0, w=1, r=1,
    stable_s=0.1, lasting_s=1.5,
)  # fmt: skip
def let_hints_go_that_nobody_else_has(patch: Patches) -> None:
    """Past the limit hints are deleted, and nobody is asked whether he has the key."""

    def offer(self: Eviction, offered: Any) -> None:
        self._hints.forget(offered.target, *offered.row)
        self._hints.end_session(offered.state)

    patch.set(Eviction, "_offer", offer)


@mutant("I9", "I14", faults=(PAUSE,), conditions=Conditions(loss=0.1))
def forget_who_waits(patch: Patches) -> None:
    """A hedged get whose replicas never answer stays under way for ever."""
    patch.set(Gets, "_overdue", lambda *_: None)


@mutant("I10", "I2", anti_entropy_ms=_EXCHANGING)
def leave_writes_out_of_the_trees(patch: Patches) -> None:
    """A write changes a row and not its Merkle leaf."""
    patch.set(Trees, "written", lambda *_: None)


@mutant("I10", faults=(FULL_DISK,), anti_entropy_ms=_EXCHANGING, every_s=0.2)
def leave_the_trees_of_a_failed_turn_as_they_are(patch: Patches) -> None:
    """A commit fails, and the Merkle trees keep what it would have stored."""
    patch.set(Trees, "rolled_back", Trees.committed)


@mutant("I2", faults=(WIPE,), load=_MANY_KEYS, anti_entropy_ms=_EXCHANGING)
def answer_a_mend_and_merge_nothing(patch: Patches) -> None:
    """Anti-entropy ships what differs, and the receiver drops it."""

    def on_mend(self: Answers, sender: Address, message: Mend) -> None:
        self._runtime.send(sender, MendReply(message.request_id, b""))

    patch.set(Answers, "on_mend", on_mend)


@mutant("I2", faults=(WIPE,), load=_MANY_KEYS, anti_entropy_ms=_EXCHANGING)
def take_what_differs_for_equal(patch: Patches) -> None:
    """All rows hash alike, so anti-entropy finds nothing."""
    for module in (responder, exchange):
        patch.set(module, "row_hash", lambda *_: 0)


@mutant(
    "I2", faults=(ISOLATE, DAMAGE), nodes=3, r=1, w=3, load=_NEVER_READ, anti_entropy_ms=_EXCHANGING, every_s=0.1, lasting_s=2.0,
)  # fmt: skip
def pass_over_damaged_rows(patch: Patches) -> None:
    """An exchange that meets a damaged row takes it for one that is not there, and it stays."""
    patch.set(Replica, "give_up_damaged", lambda *_: None)


@mutant(
    "I4", faults=(ISOLATE, PAUSE), nodes=3, anti_entropy_ms=_EXCHANGING, grace_ms=4500, load=replace(_DELETES, think_s=0.02),
    every_s=0.5, lasting_s=3.0,
)
def reap_tombstones_early(patch: Patches) -> None:
    """A tombstone goes although somebody is away, who may hold what it covers."""

    def ask(self: Retirement) -> None:
        rows = [(row, state) for row, state in self._next_rows() if not versions.decode(state).values]
        self._retire([(row, self._candidates.pop(row).hash, b"") for row, _ in rows])

    patch.set(Retirement, "_ask", ask)
    patch.set(Retirement, "_everybody_reachable", lambda _self: True)


@mutant("I4", "I5", faults=(OLD_DISK,), nodes=3, anti_entropy_ms=_EXCHANGING, grace_ms=4500, load=_FORGOTTEN, every_s=0.5)
def believe_an_old_disk(patch: Patches) -> None:
    """A node that starts on a disk from before a retirement takes part as if it were the newest."""
    patch.set(Vouches, "hear", lambda self, *_: setattr(self, "sure", True))


@mutant("I4", "I5", faults=(OLD_DISK,), nodes=3, anti_entropy_ms=_EXCHANGING, grace_ms=4500, load=_FORGOTTEN, every_s=0.5)
def tell_no_counts_before_a_retirement(patch: Patches) -> None:
    """Who is asked to forget is not told how often the others have vouched, and knows no old disk when it sees one."""
    patch.set(Vouches, "learn", lambda *_: False)


@mutant(
    "I15", faults=(FULL_DISK, CRASH_ALL), nodes=3, anti_entropy_ms=_EXCHANGING, grace_ms=4500,
    load=replace(_FORGOTTEN, keys=60, requests=90, think_s=0.3), every_s=2.0, lasting_s=0.5,
)  # fmt: skip
def tell_of_a_count_before_it_is_stored(patch: Patches) -> None:
    """Others hear how often a node has vouched, this turn included, and hear it though the turn's commit has failed."""

    def vouch(self: Vouches) -> int:
        self.stored = original(self)
        return self.stored

    original = Vouches.vouch
    patch.set(Vouches, "vouch", vouch)
    patch.set(node, "VOUCHING", VOUCHING - {RetireAsk})


@mutant("I8")
def believe_every_rumour(patch: Patches) -> None:
    """A member's record is taken from gossip even where an older one comes late."""

    def learn(self: Membership, row: Any) -> None:
        told = Member(*row)
        if told.name != self._runtime.name:
            self.members[told.name] = told

    def on_digest(self: Gossip, sender: Address, _message: GossipDigest) -> None:
        records = [list(member) for member in self._membership.members.values()]
        self._runtime.send(sender, GossipDelta(records, [], [], [], []))

    patch.set(Membership, "learn_member", learn)
    patch.set(Gossip, "on_digest", on_digest)


@mutant("I13")
def write_each_time_under_a_new_name(patch: Patches) -> None:
    """Every put takes a new epoch, so the clocks of keys grow without end."""

    def actor(self: Puts, op: PutOp, known: Siblings, stands_for: str) -> tuple[str, int]:
        self._identity.new_epoch("for no reason")
        return original(self, op, known, stands_for)

    original = Puts._actor
    patch.set(Puts, "_actor", actor)
