"""Whether a node can store, and if not why: what it says of itself to whoever asks how the cluster is.

A node that cannot write lives and answers: it reads, it is seen by its peers, and each put of which it is a replica fails. That
it is there says nothing of that, and SQLite's words ("disk I/O error") say little of the reason, so the file system is asked too:

    read-only     seen by a look at the directory, each five seconds in which nothing is written
    full, quota, I/O error, a limit of the process    seen when a commit fails
    well again    seen by a commit that succeeds. While none is asked for, a small one is tried (`TRIAL`), after 1, 2, 4, 4 … s:
                  on a disk that is full or failing each costs a write, and may cost the last page that others could use
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

TRIAL = "storage_trial"
"""The meta value that is written to see whether something can be."""

TRIAL_BYTES = 8 << 10
"""As much as a put takes in the log, with its pages."""

_AGAIN_S = 1.0
_AGAIN_S_MAX = 4.0
_IDLE_S = 5.0

_NO_SUCH_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT)
"""Of a file system, or a kernel, that has no files without names."""


class Health:
    """Of one node's directory. `now` is of the driver's clock."""

    def __init__(self, directory: Path) -> None:
        self.why = ""
        """Why nothing can be stored; "" while everything was."""
        self._directory = directory
        self._asked_at = self._stored_at = self._try_at = float("-inf")
        self._pause_s = _AGAIN_S
        self._said = ""

    def failed(self, words: str, now: float) -> str:
        """A commit has failed with these words. Why, in these and those of the file system."""
        if now - self._asked_at >= _AGAIN_S:  # a busy node fails a thousand times a second
            refused = refusal(self._directory)
            self._asked_at, self._said = now, (refused.strerror or "") if refused else ""
        self._try_at = now + self._pause_s  # it was as good as a trial
        self.why = f"{words} ({self._said})" if self._said else words
        return self.why

    def stored(self, now: float) -> bool:
        """A commit has succeeded. Whether that is news."""
        self._stored_at = now
        if not self.why:
            return False
        self.why = self._said = ""
        self._asked_at = self._try_at = float("-inf")
        self._pause_s = _AGAIN_S
        return True

    def look(self, now: float) -> bool:
        """Once a second or so. Whether a commit is to be tried, which then says how it is."""
        if not self.why and now - self._stored_at >= _IDLE_S:
            self._stored_at = now
            if read_only(self._directory):
                self.why = os.strerror(errno.EROFS)
                return False
        if not self.why or now < self._try_at:
            return False
        self._pause_s = min(2 * self._pause_s, _AGAIN_S_MAX)
        self._try_at = now + self._pause_s
        return True


def read_only(directory: Path) -> bool:
    """Whether the file system has become so, by an operator or by an error on its disk."""
    try:
        os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        return False
    except OSError as error:
        if error.errno not in _NO_SUCH_FILES:
            return error.errno == errno.EROFS
    try:
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)  # of ext4, after an error, Linux 6.18 does not say so
    except OSError:
        return False  # it is gone, or the disk fails: a commit says so


def refusal(directory: Path) -> OSError | None:
    """Why a file in it cannot be written; None if it can be, or that is not known. The file never has a name."""
    try:
        handle = os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return None if error.errno in _NO_SUCH_FILES else error
    try:
        left = TRIAL_BYTES
        while left:  # where there is room for a part, that is written, and the next part tells why no more
            left -= os.write(handle, bytes(left))
        os.fsync(handle)
        return None
    except OSError as error:
        return error
    finally:
        os.close(handle)
