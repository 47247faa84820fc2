"""What happened between two looks at a cluster: rates from counters, percentiles from histograms. Pure.

Counters only rise within one life of a process; a node that was restarted in between counts from its new beginning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dynazmq.cluster.observe.node_health import Answer
from dynazmq.cluster.observe.snapshot import Snapshot

OPS = ("put", "get")


@dataclass(slots=True)
class Told:
    """What one node had counted."""

    incarnation: int
    counters: Mapping[str, int]
    buckets: dict[str, Counter[int]]  # op → upper bound in µs → requests


@dataclass(slots=True)
class Sample:
    at: float  # seconds of any clock
    nodes: dict[str, Told]

    @classmethod
    def of(cls, snapshot: Snapshot, answers: Mapping[str, Answer]) -> Sample:
        told = {}
        for node in snapshot.nodes:
            if answer := answers.get(node.name):
                buckets = {op: _buckets(answer.section("histograms").get(op)) for op in OPS}
                told[node.name] = Told(node.incarnation, node.counters, buckets)
        return cls(snapshot.taken_at, told)


def _buckets(histogram: object) -> Counter[int]:
    pairs = histogram.get("buckets", ()) if isinstance(histogram, dict) else ()
    return Counter({int(upper): int(number) for upper, number in pairs})


@dataclass(slots=True)
class Rates:
    """Of one node, or of all. Percentiles are None where nothing was asked."""

    puts_per_s: float = 0.0
    gets_per_s: float = 0.0
    failed_per_s: float = 0.0
    buckets: dict[str, Counter[int]] = field(default_factory=lambda: {op: Counter() for op in OPS})

    @property
    def ops_per_s(self) -> float:
        return self.puts_per_s + self.gets_per_s

    def quantile_ms(self, q: float, *ops: str) -> float | None:
        """Of these ops (of all): of several the worst, since whoever waits longest is who complains."""
        found = [quantile_us(self.buckets[op], q) for op in ops or OPS]
        return max((us / 1000 for us in found if us is not None), default=None)

    def add(self, other: Rates) -> None:
        self.puts_per_s += other.puts_per_s
        self.gets_per_s += other.gets_per_s
        self.failed_per_s += other.failed_per_s
        for op in OPS:
            self.buckets[op].update(other.buckets[op])


def quantile_us(buckets: Mapping[int, int], q: float) -> int | None:
    """At most a sixteenth too high, as the nodes' buckets are wide."""
    left = q * sum(buckets.values())
    for upper in sorted(buckets):
        left -= buckets[upper]
        if buckets[upper] and left <= 0:
            return upper
    return None


def between(before: Sample, after: Sample) -> dict[str, Rates]:
    """name → rates, of nodes that have told at both looks or are new at the second."""
    passed = max(after.at - before.at, 1e-3)
    return {name: _rates(before.nodes.get(name), told, passed) for name, told in after.nodes.items()}


def _rates(before: Told | None, after: Told, passed_s: float) -> Rates:
    if before is None:  # it did not answer then: since when it has counted nobody knows
        return Rates()
    if before.incarnation != after.incarnation:
        before = Told(after.incarnation, {}, {op: Counter() for op in OPS})

    def per_s(*names: str) -> float:
        return max(0, sum(after.counters.get(name, 0) - before.counters.get(name, 0) for name in names)) / passed_s

    return Rates(
        per_s("puts_ok"),
        per_s("gets_ok"),
        per_s("puts_failed", "gets_failed"),
        {op: after.buckets[op] - before.buckets[op] for op in OPS},
    )


def whole(rates: Sequence[Rates]) -> Rates:
    total = Rates()
    for each in rates:
        total.add(each)
    return total
