"""`version`: what asks for it may only want to know whether we are there, so it loads next to nothing."""

from __future__ import annotations

import sys
from typing import Any

from dynazmq.cli import OK
from dynazmq.cli.terminal import emit, say


def run(as_json: bool) -> int:
    """The parts only as JSON: to find their versions takes as long as to start."""
    if as_json:
        emit("version", document())
    else:
        from dynazmq import __version__

        say(f"dynazmq {__version__}   Python {_python()}   (its parts: --json)")
    return OK


def document() -> dict[str, Any]:
    import sqlite3
    from importlib import metadata

    import zmq

    from dynazmq import __version__

    parts = {name: metadata.version(name) for name in ("pyzmq", "msgpack", "typer", "textual")}
    versions = {"python": _python(), "libzmq": zmq.zmq_version(), "sqlite": sqlite3.sqlite_version, **parts}
    return {"version": __version__, "parts": versions}


def _python() -> str:
    return ".".join(map(str, sys.version_info[:3]))
