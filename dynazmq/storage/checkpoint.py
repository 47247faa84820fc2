"""Checkpoints of the write-ahead log, in a thread of their own (design 6).

A commit appends to the log; a checkpoint copies the log's newest pages into the database file, so that the log can begin anew.
In the node's loop that would be a stall of 60 to 100 ms; SQLite lets another connection do it beside the writer, and releases
Python's lock meanwhile.

A log can begin anew only at a moment when all of it is copied, and the writer of a busy node goes on while that is done. So when
the log has become long, the writer is held up for that moment: after most was copied beside it, and only for the little that
came meanwhile, a few milliseconds. The file keeps its length: overwriting it costs two thirds of appending where each commit is
synced, and elsewhere leaves 7 % more for puts, since the file system has no new blocks to find and to clear.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path

_PAGE_BYTES = 4096 + 24

_BEGIN_BYTES = 4 << 20
"""A file longer than this is copied."""

_RESTART_BYTES = 12 << 20
"""A log longer than this begins anew: seldom enough, and soon enough that most of its life it is overwritten."""

_LITTLE_BYTES = 256 << 10
_ROUNDS_MAX = 6

_PATIENCE_S = 0.02
"""How long the writer may be held up for somebody who reads the log. Then the log grows on."""

_RETRY_S = 1.0


class Checkpointer:
    """Copies the log when it has grown; `nudge` it after commits, it looks for itself whether there is something to do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = Path(f"{path}-wal")
        self._wake = threading.Event()
        self._closing = False
        self._restart_after = 0.0
        self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)
        self._thread.start()
        self.done = 0
        self.restarts = 0

    def nudge(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """End the thread; the checkpoint that runs is finished first."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, timeout=_PATIENCE_S, isolation_level=None)
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                if self._closing:
                    return
                self._checkpoint(connection)
        finally:
            connection.close()

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        try:
            if os.stat(self._log).st_size < _BEGIN_BYTES:
                return
            length = _copy(connection)
            self.done += 1
            if length < _RESTART_BYTES or time.monotonic() < self._restart_after:
                return
            for _ in range(_ROUNDS_MAX):
                before, length = length, _copy(connection)
                if length - before <= _LITTLE_BYTES:
                    break
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            if busy:
                self._restart_after = time.monotonic() + _RETRY_S
            else:
                self.restarts += 1
        except (sqlite3.Error, OSError):
            # A full or failing disk: commits go into the log as long as they can and report what they cannot. Tried again at
            # the next nudge; nothing is lost, the log is as durable as the file.
            return


def _copy(connection: sqlite3.Connection) -> int:
    """Copy what is in the log now, beside the writer. How long the log was when that began, in bytes."""
    _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages) * _PAGE_BYTES
