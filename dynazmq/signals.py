"""Exceptions of signal handlers: Python raises them in whatever runs just then, also in the middle of somebody else's `try`.

A handler that ends a request after some seconds, a test runner's time limit, Ctrl-C as an exception of one's own: whoever takes
anything that a codec, a resolver or a decoder may raise for bad bytes must let these pass.
"""

from __future__ import annotations

import signal
from types import CodeType
from typing import Any


def raised_by_handler(error: BaseException) -> bool:
    """Whether it came out of a function that is installed as a signal handler just now."""
    handlers = {code for number in signal.valid_signals() if (code := _code_of(signal.getsignal(number))) is not None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def _code_of(handler: Any) -> CodeType | None:
    """Of a function, a method, a partial, an object that can be called; None for what is not Python's."""
    while (inner := getattr(handler, "func", None)) is not None:
        handler = inner
    function = handler if hasattr(handler, "__code__") else type(handler).__call__
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None
