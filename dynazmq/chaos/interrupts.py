"""Ctrl-C and its like, while something is on that must be undone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_OTHERS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP as Ctrl-C: whoever ends a command does not mean its faults to stay. For the main thread."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    with _handled_by(interrupt, _OTHERS):
        yield


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within it none of them does anything: what is undone is undone whole. One that came is KeyboardInterrupt afterwards."""
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        yield
        return
    came: list[int] = []
    with _handled_by(lambda number, _frame: came.append(number), (signal.SIGINT, *_OTHERS)):
        yield
    if came:
        raise KeyboardInterrupt


@contextmanager
def _handled_by(handler: Callable[[int, object], None], signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    before = {each: signal.signal(each, handler) for each in signals}
    try:
        yield
    finally:
        for each, earlier in before.items():
            signal.signal(each, earlier)
