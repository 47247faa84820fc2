"""Opening a node's database: all of SQLite's settings in one place."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from dynazmq.errors import StorageError
from dynazmq.storage.schema import bring_up_to_date

BUSY_S = 2.0
"""How long a commit waits for another's write lock before it fails: longer than that no client waits either."""

_CACHE_KIB = 4 * 1024


def open_database(path: Path, sync: str) -> sqlite3.Connection:
    """A connection with all settings, its schema up to date."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, cached_statements=64)
        os.chmod(path, 0o600)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"cannot open {path}: {error}") from None
    try:
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {'FULL' if sync == 'full' else 'NORMAL'}",
            "wal_autocheckpoint = 0",  # the checkpointer's business: in a commit it would stall the loop
            f"cache_size = -{_CACHE_KIB}",
            "temp_store = MEMORY",
            "journal_size_limit = 33554432",  # bytes that the log's file keeps when it begins anew
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")
        bring_up_to_date(connection, path)
        connection.execute("PRAGMA busy_timeout = 0")  # SqliteStorage waits in its own way
        connection.execute("SELECT count(*) FROM meta").fetchone()
    except (sqlite3.Error, StorageError) as error:
        connection.close()
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"cannot open {path}: {error}") from None
    return connection
