"""A cluster's directory may have been copied: then two say of themselves that they are the same cluster.

One of them is: the one that runs, or that was started last where it is now (`ClusterFile.home`). The other is a copy, a cluster
that does not run. It would be one more if it were started, with members of the same names and the same id: a client that takes
one for the other would find half of what it wrote. So whoever starts a copy says what it is to be:

    new     a cluster of its own, with what was stored: another id, so that frames of the one mean nothing to the other, and
            another secret, so that contexts do not either. Both can run side by side
    same    the same cluster, in its new place: the original is given up, and may not run

A directory that was moved is no copy: there is no original any more.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dynazmq import paths
from dynazmq.cluster import processes
from dynazmq.cluster.directory import creation
from dynazmq.cluster.directory.orphans import anybody_runs
from dynazmq.cluster.operations import launch
from dynazmq.errors import ClusterError, InvalidRequest, StorageError
from dynazmq.paths import ClusterFile, where

IDENTITIES = ("new", "same")


def settle(directory: Path, identity: str | None, name: str | None) -> None:
    """Make what is to be started one cluster. identity: what was asked for; name: of a new one. For whoever holds its lock.

    Raises ClusterError for a copy of which nothing was said, InvalidRequest for what cannot be asked for.
    """
    if identity is not None and identity not in IDENTITIES:
        raise InvalidRequest(f"--identity is new or same, not {identity!r}")
    cluster = ClusterFile.load(directory)
    original = _original(cluster, directory)
    if original is None:
        if identity is not None:
            raise InvalidRequest(f"--identity is for a copy, and {directory} is none: its original is not there, or it is itself")
        return
    if processes.find_nodes(directory, cluster.members):
        return  # it was started as what it is
    _check_unlinked(directory, cluster)
    runs, at = anybody_runs(original, ClusterFile.load(original).members), where(directory)
    if identity == "new":
        _give_identity(directory, cluster, name)
    elif identity is None:
        raise ClusterError(
            f"{directory} is a copy of the cluster in {original}, which {'runs' if runs else 'is there still'}; as a cluster of "
            f"its own, beside the other: dynazmq up --identity new{at}    instead of the other, which may not run then: "
            f"dynazmq up --identity same{at}"
        )
    elif runs:
        raise ClusterError(
            f"the original in {original} runs, and both cannot be the same cluster; end it first: "
            f"dynazmq down{where(original)}    or run both: dynazmq up --identity new{at}"
        )


def _original(cluster: ClusterFile, directory: Path) -> Path | None:
    """Also one that was moved since the copy was made, if it runs or is one of those that are known."""
    if (home := cluster.original(directory)) is not None:
        return home
    for other in launch.known_clusters(directory):
        try:
            found = ClusterFile.load(other)
        except ClusterError:
            continue
        if found.cluster_id != cluster.cluster_id or other.samefile(directory):
            continue
        if cluster.home != str(directory) or anybody_runs(other, found.members):
            return other
    return None


def _check_unlinked(directory: Path, cluster: ClusterFile) -> None:
    """Whoever writes into a file that has another name elsewhere writes into both. Raises ClusterError."""
    for name in cluster.members:
        path = paths.node_dir(directory, name) / "data.db"
        try:
            linked = path.stat().st_nlink > 1
        except OSError:
            continue
        if linked:
            raise ClusterError(f"{path} is another cluster's file as well, by a hard link; copy the directory without links")


def _give_identity(directory: Path, cluster: ClusterFile, name: str | None) -> None:
    """cluster.json last: until then it is a copy, and this can be done anew. Raises ClusterError."""
    creation.check_name(name)
    new = replace(
        cluster,
        name=name or creation.name_of(directory),
        cluster_id=creation.new_id(),
        secret=creation.new_secret(),
        home=str(directory),
    )
    if new.transport == "tcp":
        ports = creation.free_ports(len(new.members))
        new.members = {member: f"tcp://127.0.0.1:{port}" for member, port in zip(new.members, ports, strict=True)}
    try:
        for member in new.members:
            _hand_over(paths.node_dir(directory, member), member, new)
            paths.save_node_config(paths.config_path(directory, member), creation.node_config(new, directory, member))
        new.save(directory)
    except OSError as error:
        raise ClusterError(f"cannot give {directory} an identity of its own: {error.strerror}") from None


def _hand_over(node_dir: Path, member: str, cluster: ClusterFile) -> None:
    """What the node has stored is the new cluster's. A database that cannot be read is the node's to complain of."""
    from dynazmq.storage.database import open_database  # late: it loads SQLite
    from dynazmq.storage.schema import change_owner, owner_of

    path = node_dir / "data.db"
    if not path.exists():
        return
    try:
        connection = open_database(path, "full")
    except StorageError:
        return
    try:
        change_owner(connection, owner_of(member, cluster.cluster_id))
    finally:
        connection.close()
