"""What shows of the faults that are on: a line for each, and who cannot hear whom."""

from __future__ import annotations

from collections.abc import Sequence

from dynazmq.cluster.observe.snapshot import Snapshot
from dynazmq.faults import ISOLATE, ONE_WAY, PARTITION, Fault, describe, lasts


def lines(snapshot: Snapshot) -> list[str]:
    return [f"{fault.id} {describe(fault)}, {lasts(fault, snapshot.taken_at)}" for fault in snapshot.faults]


def cut(snapshot: Snapshot) -> set[tuple[str, str]]:
    """(from, to): no frame of the one reaches the other."""
    names = [node.name for node in snapshot.nodes]
    return {pair for fault in snapshot.faults for pair in _pairs(fault, names)}


def cutting(snapshot: Snapshot, node: str) -> Fault | None:
    """A fault that keeps this node from some of its peers."""
    names = [each.name for each in snapshot.nodes]
    return next((fault for fault in snapshot.faults if any(node in pair for pair in _pairs(fault, names))), None)


def _pairs(fault: Fault, names: Sequence[str]) -> list[tuple[str, str]]:
    if fault.kind == ONE_WAY:
        return [(one, other) for one in fault.sides[0] for other in fault.sides[1]]
    sides: list[Sequence[str]] = []
    if fault.kind == PARTITION:
        sides = list(fault.sides)
    elif fault.kind == ISOLATE:
        sides = [*([name] for name in fault.nodes), [name for name in names if name not in fault.nodes]]
    return [(one, other) for side in sides for one in side for away in sides if away is not side for other in away]
