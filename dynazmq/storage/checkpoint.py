"""Checkpoints of the write-ahead log, in a thread of their own (design 6).

A commit appends to the log; a checkpoint copies the log's newest pages into the database file, so that the log can begin anew.
In the node's loop that would be a stall of 60 to 100 ms; SQLite lets another connection do it beside the writer, and releases
Python's lock meanwhile.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

_BEGIN_BYTES = 4 << 20
"""A log longer than this is copied."""

_FORCE_BYTES = 64 << 20
"""A log that passive checkpoints cannot empty, because the writer never rests: the next one makes the writer wait."""


class Checkpointer:
    """Copies the log when it has grown; `nudge` it after commits, it looks for itself whether there is something to do."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = Path(f"{path}-wal")
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="checkpointer", daemon=True)
        self._thread.start()
        self.done = 0

    def nudge(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """End the thread; the checkpoint that runs is finished first."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
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
            size = os.stat(self._log).st_size
            if size < _BEGIN_BYTES:
                return
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if size > _FORCE_BYTES:
                # Nearly all of it is copied by now: what the writer waits for is the little that came meanwhile.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self.done += 1
        except (sqlite3.Error, OSError):
            # A full or failing disk: commits go into the log as long as they can and report what they cannot. Tried again at
            # the next nudge; nothing is lost, the log is as durable as the file.
            return
