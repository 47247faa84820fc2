"""How long things take here: what hedging goes by, and what `status` and `metrics` show.

A log-linear histogram, as HdrHistogram has them: sixteen buckets to the octave, so adding is a few integer operations, the memory
is fixed, and a percentile is at most 6.25 % too high. Only the newest window of five seconds is added to; when it is over it is
added to what there was since the start, so to know that costs a request nothing.
"""

from __future__ import annotations

from operator import add
from typing import Any

from dynazmq.config import Timing

_OCTAVES = 32
_BUCKETS = (_OCTAVES + 1) * 16
_US_MAX = (1 << _OCTAVES) - 1
_UPPER_US = [-(-(17 + index % 16 << max(index // 16 - 1, 0)) // 16) for index in range(_BUCKETS)]
"""Where each bucket ends: the first whole µs that is not in it."""

_HEDGES_SAVED_MAX = 32.0
_HEDGES_PER_REPLY = 0.05


class Histogram:
    """Durations from 1 µs to an hour; what is longer counts as that."""

    __slots__ = ("buckets", "max_s", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        self.max_s = 0.0
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        us = int(seconds * 1e6)
        if us < 1:
            us = 1
        elif us > _US_MAX:
            us = _US_MAX
        octave = us.bit_length()
        self.buckets[octave << 4 | (us << 4 >> octave - 1) & 15] += 1  # the four bits behind the first
        self.sum_s += seconds
        if seconds > self.max_s:
            self.max_s = seconds

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def merge(self, other: Histogram) -> None:
        self.buckets = list(map(add, self.buckets, other.buckets))
        self.sum_s += other.sum_s
        self.max_s = max(self.max_s, other.max_s)

    def sparse(self) -> list[tuple[int, int]]:
        """(upper bound in µs, how many were below it and in no bucket before), of those buckets that have any."""
        return [(_UPPER_US[index], n) for index, n in enumerate(self.buckets) if n]

    def quantile(self, q: float) -> float:
        """Seconds that a share q of the durations did not pass; 0.0 when there are none."""
        left = q * self.count
        for index, n in enumerate(self.buckets):
            if n:
                left -= n
                if left <= 0:
                    return min(_UPPER_US[index] / 1e6, self.max_s)
        return 0.0


class Latency:
    """Latencies of a node: two windows of five seconds, the older one is shown while the newer one fills; and all there were."""

    WINDOW_S = 5.0

    def __init__(self, timing: Timing, now: float) -> None:
        self._min_s = timing.hedge_min_ms / 1000
        self._max_s = timing.hedge_max_ms / 1000
        self._usual_s = self._min_s  # moving average of replicas' answers
        self.hedge_s = self._max_s
        self._hedges_saved = _HEDGES_SAVED_MAX
        self._windows = ({"get": Histogram(), "put": Histogram()}, {"get": Histogram(), "put": Histogram()})
        self._before = {"get": Histogram(), "put": Histogram()}  # all that the newest window has not
        self._turned_at = now
        self.get = self._windows[0]["get"].add
        self.put = self._windows[0]["put"].add

    def replica(self, seconds: float) -> None:
        """A replica has answered after this long: hedging waits four times the usual."""
        self._usual_s += (seconds - self._usual_s) * 0.02
        self.hedge_s = min(max(4 * self._usual_s, self._min_s), self._max_s)
        if self._hedges_saved < _HEDGES_SAVED_MAX:
            self._hedges_saved += _HEDGES_PER_REPLY

    def may_hedge(self) -> bool:
        """Whether another replica may be asked because one is slow that does answer others: one time in twenty, and a few more.

        When all are slow there is too much to do, and asking twice is more of it: without a limit, an overload feeds itself.
        """
        if self._hedges_saved < 1.0:
            return False
        self._hedges_saved -= 1.0
        return True

    def tick(self, now: float) -> None:
        if now - self._turned_at >= self.WINDOW_S:
            self._turned_at = now
            for op, window in self._windows[0].items():
                self._before[op].merge(window)
            self._windows = ({"get": Histogram(), "put": Histogram()}, self._windows[0])
            self.get = self._windows[0]["get"].add
            self.put = self._windows[0]["put"].add

    def report(self, now: float) -> dict[str, dict[str, float]]:
        """op → count, p50_ms, p99_ms, max_ms of the last full window (or of the first one while it fills)."""
        window = self._windows[1] if any(h.count for h in self._windows[1].values()) else self._windows[0]
        return {
            op: {
                "count": h.count,
                "p50_ms": round(h.quantile(0.5) * 1000, 3),
                "p99_ms": round(h.quantile(0.99) * 1000, 3),
                "max_ms": round(h.max_s * 1000, 3),
            }
            for op, h in window.items()
        }

    def histograms(self) -> dict[str, dict[str, Any]]:
        """op → buckets (see `Histogram.sparse`), count, sum_s, max_s of all since the start."""
        found: dict[str, dict[str, Any]] = {}
        for op, before in self._before.items():
            whole = Histogram()
            whole.merge(before)
            whole.merge(self._windows[0][op])
            found[op] = {"buckets": whole.sparse(), "count": whole.count, "sum_s": round(whole.sum_s, 6), "max_s": whole.max_s}
        return found
