"""On a failure: the shortest history of a key in which it shows, and what was done to the cluster meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dynazmq.chaos.verdict import Broken, Verdict
from dynazmq.simulator.cluster.history import OK, History, Op

LINES_MAX = 40
_AROUND_S = 2.0


def worst(history: History, verdict: Verdict) -> Broken | None:
    """Of what is broken, that of the key with the fewest requests; None when it is of no key."""
    of_keys = [each for each in verdict.broken if each.key]
    return min(of_keys, key=lambda each: (each.breach is None, len(history.writes_of.get(each.key, ()))), default=None)


def story(history: History, broken: Broken) -> list[Op]:
    """The requests that say what became of the write: it, what its writer had seen, who overwrote it, and gets that showed it.

    Of what is broken without a write that could be named, all writes of the key. In the order in which they began.
    """
    writes = history.writes_of.get(broken.key, [])
    write = broken.breach.write if broken.breach is not None else None
    if write is None:
        return writes[-LINES_MAX:]
    told = [op for op in writes if op is write or op.covers & write.bit or write.covers & op.bit]
    gets = [op for op in history.ops if op.key == broken.key and op.kind == "get" and op.outcome == OK]
    reads = [op for op in gets if write.value in op.values]
    told += [op for i, op in enumerate(reads) if i < 2 or i >= len(reads) - 2]
    return sorted(told, key=lambda op: op.index)[:LINES_MAX]


def span_of(ops: Sequence[Op]) -> tuple[float, float]:
    """From shortly before the first of them to shortly after the last."""
    ended = max((op.ended for op in ops), default=0.0)
    return min((op.began for op in ops), default=0.0) - _AROUND_S, ended + _AROUND_S
