"""Mutants of causality: writes that overwrite what their writers never saw, or bring back what was overwritten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dynazmq.dynamo.coordinator import get, idempotent_retry, put
from dynazmq.dynamo.coordinator.forward import Forwards
from dynazmq.dynamo.coordinator.idempotent_retry import Recalls
from dynazmq.dynamo.coordinator.put import Puts
from dynazmq.dynamo.coordinator.put_op import PutOp
from dynazmq.dynamo.coordinator.suspected_retries import Elsewhere
from dynazmq.dynamo.messages import TIMEOUT
from dynazmq.dynamo.replica import hints, replica
from dynazmq.dynamo.replica.replica import Replica
from dynazmq.dynamo.values import versions
from dynazmq.dynamo.values.quorum import Quorum
from dynazmq.dynamo.values.versions import Context, Sibling, Siblings
from dynazmq.simulator.cluster.history import History
from dynazmq.simulator.mutants.mutant import Patches, mutant
from dynazmq.simulator.run.faults import CRASH, CRASH_ALL, FULL_DISK, ISOLATE, SPLIT
from dynazmq.simulator.run.workload import Load, Mix
from dynazmq.simulator.world.network import Conditions


def change_sync(patch: Patches, keep: Callable[[Siblings], tuple[Sibling, ...]]) -> None:
    """All that merges keeps only these of the siblings."""

    def sync(a: Siblings, b: Siblings) -> Siblings:
        both = original(a, b)
        return both.with_live(keep(both))

    original = versions.sync
    for module in (get, hints, idempotent_retry, replica):
        patch.set(module, "sync", sync)


@mutant("I5", conditions=Conditions(loss=0.1))
def write_every_retry_anew(patch: Patches) -> None:
    """A retried put becomes a sibling of its own first try."""
    patch.set(Forwards, "_coordinate", lambda self, op: self._puts.write(op))
    patch.set(Replica, "is_done", lambda *_: False)
    patch.set(PutOp, "retried", False)
    patch.set(versions, "_one_per_write", lambda siblings: tuple(sorted(siblings, key=versions._by_dot)))


@mutant("I1", "I4", "I5", conditions=Conditions(loss=0.2), asks=True)
def write_what_was_only_asked_about(patch: Patches) -> None:
    """A retry that asks without its value, and whose first try nobody knows, is done without its value: as a delete."""
    patch.set(Puts, "ask_for_value", lambda self, op: self.write(op))


@mutant("I1", conditions=Conditions(loss=0.2), asks=True)
def answer_what_was_only_asked_about(patch: Patches) -> None:
    """A retry that asks without its value, and whose first try nobody knows, is acknowledged all the same."""

    def acknowledge(self: Puts, op: PutOp) -> None:
        name = self._runtime.name
        op.quorum.answered.append(name)
        op.stands_for[name] = ""
        self._reply(op)

    patch.set(Puts, "ask_for_value", acknowledge)


_RETRIES: dict[str, Any] = {
    "faults": (ISOLATE, CRASH_ALL), "conditions": Conditions(loss=0.2), "every_s": 0.3, "lasting_s": 1.0, "stable_s": 0.3,
    "load": Load(clients=4, keys=1, requests=80, think_s=0.01, mix=Mix(get=1.0, put_known=1.0, delete=4.0)),
}  # fmt: skip
"""Many answers are lost, whoever has not answered is soon cut off, and all who could remember it soon die."""


@mutant("I4", "I5", **_RETRIES | {"load": replace(_RETRIES["load"], requests=240)})
def forget_that_a_write_was_retried(patch: Patches) -> None:
    """What is known of two tries of one put is in the memory of processes alone."""
    patch.set(PutOp, "retried", False)
    patch.set(Puts, "_expect_retry", lambda *_: None)
    patch.set(Elsewhere, "suspected", lambda *_: [])
    patch.set(History, "seen_too_early", lambda *_: False)  # nothing is let off: of the real core it is much rarer


_ELSEWHERE: dict[str, Any] = {
    "nodes": 5, "n": 3, "r": 2, "w": 2, "faults": (CRASH, SPLIT), "every_s": 0.4, "lasting_s": 0.6, "stable_s": 0.3,
    "conditions": Conditions(delay_s=0.002, jitter_s=0.002, loss=0.1, spikes=0.03, spike_s=1.0), "anti_entropy_ms": 150,
    "load": Load(clients=4, keys=1, requests=80, think_s=0.02, mix=Mix(get=1.0, put_known=2.0, update=4.0)),
}  # fmt: skip
"""Many puts are tried at nodes that do not reach each other, and are read and overwritten meanwhile."""


@mutant("I4", "I5", **_ELSEWHERE)
def suspect_no_retry(patch: Patches) -> None:
    """A put whose coordinator has died, or whose client may be beyond a cut, is overwritten as if it could not be retried."""
    patch.set(Elsewhere, "suspected", lambda *_: [])
    patch.set(History, "seen_too_early", lambda *_: False)


_STAND_INS: dict[str, Any] = {
    "nodes": 3, "n": 1, "r": 1, "w": 1, "faults": (CRASH,), "every_s": 0.5, "lasting_s": 2.0, "stable_s": 0.3,
    "conditions": Conditions(loss=0.01),
    "load": Load(clients=4, keys=1, requests=120, think_s=0.02, mix=Mix(get=1.0, put_known=2.0, update=4.0)),
}  # fmt: skip
"""The one primary of a key is away for long at a time, and now and then an answer of who stands in for it is lost."""


@mutant("I4", "I5", **_STAND_INS)
def ask_nobody_who_may_have_stood_in(patch: Patches) -> None:
    """A retry asks only whom it would have asked to store the write, though another may have stood in for a primary."""
    patch.set(Recalls, "_stand_ins", lambda *_: [])


_UNKNOWN: dict[str, Any] = {
    "nodes": 3, "n": 3, "r": 1, "w": 3, "faults": (FULL_DISK,), "every_s": 1.0, "lasting_s": 0.2,
    "load": Load(clients=3, keys=6, requests=20, think_s=0.1, timeout_s=1.0, mix=Mix(get=1.0, put_known=4.0, update=2.0)),
}  # fmt: skip
"""Coordinators find again and again that too few can store a put."""


@mutant("I15", **_UNKNOWN)
def leave_an_unknown_outcome_unmarked(patch: Patches) -> None:
    """A coordinator that has told its client that the outcome is unknown does not say of the try that it may have another dot."""

    def leave_unknown(self: Puts, op: PutOp, text: str) -> None:
        self.fail(op.client, op.message, TIMEOUT, op.quorum.needed, len(op.quorum.answered), text)
        op.done = True

    patch.set(Puts, "_leave_unknown", leave_unknown)


@mutant("I1", "I3")
def last_write_wins_in_puts(patch: Patches) -> None:
    """A put replaces all siblings, whatever its context covers."""

    def newest(state: Siblings, *rest: Any) -> tuple[Siblings, Sibling, tuple[Sibling, ...]]:
        after, new, _ = original(state, *rest)
        return after.with_live((new,)), new, state.live

    original = versions.put
    patch.set(put, "put", newest)


@mutant("I1", "I3")
def last_write_wins_in_merges(patch: Patches) -> None:
    """A merge keeps the sibling with the latest time, and drops the others."""
    change_sync(patch, lambda both: both.live and (max(both.live, key=lambda s: (s.wall_ms, s.dot)),))


@mutant("I1", "I3")
def drop_one_of_three_siblings(patch: Patches) -> None:
    """A merge keeps two siblings at most."""
    change_sync(patch, lambda both: both.live[:2])


@mutant("I4", "I5")
def ignore_contexts(patch: Patches) -> None:
    """A put overwrites nothing, not even what its writer has seen."""
    original = versions.put
    patch.set(put, "put", lambda state, _seen, *rest: original(state, Context(), *rest))


@mutant("I1", "I3")
def return_a_context_of_more_than_was_shown(patch: Patches) -> None:
    """The context that a put returns covers siblings that its caller never saw."""

    def reply(self: Puts, op: PutOp) -> None:
        op.context = versions.decode(op.state).context
        original(self, op)

    original = Puts._reply
    patch.set(Puts, "_reply", reply)


@mutant(
    "I7", n=3, r=3, w=1, conditions=Conditions(jitter_s=0.002), load=Load(clients=4, keys=1, requests=150, think_s=0.0002)
)
def answer_reads_at_one_copy_less(patch: Patches) -> None:
    """A get is answered at R - 1 copies, so it may miss what was acknowledged before."""
    patch.set(get, "Quorum", lambda r, pr: Quorum(max(r - 1, 1), pr))
