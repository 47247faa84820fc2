"""What changed between two snapshots, as events for people: who was suspected by whom, when all agreed, when hints were home.

The supervisor tells what happens to processes itself; this is what only the cluster can tell. It looks twice a second; when peers
came to call a node down they know themselves, so those events have the time at which it was, and not at which it was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dynazmq.cluster.observe.node_health import SERVES, hints_by_target
from dynazmq.cluster.observe.snapshot import Event, NodeView, Snapshot
from dynazmq.faults import Fault, describe

_PHASES = {
    "rest": "at rest",
    "filling": "keys are copied to those who will own them",
    "flipped": "the new owners are read, the old ones hand over what is left",
}
_TROUBLE = (
    *("killed", "died", "stopped", "paused", "wiped", "failed"),
    *("suspected", "down", "hints", "exchange", "transfer", "ring"),
)
"""What "converged" counts from: the first of these since the last time."""

_MOMENT_S = 2.0
"""Hints for a node that is up, and trees that differ, are told when they are there for so long: writes under way, under load."""

_OVERLOAD_ENDS_S = 2.0
_LOOKED_S = 2.0
"""What is said to have happened longer ago was there before the last look."""


@dataclass(slots=True)
class _Course:
    """Something with a begin and an end."""

    began: float
    told: bool = False
    most: int = 0
    count: int = 0
    last: float = 0.0


@dataclass(slots=True)
class _Handoff:
    """Hints for one target."""

    began: float
    told: bool = False
    most: int = 0
    last: int = 0
    delivering: bool = False
    alone: bool = True  # no other target had any meanwhile: what was delivered was for this one
    delivered: int = 0


@dataclass(slots=True)
class Chronicle:
    """Fed with one snapshot after the other. Silent until the cluster has been whole once: a start is no recovery."""

    whole_once: bool = False
    fallbacks: Callable[[str], tuple[int, int] | None] = lambda _node: None
    """node → (partitions that use a fallback when it is away, all partitions); None: not known"""
    _word: dict[str, str] = field(default_factory=dict)  # node → what was last told of it: up | suspected | down
    _hints: dict[str, _Handoff] = field(default_factory=dict)
    _counters: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)  # node → incarnation, what it had counted
    _gains: dict[str, Counter[str]] = field(default_factory=dict)
    _exchanges: dict[str, _Course] = field(default_factory=dict)
    _transfers: dict[str, _Course] = field(default_factory=dict)
    _strays: dict[str, int] = field(default_factory=dict)
    _overloads: dict[str, _Course] = field(default_factory=dict)
    _converged: bool = False
    _trouble: Event | None = None
    _since: Counter[str] = field(default_factory=Counter)  # what the nodes have counted since it began
    _ring: tuple[int, str] | None = None  # version and phase of the ring that was told last
    _faults: dict[str, Fault] = field(default_factory=dict)  # by id, those that were on

    def heard(self, event: Event) -> None:
        """Something was told by somebody else: what happened to a process."""
        if self._trouble is None and self.whole_once and event.kind in _TROUBLE:
            self._trouble = event
            self._since.clear()

    def changes(self, snapshot: Snapshot) -> list[Event]:
        events: list[Event] = []
        self._count(snapshot)
        self._ring_follows(snapshot, events)
        for node in snapshot.nodes:
            self._reachability(node, snapshot.taken_at, events)
        self._handoff(snapshot, events)
        for node in snapshot.nodes:
            if node.answers:
                self._exchange(node, snapshot.taken_at, events, over=snapshot.converged)
                self._transfer(node, snapshot.taken_at, events)
                self._overload(node, snapshot.taken_at, events)
        for event in events:
            self.heard(event)
        if snapshot.converged and all(node.state in SERVES for node in snapshot.nodes):
            if not self._converged and (self._trouble is not None or not self.whole_once):
                events.append(self._convergence(snapshot.taken_at))
            self._converged = self.whole_once = True
            self._trouble = None
        else:
            self._converged = False
        faults = self._switched(snapshot)
        return faults + events if self.whole_once else faults

    def _convergence(self, now: float) -> Event:
        text = "all up, rings agree, no hint pends, replicas equal"
        trouble = self._trouble
        if trouble is None:
            return Event(now, "*", text, "converged")
        took = max(0.0, now - trouble.at)
        cause = trouble.kind if trouble.node == "*" else f"{trouble.node} {trouble.kind}"
        details = {
            "duration_s": round(took, 3),
            "began": round(trouble.at, 3),
            "cause": {"kind": trouble.kind, "node": trouble.node},
            **{what: self._since[what] for what in ("hints_delivered", "keys_exchanged", "read_repairs", "keys_transferred")},
        }
        return Event(now, "*", f"converged {took:.1f} s after it began ({cause}): {text}", "converged", details)

    def _count(self, snapshot: Snapshot) -> None:
        """What each node has counted since the last snapshot; a new process began at 0."""
        self._gains = {}
        for node in snapshot.nodes:
            if not node.answers:
                continue
            incarnation, before = self._counters.get(node.name, (node.incarnation, node.counters))
            if incarnation != node.incarnation:
                before = {}
            gained = {name: count - before.get(name, 0) for name, count in node.counters.items() if count > before.get(name, 0)}
            self._gains[node.name] = Counter(gained)
            self._since.update(gained)
            self._counters[node.name] = (node.incarnation, node.counters)

    def _switched(self, snapshot: Snapshot) -> list[Event]:
        """Faults that were switched on, healed, or over: told from the beginning."""
        before, self._faults = self._faults, {fault.id: fault for fault in snapshot.faults}
        off = [fault for id_, fault in before.items() if self._faults.get(id_) != fault]
        on = [fault for id_, fault in self._faults.items() if before.get(id_) != fault]
        return [_switch(snapshot.taken_at, fault, on=False) for fault in off] + [
            _switch(snapshot.taken_at, fault, on=True) for fault in on
        ]

    # --- the ring and the peers -------------------------------------------------------------------------------------------

    def _ring_follows(self, snapshot: Snapshot, events: list[Event]) -> None:
        """The steps in which members come and go."""
        ring = (snapshot.ring_version, snapshot.phase)
        if snapshot.ring_version and self._ring not in (None, ring):
            text = f"ring v{snapshot.ring_version}: {_PHASES[snapshot.phase]}"
            details = {"version": snapshot.ring_version, "phase": snapshot.phase}
            events.append(Event(snapshot.taken_at, "*", text, "ring", details))
        if snapshot.ring_version:
            self._ring = ring

    def _reachability(self, node: NodeView, now: float, events: list[Event]) -> None:
        if not node.seen_by or (node.name not in self._word and any(word != "up" for word in node.seen_by.values())):
            return  # who is new is born suspected
        against = sorted(peer for peer, state in node.seen_by.items() if state != "up")
        gone = [peer for peer in against if node.seen_by[peer] == "down"]
        peers = len(node.seen_by)
        before = self._word.setdefault(node.name, "up")
        since = {peer: now - node.seen_for_s.get(peer, 0.0) for peer in node.seen_by}
        if len(gone) == peers:
            word, text, at = "down", f"down: {peers}/{peers} agree{self._instead_of(node.name)}", max(since.values())
        elif against:
            word, text, at = "suspected", f"suspected by {' '.join(against)}", min(since[peer] for peer in against)
        else:
            word, text, at = "up", f"up: {peers}/{peers} peers see it", max(since.values())
        if word == before or (word == "suspected" and before == "down"):  # on the way back: told when it is complete
            return
        self._word[node.name] = word
        by = against if word != "up" else sorted(node.seen_by)
        events.append(Event(min(at, now), node.name, text, word, {"by": by, "of": peers}))

    def _instead_of(self, name: str) -> str:
        found = self.fallbacks(name)
        return f"; {found[0]} of {found[1]} partitions use a fallback" if found else ""

    # --- hints ------------------------------------------------------------------------------------------------------------

    def _handoff(self, snapshot: Snapshot, events: list[Event]) -> None:
        """Told at once for a target that is away. One that is only slow has some kept for it, too, and soon gets them."""
        waiting, now = hints_by_target(snapshot), snapshot.taken_at
        gained = sum(gains["hints_delivered"] for gains in self._gains.values())
        for target in waiting.keys() - self._hints.keys():
            self._hints[target] = _Handoff(now)
        for handoff in self._hints.values():
            handoff.delivered += gained
            handoff.alone &= len(self._hints) == 1
        silent = any(node.pid is not None and not node.answers for node in snapshot.nodes)
        for target, handoff in sorted(self._hints.items()):
            holders = {node.name: node.hints_for[target] for node in snapshot.nodes if target in node.hints_for}
            away = self._word.get(target, "up") != "up"
            count = waiting.get(target, 0)
            handoff.most = max(count, handoff.most)
            if not handoff.told and holders and (away or now - handoff.began >= _MOMENT_S):
                handoff.told = True
                events.append(_hints(now, target, f"hints for it are kept at {' '.join(holders)}", "stored", count, holders))
            if silent:  # a holder that does not answer now may still have some
                continue
            if not handoff.delivering and count < handoff.last and not (away and count):
                handoff.delivering = True
                if handoff.told:
                    text = f"hints are brought to it: {handoff.most:,}"
                    events.append(_hints(now, target, text, "delivering", handoff.most, holders))
            handoff.last = count
            if count:
                continue
            del self._hints[target]
            if handoff.told:
                delivered = handoff.delivered if handoff.alone and handoff.delivered else handoff.most
                text = f"hints delivered: {delivered:,}, none waits (most seen {handoff.most:,})"
                events.append(_hints(now, target, text, "delivered", delivered, {}))

    # --- what a node does -------------------------------------------------------------------------------------------------

    def _exchange(self, node: NodeView, now: float, events: list[Event], *, over: bool) -> None:
        """Told when it takes a while, or when keys were exchanged: a write under way is no difference.

        It ends when a look finds nothing more to do, or when it is over: all replicas are known to be equal.
        """
        differing, keys = node.ranges_differing, self._gains[node.name]["keys_exchanged"]
        course = self._exchanges.get(node.name)
        if course is None:
            if not differing and not keys:
                return
            course = self._exchanges[node.name] = _Course(now)
        course.most, course.count = max(course.most, differing), course.count + keys
        if differing and not course.told and now - course.began >= _MOMENT_S:
            course.told = True
            text = f"replicas differ in {_many(course.most, 'tree')}: its keys are exchanged with those of its peers"
            events.append(Event(course.began, node.name, text, "exchange", {"phase": "begin", "trees": course.most}))
        if not differing and (over or not keys):
            del self._exchanges[node.name]
            if course.told or course.count:
                took = now - course.began
                exchanged = f"{_many(course.count, 'key')} exchanged, " if course.count else ""
                text = f"{exchanged}no tree differs any more"
                details = {"phase": "end", "trees": course.most, "keys": course.count, "duration_s": round(took, 3)}
                events.append(Event(now, node.name, text, "exchange", details))

    def _transfer(self, node: NodeView, now: float, events: list[Event]) -> None:
        moved = node.transfer
        course = self._transfers.get(node.name)
        if course is None and moved.partitions and not moved.confirmed:
            self._transfers[node.name] = _Course(now, most=moved.partitions)
            text = f"gets copies of {_many(moved.partitions, 'partition')}"
            events.append(Event(now, node.name, text, "transfer", {"phase": "begin", "partitions": moved.partitions}))
        elif course is not None and (moved.confirmed or not moved.partitions):
            del self._transfers[node.name]
            took = now - course.began
            text = f"has copies of all {_many(course.most, 'partition')}: {_many(course.count, 'key')}, {took:.1f} s"
            details = {"phase": "end", "partitions": course.most, "keys": course.count, "duration_s": round(took, 3)}
            events.append(Event(now, node.name, text, "transfer", details))
        elif course is not None:
            course.most, course.count = max(course.most, moved.partitions), max(course.count, moved.keys)
        before = self._strays.get(node.name, 0)
        if moved.strays and not before:
            text = f"hands over {_many(moved.strays, 'partition')} to their owners"
            events.append(Event(now, node.name, text, "transfer", {"phase": "handover", "partitions": moved.strays}))
        elif before and not moved.strays:
            text = "has handed over what is others'"
            events.append(Event(now, node.name, text, "transfer", {"phase": "handed-over"}))
        self._strays[node.name] = moved.strays

    def _overload(self, node: NodeView, now: float, events: list[Event]) -> None:
        refused = self._gains[node.name]["overloads"]
        course = self._overloads.get(node.name)
        if refused:
            if course is None:
                course = self._overloads[node.name] = _Course(now)
                text = f"overloaded: {_many(refused, 'request')} refused since the last look, too many are under way"
                events.append(Event(now, node.name, text, "overload", {"phase": "begin", "refused": refused}))
            course.count, course.last = course.count + refused, now
        elif course is not None and now - course.last >= _OVERLOAD_ENDS_S:
            del self._overloads[node.name]
            took = course.last - course.began
            text = f"refuses no more: {_many(course.count, 'request')} refused in {took:.1f} s"
            details = {"phase": "end", "refused": course.count, "duration_s": round(took, 3)}
            events.append(Event(now, node.name, text, "overload", details))


def _switch(now: float, fault: Fault, *, on: bool) -> Event:
    """At the time that the file names, unless somebody else, before this process, has told of it then."""
    named = fault.since if on else fault.until
    at = named if named is not None and now - _LOOKED_S <= named <= now else now
    details = {"fault": fault.id, "fault_kind": fault.kind}
    text = f"fault {fault.id} {'on' if on else 'off'}: {describe(fault)}"
    return Event(at, "*", text, "fault-on" if on else "fault-off", details)


def _hints(at: float, target: str, text: str, phase: str, count: int, holders: dict[str, int]) -> Event:
    details: dict[str, Any] = {"phase": phase, "count": count}
    return Event(at, target, text, "hints", {**details, "holders": holders} if holders else details)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
