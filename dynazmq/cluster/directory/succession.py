"""Which cluster is in a directory, for who looks for long: it may be ended, and another one made in its place.

What was seen of the one is never to be taken for the other's: nodes have the same names, sockets the same paths.
"""

from __future__ import annotations

import os
from pathlib import Path

from dynazmq.errors import ClusterReplaced
from dynazmq.paths import ClusterFile


class Succession:
    """`cluster` is the one of the last look. Raises NoSuchCluster where there is none to begin with."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stamp = _stamp(directory)
        self.cluster = ClusterFile.load(directory)

    def look(self) -> bool:
        """Whether its file is a new one; while there is none, it is seen to its end.

        Raises ClusterReplaced, once, when it is that of another cluster: from then on that is the one.
        """
        stamp = _stamp(self._directory)
        if stamp in (self._stamp, None):
            return False
        before, cluster = self.cluster, ClusterFile.load(self._directory)
        self._stamp, self.cluster = stamp, cluster
        if cluster.cluster_id != before.cluster_id:
            raise ClusterReplaced(f"another cluster was made in {self._directory}: what was told before was of an earlier one")
        return True


def _stamp(directory: Path) -> tuple[int, int] | None:
    """Which cluster.json it is: it is only ever replaced whole. None: there is none."""
    try:
        found = os.stat(directory / "cluster.json")
        return found.st_ino, found.st_mtime_ns
    except OSError:
        return None
