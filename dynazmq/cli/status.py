"""`cluster status` and `cluster wait`: one snapshot, or one after the other."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dynazmq.cli import DATA_LOST, DEGRADED, NO_QUORUM, NOT_RUNNING, OK, TIMED_OUT
from dynazmq.cli.faults import applied_by, documents
from dynazmq.cli.shown import report
from dynazmq.cli.terminal import colored, emit, note, say
from dynazmq.cli.words import seconds
from dynazmq.cluster.observe import node_health
from dynazmq.cluster.observe.observe import LOOK_TIMEOUT_S, PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.errors import ClusterReplaced, InvalidRequest
from dynazmq.paths import where
from dynazmq.streams import wait_while_read

PATIENCE_S = 0.6
"""One look may wait this long: longer than a screen's that looks twice a second, since a person asks once and wants the truth."""
POLL_S = 0.1


def run(directory: Path, *, as_json: bool, check: bool, watch: str | None) -> int:
    if watch is not None and as_json:
        raise InvalidRequest("--watch shows a screen and --json one document: choose one")
    with Observer(directory) as observer:
        if watch is not None:
            return _watch(observer, max(0.1, seconds(watch)))
        snapshot = observer.look(PATIENCE_S, facts_timeout=PATIENT_S)
        if as_json:
            emit("status", document(snapshot))
        else:
            for line in report(snapshot, observer.last_facts, where(directory)):
                say(line)
        return code(snapshot, check)


def _watch(observer: Observer, every_s: float) -> int:
    said: list[str] = []
    while True:
        try:
            snapshot = observer.look(LOOK_TIMEOUT_S * 2)
        except ClusterReplaced as error:
            said = [str(error)]
            continue
        lines = said + report(snapshot, observer.last_facts, where(observer.directory))
        if colored(sys.stdout):
            say("\x1b[H\x1b[2J" + "\n".join(lines))
        else:
            say("\n".join([time.strftime("%H:%M:%S"), *lines, ""]))
        wait_while_read(every_s)


def code(snapshot: Snapshot, check: bool) -> int:
    """7 when nothing of it runs; with --check also what is wrong: 8 degraded, 9 no quorum, 11 data lost."""
    if not any(node.pid for node in snapshot.nodes):
        return NOT_RUNNING
    if not check:
        return OK
    if not node_health.quorum_met(snapshot):
        return NO_QUORUM
    if snapshot.lost:
        return DATA_LOST
    return DEGRADED if node_health.wrong(snapshot) else OK


def document(snapshot: Snapshot) -> dict[str, Any]:
    """`cluster status --json` (docs/commands.md)."""
    return {
        "name": snapshot.name,
        "dir": snapshot.directory,
        "converged": snapshot.converged,
        "supervisor_pid": snapshot.supervisor_pid,
        "degraded_s": snapshot.degraded_s,
        "anti_entropy": node_health.not_comparing(snapshot),
        "faults": documents(snapshot.faults, applied_by(snapshot, snapshot.faults)),
        "ring": {
            "version": snapshot.ring_version,
            "partitions": len(snapshot.owners),
            "n": snapshot.n,
            "r": snapshot.r,
            "w": snapshot.w,
            "agreed": snapshot.ring_agreed,
            "phase": snapshot.phase,
        },
        "change": _change(snapshot),
        "lost": [asdict(lost) for lost in snapshot.lost],
        "nodes": [node_document(node) for node in snapshot.nodes],
    }


def _change(snapshot: Snapshot) -> dict[str, Any] | None:
    """How far a change of the members is; None when there is none."""
    if not node_health.changing(snapshot) and not node_health.strays(snapshot) and snapshot.expelling is None:
        return None
    moved = [node.transfer for node in snapshot.nodes if node.answers]
    return {
        "phase": snapshot.phase,
        "target": snapshot.target,
        "buckets": snapshot.buckets,
        "waiting_for": snapshot.waiting_for,
        "partitions": sum(each.partitions for each in moved),
        "partitions_left": sum(each.left for each in moved),
        "keys": sum(each.keys for each in moved),
        "bytes": sum(each.bytes for each in moved),
        "strays": node_health.strays(snapshot),
        "without_source": snapshot.without_source,
        "salvaged": sum(each.salvaged for each in moved),
        "given_up": snapshot.given_up,
        "expelling": asdict(snapshot.expelling) if snapshot.expelling is not None else None,
    }


def node_document(node: NodeView) -> dict[str, Any]:
    return {
        "name": node.name,
        "pid": node.pid,
        "state": node.state,
        "endpoint": node.endpoint,
        "partitions": node.partitions,
        "keys": node.keys,
        "hints_pending": node.hints_pending,
        "hints_for": node.hints_for,
        "compares_with": node.compares_with,
        "ranges_differing": node.ranges_differing,
        "anti_entropy": node.anti_entropy,
        "trees_shared": node.trees_shared,
        "trees_left": node.trees_left,
        "lww_discarded": node.lww_discarded,
        "uptime_s": node.uptime_s,
        "rss_bytes": node.rss_bytes,
        "old_disk": node.old_disk or None,
        "cannot_store": node.cannot_store or None,
        "standing": node.standing,
        "transfer": asdict(node.transfer),
        "process": node.process,
        "for_s": round(node.since_s, 3),
        "answers": node.answers,
        "seen_by": node.seen_by,
        "restart_in_s": node.restart_in_s,
        "gave_up": node.gave_up,
        "incarnation": node.incarnation,
        "protocol": node.protocol,
        "ops_per_s": node.ops_per_s,
        "p50_ms": node.p50_ms,
        "p99_ms": node.p99_ms,
        "faults": node.faults,
        "counters": node.counters,
    }


# --- waiting --------------------------------------------------------------------------------------------------------------


def wait(directory: Path, target: str, timeout_s: float, as_json: bool) -> int:
    """Until `target` holds; TIMED_OUT when it does not in time."""
    began = time.monotonic()
    limit = _hints_limit(target)
    with Observer(directory) as observer:
        while True:
            snapshot = observer.look(LOOK_TIMEOUT_S * 2, facts_timeout=PATIENT_S)
            met, missing = _met(snapshot, target, limit)
            waited = time.monotonic() - began
            if met or waited >= timeout_s:
                break
            time.sleep(POLL_S)
    if as_json:
        emit("wait", {"for": target, "met": met, "waited_s": round(waited, 3), "missing": "" if met else missing})
    elif met:
        say(f"{target} after {waited:.1f} s")
    else:
        note(f"not {target} after {waited:.1f} s: {missing}    look  dynazmq status{where(directory)}")
    return OK if met else TIMED_OUT


def _hints_limit(target: str) -> int:
    if target in ("ready", "converged"):
        return 0
    name, _, number = target.partition("=")
    if name == "hints" and number.isdecimal():
        return int(number)
    raise InvalidRequest(f"--for is ready, converged or hints=0, not {target!r}")


def _met(snapshot: Snapshot, target: str, limit: int) -> tuple[bool, str]:
    """Whether it holds, and what is missing if not."""
    hints = node_health.hints_pending(snapshot)
    silent = [node.name for node in snapshot.nodes if node.pid is not None and not node.answers]
    if not any(node.pid for node in snapshot.nodes):
        return False, "it is not running"
    if target == "ready":
        return node_health.ready(snapshot), ", ".join(_not_up(snapshot)) or "the nodes do not see each other yet"
    if target == "converged":
        return snapshot.converged, missing_for(snapshot)
    return hints <= limit and not silent, f"{hints:,} hints pend" if not silent else f"{' '.join(silent)} silent"


def missing_for(snapshot: Snapshot) -> str:
    """What is still to come until it has converged."""
    hints = node_health.hints_pending(snapshot)
    open_ = _not_up(snapshot) + ([f"{hints:,} hints pend"] if hints else [])
    open_ += [f"fault {fault.id} is on" for fault in snapshot.faults]
    open_ += ["members change"] if node_health.changing(snapshot) else []
    open_ += [f"{given:,} partitions to be handed over"] if (given := node_health.strays(snapshot)) else []
    held = node_health.not_comparing(snapshot)
    open_ += [f"anti-entropy is {word} on {' '.join(names)}" for word, names in held.items() if names]
    if comparing := [node.name for node in node_health.comparing(snapshot) if node.anti_entropy == "on"]:
        open_.append(f"{' '.join(comparing)} compare replicas")
    return ", ".join(open_) or "rings differ"


def _not_up(snapshot: Snapshot) -> list[str]:
    away = [f"{node.name} is {node.state}" for node in snapshot.nodes if node.state not in node_health.SERVES]
    return away + [f"{node.name} cannot store" for node in node_health.unable_to_store(snapshot)]
