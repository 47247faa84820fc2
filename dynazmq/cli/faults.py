"""`fault …`: a fault switched on and seen in the nodes; `fault list`. Healing is in healing.py."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynazmq.cli import OK, TIMED_OUT
from dynazmq.cli.asked import asked
from dynazmq.cli.fault_words import fault_of
from dynazmq.cli.terminal import DIM, YELLOW, emit, note, paint, say
from dynazmq.cli.words import brief, seconds
from dynazmq.cluster.directory import faults
from dynazmq.cluster.directory.faults import Fault, describe, lasts, touches
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.faults import ISOLATE, PARTITION
from dynazmq.paths import ClusterFile, where

APPLIED_S = 2.0
"""How long the nodes have to say that they apply it; it takes them 50 ms."""
_POLL_S = 0.02


def put_on(directory: Path, kind: str, words: Sequence[str], options: Mapping[str, str], for_: str | None, as_json: bool) -> int:
    """Raises InvalidRequest, ClusterError: then nothing is on that was not before."""
    cluster = ClusterFile.load(directory)
    names = list(cluster.members)
    wanted = fault_of(kind, words, options, names)
    fault = faults.put_on(directory, wanted, names, None if for_ is None else seconds(for_))
    asked(directory)
    with Observer(directory) as observer:
        snapshot, missing = await_nodes(observer, [fault], on=True)
    not_yet = {node.name: _why_not(node) for node in missing}
    late = [node.name for node in missing if _could(node)]
    if as_json:
        applied_by = [node.name for node in snapshot.nodes if fault.id in node.faults]
        emit("fault", {"fault": fault.document(), "applied_by": applied_by, "not_yet": not_yet})
    else:
        say(f"fault {fault.id}   {describe(fault)}   {_end(fault)}" + (f"     {so}" if (so := outcome(fault, cluster)) else ""))
        _say_not_yet(not_yet, late, directory)
        note(f"    {paint('next', DIM)}  dynazmq heal{where(directory)}")
    return TIMED_OUT if late else OK


def await_nodes(observer: Observer, switched: Sequence[Fault], *, on: bool) -> tuple[Snapshot, list[NodeView]]:
    """Until all nodes that could say that they apply these faults, or that they do not any more, have said it; 2 s at most.

    The last look, and the nodes concerned that have not said it, among them those that cannot.
    """
    deadline = time.monotonic() + APPLIED_S
    while True:
        snapshot = observer.look(facts_timeout=PATIENT_S)
        missing = [
            node
            for node in snapshot.nodes
            if any(touches(fault, node.name) and (not node.answers or (fault.id in node.faults) != on) for fault in switched)
        ]
        over = on and all(fault.over(time.time()) for fault in switched)
        if over or not any(_could(node) for node in missing) or time.monotonic() >= deadline:
            return snapshot, [] if over else missing
        time.sleep(_POLL_S)


def _could(node: NodeView) -> bool:
    """It runs, so it could say it."""
    return node.pid is not None and node.process != "paused"


def _why_not(node: NodeView) -> str:
    if node.process == "paused":
        return "paused"
    return "silent" if node.pid is not None else node.state if node.state == "stopped" else "down"


def _say_not_yet(not_yet: dict[str, str], late: list[str], directory: Path) -> None:
    for why, when in (("paused", "resumed"), ("down", "started"), ("stopped", "started")):
        if names := [name for name, word in not_yet.items() if word == why]:
            each = "it is" if len(names) == 1 else "they are"
            note(f"    {brief(names)} {'is' if len(names) == 1 else 'are'} {why}: it applies there when {each} {when}")
    if late:
        does = "does" if len(late) == 1 else "do"
        note(f"    {brief(late)} {does} not say so after {APPLIED_S:g} s    look  dynazmq logs {late[0]}{where(directory)}")


def _end(fault: Fault) -> str:
    return "until healed" if fault.until is None else f"for {fault.until - fault.since:g}s"


def outcome(fault: Fault, cluster: ClusterFile) -> str:
    """What comes of a cut, as far as it can be said; quorums are sloppy, so what counts is how many are on a side."""
    if fault.kind not in (PARTITION, ISOLATE):
        return ""
    sides = list(fault.sides)
    if fault.kind == ISOLATE:
        rest = tuple(name for name in cluster.members if name not in fault.nodes)
        sides = [*((name,) for name in fault.nodes), *([rest] if rest else [])]
    needed = max(cluster.r, cluster.w)
    bridges = [name for name in cluster.members if not any(name in side for side in sides)]
    small = [brief(side) for side in sides if len(side) + len(bridges) < needed]
    if bridges:
        reach = "reaches" if len(bridges) == 1 else "reach"
        return f"{brief(bridges)} {'is' if len(bridges) == 1 else 'are'} on no side and {reach} all"
    if not small:
        return f"{'both' if len(sides) == 2 else 'all'} sides accept writes (sloppy quorum)"
    return f"too few for R={cluster.r} W={cluster.w}: {', '.join(small)}"


# --- what is on -----------------------------------------------------------------------------------------------------------


def show(directory: Path, as_json: bool) -> int:
    ClusterFile.load(directory)
    on = faults.read(directory)
    applied: dict[str, list[str]] = {}
    if on:
        with Observer(directory) as observer:
            applied = applied_by(observer.look(0.6, facts_timeout=PATIENT_S), on)
    if as_json:
        emit("faults", {"faults": documents(on, applied)})
        return OK
    now = time.time()
    rows = [("ID", "FAULT", "SINCE", "ENDS", "APPLIED BY")] if on else []
    for fault in on:
        since = time.strftime("%H:%M:%S", time.localtime(fault.since))
        rows.append((fault.id, describe(fault), since, lasts(fault, now), brief(applied[fault.id]) or "no node"))
    widths = [max(len(row[i]) for row in rows) for i in range(5)] if rows else []
    for i, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        say(paint(line, DIM) if i == 0 else line)
    note(f"    {paint('next', DIM)}  dynazmq heal{where(directory)}" if on else "no fault is on")
    return OK


def applied_by(snapshot: Snapshot, on: Sequence[Fault]) -> dict[str, list[str]]:
    """id → the nodes that say that they apply it."""
    return {fault.id: [node.name for node in snapshot.nodes if fault.id in node.faults] for fault in on}


def documents(on: Sequence[Fault], applied: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    return [{**fault.document(), "text": describe(fault), "applied_by": list(applied.get(fault.id, ()))} for fault in on]


def status_line(fault: Fault, now: float) -> str:
    """For `status`, `up` and `down`: nobody shall overlook one."""
    return paint(f"fault {fault.id} is on: {describe(fault)}, {lasts(fault, now)}", YELLOW)
