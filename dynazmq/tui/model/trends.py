"""What the last minute of snapshots adds up to: rates, trends, hints draining, the stages of a recovery.

`History.add` is told of a snapshot (and of the load's figures, when one runs) and answers with the whole picture as a value.
It reads no clock: time is the snapshot's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import ceil
from operator import attrgetter

from dynazmq.cluster.observe.snapshot import Event, NodeView, Snapshot
from dynazmq.tui.model.coverage import cover
from dynazmq.tui.model.load import LoadStats
from dynazmq.tui.model.model import Counts, Holder, Model, Moving, Pending, Service, Traffic
from dynazmq.tui.model.recovery import Gains, Recovery, advance, cause, ended, story

WINDOW_S = 60.0
RATE_S = 5.0
"""Rates and success are those of the last five seconds."""
DRAIN_S = 3.0
TRANSFER_S = 8.0
"""Over so long the pace of a transfer is taken: partitions come in leaps."""
HELD_S = 30.0
"""The card of a finished recovery stays this long."""
EVENTS_MAX = 200


@dataclass(slots=True)
class _Sample:
    at: float
    nodes: Counts
    load: Counts
    hints: dict[str, dict[str, int]]  # target → holder → how many wait there
    left: dict[str, int]  # node → partitions that it has not got yet
    reads: tuple[int, int]  # that have mended a replica, that gave siblings; since the history began

    def waiting(self, target: str) -> int:
        return sum(self.hints.get(target, {}).values())


class History:
    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._counted: dict[tuple[str, str], int] = {}  # (node, counter) → what it said last
        self._totals: dict[str, int] = {}
        self._held: dict[str, dict[str, Holder]] = {}  # target → holder's name → what it holds
        self._recoveries: dict[str, Recovery] = {}
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._failed_before: tuple[int, int] = (0, 0)  # by the nodes' count and by the load's, when the outage began
        self._ended = ""

    def note(self, at: float, node: str, text: str) -> None:
        """Add to the events: something that was done from this console."""
        self._events.append(Event(at=at, node=node, text=text))

    def add(self, snapshot: Snapshot, load: LoadStats | None = None) -> Model:
        previous = self._samples[-1] if self._samples else None
        fresh = self._count(snapshot.nodes)
        self._hold(snapshot.nodes)
        sample = _Sample(
            snapshot.taken_at,
            Counts(**{name: self._totals.get(name, 0) for name in _COUNTERS}),
            _counts_of(load),
            {target: {name: each.hints for name, each in holders.items()} for target, holders in self._held.items()},
            {node.name: node.transfer.left for node in snapshot.nodes if node.answers and node.transfer.partitions},
            (self._totals["read_repairs"], self._totals[_SIBLINGS]),
        )
        self._samples.append(sample)
        while sample.at - self._samples[0].at > WINDOW_S:
            self._samples.popleft()
        self._recover(snapshot, sample, previous, fresh)
        return Model(
            snapshot=snapshot,
            service=self._service(snapshot, sample, load),
            coverage=cover(snapshot),
            pending=self._pending(sample),
            reads_per_s=self._reads(snapshot, sample),
            transfers=self._transfers(snapshot, sample),
            recoveries=self._shown(),
            ended=self._ended,
            events=tuple(sorted((*snapshot.events, *self._events), key=attrgetter("at"))[-EVENTS_MAX:]),
            load=load,
        )

    # --- counting ---------------------------------------------------------------------------------------------------------

    def _count(self, nodes: Iterable[NodeView]) -> dict[str, int]:
        """Add up what the nodes' counters gained; one that is lower than before belongs to a new process and began at 0."""
        fresh = dict.fromkeys((*_COUNTERS, *_GAINS, _SIBLINGS), 0)
        for node in nodes:
            for name in fresh if node.answers else ():
                value = node.counters.get(name, 0)
                last = self._counted.get((node.name, name), value)
                fresh[name] += value - last if value >= last else value
                self._counted[node.name, name] = value
        for name, gained in fresh.items():
            self._totals[name] = self._totals.get(name, 0) + gained
        return fresh

    def _hold(self, nodes: Iterable[NodeView]) -> None:
        """Who holds hints for whom. What a silent node holds is not gone: it is remembered."""
        held: dict[str, dict[str, Holder]] = {}
        for node in nodes:
            if node.answers:
                ages = node.hints_oldest_s
                found = {
                    target: Holder(name=node.name, hints=hints, oldest_s=ages.get(target))
                    for target, hints in node.hints_for.items()
                    if hints > 0
                }
            else:
                found = {
                    target: Holder(name=node.name, hints=holders[node.name].hints, silent=True)
                    for target, holders in self._held.items()
                    if node.name in holders
                }
            for target, holder in found.items():
                held.setdefault(target, {})[node.name] = holder
        self._held = held

    # --- looking back -----------------------------------------------------------------------------------------------------

    def _before(self, at: float) -> _Sample:
        """The last sample at or before `at`, or the first one."""
        index = bisect_right(self._samples, at, key=attrgetter("at"))
        return self._samples[max(0, index - 1)]

    def _each_second(self, value: Callable[[_Sample], float]) -> list[float]:
        """Its value at each whole second that the history knows, on the straight line between the samples around it.

        At whole seconds, so that a bar of a sparkline keeps its height while it moves to the left.
        """
        found = []
        samples = list(self._samples)
        index = 0
        for second in range(ceil(samples[0].at), int(samples[-1].at) + 1):
            while index + 1 < len(samples) and samples[index + 1].at <= second:
                index += 1
            before, after = samples[index], samples[min(index + 1, len(samples) - 1)]
            along = (second - before.at) / (after.at - before.at) if after.at > before.at else 0.0
            found.append(value(before) + (value(after) - value(before)) * along)
        return found

    def _traffic(self, count: Callable[[_Sample], int], failed: Callable[[_Sample], int], p99_ms: float | None) -> Traffic:
        now = self._samples[-1]
        then = self._before(now.at - RATE_S)
        passed = now.at - then.at
        ok, bad = count(now) - count(then), failed(now) - failed(then)
        sums = self._each_second(count)
        return Traffic(
            per_s=(ok + bad) / passed if passed > 0 else 0.0,
            ok=ok / (ok + bad) if ok + bad > 0 else None,
            p99_ms=p99_ms,
            trend=tuple(after - before for before, after in pairwise(sums)),
        )

    def _service(self, snapshot: Snapshot, now: _Sample, load: LoadStats | None) -> Service:
        by_load = load is not None and load.running
        side = attrgetter("load" if by_load else "nodes")
        if load is not None and by_load:
            put_p99, get_p99 = load.put_p99_ms, load.get_p99_ms
        else:
            put_p99 = get_p99 = max((node.p99_ms for node in snapshot.nodes if node.p99_ms is not None), default=None)
        recoveries = self._shown()
        if recoveries:
            failed = side(now).failed - self._failed_before[by_load]
            since, began = f"since {cause(recoveries[-1])}", recoveries[-1].began
        else:
            failed = side(now).failed - side(self._samples[0]).failed
            since, began = "in the last 60 s", now.at - WINDOW_S
        return Service(
            by_load=by_load,
            put=self._traffic(lambda s: side(s).puts_ok, lambda s: side(s).puts_failed, put_p99),
            get=self._traffic(lambda s: side(s).gets_ok, lambda s: side(s).gets_failed, get_p99),
            failed=failed,
            failed_since=since,
            error=load.last_error if load is not None and by_load and failed else "",
            gap_s=max((gap for at, gap in load.gaps if at >= began), default=None) if load is not None and by_load else None,
        )

    def _pending(self, now: _Sample) -> tuple[Pending, ...]:
        then = self._before(now.at - DRAIN_S)
        passed = now.at - then.at
        found = []
        for target, holders in self._held.items():
            hints = now.waiting(target)
            per_s = (hints - then.waiting(target)) / passed if passed >= 0.5 else None
            before = then.hints.get(target, {})
            found.append(
                Pending(
                    target=target,
                    hints=hints,
                    holders=tuple(sorted(holders.values(), key=lambda holder: (-holder.hints, len(holder.name), holder.name))),
                    oldest_s=max((h.oldest_s for h in holders.values() if h.oldest_s is not None), default=None),
                    per_s=per_s,
                    eta_s=hints / -per_s if per_s is not None and per_s < 0 else None,
                    trend=(*self._each_second(partial(_Sample.waiting, target=target)), hints),
                    per_holder={
                        name: (holder.hints - before.get(name, 0)) / passed for name, holder in holders.items() if passed >= 0.5
                    },
                )
            )
        return tuple(sorted(found, key=lambda pending: (-pending.hints, pending.target)))

    def _reads(self, snapshot: Snapshot, now: _Sample) -> tuple[float, float] | None:
        if not any(node.answers and node.counters for node in snapshot.nodes):
            return None
        then = self._before(now.at - RATE_S)
        passed = max(now.at - then.at, 1e-9)
        mended, siblings = ((after - before) / passed for before, after in zip(then.reads, now.reads, strict=True))
        return mended, siblings

    def _transfers(self, snapshot: Snapshot, now: _Sample) -> tuple[Moving, ...]:
        then = self._before(now.at - TRANSFER_S)
        found = []
        for node in snapshot.nodes:
            moved = node.transfer
            if node.answers and (moved.partitions or moved.strays):
                filled = then.left.get(node.name, moved.left) - moved.left
                found.append(
                    Moving(
                        name=node.name,
                        partitions=moved.partitions,
                        left=moved.left,
                        keys=moved.keys,
                        bytes=moved.bytes,
                        strays=moved.strays,
                        eta_s=moved.left * (now.at - then.at) / filled if filled > 0 else None,
                    )
                )
        return tuple(sorted(found, key=lambda each: -each.left))

    # --- outages ----------------------------------------------------------------------------------------------------------

    def _recover(self, snapshot: Snapshot, now: _Sample, previous: _Sample | None, fresh: dict[str, int]) -> None:
        alone = sum(recovery.converged is None for recovery in self._recoveries.values()) <= 1
        for node in snapshot.nodes:
            was = self._recoveries.get(node.name)
            left = now.waiting(node.name)
            # The nodes count what they deliver, but not to whom; with several targets only the difference can be seen.
            fewer = max(0, previous.waiting(node.name) - left) if previous else 0
            gains = Gains(max(fewer, fresh["hints_delivered"]), fresh["keys_exchanged"], fresh["read_repairs"])
            after = advance(was, node, snapshot, previous.at if previous else None, left, gains if alone else Gains(fewer))
            if after is None:
                continue
            if (was is None or was.began != after.began) and not self._shown():
                before = previous or now
                self._failed_before = (before.nodes.failed, before.load.failed)
            self._recoveries[node.name] = after
            if snapshot.supervisor_pid is None:  # a supervisor tells it itself
                for at, text in story(was, after):
                    self.note(at, node.name, text)
        names = {node.name for node in snapshot.nodes}
        for name in [name for name, recovery in self._recoveries.items() if not _is_shown(recovery, now.at, names)]:
            gone = self._recoveries.pop(name)
            self._ended = f"{name} {ended(gone)}" if gone.converged is not None else self._ended

    def _shown(self) -> tuple[Recovery, ...]:
        return tuple(sorted(self._recoveries.values(), key=lambda recovery: -recovery.began))


_COUNTERS = ("puts_ok", "puts_failed", "gets_ok", "gets_failed")
_GAINS = ("hints_delivered", "keys_exchanged", "read_repairs")
_SIBLINGS = "siblings_read"


def _is_shown(recovery: Recovery, now: float, names: set[str]) -> bool:
    return recovery.node in names and (recovery.converged is None or now - recovery.converged < HELD_S)


def _counts_of(load: LoadStats | None) -> Counts:
    return Counts(**{name: getattr(load, name) for name in _COUNTERS}) if load is not None else Counts()
