"""`cluster list`, `cluster endpoints`, and the way into the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dynazmq.cli import OK
from dynazmq.cli.terminal import emit, note, say, where
from dynazmq.cli.words import many, seconds, size_bytes
from dynazmq.cluster.leftovers import anybody_runs, surviving
from dynazmq.errors import ClusterError, InvalidRequest, NoSuchCluster, ValueTooLarge
from dynazmq.paths import ClusterFile


def run_list(directory: Path, as_json: bool) -> int:
    """`directory`: the one that other commands would act on; it is listed wherever it is."""
    from dynazmq.cluster import launch
    from dynazmq.cluster.processes import state_of
    from dynazmq.cluster.state import StateFile

    found: list[dict[str, Any]] = []
    for place in launch.known_clusters(directory):
        try:
            cluster = ClusterFile.load(place)
        except ClusterError as error:
            found.append({"name": place.name, "dir": str(place), "error": str(error)})
            continue
        before = StateFile.load(place)
        supervised = before.supervisor is not None and state_of(before.supervisor) is not None
        running = len(surviving(place, cluster.members, before))
        found.append(
            {
                "name": cluster.name,
                "dir": str(place),
                "nodes": len(cluster.members),
                "running": running,
                "supervisor_pid": before.supervisor.pid if supervised and before.supervisor else None,
            }
        )
    if as_json:
        emit("list", {"clusters": found})
        return OK
    for each in found:
        if "error" in each:
            say(f"{each['name']:<12}  {each['error']}")
            continue
        state = f"{each['running']}/{each['nodes']} running" if each["running"] else f"stopped, {many(each['nodes'], 'node')}"
        orphan = "  no supervisor" if each["running"] and each["supervisor_pid"] is None else ""
        say(f"{each['name']:<12}  {state + orphan:<28}  {each['dir']}")
    if not found:
        note("no cluster; start one with: dynazmq up -n 5")
    return OK


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
