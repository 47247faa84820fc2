"""One frame for a pipe, a log or a bug report."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from dynazmq.errors import ClusterError, NoSuchCluster
from dynazmq.tui import NOT_RUNNING
from dynazmq.tui.app.player import last_model
from dynazmq.tui.app.poller import Watcher, not_running, observer
from dynazmq.tui.look import Look, ascii_only
from dynazmq.tui.model.model import Model
from dynazmq.tui.model.trends import History
from dynazmq.tui.panels.screen import frame
from dynazmq.tui.recording.recording import load_recording

BETWEEN_S = 0.5
"""Between the two looks that it takes to know a rate."""


def print_frame(
    directory: Path,
    *,
    ascii_: bool = False,
    replay: Path | None = None,
    width: int | None = None,
    height: int | None = None,
    out: TextIO | None = None,
    watch: Callable[[Path], Watcher] = observer,
    between_s: float = BETWEEN_S,
) -> int:
    out = out or sys.stdout
    trouble = ""
    try:
        if replay is not None:
            recording = load_recording(replay)
            model: Model | str = last_model(recording)
            trouble = recording.trouble
        else:
            model = _look_twice(directory, watch, between_s)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return NOT_RUNNING if isinstance(error, NoSuchCluster) else 1
    if isinstance(model, str):
        print(model, file=sys.stderr)
        return NOT_RUNNING
    width = width or shutil.get_terminal_size((80, 24)).columns
    height = height or int(os.environ.get("LINES") or 0) or max(24, len(model.snapshot.nodes) + 21)
    drawn = frame(model, Look(read_only=True), width, height)
    if ascii_ or not _takes(out, drawn.plain):
        drawn = ascii_only(drawn)
    for row in drawn.plain.split("\n")[:-1]:  # the last one holds the keys
        print(row.rstrip(), file=out)
    if trouble:
        print(f"{replay}: {trouble}", file=sys.stderr)
    return 1 if trouble else 0


def _look_twice(directory: Path, watch: Callable[[Path], Watcher], between_s: float) -> Model | str:
    watcher = watch(directory)
    try:
        history = History()
        snapshot = watcher.look()
        if trouble := not_running(snapshot):
            return trouble
        history.add(snapshot)
        time.sleep(between_s)
        return history.add(watcher.look())
    finally:
        watcher.close()


def _takes(out: TextIO, text: str) -> bool:
    """Whether its encoding has our glyphs; LANG=C has not."""
    try:
        text.encode(getattr(out, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
