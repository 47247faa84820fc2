"""A full-screen program leaves the terminal as it was before, on screen and in its modes, whatever ends it.

Python runs no `finally` when a signal ends the process, so each that would is caught: the terminal is put back, and the signal
sent again, whose default then ends us. A shell sees what it would have seen. What cannot be caught (SIGKILL) leaves it as it is.

    with screen(1, ENTER, LEAVE): …        a program that draws by itself; Ctrl-Z and `fg` leave it and enter it again
    with screen(2, b"", LEAVE): …          one whose library enters and leaves, as long as nothing goes wrong
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

LEAVE = b"\x1b[0m\x1b[?25h\x1b[?1049l"
"""No colours, the cursor, the first screen."""

LEAVE_ALL = b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?2048l\x1b[?2026l\x1b[<u" + LEAVE
"""And no reports of mouse, focus, pasting and size, no held-back drawing, the keyboard as it was."""

_DEADLY = [
    number
    for name in ("HUP", "TERM", "QUIT", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "XCPU", "IO", "PWR", "STKFLT", "SYS", "TRAP")
    if (number := getattr(signal, f"SIG{name}", None)) is not None
]
"""What ends a process by default and can be caught, but for SIGINT, which is an exception, and those of errors in a program."""


@contextmanager
def screen(descriptor: int, enter: bytes, leave: bytes) -> Iterator[None]:
    """descriptor: the terminal's. enter: "" where somebody else does that, and leaves unless it ends with an exception."""
    modes = _modes(descriptor)

    def put_back() -> None:
        with suppress(OSError):  # it may have gone
            os.write(descriptor, leave)
        with suppress(OSError, termios.error):
            if modes is not None:
                termios.tcsetattr(descriptor, termios.TCSANOW, modes)

    def end(number: int, _frame: FrameType | None) -> None:
        put_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def stop(number: int, _frame: FrameType | None) -> None:
        end(number, None)  # comes back when it goes on
        signal.signal(number, stop)
        with suppress(OSError):
            os.write(descriptor, enter)

    handlers: dict[int, Any] = dict.fromkeys(_DEADLY, end)
    if enter:
        handlers[signal.SIGTSTP] = stop
    # What is ignored, as under nohup, stays so.
    before = {number: was for number in handlers if (was := signal.getsignal(number)) is signal.SIG_DFL}
    for number in before:
        signal.signal(number, handlers[number])
    try:
        if enter:
            os.write(descriptor, enter)
        yield
        if enter:
            _say_what_is_left()
            put_back()
    except BaseException:
        _say_what_is_left()
        put_back()
        raise
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def _say_what_is_left() -> None:
    """Ctrl-C may have come in the middle of a print. At the process's end the rest would be drawn on the screen that is back."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()


def _modes(descriptor: int) -> list[Any] | None:
    try:
        return termios.tcgetattr(descriptor)
    except (OSError, termios.error):
        return None  # no terminal
