"""A node's connection to its database, as the turns of its loop use it.

All SELECTs of a turn share one read transaction, which its commit ends: without it each would lock and unlock the file. When the
turn writes, that transaction ends first, since a read that turns into a write fails if another has written meanwhile. SQLite's
own waiting for another's lock is switched off (database.py): it would wait for longer and longer, where a checkpoint is done in
a moment.

Only SQLite's own type stands between storage and file: whoever is in a hurry calls `execute` and looks at `in_transaction`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from dynazmq.dynamo.runtime import StoreFailed
from dynazmq.storage.files import Files

_BUSY_PAUSE_S = 0.0003


class Connection(sqlite3.Connection):
    """Transactions are begun and ended by hand."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        """timeout_s: how long SQLite waits for another's lock while the database is opened. Raises sqlite3.Error."""
        super().__init__(path, timeout=timeout_s, isolation_level=None, cached_statements=64)
        self._path = path
        self._files: Files | None = None
        self._gone = ""

    # --- reading ----------------------------------------------------------------------------------------------------------

    def ask(self, sql: str, arguments: Iterable[Any]) -> list[Any]:
        """All rows that there are. Raises StoreFailed."""
        return list(self.each(sql, arguments))

    def each(self, sql: str, arguments: Iterable[Any]) -> Iterator[Any]:
        """Row by row: who has enough reads no further. Raises StoreFailed."""
        if self._gone:
            raise StoreFailed(self._gone)
        try:
            if not self.in_transaction:
                self.execute("BEGIN")
            with closing(self.execute(sql, tuple(arguments))) as cursor:
                yield from cursor
        except sqlite3.Error as error:
            raise StoreFailed(f"cannot read: {error}") from None

    # --- writing ----------------------------------------------------------------------------------------------------------

    def begin(self, patience_s: float) -> None:
        """End the turn's reads and begin to write; who else writes is waited for at most so long. Raises sqlite3.Error."""
        if self.in_transaction:
            self.execute("COMMIT")
        until = 0.0
        while True:
            try:
                self.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                now = time.monotonic()
                until = until or now + patience_s
                if now >= until:
                    raise
            time.sleep(_BUSY_PAUSE_S)

    def abandon(self) -> None:
        """End what was begun, as if it had not been."""
        try:
            if self.in_transaction:
                self.execute("ROLLBACK")
        except sqlite3.Error:
            return  # SQLite has rolled back by itself, as it does when the disk is full

    # --- the files --------------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """From here on the files must stay what they are. Raises OSError."""
        self._files = Files(self._path)

    @property
    def files(self) -> Files:
        assert self._files is not None, "watch was called when the database was opened"
        return self._files

    def check_files(self) -> None:
        """What is committed into a file that has lost its name is lost with this process: it is not stored (S9).

        Looked at after the commit and before anybody hears of it. No read succeeds any more, so the process ends. Earlier commits
        of a log that is gone were acknowledged: they are copied into the database while somebody still can. Raises StoreFailed.
        """
        gone = self.files.gone()
        if not gone:
            return
        self._gone = f"{gone} was removed or replaced while this process served it"
        if gone.endswith("-wal"):
            try:
                self.execute("PRAGMA wal_checkpoint(PASSIVE)")
            except sqlite3.Error as error:
                self._gone += f", and what it held cannot be copied into the database: {error}"
        raise StoreFailed(self._gone)

    def sync_log(self) -> None:
        """Do what sync=normal leaves to checkpoints: these sync the log before they copy it, and what they copied.

        Raises StoreFailed.
        """
        try:
            self.files.sync_log()
        except OSError as error:
            raise StoreFailed(f"cannot sync: {error}") from None

    def close(self) -> None:
        super().close()
        if self._files is not None:
            self._files.close()
            self._files = None
