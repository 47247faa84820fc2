"""Whose a cluster is, and what others are told who come by: two users of one host, root, a directory of somebody else's.

A cluster belongs to who owns its cluster.json. One rule for all others, root among them:

    who acts    starts, ends or changes anything, or leaves a file: refused, before anything is made. A process of another user's
                could not be ended by the owner, a file of his not be read
    who looks   may, as far as the file system lets him; reading and writing keys is a question to the nodes, and no file

What may not be read is never taken for what is not there: both are said differently, with different exit codes.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from dynazmq.errors import NotPermitted

_OURS = {
    *("supervisor.lock", "supervisor.log", "supervisor.json", "events.jsonl", "faults.json", "staged.json"),
    *("config.json", "lock", "node.log", "data.db", "data.db-wal", "data.db-shm"),
}
"""Files that have to be their cluster's user's."""


def name_of(uid: int) -> str:
    """The user's name; "#1000" of a user that has none, as in a container."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def me() -> int:
    """As whom files are made and signals sent."""
    return os.geteuid()


def owner_of(directory: Path) -> int | None:
    """Who owns the cluster in it; where there is none, or it is not to be seen, whoever owns the nearest that can be seen.

    None: nothing is there, so it is nobody's yet.
    """
    try:
        return os.stat(directory / "cluster.json").st_uid
    except PermissionError:
        pass
    except OSError:
        return None
    for place in (directory, *directory.parents):
        try:
            return os.stat(place).st_uid
        except OSError:
            continue
    return None


def check_own(directory: Path) -> None:
    """For who acts. Raises NotPermitted when the cluster in it, or a directory in which root is to make one, is another's."""
    owner = owner_of(directory)
    if owner is None and me() == 0:  # another user who may write here makes a cluster of his own; root may write everywhere
        owner = _owner_of_empty(directory)
    if owner is None or owner == me():
        return
    user = name_of(owner)
    if me():
        why = f"and you are {name_of(me())}"
    else:
        why = f"and what root starts and writes there would be root's, for {user} to have no say in"
    take = f"    or make it yours: chown -R {me()} {shlex.quote(str(directory))}" if me() == 0 else ""
    raise NotPermitted(f"{directory} belongs to {user}, {why}; as {user}: {as_user(owner, directory)}{take}", directory)


def _owner_of_empty(directory: Path) -> int | None:
    try:
        return os.stat(directory).st_uid
    except OSError:
        pass
    # `sudo dynazmq up` with the home of whoever typed it: the next one without sudo could not even make a directory there.
    behind = os.environ.get("SUDO_UID", "")
    nearest = next((found for place in directory.parents if (found := _stat(place)) is not None), None)
    return nearest.st_uid if nearest is not None and behind == str(nearest.st_uid) else None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def foreign_file(directory: Path) -> Path | None:
    """One in it that its user may not use, of those that its processes read and write: root, or another, was at work there."""
    try:
        nodes = [entry.path for entry in os.scandir(directory / "nodes") if entry.is_dir(follow_symlinks=False)]
    except OSError:
        nodes = []
    for place in (str(directory), *nodes):
        if (found := _stat(Path(place))) is not None and found.st_uid != me() and place != str(directory):
            return Path(place)
        try:
            for entry in os.scandir(place):
                if entry.is_file(follow_symlinks=False) and entry.name in _OURS and entry.stat().st_uid != me():
                    return Path(entry.path)
        except OSError:
            continue
    return None


def refused(path: Path, directory: Path | None = None) -> NotPermitted:
    """What to say of a file or directory that the system does not let this user at. directory: the cluster's."""
    seen = next((found for place in (path, *path.parents) if (found := _stat(place)) is not None), None)
    owner = me() if seen is None else seen.st_uid
    if owner == me():
        return NotPermitted(
            f"{path} may not be used, though it is {name_of(owner)}'s own: look at its mode with ls -ld", directory
        )
    text = f"{path} belongs to {name_of(owner)}, and {name_of(me())} may not use it"
    home = _stat(directory) if directory is not None else None
    if directory is not None and home is not None and home.st_uid == me():  # somebody has been at work in his directory
        return NotPermitted(f"{text}; have it given back: {give_back(directory)}", directory)
    return NotPermitted(f"{text}; as {name_of(owner)}: {as_user(owner, directory)}", directory)


def as_user(uid: int, directory: Path | None) -> str:
    """The command, to be typed as this user."""
    at = "" if directory is None else f" --dir {shlex.quote(str(directory))}"
    name = name_of(uid)
    if me() or shutil.which("sudo"):
        return f"sudo -u {shlex.quote(name)} dynazmq …{at}"
    if name.startswith("#"):  # root in a container: no sudo there, and no name
        return f"setpriv --reuid={uid} --clear-groups dynazmq …{at}"
    return f"runuser -u {shlex.quote(name)} -- dynazmq …{at}"


def give_back(directory: Path) -> str:
    """The command that makes all in it this user's."""
    sudo = "sudo " if me() else ""
    return f"{sudo}chown -R {me()} {shlex.quote(str(directory))}"
