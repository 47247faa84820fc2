"""The verdict as a document, in words, and on a failure the story of the key with what the nodes logged meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from dynazmq import logs, paths
from dynazmq.chaos.run import Abuse, Outcome
from dynazmq.chaos.story import span_of, story, worst
from dynazmq.chaos.users import tally
from dynazmq.chaos.verdict import DIED, DIVERGED, INVALID, KINDS, UNKNOWN_VERDICT, VALID
from dynazmq.simulator.cluster.history import FAILED, OK, UNKNOWN
from dynazmq.simulator.cluster.judge import LOST, RESURRECTED

BROKEN_MAX = 50
_LOG_LINES_MAX = 60
_LOG_BYTES_MAX = 1 << 20


def document(outcome: Outcome) -> dict[str, Any]:
    """The fields that are fixed, and others."""
    verdict, operations = outcome.verdict, _operations(outcome)
    return {
        "seed": outcome.settings.seed,
        "acked": outcome.record.acked,
        "lost": verdict.count(LOST),
        "resurrected": verdict.count(RESURRECTED),
        "diverged": verdict.count(DIVERGED),
        "longest_gap_s": round(outcome.gap.seconds, 3),
        "faults": dict(sorted(outcome.chronicle.done.items())),
        "verdict": verdict.word,
        "seconds": round(outcome.load_s, 3),
        "interrupted": outcome.interrupted,
        "keys": verdict.keys,
        "operations": {kind: operations[kind] for kind in ("get", "put", "delete")},
        "longest_gap_at_s": round(outcome.gap.began, 3),
        "longest_gap_during": _during_gap(outcome),
        "left_out": dict(sorted(outcome.chronicle.left_out.items())),
        "settled_s": round(outcome.settled_s, 3),
        "broken": {kind: verdict.count(kind) for kind in KINDS},
        "what": [each.text for each in verdict.broken[:BROKEN_MAX]],
        "open": verdict.open,
        "late": verdict.late[:BROKEN_MAX],
        "echoes": verdict.echoes,
        "not_undone": outcome.not_undone,
        "users": None if outcome.abuse is None else _users(outcome.abuse, verdict.count(DIED)),
    }


def _users(abuse: Abuse, ended: int) -> dict[str, Any]:
    """What users tried, and what it did to the nodes. longest_turn_ms: of those that tell it, waiting for disk and
    processor included; busiest_turn_ms: what a turn itself has used at most.
    """
    most = abuse.most
    return {
        "tried": {name: abuse.tally[name] for name in tally.NAMES},
        "nodes_ended": ended,
        "rss_bytes_max": dict(sorted(most.rss_bytes.items())),
        "descriptors_max": dict(sorted(most.descriptors.items())),
        "longest_turn_ms": dict(sorted(most.turn_ms.items())),
        "longest_turn_part": dict(sorted(most.turn_part.items())),
        "busiest_turn_ms": dict(sorted(most.busiest_ms.items())),
    }


def _did_to_nodes(abuse: Abuse, ended: int) -> str:
    most = abuse.most
    said = [f"ended by themselves {ended:,}"]
    megabytes = {name: size / 1e6 for name, size in most.rss_bytes.items()}
    for word, figures, unit, more in (
        ("memory at most", megabytes, " MB", {}),
        ("descriptors at most", most.descriptors, "", {}),
        ("longest turn", most.turn_ms, " ms", most.turn_part),
        ("most of a processor in a turn", most.busiest_ms, " ms", {}),
    ):
        if figures:
            figure, name = max((figure, name) for name, figure in figures.items())
            said.append(f"{word} {figure:,.0f}{unit} ({' '.join(filter(None, (name, more.get(name))))})")
    return ", ".join(said)


def _operations(outcome: Outcome) -> dict[str, dict[str, int]]:
    counted = Counter((op.kind, op.outcome) for op in outcome.record.history.ops)
    return {kind: {word: counted[kind, word] for word in (OK, UNKNOWN, FAILED)} for kind in ("get", "put", "delete")}


def _during_gap(outcome: Outcome) -> list[str]:
    return [each.text for each in outcome.chronicle.during(*outcome.gap, before_s=2.0)]


def lines(outcome: Outcome) -> Iterator[str]:
    """In a person's words."""
    shown, operations = document(outcome), _operations(outcome)
    unknown = sum(each[UNKNOWN] for each in operations.values())
    failed = sum(each[FAILED] for each in operations.values())
    reads = operations["get"][OK]
    tried = "  ".join(f"{kind} {times}" for kind, times in outcome.chronicle.done.most_common())
    left_out = sum(outcome.chronicle.left_out.values())
    during = _during_gap(outcome)
    rows = [
        ("acknowledged", f"{shown['acked']:,} writes, {reads:,} reads; {unknown:,} of unknown outcome, {failed:,} refused"),
        *((kind, f"{outcome.verdict.count(kind):,}") for kind in (LOST, RESURRECTED)),
        (DIVERGED, f"{shown['diverged']:,} of {shown['keys']:,} keys"),
        *((kind, f"{outcome.verdict.count(kind):,}") for kind in KINDS[3:] if outcome.verdict.count(kind)),
        ("longest gap", f"{shown['longest_gap_s']:.1f} s without a success" + (f"; {'; '.join(during[:3])}" if during else "")),
        ("tried", f"{tried or 'nothing'}" + (f"   ({left_out:,} left out: not possible then)" if left_out else "")),
        ("at rest", f"{outcome.settled_s:.1f} s after the load and the faults had ended"),
    ]
    if late := len(outcome.verdict.late):
        rows.append(("late", f"{late:,} {'key' if late == 1 else 'keys'} differed for a moment after that"))
    if echoes := outcome.verdict.echoes:
        rows.append(("echoes", f"{echoes:,} overwritten between two tries of their put, and back with the second"))
    if outcome.abuse is not None:
        rows.append(("users", tally.in_words(outcome.abuse.tally)))
        rows.append(("nodes", _did_to_nodes(outcome.abuse, outcome.verdict.count(DIED))))
    yield f"seed {shown['seed']}, {shown['seconds']:.0f} s"
    yield ""
    yield from (f"  {name.ljust(14)} {text}" for name, text in rows)
    yield ""
    yield from (f"  {each.kind.ljust(14)} {each.text}" for each in outcome.verdict.broken[:5])
    if len(outcome.verdict.broken) > 5:
        yield f"  and {len(outcome.verdict.broken) - 5:,} more"
    yield from (f"  not known      {text}" for text in outcome.verdict.open)
    yield from (f"  not undone     {text}" for text in outcome.not_undone)
    yield _SAID[outcome.verdict.word]


_SAID = {
    VALID: "valid: what was acknowledged is there, or was overwritten by who had seen it; what was deleted is gone",
    INVALID: "invalid: a promise is broken",
    UNKNOWN_VERDICT: "unknown: nothing is broken in what could be seen, and that was not all",
}


def full(outcome: Outcome) -> Iterator[str]:
    """All of it: the verdict, everything that was done, and the story of the worst key."""
    yield from lines(outcome)
    yield from story_lines(outcome)
    yield ""
    yield "what was done"
    yield from (f"  {each.at:8.2f} s  {each.text}" for each in outcome.chronicle.happenings)


def story_lines(outcome: Outcome) -> Iterator[str]:
    """Nothing unless something is broken of a key."""
    history = outcome.record.history
    broken = worst(history, outcome.verdict)
    if broken is None:
        return
    told = story(history, broken)
    yield ""
    yield f"the shortest history of {broken.bucket}/{broken.key.decode(errors='replace')}: {broken.text}"
    yield from (f"  {op}" for op in told)
    began, ended = span_of(told)
    yield ""
    yield "meanwhile"
    yield from (f"  {each.at:8.2f} s  {each.text}" for each in outcome.chronicle.during(began, ended))
    yield ""
    yield "what the nodes logged then"
    wall = outcome.record.began_wall
    yield from logged(outcome, wall + began, wall + ended)


def logged(outcome: Outcome, began: float, ended: float) -> Iterator[str]:
    """Lines of all nodes between two moments, by time."""
    directory = outcome.settings.directory
    found: list[tuple[float, str]] = []
    for node in sorted((directory / "nodes").glob("*")):
        path = paths.node_log(directory, node.name)
        if not path.exists():
            continue
        for raw in path.read_bytes()[-_LOG_BYTES_MAX:].decode(errors="replace").splitlines():
            line = logs.parse(raw)
            if line is not None and line.at is not None and began <= line.at <= ended:
                found.append((line.at, f"  {line.at - outcome.record.began_wall:8.2f} s  {node.name}  {line.level} {line.text}"))
    shown = [text for _, text in sorted(found)]
    yield from shown[:_LOG_LINES_MAX]
    if len(shown) > _LOG_LINES_MAX:
        yield f"  and {len(shown) - _LOG_LINES_MAX:,} more lines"
