"""What a history proves of an answer, and of what is stored of a key in the end. Pure: for simulated clusters and for real ones.

    of_answer   I5 no value beside one that covers it, none twice; I6 what was put, and nothing that was reported as not attempted
    of_key      I1 nothing lost, I4 nothing that came back, I5 no write beside itself, I6 nothing that nobody wrote

A write is *effective* if it was acknowledged, is there in the end, or was seen by somebody (C9: what shows once stays, unless a
disk has been lost since). An effective write is there or covered by what is there; and what it covers is gone.

No get shows whether a delete of unknown outcome took effect. Who sees all commits knows its dot (`History.sees_commits`) and
looks for it in the context of what is stored. Who sees answers alone cannot tell: then what it covers may be there or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dynazmq.dynamo.values.versions import Siblings
from dynazmq.simulator.cluster.history import FAILED, OK, UNKNOWN, History, Op

LOST, RESURRECTED, FALSE_SIBLING, INVENTED = "lost", "resurrected", "false sibling", "invented"


class Breach(NamedTuple):
    """A promise that was broken. write: the one that it is about, if it is known; by: the one that covers it."""

    promise: str
    kind: str
    text: str
    write: Op | None = None
    by: Op | None = None

    def __str__(self) -> str:
        return f"{self.promise}: {self.text}"


def of_answer(history: History, op: Op) -> Iterator[Breach]:
    """A get that has ended well."""
    if len(set(op.values)) < len(op.values):
        yield Breach("I5", FALSE_SIBLING, f"one value twice: {op}")
    found = []
    for value in op.values:
        write = history.by_value.get((op.key, value))
        if write is None:
            yield Breach("I6", INVENTED, f"{value!r} was never put: {op}")
        elif write.outcome == FAILED:
            yield Breach("I6", INVENTED, f"{value!r} was reported as failed: {op}", write)
        else:
            found.append(write)
    for write in found:
        for other in found:
            if other.covers & write.bit:
                yield _revived("I5", f"{op}: ", write, other)


def of_key(history: History, key: bytes, state: Siblings, *, collected: bool) -> Iterator[Breach]:
    """What all primaries hold of a key when all is at rest. collected: tombstones may have been let go of."""
    present: list[Op] = []
    for sibling in state.live:
        write = history.writes.get(sibling.write_id)
        if write is None:
            yield Breach("I6", INVENTED, f"{key.decode(errors='replace')} holds {sibling}, which nobody wrote")
            continue
        if write in present:
            text = f"{key.decode(errors='replace')} holds a write beside itself: {write}"
            yield Breach("I5", FALSE_SIBLING, text, write)
        present.append(write)
    writes = history.writes_of.get(key, [])
    effective = [op for op in writes if op in present or _took_effect(history, op, state, collected)]
    covered = 0
    for op in writes:
        # A delete that took effect covers what it covers, be its tombstone gone or not.
        if op in present or (op.kind == "delete" and (op in effective or _may_have(history, op))):
            covered |= op.covers
    for op in effective:
        if op.kind == "put" and op not in present and not covered & op.bit:
            yield Breach("I1", LOST, f"lost: {op}", op)
    for write in present:
        for other in effective:
            if other.covers & write.bit:
                yield _revived("I4", "", write, other)


def _revived(promise: str, where: str, write: Op, by: Op) -> Breach:
    return Breach(promise, RESURRECTED, f"{where}{write} is there beside {by}, which covers it", write, by)


def _took_effect(history: History, op: Op, state: Siblings, collected: bool) -> bool:
    """Without being there in the end."""
    if op.outcome == OK:
        return True
    if op.kind == "delete":
        dots = history.dots_of.get(op.write_id, set())
        return any(state.context.covers(*dot) for dot in dots) or bool(dots and collected)
    return op.write_id in history.seen and not history.lost(op.key)


def _may_have(history: History, op: Op) -> bool:
    return not history.sees_commits and op.outcome == UNKNOWN
