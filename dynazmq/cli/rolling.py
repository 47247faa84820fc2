"""`cluster restart --rolling`: what is said while one node after the other is restarted, and in the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dynazmq.cli import FAILED, INTERRUPTED, OK, TIMED_OUT, UNAVAILABLE
from dynazmq.cli.asked import asked
from dynazmq.cli.clusters import running
from dynazmq.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, columns, emit, note, paint, say
from dynazmq.cli.words import many, span
from dynazmq.cluster.operations.rolling import DIED, FEW, LATE, VERSION, Back, Interrupted, Left, Stuck, Waiting, restart_each
from dynazmq.paths import ClusterFile, where

_CODES = {LATE: TIMED_OUT, DIED: FAILED, VERSION: FAILED, FEW: UNAVAILABLE}


def run_rolling(directory: Path, timeout_s: float, as_json: bool) -> int:
    running(directory)
    asked(directory)
    report = Report(directory, timeout_s, as_json)
    with _asked_to_end() as interrupts:
        for step in restart_each(directory, timeout_s, lambda: not interrupts):
            match step:
                case Waiting(name, missing):
                    report.waiting(name, missing)
                case Left():
                    report.left(step)
                case Back():
                    report.back(step)
                case Stuck():
                    return report.stuck(step)
                case Interrupted():
                    return report.interrupted()
    return report.done()


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """Not empty once Ctrl-C was pressed. A second one is KeyboardInterrupt: who is away then comes back all the same."""
    interrupts: list[int] = []

    def note_it(number: int, _frame: object) -> None:
        if interrupts:
            raise KeyboardInterrupt
        interrupts.append(number)

    before = signal.signal(signal.SIGINT, note_it)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


class Report:
    """One line for each node; on a terminal also what is being waited for."""

    def __init__(self, directory: Path, timeout_s: float, as_json: bool) -> None:
        self._directory = directory
        self._timeout_s = timeout_s
        self._as_json = as_json
        self._names = list(ClusterFile.load(directory).members)
        self._began = time.monotonic()
        self._rows: dict[str, dict[str, Any]] = {}
        self._at = where(directory)
        self._live = not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def waiting(self, name: str, missing: str) -> None:
        if self._live:
            text = f"{name or 'before the first'}  {missing} …"
            print(f"\r\x1b[K{paint(text[: columns() - 1], DIM)}", end="", flush=True)

    def back(self, step: Back) -> None:
        self._rows[step.name] = {
            "restarted": True,
            "pid_before": step.pid_before,
            "pid": step.pid,
            "elapsed_s": round(step.elapsed_s, 3),
        }
        seen = f", seen by {step.peers}/{step.peers} peers" if step.peers else ""
        self._say(f"{paint('✓', GREEN)} {step.name}  up{seen}, pid {step.pid_before} → {step.pid} after {span(step.elapsed_s)}")

    def left(self, step: Left) -> None:
        self._rows[step.name] = {"restarted": False, "left": step.process}
        verb = "resume" if step.process == "paused" else "start"
        said = f"{paint('–', YELLOW)} {step.name}  {step.process}, left as it is"
        self._say(f"{said}    next  dynazmq node {verb} {step.name}{self._at}")

    def done(self) -> int:
        count = sum(row["restarted"] for row in self._rows.values())
        self._say(f"{paint('restarted', GREEN, BOLD)} {many(count, 'node')} in {span(time.monotonic() - self._began)}")
        return self._end(OK)

    def interrupted(self) -> int:
        self._clear()
        note(f"interrupted; {self._how_it_stands()}")
        note(f"go on  dynazmq cluster restart --rolling{self._at}")
        return self._end(INTERRUPTED, interrupted=True)

    def stuck(self, step: Stuck) -> int:
        self._clear()
        said = step.missing
        if step.why == LATE:
            said = f"{'not back' if step.name else 'the cluster is not whole'} after {self._timeout_s:g} s: {said}"
        said = "  ".join(filter(None, (step.name, said)))
        note(f"{paint('✗', RED, BOLD, out=sys.stderr)} {said}")
        for line in step.log:
            note(f"      {line}")
        note(self._how_it_stands())
        note(f"look   dynazmq {f'logs {step.name}' if step.why == DIED else 'status'}{self._at}")
        note(f"go on  {self._how_to_go_on(step)}")
        return self._end(_CODES[step.why], failure={"node": step.name or None, "why": step.why, "missing": step.missing})

    def _how_to_go_on(self, step: Stuck) -> str:
        at_once = f"dynazmq cluster restart{self._at}    all nodes at once"
        if step.why == VERSION:
            return f"{at_once}: two versions cannot serve together"
        if step.why == FEW:
            return f"{at_once}, with an outage"
        start = f"dynazmq node start {step.name}{self._at} && " if step.why == DIED else ""
        return f"{start}dynazmq cluster restart --rolling{self._at}"

    def _how_it_stands(self) -> str:
        """Who was restarted and who was not come to; whoever is stuck is in neither."""
        done = [name for name, row in self._rows.items() if row["restarted"]]
        if not done:
            return "no node was restarted before"
        rest = [name for name in self._names if name not in self._rows]
        return f"restarted before: {' '.join(done)}" + (f"; not restarted: {' '.join(rest)}" if rest else "")

    def _say(self, text: str) -> None:
        if not self._as_json:
            self._clear()
            say(text)

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", flush=True)

    def _end(self, code: int, **more: Any) -> int:
        if self._as_json:
            rows = [{"name": name, "restarted": False, **self._rows.get(name, {})} for name in self._names]
            document = {
                "rolling": True,
                "dir": str(self._directory),
                "done": code == OK,
                "interrupted": False,
                "elapsed_s": round(time.monotonic() - self._began, 3),
                "nodes": rows,
            }
            emit("restart", {**document, **more})
        return code
