"""`cluster down`: ends every process of a cluster, with or without its supervisor, and says what it found."""

from __future__ import annotations

import time
from pathlib import Path

from dynazmq.cli import OK
from dynazmq.cli.asked import asked
from dynazmq.cli.faults import status_line
from dynazmq.cli.terminal import confirm, emit, note, say
from dynazmq.cli.words import many, size
from dynazmq.cluster.directory import faults, ownership
from dynazmq.cluster.operations import launch
from dynazmq.paths import has_cluster, where


def run(directory: Path, *, purge: bool, yes: bool, as_json: bool) -> int:
    ownership.check_own(directory)
    if purge and has_cluster(directory):
        confirm(f"Remove the cluster in {directory} with all that it stored?", yes)
    asked(directory)
    ended = launch.end_cluster(directory)
    removed = launch.purge(directory) if purge else None
    if as_json:
        document = {
            "dir": str(directory),
            "was_running": ended.was_running,
            "stopped": ended.nodes,
            "killed": ended.killed,
            "purged": purge,
            "freed_bytes": removed.bytes if removed else None,
            "left": [str(path) for path in removed.left] if removed else [],
        }
        emit("down", document)
        return OK
    if ended.supervisor_killed:
        note("the supervisor did not answer and was killed; its nodes were ended without it")
    for name in ended.killed:
        note(f"{name} did not stop in time and was killed")
    if ended.was_running:
        say(f"stopped {many(len(ended.nodes), 'node')}")
    else:
        say("it is not running: nothing to stop")
    if removed is not None:
        say(f"removed {directory}: {size(removed.bytes)}")
        if removed.left:
            note(removed.say())
    elif ended.was_running:
        at = where(directory)
        say(f"data kept in {directory}")
        for fault in faults.load(directory):
            note(f"{status_line(fault, time.time())}    next  dynazmq heal{at}")
        note(f"start again  dynazmq up{at}")
        note(f"remove it    dynazmq down --purge{at}")
    return OK
