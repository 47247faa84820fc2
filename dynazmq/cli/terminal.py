"""What a terminal can do: colours, width, questions. Pipes get plain text."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from dynazmq.errors import ClusterError, InvalidRequest

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GREEN, YELLOW, RED, MAGENTA, CYAN, DIM, BOLD = "32", "33", "31", "35", "36", "2", "1"

_mode = "auto"


def set_color(mode: str) -> None:
    """auto | always | never, as `--color` says."""
    global _mode
    if mode not in ("auto", "always", "never"):
        raise InvalidRequest(f"--color is auto, always or never, not {mode!r}")
    _mode = mode


def colored(out: TextIO) -> bool:
    """--color, then NO_COLOR, then FORCE_COLOR, then whether it is a terminal."""
    if _mode != "auto":
        return _mode == "always"
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (out.isatty() and os.environ.get("TERM") != "dumb")


def paint(text: str, *styles: str, out: TextIO | None = None) -> str:
    if not styles or not colored(out or sys.stdout):
        return text
    return f"\x1b[{';'.join(styles)}m{text}\x1b[0m"


def say(text: str = "") -> None:
    """A line of data."""
    print(text, flush=True)


def note(text: str) -> None:
    """A line for the person, on standard error."""
    print(text, file=sys.stderr, flush=True)


def error(text: str) -> None:
    sys.stdout.flush()
    note(f"{paint('error:', RED, BOLD, out=sys.stderr)} {text}")


def show(lines: Iterable[Text]) -> None:
    """Lines of data with styles in them."""
    from rich.console import Console

    color = colored(sys.stdout)
    console = Console(force_terminal=color, no_color=not color, highlight=False, markup=False, emoji=False)
    for line in lines:
        if not color:
            say(line.plain.rstrip())
            continue
        with console.capture() as captured:
            console.print(line, soft_wrap=True, end="")
        say(captured.get())


def bar_console() -> Console:
    """For a bar on standard error. It leaves the cursor shown: whatever ends or stops the command, a signal that cannot be caught
    too, the terminal is as it was.
    """
    from rich.console import Console

    class Steady(Console):
        def show_cursor(self, show: bool = True) -> bool:
            return False

    return Steady(stderr=True)


def emit(schema: str, document: dict[str, Any]) -> None:
    """The one JSON document of a command."""
    from dynazmq.cli.escaping import as_json

    say(as_json({"schema": f"dynazmq.{schema}/1", **document}))


def columns() -> int:
    import shutil

    return max(40, shutil.get_terminal_size((80, 24)).columns)


def confirm(question: str, yes: bool) -> None:
    """Raises ClusterError unless the answer is yes. Nothing is asked where nobody could answer."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidRequest(f"{question} Nobody can be asked here: say --yes")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ClusterError("nothing was done")
