"""File descriptors: how many there may be, how many there are; and what can be known without opening one."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress

_OPEN = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
_STATM = "/proc/self/statm"


NODE_MIN = 128
"""A node with fewer lets nobody in: it keeps some in reserve, for its members and for the files of its disk."""


def raise_limit() -> int:
    """Let this process have as many descriptors as it may: the soft limit becomes the hard one. What it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # where the hard limit is none, the system has one of its own below it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return limit()


def limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def count_open() -> int:
    """Linux says it since 6.2 with one call (2 µs); elsewhere all of them are listed, which needs a free one. Raises OSError."""
    return os.stat(_OPEN).st_size if _IS_COUNTED else len(os.listdir(_OPEN))


def _is_counted() -> bool:
    try:
        return sys.platform == "linux" and os.stat(_OPEN).st_size == len(os.listdir(_OPEN)) - 1  # that of the listing itself
    except OSError:
        return False


_IS_COUNTED = _is_counted()


class ResidentMemory:
    """Of this process. The file that says it stays open: who looks when no descriptor is left is answered all the same."""

    def __init__(self) -> None:
        try:
            self._file = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1  # another system than Linux

    def bytes(self) -> int:
        """Now; the most there ever was, where the system says no more."""
        if self._file >= 0:
            return int(os.pread(self._file, 256, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
