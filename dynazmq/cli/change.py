"""What `cluster commit` says while members come and go, and in the end."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dynazmq.cli import INTERRUPTED, OK, TIMED_OUT
from dynazmq.cli.losses import loss_lines
from dynazmq.cli.planned import lines, staged_document
from dynazmq.cli.shown import waited
from dynazmq.cli.terminal import BOLD, DIM, GREEN, RED, YELLOW, columns, emit, note, paint, say
from dynazmq.cli.words import brief, many, short, size, span
from dynazmq.cluster.directory.staging import Staged
from dynazmq.cluster.observe.node_health import SERVES
from dynazmq.cluster.operations.members import Decided, Late, Met, Progress, Settled, Started, Step
from dynazmq.cluster.operations.plan import Plan
from dynazmq.paths import where

_PHASES = {"filling": "keys are copied", "flipped": "the new owners are read", "rest": "at rest"}


class Report:
    """A line for each thing that is done; on a terminal also how far it is."""

    def __init__(self, directory: Path, as_json: bool) -> None:
        self._directory = directory
        self._as_json = as_json
        self._began = time.monotonic()
        self._at = where(directory)
        self._live = not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._decided = False
        self._alone = ""
        self._staged = Staged()
        self._plan: Plan | None = None
        self._progress: Progress | None = None
        self._settled: Settled | None = None
        self._told: tuple[str, tuple[str, ...]] = ("", ())

    def begin(self, plan: Plan, staged: Staged, left: Staged) -> None:
        """left: what of the staged changes was not decided before."""
        self._plan, self._staged = plan, staged
        self._decided = not left.changes
        if left.changes and not left.planned:
            for line in lines(plan, left):
                self._say(line)
        elif staged.changes and not left.changes:
            self._say("decided before; this only watches it")

    def step(self, step: Step) -> None:
        match step:
            case Started(name, pid):
                self._say(f"{self._tick()} {name}  started, pid {pid}" if pid else f"{paint('✗', RED)} {name}  does not start")
            case Met(name):
                self._say(f"{self._tick()} {name}  waits to be let in, seen by all others")
            case Decided(version, alone):
                self._decided, self._alone = True, alone
                if alone:
                    self._say(paint(f"!  {alone} alone has it on disk so far: if that is lost now, so is the decision", YELLOW))
                self._say(f"{self._tick()} decided; ring v{version} begins to change, whatever becomes of this command")
            case Progress():
                self._follow(step)
            case Settled():
                self._settled = step
            case Late():
                pass

    def _follow(self, now: Progress) -> None:
        self._progress = now
        if self._live:
            print(f"\r\x1b[K{paint(f'  {_how_far(now)} …'[: columns() - 1], DIM)}", end="", flush=True)
        away = {name: state for name, state in now.waiting_for.items() if state not in SERVES}
        if self._told[0] != now.phase and now.phase != "rest":
            self._say(f"  {now.phase}  {_PHASES.get(now.phase, '')}")
        if away and self._told[1] != tuple(away):
            self._say(paint(f"  !  it waits for {waited(away)}", YELLOW))
        self._told = now.phase, tuple(away)

    def done(self) -> int:
        settled = self._settled
        assert settled is not None
        for name in settled.parted:
            self._say(f"{self._tick()} {name}  left; it has no process any more")
        if self._staged.changes or self._progress is not None:  # there was something to wait for
            # No key moved, or all of them before this watched: both are nothing to speak of.
            moved = f"; {settled.keys:,} keys, {size(settled.bytes)} moved" if settled.keys else ""
            members = many(len(set(settled.owners)), "node")
            took = span(time.monotonic() - self._began)
            for line in loss_lines(settled.lost):
                self._say(paint(line, RED, BOLD))
            self._say(f"{paint('done', GREEN, BOLD)}  ring v{settled.ring_version}, {members}{moved} in {took}")
        else:
            self._say("nothing is staged, and nothing is under way")
        return self._end(OK)

    def not_waited(self) -> int:
        self._say(f"  it goes on by itself    {paint('watch', DIM)}  dynazmq cluster status{self._at}")
        return self._end(OK)

    def late(self, step: Late, timeout_s: float) -> int:
        self._clear()
        note(f"{paint('✗', RED, BOLD, out=sys.stderr)} not done after {timeout_s:g} s: {step.missing}")
        if step.progress is not None and step.progress.waiting_for:
            note(f"   it waits for {waited(step.progress.waiting_for)}")
        note(self._how_it_goes_on())
        return self._end(TIMED_OUT, missing=step.missing)

    def interrupted(self) -> int:
        self._clear()
        note(f"interrupted; {self._how_it_goes_on()}")
        return self._end(INTERRUPTED, interrupted=True)

    def _how_it_goes_on(self) -> str:
        if self._decided:
            return f"the change goes on by itself    watch  dynazmq cluster status{self._at}"
        return f"nothing was decided    go on  dynazmq cluster commit{self._at}    or drop it  dynazmq cluster clear{self._at}"

    def _say(self, text: str) -> None:
        if not self._as_json:
            self._clear()
            say(text)

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", flush=True)

    def _tick(self) -> str:
        return paint("✓", GREEN)

    def _end(self, code: int, **more: Any) -> int:
        if self._as_json:
            settled, progress = self._settled, self._progress
            seen: Settled | Progress | None = settled or progress
            document = {
                "dir": str(self._directory),
                "staged": [staged_document(change) for change in self._staged.changes],
                "decided": self._decided,
                "decided_by_one_disk": self._alone or None,
                "done": settled is not None,
                "interrupted": False,
                "missing": None,
                "ring": {
                    "before": self._plan.ring.version if self._plan else None,
                    "version": settled.ring_version if settled else None,
                    "members": sorted(set(settled.owners)) if settled else None,
                },
                "parted": list(settled.parted) if settled else [],
                "lost": [asdict(lost) for lost in settled.lost] if settled else [],
                "waiting_for": [] if settled or progress is None else sorted(progress.waiting_for),
                "keys": seen.keys if seen else 0,
                "bytes": seen.bytes if seen else 0,
                "elapsed_s": round(time.monotonic() - self._began, 3),
            }
            emit("commit", {**document, **more})
        return code


def _how_far(now: Progress) -> str:
    parts = [now.phase]
    if now.partitions:
        parts.append(f"{now.partitions - now.left} of {many(now.partitions, 'partition')} filled")
    if now.keys:
        parts.append(f"{short(now.keys)} keys, {size(now.bytes)}")
    if now.eta_s is not None:
        parts.append(f"{span(now.eta_s)} left")
    if now.strays:
        parts.append(f"{many(now.strays, 'partition')} to hand over")
    if now.waiting_for:
        parts.append(f"waits for {waited(now.waiting_for)}")
    if now.leaving:
        parts.append(f"leaving: {brief(list(now.leaving))}")
    return "   ".join(parts)
