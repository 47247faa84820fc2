"""`ring`: who owns which partition, and where a key lives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dynazmq.cli import FAILED, NOT_RUNNING, OK
from dynazmq.cli.data import key_document
from dynazmq.cli.escaping import printable
from dynazmq.cli.status import PATIENCE_S
from dynazmq.cli.terminal import BOLD, RED, columns, emit, note, paint, say
from dynazmq.cli.words import many
from dynazmq.cluster.observe.node_health import SERVES
from dynazmq.cluster.observe.observe import Observer
from dynazmq.cluster.observe.snapshot import Snapshot
from dynazmq.dynamo.values.ring import Ring, place
from dynazmq.paths import where

MARKS = "123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_REACHED = (*SERVES, "suspect")
_COLORS = ("33", "36", "32", "93", "34", "31", "35", "37")


def run(directory: Path, key: str | None, bucket: str, as_json: bool) -> int:
    with Observer(directory) as observer:
        snapshot = observer.look(PATIENCE_S)
    if not snapshot.owners:
        running = any(node.pid for node in snapshot.nodes)
        at = where(directory)
        note("no node answers: nobody knows the ring" if running else f"it is not running    start it  dynazmq up{at}")
        return FAILED if running else NOT_RUNNING
    ring = Ring(snapshot.ring_version, snapshot.owners)
    lives = _where_it_lives(ring, snapshot, bucket, key) if key is not None else None
    if as_json:
        nodes = {node.name: len(ring.owned_by(node.name)) for node in snapshot.nodes}
        emit(
            "ring",
            {
                "version": ring.version,
                "agreed": snapshot.ring_agreed,
                "partitions": ring.partitions,
                "n": snapshot.n,
                "nodes": nodes,
                "owners": list(ring.owners),
                **({"key": lives} if lives else {}),
            },
        )
        return OK
    for line in strip(ring, snapshot, lives["partition"] if lives else None):
        say(line)
    if lives:
        _say_key(printable(os.fsencode(str(key))), lives, snapshot)
    return OK


def _where_it_lives(ring: Ring, snapshot: Snapshot, bucket: str, key: str) -> dict[str, Any]:
    raw = os.fsencode(key)
    spot = place(bucket, raw)
    partition = ring.partition_of(spot)
    states = {node.name: node.state for node in snapshot.nodes}
    names = ring.walk(partition)
    preference = [
        {"node": name, "role": "primary" if i < snapshot.n else "fallback", "state": states.get(name, "unknown")}
        for i, name in enumerate(names)
    ]
    where_ = {"place": f"{spot:016x}", "partition": partition, "preference": preference}
    return {"bucket": bucket, **key_document(raw), **where_}


def strip(ring: Ring, snapshot: Snapshot, marked: int | None) -> list[str]:
    """The owners in rows, one character for each partition; a node that does not answer is crossed out."""
    names = list(dict.fromkeys([*(node.name for node in snapshot.nodes), *sorted(set(ring.owners))]))
    marks = {name: MARKS[i % len(MARKS)] for i, name in enumerate(names)}
    away = [node.name for node in snapshot.nodes if not node.answers]
    head = f"{many(ring.partitions, 'partition')}  {many(len(names), 'node')}  N={snapshot.n}  ring v{ring.version}"
    head += "" if snapshot.phase == "rest" else f", {snapshot.phase}"
    lines = [head + (f"      {paint('no answer: ' + ' '.join(away) + ' (✗)', RED)}" if away else "")]
    if any(marks[name] != name.removeprefix("n") for name in names):
        lines.append("  ".join(f"{marks[name]}={name}" for name in names))
    width = row_width(ring.partitions, max(10, (columns() - 6) // 10 * 10))
    for first in range(0, ring.partitions, width):
        row = ring.owners[first : first + width]
        cells = [
            paint("✗", RED, BOLD) if name in away else paint(marks[name], _COLORS[names.index(name) % len(_COLORS)])
            for name in row
        ]
        lines.append(f"{first:>4}  {''.join(cells)}")
        if marked is not None and first <= marked < first + width:
            lines.append(" " * (6 + marked - first) + paint("▲", BOLD))
    return lines


def row_width(partitions: int, most: int) -> int:
    """Rows of equal length, in tens."""
    rows = -(-partitions // most)
    return -(-partitions // rows // 10) * 10


def _say_key(key: str, lives: dict[str, Any], snapshot: Snapshot) -> None:
    name = key if lives["bucket"] == "default" else f"{lives['bucket']}/{key}"
    say(f"key {name}   place {lives['place']}   partition {lives['partition']}")
    width = max(len(each["node"]) for each in lives["preference"])
    # A put goes to the first N that can be reached: those past the Nth stand in for a primary that is away.
    missing = sum(each["role"] == "primary" and each["state"] not in _REACHED for each in lives["preference"])
    for i, each in enumerate(lives["preference"]):
        bad = each["state"] not in _REACHED
        stands_in = each["role"] == "fallback" and not bad and missing > 0
        missing -= stands_in
        note_ = "   stands in now" if stands_in else ""
        state = paint(each["state"].upper(), RED) if bad else each["state"]
        say(f"  {i + 1:>2}  {each['node']:<{width}}  {each['role']:<8}  {state}{note_}")
