"""How long things take here: what hedging goes by, and what `status` shows.

A histogram of four buckets to the octave: adding is a few integer operations, a percentile is at most 25 % too high.
"""

from __future__ import annotations

from dynazmq.config import Timing

_BUCKETS = 33 * 4
_HEDGES_SAVED_MAX = 32.0
_HEDGES_PER_REPLY = 0.05


class Histogram:
    """Durations from 1 µs to an hour."""

    __slots__ = ("buckets", "count", "max_s")

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        self.count = 0
        self.max_s = 0.0

    def add(self, seconds: float) -> None:
        us = max(int(seconds * 1e6), 1)
        octave = us.bit_length()
        quarter = (us << 2 >> octave - 1) & 3  # the two bits behind the first
        self.buckets[min(octave * 4 + quarter, _BUCKETS - 1)] += 1
        self.count += 1
        if seconds > self.max_s:
            self.max_s = seconds

    def quantile(self, q: float) -> float:
        """Seconds that a share q of the durations did not pass; 0.0 when there are none."""
        left = q * self.count
        for index, n in enumerate(self.buckets):
            left -= n
            if n and left <= 0:
                octave, quarter = divmod(index, 4)
                return min((4 + quarter + 1) * 2.0 ** (octave - 3) / 1e6, self.max_s)
        return 0.0


class Latency:
    """Recent latencies of a node: two windows of five seconds, the older one is shown while the newer one fills."""

    WINDOW_S = 5.0

    def __init__(self, timing: Timing, now: float) -> None:
        self._min_s = timing.hedge_min_ms / 1000
        self._max_s = timing.hedge_max_ms / 1000
        self._usual_s = self._min_s  # moving average of replicas' answers
        self.hedge_s = self._max_s
        self._hedges_saved = _HEDGES_SAVED_MAX
        self._windows = ({"get": Histogram(), "put": Histogram()}, {"get": Histogram(), "put": Histogram()})
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
