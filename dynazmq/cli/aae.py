"""`aae status`, `aae pause`, `aae resume`: anti-entropy, seen and held."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynazmq.cli import NOT_RUNNING, OK, UNAVAILABLE
from dynazmq.cli.asked import asked
from dynazmq.cli.clusters import running
from dynazmq.cli.terminal import DIM, emit, note, paint, say
from dynazmq.cli.words import brief, choose
from dynazmq.cluster.observe.asking import Asker
from dynazmq.cluster.observe.observe import PATIENT_S, Observer
from dynazmq.cluster.observe.snapshot import NodeView
from dynazmq.dynamo.messages import Failure, Message, SetAntiEntropy, SetAntiEntropyReply
from dynazmq.errors import ClusterUnreachable
from dynazmq.paths import ClusterFile, where

_ANSWER_S = 2.0
_LOOK_S = 0.6
_HEADS = ("NODE", "STATE", "TREES EQUAL", "MENDING", "EXCHANGES", "KEYS SHIPPED")
_COUNTERS = ("exchanges", "exchanges_abandoned", "keys_exchanged", "trees_mended")


def status(directory: Path, patterns: Sequence[str], *, all_: bool, at_random: bool, as_json: bool) -> int:
    with Observer(directory) as observer:
        names = choose(patterns, list(observer.cluster.members), all_=all_, at_random=at_random, unsaid_all=True)
        snapshot = observer.look(_LOOK_S, facts_timeout=PATIENT_S)
    nodes = [node for node in snapshot.nodes if node.name in names]
    if as_json:
        emit("aae", {"nodes": [_document(node) for node in nodes]})
    else:
        for line in _table(nodes):
            say(line)
    return OK if any(node.answers for node in snapshot.nodes) else NOT_RUNNING


def hold(directory: Path, patterns: Sequence[str], *, all_: bool, at_random: bool, paused: bool, as_json: bool) -> int:
    """Tell these nodes, or all. Raises ClusterUnreachable when none of them answers."""
    cluster = ClusterFile.load(directory)
    names = choose(patterns, list(cluster.members), all_=all_, at_random=at_random, unsaid_all=True)
    running(directory)
    asked(directory, names)
    asker = Asker(cluster.cluster_id, cluster.members)
    try:
        answers = dict(zip(names, asker.question([(name, SetAntiEntropy(0, paused)) for name in names], _ANSWER_S), strict=True))
    finally:
        asker.close()
    told = {name: answer for name, answer in answers.items() if isinstance(answer, SetAntiEntropyReply)}
    failed = {name: _why(answer) for name, answer in answers.items() if name not in told}
    if not any(answers.values()):
        raise ClusterUnreachable(f"none of {brief(names)} answers    look  dynazmq status{where(directory)}")
    word = "paused" if paused else "resumed"
    if as_json:
        nodes: list[dict[str, Any]] = [{"name": name, "on": reply.on, "paused": reply.paused} for name, reply in told.items()]
        emit("aae", {"nodes": nodes, "failed": failed})
    else:
        _say(word, told, failed, where(directory))
    return UNAVAILABLE if failed else OK


def _why(answer: Message | None) -> str:
    return answer.text if isinstance(answer, Failure) else "it does not answer"


def _say(word: str, told: dict[str, SetAntiEntropyReply], failed: dict[str, str], at: str) -> None:
    verb = word[:-1] if word == "paused" else "resume"
    if told:
        say(f"{word} on {brief(list(told))}")
    if off := [name for name, reply in told.items() if not reply.on]:
        note(f"{brief(off)} compares nothing anyway: the cluster was made with --anti-entropy off")
    for name, why in failed.items():
        note(f"{name} was not told: {why}")
    if failed:
        note(f"next  dynazmq aae {verb} {','.join(failed)}{at}")
    elif word == "paused":
        note(f"next  dynazmq aae resume{at}    until then replicas are not compared")


def _document(node: NodeView) -> dict[str, Any]:
    return {
        "name": node.name,
        "answers": node.answers,
        "on": node.anti_entropy != "off",
        "paused": node.anti_entropy == "paused",
        "surveyed": node.surveyed,
        "trees_shared": node.trees_shared,
        "trees_left": node.trees_left,
        "ranges_differing": node.ranges_differing,
        "compares_with": node.compares_with,
        "keys": node.keys,
        "counters": {name: node.counters.get(name, 0) for name in _COUNTERS},
    }


def _table(nodes: Sequence[NodeView]) -> list[str]:
    rows = [list(_HEADS)]
    for node in nodes:
        if not node.answers:
            rows.append([node.name, node.state, "–", "–", "–", "–"])
            continue
        state = node.anti_entropy if node.anti_entropy != "on" or node.surveyed else "surveys"
        equal = f"{node.trees_shared - node.trees_left:,}/{node.trees_shared:,}" if node.anti_entropy == "on" else "–"
        counted = [f"{node.counters.get(name, 0):,}" for name in ("exchanges", "keys_exchanged")]
        rows.append([node.name, state, equal, f"{node.ranges_differing:,}", *counted])
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADS))]
    head, *lines = [_line(row, widths) for row in rows]
    return [paint(head, DIM), *lines]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    pairs = enumerate(zip(row, widths, strict=True))
    return "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in pairs)
