"""Whether a directory is still where it was, for who works in it: others move, delete and restore directories under processes.

A process that goes on by the path would then read and write what is another's.
"""

from __future__ import annotations

import os
from pathlib import Path


class Place:
    """The directory that is at `path` now. It keeps a descriptor of it, by which it is known whatever it is called."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def now(self) -> Path | None:
        """Where it is: at `path`, as long as nothing else is known. None: it was deleted, which it stays whatever comes there; or
        nobody can see it, since another file system was mounted over it, or its own was taken away.

        Two calls of the system, 3 µs.
        """
        own = os.fstat(self._handle)
        try:
            if os.path.samestat(own, os.stat(self.path)):
                return self.path
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            return self.path  # it cannot be seen
        return self._elsewhere(own) if own.st_nlink else None

    def unchanged(self) -> bool:
        """Whether what is at `path` may be taken for it."""
        return self.now() == self.path

    def _elsewhere(self, own: os.stat_result) -> Path | None:
        """The kernel's word for it is believed only where it leads there. Of what is mounted over it tells the old path, and of
        what was unmounted the path within that file system: "/", if it was the whole of it.
        """
        try:
            called = Path(os.readlink(f"/proc/self/fd/{self._handle}"))
            return called if os.path.samestat(own, os.stat(called)) else None
        except OSError:
            return None  # or a system that does not tell

    def close(self) -> None:
        os.close(self._handle)
