"""Durations: what the histogram may be wrong by, and what hedging makes of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynazmq.config import Timing
from dynazmq.dynamo.coordinator.stats import Histogram, Latency

durations = st.lists(st.integers(1, 3_600_000_000).map(lambda us: us / 1e6), min_size=1, max_size=50)


@given(durations, st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_quantile_is_never_too_low_and_at_most_a_sixteenth_too_high(seconds: list[float], q: float) -> None:
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    exact = sorted(seconds)[max(math.ceil(q * len(seconds) - 1e-9) - 1, 0)]
    assert exact - 1.1e-6 <= histogram.quantile(q) <= 1.0625 * exact + 1e-6
    assert histogram.quantile(1.0) <= histogram.max_s == max(seconds)
    assert histogram.count == len(seconds)


def test_nothing_measured_is_zero() -> None:
    assert Histogram().quantile(0.99) == 0.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e-6, 3600.0, 1e9])
def test_any_duration_finds_a_bucket(seconds: float) -> None:
    histogram = Histogram()
    histogram.add(seconds)
    assert sum(histogram.buckets) == 1
    assert histogram.quantile(0.5) >= 0


def test_hedging_waits_four_times_the_usual_within_its_bounds() -> None:
    latency = Latency(Timing(hedge_min_ms=25, hedge_max_ms=250), 0.0)
    assert latency.hedge_s == 0.25, "patient until something is known"
    for _ in range(1000):
        latency.replica(0.001)
    assert latency.hedge_s == 0.025
    for _ in range(1000):
        latency.replica(0.020)
    assert latency.hedge_s == pytest.approx(0.080, rel=0.01)
    for _ in range(1000):
        latency.replica(2.0)
    assert latency.hedge_s == 0.25


def test_a_report_shows_the_last_full_window_and_the_first_one_while_it_fills() -> None:
    latency = Latency(Timing(), 0.0)
    latency.get(0.010)
    assert latency.report(1.0)["get"]["count"] == 1
    latency.tick(5.0)
    latency.get(0.030)
    latency.get(0.030)
    assert latency.report(6.0)["get"] == {"count": 1, "p50_ms": 10.0, "p99_ms": 10.0, "max_ms": 10.0}
    latency.tick(10.0)
    assert latency.report(10.0)["get"]["count"] == 2
    assert latency.report(10.0)["put"]["count"] == 0


def test_hedges_of_busy_replicas_are_limited_to_some_and_one_reply_in_twenty() -> None:
    latency = Latency(Timing(), 0.0)
    granted = sum(latency.may_hedge() for _ in range(1000))
    assert granted == 32
    for _ in range(100):
        latency.replica(0.2)
    assert sum(latency.may_hedge() for _ in range(1000)) in (4, 5)
