"""`dynazmq verify --chaos`: what is said before, while and after; the run itself is dynazmq/chaos."""

from __future__ import annotations

import json
import os
import random
import stat
import sys
import time
from dataclasses import replace
from pathlib import Path

from dynazmq import output
from dynazmq.chaos import fresh, plan, report
from dynazmq.chaos.interrupts import signals_interrupt, uninterrupted
from dynazmq.chaos.load import BUCKET, CLIENTS, LWW_BUCKET
from dynazmq.chaos.run import Outcome, Progress, Run, Settings
from dynazmq.chaos.users.plan import KINDS
from dynazmq.chaos.verdict import INVALID, VALID
from dynazmq.cli import CHECK_FAILED, INTERRUPTED, OK, UNAVAILABLE
from dynazmq.cli.asked import asked
from dynazmq.cli.terminal import DIM, GREEN, RED, YELLOW, columns, emit, note, paint, say
from dynazmq.cli.words import seconds, span
from dynazmq.errors import InvalidRequest
from dynazmq.paths import ClusterFile, where

SECONDS_MIN, SECONDS_MAX = 1.0, 24 * 3600.0
NODES_MIN, NODES_MAX = 3, 16
_PLAIN_S = 15.0


def run(
    directory: Path, duration: str, *, fresh_nodes: int | None, seed: int | None, faults: str | None, users: bool,
    file: str | None, force: bool, as_json: bool,
) -> int:  # fmt: skip
    """fresh_nodes: of a cluster to be thrown away; None: the one in `directory`. Raises InvalidRequest, ClusterError."""
    for_s = seconds(duration)
    if not SECONDS_MIN <= for_s <= SECONDS_MAX:
        raise InvalidRequest(f"--chaos lasts 1s to 1d, not {duration}")
    if fresh_nodes is not None and not NODES_MIN <= fresh_nodes <= NODES_MAX:
        raise InvalidRequest(f"-n is {NODES_MIN} to {NODES_MAX} nodes, not {fresh_nodes}")
    kinds = plan.chosen(faults, fresh=fresh_nodes is not None)
    _check_file(file, force)
    seed = random.randrange(1, 1_000_000) if seed is None else seed
    settings = Settings(
        directory=directory, seconds=for_s, seed=seed, kinds=kinds, users=users, shared=fresh_nodes is None
    )  # fmt: skip
    with signals_interrupt():
        if fresh_nodes is not None:
            _announce(f"{fresh_nodes} nodes to be thrown away", settings)
            return _play_fresh(fresh_nodes, settings, file, force, as_json)
        ClusterFile.load(directory)
        _announce(f"the cluster in {directory}", settings)
        note(f"  keys of its own in {BUCKET} and {LWW_BUCKET}; others' are not touched. What is switched off comes back.")
        asked(directory)
        return _play(settings, file, force, as_json)


def _play_fresh(nodes: int, settings: Settings, file: str | None, force: bool, as_json: bool) -> int:
    """Whatever ends it, no process is left; and nothing else, unless a promise was broken or this program was."""
    directory = fresh.start(nodes)
    code = CHECK_FAILED
    try:
        code = _play(replace(settings, directory=directory), file, force, as_json)
    except KeyboardInterrupt:
        code = INTERRUPTED
        raise
    finally:
        with uninterrupted():
            if code == CHECK_FAILED:
                fresh.end(directory)
                note(f"kept as evidence: {directory}    remove it  dynazmq down --purge --yes{where(directory)}")
            else:
                fresh.remove(directory)
    return code


def _announce(what: str, settings: Settings) -> None:
    note(f"chaos for {span(settings.seconds)} on {what}; seed {settings.seed}, {CLIENTS} clients")
    note(f"  faults: {' '.join(settings.kinds) or plan.NONE}")
    if settings.users:
        note(f"  users:  {' '.join(KINDS)}")


def _check_file(file: str | None, force: bool) -> None:
    """Before anything is done: what cannot be written in the end is refused now."""
    if file is None:
        return
    parent = Path(os.path.realpath(file)).parent
    try:
        found = output.check(file, overwrite=force)
    except OSError as error:
        raise InvalidRequest(f"--report {file}: {error.strerror}") from None
    if (found is None or stat.S_ISREG(found.st_mode)) and not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise InvalidRequest(f"--report {file}: {parent} is no directory that can be written to")


def _play(settings: Settings, file: str | None, force: bool, as_json: bool) -> int:
    meter = _Meter(settings.seconds)
    run = Run(settings, meter.show)
    try:
        outcome = run.play()
    finally:
        meter.clear()
    if as_json:
        emit("chaos", report.document(outcome))
    else:
        _say(outcome)
    if file is not None:
        _write(Path(file), outcome, force)
        note(f"report: {file}")
    word = outcome.verdict.word
    if word == INVALID:
        return CHECK_FAILED
    if outcome.interrupted:
        return INTERRUPTED
    return OK if word == VALID else UNAVAILABLE


def _say(outcome: Outcome) -> None:
    *before, verdict = report.lines(outcome)
    for line in before:
        say(line)
    colour = {VALID: GREEN, INVALID: RED}.get(outcome.verdict.word, YELLOW)
    say(paint(verdict, colour))
    for line in report.story_lines(outcome):
        say(line)


def _write(path: Path, outcome: Outcome, force: bool) -> None:
    """One JSON document if the file is called so, else text."""
    if path.suffix == ".json":
        whole = {**report.document(outcome), "report": list(report.full(outcome))}
        text = json.dumps(whole, ensure_ascii=False, indent=1)
    else:
        text = "\n".join(report.full(outcome))
    output.write(path, f"{text}\n".encode("utf-8", "surrogateescape"), overwrite=force, mode=None)


class _Meter:
    """A line that changes on a terminal; elsewhere one now and then."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._next = time.monotonic() + _PLAIN_S

    def show(self, now: Progress) -> None:
        faults = sum(now.done.values())
        text = f"{now.phase}  {span(min(now.elapsed_s, self._seconds))} of {span(self._seconds)}   {now.acked:,} acknowledged, "
        text += f"{faults:,} faults" + (f"   on: {'; '.join(now.on)}" if now.on else "")
        if self._live:
            print(f"\r\x1b[K{paint(text[: columns() - 1], DIM, out=sys.stderr)}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() >= self._next:
            self._next += _PLAIN_S
            note(text)

    def clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
