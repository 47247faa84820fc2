"""Files that a person names: what is written goes into what is there.

    nothing                           a new file, which is there whole or not at all (durable.py)
    a regular file                    refused; or, where it is to be overwritten, another content in its place, at once and whole,
                                      with the mode, owner and attributes that it had
    a link                            followed to any of these: it stays
    a FIFO, terminal, device, socket  written into, as it comes; a disk only where it is to be overwritten
    one of our own descriptors        /dev/stdout, /dev/fd/N: the same
    anything else                     refused: a directory; a file of somebody else, one that must not be written, and one that
                                      has other names, under which the old content would stay; and whatever a cluster keeps in
                                      its own directory, which is its data

Nothing that is there is ever replaced by a file of another kind, and no part of a file is left behind.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from dynazmq import durable
from dynazmq.errors import ClusterError, InvalidRequest

_LINKS_MAX = 40
_KEPT = {
    *("cluster.json", "staged.json", "faults.json", "supervisor.json", "supervisor.lock", "supervisor.log", "supervisor.log.1"),
    *("events.jsonl", "events.jsonl.1", "nodes", "removed", "run"),
}
"""What a cluster's directory has (paths.py)."""
_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def written(file: str | Path, *, overwrite: bool, mode: int | None = 0o600) -> Iterator[IO[bytes]]:
    """What is written into this comes into FILE. mode: of a file that is new; None: what the umask leaves.

    Raises InvalidRequest for what must not be written, ClusterError when nobody reads a FIFO to its end, OSError.
    """
    found = check(file, overwrite=overwrite)
    try:
        if found is None or (stat.S_ISREG(found.st_mode) and _descriptor(file) is None):
            with _ends_in_good_order(), _whole(file, found, overwrite, mode) as out:
                yield out
        else:
            with open(_opened(file, found), "wb") as out:
                yield out
    except BrokenPipeError:
        raise ClusterError(f"{file} was not written to its end: nobody reads it any more") from None
    except OSError as error:
        if error.errno is not None and (error.filename is None or str(error.filename) == str(_part(file))):
            raise OSError(error.errno, error.strerror, str(file)) from None
        raise


def write(file: str | Path, content: bytes, *, overwrite: bool, mode: int | None = 0o600) -> None:
    """The same at once."""
    with written(file, overwrite=overwrite, mode=mode) as out:
        out.write(content)


def check(file: str | Path, *, overwrite: bool) -> os.stat_result | None:
    """What is there; None: nothing yet. Raises InvalidRequest when `written` would refuse it, OSError when nobody can tell."""
    if not os.fspath(file):
        raise InvalidRequest("the name of the file is empty")
    _check_nobodys(file)
    try:
        found = os.stat(file)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(os.path.realpath(file))):
            raise
        return None
    if stat.S_ISDIR(found.st_mode):
        raise InvalidRequest(f"{file} is a directory; name a file in it")
    if stat.S_ISBLK(found.st_mode) and not overwrite:
        raise InvalidRequest(f"{file} is a disk; --force writes over what it holds")
    if stat.S_ISREG(found.st_mode) and _descriptor(file) is None:
        _check_regular(file, found, overwrite)
    return found


def is_standard_output(file: str | Path) -> bool:
    """Where nothing else should be printed then."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(1))
    except OSError:
        return False


def _check_nobodys(file: str | Path) -> None:
    """Whatever its own directory holds is a cluster's, and so is what may come to be there: a log of its database, say."""
    real = Path(os.path.realpath(file))
    for directory in real.parents:
        if os.path.isfile(directory / "cluster.json") and real.relative_to(directory).parts[0] in _KEPT:
            raise InvalidRequest(f"{file} is in {directory}, where a cluster keeps what it stores; choose another place")


def _check_regular(file: str | Path, found: os.stat_result, overwrite: bool) -> None:
    if not overwrite:
        raise InvalidRequest(f"{file} exists; replace it with --force, or choose another name")
    mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
    if not os.access(file, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise InvalidRequest(f"{file} must not be written: {mode}, of user {found.st_uid}; choose another name")
    if found.st_uid != os.geteuid() != 0:
        raise InvalidRequest(f"{file} belongs to user {found.st_uid}, and would be yours; choose another name")
    if found.st_nlink > 1:
        raise InvalidRequest(f"{file} has {found.st_nlink} names, the others would keep the old content; choose another name")


# --- a regular file -------------------------------------------------------------------------------------------------------


@contextmanager
def _whole(file: str | Path, found: os.stat_result | None, overwrite: bool, mode: int | None) -> Iterator[IO[bytes]]:
    real = Path(os.path.realpath(file))
    with durable.replaced(real, mode if found is None else stat.S_IMODE(found.st_mode)) as out:
        yield out
        if found is not None:
            _be_like(out.fileno(), real, found)
        elif not overwrite and os.path.lexists(real):
            raise InvalidRequest(f"{file} was made by somebody else meanwhile, and is left as it is")


def _be_like(handle: int, old: Path, found: os.stat_result) -> None:
    """Owner and attributes, an access list among them, of the file that is replaced. Raises InvalidRequest."""
    mine = os.fstat(handle)
    try:
        if (found.st_uid, found.st_gid) != (mine.st_uid, mine.st_gid):
            os.fchown(handle, found.st_uid, found.st_gid)
            os.fchmod(handle, stat.S_IMODE(found.st_mode))  # a change of the owner may take bits away
    except PermissionError:
        raise InvalidRequest(f"{old} is of group {found.st_gid}, which nobody may give away; choose another name") from None
    try:
        for name in os.listxattr(old):
            os.setxattr(handle, name, os.getxattr(old, name))
    except OSError:
        return  # a file system that knows none, or one that is not ours to set


def _part(file: str | Path) -> Path:
    return durable.part_of(Path(os.path.realpath(file)))


@contextmanager
def _ends_in_good_order() -> Iterator[None]:
    """A signal that ends the process ends what it is doing first: the part of a file is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    unhandled = [each for each in _ENDING if signal.getsignal(each) is signal.SIG_DFL]
    for each in unhandled:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in unhandled:
            signal.signal(each, signal.SIG_DFL)


# --- what is no regular file ----------------------------------------------------------------------------------------------


def _opened(file: str | Path, found: os.stat_result) -> int:
    """A descriptor to write into. A FIFO waits for its reader. Raises OSError."""
    number = _descriptor(file)
    if number is not None:  # opened anew it would begin at its start, and a socket not at all
        return os.dup(number)
    if stat.S_ISSOCK(found.st_mode):
        import socket

        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
            there.connect(str(file))
            return there.detach()
    return os.open(file, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)


def _descriptor(file: str | Path) -> int | None:
    """The number of the descriptor of ours that this path is."""
    path = os.path.abspath(file)
    for _ in range(_LINKS_MAX):
        parent, name = os.path.realpath(os.path.dirname(path)), os.path.basename(path)
        if parent == f"/proc/{os.getpid()}/fd" and name.isdecimal():
            return int(name)
        try:
            path = os.path.join(parent, os.readlink(os.path.join(parent, name)))
        except OSError:
            return None
    return None
