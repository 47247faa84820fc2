"""What is wrong, or may become so, with a cluster and with the machine below it: the rules of `doctor`.

    machine      versions, directories, socket paths, file limit, disk
    cluster      its files: readable, private, durable
    members      who is away, with what waiting; clocks, versions, damage, faults that were left on, changes that wait
    leftovers    of clusters that do not run: sockets without a process, processes without a cluster

Each rule is a function from what was found to findings; `examine` finds it. A problem is what needs somebody now, a warning what
somebody should know. Nothing here changes anything: `repair` does, and only what cannot be missed by anyone.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dynazmq import paths, users
from dynazmq.cluster import processes
from dynazmq.cluster.directory import rebuild, removal
from dynazmq.cluster.directory.orphans import silent_supervisor
from dynazmq.cluster.directory.staging import Staged
from dynazmq.cluster.directory.state import StateFile
from dynazmq.cluster.observe import node_health
from dynazmq.cluster.observe.node_health import Facts
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import NodeView, Snapshot
from dynazmq.cluster.operations import launch
from dynazmq.errors import ClusterError, NoSuchCluster
from dynazmq.paths import ClusterFile
from dynazmq.storage.health import read_only

OK, WARNING, PROBLEM = "ok", "warning", "problem"

PYTHON_MIN = (3, 11)
SQLITE_MIN = (3, 35)
"""UPSERT, row values, WITHOUT ROWID, and the log in the state in which it is relied upon."""

DISK_PROBLEM_BYTES, DISK_WARNING_BYTES = 256 << 20, 2 << 30
"""A node stops to write when its disk is full; its database, its log and a checkpoint want some room before."""

FILES_PER_NODE, FILES_MIN = 24, 256
"""A node holds a socket to and one from each peer, two for each client, and a few files."""

CLOCKS_WARNING_S = 0.5
"""Clocks decide nothing but in lww buckets; people compare what they say."""

PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: str
    check: str  # a word for programs
    text: str
    fix: str = ""  # the command to type
    repair: tuple[str, ...] = ()  # what `repair` can do about it: its name and arguments


# --- the machine ----------------------------------------------------------------------------------------------------------


def versions() -> Iterator[Finding]:
    from importlib import metadata

    import zmq

    python = ".".join(map(str, sys.version_info[:3]))
    parts = f"Python {python}, pyzmq {metadata.version('pyzmq')} (libzmq {zmq.zmq_version()}), SQLite {sqlite3.sqlite_version}"
    yield Finding(level=OK, check="versions", text=parts)
    if sys.version_info[:2] < PYTHON_MIN:
        yield Finding(level=PROBLEM, check="versions", text=f"Python {python} is older than {'.'.join(map(str, PYTHON_MIN))}")
    if sqlite3.sqlite_version_info[:2] < SQLITE_MIN:
        least = ".".join(map(str, SQLITE_MIN))
        yield Finding(level=PROBLEM, check="versions", text=f"SQLite {sqlite3.sqlite_version} is older than {least}")


def sockets(directory: Path, names: Sequence[str]) -> Iterator[Finding]:
    """Where they are, whether they can be made there, and how long the longest path is."""
    run = paths.runtime_dir(directory)
    longest = max((len(os.fsencode(run / f"{name}.sock")) for name in (*names, "supervisor")), default=0)
    place = _existing(run)
    told = f"longest socket path {longest} of {paths.SOCKET_PATH_BYTES_MAX} bytes"
    if not os.access(place, os.W_OK | os.X_OK):
        yield Finding(level=PROBLEM, check="runtime-directory", text=f"{place} cannot be written: no socket can be made in {run}")
    else:
        yield Finding(level=OK, check="runtime-directory", text=f"runtime directory writable, {told}")


def file_limit(hard: int, nodes: int) -> Iterator[Finding]:
    """hard: RLIMIT_NOFILE, which nodes take for their soft one; -1 is none."""
    wanted = max(FILES_MIN, FILES_PER_NODE + 4 * nodes)
    if 0 <= hard < wanted:
        text = f"file limit {hard:,}: {nodes} nodes and their clients want {wanted:,}"
        yield Finding(level=WARNING, check="file-limit", text=text, fix=f"ulimit -n {wanted}")
    else:
        yield Finding(level=OK, check="file-limit", text=f"file limit {'none' if hard < 0 else f'{hard:,}'}")


def disk(directory: Path, free_bytes: int, total_bytes: int, *, closed: bool = False) -> Iterator[Finding]:
    text = f"free disk {_size(free_bytes)} of {_size(total_bytes)}"
    if closed:
        text = f"{directory} is on a file system that is read-only: nothing can be stored, and no node can be started"
        yield Finding(level=PROBLEM, check="disk", text=text)
    elif free_bytes < DISK_PROBLEM_BYTES:
        yield Finding(level=PROBLEM, check="disk", text=f"{text} at {directory}: nodes stop to write when it is full")
    elif free_bytes < DISK_WARNING_BYTES:
        yield Finding(level=WARNING, check="disk", text=f"{text} at {directory}")
    else:
        yield Finding(level=OK, check="disk", text=text)


# --- a cluster's files ----------------------------------------------------------------------------------------------------


def files(directory: Path, cluster: ClusterFile, at: str) -> Iterator[Finding]:
    for path in (directory / "cluster.json", *(paths.config_path(directory, name) for name in cluster.members)):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            yield Finding(level=PROBLEM, check="files", text=f"{path} is missing", fix=f"dynazmq up{at}    writes it anew")
            continue
        if mode & 0o077:
            text = f"{path} can be read by others, and it holds the cluster's secret"
            yield Finding(level=WARNING, check="files", text=text, fix="dynazmq doctor --fix" + at, repair=("chmod", str(path)))
    if cluster.sync != "full":
        yield Finding(
            level=WARNING, check="durability", text="durability is relaxed: a power cut may lose the last writes of a node"
        )
    if cluster.anti_entropy == "off":
        text = "anti-entropy is off: replicas that differ stay so until they are read"
        yield Finding(level=WARNING, check="anti-entropy", text=text, fix=f"dynazmq down{at} && dynazmq up --anti-entropy on{at}")


def foreign(directory: Path) -> Iterator[Finding]:
    """What another user has started or left there: this one could not end it, or not read it."""
    owner = users.owner_of(directory)
    if owner != users.me():  # all of it is another's
        return
    if others := processes.of_others(directory):
        text = f"processes of another user serve {directory}: {processes.named(others)}"
        yield Finding(level=PROBLEM, check="owner", text=text, fix=processes.mend_others(directory, others))
    elif (path := users.foreign_file(directory)) is not None:
        yield Finding(level=PROBLEM, check="owner", text=f"{path} is another user's", fix=users.give_back(directory))


def staged(directory: Path, at: str) -> Iterator[Finding]:
    changes = Staged.load(directory).changes
    if changes:
        count = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
        text = f"{count} of the members staged and not committed"
        yield Finding(level=WARNING, check="members", text=text, fix=f"dynazmq cluster plan{at}    or cluster clear")


# --- its members ----------------------------------------------------------------------------------------------------------


def away(snapshot: Snapshot, facts: Facts, at: str) -> Iterator[Finding]:
    """Nodes that do not serve, with what waits for them."""
    if not any(node.pid for node in snapshot.nodes):
        yield Finding(level=OK, check="nodes", text=f"{snapshot.name} is not running; start it with: dynazmq up{at}")
        return
    waiting = node_health.hints_by_target(snapshot)
    unseen = [node for node in snapshot.nodes if node.state == "suspect" and node.answers]
    if unseen:  # what is wrong is between them
        names = " ".join(node.name for node in unseen)
        text = f"{names} {'answers' if len(unseen) == 1 else 'answer'} and cannot be reached by all peers"
        fix = f"dynazmq fault heal{at}" if snapshot.faults else f"dynazmq logs {unseen[0].name}{at}"
        yield Finding(level=PROBLEM, check="nodes", text=f"{text} for {_span(max(node.since_s for node in unseen))}", fix=fix)
    for node in snapshot.nodes:
        if node.state in node_health.SERVES or node.state == "starting" or node in unseen:
            continue
        hints = f" with {_many(waiting[node.name], 'hint')} waiting" if waiting.get(node.name) else ""
        reason = fact.reason if (fact := facts.nodes.get(node.name)) else ""
        why = f": {reason}" if reason and node.state == "down" else ""
        text = f"{node.name} {node.state} for {_span(node.since_s)}{hints}{why}"
        yield Finding(level=PROBLEM, check="nodes", text=text, fix=_mend(node, at))
    unable = node_health.unable_to_store(snapshot)
    for node in unable:
        fix = f"dynazmq heal{at}" if node.faults else f"dynazmq logs {node.name}{at}"
        yield Finding(level=PROBLEM, check="storage", text=f"{node.name} cannot store: {node.cannot_store}", fix=fix)
    if not node_health.quorum_met(snapshot):
        live = sum(node.answers for node in snapshot.nodes)
        left = f"{_many(live - len(unable), 'node')} can store" if unable else f"{_many(live, 'node')} left"
        yield Finding(level=PROBLEM, check="quorum", text=f"no key meets R={snapshot.r} and W={snapshot.w}: {left}")
    elif all(node.state in node_health.SERVES for node in snapshot.nodes) and not unable:
        yield Finding(level=OK, check="nodes", text=f"{_many(len(snapshot.nodes), 'node')} up, every key meets its quorum")
    if snapshot.supervisor_pid is None and not processes.of_others(Path(snapshot.directory)):  # which `foreign` tells
        text, fix = silent_supervisor(Path(snapshot.directory), at)
        yield Finding(level=PROBLEM, check="supervisor", text=text, fix=fix)


def _mend(node: NodeView, at: str) -> str:
    if node.state == "paused":
        return f"dynazmq node resume {node.name}{at}"
    if node.restart_in_s is not None:
        return f"it is started again in {_span(node.restart_in_s)}"
    if node.state == "suspect":
        return f"dynazmq logs {node.name}{at}"
    return f"dynazmq node start {node.name}{at}"


def clocks(snapshot: Snapshot) -> Iterator[Finding]:
    """All were asked at once. What they answered is as old as the slowest of them is slow, so this is no measuring instrument."""
    shown = {node.name: node.wall_ms / 1000 for node in snapshot.nodes if node.wall_ms}
    if len(shown) < 2:
        return  # nothing to compare: say nothing rather than that all is well
    first, last = min(shown, key=lambda name: shown[name]), max(shown, key=lambda name: shown[name])
    apart = shown[last] - shown[first]
    if apart > CLOCKS_WARNING_S:
        text = f"clocks differ: {last} is {_span(apart)} ahead of {first}; in lww buckets the wrong write may win"
        yield Finding(level=WARNING, check="clocks", text=text)
    else:
        yield Finding(level=OK, check="clocks", text=f"clocks agree within {max(1, round(apart * 1000))} ms")


def damage(snapshot: Snapshot, at: str) -> Iterator[Finding]:
    for node in snapshot.nodes:
        if found := node.counters.get("rows_damaged", 0):
            text = f"{node.name} found {_many(found, 'damaged row')} since its start; its peers mend them"
            yield Finding(level=WARNING, check="damage", text=text, fix=f"dynazmq verify --deep{at}")
        if failed := node.counters.get("store_failures", 0):
            text = f"{node.name} failed to store or read {_many(failed, 'time')} since its start"
            yield Finding(level=WARNING, check="damage", text=text, fix=f"dynazmq logs {node.name}{at}")


def old_disks(snapshot: Snapshot, at: str) -> Iterator[Finding]:
    for node in snapshot.nodes:
        if node.old_disk:
            fix = f"dynazmq node stop {node.name}{at} && dynazmq node start {node.name} --rebuild{at}"
            yield Finding(level=PROBLEM, check="old-disk", text=f"{node.name} serves nobody: {node.old_disk}", fix=fix)


def set_aside(directory: Path, names: Sequence[str]) -> Iterator[Finding]:
    """Databases that nobody serves any more, and that may hold what nobody else has."""
    for name in names:
        for copy in rebuild.copies(paths.node_dir(directory, name)):
            text = f"{name} was rebuilt, and what it held before is kept in {copy}"
            yield Finding(level=WARNING, check="set-aside", text=text, fix=f"rm -r {copy}    when nothing of it is missed")


def protocols(snapshot: Snapshot, ours: int, at: str) -> Iterator[Finding]:
    for node in snapshot.nodes:
        if node.protocol is not None:
            text = f"{node.name} speaks protocol {node.protocol}, this program {ours}"
            yield Finding(level=PROBLEM, check="protocol", text=text, fix=f"dynazmq cluster restart{at}")


def comparing(snapshot: Snapshot, at: str) -> Iterator[Finding]:
    if held := node_health.not_comparing(snapshot)["paused"]:
        text = f"anti-entropy is paused on {' '.join(held)}: replicas are not compared"
        yield Finding(level=WARNING, check="anti-entropy", text=text, fix=f"dynazmq aae resume{at}")
    if not snapshot.ring_agreed and any(node.answers for node in snapshot.nodes) and not node_health.changing(snapshot):
        text = "nodes have different rings"
        yield Finding(level=WARNING, check="ring", text=text, fix=f"dynazmq cluster wait --for converged{at}")


def change(snapshot: Snapshot, at: str) -> Iterator[Finding]:
    """A change of the members that somebody holds up."""
    states = {node.name: node.state for node in snapshot.nodes}
    for name in snapshot.waiting_for:
        state = states.get(name, "unknown")
        if state not in node_health.SERVES:
            fix = f"dynazmq node start {name}{at}    or cluster remove {name} --force --now"
            yield Finding(level=PROBLEM, check="members", text=f"a change of the members waits for {name} ({state})", fix=fix)


def faults(directory: Path, at: str) -> Iterator[Finding]:
    """Faults that somebody put on, and nobody took off."""
    try:
        module: Any = import_module("dynazmq.cluster.directory.faults")
    except ModuleNotFoundError:
        return
    for fault in module.load(directory):
        if fault.until is None:
            text = f"fault {fault.id} is on: {module.describe(fault)}"
            yield Finding(level=WARNING, check="faults", text=text, fix=f"dynazmq fault heal {fault.id}{at}")


# --- leftovers ------------------------------------------------------------------------------------------------------------


def stale(directory: Path, cluster: ClusterFile) -> Iterator[Finding]:
    """Of one that does not run: sockets that nobody listens on."""
    before = StateFile.load(directory)
    supervised = before.supervisor is not None and processes.works_in(before.supervisor, directory)
    if supervised or processes.find_nodes(directory, cluster.members):
        return
    run = paths.runtime_dir(directory)
    left = [path for path in _entries(run) if path.is_socket()]
    if left:
        text = f'a cluster "{cluster.name}" left {_many(len(left), "socket")} and no process: {run}'
        fix = "dynazmq doctor --fix"
        yield Finding(level=WARNING, check="leftovers", text=text, fix=fix, repair=("sockets", str(directory)))


def orphans() -> Iterator[Finding]:
    """Processes of clusters whose directory is gone, also where they see it: a container's is not ours to judge."""
    for directory in sorted(set(processes.running_clusters())):
        if launch.may_be_one(directory):
            continue
        left = {**processes.supervisors(directory), **processes.strangers(directory)}
        if left and not any(_sees(identity.pid, directory / "cluster.json") for identity in left.values()):
            names = " ".join(sorted(left))
            text = f"{names} {'runs' if len(left) == 1 else 'run'} for a cluster that is not there any more: {directory}"
            fix = "dynazmq doctor --fix"
            yield Finding(level=PROBLEM, check="leftovers", text=text, fix=fix, repair=("processes", str(directory)))


def _sees(pid: int, path: Path) -> bool:
    """Whether the file is there for this process, whose root may be another one. Where that cannot be looked at, it may be."""
    root = Path(f"/proc/{pid}/root")
    try:
        os.listdir(root)
        return (root / path.relative_to("/")).exists()
    except FileNotFoundError:
        return False  # it has ended, or this system does not tell
    except OSError:
        return True


# --- all of it ------------------------------------------------------------------------------------------------------------


def examine(directory: Path, at: str) -> list[Finding]:
    """Everything, of this cluster and of the machine. at: what names the directory in a command."""
    found = [*versions()]
    cluster: ClusterFile | None = None
    trouble: list[Finding] = []
    try:
        cluster = ClusterFile.load(directory)
    except NoSuchCluster:
        if paths.is_missed(directory):
            text, back = f"the chosen cluster is gone: there is none in {directory}", "dynazmq cluster use --default"
            trouble.append(Finding(level=PROBLEM, check="cluster", text=text, fix=back))
        else:
            trouble.append(Finding(level=OK, check="cluster", text=f"no cluster in {directory}"))
    except ClusterError as error:
        trouble.append(Finding(level=PROBLEM, check="cluster", text=str(error)))
    found += foreign(directory)
    names = list(cluster.members) if cluster else []
    found += sockets(directory, names)
    found += file_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1], len(names))
    room = os.statvfs(_existing(directory))
    closed = read_only(_existing(directory))
    found += disk(directory, room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize, closed=closed)
    found += trouble
    if cluster is not None:
        found += _of_cluster(directory, cluster, at)
    for place in launch.known_clusters(directory):
        try:
            found += stale(place, ClusterFile.load(place))
        except ClusterError as error:
            if place != directory:
                found.append(Finding(level=WARNING, check="leftovers", text=str(error)))
    return [*found, *orphans()]


def _of_cluster(directory: Path, cluster: ClusterFile, at: str) -> Iterator[Finding]:
    from dynazmq.wire.codec import PROTOCOL_VERSION

    with Observer(directory) as observer:
        snapshot = observer.look(PATIENCE_S, facts_timeout=PATIENT_S)
        facts = observer.last_facts
    yield from clocks(snapshot)
    yield from away(snapshot, facts, at)
    yield from change(snapshot, at)
    yield from protocols(snapshot, PROTOCOL_VERSION, at)
    yield from comparing(snapshot, at)
    yield from damage(snapshot, at)
    yield from old_disks(snapshot, at)
    yield from set_aside(directory, list(cluster.members))
    yield from faults(directory, at)
    yield from files(directory, cluster, at)
    try:
        yield from staged(directory, at)
    except ClusterError as error:
        yield Finding(level=WARNING, check="members", text=str(error), fix=f"dynazmq cluster clear{at}")


def repair(finding: Finding) -> str:
    """Do what can be done about it without losing anything; what was done. Raises ClusterError, OSError."""
    match finding.repair:
        case ("chmod", file):
            os.chmod(file, 0o600)
            return f"{file} is private now"
        case ("sockets", place):
            directory = Path(place)
            held = launch.lock(directory)
            if held is None:
                raise ClusterError("somebody starts that cluster just now")
            try:
                removal.remove_sockets(directory)
            finally:
                os.close(held)
            return f"removed the sockets in {paths.runtime_dir(directory)}"
        case ("processes", place):
            ended = processes.end_all(processes.supervisors(Path(place)))  # first: it would start its nodes again
            ended |= processes.end_all(processes.strangers(Path(place)))
            return f"ended {' '.join(sorted(ended))}"
    raise ClusterError("nothing can be done about it here")


def _existing(path: Path) -> Path:
    """The nearest directory above that is there."""
    while not os.path.exists(path) and path != path.parent:  # which it also says of what may not be seen
        path = path.parent
    return path


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _span(seconds: float) -> str:
    for unit, width in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= 2 * width:
            return f"{seconds / width:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("MiB", "GiB"):
        value /= 1024 if unit == "GiB" else 1 << 20
        if value < 1024:
            break
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
