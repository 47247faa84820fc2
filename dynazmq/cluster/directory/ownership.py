"""Whether all of a cluster is one user's: its directory, the files in it, and the processes that serve it.

Asked by whatever is about to start, end or change anything, before it does. What only looks does not ask.
"""

from __future__ import annotations

from pathlib import Path

from dynazmq import users
from dynazmq.cluster import processes
from dynazmq.errors import NotPermitted


def check_own(directory: Path) -> None:
    """For who acts: the cluster is this user's, with all its files and processes. Raises NotPermitted."""
    users.check_own(directory)
    if others := processes.of_others(directory):
        raise NotPermitted(
            f"{directory} is served by processes of another user: {processes.named(others)}; "
            f"to end them, and have its files given back: {processes.mend_others(directory, others)}",
            directory,
        )
    if (path := users.foreign_file(directory)) is not None:
        raise users.refused(path, directory)
