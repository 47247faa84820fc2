"""The terminal UI: what the cluster looks like twice a second, and keys that break and mend it.

snapshot ─▶ history (rates, trends, recoveries) ─▶ Model ─▶ pictures (pure) ─▶ the screen, a pipe, a file

    keys.py settings.py    the keys, once; what was chosen on the command line
    look.py themes.py      glyphs, numbers, borders; colours
    model/                 what snapshots add up to: the Model
    recording/             what was seen, in a file
    panels/                Model in, lines out
    app/                   the Textual application, its threads and its keys

Each of these knows only those above it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from dynazmq.tui.settings import Settings

NOT_RUNNING = 7
"""Exit code: no such cluster, or it is not running."""


def run_tui(directory: Path, settings: Settings) -> int:
    """Show the cluster until somebody leaves. Returns the exit code. Where nobody looks (no terminal), prints one frame.

    Raises ClusterError when what is to be replayed cannot be read, or what is to be recorded cannot be written.
    """
    import sys

    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):  # it draws on stderr
        return print_once(directory, settings)
    from dynazmq.tui.app.console import run

    return run(directory, settings)


def print_once(
    directory: Path, settings: Settings, *, width: int | None = None, height: int | None = None, out: TextIO | None = None
) -> int:
    """Print one frame, as wide as COLUMNS or the terminal (else 80), as high as it takes. Returns the exit code."""
    from dynazmq.tui.app.once import print_frame

    return print_frame(directory, ascii_=settings.ascii, replay=settings.replay, width=width, height=height, out=out)
