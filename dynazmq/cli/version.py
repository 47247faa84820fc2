"""`version`: what asks for it may only want to know whether we are there, so it loads next to nothing."""

from __future__ import annotations

import sys

from dynazmq.cli import OK
from dynazmq.cli.terminal import emit, say


def run(as_json: bool) -> int:
    """The parts only as JSON: to find their versions takes as long as to start."""
    from dynazmq import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    if as_json:
        import sqlite3
        from importlib import metadata

        import zmq

        parts = {name: metadata.version(name) for name in ("pyzmq", "msgpack", "typer", "textual")}
        versions = {"python": python, "libzmq": zmq.zmq_version(), "sqlite": sqlite3.sqlite_version, **parts}
        emit("version", {"version": __version__, "parts": versions})
    else:
        say(f"dynazmq {__version__}   Python {python}   (its parts: --json)")
    return OK
