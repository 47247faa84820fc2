"""`heal`: faults switched off, paused nodes resumed, and the way back to replicas that are equal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dynazmq.cli import OK, TIMED_OUT
from dynazmq.cli.asked import asked
from dynazmq.cli.faults import await_nodes
from dynazmq.cli.status import missing_for
from dynazmq.cli.terminal import DIM, GREEN, emit, note, paint, say
from dynazmq.cli.words import brief, seconds
from dynazmq.cluster import control
from dynazmq.cluster.control import NoSupervisor
from dynazmq.cluster.directory import faults
from dynazmq.cluster.directory.faults import Fault, describe
from dynazmq.cluster.directory.orphans import silent_supervisor
from dynazmq.cluster.observe import node_health
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.paths import ClusterFile, faults_path, where

_POLL_S = 0.05


def run(directory: Path, ids: Sequence[str], *, all_: bool, wait: bool, timeout: str, as_json: bool) -> int:
    """All faults if none is named, and then paused nodes go on. Raises InvalidRequest, ClusterError."""
    wanted = [part for each in ids for part in each.split(",") if part]
    if all_ and wanted:
        raise InvalidRequest("name faults or say --all: not both")
    ClusterFile.load(directory)
    timeout_s = seconds(timeout)
    began = time.monotonic()
    damaged = _damaged(directory)
    healed = faults.heal(directory, wanted)
    asked(directory)
    if damaged:
        note(f"removed {faults_path(directory)}, which could not be read")
    with Observer(directory) as observer:
        resumed, stuck = ([], []) if wanted else _resume(observer)
        _, missing = await_nodes(observer, healed, on=False)
        late = [node.name for node in missing if node.pid is not None and node.process != "paused"]
        healing = Healing(live=not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb")
        still_on = faults.load(directory)
        if not as_json:
            _say_done(healed, resumed, stuck, late, still_on, directory)
        runs = any(node.pid for node in observer.look(facts_timeout=PATIENT_S).nodes)
        converged = None
        if wait and runs and (healed or resumed) and not still_on:
            converged = healing.follow(observer, resumed, began, began + timeout_s, quiet=as_json)
    if as_json:
        document = {
            "healed": [fault.id for fault in healed],
            "resumed": resumed,
            "still_on": [fault.id for fault in still_on],
            "not_yet": late + stuck,
            "converged": converged,
            "elapsed_s": round(time.monotonic() - began, 3),
        }
        emit("heal", {**document, **healing.document()})
    return TIMED_OUT if converged is False or late or stuck else OK


def _damaged(directory: Path) -> bool:
    try:
        faults.read(directory)
    except ClusterError:
        return True
    return False


def _resume(observer: Observer) -> tuple[list[str], list[str]]:
    """Paused nodes that go on, and those that nobody could tell to."""
    snapshot = observer.look(facts_timeout=PATIENT_S)
    paused = [node.name for node in snapshot.nodes if node.process == "paused"]
    if not paused:
        return [], []
    try:
        control.call(observer.directory, "resume", nodes=paused)
    except NoSupervisor:
        return [], paused
    return paused, []


def _say_done(
    healed: Sequence[Fault],
    resumed: Sequence[str],
    stuck: Sequence[str],
    late: Sequence[str],
    still_on: Sequence[Fault],
    at: Path,
) -> None:
    done = [f"healed {brief([fault.id for fault in healed])}"] if healed else []
    done += [f"resumed {brief(resumed)}"] if resumed else []
    say(", ".join(done) or "no fault was on")
    if stuck:
        text, command = silent_supervisor(at, where(at))
        note(f"{brief(stuck)} stays paused: {text}    next  {command}")
    if late:
        note(f"{brief(late)} still applies it    look  dynazmq logs {late[0]}{where(at)}")
    for fault in still_on:
        note(f"{fault.id} is still on: {describe(fault)}    next  dynazmq heal {fault.id}{where(at)}")


class Healing:
    """How far it is: hints that wait for nodes that run, and ranges that differ; the most of them, and when none was left."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._most = {"hints": 0, "ranges differing": 0}
        self._left = dict(self._most)
        self._gone_s = {"hints": 0.0, "ranges differing": 0.0}

    def follow(self, observer: Observer, resumed: Sequence[str], began: float, deadline: float, *, quiet: bool) -> bool:
        """Until it has converged, as far as that is possible with the nodes that run; False when `deadline` came first."""
        try:
            while True:
                snapshot = observer.look(facts_timeout=PATIENT_S)
                away = _away(snapshot, resumed)
                waiting = _without_hints_for(away, snapshot)
                self._take(waiting, time.monotonic() - began)
                done = node_health.converged(waiting) and not any(node.process == "paused" for node in _named(snapshot, resumed))
                if done or time.monotonic() >= deadline:
                    break
                if self._live:
                    print(f"\r\x1b[K{paint(self._line(), DIM)}", end="", flush=True)
                time.sleep(_POLL_S)
        finally:
            if self._live:
                print("\r\x1b[K", end="", flush=True)
        if not quiet:
            self._say(snapshot, waiting, away, done, time.monotonic() - began, observer.directory)
        return done

    def document(self) -> dict[str, Any]:
        return {
            "hints": {"most": self._most["hints"], "left": self._left["hints"]},
            "ranges_differing": {"most": self._most["ranges differing"], "left": self._left["ranges differing"]},
        }

    def _take(self, snapshot: Snapshot, passed_s: float) -> None:
        now = {
            "hints": node_health.hints_pending(snapshot),
            "ranges differing": sum(node.ranges_differing for node in snapshot.nodes),
        }
        for what, left in now.items():
            self._most[what] = max(self._most[what], left)
            if self._left[what] and not left:
                self._gone_s[what] = passed_s
        self._left = now

    def _line(self) -> str:
        parts = []
        for what, most in self._most.items():
            if most:
                left = self._left[what]
                parts.append(f"{what} {most:,} → {left:,}" + ("" if left else f" ({self._gone_s[what]:.1f} s)"))
        return "waiting …  " + "   ".join(parts)

    def _say(
        self, snapshot: Snapshot, waiting: Snapshot, away: Sequence[str], done: bool, took_s: float, directory: Path
    ) -> None:
        line = self._line()
        at = where(directory)
        if not done:
            say(f"{line.rstrip()}   not converged in {took_s:.1f} s")
            note(f"{missing_for(waiting)}    look  dynazmq status{at}")
            return
        line += "   " if any(self._most.values()) else ""
        say(f"{line}{paint('converged', GREEN)} in {took_s:.1f} s" + (f", all but {brief(away)}" if away else ""))
        for target, count in sorted(node_health.hints_by_target(snapshot).items()):
            note(
                f"{count:,} {'hint waits' if count == 1 else 'hints wait'} for {target}    next  dynazmq node start {target}{at}"
            )


def _named(snapshot: Snapshot, names: Sequence[str]) -> list[NodeView]:
    return [node for node in snapshot.nodes if node.name in names]


def _away(snapshot: Snapshot, resumed: Sequence[str]) -> list[str]:
    """Those without a process, or with one that is paused and stays so: nothing reaches them, however long one waits."""
    return [node.name for node in snapshot.nodes if node.pid is None or (node.process == "paused" and node.name not in resumed)]


def _without_hints_for(away: Sequence[str], snapshot: Snapshot) -> Snapshot:
    nodes = []
    for node in snapshot.nodes:
        hints = {target: count for target, count in node.hints_for.items() if target not in away}
        nodes.append(replace(node, hints_for=hints, hints_pending=sum(hints.values())))
    return replace(snapshot, nodes=nodes)
