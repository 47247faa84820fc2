"""The faults of a cluster: DIR/faults.json, which says what is on.

    load       what is on now
    put_on     one more
    heal       some or all of them off

The file is the truth: every node looks at it by itself (wire/faulty.py), so it holds for nodes that are paused or start later. A
fault with an end is over in every node at that time, and whoever looks next takes it out of the file. No file: none is on.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dynazmq import durable, paths
from dynazmq.cluster.directory import ownership
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.faults import Fault, as_text, check, describe, from_text, lasts, same, touches
from dynazmq.faults.fault import FAULTS_MAX

__all__ = ["Fault", "describe", "heal", "lasts", "load", "put_on", "read", "touches"]


def load(directory: Path) -> list[Fault]:
    """What is on, for whoever shows it. A file that cannot be read switches nothing on, neither here nor in the nodes."""
    try:
        return read(directory)
    except ClusterError:
        return []


def read(directory: Path) -> list[Fault]:
    """The same. Raises ClusterError when the file cannot be read."""
    found = _read(directory)
    now = time.time()
    on = [fault for fault in found if not fault.over(now)]
    if len(on) < len(found):
        _forget_what_is_over(directory)
    return on


def put_on(directory: Path, wanted: Fault, members: Sequence[str], for_s: float | None = None) -> Fault:
    """Switch it on; what it then is, with its id. Raises InvalidRequest, ClusterError: then nothing has changed."""
    check(wanted, members)
    if for_s is not None and not for_s > 0:
        raise InvalidRequest(f"a fault lasts for more than 0s, not {for_s:g}s")
    with _alone(directory):
        now = time.time()
        on = [fault for fault in _read(directory) if not fault.over(now)]
        for fault in on:
            if same(fault, wanted):
                raise InvalidRequest(f"that is on already: {fault.id}, {describe(fault)}; first  dynazmq heal {fault.id}")
        if len(on) >= FAULTS_MAX:
            raise InvalidRequest(f"{FAULTS_MAX} faults are on already, the limit; heal some first")
        number = 1 + max((int(fault.id[1:]) for fault in on if fault.id[1:].isdecimal()), default=0)
        fault = replace(wanted, id=f"f{number}", since=now, until=None if for_s is None else now + for_s)
        _write(directory, [*on, fault])
    return fault


def heal(directory: Path, ids: Sequence[str] = ()) -> list[Fault]:
    """Switch these off, all if none is named; those that were on. Raises InvalidRequest for one that is not on, ClusterError.

    All: a file that cannot be read is removed.
    """
    with _alone(directory):
        now = time.time()
        try:
            on = [fault for fault in _read(directory) if not fault.over(now)]
        except ClusterError:
            if ids:
                raise
            on = []
        known = {fault.id for fault in on}
        for id_ in ids:
            if id_ not in known:
                there = f"there are {' '.join(fault.id for fault in on)}" if on else "none is"
                raise InvalidRequest(f"no fault {id_!r} is on; {there}")
        off = [fault for fault in on if fault.id in ids or not ids]
        _write(directory, [fault for fault in on if fault not in off])
    return off


def _read(directory: Path) -> list[Fault]:
    path = paths.faults_path(directory)
    try:
        return from_text(path.read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ClusterError(f"cannot read {path}: {reason}; so no fault is on. To remove it: dynazmq heal") from None


def _write(directory: Path, faults: Sequence[Fault]) -> None:
    path = paths.faults_path(directory)
    try:
        if faults:
            durable.write_text(path, as_text(faults))
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ClusterError(f"cannot write {path}: {error.strerror}") from None


def _forget_what_is_over(directory: Path) -> None:
    """Not if another writes just now: whoever looks next does it."""
    try:
        with _alone(directory, wait=False):
            now = time.time()
            _write(directory, [fault for fault in _read(directory) if not fault.over(now)])
    except ClusterError:
        return


@contextmanager
def _alone(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """One at a time changes the file, for as long as that takes. The lock is that of DIR/nodes, which nobody else locks.

    Raises ClusterError when that cannot be.
    """
    ownership.check_own(directory)
    try:
        handle = os.open(directory / "nodes", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ClusterError(f"cannot use {directory}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            raise ClusterError(f"cannot lock {directory}: {error.strerror}") from None
        yield
    finally:
        os.close(handle)
