"""Files that are there whole or not at all, whatever ends: the program, the machine, the disk's space.

    written   into a part beside the file, .NAME.part, which only we can have made: O_EXCL, O_NOFOLLOW, not readable for others
    synced    the part, before it takes the name: else a loss of power leaves an empty file under it
    renamed   over what was there before
    synced    the directory, which holds the names: else a loss of power may bring back the old file, or none

A part that a crash has left is removed by whoever writes the file next. Who writes one holds a lock on it, so that nobody takes
it for a left one.

Logs that are turned over are renamed without any of this: a line of them is no promise, and a sync would stall the loop.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

_PART_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def replaced(path: Path, mode: int | None = 0o600, *, wait: bool = False) -> Iterator[BufferedWriter]:
    """What is written into this is the file when the block ends, and never was when it ends with an error.

    mode: of the file, whatever the umask is; None: what the umask leaves.
    wait: for somebody who writes the same file just now; else BlockingIOError. Raises OSError.
    """
    part = part_of(path)
    file = _own_part(part, mode, wait)
    try:
        try:
            with open(file, "wb", closefd=False) as out:
                yield out
            os.fsync(file)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    finally:
        os.close(file)


def write_text(path: Path, text: str, mode: int = 0o600) -> None:
    """The same at once. Raises OSError."""
    with replaced(path, mode, wait=True) as out:
        out.write(text.encode("utf-8", "surrogateescape"))


def rename(source: Path, target: Path) -> None:
    """Give a file or directory, whose content is synced, another name for good. Raises OSError."""
    os.rename(source, target)
    sync_directory(target.parent)
    if source.parent != target.parent:
        sync_directory(source.parent)


def remove_if_possible(path: Path) -> None:
    """Of what need not stay and does no harm: on a file system that has become read-only it does. Raises other OSErrors."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise


def sync_directory(directory: Path) -> None:
    """What was made, renamed and removed in it so far stays so. Raises OSError."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def part_of(path: Path) -> Path:
    """What a file is called while it is written."""
    return path.with_name(f".{path.name}.part")


def _own_part(part: Path, mode: int | None, wait: bool) -> int:
    """A new file under this name, locked."""
    while True:
        try:
            handle = os.open(part, _PART_FLAGS, 0o666 if mode is None else mode)
        except FileExistsError:
            _remove_left(part, wait)
            continue
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(handle, part):
            if mode is not None:
                os.fchmod(handle, mode)
            return handle
        os.close(handle)  # somebody took it for a left one before it was locked


def _remove_left(part: Path, wait: bool) -> None:
    """Raises BlockingIOError when somebody is at work on it, OSError for what we cannot have made."""
    try:
        handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EEXIST, "something that is no file is in the way", str(part))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BlockingIOError(errno.EAGAIN, "somebody else writes it just now", str(part)) from None
        if _is_at(handle, part):
            part.unlink()
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)
