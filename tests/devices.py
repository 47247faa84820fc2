"""Devices of a test's own: one that went wrong, run by root, would cost the machine its /dev/null."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

_MINOR = {"null": 3, "full": 7}


def device(name: str, directory: Path) -> Path:
    """One that does what /dev/NAME does; that itself where this user could not replace it. Skips where there is neither."""
    if os.geteuid() != 0:
        return Path("/dev") / name
    path = directory / name
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, _MINOR[name]))
        os.close(os.open(path, os.O_WRONLY))
    except OSError:
        pytest.skip("root may not make a device here (no CAP_MKNOD, or nodev), and a mistake would replace the machine's own")
    return path
