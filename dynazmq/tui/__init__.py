"""The terminal UI: what the cluster looks like twice a second, and keys that break and mend it.

snapshot ─▶ history (rates, trends, recoveries) ─▶ Model ─▶ panels (pure) ─▶ lines ─▶ the screen, or a pipe

coverage, recovery   what an outage means, and its stages       look      glyphs, colours, numbers, borders
load                 the load that checks its own writes        screen    where the panels are; one frame as text
history              all of it over time: the Model             watch     the thread that looks
panels table cards   Model in, lines out                        console   the Textual application; keys: its keys
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

NOT_RUNNING = 7
"""Exit code: no such cluster, or it is not running."""


def run_tui(directory: Path, *, ascii_: bool = False, read_only: bool = False) -> int:
    """Show the cluster until somebody leaves. Returns the exit code. Where nobody looks (no terminal), prints one frame."""
    import sys

    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):  # it draws on stderr
        return print_once(directory, ascii_=ascii_)
    from dynazmq.tui.console import run

    return run(directory, ascii_=ascii_, read_only=read_only)


def print_once(
    directory: Path, *, ascii_: bool = False, width: int | None = None, height: int | None = None, out: TextIO | None = None
) -> int:
    """Print one frame, as wide as COLUMNS or the terminal (else 80), as high as it takes. Returns the exit code."""
    from dynazmq.tui.once import print_frame

    return print_frame(directory, ascii_=ascii_, width=width, height=height, out=out)
