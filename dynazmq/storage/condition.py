"""In what condition a node's files are, before SQLite touches them (S8).

SQLite makes an empty database of a file that was cut to nothing, and passes over a log that it cannot read: the node would come
up without its data, and say nothing. What can be seen from outside is therefore looked at first:

    the database   there, a file, readable, as long as its header says, and a database at all
    the log        beside a database, and a log at all

A file that is cut off while a log is beside it is looked at when the log has been copied (`check_length`). A page that is zeroed
in the middle is SQLite's to find: it reads all of `data` at the start, to count it (sqlite.py). What nobody can see here is a log
whose newest part is gone, or an old backup: both are whole files of an earlier moment. A node on such a disk has missed writes,
as a replica may at any time, and issues its dots under a new name (identity.py). A backup that is too old its peers know
(dynamo/membership/stale_disks.py).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dynazmq.errors import UnusableDisk

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_LOG_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_LOG_HEADER_BYTES = 32


def check_files(path: Path, sync: str) -> bool:
    """Whether there is a database to open; False: there is nothing, one may be made. Raises UnusableDisk."""
    log = Path(f"{path}-wal")
    log_head, log_bytes = _head(log, _LOG_HEADER_BYTES) or (b"", 0)
    found = _head(path, _HEADER_BYTES)
    if found is None:
        if log_bytes:
            raise UnusableDisk(f"{path} is missing, and its log {log.name} is still there")
        return False
    head, size = found
    if not size:
        raise UnusableDisk(f"{path} is empty (0 bytes)")
    if not any(head):
        raise UnusableDisk(f"{path} is zeroed at its beginning, and perhaps beyond")
    if not head.startswith(_MAGIC):
        raise UnusableDisk(f"{path} is not a database")
    if size < _HEADER_BYTES:
        raise UnusableDisk(f"{path} is cut off: {size} bytes of it are there")
    page_bytes = int.from_bytes(head[16:18], "big")
    counted = head[24:28] == head[92:96]  # else whoever wrote it last did not count its pages
    if not log_bytes and counted:
        check_length(path, int.from_bytes(head[28:32], "big") * (page_bytes if page_bytes > 1 else 65_536))
    # Without syncs, a loss of power may leave a log of zeros in good order.
    if log_bytes and sync == "full" and log_head[:4] not in _LOG_MAGIC:
        what = "zeroed at its beginning" if not any(log_head) else "not a log of SQLite's"
        raise UnusableDisk(f"{log} is {what}: the newest of what {path.name} should hold is lost")
    return True


def check_length(path: Path, wanted: int) -> None:
    """Raises UnusableDisk for a file of fewer bytes."""
    size = path.stat().st_size
    if size < wanted:
        raise UnusableDisk(f"{path} is cut off: {size:,} of its {wanted:,} bytes are there")


def _head(path: Path, count: int) -> tuple[bytes, int] | None:
    """A file's first bytes, and how long it is; None when there is none. Raises UnusableDisk when it cannot be used."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: a pipe would wait for its other end
            raise UnusableDisk(f"{path} is not a file")
        with open(path, "r+b") as file:
            return file.read(count), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnusableDisk(f"{path} cannot be read and written: {error.strerror}") from None
