"""The terminal UI: what the cluster looks like twice a second, and keys that break and mend it.

snapshot ─▶ history (rates, trends, recoveries) ─▶ Model ─▶ pictures (pure) ─▶ the screen, a pipe, a file

coverage recovery faults   what an outage means, its stages; what is cut      look themes     glyphs, numbers, borders; colours
load                       the load that checks its own writes                layout screen   where panels are; all as pictures
history model              all of it over time: the Model                     watch details   the threads that look
bars table panels matrix hints cards transfers strip    Model in, lines out   stage console   the Textual application; its keys
views node_view key_view debts    whole screens about one thing               acting pages    what keys ask for; what lies on top
recording retold player    what was seen, in a file and played again          keys settings save once
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
