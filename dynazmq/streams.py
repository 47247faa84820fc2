"""Descriptors 0, 1 and 2 of a process of ours, whatever it was started with: closed, of the wrong direction, full, read by
nobody, or such that it does not wait (O_NONBLOCK: whoever shares a pipe or a terminal with us sets it for us, too).

    prepare       the first thing that a process does: none of the three is free any more, so no lock, socket or database of ours
                  gets its number, where somebody who takes it for a stream (a child, a library, we) writes into it or closes it
    0             a value that is asked of a stream that cannot be read is the caller's error, never an empty value
    1             closed, it is as /dev/null. A write that fails ends the command, once; see `carry_on` for those that act
    2             what is said to a person is lost when it cannot be said. It ends nothing
    1 and 2       a sign that their encoding lacks is written as the ASCII one that is like it: no print fails for a tick mark

A library does none of this: the streams of a program that uses the client are the program's.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import io
import os
import select
import stat
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from dynazmq.errors import InvalidRequest


@dataclass(slots=True)
class _Fate:
    """Of standard output."""

    failure: OSError | None = None
    raises: bool = True


_fate = _Fate()

_LIKE = str.maketrans("●✓✗◐◌■⏸–·░▒█◆◀─┊▲→↳…", "*+x?o-=-.:=#*<-|^>>~")


def prepare() -> None:
    """See above. For a process of ours, before it opens anything."""
    closed = [number for number in range(3) if _open_if_closed(number)]
    if 0 in closed:
        source: _Stream = _Unreadable("closed")
    elif fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        source = _Unreadable("not open for reading")
    else:
        source = _Input(0)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(source), **_as(sys.stdin))
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Output(1)), **_printable(_as(sys.stdout)))
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(_Talk(2)), **_printable(_as(sys.stderr)))


def above_standard(handle: int) -> int:
    """This descriptor under a number that is no standard stream's: in a program of somebody else's, which may have closed some,
    one that is to be inherited would be replaced by the child's streams.
    """
    if handle > 2:
        return handle
    try:
        return fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(handle)


def carry_on() -> None:
    """What was asked for is done whoever listens: from now on, what cannot be written to standard output stops nothing.

    `restart | head -1` must not end a cluster and then leave it so.
    """
    _fate.raises = False


def loss() -> OSError | None:
    """Why something that was to go to standard output has not; None also if nobody wanted it any more, which is no error."""
    return None if _fate.failure is None or _fate.failure.errno == errno.EPIPE else _fate.failure


def _open_if_closed(number: int) -> bool:
    try:
        os.fstat(number)
        return False
    except OSError:
        # Those below are open, so this is the number that it gets. Children inherit it, as they do any standard stream.
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        return True


def _as(before: TextIO | None) -> dict[str, Any]:
    """How the interpreter has set up the one before. There is none where the descriptor was closed."""
    if not isinstance(before, io.TextIOWrapper):
        return {"errors": "backslashreplace"}
    return {
        "encoding": before.encoding,
        "errors": before.errors,
        "line_buffering": before.line_buffering,
        "write_through": before.write_through,
    }


def _printable(settings: dict[str, Any]) -> dict[str, Any]:
    """With a like sign for one that the encoding lacks. What becomes of others is as it was set up, or a question mark."""
    errors = settings["errors"]
    fallback = codecs.lookup_error("replace" if errors == "strict" else errors)

    def nearest(error: UnicodeError) -> tuple[str | bytes, int]:
        assert isinstance(error, UnicodeEncodeError)
        like = error.object[error.start].translate(_LIKE)
        if like.isascii():
            return like, error.start + 1
        try:
            return fallback(UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason))
        except UnicodeEncodeError:  # surrogateescape, of what is no surrogate
            return "?", error.start + 1

    codecs.register_error(f"dynazmq.{errors}", nearest)
    return {**settings, "errors": f"dynazmq.{errors}"}


def wait_while_read(seconds: float) -> None:
    """For a command that follows something: nothing may come for hours, and nobody have been there to read it.

    Raises BrokenPipeError when whoever read is gone, OSError (EIO) when the terminal is: under nohup no signal says so.
    """
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # in memory
        time.sleep(seconds)
        return
    if number in gone([number], seconds):
        if stat.S_ISCHR(os.fstat(number).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO), "standard output")
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def gone(numbers: Sequence[int], seconds: float = 0.0) -> list[int]:
    """Of these descriptors those whose other end is gone, a terminal's or a pipe's; waits for that as long as it is told."""
    poll = select.poll()
    for number in numbers:
        poll.register(number, 0)  # nothing but POLLERR, POLLHUP and POLLNVAL, which always come
    return [number for number, _ in poll.poll(seconds * 1000)]


class _Stream(io.RawIOBase):
    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)


class _Input(_Stream):
    """Standard input. It waits: what has not come yet must not be taken for the end of a value."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while True:
            try:
                data = os.read(self._number, len(buffer))
                break
            except BlockingIOError:
                select.select([self._number], [], [])
        buffer[: len(data)] = data
        return len(data)


class _Unreadable(_Input):
    """In place of a standard input that gives nothing: it must not be taken for an empty one."""

    def __init__(self, why: str) -> None:
        super().__init__(0)
        self._why = why

    def readinto(self, buffer: Any, /) -> int:
        raise InvalidRequest(f"standard input is {self._why}: nothing can be read from it")


class _Talk(_Stream):
    """Standard error."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        while True:
            try:
                return os.write(self._number, data)
            except BlockingIOError:
                select.select([], [self._number], [])
            except OSError as error:
                return self._failed(error, len(data))

    def _failed(self, _error: OSError, size: int) -> int:
        return size


class _Output(_Talk):
    """Standard output. After a write has failed nothing more goes out: what is still buffered would only fail again."""

    def write(self, data: Any, /) -> int:
        return super().write(data) if _fate.failure is None else len(data)

    def _failed(self, error: OSError, size: int) -> int:
        error.filename = "standard output"
        _fate.failure = error
        if _fate.raises:
            raise error
        return size
