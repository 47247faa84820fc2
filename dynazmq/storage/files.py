"""A database's files while they are served: the database, its log, and the log's index, as they look from outside.

What SQLite writes into a file that has lost its name is gone with this process, and what it writes beside another's index is not
safe. So each commit is followed by a look whether all three are still those that were opened (`gone`). As long as their directory
says that nothing in it was made, removed or renamed, they are: one call of the system and not three. Its times are only as fine
as the kernel's ticks, so what they say holds when some time has passed since.

The log's file keeps its length when it begins anew, so its length does not say how much of it is in use. Its format does
(https://www.sqlite.org/fileformat2.html, "The Write-Ahead Log"): a frame of the present generation carries the two salts of the
log's header, and they are the first ones in the file. Looking for the last takes a dozen short reads, 15 µs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24

_SETTLED_NS = 2_500_000_000
"""A directory's times that are older than this will change with the next change in it, on the coarsest of file systems."""


class Files:
    """Of one open database in WAL mode."""

    def __init__(self, path: Path) -> None:
        """When all three are there. Raises OSError."""
        # Nothing but the log is opened: to close a descriptor of the other two would drop SQLite's locks on them.
        self._log = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        self._directory = str(path.parent)
        self._unchanged: tuple[int, int, int] | None = None  # the directory, while nothing has happened in it
        self._known = [(name, _identity(name)) for name in (str(path), f"{path}-wal", f"{path}-shm")]

    def close(self) -> None:
        os.close(self._log)

    def gone(self) -> str:
        """Which file is not the one that was opened any more; "" while all are."""
        try:
            found = os.stat(self._directory)
        except OSError:
            return self._directory
        directory = found.st_ino, found.st_mtime_ns, found.st_ctime_ns
        if directory == self._unchanged:
            return ""
        for name, known in self._known:
            if _identity(name) != known:
                return name
        if time.time_ns() - max(directory[1:]) > _SETTLED_NS:
            self._unchanged = directory
        return ""

    def log_in_use(self) -> tuple[bytes, int]:
        """The log's generation, and how many bytes of the file belong to it, perhaps some of a commit that failed.

        Raises OSError.
        """
        header = os.pread(self._log, _HEADER_BYTES, 0)
        if len(header) < _HEADER_BYTES:
            return b"", 0
        salts = header[16:24]
        frame = int.from_bytes(header[8:12], "big") + _FRAME_HEADER_BYTES
        first, behind = 0, (os.fstat(self._log).st_size - _HEADER_BYTES) // frame
        while first < behind:
            middle = (first + behind) // 2
            if os.pread(self._log, 8, _HEADER_BYTES + middle * frame + 8) == salts:
                first = middle + 1
            else:
                behind = middle
        return salts, _HEADER_BYTES + first * frame

    def sync_log(self) -> None:
        """Raises OSError."""
        os.fsync(self._log)


def _identity(path: str) -> tuple[int, int]:
    """Names the file that has this path now; (0, 0) when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
