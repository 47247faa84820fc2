"""What changed between two snapshots, as events for people: who was suspected by whom, when all agreed, when hints were home.

The supervisor tells what happens to processes itself; this is what only the cluster can tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dynazmq.cluster.judgement import SERVES, hints_by_target
from dynazmq.cluster.snapshot import Event, NodeView, Snapshot
from dynazmq.faults import Fault, describe

_PHASES = {
    "rest": "at rest",
    "filling": "keys are copied to those who will own them",
    "flipped": "the new owners are read, the old ones hand over what is left",
}


@dataclass(slots=True)
class Chronicle:
    """Fed with one snapshot after the other. Silent until the cluster has been whole once: a start is no recovery."""

    _whole_once: bool = False
    _word: dict[str, str] = field(default_factory=dict)  # node → what was last told of it: up | suspected | down
    _hints: dict[str, int] = field(default_factory=dict)  # target → most hints that were seen waiting, while some do
    _converged: bool = False
    _ring: tuple[int, str] | None = None  # version and phase of the ring that was told last
    _faults: dict[str, Fault] = field(default_factory=dict)  # by id, those that were on

    def changes(self, snapshot: Snapshot) -> list[Event]:
        events: list[Event] = []
        self._ring_follows(snapshot, events)
        for node in snapshot.nodes:
            self._reachability(node, snapshot.taken_at, events)
        self._handoff(snapshot, events)
        if snapshot.converged and all(node.state in SERVES for node in snapshot.nodes):
            if not self._converged:
                events.append(Event(snapshot.taken_at, "*", "all up, rings agree, no hint pends, replicas equal", "converged"))
            self._converged = self._whole_once = True
        else:
            self._converged = False
        faults = self._switched(snapshot)
        return faults + events if self._whole_once else faults

    def _switched(self, snapshot: Snapshot) -> list[Event]:
        """Faults that were switched on, healed, or over: told from the beginning."""
        before, self._faults = self._faults, {fault.id: fault for fault in snapshot.faults}
        off = [fault for id_, fault in before.items() if self._faults.get(id_) != fault]
        on = [fault for id_, fault in self._faults.items() if before.get(id_) != fault]
        at = snapshot.taken_at
        events = [Event(at, "*", f"fault {fault.id} off: {describe(fault)}", "fault-off") for fault in off]
        return events + [Event(at, "*", f"fault {fault.id} on: {describe(fault)}", "fault-on") for fault in on]

    def _ring_follows(self, snapshot: Snapshot, events: list[Event]) -> None:
        """The steps in which members come and go."""
        ring = (snapshot.ring_version, snapshot.phase)
        if snapshot.ring_version and self._ring not in (None, ring):
            events.append(Event(snapshot.taken_at, "*", f"ring v{snapshot.ring_version}: {_PHASES[snapshot.phase]}", "ring"))
        if snapshot.ring_version:
            self._ring = ring

    def _reachability(self, node: NodeView, now: float, events: list[Event]) -> None:
        if not node.seen_by or (node.name not in self._word and any(word != "up" for word in node.seen_by.values())):
            return  # who is new is born suspected
        against = sorted(peer for peer, state in node.seen_by.items() if state != "up")
        gone = [peer for peer in against if node.seen_by[peer] == "down"]
        before = self._word.setdefault(node.name, "up")
        if len(gone) == len(node.seen_by):
            word, text = "down", f"down: {' '.join(gone)} agree"
        elif against:
            word, text = "suspected", f"suspected by {' '.join(against)}"
        else:
            word, text = "up", f"up: {len(node.seen_by)}/{len(node.seen_by)} peers see it"
        if word == before or (word == "suspected" and before == "down"):  # on the way back: told when it is complete
            return
        self._word[node.name] = word
        events.append(Event(now, node.name, text, word))

    def _handoff(self, snapshot: Snapshot, events: list[Event]) -> None:
        waiting = hints_by_target(snapshot)
        for target, count in waiting.items():
            if target not in self._hints:
                holders = " ".join(node.name for node in snapshot.nodes if target in node.hints_for)
                events.append(Event(snapshot.taken_at, target, f"hints for it are kept at {holders}", "hints"))
            self._hints[target] = max(count, self._hints.get(target, 0))
        silent = any(node.pid is not None and not node.answers for node in snapshot.nodes)
        for target in [target for target in self._hints if target not in waiting]:
            if not silent:  # a holder that does not answer now may still have some
                most = self._hints.pop(target)
                events.append(Event(snapshot.taken_at, target, f"hints delivered, none waits (most seen {most:,})", "drained"))
