"""`hints list`, `hints drain`: what nodes keep for others that are away (§4.6), and waiting until it has gone home."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dynazmq.cli import NOT_RUNNING, OK, TIMED_OUT, UNAVAILABLE
from dynazmq.cli.clusters import running
from dynazmq.cli.data import texts
from dynazmq.cli.escaping import printable
from dynazmq.cli.terminal import DIM, emit, note, paint, say
from dynazmq.cli.words import brief, choose, many, span
from dynazmq.cluster.observe.node_health import SERVES, hints_by_target
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import Snapshot
from dynazmq.dynamo.messages import HintsAsk, HintsTell
from dynazmq.errors import ClusterUnreachable
from dynazmq.paths import where

_LOOK_S = 0.6
_ANSWER_S = 2.0
_POLL_S = 0.1
_LAST_PLACE = (1 << 64) - 1


def show(directory: Path, patterns: Sequence[str], *, all_: bool, at_random: bool, keys: bool, limit: int, as_json: bool) -> int:
    """Who keeps how many for whom; with `keys` also of which keys."""
    with Observer(directory) as observer:
        targets = choose(patterns, list(observer.cluster.members), all_=all_, at_random=at_random, unsaid_all=True)
        running(directory)
        snapshot = observer.look(_LOOK_S, facts_timeout=PATIENT_S)
        rows: list[dict[str, Any]] = [
            {"holder": node.name, "target": target, "count": count, "oldest_s": node.hints_oldest_s.get(target)}
            for node in snapshot.nodes
            for target, count in sorted(node.hints_for.items())
            if target in targets
        ]
        if keys:
            for row in rows:
                row["keys"] = list(_keys(observer, str(row["holder"]), str(row["target"]), limit))
    if as_json:
        emit("hints", {"hints": [_document(row) for row in rows], "silent": _silent(snapshot)})
    else:
        _say(rows, snapshot, keys, limit)
    return OK if any(node.answers for node in snapshot.nodes) else NOT_RUNNING


def _keys(observer: Observer, holder: str, target: str, limit: int) -> Iterator[tuple[str, bytes, int]]:
    """(bucket, key, bytes) of the first hints. Asks page by page."""
    place, bucket_, key_ = -1, "", b""
    left = limit
    while left > 0:
        (reply,) = observer.question([(holder, HintsAsk(0, target, _LAST_PLACE, place, bucket_, key_))], _ANSWER_S)
        if not isinstance(reply, HintsTell):
            return
        for bucket, key, _hash, size in reply.rows[:left]:
            yield str(bucket), bytes(key), int(size)
        left -= len(reply.rows)
        if not reply.more:
            return
        place, bucket_, key_ = reply.next_place, reply.next_bucket, reply.next_key


def _document(row: dict[str, Any]) -> dict[str, Any]:
    if "keys" not in row:
        return row
    shown, encoding = texts([key for _, key, _ in row["keys"]])
    keys = [{"bucket": bucket, "key": key, "bytes": size} for key, (bucket, _, size) in zip(shown, row["keys"], strict=True)]
    return {**row, "keys": keys, "encoding": encoding}


def _silent(snapshot: Snapshot) -> list[str]:
    return [node.name for node in snapshot.nodes if not node.answers]


def _say(rows: list[dict[str, Any]], snapshot: Snapshot, keys: bool, limit: int) -> None:
    if not rows:
        note("no hints: nothing is kept for anybody" + (" by nodes that answer" if _silent(snapshot) else ""))
    width = max((len(str(row["holder"])) for row in rows), default=0)
    for row in rows:
        oldest = f", the oldest for {span(row['oldest_s'])}" if row["oldest_s"] is not None else ""
        say(f"{row['holder']:<{width}}  keeps {many(row['count'], 'key')} for {row['target']}{oldest}")
        for bucket, key, size in row.get("keys", ()):
            say(f"{'':<{width}}    {bucket}/{printable(key)}  {paint(f'{size:,} B', DIM)}")
        if keys and row["count"] > limit:
            say(f"{'':<{width}}    … {row['count'] - limit:,} more; --limit shows them")
    if silent := _silent(snapshot):
        note(f"{brief(silent)} {'does' if len(silent) == 1 else 'do'} not answer: what they keep is not counted")


# --- drain ----------------------------------------------------------------------------------------------------------------


def drain(directory: Path, patterns: Sequence[str], *, all_: bool, at_random: bool, timeout_s: float, as_json: bool) -> int:
    """Wait until what is kept for these nodes has gone home. 5 when what is left is for nodes that are away, 6 when late."""
    began = time.monotonic()
    first: int | None = None
    shown_at = began
    with Observer(directory) as observer:
        targets = choose(patterns, list(observer.cluster.members), all_=all_, at_random=at_random, unsaid_all=True)
        running(directory)
        while True:
            snapshot = observer.look(_LOOK_S, facts_timeout=PATIENT_S)
            left = {target: count for target, count in hints_by_target(snapshot).items() if target in targets}
            pending = sum(left.values())
            first = pending if first is None else max(first, pending)
            waited = time.monotonic() - began
            away = {node.name: node.state for node in snapshot.nodes if node.state not in (*SERVES, "starting", "suspect")}
            stuck = [name for name in left if name in away]
            if not any(node.answers for node in snapshot.nodes):
                raise ClusterUnreachable(f"no node answers    look  dynazmq status{where(directory)}")
            if not pending or waited >= timeout_s or (stuck and len(stuck) == len(left)):
                break
            if not as_json and time.monotonic() - shown_at >= 1.0:
                shown_at = time.monotonic()
                note(f"  {pending:,} left, {(first - pending) / max(waited, 0.1):,.0f}/s")
            time.sleep(_POLL_S)
    at = where(directory)
    code = OK if not pending else UNAVAILABLE if stuck else TIMED_OUT
    if as_json:
        counts = {
            "delivered": first - pending,
            "left": left,
            "waited_s": round(waited, 3),
            "away": {name: away[name] for name in stuck},
        }
        emit("drain", {"drained": code == OK, **counts})
    elif code == OK:
        say(f"drained: {many(first, 'hint')} went home in {waited:.1f} s" if first else "no hints: nothing to drain")
        if silent := _silent(snapshot):
            note(f"{brief(silent)} {'does' if len(silent) == 1 else 'do'} not answer: what they keep is not counted")
    elif code == UNAVAILABLE:
        named = ", ".join(f"{name} is {away[name]}" for name in stuck)
        verbs = "resume" if all(away[name] == "paused" for name in stuck) else "start"
        note(f"{many(pending, 'hint')} cannot go home: {named}    next  dynazmq node {verbs} {','.join(stuck)}{at}")
    else:
        note(f"{many(pending, 'hint')} left after {waited:.1f} s    look  dynazmq hints list{at}")
    return code
