"""The tables of a node's database and how older ones become today's, through sqlite-utils.

    data    this node's own copies: (place, bucket, key) → state, checksum. `place` is the key's position on the ring less 2^63:
            SQLite's integers are signed, and the order must stay the ring's.
    hints   what it keeps for primaries that are away: (target, place, bucket, key) → state, checksum
    meta    identity, ring, members, policies: name → value, checksum. "owner" says whose directory it is: node and cluster
    journal what was committed lately and is not in `data` yet (journal.py); empty after a clean stop

The first three are WITHOUT ROWID: rows lie in the order of the ring, so a partition is one run of neighbouring pages.
sqlite-utils is imported only when there is something to do: it costs a node 11 MB that an up-to-date database does not need.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dynazmq.errors import UnusableDisk
from dynazmq.storage.tables import WRITE_META, meta_row

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x445A4D51  # "DZMQ", in the file's header: `file data.db` shows it

_OWNER = "owner"


def owner_of(name: str, cluster_id: int) -> str:
    """Whose a database is, as it is written in it."""
    return f"{name} of {cluster_id:016x}"


def check_owner(connection: sqlite3.Connection, path: Path, owner: str) -> None:
    """A directory copied from another node would make two nodes of one. Raises UnusableDisk, and has changed nothing."""
    if not owner or not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (_OWNER,)).fetchone()
    if row is None or row[0] == owner.encode():
        return
    (name, _, cluster), (mine, _, ours) = bytes(row[0]).decode(errors="replace").partition(" of "), owner.partition(" of ")
    whose = f"{name}'s of another cluster ({cluster})" if cluster != ours else f"{name}'s"
    raise UnusableDisk(f"{path} is {whose} and not {mine}'s")


def change_owner(connection: sqlite3.Connection, owner: str) -> None:
    """Whose database it is from now on. Raises sqlite3.Error."""
    connection.execute(WRITE_META, meta_row(_OWNER, owner.encode()))


def bring_up_to_date(connection: sqlite3.Connection, path: Path, owner: str = "") -> None:
    """Make the tables, or migrate older ones. Raises UnusableDisk for a file that is not ours or of a newer release."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise UnusableDisk(f"{path} is a database of something else (application id {application:#x}); it was not touched")
    if version > len(STEPS):
        raise UnusableDisk(f"{path} has schema {version}, this release knows {len(STEPS)}: use the release that wrote it")
    if application != APPLICATION_ID or version != len(STEPS):
        _migrate(connection)
    if owner:
        connection.execute(
            "INSERT OR IGNORE INTO meta (name, value, checksum) VALUES (?, ?, ?)", meta_row(_OWNER, owner.encode())
        )


def _first_tables(db: Database) -> None:
    db.execute(
        """CREATE TABLE data (
            place INTEGER NOT NULL, bucket TEXT NOT NULL, key BLOB NOT NULL, state BLOB NOT NULL, checksum INTEGER NOT NULL,
            PRIMARY KEY (place, bucket, key)) WITHOUT ROWID"""
    )
    db.execute(
        """CREATE TABLE hints (
            target TEXT NOT NULL, place INTEGER NOT NULL, bucket TEXT NOT NULL, key BLOB NOT NULL, state BLOB NOT NULL,
            checksum INTEGER NOT NULL, PRIMARY KEY (target, place, bucket, key)) WITHOUT ROWID"""
    )
    db.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID")
    db.execute(
        """CREATE TABLE journal (
            slot INTEGER PRIMARY KEY, turn INTEGER NOT NULL, part INTEGER NOT NULL, parts INTEGER NOT NULL,
            folded INTEGER NOT NULL, bytes INTEGER NOT NULL, rows BLOB NOT NULL, checksum INTEGER NOT NULL)"""
    )


STEPS: tuple[Callable[[Database], None], ...] = (_first_tables,)
"""From each version to the next, the first from an empty file. One that was released is never changed."""


def _migrate(connection: sqlite3.Connection) -> None:
    from sqlite_utils import Database, Migrations

    migrations = Migrations("dynazmq")
    for version, step in enumerate(STEPS, start=1):

        @migrations(name=step.__name__.lstrip("_"))
        def next_version(db: Database, version: int = version, step: Callable[[Database], None] = step) -> None:
            step(db)
            db.execute(f"PRAGMA user_version = {version}")

    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")  # first: what comes next may be cut off
    migrations.apply(Database(connection, execute_plugins=False))
