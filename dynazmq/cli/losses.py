"""Partitions of which no copy was left: as text, and `cluster acknowledge`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dynazmq.cli import OK
from dynazmq.cli.asked import asked
from dynazmq.cli.clusters import running
from dynazmq.cli.terminal import emit, note, say
from dynazmq.cli.words import brief, many
from dynazmq.cluster.observe.snapshot import Lost

_PARTITIONS_MAX = 12


def loss_lines(losses: Sequence[Lost]) -> list[str]:
    """One for each change of members that cost any."""
    lines = []
    for lost in losses:
        count = len(lost.partitions)
        keys = "nobody knows how many keys" if lost.keys is None else f"about {many(lost.keys, 'key')} when last heard of"
        which = brief([str(partition) for partition in lost.partitions], _PARTITIONS_MAX)
        lines.append(f"LOST  {many(count, 'partition')} with {brief(lost.owners)}, {keys}: {which}")
    return lines


def no_holder(partitions: int) -> str:
    return f"{many(partitions, 'partition')} {'has' if partitions == 1 else 'have'} no holder left"


def acknowledge(directory: Path, as_json: bool) -> int:
    """Tell the cluster that what is lost is known. Raises ClusterError."""
    running(directory)
    from dynazmq.cluster.observe.observe import PATIENT_S, Observer
    from dynazmq.cluster.operations.members import acknowledge_losses

    with Observer(directory) as observer:
        snapshot = observer.look(PATIENT_S, facts_timeout=PATIENT_S)
        if snapshot.lost:
            asked(directory)
        alone = acknowledge_losses(observer, snapshot) if snapshot.lost else ""
    if as_json:
        emit("acknowledge", {"acknowledged": [asdict(lost) for lost in snapshot.lost], "by_one_disk": alone or None})
        return OK
    for line in loss_lines(snapshot.lost):
        say(line)
    say("acknowledged" if snapshot.lost else "nothing is lost that nobody has acknowledged")
    if alone:
        note(f"!  {alone} alone has that on disk so far")
    return OK
