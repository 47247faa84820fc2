"""Where a user's files are: by HOME and the XDG base directory specification, and where there is no home.

https://specifications.freedesktop.org/basedir-spec/
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dynazmq.errors import InvalidRequest

_VAR_TMP = Path("/var/tmp")
_SAY_WHERE = "set HOME or XDG_STATE_HOME to an absolute path, or say where with --dir"


def state_dir() -> Path:
    """Of all clusters of whom nobody says where they are. Raises InvalidRequest."""
    if is_homeless():
        return _instead_of_home()
    import platformdirs

    return platformdirs.user_state_path("dynazmq", appauthor=False)


def is_homeless() -> bool:
    """Nobody says where this user's files are, and the system knows of no directory: in a container, say, under a bare number."""
    if any(os.path.isabs(os.environ.get(name, "")) for name in ("HOME", "XDG_STATE_HOME")):
        return False
    known = _known_home()
    return known is None or not known.is_dir()


def _instead_of_home() -> Path:
    """It outlives a reboot, and anybody may make something there: what is not ours is not believed. Raises InvalidRequest."""
    place = _VAR_TMP / f"dynazmq-{os.getuid()}"
    try:
        found = place.lstat()
        usable = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    except FileNotFoundError:
        usable = os.access(_VAR_TMP, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    if not usable:
        raise InvalidRequest(f"{_no_home()}, and {place} cannot be used instead: {_SAY_WHERE}")
    return place


def base_dir(variable: str, below_home: str) -> Path:
    """One of the XDG directories: as the variable says, unless it is relative, which its specification says to ignore."""
    said = Path(os.environ.get(variable, ""))
    return said if said.is_absolute() else home() / below_home


def home() -> Path:
    """HOME, else what the system knows of this user. A relative one would be elsewhere in each directory.

    Raises InvalidRequest.
    """
    said = Path(os.environ.get("HOME", ""))
    found = said if said.is_absolute() else _known_home()
    if found is None:
        raise InvalidRequest(f"{_no_home()}: {_SAY_WHERE}")
    return found


def _known_home() -> Path | None:
    import pwd

    try:
        known = Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None
    return known if known.is_absolute() else None


def _no_home() -> str:
    return f"no home directory is known of user {os.getuid()}"


def expanded(directory: Path) -> Path:
    try:
        return directory.expanduser()
    except RuntimeError:
        raise InvalidRequest(f"{directory}: whose home directory that is is not known; write it out") from None
