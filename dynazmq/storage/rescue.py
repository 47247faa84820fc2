"""The database that takes an old copy's place (dynamo/replica/rescue.py), while both are there.

    rescued.db    what was written since the copy was put back; whole, or not there (`keep`)
    data.db       the old copy, which its supervisor sets aside; then rescued.db becomes data.db (`take`)

Whoever dies in between begins anew: a rescued.db beside a data.db is of a life that came to no end.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from dynazmq import durable
from dynazmq.dynamo.replica.rescue import rescued
from dynazmq.dynamo.runtime import Store
from dynazmq.errors import StorageError
from dynazmq.storage.sqlite import SqliteStorage

NAME = "rescued.db"
_ENDS = ("", "-wal", "-shm", "-journal")
_ROWS_PER_COMMIT = 1_000


def keep(store: Store, directory: Path, owner: str, name: str, epochs: Collection[str], notes: dict[str, bytes]) -> int:
    """Write what these lives of a node have written, and what its next one must know; the number of rows.

    Nothing is written where there are none. Raises StorageError, StoreFailed.
    """
    try:
        return _keep(store, directory, owner, name, epochs, notes)
    except OSError as error:
        raise StorageError(f"cannot write {directory / NAME}: {error.strerror}") from None


def _keep(store: Store, directory: Path, owner: str, name: str, epochs: Collection[str], notes: dict[str, bytes]) -> int:
    part = directory / f"{NAME}.new"
    _clear(directory)
    count = 0
    into: SqliteStorage | None = None
    for target, row, state in rescued(store, name, epochs):
        if into is None:
            into = SqliteStorage(part, "full", owner=owner)
        if target:
            into.write_hint(target, *row, state)
        else:
            into.write(*row, state)
        count += 1
        if not count % _ROWS_PER_COMMIT:
            into.commit()
    if into is not None:
        for note, value in notes.items():
            into.set_meta(note, value)
        into.commit()
        into.close()
        durable.rename(part, directory / NAME)
    return count


def take(directory: Path) -> None:
    """Before a node opens its database: what was rescued takes the place of what was set aside. Raises StorageError."""
    found, database = directory / NAME, directory / "data.db"
    try:
        _clear(directory)
        if database.exists():
            _remove(found)
        elif found.exists():
            durable.rename(found, database)
    except OSError as error:
        raise StorageError(f"cannot use {found}: {error.strerror}") from None


def _clear(directory: Path) -> None:
    """What was cut off while it was written."""
    for name in (f"{NAME}.new", f"{NAME}.new.new"):
        _remove(directory / name)


def _remove(path: Path) -> None:
    for end in _ENDS:
        Path(f"{path}{end}").unlink(missing_ok=True)
