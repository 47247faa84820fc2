"""`cluster list`, `cluster use`, `cluster endpoints`, and the way into the benchmark."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dynazmq import paths
from dynazmq.cli import OK
from dynazmq.cli.terminal import emit, note, say
from dynazmq.cli.words import brief, many, seconds, size_bytes
from dynazmq.cluster.directory.orphans import anybody_runs
from dynazmq.errors import ClusterError, InvalidRequest, NoSuchCluster, ValueTooLarge
from dynazmq.paths import ClusterFile, where
from dynazmq.users import name_of


def run_list(directory: Path, as_json: bool) -> int:
    """`directory`: the one that other commands would act on; it is listed wherever it is."""
    from dynazmq.cluster.directory.state import StateFile
    from dynazmq.cluster.operations import launch
    from dynazmq.cluster.processes import find_nodes, of_others, works_in

    found: list[dict[str, Any]] = []
    meant = paths.cluster_dir().resolve()
    for place in launch.known_clusters(directory):
        current = place.resolve() == meant
        try:
            cluster = ClusterFile.load(place)
        except ClusterError as error:
            found.append({"name": place.name, "dir": str(place), "current": current, "error": str(error)})
            continue
        before = StateFile.load(place)
        supervised = before.supervisor is not None and works_in(before.supervisor, place)
        running = len(find_nodes(place, cluster.members))
        found.append(
            {
                "name": cluster.name,
                "dir": str(place),
                "current": current,
                "nodes": len(cluster.members),
                "running": running,
                "supervisor_pid": before.supervisor.pid if supervised and before.supervisor else None,
            }
        )
    listed = {each["dir"] for each in found}
    others = [each for each in of_others() if str(each.directory) not in listed]
    if as_json:
        elsewhere = [{"dir": str(each.directory), "user": name_of(each.uid), "supervisor_pid": each.pid} for each in others]
        emit("list", {"clusters": found, "of_others": elsewhere})
        return OK
    for each in found:
        mark = "*" if each["current"] else " "
        if "error" in each:
            say(f"{each['name']:<12} {mark} {each['error']}")
            continue
        state = f"{each['running']}/{each['nodes']} running" if each["running"] else f"stopped, {many(each['nodes'], 'node')}"
        theirs = of_others(Path(each["dir"])) if each["running"] else []
        orphan = "  no supervisor" if each["running"] and each["supervisor_pid"] is None else ""
        orphan = f"  {name_of(theirs[0].uid)} runs it (pid {theirs[0].pid})" if theirs else orphan
        say(f"{each['name']:<12} {mark} {state + orphan:<28}  {each['dir']}")
    for other in others:
        note(f"{name_of(other.uid)} runs {other.directory} (supervisor pid {other.pid})")
    if not found:
        note("no cluster; start one with: dynazmq up -n 5")
    elif not any(each["current"] for each in found):
        chosen = os.environ.get("DYNAZMQ_DIR") or paths.chosen()
        note(paths.none_in(paths.cluster_dir()) if chosen else "no default one; choose with: dynazmq cluster use NAME")
    elif len(found) > 1:
        note("* where commands act that are not told which")
    return OK


def run_use(name: str | None, directory: Path | None, *, default: bool, as_json: bool) -> int:
    """Choose the cluster that is meant where nothing is said, or tell which one it is."""
    if sum((name is not None, directory is not None, default)) > 1:
        raise InvalidRequest("which one? a name, --dir or --default: choose one")
    if default:
        _choose(None)
    elif name is not None:
        _choose(_named(name))
    elif directory is not None:
        ClusterFile.load(place := paths.cluster_dir(directory))
        _choose(place)
    place = paths.cluster_dir()
    by = "DYNAZMQ_DIR" if os.environ.get("DYNAZMQ_DIR") else "default" if paths.chosen() is None else "chosen"
    if by == "DYNAZMQ_DIR" and (default or name is not None or directory is not None):
        note("DYNAZMQ_DIR is set, and goes before what was chosen now    unset DYNAZMQ_DIR")
    missing = default and not paths.has_cluster(place)  # to go back is right, even to where nothing is yet
    called = place.name if missing else ClusterFile.load(place).name
    if as_json:
        emit("use", {"name": called, "dir": str(place), "by": by})
    else:
        say(f"{called}    {place}")
        note({"DYNAZMQ_DIR": "by DYNAZMQ_DIR", "chosen": "chosen with `cluster use`", "default": "the default"}[by])
    if missing:
        note("there is no cluster yet; start one with: dynazmq up -n 5")
    return OK


def _choose(place: Path | None) -> None:
    """The default one needs no choice to be meant."""
    paths.choose(None if place == paths.cluster_dir(name="default") else place)


def _named(name: str) -> Path:
    """Where the known cluster of that name is. Raises NoSuchCluster, InvalidRequest when there are several."""
    from dynazmq.cluster.operations import launch

    known: dict[str, list[Path]] = {}
    for place in launch.known_clusters(_also()):
        try:
            known.setdefault(ClusterFile.load(place).name, []).append(place)
        except ClusterError:
            continue  # `cluster list` says what is wrong with it
    found = known.get(name, [])
    if len(found) > 1:
        raise InvalidRequest(f"{len(found)} clusters are named {name}: say --dir {' or --dir '.join(map(str, found))}")
    if not found:
        there_are = f"there are {brief(sorted(known), 40)}" if known else "there is none"
        elsewhere = "one that is elsewhere and stopped is named by: dynazmq cluster use --dir DIR"
        raise NoSuchCluster(f"no cluster {name!r} is known, {there_are}; {elsewhere}")
    return found[0]


def _also() -> Path:
    """A cluster outside of the state directory that may be known though it is stopped: the one that is meant now."""
    try:
        return paths.cluster_dir()
    except ClusterError:  # what was chosen cannot be read, and is to be replaced
        return paths.cluster_dir(name="default")


def run_endpoints(directory: Path, as_json: bool) -> int:
    members = ClusterFile.load(directory).members
    if as_json:
        emit("endpoints", {"endpoints": members})
    else:
        for endpoint in members.values():
            say(endpoint)
    return OK


def running(directory: Path) -> ClusterFile:
    """Raises NoSuchCluster when there is none, or none of its processes."""
    cluster = ClusterFile.load(directory)
    if not anybody_runs(directory, cluster.members):
        raise NoSuchCluster(f"the cluster in {directory} is not running; start it with: dynazmq up{where(directory)}")
    return cluster


def run_bench(directory: Path, ops: list[str], in_flight: list[str], value_bytes: str, duration: str, as_json: bool) -> int:
    wanted = _parts(ops)
    unknown = [op for op in wanted if op not in ("put", "get")]
    if unknown:
        raise InvalidRequest(f"--ops is put, get or both, not {unknown[0]!r}")
    counts = _parts(in_flight)
    if not counts or not all(count.isdecimal() and int(count) > 0 for count in counts):
        raise InvalidRequest(f"--in-flight takes numbers from 1 on, not {','.join(in_flight)!r}")
    size, length_s = size_bytes(value_bytes), seconds(duration)
    if length_s <= 0:
        raise InvalidRequest(f"--seconds is more than 0, not {duration!r}")
    if size > (limit := ClusterFile.load(directory).max_value_bytes):
        raise ValueTooLarge(limit, size)
    running(directory)
    from dynazmq import bench

    return bench.run_bench(
        directory=directory,
        ops=wanted,
        in_flight=[int(count) for count in counts],
        value_bytes=size,
        seconds=length_s,
        as_json=as_json,
    )


def _parts(texts: list[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]
