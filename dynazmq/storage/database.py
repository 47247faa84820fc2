"""Opening a node's database: all of SQLite's settings in one place.

A database is made under another name and put in its place when it is whole. So one that is found empty was not left by somebody
who was killed while he made it, and can be refused (condition.py).
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from dynazmq import durable
from dynazmq.errors import StorageError, UnusableDisk
from dynazmq.storage.condition import check_files, check_length
from dynazmq.storage.connection import Connection
from dynazmq.storage.schema import bring_up_to_date, check_owner

BUSY_S = 2.0
"""How long a commit waits for another's write lock before it fails: longer than that no client waits either."""

_CACHE_KIB = 4 * 1024


def open_database(path: Path, sync: str, owner: str = "") -> Connection:
    """A connection with all settings, its schema up to date. owner: whose it must be (`schema.check_owner`); "" for anybody's.

    Raises UnusableDisk, or StorageError for what may pass by itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not check_files(path, sync):
            _make(path, owner)
        elif owner:
            _check_without_log(path, owner)
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"cannot make {path}: {error}") from None
    return _open(path, sync, owner)


def _check_without_log(path: Path, owner: str) -> None:
    """The file alone must be this owner's as well: somebody may have put it beside a log that is not its own, and SQLite would
    mix the two, since nothing in a log says of which file it is. Raises UnusableDisk, and has changed nothing.
    """
    log = Path(f"{path}-wal")
    if not log.exists() or not log.stat().st_size:
        return
    alone = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
    try:
        check_owner(alone, path, owner)
    except sqlite3.DatabaseError:
        return  # cut off while the log was copied into it, which makes it whole
    finally:
        alone.close()


def _make(path: Path, owner: str) -> None:
    """An empty database, durable, and there as a whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    for end in ("", "-wal", "-shm", "-journal"):  # what was cut off
        Path(f"{new}{end}").unlink(missing_ok=True)
    _open(new, "full", owner).close()
    durable.rename(new, path)


def _open(path: Path, sync: str, owner: str) -> Connection:
    try:
        connection = Connection(path, BUSY_S)
    except sqlite3.Error as error:
        raise StorageError(f"cannot open {path}: {error}") from None
    connection.text_factory = text_of
    try:
        os.chmod(path, 0o600)
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
        check_owner(connection, path, owner)
        bring_up_to_date(connection, path, owner)
        _copy_log(connection, path)
        connection.execute("PRAGMA busy_timeout = 0")  # `Connection.begin` waits in its own way
        connection.execute("SELECT count(*) FROM meta").fetchone()
        connection.watch()
    except (sqlite3.Error, OSError, StorageError) as error:
        connection.close()
        if isinstance(error, StorageError):
            raise
        raise cannot_open(path, error) from None
    return connection


def _copy_log(connection: sqlite3.Connection, path: Path) -> None:
    """What a killed process has left in the log goes into the file, which then is as long as it must be. Raises UnusableDisk."""
    try:
        busy, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.OperationalError:
        return  # a full disk, perhaps: the log is as good as the file
    if not busy and pages == copied:
        (pages,), (page_bytes,) = (connection.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "page_size"))
        check_length(path, pages * page_bytes)


def text_of(raw: bytes) -> str:
    """Damaged text is other text, and its row's checksum fails: an error would fail all rows that are read with it."""
    return raw.decode("utf-8", "replace")


def cannot_open(path: Path, error: Exception) -> StorageError:
    """What to raise: another try helps where somebody else holds the file or the disk fails, and not where the file is bad."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return UnusableDisk(f"{path} is damaged: {error}")
    return StorageError(f"cannot open {path}: {error}")
