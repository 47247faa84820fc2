"""Making a cluster's directory: identity, settings and one configuration file for each node; and opening one that is there."""

from __future__ import annotations

import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from dynazmq import durable, paths
from dynazmq.cluster.directory.ground import TRIAL_PREFIX
from dynazmq.config import MEMBERS_MAX, PARTITIONS_MAX, PARTITIONS_MIN, NodeConfig, Timing
from dynazmq.errors import ClusterError, InvalidRequest
from dynazmq.paths import ClusterFile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_OURS = {".cluster.json.part", "nodes", "run", "supervisor.lock", "supervisor.log", "supervisor.log.1", "supervisor.json"}
"""What may be in a directory whose cluster.json was never written: it is written last."""

NODES, REPLICAS, PARTITIONS, SYNC, TRANSPORT = 5, 3, 120, "full", "ipc"


@dataclass(slots=True, kw_only=True)
class Wishes:
    """What was asked for; None: nothing was said."""

    nodes: int | None = None
    name: str | None = None
    replicas: int | None = None
    read_quorum: int | None = None
    write_quorum: int | None = None
    partitions: int | None = None
    sync: str | None = None
    transport: str | None = None
    anti_entropy: str | None = None
    """on | off. The one wish that may change: it holds from the nodes' next start on."""


def create(directory: Path, wishes: Wishes) -> ClusterFile:
    """Make a new cluster. For whoever holds its lock. Raises InvalidRequest when the wishes do not fit together."""
    check(directory, wishes)
    cluster = _planned(directory, wishes)
    run = paths.runtime_dir(directory)
    paths.make_private(run)
    names = [f"n{index + 1}" for index in range(wishes.nodes or NODES)]
    if cluster.transport == "ipc":
        cluster.members = {name: paths.ipc_endpoint(directory, name) for name in names}
    else:
        cluster.members = {name: f"tcp://127.0.0.1:{port}" for name, port in zip(names, free_ports(len(names)), strict=True)}
    cluster.founders = names
    cluster.home = str(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names:
            paths.node_dir(directory, name).mkdir(mode=0o700, parents=True, exist_ok=True)
            paths.save_node_config(paths.config_path(directory, name), node_config(cluster, directory, name))
        durable.sync_directory(directory / "nodes")
        cluster.save(directory)
    except OSError as error:
        raise ClusterError(f"cannot create a cluster in {directory}: {error.strerror}") from None
    return cluster


def reopen(directory: Path, wishes: Wishes) -> ClusterFile:
    """A cluster that exists: what was asked for must be what it is. Its files are brought up to where it lies now."""
    cluster = ClusterFile.load(directory)
    agree(cluster, wishes)
    _check_anti_entropy(wishes)
    paths.make_private(paths.runtime_dir(directory))
    if cluster.home != str(directory):  # it was moved
        cluster.home = str(directory)
        cluster.save(directory)
    if wishes.anti_entropy not in (None, cluster.anti_entropy):
        cluster.anti_entropy = str(wishes.anti_entropy)
        cluster.save(directory)
    refresh(cluster, directory)
    return cluster


def agree(cluster: ClusterFile, wishes: Wishes, *, new_identity: bool = False) -> None:
    """Raises InvalidRequest naming both values when something else was asked for than what the cluster is.

    new_identity: its name may be another, which it is to have from now on.
    """
    compared: list[tuple[str, object, object]] = [
        ("-n", wishes.nodes, len(cluster.members)),
        ("--name", None if new_identity else wishes.name, cluster.name),
        ("--replicas", wishes.replicas, cluster.n),
        ("--read-quorum", wishes.read_quorum, cluster.r),
        ("--write-quorum", wishes.write_quorum, cluster.w),
        ("--partitions", wishes.partitions, cluster.partitions),
        ("--sync", wishes.sync, cluster.sync),
        ("--transport", wishes.transport, cluster.transport),
    ]
    different = [f"{option} is {is_} and not {asked}" for option, asked, is_ in compared if asked is not None and asked != is_]
    if different:
        raise InvalidRequest(
            f"the cluster {cluster.name} exists already: {', '.join(different)}; "
            "leave the option out, or choose another place with --dir"
        )


def node_config(cluster: ClusterFile, directory: Path, name: str) -> NodeConfig:
    return NodeConfig(
        name=name,
        cluster=cluster.name,
        cluster_id=cluster.cluster_id,
        secret=cluster.secret,
        data_dir=str(paths.node_dir(directory, name)),
        endpoint=cluster.members[name],
        members=dict(cluster.members),
        founders=list(cluster.founders),
        partitions=cluster.partitions,
        n=cluster.n,
        r=cluster.r,
        w=cluster.w,
        sync=cluster.sync,
        max_value_bytes=cluster.max_value_bytes,
        timing=Timing() if cluster.anti_entropy == "on" else Timing(anti_entropy_interval_ms=0),
    )


def refresh(cluster: ClusterFile, directory: Path) -> None:
    """Bring the nodes' configurations up to who belongs to the cluster and where it lies: they read them when they start."""
    for name in cluster.members:
        _refresh(cluster, directory, name)


def _refresh(cluster: ClusterFile, directory: Path, name: str) -> None:
    """Write a node's configuration where it is missing, another node's or not up to date; else what somebody changed in it stays.

    Raises ClusterError when it is that of a node of another cluster.
    """
    path, wanted = paths.config_path(directory, name), node_config(cluster, directory, name)
    if path.exists() and (found := _own_config(path, cluster, directory)).name == name:
        interval = wanted.timing.anti_entropy_interval_ms
        switched = bool(found.timing.anti_entropy_interval_ms) != bool(interval)
        if _place(found) == _place(wanted) and not switched:
            return
        found.data_dir, found.endpoint, found.members, found.founders = _place(wanted)
        if switched:
            found.timing.anti_entropy_interval_ms = interval
        wanted = found
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.save_node_config(path, wanted)


def _own_config(path: Path, cluster: ClusterFile, directory: Path) -> NodeConfig:
    """Raises ClusterError. It may be that cluster.json is another cluster's: what does not fit is left to a person."""
    found = paths.load_node_config(path)
    for what in ("cluster_id", "secret", "partitions"):
        if getattr(found, what) != getattr(cluster, what):
            raise ClusterError(
                f"{directory / 'cluster.json'} and {path} differ in {what}, one of them is of another cluster; put back the one "
                "that belongs here, or remove the latter: it is made anew"
            )
    return found


def _place(config: NodeConfig) -> tuple[str, str, dict[str, str], list[str]]:
    return config.data_dir, config.endpoint, config.members, config.founders


def check(directory: Path, wishes: Wishes) -> None:
    """Changes nothing. Raises InvalidRequest when a new cluster cannot be what was asked for, ClusterError when not there."""
    nodes = NODES if wishes.nodes is None else wishes.nodes
    if not 1 <= nodes <= MEMBERS_MAX:
        raise InvalidRequest(f"-n is 1 to {MEMBERS_MAX} nodes, not {nodes}")
    replicas = _replicas(wishes)
    if not 1 <= replicas <= nodes:
        raise InvalidRequest(f"--replicas is 1 to {nodes}, the number of nodes, not {replicas}")
    for option, value in (("--read-quorum", wishes.read_quorum), ("--write-quorum", wishes.write_quorum)):
        if value is not None and not 1 <= value <= replicas:
            raise InvalidRequest(f"{option} is 1 to {replicas}, the number of replicas, not {value}")
    if wishes.partitions is not None and not PARTITIONS_MIN <= wishes.partitions <= PARTITIONS_MAX:
        raise InvalidRequest(f"--partitions is {PARTITIONS_MIN} to {PARTITIONS_MAX}, not {wishes.partitions}")
    if (wishes.partitions or PARTITIONS) < nodes:
        raise InvalidRequest(f"each node owns a partition at least: --partitions is {nodes} or more for {nodes} nodes")
    if wishes.sync not in (None, "full", "normal"):
        raise InvalidRequest(f"--sync is full or normal, not {wishes.sync!r}")
    if wishes.transport not in (None, "ipc", "tcp"):
        raise InvalidRequest(f"--transport is ipc or tcp, not {wishes.transport!r}")
    _check_anti_entropy(wishes)
    check_name(wishes.name)
    try:
        strangers = sorted(entry.name for entry in directory.iterdir() if not _is_ours(entry.name))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ClusterError(f"cannot use {directory}: {error.strerror}") from None
    if strangers:
        raise ClusterError(f"{directory} holds other things ({strangers[0]}) and no cluster; choose an empty directory for one")


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith(TRIAL_PREFIX)  # somebody else may be starting it just now


def check_name(name: str | None) -> None:
    """A cluster's. Raises InvalidRequest."""
    if name is not None and not _NAME.fullmatch(name):
        raise InvalidRequest(f"--name is 1 to 64 letters, digits and _.-, beginning with a letter or digit, not {name!r}")


def name_of(directory: Path) -> str:
    """What a cluster is called that was given no name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", directory.name)[:64] or "default"


def new_id() -> int:
    return secrets.randbits(63) | 1  # 0 means "not known yet" in a frame


def new_secret() -> bytes:
    return secrets.token_bytes(32)


def _check_anti_entropy(wishes: Wishes) -> None:
    if wishes.anti_entropy not in (None, "on", "off"):
        raise InvalidRequest(f"--anti-entropy is on or off, not {wishes.anti_entropy!r}")


def _planned(directory: Path, wishes: Wishes) -> ClusterFile:
    replicas = _replicas(wishes)
    majority = replicas // 2 + 1
    return ClusterFile(
        name=wishes.name or name_of(directory),
        cluster_id=new_id(),
        secret=new_secret(),
        partitions=wishes.partitions or PARTITIONS,
        n=replicas,
        r=wishes.read_quorum or majority,
        w=wishes.write_quorum or majority,
        sync=wishes.sync or SYNC,
        transport=wishes.transport or TRANSPORT,
        anti_entropy=wishes.anti_entropy or "on",
    )


def _replicas(wishes: Wishes) -> int:
    if wishes.replicas is not None:
        return wishes.replicas
    return min(REPLICAS, NODES if wishes.nodes is None else wishes.nodes)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; all are held until all are found, so that they differ."""
    held = []
    try:
        for _ in range(count):
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(probe)
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in held]
    finally:
        for probe in held:
            probe.close()
