"""What a cluster needs of the file system that its directory is on, tried out before anything is made there.

    file locks (flock, fcntl)      who supervises, who serves a node; SQLite's own
    memory that is shared (mmap)   the index of SQLite's log
    owners and modes               the secret and the sockets are one user's
    names that are replaced        files are there whole or not at all
    Unix sockets                   not of this one: where it has none, they are elsewhere (`paths.put_sockets_elsewhere`)

Network file systems, those that hosts share with virtual machines, FUSE and FAT lack one or more. Each is tried as it is used, in
a directory that is gone afterwards. Nothing that is executed lies there, so one that forbids that (noexec) is as good as any.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from dynazmq import paths, users
from dynazmq.errors import ClusterError

TRIAL_PREFIX = ".dynazmq-"

_LACKS = {
    *(errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.ENODEV, errno.EINVAL, errno.EPERM, errno.ENOTTY),
    *(errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ENXIO),
}
"""Of what it cannot do. Others (full, read-only, not permitted, I/O error): not now, as whoever tries next will say."""


def examine(directory: Path) -> bool:
    """Whether sockets can be in it. Raises ClusterError for what it lacks and cannot be done without."""
    place = _nearest(directory)
    try:
        trial = tempfile.TemporaryDirectory(prefix=TRIAL_PREFIX, dir=place, ignore_cleanup_errors=True)
    except OSError:
        return True  # nothing can be made there, which whoever tries next says better
    with trial as path:
        for lacking, attempt in _NEEDED.items():
            try:
                attempt(Path(path))
            except OSError as error:
                if error.errno in _LACKS:
                    raise _useless(place, lacking, error.strerror or str(error)) from None
                return True
        return _takes_sockets(Path(path))


def check_elsewhere(directory: Path) -> None:
    """That this cluster's sockets can be elsewhere. Raises ClusterError."""
    run = paths.elsewhere(directory)
    paths.check_private(run, directory)
    place = run.parent.parent
    try:
        with tempfile.TemporaryDirectory(prefix=TRIAL_PREFIX, dir=place, ignore_cleanup_errors=True) as trial:
            if _takes_sockets(Path(trial)):
                return
    except OSError as error:
        raise ClusterError(f"cannot make {run}, which is to hold this cluster's sockets: {error.strerror}") from None
    raise _useless(place, "Unix sockets", "and neither has that of its own directory")


def _useless(place: Path, lacking: str, why: str) -> ClusterError:
    return ClusterError(
        f"{place} is on a file system without {lacking} ({why}): no cluster can be there; choose a directory on a local disk "
        "with --dir"
    )


def _nearest(directory: Path) -> Path:
    """Where it is, or would be."""
    return next((each for each in (directory, *directory.parents) if os.path.isdir(each)), directory)


# --- one after the other: each raises OSError -------------------------------------------------------------------------------


def _lock(trial: Path) -> None:
    with open(trial / "lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    handle = os.open(trial, os.O_RDONLY | os.O_CLOEXEC)  # DIR itself is locked as well
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(handle)


def _lock_range(trial: Path) -> None:
    with open(trial / "lock", "wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)


def _share(trial: Path) -> None:
    with open(trial / "shared", "w+b") as file:
        file.truncate(mmap.PAGESIZE)
        with mmap.mmap(file.fileno(), mmap.PAGESIZE) as memory:
            memory[0] = 1


def _own(trial: Path) -> None:
    with open(trial / "secret", "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        os.fchmod(file.fileno(), 0o600)
        found = os.fstat(file.fileno())
    if found.st_uid != users.me():
        raise OSError(errno.EPERM, f"what {users.name_of(users.me())} makes there is {users.name_of(found.st_uid)}'s")
    if (mode := stat.S_IMODE(found.st_mode)) & 0o077:
        raise OSError(errno.EPERM, f"a file of mode 600 has {mode:o} there: others could read the cluster's secret")


def _replace(trial: Path) -> None:
    for name in ("new", "old"):
        (trial / name).write_bytes(b"")
    os.replace(trial / "new", trial / "old")
    handle = os.open(trial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_NEEDED: dict[str, Callable[[Path], None]] = {
    "file locks (flock)": _lock,
    "locks of parts of files (fcntl)": _lock_range,
    "shared memory (mmap)": _share,
    "owners and modes": _own,
    "replacing and syncing names": _replace,
}


def _takes_sockets(place: Path) -> bool:
    """By the descriptor of the directory: its path may be longer than a socket's may be."""
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    trial = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    name = f".{os.getpid()}.sock"
    try:
        near = f"/proc/self/fd/{handle}/{name}"
        trial.bind(near if os.path.isdir(os.path.dirname(near)) else os.fspath(place / name))
        os.unlink(name, dir_fd=handle)
        return True
    except OSError as error:
        return error.errno not in _LACKS
    finally:
        trial.close()
        os.close(handle)
