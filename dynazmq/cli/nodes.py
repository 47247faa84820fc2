"""`node …`: acting on processes through the supervisor, and telling what came of it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynazmq.cli import FAILED, NOT_RUNNING, OK
from dynazmq.cli.asked import asked
from dynazmq.cli.terminal import DIM, confirm, emit, error, note, paint, say
from dynazmq.cli.words import choose, size, span
from dynazmq.cluster import control
from dynazmq.cluster.control import NoSupervisor
from dynazmq.cluster.directory.orphans import unsupervised
from dynazmq.cluster.directory.rebuild import copies, set_aside
from dynazmq.cluster.observe.node_health import SERVES, NodeFact
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import NodeView
from dynazmq.cluster.operations import launch
from dynazmq.errors import ClusterError, InvalidRequest, NoSuchCluster
from dynazmq.paths import ClusterFile, node_dir, node_log, where

POLL_S = 0.03
SETTLE_S = 8.0
NOTICED_S = 2.5
"""How long `kill` and `pause` watch for the peers to notice."""

_GOALS: dict[str, set[str]] = {
    "kill": {"down"},
    "stop": {"stopped"},
    "wipe": {"stopped"},
    "pause": {"paused"},
    "start": {"up"},
    "rebuild": {"up"},
    "restart": {"up"},
    "resume": {"up"},
}


def act(
    directory: Path, verb: str, patterns: Sequence[str], *, all_: bool, at_random: bool, yes: bool, wait: bool, as_json: bool
) -> int:
    cluster = ClusterFile.load(directory)
    names = choose(patterns, list(cluster.members), all_=all_, at_random=at_random)
    if verb == "rebuild" and len(names) != 1:
        raise InvalidRequest("--rebuild is for one node at a time: before the next one, its peers must have filled it")
    if verb == "wipe":
        confirm(f"Wipe {' '.join(names)}? Each is stopped and all that it stored is deleted.", yes)
    with Observer(directory) as observer:
        before = {node.name: node for node in observer.look(facts_timeout=PATIENT_S).nodes}
        if verb == "rebuild" and not observer.last_facts.supervisor_pid and not any(node.pid for node in before.values()):
            return _rebuild_at_rest(directory, names[0], as_json)
        asked(directory, names)
        outcome = _ask(directory, verb, names, any(node.pid for node in before.values()))
        told = time.time()
        for name in names:
            if not as_json:
                _say_begun(verb, name, outcome[name], before[name])
        code = OK if all(outcome[name]["done"] for name in names) else FAILED
        acted = [name for name in names if outcome[name]["done"] and (outcome[name]["pid"] or verb not in ("kill", "stop"))]
        if wait and acted:
            code = max(code, _watch(observer, verb, acted, before, told, quiet=as_json))
        if verb == "rebuild" and code == OK and not as_json:
            say(f"    its peers fill it    {paint('next', DIM)}  dynazmq cluster wait --for converged{where(directory)}")
        if as_json:
            after = {node.name: node for node in observer.look(facts_timeout=PATIENT_S).nodes}
            rows = [{"name": name, **outcome[name], "state": after.get(name, before[name]).state} for name in names]
            if verb == "rebuild":
                rows = [{**row, **_aside(directory, row["name"])} for row in rows]
            emit("node", {"verb": verb, "nodes": rows})
    return code


def _rebuild_at_rest(directory: Path, name: str, as_json: bool) -> int:
    """Nothing runs, perhaps since this node could not start: then `up` ends all others as well. It starts empty with them."""
    held = launch.lock(directory)
    if held is None:
        raise ClusterError("somebody starts this cluster just now; try again when it runs")
    try:
        asked(directory, [name])
        aside = set_aside(node_dir(directory, name))
    finally:
        os.close(held)
    if as_json:
        done = {"name": name, "done": True, "text": str(aside), "pid": None, "at": time.time(), "state": "down"}
        emit("node", {"verb": "rebuild", "nodes": [{**done, **_aside(directory, name)}]})
    else:
        say(f"{name}  {aside}")
        say(f"    {paint('next', DIM)}  dynazmq up{where(directory)}")
    return OK


def _aside(directory: Path, name: str) -> dict[str, str | None]:
    """Where what was set aside is."""
    kept = copies(node_dir(directory, name))
    return {"set_aside": str(kept[-1]) if kept else None}


def _ask(directory: Path, verb: str, names: list[str], running: bool) -> dict[str, dict[str, Any]]:
    try:
        reply = control.call(directory, verb, nodes=names)
    except NoSupervisor:
        at = where(directory)
        if running:
            raise ClusterError(unsupervised(directory, at)) from None
        raise NoSuchCluster(f"the cluster in {directory} is not running; start it with: dynazmq up{at}") from None
    outcome: dict[str, dict[str, Any]] = reply["nodes"]
    return outcome


def _say_begun(verb: str, name: str, outcome: dict[str, Any], before: NodeView) -> None:
    if not outcome["done"]:
        error(outcome["text"])
    elif verb in ("kill", "stop") and before.pid:
        at = outcome["at"]
        stamp = f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at * 1000) % 1000:03d}"
        say(f"{name}  {outcome['text']} at {stamp}")
    else:
        say(f"{name}  {outcome['text']}")


# --- what comes of it -----------------------------------------------------------------------------------------------------


def _watch(observer: Observer, verb: str, names: list[str], before: dict[str, NodeView], told: float, *, quiet: bool) -> int:
    """Until each node is where it was sent; for one that was taken away also until its peers have noticed."""
    goals = _GOALS[verb]
    waiting, unnoticed = set(names), set(names) if verb in ("kill", "pause") else set()
    first: dict[str, tuple[str, float]] = {}  # who suspected it first, and when
    failed: set[str] = set()
    at = where(observer.directory)
    deadline = time.time() + SETTLE_S
    nodes = dict(before)
    while waiting or unnoticed:
        now = time.time()
        nodes |= {node.name: node for node in observer.look(facts_timeout=PATIENT_S).nodes}  # one may have left the cluster
        live = sum(node.answers for node in nodes.values())
        for name in sorted(waiting):
            if _reached(verb, nodes[name], before[name], goals, live):
                waiting.discard(name)
                if not quiet and verb not in ("kill", "pause"):
                    say(f"{name}  {_settled(verb, nodes[name])} after {span(now - told)}")
        for name in sorted(waiting & _died(observer, goals)):
            waiting.discard(name)
            failed.add(name)
            fact = observer.last_facts.nodes.get(name, NodeFact())
            note(f"{name}  {fact.process}: {fact.reason or 'it said nothing'}    look  dynazmq logs {name}{at}")
        for name in sorted(unnoticed):
            node = nodes[name]
            against = sorted(peer for peer, word in node.seen_by.items() if word != "up")
            if against and name not in first:
                first[name] = (" ".join(against), now - told)
            all_down = bool(node.seen_by) and all(word == "down" for word in node.seen_by.values())
            if not live:
                unnoticed.clear()
                if not quiet:
                    say(f"    nobody is left to notice    {paint('next', DIM)}  dynazmq up{at}")
                break
            if all_down or now - told > NOTICED_S:
                unnoticed.discard(name)
                if not quiet:
                    _say_noticed(name, node, first.get(name), now - told if all_down else None, observer.directory)
        if now > deadline:
            break
        time.sleep(POLL_S)
    for name in sorted(waiting):
        note(f"{name}  is {nodes[name].state} after {SETTLE_S:.0f} s    look  dynazmq logs {name}{at}")
    return FAILED if waiting or failed else OK


def _died(observer: Observer, goals: set[str]) -> set[str]:
    """Those that were started and have ended by themselves; only a supervisor knows."""
    if goals != {"up"} or observer.last_facts.supervisor_pid is None:
        return set()
    return {name for name, fact in observer.last_facts.nodes.items() if fact.pid is None and not fact.purpose}


def _reached(verb: str, node: NodeView, before: NodeView, goals: set[str], live: int) -> bool:
    if verb == "restart" and node.pid == before.pid:
        return False
    if verb == "wipe":
        return node.process == "wiped"
    if goals == {"up"}:
        return node.state in SERVES and len(node.seen_by) >= live - 1
    return node.state in goals


def _settled(verb: str, node: NodeView) -> str:
    if node.state in SERVES:
        peers = f", seen by {len(node.seen_by)}/{len(node.seen_by)} peers" if node.seen_by else ""
        return f"{node.state}{peers}, pid {node.pid}"
    return node.process if verb != "wipe" else "stopped and wiped"


def _say_noticed(name: str, node: NodeView, first: tuple[str, float] | None, down_s: float | None, directory: Path) -> None:
    parts = [f"suspected by {first[0]} +{first[1]:.2f} s"] if first and down_s != first[1] else []
    if down_s is not None:
        parts.append(f"down by {len(node.seen_by)}/{len(node.seen_by)} +{down_s:.2f} s")
    verb = "resume" if node.state == "paused" else "start"
    say(f"    {'    '.join(parts) or 'its peers have not noticed yet'}")
    say(f"    {paint('next', DIM)}  dynazmq node {verb} {name}{where(directory)}")


# --- show -----------------------------------------------------------------------------------------------------------------


def show(directory: Path, patterns: Sequence[str], *, all_: bool, at_random: bool, as_json: bool) -> int:
    """Everything that is known of some nodes."""
    from dynazmq.cli.status import PATIENCE_S, node_document

    with Observer(directory) as observer:
        names = choose(patterns, list(observer.cluster.members), all_=all_, at_random=at_random)
        snapshot = observer.look(PATIENCE_S, facts_timeout=PATIENT_S)
        nodes = [node for node in snapshot.nodes if node.name in names]
        if as_json:
            emit("node", {"nodes": [node_document(node) for node in nodes]})
        else:
            for node in nodes:
                _show(node, observer, directory)
    return OK if any(node.pid for node in snapshot.nodes) else NOT_RUNNING


def _compared(node: NodeView) -> str:
    if node.anti_entropy != "on":
        return f"anti-entropy is {node.anti_entropy}"
    return f"{node.trees_shared - node.trees_left:,} of {node.trees_shared:,} trees equal to its peers'"


def _show(node: NodeView, observer: Observer, directory: Path) -> None:
    fact = observer.last_facts.nodes.get(node.name)
    say(f"{node.name}  {node.state} for {span(node.since_s)}   {node.endpoint}")
    rows: list[tuple[str, str]] = [("process", f"{node.process}, pid {node.pid}" if node.pid else node.process)]
    if fact and fact.reason:
        rows.append(("last words", fact.reason))
    rows.append(("peers say", "  ".join(f"{peer}: {word}" for peer, word in sorted(node.seen_by.items())) or "–"))
    if node.answers:
        rows += [
            ("up for", span(node.uptime_s)),
            ("owns", f"{node.partitions} partitions, {node.keys or 0:,} keys"),
            ("hints", "  ".join(f"{n:,} for {target}" for target, n in sorted(node.hints_for.items())) or "none"),
            ("replicas", _compared(node)),
            ("speed", f"{node.ops_per_s or 0:,.0f} op/s, p50 {node.p50_ms or 0:.1f} ms, p99 {node.p99_ms or 0:.1f} ms"),
            ("commits", f"{node.commit_ms or 0:.1f} ms, {node.rows_per_commit or 0:.1f} rows each"),
            ("memory", size(node.rss_bytes)),
        ]
        rows += [(name, f"{count:,}") for name, count in sorted(node.counters.items()) if count]
    rows.append(("log", str(node_log(directory, node.name))))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        say(f"  {paint(name.ljust(width), DIM)}  {text}")
