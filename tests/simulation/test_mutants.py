"""The checker can fail: each of these bugs, built into the core on purpose, is found by some seed.

A mutant is run under a plan that gives it a chance: a bug of hints needs nodes that are away, one of epochs a lost disk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from dynazmq.dynamo import anti_entropy, get, hints, put, recall, replica, versions
from dynazmq.dynamo.anti_entropy import AntiEntropy
from dynazmq.dynamo.forward import Forwards
from dynazmq.dynamo.get import GetOp, Gets
from dynazmq.dynamo.hints import Hints
from dynazmq.dynamo.identity import Identity
from dynazmq.dynamo.messages import Mend, MendReply, Put
from dynazmq.dynamo.node import Node
from dynazmq.dynamo.put import PutOp, Puts
from dynazmq.dynamo.replica import Replica
from dynazmq.dynamo.runtime import Address
from dynazmq.dynamo.trees import Trees
from dynazmq.dynamo.versions import EMPTY, Context, Sibling, Siblings
from dynazmq.simulator import faults
from dynazmq.simulator.faults import CRASH, DAMAGE, FULL_DISK, ISOLATE, PAUSE, WIPE
from dynazmq.simulator.network import Conditions
from dynazmq.simulator.process import Process
from dynazmq.simulator.simulation import run_seed
from dynazmq.simulator.workload import Load, Mix

SEEDS = range(1, 41)

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass
class Mutant:
    """A bug; what must go wrong for it to show; the promises of which at least one is then seen broken."""

    build_in: Patch
    broken: tuple[str, ...]
    faults: tuple[str, ...] = ()
    conditions: Conditions = field(default_factory=Conditions)
    plan: dict[str, Any] = field(default_factory=dict)


def speak_before_commit(patch: pytest.MonkeyPatch) -> None:
    def speak(self: Process, life: int) -> None:
        if life == self._life and self.state == "up":
            self._send(self.node.drain(), 1 << 30)
            original(self, life)

    original = Process._speak
    patch.setattr(Process, "_speak", speak)


def answer_although_the_commit_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Node, "turn_failed", lambda _self: None)


def acknowledge_one_copy_too_early(patch: pytest.MonkeyPatch) -> None:
    def admit(self: Puts, client: Address, message: Put) -> PutOp | None:
        op = original(self, client, message)
        if op is not None:
            op.quorum.needed -= 1
        return op

    original = Puts.admit
    patch.setattr(Puts, "admit", admit)


def delete_a_hint_when_it_is_sent(patch: pytest.MonkeyPatch) -> None:
    def deliver(self: Hints, target: str) -> None:
        original(self, target)
        delivery = self._deliveries.get(target)
        for row, _ in list(delivery.sent.values()) if delivery is not None else ():
            if self._read(target, *row):
                self._forget(target, *row)

    original = Hints.deliver
    patch.setattr(Hints, "deliver", deliver)


def acknowledge_hints_and_keep_none(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hints, "keep", lambda *_: None)


def place_no_hints(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Puts, "_stand_in", lambda *_: None)
    patch.setattr(Puts, "_keep_hint", lambda *_: None)


def give_dots_again_after_a_lost_disk(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(faults, "LOSSY", ())  # as often as there is time for
    patch.setattr(Identity, "_draw", lambda _self: "0000000001")
    patch.setattr(Replica, "_check_counter", lambda *_: None)


def keep_the_epoch_when_a_row_is_damaged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(faults, "LOSSY", ())
    patch.setattr(Identity, "new_epoch", lambda *_: None)


def write_every_retry_anew(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Forwards, "_coordinate", lambda self, op: self._puts.write(op))
    patch.setattr(Replica, "find", lambda *_: None)
    patch.setattr(versions, "_one_per_write", lambda siblings: tuple(sorted(siblings, key=versions._by_dot)))


def last_write_wins_in_puts(patch: pytest.MonkeyPatch) -> None:
    def newest(state: Siblings, *rest: Any) -> tuple[Siblings, Sibling, tuple[Sibling, ...]]:
        after, new, _ = original(state, *rest)
        return Siblings((new,), after.context), new, state.live

    original = versions.put
    patch.setattr(put, "put", newest)


def change_sync(patch: pytest.MonkeyPatch, keep: Callable[[Siblings], tuple[Sibling, ...]]) -> None:
    def sync(a: Siblings, b: Siblings) -> Siblings:
        both = original(a, b)
        return Siblings(keep(both), both.context)

    original = versions.sync
    for module in (get, hints, recall, replica):
        patch.setattr(module, "sync", sync)


def last_write_wins_in_merges(patch: pytest.MonkeyPatch) -> None:
    change_sync(patch, lambda both: both.live and (max(both.live, key=lambda s: (s.wall_ms, s.dot)),))


def drop_one_of_three_siblings(patch: pytest.MonkeyPatch) -> None:
    change_sync(patch, lambda both: both.live[:2])


def ignore_contexts(patch: pytest.MonkeyPatch) -> None:
    original = versions.put
    patch.setattr(put, "put", lambda state, _seen, *rest: original(state, Context(), *rest))


def return_a_context_of_more_than_was_shown(patch: pytest.MonkeyPatch) -> None:
    def reply(self: Puts, op: PutOp) -> None:
        op.context = versions.decode(op.state).context
        original(self, op)

    original = Puts._reply
    patch.setattr(Puts, "_reply", reply)


def repair_nothing_on_reads(patch: pytest.MonkeyPatch) -> None:
    def repair(_self: Gets, op: GetOp) -> Siblings:
        merged = EMPTY
        for state in op.states.values():
            merged = versions.sync(merged, versions.decode(state))
        return merged

    patch.setattr(Gets, "_repair", repair)


def forget_who_waits(patch: pytest.MonkeyPatch) -> None:
    """What hedged gets once did: their end was never noticed."""
    patch.setattr(Gets, "_overdue", lambda *_: None)


def leave_writes_out_of_the_trees(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Trees, "written", lambda *_: None)


def leave_the_trees_of_a_failed_turn_as_they_are(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Trees, "rolled_back", Trees.committed)


def answer_a_mend_and_merge_nothing(patch: pytest.MonkeyPatch) -> None:
    def on_mend(self: AntiEntropy, sender: Address, message: Mend) -> None:
        self._runtime.send(sender, MendReply(message.request_id, b""))

    patch.setattr(AntiEntropy, "on_mend", on_mend)


def take_what_differs_for_equal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(anti_entropy, "row_hash", lambda *_: 0)


LOSSES = Conditions(loss=0.1)
MANY_KEYS = {"load": Load(clients=3, keys=12, requests=40, think_s=0.05), "every_s": 0.4, "lasting_s": 0.6}
ALONE = {"anti_entropy_ms": 0}  # or it would mend what the mutant breaks
EXCHANGING = {"anti_entropy_ms": 150}
BLIND = {"load": Load(clients=3, keys=3, requests=50, think_s=0.05, mix=Mix(put_blind=8)), "every_s": 0.1, "lasting_s": 0.2}
MUTANTS: dict[str, Mutant] = {
    patch.__name__: Mutant(patch, broken, faults, conditions, plan)
    for patch, broken, faults, conditions, plan in (
        (speak_before_commit, ("I1", "I15", "I12"), (CRASH,), Conditions(), {"every_s": 0.2}),
        (answer_although_the_commit_failed, ("I1", "I15"), (FULL_DISK,), Conditions(), {"w": 1, "r": 1}),
        (acknowledge_one_copy_too_early, ("I15",), (), Conditions(), {}),
        (delete_a_hint_when_it_is_sent, ("I2", "I1"), (PAUSE, ISOLATE), LOSSES, MANY_KEYS),
        (acknowledge_hints_and_keep_none, ("I15",), (PAUSE, ISOLATE), Conditions(), {}),
        (place_no_hints, ("I2",), (PAUSE, ISOLATE), Conditions(), MANY_KEYS),
        (give_dots_again_after_a_lost_disk, ("I12",), (WIPE,), Conditions(), BLIND),
        (keep_the_epoch_when_a_row_is_damaged, ("I12",), (DAMAGE,), Conditions(), BLIND),
        (write_every_retry_anew, ("I5",), (), LOSSES, {}),
        (last_write_wins_in_puts, ("I1",), (), Conditions(), {}),
        (last_write_wins_in_merges, ("I1",), (), Conditions(), {}),
        (drop_one_of_three_siblings, ("I1",), (), Conditions(), {}),
        (ignore_contexts, ("I4", "I5"), (), Conditions(), {}),
        (return_a_context_of_more_than_was_shown, ("I1",), (), Conditions(), {}),
        (repair_nothing_on_reads, ("I2",), (WIPE,), Conditions(), {"load": Load(keys=40, requests=40)}),
        (leave_writes_out_of_the_trees, ("I10", "I2"), (), Conditions(), EXCHANGING),
        (leave_the_trees_of_a_failed_turn_as_they_are, ("I10",), (FULL_DISK,), Conditions(), EXCHANGING | {"every_s": 0.2}),
        (answer_a_mend_and_merge_nothing, ("I2",), (WIPE,), Conditions(), EXCHANGING | {"load": Load(keys=40, requests=40)}),
        (take_what_differs_for_equal, ("I2",), (WIPE,), Conditions(), EXCHANGING | {"load": Load(keys=40, requests=40)}),
        (forget_who_waits, ("I9", "I14"), (PAUSE,), LOSSES, {}),
    )
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutant.build_in(monkeypatch)
    for seed in SEEDS:
        report = run_seed(seed, faults=mutant.faults, conditions=mutant.conditions, **ALONE | mutant.plan)
        if any(text.startswith(mutant.broken) for text in report.broken):
            return
    raise AssertionError(f"{name}: no seed of {SEEDS} has noticed")


def test_under_the_plans_of_the_mutants_the_real_core_breaks_nothing() -> None:
    """So it is the mutation that was caught."""
    for mutant in MUTANTS.values():
        report = run_seed(1, faults=mutant.faults, conditions=mutant.conditions, **ALONE | mutant.plan)
        assert report.ok, f"\n{report}"
