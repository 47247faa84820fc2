"""`fault schedule FILE`: faults and node verbs, each at its time, played in the foreground."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from dynazmq.chaos.interrupts import signals_interrupt
from dynazmq.cli import FAILED, INTERRUPTED, OK
from dynazmq.cli.asked import asked
from dynazmq.cli.fault_words import Step, steps_of
from dynazmq.cli.faults import await_nodes
from dynazmq.cli.terminal import DIM, columns, emit, error, note, paint, say
from dynazmq.cli.words import brief, span
from dynazmq.cluster import control
from dynazmq.cluster.directory import faults
from dynazmq.cluster.directory.faults import Fault
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.errors import ClusterError, DynazmqError, InvalidRequest
from dynazmq.paths import ClusterFile, where

_FRAME_S = 0.1
_FILE_BYTES_MAX = 1 << 20


def run(directory: Path, file: str, as_json: bool) -> int:
    """The whole file is read and checked before anything is done. Raises InvalidRequest, ClusterError."""
    cluster = ClusterFile.load(directory)
    try:
        steps = steps_of(text_of(file), list(cluster.members))
    except InvalidRequest as wrong:
        raise InvalidRequest(f"{file}: {wrong}") from None
    with Observer(directory) as observer, signals_interrupt():
        return Player(observer, steps, as_json).play()


def text_of(file: str) -> str:
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(_FILE_BYTES_MAX + 1)
        else:
            with open(file, "rb") as opened:
                raw = opened.read(_FILE_BYTES_MAX + 1)
    except OSError as failure:
        raise InvalidRequest(failure.strerror or str(failure)) from None
    if len(raw) > _FILE_BYTES_MAX:
        raise InvalidRequest(f"it is over the limit of {_FILE_BYTES_MAX:,} bytes")
    try:
        return raw.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError:
        raise InvalidRequest("it is not text in UTF-8") from None


class Player:
    """Knows which of the faults that are on are its own: these it takes back when it is interrupted or fails."""

    def __init__(self, observer: Observer, steps: list[Step], as_json: bool) -> None:
        self._observer = observer
        self._directory = observer.directory
        self._steps = steps
        self._as_json = as_json
        self._live = not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._own: list[Fault] = []
        self._done: list[dict[str, Any]] = []
        self._began = time.monotonic()

    def play(self) -> int:
        asked(self._directory)
        try:
            for i, step in enumerate(self._steps):
                self._await(step.at_s, f"{i}/{len(self._steps)}", step.text)
                self._do(step)
            if ends := [fault.until for fault in self._mine() if fault.until is not None]:
                self._await(max(ends) - time.time() + self._passed_s, "all done", "its faults end")
        except KeyboardInterrupt:
            taken_back = self._take_back()
            return self._end(INTERRUPTED, f"interrupted after {span(self._passed_s)}", taken_back)
        except DynazmqError as failure:
            self._clear()
            error(str(failure))
            return self._end(FAILED, f"ended after {span(self._passed_s)}", self._take_back())
        return self._end(OK, f"done in {span(self._passed_s)}", [])

    @property
    def _passed_s(self) -> float:
        return time.monotonic() - self._began

    def _await(self, at_s: float, count: str, what: str) -> None:
        while (left := at_s - self._passed_s) > 0:
            if self._live:
                line = f"  {count}   in {span(left)}  {what}"
                print(f"\r\x1b[K{paint(line[: columns() - 1], DIM)}", end="", flush=True)
            time.sleep(min(left, _FRAME_S))

    def _do(self, step: Step) -> None:
        came = self._come(step)
        self._done.append({"at_s": step.at_s, "done_s": round(self._passed_s, 3), "step": step.text, "outcome": came})
        if not self._as_json:
            self._clear()
            say(f"  {self._passed_s:6.1f} s  {step.text}    {paint(came, DIM)}")

    def _come(self, step: Step) -> str:
        """Do it; what came of it. Raises DynazmqError."""
        if step.fault is not None:
            members = list(ClusterFile.load(self._directory).members)
            fault = faults.put_on(self._directory, step.fault, members, step.for_s)
            self._own.append(fault)
            _, missing = await_nodes(self._observer, [fault], on=True)
            late = f", not yet at {brief([node.name for node in missing])}" if missing else ""
            return f"{fault.id} is on{late}"
        if step.verb == "heal":
            healed = faults.heal(self._directory, step.words if step.words != ("--all",) else ())
            paused = self._resume() if not step.words else []
            await_nodes(self._observer, healed, on=False)
            words = [f"healed {brief([fault.id for fault in healed])}"] if healed else []
            return ", ".join(words + ([f"resumed {brief(paused)}"] if paused else [])) or "no fault was on"
        outcome = control.call(self._directory, step.verb, nodes=list(step.nodes))["nodes"]
        return "; ".join(f"{name} {each['text']}" for name, each in outcome.items())

    def _resume(self) -> list[str]:
        snapshot = self._observer.look(facts_timeout=PATIENT_S)
        paused = [node.name for node in snapshot.nodes if node.process == "paused"]
        if paused:
            control.call(self._directory, "resume", nodes=paused)
        return paused

    def _mine(self) -> list[Fault]:
        on = faults.load(self._directory)
        return [fault for fault in self._own if fault in on]

    def _take_back(self) -> list[Fault]:
        mine = self._mine()
        if mine:
            try:
                faults.heal(self._directory, [fault.id for fault in mine])
            except ClusterError as failure:
                error(str(failure))
                return []
        return mine

    def _end(self, code: int, text: str, taken_back: list[Fault]) -> int:
        self._clear()
        left = self._mine()
        if self._as_json:
            emit("schedule", {
                "steps": self._done, "left": len(self._steps) - len(self._done), "interrupted": code == INTERRUPTED,
                "healed": [fault.id for fault in taken_back], "still_on": [fault.id for fault in left],
            })  # fmt: skip
            return code
        say(text + (f", healed {brief([fault.id for fault in taken_back])}" if taken_back else ""))
        if left:
            ids = [fault.id for fault in left]
            note(f"{brief(ids)} {'is' if len(ids) == 1 else 'are'} still on    next  dynazmq heal{where(self._directory)}")
        return code

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", flush=True)
